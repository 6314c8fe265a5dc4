import type { IncomingMessage } from 'node:http'
import { addressGroup, addressOf } from '../node/program.ts'

/** Whose request it is, as far as limits by address go. */

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
