import { asStickyError, atMost, StickyError, systemRuntime } from '../dht/index.ts'
import {
  type AskFrame,
  fromFailure,
  parseFrame,
  type TabOptions,
  type TabPort,
  type TellFrame,
  tellFrame,
} from './tab-frames.ts'

/**
 * A tab's side of the port to the tab that leads, be it another one or itself. Leaders change: calls wait while there is
 * none, those that may be done twice are made again at the next one, and what was open is opened again. A call that the
 * lost leader had begun, and that must not be done twice, ends as OUTCOME_UNKNOWN.
 */

export interface CallOptions {
  /** Of which object; 0, the node, unless told. */
  object?: number
  opens?: number
  /** It changes something: whether a leader has begun it counts. */
  tracked?: boolean
  /** What a lost leader had begun is done again by the next one. Default true. */
  mayRepeat?: boolean
  /** Asked before it is sent, each time: why it cannot be any more. */
  problem?: () => StickyError | undefined
  signal?: AbortSignal
}

/** Something that lives at the leader and is opened anew at the next one. */
export interface RemoteObject {
  /** Called with the events in order, and what the getters show after them. */
  take(events: [event: string, value: unknown][], mirror: unknown): void
  /** The leader has changed, or has let go of it: it is to be opened again by the client's `call`. */
  reopen(): void
  /** Nobody leads at the moment. */
  interrupted(): void
  /** The tab's node is closed. */
  end(): void
}

interface Pending {
  frame: Extract<AskFrame, { t: 'call' }>
  signal: AbortSignal | undefined
  problem: CallOptions['problem']
  mayRepeat: boolean
  isTaken: boolean
  resolve(value: unknown): void
  reject(error: StickyError): void
}

export interface TabClientInit {
  options: TabOptions
  /** The node's own events, and what its getters show. */
  onNode(events: [event: string, value: unknown][], mirror: unknown): void
  /** The leader has said goodbye. */
  onBye(): void
}

export class TabClient {
  readonly #init: TabClientInit
  readonly #pending = new Map<number, Pending>()
  readonly #objects = new Map<number, { object: RemoteObject; handled: number; isOpen: boolean }>()
  #port: TabPort | undefined
  #isWelcome = false
  #lastId = 0
  #closed: StickyError | undefined
  #onIdle: PromiseWithResolvers<void> | undefined

  constructor(init: TabClientInit) {
    this.#init = init
  }

  /** A leader serves this tab. */
  get isConnected(): boolean {
    return this.#isWelcome
  }

