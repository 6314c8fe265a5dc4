import * as v from 'valibot'
import { asStickyError, StickyError } from '../dht/index.ts'
import { type HeldLock, hasLocks, takeLock } from './locks.ts'
import type { NetworkNode } from './origin-node.ts'
import type { TabClient } from './tab-client.ts'
import { TAB_VERSION, type TabOptions } from './tab-frames.ts'
import { TabLeader } from './tab-leader.ts'

/**
 * Which tab of an origin leads. The one that holds a lock does, and starts the node; all tabs wait for that lock, so the
 * browser itself hands it on when the leader is closed or crashes. Where tabs find each other is a channel of their own;
 * then each talks to the leader on a channel that only the two of them know.
 */

const LEADER_LOCK = 'sticky-pubsub/leader'
const tabLock = (tab: string) => `sticky-pubsub/tab/${tab}`
const MEETING_CHANNEL = 'sticky-pubsub/tabs'
const portName = (term: string, tab: string) => `sticky-pubsub/${term}/${tab}`

const text = v.pipe(v.string(), v.maxLength(64))
const meeting = v.variant('type', [
  v.object({ v: v.number(), type: v.literal('who') }),
  /** `ready`: the node has been started. */
  v.object({ v: v.number(), type: v.literal('leads'), term: text, ready: v.boolean() }),
  v.object({ v: v.number(), type: v.literal('join'), term: text, tab: text }),
  /** The leader has no place for that tab. */
  v.object({ v: v.number(), type: v.literal('full'), tab: text }),
])
type Meeting = v.InferOutput<typeof meeting> extends infer M ? (M extends M ? Omit<M, 'v'> : never) : never

type Ended = 'closed' | 'stolen'

export type Role = 'leader' | 'follower'

export interface TabsInit {
  options: TabOptions
  client: TabClient
  /** Opens identity and storage, and begins to join. */
  startNode(): Promise<NetworkNode>
  /** The node could not be started here, later than the first time, or cannot be used; another attempt follows. */
  onStartFailure(error: StickyError): void
}

export class Tabs {
  readonly #init: TabsInit
  readonly #tab = crypto.randomUUID()
  readonly #closing = Promise.withResolvers<'closed'>()
  /** Settles with the first leader that serves this tab, or the reason why there is none. */
  readonly #connected = Promise.withResolvers<void>()
  #channel: BroadcastChannel | undefined
  #ownLock: HeldLock | undefined
  #heartbeat: ReturnType<typeof setInterval> | undefined
  #contest = new AbortController()
  #running: Promise<void> | undefined
  #isClosed = false
  #isStealing = false
  #missedHeartbeats = 0
  /** While this tab leads. */
  #leading: { term: string; leader: TabLeader | undefined } | undefined
  /** Of the leader that this tab follows. */
  #followed: string | undefined
  /** Another one has said that it leads since that one did. */
  #isDoubted = false
  #onLeft: () => void = () => undefined

  constructor(init: TabsInit) {
    this.#init = init
    this.#connected.promise.catch(() => undefined)
  }

  get role(): Role {
    return this.#leading === undefined ? 'follower' : 'leader'
  }

  /** Resolves once this tab leads or follows; rejects when the node cannot be started. */
  async start(): Promise<void> {
    this.#running = this.#run()
    return this.#connected.promise
  }

  /** A leader has said welcome. */
  connected(): void {
    this.#connected.resolve()
  }

  /** The leader has said goodbye. */
  left(): void {
    this.#followed = undefined
    this.#onLeft()
  }

  /** `error`: what a start that is not over yet rejects with. */
  async close(error: StickyError): Promise<void> {
    this.#isClosed = true
    this.#connected.reject(error)
    this.#closing.resolve('closed')
    this.#contest.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    if (hasLocks() && typeof BroadcastChannel !== 'undefined') await this.#meet()
    await this.#contend()
    clearInterval(this.#heartbeat)
    this.#channel?.close()
    this.#ownLock?.release()
  }

  async #meet(): Promise<void> {
    // before anybody hears of this tab: by this lock the leader knows that it is there
    this.#ownLock = await takeLock(tabLock(this.#tab))
    if (this.#ownLock === undefined) return // a page that may not use locks leads alone
    this.#channel = new BroadcastChannel(MEETING_CHANNEL)
    this.#channel.onmessage = ({ data }) => {
      const parsed = v.safeParse(meeting, data)
      if (parsed.success && !this.#isClosed) this.#heard(parsed.output)
    }
    this.#heartbeat = setInterval(() => this.#beat(), this.#init.options.heartbeatMs)
  }

  #say(message: Meeting): void {
    this.#channel?.postMessage({ ...message, v: TAB_VERSION })
  }

  #heard(message: v.InferOutput<typeof meeting>): void {
    const isForeign = message.v !== TAB_VERSION
    if (message.type === 'who') {
      // a frozen page still hears, and has no timers: its node is of no use, and it must not say that it leads
      if (this.#leading !== undefined) setTimeout(() => this.#announce())
    } else if (message.type === 'leads') {
      this.#missedHeartbeats = 0 // whatever it speaks, it is not frozen
      if (isForeign) this.#foreignLeads()
      else this.#leaderIs(message.term, message.ready)
    } else if (message.type === 'full') {
      if (message.tab === this.#tab) this.#notServed(tooManyTabs())
    } else if (!isForeign) this.#joined(message.term, message.tab)
  }

  #foreignLeads(): void {
    if (this.#init.client.isConnected && this.#leading === undefined && !this.#isDoubted) {
      this.#isDoubted = true
      return this.#say({ type: 'who' }) // the one that is followed answers if it leads still
    }
    this.#notServed(otherVersion())
  }

