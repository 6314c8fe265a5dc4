import { Command } from 'commander'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { inviteFlags, listenFlags, operatorFlags } from '../../../src/bridge/flags.ts'

const parse = (...args: string[]) => {
  const command = operatorFlags(listenFlags(new Command('bridge')))
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
  return command.parse(args, { from: 'user' }).opts()
}

afterEach(() => vi.unstubAllEnvs())

describe('options of sticky bridge invite', () => {
  const parseInvite = (...args: string[]) =>
    inviteFlags(new Command('invite'))
      .exitOverride()
      .configureOutput({ writeErr: () => undefined })
      .parse(args, { from: 'user' })
      .opts()

  it('are a week and one use, unless others are given', () => {
    expect(parseInvite()).toEqual({ ttl: 7 * 86_400_000, uses: 1 })
    expect(parseInvite('--ttl', '90m', '--uses', '0')).toEqual({ ttl: 5_400_000, uses: 0 })
  })

  it.each([
    [['--ttl', '7'], 'such as'],
    [['--ttl', '0d'], 'such as'],
    [['--ttl', '367d'], 'at most 366d'],
    [['--ttl', '-1d'], 'such as'],
    [['--uses', '1001'], 'at most 1000'],
    [['--uses', '-1'], 'whole number'],
    [['--for', '12D3Koo'], 'node id'],
  ])('refuse %j', (args, sentence) => {
    expect(() => parseInvite(...args)).toThrow(sentence)
  })
})

describe('options of sticky bridge', () => {
  it('have defaults that keep it to this machine', () => {
    vi.stubEnv('PORT', undefined)
    expect(parse()).toEqual({
      port: 8080,
      host: '127.0.0.1',
      publicMetrics: false,
      inviteOnly: false,
      limit: { limits: {}, relay: {} },
    })
  })

  it('take several origins and limits', () => {
    const options = parse(
      ...['--allow-origin', 'https://a.example', '--allow-origin', 'http://localhost:3000'],
      ...['--limit', 'maxPipes=10', '--limit', 'maxReservations=20', '--limit', 'maxPending=30'],
      ...['--public-url', 'https://b.example/', '--public-metrics', '--passphrase-file', 'secret'],
    )
    expect(options).toMatchObject({
      allowOrigin: ['https://a.example', 'http://localhost:3000'],
      limit: { limits: { maxPipes: 10, maxPending: 30 }, relay: { maxReservations: 20 } },
      publicUrl: 'https://b.example',
      publicMetrics: true,
      passphraseFile: 'secret',
    })
    expect(parse('--allow-origin', '*')).toMatchObject({ allowOrigin: ['*'] })
    expect(parse().limit).toEqual({ limits: {}, relay: {} })
  })

  it('take the port from PORT where no flag gives it, and an empty one for none', () => {
    vi.stubEnv('PORT', '9000')
    expect(parse().port).toBe(9000)
    expect(parse('--port', '9001').port).toBe(9001)
    vi.stubEnv('PORT', '')
    expect(parse().port).toBe(8080)
  })

  it.each([
    [['--allow-origin', 'https://a.example/path'], 'no path'],
    [['--allow-origin', 'a.example'], 'Expected an origin'],
    [['--allow-origin', 'file:///tmp'], 'Expected an origin'],
    [['--limit', 'maxPipe=1'], 'There is no limit maxPipe'],
    [['--limit', 'constructor=1'], 'There is no limit constructor'],
    [['--limit', 'maxPipes'], 'whole number'],
    [['--limit', 'maxPipes=-1'], 'whole number'],
    [['--trust-proxy', 'proxy.example'], 'IP address'],
    [['--invite-issuer', 'me'], 'node id'],
    [['--public-url', 'ftp://a.example'], 'Expected an address'],
    [['--public-url', 'https://a.example/chat'], 'no path'],
    [['--port', '65536'], 'at most 65535'],
    [['--port', '1e3'], 'whole number'],
  ])('refuse %j', (args, sentence) => {
    expect(() => parse(...args)).toThrow(sentence)
  })
})
