import { StickyError } from '../dht/index.ts'

/**
 * Two tabs of one origin must not be the same peer at once. Each takes the lowest free slot for as long as it lives, and
 * identity and records are per slot: the only tab is always slot 0, and a reload finds its own again.
 */
const MAX_SLOTS = 16

export interface TabSlot {
  index: number
  release(): void
}

/** How long a tab waits for the slot it had before a reload: its former page is just letting go of it. */
const RELOAD_WAIT_MS = 5_000

export async function takeTabSlot(name = 'sticky-pubsub'): Promise<TabSlot> {
  if (typeof navigator === 'undefined' || navigator.locks === undefined)
    return { index: 0, release: () => undefined }
  const former = recall(name)
  if (former !== undefined) {
    const release = await lock(`${name}/${former}`, { signal: AbortSignal.timeout(RELOAD_WAIT_MS) })
    if (release !== undefined) return { index: former, release }
  }
  for (let index = 0; index < MAX_SLOTS; index++) {
    const release = await lock(`${name}/${index}`, { ifAvailable: true })
    if (release === undefined) continue
    remember(name, index)
    return { index, release }
  }
  throw new StickyError('BUSY', `More than ${MAX_SLOTS} tabs of this page are open. Close one, then reload.`)
}

/** Holds the lock until released; undefined when another tab keeps it. */
function lock(name: string, options: LockOptions): Promise<(() => void) | undefined> {
  return new Promise((resolve) => {
    navigator.locks
      .request(name, options, (held) => {
        if (held === null) {
          resolve(undefined)
          return
        }
        return new Promise<void>((release) => resolve(release))
      })
      .catch(() => resolve(undefined)) // the wait is over
  })
}

// The session storage lives as long as the tab, reloads included. Where it is forbidden, every load is a new tab's.
function recall(name: string): number | undefined {
  try {
    const index = Number.parseInt(sessionStorage.getItem(`${name}/slot`) ?? '', 10)
    return index >= 0 && index < MAX_SLOTS ? index : undefined
  } catch {
    return undefined
  }
}

function remember(name: string, index: number): void {
  try {
    sessionStorage.setItem(`${name}/slot`, String(index))
  } catch {
    // see recall
  }
}
