import { type Block, type BlockReader, encode, equalBytes, StickyError, sha256 } from '../dht/index.ts'
import {
  decodePage,
  decodeRoot,
  type Entry,
  entryOf,
  indexRefOf,
  loadSpine,
  type MessageCollection,
  type MessagesRoot,
  type Page,
  type PageRef,
  pageRefOf,
  type Spine,
  type TailEntry,
} from './collection.ts'
import type { VerifiedMessage } from './message.ts'
import { LIMITS } from './options.ts'
import { isPageful, pagesAt, RETENTION, type Retention } from './retention.ts'

const sizeOf = ([, , bytes]: TailEntry) => ({ bytes })

/** Builds a collection by appending: the same entries after the same start give the same bytes at every node. */
export class CollectionBuilder {
  readonly #topicKey: Uint8Array
  readonly #read: BlockReader
  readonly #blocks = new Map<string, Block>()
  #levels: PageRef[][]
  #spineId: Uint8Array | null
  #spineChanged = false
  #tail: { entry: TailEntry; envelope: Uint8Array | undefined }[]
  #count: number

  private constructor(root: MessagesRoot, spine: Spine, read: BlockReader) {
    this.#topicKey = root.topic
    this.#read = read
    this.#levels = spine.levels.map((refs) => [...refs])
    this.#spineId = root.spine
    this.#tail = root.tail.map((entry) => ({ entry, envelope: undefined }))
    this.#count = root.count
  }

  static async from(root: MessagesRoot, read: BlockReader, spine?: Spine): Promise<CollectionBuilder> {
    return new CollectionBuilder(root, spine ?? { v: 1, topic: root.topic, levels: [] }, read)
  }

  /** Takes over a page or index that is sealed already. Levels never rise, so that the order stays the vector's. */
  async appendSealed(level: number, ref: PageRef): Promise<void> {
    this.#count += ref.count
    await this.#push(level, ref)
  }

  hasInTail(id: Uint8Array): boolean {
    return this.#tail.some(({ entry }) => equalBytes(entry[0], id))
  }

  /** Whether the next entry will make it necessary to know the spine. */
  static sealsWith(root: MessagesRoot, entries: Entry[]): boolean {
    return isPageful([...root.tail.map(sizeOf), ...entries])
  }

