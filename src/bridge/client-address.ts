import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'

/** Whose request it is, as far as limits by address go. */

/** An address in one spelling; 'unknown' where it is none. */
export function addressOf(address: string | undefined): string {
  const bare = (address ?? '').split('%')[0] as string
  if (isIP(bare) !== 6) return isIP(bare) === 4 ? bare : 'unknown'
  return /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare)?.[1] ?? groupsOf(bare).join(':')
}

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

/**
 * The address group that a request is counted for. Behind proxies that are trusted, by `addressOf`, it is what the
 * outermost of them saw; from anybody else, their neighbours included, `X-Forwarded-For` is only a text.
 */
export function clientGroup(
  { socket, headers }: Pick<IncomingMessage, 'headers'> & { socket: { remoteAddress?: string | undefined } },
  trustedProxies: ReadonlySet<string>,
): string {
  let client = addressOf(socket.remoteAddress)
  if (trustedProxies.size === 0) return addressGroup(client)
  const hops = String(headers['x-forwarded-for'] ?? '').split(',')
  while (trustedProxies.has(client) && hops.length > 0) {
    const hop = addressOf(hops.pop()?.trim())
    if (hop === 'unknown') break
    client = hop
  }
  return addressGroup(client)
}
