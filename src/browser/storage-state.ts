import {
  asStickyError,
  ForwardingStorage,
  type StickyError,
  type Storage,
  type StorageOp,
} from '../dht/index.ts'

/** What the browser gives of its disk, and whether it takes what is written. */

export interface StorageState {
  /** The browser has promised not to evict this page's data when the disk is short. */
  persisted: boolean
  usedBytes: number
  quotaBytes: number
}

/** Numbers as the browser estimates them; 0 where it does not tell. */
export async function storageState(): Promise<StorageState> {
  const { storage } = navigator
  const [persisted, estimate] = await Promise.all([
    storage?.persisted?.().catch(() => false) ?? false,
    storage?.estimate?.().catch((): StorageEstimate => ({})) ?? {},
  ])
  return { persisted, usedBytes: estimate.usage ?? 0, quotaBytes: estimate.quota ?? 0 }
}

/** Asks the browser, once for each call of this, to keep the page's data. Some browsers ask the user. */
export function persistOnce(): () => void {
  let hasAsked = false
  return () => {
    if (hasAsked) return
    hasAsked = true
    void askToPersist().catch(() => undefined) // an answer like "no": storageState() tells
  }
}

async function askToPersist(): Promise<void> {
  const { storage } = navigator
  if (storage?.persist === undefined || (await storage.persisted())) return
  await storage.persist()
}

export interface StorageListener {
  /** A write failed; undefined: one like it went through again. */
  onProblem(problem: StickyError | undefined): void
  /** A write went through. */
  onWrite(): void
}

/** A problem that has not come back for so long is over, whatever was written meanwhile. */
const FORGET_MS = 60_000

const bytesOf = (operations: StorageOp[]): number =>
  operations.reduce((sum, one) => sum + (one.type === 'put' ? one.value.byteLength : 0), 0)

/** A storage of which somebody is told how its writes went. */
export class WatchedStorage extends ForwardingStorage {
  readonly #listener: StorageListener
  #isClosing = false
  #failed: { bytes: number; atMs: number } | undefined

  constructor(inner: Storage, listener: StorageListener) {
    super(inner)
    this.#listener = listener
  }

  override async write(operations: StorageOp[]): Promise<void> {
    const bytes = bytesOf(operations)
    try {
      await super.write(operations)
    } catch (error) {
      const problem = asStickyError(error, 'STORAGE_FAILED')
      // BUSY passes by itself; what is refused because of the close is no problem of the disk
      if (!this.#isClosing && problem.code !== 'BUSY') {
        this.#failed = { bytes, atMs: Date.now() }
        this.#listener.onProblem(problem)
      }
      throw problem
    }
    this.#listener.onWrite()
    const failed = this.#failed
    // on a full disk a small write may still go through
    if (failed === undefined || (bytes < failed.bytes && Date.now() - failed.atMs < FORGET_MS)) return
    this.#failed = undefined
    this.#listener.onProblem(undefined)
  }

  override close(): Promise<void> {
    this.#isClosing = true
    return super.close()
  }
}
