import { isIP } from 'node:net'

/** Whose an address is, as far as limits by address go. */

/** An address in one spelling; 'unknown' where it is none. */
export function addressOf(address: string | undefined): string {
  const bare = (address ?? '').split('%')[0] as string
  if (isIP(bare) !== 6) return isIP(bare) === 4 ? bare : 'unknown'
  const groups = groupsOf(bare)
  return groups.slice(0, 6).join(':') === MAPPED ? ipv4Of(groups.slice(6)) : groups.join(':')
}

/** An IPv4 address as sockets for both kinds see it. */
const MAPPED = '0:0:0:0:0:ffff'

const ipv4Of = (groups: string[]): string =>
  groups.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]).join('.')

/**
 * What counts as one address: an IPv4 address, or the /64 of an IPv6 one, since one subscriber is given at least as much
 * and could take a new address for each request.
 */
export function addressGroup(address: string | undefined): string {
  const one = addressOf(address)
  return one.includes(':') ? `${one.split(':').slice(0, 4).join(':')}::/64` : one
}

/** The eight groups of an IPv6 address, in one spelling. */
function groupsOf(address: string): string[] {
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1)
  const [head = '', tail] = canonical.split('::')
  const parts = (text: string) => (text === '' ? [] : text.split(':'))
  const before = parts(head)
  const after = parts(tail ?? '')
  return [...before, ...Array.from({ length: 8 - before.length - after.length }, () => '0'), ...after]
}
