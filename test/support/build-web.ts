import { build } from 'vite'

/** Before the first test: the page that the bridge serves is built once, from this tree. */
export async function setup(): Promise<void> {
  await build({ logLevel: 'error', configFile: 'vite.config.ts' })
}
