import {
  type BlockReader,
  type Dht,
  delay,
  equalBytes,
  type HeadAnswer,
  type NodeId,
  StickyError,
} from '../dht/index.ts'
import { decodeCoordinator } from './coordinator.ts'
import type { Loaded } from './history.ts'
import { COORDINATOR, type PubSubOptions } from './options.ts'

interface Options extends Pick<PubSubOptions, 'retryMs'> {
  /** When this node began, by the clock that never goes back. */
  startedAtMs: number
}

/**
 * The joined head of a topic, read at a majority of its holders, with a reader of its blocks; undefined where nothing was
 * ever said. Throws NO_REPLICAS, or what came of asking the nearest one where none answered.
 */
export async function loadTopic(
  dht: Dht,
  topicKey: Uint8Array,
  options: Options,
  signal?: AbortSignal,
): Promise<Loaded | undefined> {
  const answers = await readHeads(dht, topicKey, options, signal)
  if (answers.length === 0) throw new StickyError('NO_REPLICAS', 'No node that stores topics can be reached.')
  if (answers.every((answer) => answer.error !== undefined)) throw (answers[0] as HeadAnswer).error
  const answer = agreedHead(answers, dht.self)
  if (answer === undefined) return undefined
  const { head } = answer
  const others = answers.filter((other) => other !== answer && other.head && equalBytes(other.head, head))
  const sources = [answer, ...others].map(({ peer }) => peer)
  return {
    coordinator: decodeCoordinator(head),
    head,
    reader: (own) => readerAtAny(sources.map((source) => dht.reader(COORDINATOR, topicKey, source, own))),
  }
}

/** All of them hold what the head names: where one fails, the next one goes on. */
function readerAtAny(readers: BlockReader[]): BlockReader {
  let current = 0
  return async (ref) => {
    for (let at = current; ; at++) {
      try {
        return await (readers[at] as BlockReader)(ref)
      } catch (error) {
        // it has asked all others: the topic has gone on
        const isNowhere = error instanceof StickyError && error.code === 'NOT_FOUND'
        if (isNowhere || at === readers.length - 1) throw error
        current = Math.max(current, at + 1)
      }
    }
  }
}

/** Who has just joined may know nobody for a moment, or only some of whom it will know: nothing there is said twice. */
async function readHeads(
  dht: Dht,
  topicKey: Uint8Array,
  { retryMs, startedAtMs }: Options,
  signal: AbortSignal | undefined,
): Promise<HeadAnswer[]> {
  for (let attempt = 0; ; attempt++) {
    const answers = await dht.readHeads(COORDINATOR, topicKey, signal)
    const answered = answers.filter(({ error }) => error === undefined)
    const known = dht.replicas.countOf(topicKey)
    const knowsAll =
      dht.replicas.refreshing(topicKey) === undefined &&
      (known >= dht.options.replication || dht.runtime.monotonicNow() - startedAtMs > YOUNG_MS)
    const isSure =
      answered.some(({ head }) => head !== undefined) || (answered.length * 2 > known && knowsAll)
    if (isSure || attempt === MAX_UNSURE_READS) return answers
    await delay(dht.runtime, retryMs * 2 ** attempt, signal)
  }
}

/** Until then it may have met only a newcomer, which holds nothing yet; a join takes about a second. */
const YOUNG_MS = 3_000
/** With the default backoff 1.5 s in all. */
const MAX_UNSURE_READS = 4

/**
 * After a repair honest holders have one head; a holder that keeps to a stale one is outvoted. Among equals this node
 * itself, then the newest.
 */
function agreedHead(answers: HeadAnswer[], self: NodeId): (HeadAnswer & { head: Uint8Array }) | undefined {
  const found = answers.filter(
    (answer): answer is HeadAnswer & { head: Uint8Array } => answer.head !== undefined,
  )
  const votes = (head: Uint8Array) => found.filter((other) => equalBytes(other.head, head)).length
  const ranked = found.map((answer) => ({ answer, votes: votes(answer.head) }))
  ranked.sort(
    (a, b) =>
      b.votes - a.votes ||
      Number(b.answer.peer === self) - Number(a.answer.peer === self) ||
      decodeCoordinator(b.answer.head).version - decodeCoordinator(a.answer.head).version,
  )
  return ranked[0]?.answer
}
