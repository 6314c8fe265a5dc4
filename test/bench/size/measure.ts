import { gzipSync } from 'node:zlib'
import { smallLibp2p } from '../../../src/browser/vite.ts'
import { bundle } from '../../support/bundle.ts'

/** What a page downloads for a node in a tab: one file, minified, gzip -9, kB of 1,000 bytes. */

const KILOBYTE = 1_000

export async function kilobytes(entry: string, { small = true } = {}): Promise<number> {
  const code = await bundle(entry, small ? [smallLibp2p()] : [])
  return gzipSync(code, { level: 9 }).byteLength / KILOBYTE
}

export const WHOLE_NODE = 'src/browser/index.ts'
export const LIGHT_NODE = 'src/browser/light.ts'
export const LIBP2P_BASE = 'test/bench/size/base.ts'

export interface Sizes {
  wholeNode: number
  /** Without the plugin that leaves out what is not used. */
  wholeNodeAsItComes: number
  lightNode: number
  libp2pBase: number
  /** Everything that is not libp2p: own code and what only it uses. */
  overBase: number
}

export async function measureSizes(): Promise<Sizes> {
  const wholeNode = await kilobytes(WHOLE_NODE)
  const wholeNodeAsItComes = await kilobytes(WHOLE_NODE, { small: false })
  const lightNode = await kilobytes(LIGHT_NODE)
  const libp2pBase = await kilobytes(LIBP2P_BASE)
  return { wholeNode, wholeNodeAsItComes, lightNode, libp2pBase, overBase: wholeNode - libp2pBase }
}

export interface SizeLine {
  what: string
  kilobytes: number
  /** What is wanted (requirement F14). */
  target?: number
  /** More than that fails. */
  limit?: number
}

export const sizeLines = (sizes: Sizes): SizeLine[] => [
  { what: 'whole node', kilobytes: sizes.wholeNode, target: 240, limit: 240 },
  { what: 'the same without the smallLibp2p plugin', kilobytes: sizes.wholeNodeAsItComes },
  { what: 'light node', kilobytes: sizes.lightNode, target: 150, limit: 150 },
  { what: 'of the whole node libp2p', kilobytes: sizes.libp2pBase },
  { what: 'over libp2p: own code and what it uses', kilobytes: sizes.overBase, target: 25 },
]
