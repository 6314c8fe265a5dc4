import { describe, expect, it } from 'vitest'
import { multiaddrOf } from '../../../src/bridge/addresses.ts'
import { isAllowedOrigin, isOwnHost, type OriginRules } from '../../../src/bridge/origins.ts'
import { isLocalRequest } from '../../../src/dht/local-request.ts'

const loopback: OriginRules = { allowedOrigins: [], isLoopbackOnly: true }
const open: OriginRules = { allowedOrigins: [], isLoopbackOnly: false }
const named: OriginRules = { ...loopback, publicUrl: 'https://bridge.example' }

describe('pages that may use the bridge', () => {
  it.each([
    ['a program, which sends none', undefined, '127.0.0.1:8080', loopback],
    ['its own page', 'http://127.0.0.1:8080', '127.0.0.1:8080', loopback],
    ['its own page by name', 'http://localhost:8080', 'localhost:8080', loopback],
    ['its own page on IPv6', 'http://[::1]:8080', '[::1]:8080', loopback],
    ['its own page in a network', 'http://box.lan:8080', 'box.lan:8080', open],
    ['a default port that one side writes', 'http://box.lan', 'box.lan:80', open],
    ['the public address behind a proxy', 'https://bridge.example', '127.0.0.1:8080', named],
    ['a listed page', 'https://chat.example', 'x', { ...loopback, allowedOrigins: ['https://chat.example'] }],
    ['any page where all are allowed', 'https://evil.example', 'x', { ...loopback, allowedOrigins: ['*'] }],
  ])('%s', (_name, origin, host, rules) => {
    expect(isAllowedOrigin({ ...(origin ? { origin } : {}), host }, rules)).toBe(true)
  })

  it.each([
    ['a foreign page', 'https://evil.example', '127.0.0.1:8080', loopback],
    ['another port of this machine', 'http://127.0.0.1:9', '127.0.0.1:8080', loopback],
    ['a name that resolves to this machine', 'http://evil.example:8080', 'evil.example:8080', loopback],
    ['the opaque origin', 'null', '127.0.0.1:8080', loopback],
    ['what is no origin', '\u0000', '127.0.0.1:8080', loopback],
    ['the public name without TLS', 'http://bridge.example', '127.0.0.1:8080', named],
    ['a name that begins like it', 'https://bridge.example.evil', 'bridge.example', named],
    ['an empty origin', '', '127.0.0.1:8080', loopback],
  ])('not %s', (_name, origin, host, rules) => {
    expect(isAllowedOrigin({ origin, host }, rules)).toBe(false)
  })
})

describe('names of the bridge', () => {
  it.each([
    ['127.0.0.1:8080', loopback, true],
    ['localhost', loopback, true],
    ['evil.example:8080', loopback, false],
    ['10.0.0.5:8080', loopback, false],
    ['', loopback, false],
    ['a b', loopback, false],
    ['bridge.example', named, true],
    ['evil.example', named, false],
    ['10.0.0.5:8080', { ...named, isLoopbackOnly: false }, true],
    ['evil.example', { ...named, isLoopbackOnly: false }, false],
    ['box.lan:8080', open, true],
  ])('%s: %o → %s', (host, rules, expected) => {
    expect(isOwnHost(host, rules)).toBe(expected)
  })
})

it.each([
  ['127.0.0.1', { host: '127.0.0.1:1' }, true],
  ['::1', { host: 'localhost:1' }, true],
  ['::ffff:127.0.0.1', { host: '[::1]:1' }, true],
  ['10.0.0.5', { host: '127.0.0.1:1' }, false],
  ['127.0.0.1', { host: 'evil.example' }, false],
  ['127.0.0.1', { host: '127.0.0.1.evil.example' }, false],
  ['127.0.0.1', { host: 'localhost', 'x-forwarded-for': '8.8.8.8' }, false],
  ['127.0.0.1', {}, false],
  [undefined, { host: 'localhost' }, false],
])('a request from %s with %o is local: %s', (address, headers, expected) => {
  expect(isLocalRequest(address, headers)).toBe(expected)
})

it.each([
  ['http://127.0.0.1:8080', '/ip4/127.0.0.1/tcp/8080/ws'],
  ['http://[::1]:8080', '/ip6/::1/tcp/8080/ws'],
  ['https://bridge.example', '/dns/bridge.example/tcp/443/wss'],
  ['http://box.lan', '/dns/box.lan/tcp/80/ws'],
])('the multiaddr of %s', (url, expected) => {
  expect(multiaddrOf(url)).toBe(expected)
})

it('what is no URL has no multiaddr', () => {
  expect(() => multiaddrOf('bridge')).toThrow(expect.objectContaining({ code: 'MALFORMED' }))
})
