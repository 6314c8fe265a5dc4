import { asStickyError, type ErrorCode } from '../dht/index.ts'
import { createOutput, EXIT, type Output, report } from './output.ts'

export type Action = (output: Output, signal: AbortSignal) => Promise<void>

/** Whoever does not read what a command printed keeps it this long after it is done. */
const LINGER_MS = 3_000
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Runs one command: the first Ctrl-C or SIGTERM shuts down cleanly, a second one at once. */
export async function run(json: boolean, action: Action): Promise<void> {
  const interrupted = new AbortController()
  const interrupt = () => interrupted.abort(new Error('interrupted'))
  const onSignal = () => {
    if (interrupted.signal.aborted) process.exit(EXIT.interrupted)
    interrupt()
  }
  for (const signal of SIGNALS) process.on(signal, onSignal)
  process.once('disconnect', interrupt) // of a node whose `sticky start` is gone, however it ended
  process.stdout.on('error', interrupt) // nobody reads any more: `sticky sub … | head`
  process.stderr.on('error', () => undefined)
  try {
    await action(createOutput(json), interrupted.signal)
    process.exitCode = EXIT.ok
  } catch (error) {
    process.exitCode = isOf(interrupted.signal, error) ? EXIT.interrupted : report(error, json)
  } finally {
    for (const signal of SIGNALS) process.off(signal, onSignal)
    process.off('disconnect', interrupt)
    await exit()
  }
}

/** What ended because it was interrupted. Whatever else fails meanwhile, as a disk does while a node closes, is told. */
function isOf({ aborted, reason }: AbortSignal, error: unknown): boolean {
  for (let at: unknown = error; aborted && at instanceof Error; at = at.cause)
    if (at === reason || ENDED.has(asStickyError(at, 'UNREACHABLE').code)) return true
  return false
}

const ENDED: ReadonlySet<ErrorCode> = new Set(['ABORTED', 'CLOSED'])

/** Once all is printed: a timer of libp2p outlives its node by a second. */
async function exit(): Promise<void> {
  setTimeout(() => process.exit(), LINGER_MS)
  const printed = [process.stdout, process.stderr].map(
    (stream) => new Promise<void>((resolve) => stream.write('', () => resolve())),
  )
  await Promise.all(printed)
  process.exit()
}
