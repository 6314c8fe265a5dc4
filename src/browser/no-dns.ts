import { StickyError } from '../dht/index.ts'

/**
 * Stands in for @multiformats/dns, by which libp2p looks `/dnsaddr/…` addresses up at public servers. Nobody here has such an
 * address, and whoever names one would have a page tell those servers of it. 5 kB of the page.
 */

const refuse = (): never => {
  throw new StickyError('UNREACHABLE', 'Addresses that are looked up by DNS first are not used here.')
}

export const dns = () => ({ query: async () => refuse() })
export const RecordType = { TXT: 16 } as const
