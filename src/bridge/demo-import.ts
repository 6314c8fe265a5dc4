import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { StickyError } from '../dht/index.ts'
import { createNode, type StickyNode } from '../node/index.ts'
import { type Output, resolveInvitation } from '../node/program.ts'

/**
 * Replays a chat log: each author's lines go, in order, through one of several publishing nodes. Every line is published
 * as the chat's own message, with the moment it was said; the log ends when it is
 * imported.
 */

export interface ImportOptions {
  bridge: string
  invitation?: string
  publishers: number
  limit?: number
}

interface Line {
  t: number
  room: string
  from: string
  text: string
}

/** Under way at once per publisher: enough for group commits. */
const MAX_IN_FLIGHT = 128
const GENERATED_LINES = 20_000

export async function demoImport(
  file: string | undefined,
  options: ImportOptions,
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  const lines = await readLog(file, options.limit ?? Number.POSITIVE_INFINITY)
  const importedAt = Date.now()
  const nodes = await openNodes(options, signal)
  const startedAt = performance.now()
  const lastLine = lines.reduce((latest, { t }) => Math.max(latest, t), 0)
  const saidAt = ({ t }: Line) => importedAt - (lastLine - t)
  const rooms = new Map<string, number>()
  let stored = 0
  const progress = () => output.progress(bar(stored, lines.length, performance.now() - startedAt))
  try {
    const queues = share(lines, nodes)
    await Promise.all(
      [...queues].map(([node, own]) =>
        publishAll(node, own, saidAt, signal, (line) => {
          stored += 1
          rooms.set(line.room, (rooms.get(line.room) ?? 0) + 1)
          progress()
        }),
      ),
    )
  } finally {
    await Promise.all(nodes.map((node) => node.close()))
  }
  const seconds = (performance.now() - startedAt) / 1_000
  const perRoom = [...rooms].map(([room, count]) => `${room} ${count}`).join(', ')
  output.result(
    { event: 'imported', stored, seconds, rooms: Object.fromEntries(rooms) },
    `${stored} messages stored in ${seconds.toFixed(1)} s (${perRoom})`,
  )
}

/** All of them, or none is left open. */
async function openNodes(options: ImportOptions, signal: AbortSignal): Promise<StickyNode[]> {
  const { publishers, bridge: bridgeUrl } = options
  const invitation = await resolveInvitation(options.invitation, signal)
  const shown = invitation === undefined ? {} : { invitation }
  const starts = await Promise.allSettled(
    Array.from({ length: publishers }, () => createNode({ role: 'client', bridgeUrl, signal, ...shown })),
  )
  const nodes = starts.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []))
  const failed = starts.find((start) => start.status === 'rejected')
  if (failed === undefined) return nodes
  await Promise.all(nodes.map((node) => node.close()))
  throw failed.reason
}

/** One author always publishes through the same node, so that its lines keep their order. */
function share(lines: Line[], nodes: StickyNode[]): Map<StickyNode, Line[]> {
  const nodeOf = new Map<string, StickyNode>()
  const queues = new Map<StickyNode, Line[]>(nodes.map((node) => [node, []]))
  for (const line of lines) {
    const node = nodeOf.get(line.from) ?? (nodes[nodeOf.size % nodes.length] as StickyNode)
    nodeOf.set(line.from, node)
    queues.get(node)?.push(line)
  }
  return queues
}

async function publishAll(
  node: StickyNode,
  lines: Line[],
  saidAt: (line: Line) => number,
  signal: AbortSignal,
  onStored: (line: Line) => void,
): Promise<void> {
  const inFlight = new Set<Promise<void>>()
  let failure: unknown
  for (const line of lines) {
    if (failure !== undefined || signal.aborted) break
    const data = { kind: 'chat', name: line.from, text: line.text, at: saidAt(line) }
    const sending = node.pubsub
      .publish(line.room, data, { signal, deadlineMs: 60_000 })
      .then(() => onStored(line))
      .catch((error: unknown) => {
        failure ??= error
      })
      .finally(() => inFlight.delete(sending))
    inFlight.add(sending)
    if (inFlight.size >= MAX_IN_FLIGHT) await Promise.race(inFlight)
  }
  await Promise.all(inFlight)
  if (failure !== undefined) throw failure
  if (signal.aborted)
    throw new StickyError('ABORTED', 'Interrupted before the end.', { cause: signal.reason })
}

async function readLog(file: string | undefined, limit: number): Promise<Line[]> {
  const lines: Line[] = []
  for await (const text of file === undefined ? generatedLines() : fileLines(file)) {
    if (lines.length >= limit) break
    if (text.trim() === '') continue
    lines.push(parseLine(text, lines.length + 1))
  }
  if (lines.length === 0) throw new StickyError('INVALID_DATA', 'There is nothing in that log.')
  return lines
}

async function* fileLines(file: string): AsyncGenerator<string> {
  const raw = createReadStream(file)
  const input: Readable = file.endsWith('.gz') ? raw.pipe(createGunzip()) : raw
  const failed = new Promise<never>((_resolve, reject) => {
    const onError = (error: Error) =>
      reject(new StickyError('NOT_FOUND', `${file} cannot be read: ${error.message}`, { cause: error }))
    raw.once('error', onError)
    input.once('error', onError)
  })
  failed.catch(() => undefined)
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })[Symbol.asyncIterator]()
  for (;;) {
    const next = await Promise.race([lines.next(), failed])
    if (next.done) break
    yield next.value
  }
}

/** For a machine without the log: as many authors, rooms and lines, the same at every run. */
function* generatedLines(): Generator<string> {
  let state = 1
  const next = (below: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return state % below
  }
  const words =
    'yes no we they could should look at the build again tomorrow it works here but fails there because of timing'.split(
      ' ',
    )
  for (let i = 0; i < GENERATED_LINES; i++) {
    const text = Array.from({ length: 3 + next(14) }, () => words[next(words.length)]).join(' ')
    yield JSON.stringify({
      t: i * 1_000,
      room: next(10) < 7 ? 'demo-work' : 'demo-talk',
      from: `person${String(next(62)).padStart(3, '0')}`,
      text,
    })
  }
}

function parseLine(text: string, number: number): Line {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new StickyError('INVALID_DATA', `Line ${number} is not JSON.`, { cause: error })
  }
  const line = value as Partial<Line> | null
  if (
    typeof line?.t !== 'number' ||
    typeof line.room !== 'string' ||
    typeof line.from !== 'string' ||
    typeof line.text !== 'string'
  ) {
    throw new StickyError('INVALID_DATA', `Line ${number} is not { t, room, from, text }.`)
  }
  return line as Line
}

const BAR_WIDTH = 30
function bar(done: number, total: number, elapsedMs: number): string {
  const filled = Math.round((done / total) * BAR_WIDTH)
  const rate = Math.round(done / Math.max(elapsedMs / 1_000, 0.001))
  return `[${'='.repeat(filled)}${' '.repeat(BAR_WIDTH - filled)}] ${done} of ${total}, ${rate} a second`
}