  /** By the one that leads. It is asked again at each heartbeat. */
  #notServed(error: StickyError): void {
    this.#connected.reject(error)
    if (this.#leading !== undefined) return // the lock says which of the two does
    const { client, onStartFailure } = this.#init
    client.detach()
    this.#followed = undefined
    onStartFailure(error)
  }

  #announce(): void {
    if (this.#leading === undefined) return
    const { term, leader } = this.#leading
    this.#say({ type: 'leads', term, ready: leader !== undefined })
  }

  #joined(term: string, tab: string): void {
    if (this.#leading?.term !== term) return
    const { leader } = this.#leading
    const openPort = () => new BroadcastChannel(portName(term, tab))
    if (leader?.join(tab, openPort, tabLock(tab)) === false) this.#say({ type: 'full', tab })
  }

  #leaderIs(term: string, isReady: boolean): void {
    this.#isDoubted = false
    if (this.#leading !== undefined || !isReady) return
    const { client } = this.#init
    if (term === this.#followed && client.isConnected) return
    if (term !== this.#followed) client.attach(new BroadcastChannel(portName(term, this.#tab)))
    this.#followed = term
    this.#say({ type: 'join', term, tab: this.#tab })
  }

  /** A leader may be frozen with its lock in hand. Only a tab that is seen takes its place: others are slow themselves. */
  #beat(): void {
    if (this.#leading !== undefined || globalThis.document?.visibilityState !== 'visible') return
    if (this.#missedHeartbeats >= this.#init.options.maxMissedHeartbeats) {
      this.#isStealing = true
      this.#contest.abort()
      return
    }
    this.#missedHeartbeats += 1
    this.#say({ type: 'who' })
  }

  async #contend(): Promise<void> {
    while (!this.#isClosed) {
      const lock = await this.#waitForLock()
      if (lock === undefined) continue // another try, stealing it
      if (!this.#isClosed) await this.#lead(lock)
      lock.release()
    }
  }

  #waitForLock(): Promise<HeldLock | undefined> {
    if (this.#channel === undefined) {
      return Promise.resolve({ release: () => undefined, stolen: new Promise(() => undefined) })
    }
    this.#say({ type: 'who' }) // also after having led: what others said meanwhile was not heeded
    const steal = this.#isStealing
    this.#isStealing = false
    this.#missedHeartbeats = 0
    this.#contest = new AbortController()
    return takeLock(LEADER_LOCK, steal ? { steal } : { signal: this.#contest.signal })
  }

  async #lead(lock: HeldLock): Promise<void> {
    const ended = Promise.race([this.#closing.promise, lock.stolen.then(() => 'stolen' as const)])
    let why: Ended | 'restart' = 'restart'
    try {
      while (why === 'restart') why = await this.#leadOnce(ended)
    } catch (error) {
      const failure = asStickyError(error, 'STORAGE_FAILED')
      this.#connected.reject(failure)
      this.#init.onStartFailure(failure)
      this.#leading = undefined
      lock.release() // another tab may fare better
      const { restartMs } = this.#init.options
      await Promise.race([new Promise((resolve) => setTimeout(resolve, restartMs)), this.#closing.promise])
    } finally {
      this.#leading = undefined
    }
  }

  async #leadOnce(ended: Promise<Ended>): Promise<Ended | 'restart'> {
    const { startNode, client, options } = this.#init
    const leading = { term: crypto.randomUUID() as string, leader: undefined as TabLeader | undefined }
    this.#leading = leading
    this.#followed = undefined
    client.detach() // calls wait for the new node; the old leader may be frozen and take them all the same
    this.#announce()
    const startedMs = Date.now()
    const node = await startNode()
    const leader = new TabLeader(node, options)
    try {
      const { port1, port2 } = new MessageChannel()
      client.attach(port2)
      leader.join(this.#tab, () => port1)
      leading.leader = leader
      this.#announce()
      const why = await Promise.race([ended, node.replaced.then((lost) => lost ?? ('restart' as const))])
      leading.leader = undefined
      const goodbye = new Promise<void>((resolve) => {
        this.#onLeft = resolve
      })
      await leader.close(why !== 'stolen')
      // this tab's own answers come before it: a call whose answer is lost is made again, an import without end
      if (why !== 'stolen') await goodbye
      if (typeof why === 'string') return why
      // where storage does not last, a start follows a start with a pause, and not only in this tab
      if (Date.now() - startedMs < options.restartMs) throw why
      return 'restart'
    } finally {
      client.detach()
      await node.close().catch(() => undefined) // its storage may be gone; the next one says so
    }
  }
}

const otherVersion = (): StickyError =>
  new StickyError(
    'UNKNOWN_VERSION',
    'Another tab of this page runs another version of it. Reload both, or close that one.',
  )

const tooManyTabs = (): StickyError =>
  new StickyError('BUSY', 'This page is open in too many tabs. Close one.')
