import { type Dht, equalBytes, type HeadAnswer, type NodeId, StickyError } from '../dht/index.ts'
import { decodeCoordinator } from './coordinator.ts'
import { COORDINATOR } from './options.ts'

/**
 * The head that a reader's source shows, with every message that a majority of the replicas has shown; null where it has
 * nothing, and nobody else has. Throws what came of asking the source, and CONFLICT where it is no replica any more or
 * does not take what the others have. `agree`: as of `readHeads`.
 */
export async function headByMajority(
  dht: Dht,
  topicKey: Uint8Array,
  source: NodeId,
  signal: AbortSignal,
  agree?: (a: Uint8Array, b: Uint8Array) => boolean,
): Promise<Uint8Array | null> {
  const answers = await dht.readHeads(COORDINATOR, topicKey, signal, agree)
  const answer = answers.find(({ peer }) => peer === source)
  // it may have nothing, or an old state, for ever: nobody repairs it
  if (answer === undefined)
    throw new StickyError('CONFLICT', `${source} is no replica of the topic any more.`)
  if (answer.error !== undefined) throw answer.error
  if (isLeftBehind(answer, answers))
    throw new StickyError('CONFLICT', `${source} does not take what the other replicas have.`)
  return answer.head ?? null
}

/**
 * For one who joins: whoever does so changes the head for all others, and that is nothing to wait for. Not below `version`,
 * up to which it has seen everything: a lower number would send it back to the beginning.
 */
export const agreeForJoin =
  (version: number) =>
  (a: Uint8Array, b: Uint8Array): boolean =>
    haveSameMessages(a, b) && [a, b].every((head) => decodeCoordinator(head).version >= version)

function haveSameMessages(a: Uint8Array, b: Uint8Array): boolean {
  const [one, other] = [decodeCoordinator(a).messages, decodeCoordinator(b).messages]
  return one === null || other === null ? one === other : equalBytes(one, other)
}

/**
 * After a repair an honest replica is level with most of the others, but for what is committed in that moment. A single
 * high version proves nothing: anybody may claim one.
 */
function isLeftBehind({ head: own }: HeadAnswer, all: HeadAnswer[]): boolean {
  const versionOf = (head: Uint8Array | undefined) =>
    head === undefined ? 0 : decodeCoordinator(head).version
  const isAhead = ({ head }: HeadAnswer) =>
    versionOf(head) > versionOf(own) + MAX_LAG_VERSIONS &&
    !(own !== undefined && head !== undefined && haveSameMessages(own, head))
  return all.filter(isAhead).length * 2 > all.length
}

const MAX_LAG_VERSIONS = 8
