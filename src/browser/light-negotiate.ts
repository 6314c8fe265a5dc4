import type { MessageStream } from '@libp2p/interface'
import { lpStream } from '@libp2p/utils'
import { StickyError } from '../dht/index.ts'

/**
 * multistream-select 1.0: what a stream is for. Each line is its length, its text and a line break; one side proposes, the
 * other repeats what it takes, or says `na`. @libp2p/multistream-select does it too and is 1 kB more of a page.
 */

const HEADER = '/multistream/1.0.0'
/** As libp2p bounds it. */
const MAX_LINE_BYTES = 1_024
/** A peer of ours proposes one protocol, after the header. */
const MAX_PROPOSALS = 8

interface Within {
  signal: AbortSignal
}

/** Resolves when the other side has taken it. Rejects with UNKNOWN_METHOD where it does not speak it. */
export async function select(stream: MessageStream, protocol: string, within: Within): Promise<void> {
  const lines = linesOf(stream, within)
  await lines.write(HEADER, protocol)
  for (const expected of [HEADER, protocol])
    if ((await lines.read()) !== expected)
      throw new StickyError('UNKNOWN_METHOD', `The other side does not speak ${protocol}.`)
  lines.unwrap()
}

/** Which of `served` the other side wants. */
export async function handle(stream: MessageStream, served: string[], within: Within): Promise<string> {
  const lines = linesOf(stream, within)
  for (let proposals = 0; proposals <= MAX_PROPOSALS; proposals++) {
    const line = await lines.read()
    const isTaken = served.includes(line)
    await lines.write(isTaken || line === HEADER ? line : 'na')
    if (!isTaken) continue
    lines.unwrap()
    return line
  }
  throw new StickyError('MALFORMED', 'The other side proposes without end.')
}

function linesOf(stream: MessageStream, within: Within) {
  const messages = lpStream(stream, { maxDataLength: MAX_LINE_BYTES })
  return {
    write: (...lines: string[]) =>
      messages.writeV(
        lines.map((line) => new TextEncoder().encode(`${line}\n`)),
        within,
      ),
    read: async () => new TextDecoder().decode((await messages.read(within)).subarray()).trimEnd(),
    unwrap: () => messages.unwrap(),
  }
}
