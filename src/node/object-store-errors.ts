import { StickyError } from '../dht/index.ts'

/** What LevelDB and the file system report, as sentences that say what to do. */

export function openError(error: unknown, directory: string): StickyError {
  const { codes, text } = chainOf(error)
  if (codes.includes('LEVEL_LOCKED')) {
    return new StickyError(
      'STORAGE_LOCKED',
      `${directory} is in use by another process. Stop that one, or choose another data folder with --data.`,
      { cause: error },
    )
  }
  if (isFull(codes, text))
    return new StickyError('STORAGE_FULL', `The disk that holds ${directory} is full. Free some space.`, {
      cause: error,
    })
  if (codes.some((code) => code === 'EACCES' || code === 'EPERM') || /Permission denied/.test(text)) {
    return new StickyError(
      'STORAGE_FAILED',
      `${directory} may not be read and written by this user. Change its owner, or choose another data folder with --data.`,
      { cause: error },
    )
  }
  return new StickyError(
    'STORAGE_FAILED',
    `${directory} cannot be opened as a data folder (${text}). Move it away to start empty: the other replicas bring back what they hold.`,
    { cause: error },
  )
}

export function writeError(error: unknown, directory: string): StickyError {
  const { codes, text } = chainOf(error)
  if (isFull(codes, text)) {
    return new StickyError(
      'STORAGE_FULL',
      `The disk that holds ${directory} is full: free some space, then this node takes new work again.`,
      { cause: error },
    )
  }
  return new StickyError('STORAGE_FAILED', `Writing to ${directory} failed (${text}). Check the disk.`, {
    cause: error,
  })
}

export const readError = (error: unknown, directory: string): StickyError =>
  new StickyError('STORAGE_FAILED', `Reading ${directory} failed (${chainOf(error).text}).`, { cause: error })

const isFull = (codes: string[], text: string): boolean =>
  codes.some((code) => code === 'ENOSPC' || code === 'EDQUOT') ||
  /: (No space left on device|Disk quota exceeded)/.test(text)

/** Codes and messages of an error and of what caused it. */
function chainOf(error: unknown): { codes: string[]; text: string } {
  const codes: string[] = []
  const messages: string[] = []
  for (let current = error; current instanceof Error && messages.length < 5; current = current.cause) {
    if ('code' in current && typeof current.code === 'string') codes.push(current.code)
    messages.push(current.message)
  }
  return { codes, text: messages.join(': ') || String(error) }
}
