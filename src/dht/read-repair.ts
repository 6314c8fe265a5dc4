import { equalBytes } from './codec.ts'
import { asStickyError, type ErrorCode, requireNotAborted, type StickyError } from './errors.ts'
import { type NodeId, publicKeyOf } from './identity.ts'
import type { RecordStore } from './record-store.ts'
import type { HeadAnswer } from './replicas.ts'
import type { Rpc } from './rpc.ts'
import { recordMethods } from './wire.ts'

/**
 * What a reader does with heads that differ: one holder is shown all of them, and its join is shown to the others. No
 * holder is believed for that: a head that does not verify is an error of who gave it, and one that joins what most of the
 * others then refuse, or cannot get, is left out, and another one asked to join.
 */
export class ReadRepair {
  readonly #store: RecordStore
  readonly #rpc: Rpc
  readonly #kind: string
  readonly #key: Uint8Array
  readonly #signal: AbortSignal | undefined

  constructor(store: RecordStore, rpc: Rpc, kind: string, key: Uint8Array, signal: AbortSignal | undefined) {
    this.#store = store
    this.#rpc = rpc
    this.#kind = kind
    this.#key = key
    this.#signal = signal
  }

  /**
   * After it every holder that answered has joined every head that it could; the others' answers are errors. Nothing is
   * joined where all of them agree.
   */
  async run(answers: HeadAnswer[], agree: (a: Uint8Array, b: Uint8Array) => boolean): Promise<void> {
    await this.#checkAll(answers)
    for (;;) {
      const alive = answers.filter(({ error }) => error === undefined)
      const first = mostShown(alive)
      const shown = first?.head
      if (first === undefined || shown === undefined) return
      if (alive.every(({ head }) => head !== undefined && agree(head, shown))) return
      if (!(await this.#joinAt(first, alive))) continue
      requireNotAborted(this.#signal, 'The read')
      const others = alive.filter((answer) => answer !== first)
      const refusals = await this.#showTo(others, first)
      if (heldAgainst(refusals).length * 2 > others.length) {
        Object.assign(first, { head: undefined, error: refusals[0]?.error })
        continue
      }
      for (const { answer, error } of refusals) answer.error = error
      return
    }
  }

  /** Mostly all show the same head, which is looked at once. */
  async #checkAll(answers: HeadAnswer[]): Promise<void> {
    const check = async ([first, ...others]: HeadAnswer[]) => {
      await this.#checkGiven(first as HeadAnswer)
      for (const other of others) Object.assign(other, { head: first?.head, error: first?.error })
    }
    await Promise.all(byHead(answers).map(check))
  }

  async #checkGiven(answer: HeadAnswer): Promise<void> {
    if (answer.head === undefined) return
    try {
      await this.#store.headKind(this.#kind).verify(this.#key, answer.head)
    } catch (error) {
      answer.head = undefined
      answer.error = asStickyError(error, 'MALFORMED')
    }
  }

  /** False when what it then shows is no head: it is an error from there on. */
  async #joinAt(first: HeadAnswer, alive: HeadAnswer[]): Promise<boolean> {
    for (const { head, peer } of alive) {
      if (head === undefined || this.#contains(first.head as Uint8Array, head)) continue
      try {
        first.head = await this.#offer(head, peer, first.peer)
      } catch (error) {
        // who cannot be joined now stays behind until anti-entropy reaches it
        if (asStickyError(error, 'UNREACHABLE').code === 'TIMEOUT') break
        continue
      }
      await this.#checkGiven(first)
      if (first.error !== undefined) return false
    }
    return true
  }

  /** By the heads themselves: whoever is asked to join one may say that it has. */
  #contains(head: Uint8Array, other: Uint8Array): boolean {
    const relation = this.#store.headKind(this.#kind).compare(other, head)
    return relation === 'same' || relation === 'behind'
  }

  /**
   * Those that refuse what `first` shows, or are not done with it in time. Whoever did not get as far is an error for reasons
   * of its own.
   */
  async #showTo(others: HeadAnswer[], first: HeadAnswer): Promise<Refusal[]> {
    const refusals: Refusal[] = []
    const show = async (answer: HeadAnswer) => {
      if (isSame(answer.head, first.head)) return
      try {
        answer.head = await this.#offer(first.head as Uint8Array, first.peer, answer.peer)
        await this.#checkGiven(answer)
      } catch (error) {
        const failure = asStickyError(error, 'UNREACHABLE')
        // who is there speaks of the holder that it was to fetch from
        const isHeld = NO_ANSWER.has(failure.code) && this.#rpc.isConnected(answer.peer)
        if (REFUSALS.has(failure.code) || isHeld) refusals.push({ answer, error: failure })
        else answer.error = failure
      }
    }
    await Promise.all(others.map(show))
    return refusals
  }

  async #offer(head: Uint8Array, source: NodeId, to: NodeId): Promise<Uint8Array> {
    const request = { kind: this.#kind, key: this.#key, head, source: publicKeyOf(source) }
    const answer = await this.#rpc.request(to, recordMethods.offer, request, {
      timeoutMs: this.#store.options.readRepairMs,
      ...(this.#signal ? { signal: this.#signal } : {}),
    })
    return answer.head
  }
}

interface Refusal {
  answer: HeadAnswer
  error: StickyError
}

/**
 * Whoever has a head and does not get what another one names may be slow, or that one's holder may keep it back: which it is,
 * most of them tell. A newcomer has all to fetch, and tells nothing.
 */
const heldAgainst = (refusals: Refusal[]): Refusal[] =>
  refusals.filter(
    ({ answer, error }) => !NO_ANSWER.has(error.code) || (answer.head !== undefined && refusals.length > 1),
  )

const isSame = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a === undefined || b === undefined ? a === b : equalBytes(a, b)

/** Those that have a head, together where it is the same, in order. */
function byHead(answers: HeadAnswer[]): HeadAnswer[][] {
  const groups: HeadAnswer[][] = []
  for (const answer of answers) {
    if (answer.head === undefined) continue
    const group = groups.find(([other]) => isSame(other?.head, answer.head))
    if (group === undefined) groups.push([answer])
    else group.push(answer)
  }
  return groups
}

/** The first in order of those whose head the most have. Undefined where nobody has one. */
function mostShown(answers: HeadAnswer[]): HeadAnswer | undefined {
  let most: HeadAnswer[] = []
  for (const same of byHead(answers)) if (same.length > most.length) most = same
  return most[0]
}

const NO_ANSWER: ReadonlySet<ErrorCode> = new Set(['TIMEOUT', 'UNREACHABLE', 'LINK_CLOSED'])

/** What a holder says of a head that it will not have, or of the blocks that it names. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set([
  'MALFORMED',
  'NOT_CANONICAL',
  'TOO_LARGE',
  'WRONG_HASH',
  'BAD_SIGNATURE',
  'WRONG_TOPIC',
  'FROM_THE_FUTURE',
  'UNKNOWN_KIND',
  'NOT_FOUND',
])
