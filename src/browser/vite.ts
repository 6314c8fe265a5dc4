import { fileURLToPath } from 'node:url'

/** What Vite, Rolldown and Rollup call a plugin, as far as this one is one. */
export interface SmallLibp2p {
  name: string
  enforce: 'pre'
  resolveId(source: string, importer: string | undefined): string | undefined
}

interface Replaced {
  source: RegExp
  /** The package that imports it. */
  by: string
  /** The file here that takes its place. */
  with: string
}

const REPLACED: Replaced[] = [
  { source: /\/generated-prefix-list(-browser)?\.js$/, by: '@libp2p/kad-dht', with: 'kad-prefixes' },
  {
    source:
      /\/(content-(fetching|routing)\/index|providers|reprovider|handlers\/(add-provider|get-providers|get-value|put-value))\.js$/,
    by: '@libp2p/kad-dht',
    with: 'no-dht-records',
  },
  { source: /^@libp2p\/record$/, by: '@libp2p/kad-dht', with: 'no-dht-records' },
  { source: /^\.\/content-routing\.js$/, by: '/libp2p/', with: 'no-dht-records' },
  { source: /^\.\/(rsa|ecdsa)\/utils\.js$/, by: '@libp2p/crypto', with: 'no-other-keys' },
  { source: /^@libp2p\/logger$/, by: '/libp2p/', with: 'no-libp2p-log' },
  { source: /^@noble\/curves\/secp256k1(\.js)?$/, by: '@libp2p/crypto', with: 'no-secp256k1' },
  { source: /^\.\/bases\/base256emoji\.js$/, by: '/multiformats/', with: 'no-emoji' },
  { source: /^@multiformats\/dns$/, by: '/libp2p/', with: 'no-dns' },
  { source: /^\.\/filters\/index\.js$/, by: '@libp2p/utils', with: 'set-filter' },
  { source: /^\.\/discovery\.js$/, by: '@libp2p/circuit-relay-v2', with: 'no-relay-discovery' },
  { source: /^\.\/random-walk\.js$/, by: '/libp2p/', with: 'no-relay-discovery' },
  { source: /^\.\/(dns|ip)-mappings\.js$/, by: '/libp2p/', with: 'no-mappings' },
  {
    source: /^\.\/reservation-(store|voucher)\.js$/,
    by: '@libp2p/circuit-relay-v2/dist/src/server/',
    with: 'no-reservations',
  },
  { source: /^netmask$/, by: '@libp2p/utils', with: 'small-netmask' },
  { source: /^p-retry$/, by: 'libp2p/', with: 'small-retry' },
  { source: /^p-event$/, by: 'libp2p/', with: 'small-event' },
  { source: /^mortice$/, by: '@libp2p/peer-store', with: 'small-lock' },
]

/**
 * Leaves out of a page what a node in a tab does not use of libp2p: kad-dht's list of prefixes, by an equivalent that is
 * computed, its values and providers, kinds of keys that no node has, masks but for those of IPv4, the emoji among the
 * bases, addresses that are looked up by DNS or that a router maps, filters of thousands, the search for relays, reservations
 * with a tab, and libp2p's debug log. In vite.config: `plugins: [smallLibp2p()]`.
 */
export function smallLibp2p(): SmallLibp2p {
  const here = import.meta.url
  const extension = here.endsWith('.ts') ? 'ts' : 'js'
  return {
    name: 'sticky-pubsub:small-libp2p',
    enforce: 'pre',
    resolveId(source, importer) {
      const replaced = REPLACED.find((one) => one.source.test(source) && importer?.includes(one.by))
      return replaced && fileURLToPath(new URL(`./${replaced.with}.${extension}`, here))
    },
  }
}