  /** Talks to another leader from now on, once that one has said welcome. */
  attach(port: TabPort): void {
    this.detach()
    this.#port = port
    port.onmessage = ({ data }) => {
      const frame = parseFrame(tellFrame, data)
      if (frame !== undefined && this.#port === port) this.#take(frame)
    }
  }

  detach(): void {
    if (this.#port === undefined) return
    this.#port.onmessage = null
    this.#port.close()
    this.#port = undefined
    const wasWelcome = this.#isWelcome
    this.#isWelcome = false
    if (wasWelcome) for (const { object } of [...this.#objects.values()]) object.interrupted()
  }

  /** A number for an object that is about to be opened. */
  register(object: RemoteObject): number {
    this.#lastId += 1
    this.#objects.set(this.#lastId, { object, handled: 0, isOpen: false })
    return this.#lastId
  }

  /** Closed at this side. */
  forget(number: number): void {
    if (this.#objects.delete(number)) this.#post({ t: 'drop', object: number })
  }

  async call(method: string, args: unknown[], options: CallOptions = {}): Promise<unknown> {
    const { object = 0, opens, tracked = false, mayRepeat = true, problem, signal } = options
    if (this.#closed) throw this.#closed
    if (signal?.aborted) throw abortOf(signal)
    if (this.#pending.size >= this.#room(object, opens !== undefined))
      throw new StickyError('BUSY', 'Too many calls of this tab are under way, or wait for a tab that leads.')
    this.#lastId += 1
    const id = this.#lastId
    const frame = {
      t: 'call' as const,
      id,
      object,
      method,
      args,
      tracked,
      ...(opens === undefined ? {} : { opens }),
    }
    const onAbort = () => this.#abort(id, signal as AbortSignal)
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      return await new Promise((resolve, reject) => {
        this.#pending.set(id, { frame, signal, problem, mayRepeat, isTaken: false, resolve, reject })
        this.#send(id)
      })
    } finally {
      signal?.removeEventListener('abort', onAbort)
      this.#pending.delete(id)
      if (this.#pending.size === 0) this.#onIdle?.resolve()
    }
  }

  /** Everything that waits is rejected, with `error` where no leader has begun it; the client goes on. */
  failWaiting(error: StickyError): void {
    for (const pending of this.#pending.values()) giveUp(pending, error)
  }

  /** Ends all that is open, and gives what is called on account of that, like keeping a place, a moment to be done. */
  async endObjects(patienceMs: number): Promise<void> {
    for (const { object } of [...this.#objects.values()]) object.end()
    this.#objects.clear()
    await new Promise((resolve) => setTimeout(resolve))
    if (!this.#isWelcome || this.#pending.size === 0) return
    this.#onIdle = Promise.withResolvers()
    await atMost(systemRuntime, patienceMs, this.#onIdle.promise)
  }

  close(error: StickyError): void {
    if (this.#closed) return
    this.#closed = error
    this.failWaiting(error)
    for (const { object } of [...this.#objects.values()]) object.end()
    this.#objects.clear()
    this.detach()
  }

  /** Calls of what is open have places beside those of the node, and what a new leader is to open again beside both. */
  #room(object: number, isOpening: boolean): number {
    const { maxCalls, maxObjects } = this.#init.options
    if (isOpening) return 2 * maxCalls + maxObjects
    return object === 0 ? maxCalls : 2 * maxCalls
  }

  #abort(id: number, signal: AbortSignal): void {
    // the leader tells what became of it: an aborted publish may have been stored
    if (this.#isWelcome) this.#post({ t: 'abort', id })
    else giveUp(this.#pending.get(id) as Pending, abortOf(signal))
  }

  #send(id: number): void {
    const pending = this.#pending.get(id)
    if (pending === undefined || !this.#isWelcome || this.#port === undefined) return
    const problem = pending.problem?.()
    if (problem !== undefined) return pending.reject(problem)
    try {
      this.#port.postMessage(pending.frame)
    } catch (error) {
      // functions and the like: no data that a topic could carry
      pending.reject(asStickyError(error, 'INVALID_DATA'))
    }
  }

  #post(frame: AskFrame): void {
    if (this.#isWelcome) this.#port?.postMessage(frame)
  }

  #take(frame: TellFrame): void {
    if (frame.t === 'welcome') this.#welcome(frame.mirror)
    else if (!this.#isWelcome) return
    else if (frame.t === 'events') this.#events(frame)
    else if (frame.t === 'ended') this.#reopen(frame.object)
    else if (frame.t === 'bye') {
      this.detach()
      this.#init.onBye()
    } else this.#settle(frame)
  }

  #welcome(mirror: unknown): void {
    this.#init.onNode([], mirror)
    if (this.#isWelcome) return // said again
    this.#isWelcome = true
    const before = [...this.#pending.values()]
    for (const number of [...this.#objects.keys()]) this.#reopen(number)
    for (const pending of before) {
      const { frame, signal, isTaken, mayRepeat, problem } = pending
      const isOver = isTaken && (!mayRepeat || problem?.() !== undefined)
      if (isOver || signal?.aborted) giveUp(pending, abortOf(signal))
      else this.#send(frame.id)
    }
  }

  #reopen(number: number): void {
    const entry = this.#objects.get(number)
    if (entry === undefined) return
    entry.handled = 0
    if (!entry.isOpen) return // its first call is made again like any other
    entry.isOpen = false
    entry.object.reopen()
  }

  #events({ object: number, events, mirror }: Extract<TellFrame, { t: 'events' }>): void {
    if (number === 0) return this.#init.onNode(events as [string, unknown][], mirror)
    const entry = this.#objects.get(number)
    if (entry === undefined) return
    entry.object.take(events as [string, unknown][], mirror)
    entry.handled += events.length
    if (entry.handled < this.#init.options.ackEvents) return
    this.#post({ t: 'ack', object: number, count: entry.handled })
    entry.handled = 0
  }

  #settle(frame: Extract<TellFrame, { id: number }>): void {
    const pending = this.#pending.get(frame.id)
    if (pending === undefined) return
    if (frame.t === 'taken') pending.isTaken = true
    else if (frame.t === 'error') pending.reject(fromFailure(frame.error))
    else {
      const opened = this.#objects.get(pending.frame.opens ?? 0)
      if (opened !== undefined) opened.isOpen = true
      pending.resolve(frame.value)
    }
  }
}

/** What a leader has begun may have been done all the same. */
function giveUp({ isTaken, reject }: Pending, error: StickyError): void {
  reject(
    isTaken
      ? new StickyError(
          'OUTCOME_UNKNOWN',
          'The tab that had begun this was closed before it could tell what became of it.',
        )
      : error,
  )
}

function abortOf(signal: AbortSignal | undefined): StickyError {
  return new StickyError('ABORTED', 'The call was aborted.', { cause: signal?.reason })
}
