/**
 * Two tabs of one origin must not be the same peer at once. Each takes the lowest free slot for as long as it lives, and
 * identity and records are per slot: the only tab is always slot 0, and a reload finds its own again.
 */
const MAX_SLOTS = 16

export interface TabSlot {
  index: number
  release(): void
}

export async function takeTabSlot(name = 'sticky-pubsub'): Promise<TabSlot> {
  if (typeof navigator === 'undefined' || navigator.locks === undefined)
    return { index: 0, release: () => undefined }
  for (let index = 0; index < MAX_SLOTS; index++) {
    const release = await tryLock(`${name}/${index}`)
    if (release !== undefined) return { index, release }
  }
  // More tabs than slots: the last one waits for whoever shares it rather than fighting over it.
  return { index: MAX_SLOTS, release: () => undefined }
}

/** Holds the lock until released; undefined when another tab has it. */
function tryLock(name: string): Promise<(() => void) | undefined> {
  return new Promise((resolve, reject) => {
    navigator.locks
      .request(name, { ifAvailable: true }, (lock) => {
        if (lock === null) {
          resolve(undefined)
          return
        }
        return new Promise<void>((release) => resolve(release))
      })
      .catch(reject)
  })
}
