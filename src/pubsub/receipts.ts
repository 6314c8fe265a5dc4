import type { StickyError } from '../dht/index.ts'
import type { OutboxError, Receipt } from './api.ts'
import { Emitter } from './emitter.ts'

/**
 * Tells what becomes of the messages in the outbox. A final receipt that comes while nobody listens, as right after the
 * start, waits for the first listener.
 */

interface Untold {
  receipt: Receipt
  onTold(): void
}

export class Receipts {
  readonly #emitter = new Emitter<{ receipt: Receipt; error: OutboxError }>(0)
  readonly #maxUntold: number
  readonly #untold: Untold[] = []
  readonly #untoldErrors: OutboxError[] = []
  #listeners = 0
  #errorListeners = 0

  constructor(maxUntold: number) {
    this.#maxUntold = maxUntold
  }

  onReceipt(listener: (receipt: Receipt) => void): () => void {
    const stop = this.#emitter.on('receipt', listener)
    this.#listeners += 1
    if (this.#untold.length > 0)
      queueMicrotask(() => {
        if (this.#listeners > 0) for (const untold of this.#untold.splice(0)) this.#tell(untold)
      })
    return once(() => {
      stop()
      this.#listeners -= 1
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

  /** `onTold` is called once it was told, or will not be because too many wait. */
  final(receipt: Receipt, onTold: () => void): void {
    if (this.#listeners > 0) return this.#tell({ receipt, onTold })
    this.#untold.push({ receipt, onTold })
    if (this.#untold.length > this.#maxUntold) this.#untold.shift()?.onTold()
  }

  error({ code, message }: StickyError): void {
    if (this.#errorListeners > 0) return this.#emitter.emit('error', { code, message })
    this.#untoldErrors.push({ code, message })
    if (this.#untoldErrors.length > this.#maxUntold) this.#untoldErrors.shift()
  }

  end(): void {
    this.#emitter.end()
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
