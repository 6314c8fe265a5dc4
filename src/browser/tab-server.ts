import { atMost, StickyError, systemRuntime } from '../dht/index.ts'
import {
  type AskFrame,
  askFrame,
  parseFrame,
  type TabOptions,
  type TabPort,
  type TellFrame,
  toFailure,
} from './tab-frames.ts'

/**
 * The leading tab's side of one port: takes calls, opens objects, tells their events. It knows nothing of topics; what
 * may be called is the table's business (tab-calls.ts). Every number of things that wait for a tab is bounded.
 */

type Tell = (event: string, value: unknown) => void
type Call = (method: string, args: unknown[], signal: AbortSignal) => Promise<unknown>

export interface ServedObject {
  /** What its getters show now: plain values. */
  mirror(): unknown
  call: Call
  close(): Promise<void>
}

/** What a tab may use: the node itself, and what it opens there. */
export interface ServedNode {
  mirror(): unknown
  call: Call
  /** Events are told once this has resolved. */
  open(method: string, args: unknown[], signal: AbortSignal, tell: Tell): Promise<ServedObject>
}

interface Opened {
  /** Resolves with the object; rejects when it could not be opened. */
  object: Promise<ServedObject>
  ready: ServedObject | undefined
  waiting: [event: string, value: unknown][]
  unacked: number[]
  unackedBytes: number
  /** As last told. */
  mirror: unknown
  mirrorTimer: ReturnType<typeof setTimeout> | undefined
}

/** Getters that move without an event, or a little after it, are told this much later. */
const MIRROR_MS = 50

export class TabSession {
  readonly #port: TabPort
  readonly #node: ServedNode
  readonly #options: TabOptions
  readonly #calls = new Map<number, { abort: AbortController; tracked: boolean; done: Promise<void> }>()
  readonly #objects = new Map<number, Opened>()
  #isClosing = false
  #isClosed = false

