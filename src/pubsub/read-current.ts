import { StickyError } from '../dht/index.ts'

/**
 * Reads a topic that may move on meanwhile: a holder lets go of a head's blocks some commits later
 * (`DhtOptions.keptOldCommits`), and whoever was slower than that begins again with the newest head. `read` asks for the
 * head itself.
 */
export async function readCurrent<T>(read: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await read()
    } catch (error) {
      const hasMovedOn = error instanceof StickyError && error.code === 'NOT_FOUND'
      if (!hasMovedOn || attempt === MAX_ATTEMPTS) throw error
    }
  }
}

/** A block that a holder should have and does not have is missing in each attempt. */
const MAX_ATTEMPTS = 5
