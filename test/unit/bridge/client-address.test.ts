import { describe, expect, it } from 'vitest'
import { clientGroup } from '../../../src/bridge/client-address.ts'
import { addressGroup, addressOf } from '../../../src/node/address-group.ts'

describe('one address, as far as limits go', () => {
  it.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['::FFFF:c000:207', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::9', '2001:db8:1:2::/64'],
    ['2001:DB8:0001:0002::', '2001:db8:1:2::/64'],
    ['2001:db8:1:3::9', '2001:db8:1:3::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['evil', 'unknown'],
    ['', 'unknown'],
    [undefined, 'unknown'],
  ])('%s is %s', (address, group) => expect(addressGroup(address)).toBe(group))
})

describe('the client of a request', () => {
  const of = (remoteAddress: string, forwarded: string | undefined, ...trusted: string[]) =>
    clientGroup(
      { socket: { remoteAddress }, headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded } },
      new Set(trusted.map(addressOf)),
    )

  it('is who is connected, whatever it claims', () => {
    expect(of('192.0.2.7', undefined)).toBe('192.0.2.7')
    expect(of('192.0.2.7', '203.0.113.1')).toBe('192.0.2.7')
    expect(of('192.0.2.7', '203.0.113.1', '10.0.0.1')).toBe('192.0.2.7')
  })

  it('is whom a trusted proxy saw, not what the client wrote in front of that', () => {
    expect(of('10.0.0.1', '203.0.113.1', '10.0.0.1')).toBe('203.0.113.1')
    expect(of('::ffff:10.0.0.1', '198.51.100.9, 203.0.113.1', '10.0.0.1')).toBe('203.0.113.1')
    expect(of('10.0.0.1', '198.51.100.9, 203.0.113.1, 10.0.0.2', '10.0.0.1', '10.0.0.2')).toBe('203.0.113.1')
    expect(of('::1', '2001:db8::7', '::1')).toBe('2001:db8:0:0::/64')
  })

  it('is who is connected from beside a trusted proxy, in the same /64', () => {
    expect(of('2001:db8::bad', '203.0.113.1', '2001:db8::1')).toBe('2001:db8:0:0::/64')
    expect(of('2001:db8::1', '203.0.113.1', '2001:DB8:0::0001')).toBe('203.0.113.1')
    expect(of('2001:db8::1', '198.51.100.9, 2001:db8::bad', '2001:db8::1')).toBe('2001:db8:0:0::/64')
  })

  it('is the proxy where that says nothing of use', () => {
    for (const forwarded of [undefined, '', 'unknown', 'x, y', ','])
      expect(of('10.0.0.1', forwarded, '10.0.0.1')).toBe('10.0.0.1')
  })
})
