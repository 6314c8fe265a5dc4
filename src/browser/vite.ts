import { fileURLToPath } from 'node:url'

/** What Vite, Rolldown and Rollup call a plugin, as far as this one is one. */
export interface SmallKadDht {
  name: string
  enforce: 'pre'
  resolveId(source: string, importer: string | undefined): string | undefined
}

const LIST = /\/generated-prefix-list(-browser)?\.js$/

/**
 * Leaves kad-dht's list of prefixes out of a page, a fifth of it, by an equivalent that is computed (kad-prefixes.ts).
 * In vite.config: `plugins: [smallKadDht()]`.
 */
export function smallKadDht(): SmallKadDht {
  const here = import.meta.url
  const replacement = fileURLToPath(
    new URL(here.endsWith('.ts') ? './kad-prefixes.ts' : './kad-prefixes.js', here),
  )
  return {
    name: 'sticky-pubsub:small-kad-dht',
    enforce: 'pre',
    resolveId: (source, importer) =>
      LIST.test(source) && importer?.includes('@libp2p/kad-dht') ? replacement : undefined,
  }
}
