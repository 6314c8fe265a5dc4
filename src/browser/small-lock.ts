interface LockOptions {
  signal?: AbortSignal
}
type Release = () => void
type Take = (options?: LockOptions) => Promise<Release>

/** Who holds it, or waits: then `enter` lets it in. */
interface Holder {
  isWriter: boolean
  enter: (() => void) | undefined
}

/**
 * Stands in for `mortice` where libp2p's peer store reads and changes a record: many readers or one writer, in the order
 * in which they came. What else mortice can do, as between workers, is 3 kB of the page after compression.
 */
export default function createLock(): { readLock: Take; writeLock: Take; finalize(): void } {
  const all: Holder[] = []

  function letIn(): void {
    for (const [place, holder] of all.entries()) {
      if (holder.isWriter && place > 0) return
      holder.enter?.()
      holder.enter = undefined
      if (holder.isWriter) return
    }
  }

  const take =
    (isWriter: boolean): Take =>
    ({ signal } = {}) =>
      new Promise((resolve, reject) => {
        signal?.throwIfAborted()
        const leave = () => {
          const place = all.indexOf(holder)
          if (place >= 0) all.splice(place, 1)
          letIn()
        }
        const onAbort = () => {
          leave()
          reject(signal?.reason)
        }
        const enter = () => {
          signal?.removeEventListener('abort', onAbort)
          resolve(leave)
        }
        const holder: Holder = { isWriter, enter }
        signal?.addEventListener('abort', onAbort)
        all.push(holder)
        letIn()
      })

  return { readLock: take(false), writeLock: take(true), finalize: () => undefined }
}
