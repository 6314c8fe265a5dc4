import { StickyError } from './errors.ts'
import type { NodeId } from './identity.ts'
import type { BlockKind, BlockReader, BlockRef } from './kinds.ts'
import { blockName } from './record.ts'
import type { Rpc } from './rpc.ts'
import { requestBlocks } from './sync.ts'
import { MAX_REFS_PER_REQUEST } from './wire.ts'

/**
 * Reads blocks of a record that this node does not hold, from one of its holders. Reads of the same tick travel in one
 * request; each block is verified before anybody sees it. A small cache serves what is asked for again.
 */

/** The newest page of a topic in its parts: root, spine, up to 63 messages, and the full pages before it. */
const MAX_CACHED_BLOCKS = 72

interface Waiting {
  ref: BlockRef
  resolve(bytes: Uint8Array): void
  reject(error: unknown): void
}

export function remoteReader(
  rpc: Rpc,
  blockKinds: ReadonlyMap<string, BlockKind>,
  kind: string,
  key: Uint8Array,
  source: NodeId,
  signal?: AbortSignal,
): BlockReader {
  const cache = new Map<string, Promise<Uint8Array>>()
  let queue: Waiting[] = []

  async function ask(batch: Waiting[]): Promise<void> {
    let rest = batch
    while (rest.length > 0) {
      const refs = rest.map(({ ref }) => ref)
      const blocks = await requestBlocks(rpc, blockKinds, kind, key, refs, source, signal)
      await Promise.all(blocks.map((bytes, i) => settle(rest[i] as Waiting, bytes)))
      rest = rest.slice(blocks.length)
    }
  }

  async function settle(waiting: Waiting, bytes: Uint8Array | null): Promise<void> {
    const { ref, resolve, reject } = waiting
    try {
      if (bytes === null)
        throw new StickyError('NOT_FOUND', `${source} does not have this ${ref.kind} block.`)
      const blockKind = blockKinds.get(ref.kind)
      if (blockKind === undefined) throw new StickyError('UNKNOWN_KIND', `Unknown block kind ${ref.kind}.`)
      await blockKind.verify(ref.id, bytes)
      resolve(bytes)
    } catch (error) {
      reject(error)
    }
  }

  function flush(): void {
    const all = queue
    queue = []
    for (let i = 0; i < all.length; i += MAX_REFS_PER_REQUEST) {
      const batch = all.slice(i, i + MAX_REFS_PER_REQUEST)
      ask(batch).catch((error: unknown) => {
        for (const waiting of batch) waiting.reject(error)
      })
    }
  }

  return (ref) => {
    const name = blockName(ref)
    const known = cache.get(name)
    if (known !== undefined) return known
    const reading = new Promise<Uint8Array>((resolve, reject) => {
      if (queue.length === 0) queueMicrotask(flush)
      queue.push({ ref, resolve, reject })
    })
    reading.catch(() => cache.delete(name))
    if (cache.size >= MAX_CACHED_BLOCKS) cache.delete(cache.keys().next().value as string)
    cache.set(name, reading)
    return reading
  }
}