  constructor(port: TabPort, node: ServedNode, options: TabOptions) {
    this.#port = port
    this.#node = node
    this.#options = options
    port.onmessage = ({ data }) => {
      const frame = parseFrame(askFrame, data)
      if (frame !== undefined && !this.#isClosing) this.#take(frame)
    }
    this.welcome()
  }

  /** Also said again to a tab that missed it. */
  welcome(): void {
    this.#post({ t: 'welcome', mirror: this.#node.mirror() })
  }

  /** An event of the node itself. */
  tell(event: string, value: unknown): void {
    this.#post({ t: 'events', object: 0, events: [[event, value]], mirror: this.#node.mirror() })
  }

  get openObjects(): number {
    return this.#objects.size
  }

  /** Takes nothing more; what changes something may still end. Then says goodbye. */
  async drain(): Promise<void> {
    this.#isClosing = true
    const begun = [...this.#calls.values()].filter(({ tracked }) => tracked).map(({ done }) => done)
    await atMost(systemRuntime, this.#options.drainMs, Promise.all(begun))
    this.#post({ t: 'bye' })
    await this.close()
  }

  /** Lets go of everything the tab had, and says nothing more. */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosing = true
    this.#isClosed = true
    this.#port.close()
    for (const { abort } of this.#calls.values()) abort.abort()
    const closing = [...this.#objects.values()].map(({ object }) => object.then((it) => it.close()))
    this.#objects.clear()
    await Promise.allSettled(closing)
  }

  #take(frame: AskFrame): void {
    if (frame.t === 'call') this.#begin(frame)
    else if (frame.t === 'abort') this.#calls.get(frame.id)?.abort.abort()
    else if (frame.t === 'drop') this.#drop(frame.object)
    else this.#acknowledge(frame.object, frame.count)
  }

  #begin(frame: Extract<AskFrame, { t: 'call' }>): void {
    const { id, tracked } = frame
    if (this.#calls.has(id)) return
    if (tracked) this.#post({ t: 'taken', id })
    const abort = new AbortController()
    const done = this.#run(frame, abort.signal).finally(() => this.#calls.delete(id))
    this.#calls.set(id, { abort, tracked, done })
  }

  async #run({ id, ...call }: Extract<AskFrame, { t: 'call' }>, signal: AbortSignal): Promise<void> {
    try {
      // those of the node, of what is open, and of what is opened again
      const { maxCalls, maxObjects } = this.#options
      if (this.#calls.size >= 2 * maxCalls + maxObjects)
        throw new StickyError('BUSY', 'Too many calls of this tab are under way.')
      const value = await this.#answer(call, signal)
      this.#post({ t: 'result', id, value })
    } catch (error) {
      this.#post({ t: 'error', id, error: toFailure(error) })
    }
  }

  async #answer(
    { object, method, args, opens }: Omit<Extract<AskFrame, { t: 'call' }>, 'id'>,
    signal: AbortSignal,
  ): Promise<unknown> {
    if (opens !== undefined) return (await this.#open(opens, method, args, signal)).mirror()
    if (object === 0) return this.#node.call(method, args, signal)
    const opened = this.#objects.get(object)
    if (opened === undefined) throw new StickyError('CLOSED', 'This subscription is closed.')
    return (await opened.object).call(method, args, signal)
  }

  #open(number: number, method: string, args: unknown[], signal: AbortSignal): Promise<ServedObject> {
    if (number === 0 || this.#objects.has(number) || this.#objects.size >= this.#options.maxObjects)
      throw new StickyError('BUSY', 'Too many subscriptions of this tab.')
    const tell: Tell = (event, value) => this.#event(number, opened, event, value)
    const opened: Opened = {
      object: this.#node.open(method, args, signal, tell),
      ready: undefined,
      waiting: [],
      unacked: [],
      unackedBytes: 0,
      mirror: undefined,
      mirrorTimer: undefined,
    }
    this.#objects.set(number, opened)
    opened.object.then(
      (object) => {
        opened.ready = object
      },
      () => this.#objects.delete(number),
    )
    return opened.object
  }

  /** Events of one task go together. */
  #event(number: number, opened: Opened, event: string, value: unknown): void {
    if (this.#objects.get(number) !== opened) return
    opened.waiting.push([event, value])
    const bytes = roughBytes(value)
    opened.unacked.push(bytes)
    opened.unackedBytes += bytes
    if (opened.waiting.length === 1) queueMicrotask(() => this.#flush(number, opened))
  }

  #flush(number: number, opened: Opened): void {
    if (this.#objects.get(number) !== opened) return
    const events = opened.waiting
    opened.waiting = []
    opened.mirror = opened.ready?.mirror()
    this.#post({ t: 'events', object: number, events, mirror: opened.mirror })
    opened.mirrorTimer ??= setTimeout(() => this.#tellMoved(number, opened), MIRROR_MS)
    const { maxUnackedEvents, maxUnackedBytes } = this.#options
    if (opened.unacked.length <= maxUnackedEvents && opened.unackedBytes <= maxUnackedBytes) return
    this.#drop(number)
    this.#post({ t: 'ended', object: number })
  }

  #tellMoved(number: number, opened: Opened): void {
    opened.mirrorTimer = undefined
    const mirror = opened.ready?.mirror()
    if (this.#objects.get(number) !== opened || isSame(mirror, opened.mirror)) return
    opened.mirror = mirror
    this.#post({ t: 'events', object: number, events: [], mirror })
  }

  #acknowledge(number: number, count: number): void {
    const opened = this.#objects.get(number)
    if (opened === undefined) return
    for (const bytes of opened.unacked.splice(0, count)) opened.unackedBytes -= bytes
  }

  #drop(number: number): void {
    const opened = this.#objects.get(number)
    this.#objects.delete(number)
    opened?.object.then((object) => object.close()).catch(() => undefined)
  }

  #post(frame: TellFrame): void {
    if (this.#isClosed) return
    try {
      this.#port.postMessage(frame)
    } catch (error) {
      // what a method gave cannot be sent to another tab
      if (frame.t === 'result') this.#post({ t: 'error', id: frame.id, error: toFailure(error) })
    }
  }
}

const isSame = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other)

/** Without cost for what is small; exact enough for a bound. */
function roughBytes(value: unknown): number {
  if (typeof value === 'string') return 2 * value.length + 16
  if (value instanceof Uint8Array) return value.byteLength + 16
  if (typeof value !== 'object' || value === null) return 8
  let bytes = 16
  for (const part of Object.values(value)) bytes += roughBytes(part)
  return bytes
}
