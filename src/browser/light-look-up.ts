import { BUCKET_PEERS, compareBytes, distanceBetween, type Found, type NodeId } from '../dht/index.ts'

/**
 * Kademlia's look-up: those who are close to a key are asked who is closer, until the closest have been asked. Decides
 * whom to ask next and when to stop; how a peer is asked comes from the caller. Every answer may be a lie, so what one
 * look-up asks and keeps is bounded, and so is whom it asks on the word of one peer.
 */

export interface QuestionOptions {
  /** kad-dht answers with so many at most; fewer are all that there are. */
  bucketPeers: number
  /** Done when so many of the closest have answered: each knows those around it. */
  closestAsked: number
  /** Of one look-up, those who do not answer included. */
  maxQuestions: number
  questionsAtOnce: number
}

export const DEFAULT_QUESTION_OPTIONS: QuestionOptions = {
  bucketPeers: BUCKET_PEERS,
  closestAsked: 6,
  maxQuestions: 24,
  questionsAtOnce: 3,
}

export interface LookUpInit {
  target: Uint8Array
  /** Who is asked first, whatever lies where: those of each list only where all before it gave nobody. */
  seeds: NodeId[][]
  /** Whom `peer` knows close to the target. */
  ask(peer: NodeId): Promise<NodeId[]>
  placeOf(peer: NodeId): Promise<Uint8Array>
  /** Whether those who were named, fewer than a bucket, are all that there are: one answer alone does not tell. */
  areAll(peers: NodeId[]): boolean
  /** Ends the look-up: it gives what it has found. */
  signal: AbortSignal
  options: QuestionOptions
}

interface Candidate {
  nodeId: NodeId
  distance: Uint8Array
  /** Who has not answered may be named again, and is not asked again. */
  state: 'named' | 'asked' | 'silent'
  by: Credit
}

/** How many are asked still on the word of one peer alone: a liar names many, closer than all that are there. */
interface Credit {
  left: number
}

/** Of those that a seed has named, or several have. */
const UNBOUNDED: Credit = { left: Number.POSITIVE_INFINITY }

/** Who was named, but for those who do not answer. Nobody where no seed answers. */
export async function lookUp(init: LookUpInit): Promise<Found<NodeId>> {
  const { seeds, ask, signal, options } = init
  const found = new Map<NodeId, Candidate>()
  const take = async (peers: NodeId[], by = UNBOUNDED) => {
    for (const nodeId of peers) {
      const distance = distanceBetween(await init.placeOf(nodeId), init.target)
      const known = found.get(nodeId)
      if (known === undefined) found.set(nodeId, { nodeId, distance, state: 'named', by })
      else if (known.by !== by) known.by = UNBOUNDED
    }
  }
  const question = async (peer: Candidate) => {
    peer.state = 'asked'
    try {
      await take(await ask(peer.nodeId), { left: options.questionsAtOnce })
    } catch {
      if (!signal.aborted) peer.state = 'silent'
    }
  }
  let haveAnswered = false
  for (const together of seeds) {
    if (found.size > 0) break
    const answers = await Promise.allSettled(together.map(async (seed) => take(await ask(seed))))
    haveAnswered = answers.length > 0 && answers.every(({ status }) => status === 'fulfilled')
  }
  if (found.size < options.bucketPeers) {
    const peers = [...found.keys()]
    return { peers, extent: haveAnswered && init.areAll(peers) ? 'all' : 'some' }
  }
  let isOver = false
  for (let questions = 0; questions < options.maxQuestions && !signal.aborted && !isOver; ) {
    const next = closest(found)
      .filter(({ state, by }) => state === 'asked' || by.left > 0)
      .slice(0, options.closestAsked)
      .filter(({ state }) => state === 'named')
      .slice(0, Math.min(options.questionsAtOnce, options.maxQuestions - questions))
      .filter(({ by }) => by.left-- > 0)
    isOver = next.length === 0
    questions += next.length
    await Promise.all(next.map(question))
  }
  const peers = closest(found)
    .slice(0, MAX_RESULTS)
    .map(({ nodeId }) => nodeId)
  return { peers, extent: isOver && !signal.aborted ? 'closest' : 'some' }
}

/** Four times what is asked for: some of them may be no holders. */
const MAX_RESULTS = 64

const closest = (found: Map<NodeId, Candidate>): Candidate[] =>
  [...found.values()]
    .filter(({ state }) => state !== 'silent')
    .sort((a, b) => compareBytes(a.distance, b.distance))
