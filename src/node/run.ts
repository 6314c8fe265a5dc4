import { asStickyError, type ErrorCode, StickyError } from '../dht/index.ts'
import { createOutput, EXIT, type Output, report } from './output.ts'

export type Action = (output: Output, signal: AbortSignal) => Promise<void>

/** Once it was interrupted, whoever does not read what a command printed keeps it this long. */
const LINGER_MS = 3_000
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export interface RunOptions {
  /** There for others, not for what it prints: it goes on where that cannot be written, or nobody reads it. Default: no. */
  serves?: boolean
}

/** Runs one command: the first Ctrl-C or SIGTERM shuts down cleanly, a second one at once. */
export async function run(json: boolean, action: Action, { serves = false }: RunOptions = {}): Promise<void> {
  const interrupted = new AbortController()
  const interrupt = () => interrupted.abort(new Error('interrupted'))
  const onSignal = () => {
    if (interrupted.signal.aborted) process.exit(EXIT.interrupted)
    interrupt()
  }
  for (const signal of SIGNALS) process.on(signal, onSignal)
  process.once('disconnect', interrupt) // of a node whose `sticky start` is gone, however it ended
  let lost: NodeJS.ErrnoException | undefined
  process.stdout.on('error', (error) => {
    if (serves) return
    lost ??= error
    interrupt()
  })
  process.stderr.on('error', () => undefined)
  try {
    await action(createOutput(json), interrupted.signal)
    process.exitCode = EXIT.ok
  } catch (error) {
    process.exitCode = isOf(interrupted.signal, error) ? EXIT.interrupted : report(error, json)
  } finally {
    for (const signal of SIGNALS) process.off(signal, onSignal)
    process.off('disconnect', interrupt)
    if (interrupted.signal.aborted) setTimeout(() => process.exit(), LINGER_MS)
    await written(process.stdout)
    // nobody reads any more, as with `sticky sub … | head`: that is no failure
    if (lost !== undefined && lost.code !== 'EPIPE') process.exitCode = report(unwritten(lost), json)
    await written(process.stderr)
    process.exit() // a timer of libp2p outlives its node by a second
  }
}

/** What ended because it was interrupted. Whatever else fails meanwhile, as a disk does while a node closes, is told. */
function isOf({ aborted, reason }: AbortSignal, error: unknown): boolean {
  for (let at: unknown = error; aborted && at instanceof Error; at = at.cause)
    if (at === reason || ENDED.has(asStickyError(at, 'UNREACHABLE').code)) return true
  return false
}

const ENDED: ReadonlySet<ErrorCode> = new Set(['ABORTED', 'CLOSED'])

const written = (stream: NodeJS.WriteStream): Promise<void> =>
  new Promise((resolve) => stream.write('', () => resolve()))

const unwritten = (cause: NodeJS.ErrnoException): StickyError =>
  new StickyError(
    cause.code === 'ENOSPC' ? 'STORAGE_FULL' : 'STORAGE_FAILED',
    `What was printed could not be written: ${cause.message}`,
    { cause },
  )