  async append({ id, addedInVersion, expiresAt, bytes, envelope }: Entry, isNew: boolean): Promise<void> {
    this.#tail.push({ entry: [id, addedInVersion, bytes, expiresAt], envelope })
    this.#count += 1
    if (isNew) this.#add({ kind: 'message', id, bytes: envelope })
    if (isPageful(this.#tail.map(({ entry: added }) => sizeOf(added)))) await this.#seal()
  }

  #add(block: Block): void {
    this.#blocks.set(`${block.kind}/${block.id.join()}`, block)
  }

  async #seal(): Promise<void> {
    const entries = await Promise.all(
      this.#tail.map(
        async ({ entry, envelope }): Promise<[number, Uint8Array]> => [
          entry[1],
          envelope ?? (await this.#read({ kind: 'message', id: entry[0] })),
        ],
      ),
    )
    const page: Page = { v: 1, topic: this.#topicKey, entries }
    const bytes = encode(page)
    decodePage.remember(bytes, page)
    const id = await sha256(bytes)
    this.#add({ kind: 'page', id, bytes })
    const sealed = this.#tail.map(({ entry }) => ({ addedInVersion: entry[1], expiresAt: entry[3] }))
    await this.#push(0, pageRefOf(id, sealed))
    this.#tail = []
  }

  async #push(level: number, ref: PageRef): Promise<void> {
    if (level >= LIMITS.maxSpineLevels)
      throw new StickyError('TOPIC_FULL', 'A topic with more messages than its index holds.')
    while (this.#levels.length <= level) this.#levels.push([])
    const refs = this.#levels[level] as PageRef[]
    refs.push(ref)
    this.#spineChanged = true
    if (refs.length < LIMITS.fanOut) return
    const bytes = encode({ v: 1, topic: this.#topicKey, level: level + 1, refs })
    const id = await sha256(bytes)
    this.#add({ kind: 'index', id, bytes })
    this.#levels[level] = []
    await this.#push(level + 1, indexRefOf(id, refs))
  }

  /** Lets go of everything whose latest expiry, with the grace, is before `nowMs`; true when there was any. Needs the spine. */
  dropExpired(nowMs: number): boolean {
    const before = this.#count
    const keeps = (expiresAt: number) => expiresAt + LIMITS.graceMs >= nowMs
    for (const [level, refs] of this.#levels.entries()) {
      const kept = refs.filter((ref) => keeps(ref.expiresAt))
      if (kept.length === refs.length) continue
      this.#count -= refs.reduce((sum, ref) => sum + (keeps(ref.expiresAt) ? 0 : ref.count), 0)
      this.#levels[level] = kept
      this.#spineChanged = true
    }
    const tail = this.#tail.filter(({ entry }) => keeps(entry[3]))
    this.#count -= this.#tail.length - tail.length
    this.#tail = tail
    return this.#count < before
  }

  /** Lets go of the oldest pages or indexes that enough others follow on; true when there was any. Needs the spine. */
  trim({ keptPages, slackPages }: Retention): boolean {
    const before = this.#count
    let pages = this.#levels.reduce((sum, refs, level) => sum + refs.length * pagesAt(level), 0)
    for (const [level, refs] of [...this.#levels.entries()].reverse()) {
      const spare = Math.floor((pages - keptPages - slackPages) / pagesAt(level))
      const trimmed = refs.slice(0, Math.max(0, spare))
      if (trimmed.length > 0) {
        pages -= trimmed.length * pagesAt(level)
        this.#count -= trimmed.reduce((sum, { count }) => sum + count, 0)
        this.#levels[level] = refs.slice(trimmed.length)
        this.#spineChanged = true
      }
      if (trimmed.length < refs.length) break // what is younger than one that stays, stays too
    }
    return this.#count < before
  }

  async finish(): Promise<{ collection: MessageCollection; blocks: Block[] }> {
    if (this.#spineChanged) {
      while (this.#levels.length > 0 && this.#levels.at(-1)?.length === 0) this.#levels.pop()
      const bytes = encode({ v: 1, topic: this.#topicKey, levels: this.#levels })
      this.#spineId = this.#levels.length === 0 ? null : await sha256(bytes)
      if (this.#spineId !== null) this.#add({ kind: 'spine', id: this.#spineId, bytes })
    }
    const tail = this.#tail.map(({ entry }) => entry)
    const count = Math.max(0, this.#count) // what is taken over from others may claim anything
    const root: MessagesRoot = { v: 1, topic: this.#topicKey, count, spine: this.#spineId, tail }
    const bytes = encode(root)
    decodeRoot.remember(bytes, root)
    const rootId = await sha256(bytes)
    this.#add({ kind: 'messages', id: rootId, bytes })
    return { collection: { rootId, root }, blocks: [...this.#blocks.values()] }
  }
}

/**
 * Adds messages, stamped with `addedInVersion`. Reads nothing but the root, unless a page is sealed: then also the spine,
 * and what has expired is let go of, and what is too much. Ids that the tail has already are skipped.
 */
export async function appendMessages(
  root: MessagesRoot,
  messages: VerifiedMessage[],
  addedInVersion: number,
  nowMs: number,
  read: BlockReader,
  retention: Retention = RETENTION,
): Promise<{ collection: MessageCollection; blocks: Block[] }> {
  const entries = messages.map((message) => entryOf(message, addedInVersion))
  const seals = CollectionBuilder.sealsWith(root, entries)
  const builder = await CollectionBuilder.from(root, read, seals ? await loadSpine(root, read) : undefined)
  if (seals) builder.dropExpired(nowMs)
  for (const entry of entries) if (!builder.hasInTail(entry.id)) await builder.append(entry, true)
  if (seals) builder.trim(retention)
  return builder.finish()
}

/**
 * The collection without what has expired or is too much, undefined when that is nothing: a topic may live on subscriptions
 * alone.
 */
export async function trimMessages(
  root: MessagesRoot,
  nowMs: number,
  read: BlockReader,
  retention: Retention = RETENTION,
): Promise<{ collection: MessageCollection; blocks: Block[] } | undefined> {
  const builder = await CollectionBuilder.from(root, read, await loadSpine(root, read))
  const hasDropped = builder.dropExpired(nowMs)
  return builder.trim(retention) || hasDropped ? builder.finish() : undefined
}
