import { asStickyError, type ErrorCode, StickyError } from './errors.ts'
import type { NodeId } from './identity.ts'
import type { Rpc } from './rpc.ts'
import type { Runtime, Timer } from './runtime.ts'
import { MAX_RECORDS_PER_COMPARE, recordMethods } from './wire.ts'

/**
 * Asks peers whether they still have the heads that they are thought to have. What is to be asked of one peer within a
 * while goes in one request: to look after a thousand records costs hardly more requests than to look after one.
 */

interface Question {
  key: Uint8Array
  headId: Uint8Array
  resolve(differs: boolean): void
  reject(error: StickyError): void
}

interface Gathering {
  peer: NodeId
  kind: string
  questions: Question[]
  timer: Timer
}

export class HeadComparer {
  readonly #rpc: Rpc
  readonly #runtime: Runtime
  readonly #gatherings = new Map<string, Gathering>()
  #closed = false

  constructor(rpc: Rpc, runtime: Runtime) {
    this.#rpc = rpc
    this.#runtime = runtime
  }

  /**
   * Whether the peer has another head of the record than this one, or none; true also where it is there and does not say. The
   * question may wait so long for others.
   */
  differs(
    peer: NodeId,
    kind: string,
    key: Uint8Array,
    headId: Uint8Array,
    gatherMs: number,
  ): Promise<boolean> {
    if (this.#closed) return Promise.reject(closed())
    const name = `${kind} ${peer}`
    const gathering = this.#gatherings.get(name) ?? {
      peer,
      kind,
      questions: [],
      timer: this.#runtime.setTimer(() => this.#ask(name), gatherMs),
    }
    this.#gatherings.set(name, gathering)
    return new Promise((resolve, reject) => {
      gathering.questions.push({ key, headId, resolve, reject })
      if (gathering.questions.length >= MAX_RECORDS_PER_COMPARE) this.#ask(name)
    })
  }

  #ask(name: string): void {
    const gathering = this.#gatherings.get(name)
    if (gathering === undefined) return
    gathering.timer.clear()
    this.#gatherings.delete(name)
    void this.#compare(gathering)
  }

  async #compare({ peer, kind, questions }: Gathering): Promise<void> {
    try {
      const records = questions.map(({ key, headId }): [Uint8Array, Uint8Array] => [key, headId])
      const answer = await this.#rpc.request(peer, recordMethods.compare, { kind, records })
      const differing = new Set(answer.differing)
      for (const [i, { resolve }] of questions.entries()) resolve(differing.has(i))
    } catch (error) {
      const failure = asStickyError(error, 'UNREACHABLE')
      for (const { resolve, reject } of questions)
        if (NOBODY_THERE.has(failure.code)) reject(failure)
        else resolve(true)
    }
  }

  close(): void {
    this.#closed = true
    for (const { timer, questions } of this.#gatherings.values()) {
      timer.clear()
      for (const { reject } of questions) reject(closed())
    }
    this.#gatherings.clear()
  }
}

const closed = () => new StickyError('CLOSED', 'This node is closed.')

/** Who would not answer another question either. */
const NOBODY_THERE: ReadonlySet<ErrorCode> = new Set(['UNREACHABLE', 'LINK_CLOSED', 'CLOSED'])
