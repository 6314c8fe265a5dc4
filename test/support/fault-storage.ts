import { StickyError } from '../../src/dht/errors.ts'
import { memoryStorage } from '../../src/dht/memory-storage.ts'
import type { Storage, StorageOp } from '../../src/dht/storage.ts'

/** Memory storage that writes down what it is asked to do, and fails or waits where a test says so. */
export class FaultStorage implements Storage {
  readonly persistent = true
  readonly writes: StorageOp[][] = []
  compactions = 0
  readonly #inner: Storage
  #failing: ((operations: StorageOp[]) => boolean) | undefined
  #hold: Promise<void> | undefined

  constructor(inner: Storage = memoryStorage()) {
    this.#inner = inner
  }

  /** Every write that `which` picks is refused and does nothing, until `heal`. */
  failWhen(which: (operations: StorageOp[]) => boolean): void {
    this.#failing = which
  }

  heal(): void {
    this.#failing = undefined
  }

  /** Writes from now on wait; gives what lets them go on. */
  hold(): () => void {
    const gate = Promise.withResolvers<void>()
    this.#hold = gate.promise
    return () => {
      this.#hold = undefined
      gate.resolve()
    }
  }

  get(key: string): Promise<Uint8Array | undefined> {
    return this.#inner.get(key)
  }

  entries(prefix: string): AsyncIterable<[key: string, value: Uint8Array]> {
    return this.#inner.entries(prefix)
  }

  keys(prefix: string): AsyncIterable<string> {
    return this.#inner.keys(prefix)
  }

  async write(operations: StorageOp[]): Promise<void> {
    this.writes.push(operations)
    await this.#hold
    if (this.#failing?.(operations)) throw new StickyError('STORAGE_FAILED', 'The disk refused a write.')
    await this.#inner.write(operations)
  }

  async compact(): Promise<void> {
    this.compactions += 1
  }

  close(): Promise<void> {
    return this.#inner.close()
  }

  /** Bypasses every fault: what is on the disk now. */
  async allKeys(prefix = ''): Promise<string[]> {
    const keys: string[] = []
    for await (const key of this.#inner.keys(prefix)) keys.push(key)
    return keys
  }

  /** Changes one byte of a stored value, as a bad disk does. */
  async corrupt(key: string): Promise<void> {
    const value = (await this.#inner.get(key))?.slice()
    if (value === undefined) throw new Error(`Nothing is stored under ${key}.`)
    const at = value.byteLength >> 1
    value[at] = (value[at] as number) ^ 0x01
    await this.#inner.write([{ type: 'put', key, value }])
  }
}
