import { type BlockReader, toHex } from '../dht/index.ts'
import { type Entry, type LeveledRef, openIndex, readPage } from './collection.ts'
import { openMessage } from './message.ts'
import { LIMITS } from './options.ts'

/** Messages that one side of a union has a second time, behind the pages that both have alike. */

export interface MayRepeat {
  entries: Map<string, Entry>
  hasRepeated: boolean
}

/**
 * What one side has beyond the common prefix and the other has not was mostly published after it. Where it was not, an
 * editor may have written it a second time: the end of the prefix is looked through, and what is there is left out here.
 * `looksAtAll`: not only the end, and whenever it was published.
 */
export async function leaveOutRepeated(
  topicKey: Uint8Array,
  common: LeveledRef[],
  a: MayRepeat,
  b: MayRepeat,
  read: BlockReader,
  looksAtAll = false,
): Promise<void> {
  const old = new Map<string, Entry>()
  for (const [own, other] of [
    [a, b],
    [b, a],
  ] as const)
    for (const [id, entry] of own.entries) if (!other.entries.has(id)) old.set(id, entry)
  let looked = 0
  for await (const page of pagesBackward(topicKey, common, read)) {
    if (looked === 0 && !looksAtAll) {
      const newestMs = await newestOf(page)
      for (const [id, entry] of old) if ((await publishedAtOf(entry)) >= newestMs) old.delete(id)
    }
    if (old.size === 0 || (looked >= LIMITS.maxDuplicateScan && !looksAtAll)) return
    looked += page.length
    for (const entry of page) {
      const id = toHex(entry.id)
      if (!old.delete(id)) continue
      for (const side of [a, b]) if (side.entries.delete(id)) side.hasRepeated = true
    }
  }
}

/** The newest page first. */
async function* pagesBackward(
  topicKey: Uint8Array,
  refs: LeveledRef[],
  read: BlockReader,
): AsyncGenerator<Entry[]> {
  for (const one of refs.toReversed())
    if (one.level === 0) yield await readPage(topicKey, one.ref, read)
    else yield* pagesBackward(topicKey, await openIndex(topicKey, one, read), read)
}

const publishedAtOf = async ({ envelope }: Entry): Promise<number> =>
  (await openMessage(envelope)).body.publishedAt

const newestOf = async (page: Entry[]): Promise<number> =>
  Math.max(...(await Promise.all(page.map(publishedAtOf))))
