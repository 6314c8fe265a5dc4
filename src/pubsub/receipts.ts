import type { StickyError } from '../dht/index.ts'
import type { OutboxError, Receipt } from './api.ts'
import { Emitter } from './emitter.ts'

/**
 * Tells what becomes of the messages in the outbox. A final receipt that comes while nobody listens, as right after the
 * start, waits for the first listener. That something has failed waits for as long as the outbox has room for it; of what
 * was stored, which is in the topic, the oldest are let go of.
 */

interface Untold {
  receipt: Receipt
  onTold(): void
}

export class Receipts {
  readonly #emitter = new Emitter<{ receipt: Receipt; error: OutboxError }>(0)
  /** Of stored ones, and of errors. */
  readonly #maxUntold: number
  readonly #untold: Untold[] = []
  readonly #untoldErrors: OutboxError[] = []
  readonly #interests = new Set<(receipt: Receipt) => boolean>()
  #errorListeners = 0

  constructor(maxUntold: number) {
    this.#maxUntold = maxUntold
  }

  /** Of all topics, or of one: a final receipt then waits for somebody who listens to its topic. */
  onReceipt(listener: (receipt: Receipt) => void, topic?: string): () => void {
    const isOf = (receipt: Receipt) => topic === undefined || receipt.topic === topic
    const stop = this.#emitter.on('receipt', (receipt) => {
      if (isOf(receipt)) listener(receipt)
    })
    this.#interests.add(isOf)
    if (this.#untold.length > 0)
      queueMicrotask(() => {
        for (const untold of this.#untold.splice(0))
          if (this.#isAwaited(untold.receipt)) this.#tell(untold)
          else this.#untold.push(untold)
      })
    return once(() => {
      stop()
      this.#interests.delete(isOf)
    })
  }

  onError(listener: (error: OutboxError) => void): () => void {
    const stop = this.#emitter.on('error', listener)
    this.#errorListeners += 1
    queueMicrotask(() => {
      if (this.#errorListeners > 0)
        for (const error of this.#untoldErrors.splice(0)) this.#emitter.emit('error', error)
    })
    return once(() => {
      stop()
      this.#errorListeners -= 1
    })
  }

  change(receipt: Receipt): void {
    this.#emitter.emit('receipt', receipt)
  }

  /** `onTold` is called once it was told, or forgotten. */
  final(receipt: Receipt, onTold: () => void): void {
    if (this.#isAwaited(receipt)) return this.#tell({ receipt, onTold })
    this.#untold.push({ receipt, onTold })
    const stored = this.#untold.filter((untold) => untold.receipt.state === 'stored')
    const [oldest] = stored
    if (oldest !== undefined && stored.length > this.#maxUntold)
      this.#untold.splice(this.#untold.indexOf(oldest), 1)
  }

  /** The oldest that nobody was told of. False: there is none. */
  forgetFailure(): boolean {
    const index = this.#untold.findIndex(({ receipt }) => receipt.state === 'failed')
    if (index < 0) return false
    for (const { onTold } of this.#untold.splice(index, 1)) onTold()
    return true
  }

  error({ code, message }: StickyError): void {
    if (this.#errorListeners > 0) return this.#emitter.emit('error', { code, message })
    this.#untoldErrors.push({ code, message })
    if (this.#untoldErrors.length > this.#maxUntold) this.#untoldErrors.shift()
  }

  end(): void {
    this.#emitter.end()
  }

  #isAwaited(receipt: Receipt): boolean {
    return [...this.#interests].some((isOf) => isOf(receipt))
  }

  #tell({ receipt, onTold }: Untold): void {
    this.#emitter.emit('receipt', receipt)
    onTold()
  }
}

function once(work: () => void): () => void {
  let isDone = false
  return () => {
    if (!isDone) work()
    isDone = true
  }
}
