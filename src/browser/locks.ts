/** Web Locks: held by one page of an origin, and let go of by the browser when that page is gone, however it went. */

export interface HeldLock {
  release(): void
  /** Resolves when another page has taken it away. */
  stolen: Promise<void>
}

export const hasLocks = (): boolean => typeof navigator !== 'undefined' && navigator.locks !== undefined

export interface TakeLockOptions {
  /** Ends the wait. */
  signal?: AbortSignal
  /** Takes it from whoever holds it. */
  steal?: boolean
}

/** Waits for the lock; undefined when the wait was ended. */
export function takeLock(
  name: string,
  { signal, steal }: TakeLockOptions = {},
): Promise<HeldLock | undefined> {
  const stolen = Promise.withResolvers<void>()
  return new Promise((resolve) => {
    const hold = () =>
      new Promise<void>((release) => resolve({ release: () => release(), stolen: stolen.promise }))
    // the two cannot be combined, and who steals does not wait
    const options: LockOptions = steal ? { steal } : signal ? { signal } : {}
    navigator.locks.request(name, options, hold).catch(() => {
      resolve(undefined) // the wait is over
      stolen.resolve()
    })
  })
}

/** Calls back once whoever holds the lock has let go of it. Gives the function that ends the wait. */
export function onReleased(name: string, callback: () => void): () => void {
  const stop = new AbortController()
  navigator.locks.request(name, { signal: stop.signal }, callback).catch(() => undefined)
  return () => stop.abort()
}
