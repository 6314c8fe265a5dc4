import * as v from 'valibot'
import { toHex } from './codec.ts'
import { asStickyError, isErrorCode, isOwnTrouble, StickyError } from './errors.ts'
import type { NodeId } from './identity.ts'
import { countCode, StageTimers } from './measures.ts'
import { type Link, type LinkEvents, MAX_FRAME_BYTES, type PeerNetwork } from './network.ts'
import type { DhtOptions } from './options.ts'
import { PeerScores } from './peer-scores.ts'
import { RateLimiter } from './rate-limit.ts'
import { methodCounts, newRpcCounters, type RpcCounters } from './rpc-counters.ts'
import { inWorkOf, newPeer, type Peer, type PeerLink } from './rpc-peer.ts'
import type { Runtime, Timer } from './runtime.ts'
import { decodeFrame, encodeFrame, type Frame, type Hello, type Method, WIRE_VERSION } from './wire.ts'

/**
 * Requests over the one long-lived link to each peer. A request promises exactly one thing: a reply, or an error with a
 * code (TIMEOUT, UNREACHABLE, LINK_CLOSED, or what the peer answered). Nobody above this file sees a link.
 */

type Schema = v.GenericSchema
type Handler<Q extends Schema, A extends Schema> = (
  from: NodeId,
  body: v.InferOutput<Q>,
) => Promise<v.InferInput<A>> | v.InferInput<A>

interface Pending {
  resolve(body: unknown): void
  reject(error: StickyError): void
  link: PeerLink | undefined
}

export interface RequestOptions {
  timeoutMs?: number
  signal?: AbortSignal
}

export class Rpc {
  readonly #network: PeerNetwork
  readonly #runtime: Runtime
  readonly #options: DhtOptions
  readonly #limiter: RateLimiter
  readonly #handlers = new Map<string, { method: Method<Schema, Schema>; handle: Handler<Schema, Schema> }>()
  readonly #peers = new Map<NodeId, Peer>()
  readonly #pending = new Map<number, Pending>()
  readonly #session: Uint8Array
  readonly #goneListeners = new Set<(peer: NodeId) => void>()
  readonly #seenListeners = new Set<(peer: NodeId) => void>()
  #nextId = 0
  #closed = false
  readonly counters: RpcCounters = newRpcCounters()
  readonly scores: PeerScores
  readonly #stages: StageTimers

  constructor(
    network: PeerNetwork,
    runtime: Runtime,
    options: DhtOptions,
    stages: StageTimers = new StageTimers(runtime),
  ) {
    this.#stages = stages
    this.#network = network
    this.#runtime = runtime
    this.#options = options
    this.#limiter = new RateLimiter(runtime)
    this.scores = new PeerScores(runtime)
    this.#session = runtime.randomBytes(16)
    network.onInboundLink((link) => this.#accept(link))
  }

  handle<Q extends Schema, A extends Schema>(method: Method<Q, A>, handle: Handler<Q, A>): void {
    if (this.#handlers.has(method.name)) throw new Error(`Two handlers for ${method.name}`)
    this.#handlers.set(method.name, { method, handle: handle as unknown as Handler<Schema, Schema> })
  }

  /** Called when the last link to a peer has closed. */
  onPeerGone(listener: (peer: NodeId) => void): () => void {
    this.#goneListeners.add(listener)
    return () => this.#goneListeners.delete(listener)
  }

  /** Called when a peer has said hello on a new link. */
  onPeerSeen(listener: (peer: NodeId) => void): () => void {
    this.#seenListeners.add(listener)
    return () => this.#seenListeners.delete(listener)
  }

  isConnected(peer: NodeId): boolean {
    return peer === this.#network.self || (this.#peers.get(peer)?.links.length ?? 0) > 0
  }

  helloOf(peer: NodeId): Hello | undefined {
    return this.#peers.get(peer)?.hello
  }

  get connectedPeers(): NodeId[] {
    return [...this.#peers].filter(([, peer]) => peer.links.length > 0).map(([nodeId]) => nodeId)
  }

  async request<Q extends Schema, A extends Schema>(
    to: NodeId,
    method: Method<Q, A>,
    body: v.InferInput<Q>,
    options: RequestOptions = {},
  ): Promise<v.InferOutput<A>> {
    if (this.#closed) throw new StickyError('CLOSED', 'This node is closed.')
    if (to === this.#network.self) return this.#requestSelf(method, body)
    const answer = await this.#exchange(to, method.name, body, options)
    const result = v.safeParse(method.response, answer)
    if (!result.success)
      throw new StickyError('MALFORMED', `${to} answered ${method.name} in an unknown shape.`)
    return result.output
  }

  close(): void {
    this.#closed = true
    for (const peer of this.#peers.values()) for (const { link } of peer.links) link.close()
    for (const pending of this.#pending.values())
      pending.reject(new StickyError('CLOSED', 'This node is closed.'))
    this.#pending.clear()
  }

  /** Sending to oneself never dials and never encodes. */
  async #requestSelf<Q extends Schema, A extends Schema>(method: Method<Q, A>, body: v.InferInput<Q>) {
    const entry = this.#handlers.get(method.name)
    if (entry === undefined)
      throw new StickyError('UNKNOWN_METHOD', `This node does not serve ${method.name}.`)
    return (await entry.handle(this.#network.self, body)) as v.InferOutput<A>
  }

  #exchange(to: NodeId, methodName: string, body: unknown, options: RequestOptions): Promise<unknown> {
    const timeoutMs = options.timeoutMs ?? this.#options.requestTimeoutMs
    const { counters } = this
    counters.begun += 1
    methodCounts(counters, methodName).begun += 1
    return new Promise((resolve, reject) => {
      const id = this.#nextId
      this.#nextId = (this.#nextId + 1) >>> 0
      let isOver = false
      // once: a dial may still fail when its request has timed out already
      const finish = (count: () => void) => {
        if (isOver) return
        isOver = true
        timer.clear()
        options.signal?.removeEventListener('abort', onAbort)
        this.#pending.delete(id)
        count()
      }
      const pending: Pending = {
        link: undefined,
        resolve(answer) {
          finish(() => {
            counters.answered += 1
          })
          resolve(answer)
        },
        reject(error) {
          finish(() => countCode(counters.failures, error.code))
          reject(error)
        },
      }
      const onAbort = () => pending.reject(new StickyError('ABORTED', 'The request was aborted.'))
      const timer: Timer = this.#runtime.setTimer(() => {
        finish(() => {
          counters.timeouts += 1
        })
        this.#noteUnanswered(to)
        reject(new StickyError('TIMEOUT', `${to} did not answer ${methodName} within ${timeoutMs} ms.`))
      }, timeoutMs)
      if (options.signal?.aborted) return onAbort()
      options.signal?.addEventListener('abort', onAbort, { once: true })
      this.#pending.set(id, pending)
      this.#send(to, ['request', id, methodName, body], pending).catch((error: unknown) =>
        pending.reject(asStickyError(error, 'UNREACHABLE')),
      )
    })
  }

  async #send(to: NodeId, frame: Frame, pending: Pending): Promise<void> {
    const bytes = encodeFrame(frame)
    if (bytes.byteLength > MAX_FRAME_BYTES)
      throw new StickyError('TOO_LARGE', `A frame of ${bytes.byteLength} bytes.`)
    const link = this.#newestLink(to) ?? (await this.#open(to))
    if (!this.#pending.has(frame[1] as number)) return // timed out or aborted while dialling
    pending.link = link
    this.counters.requestsSent += 1
    this.counters.bytesSent += bytes.byteLength
    if (!link.link.send(bytes)) throw new StickyError('LINK_CLOSED', `The link to ${to} closed.`)
  }

  /** An open link on which several requests in a row went unanswered is dead in one direction: it is replaced. */
  #noteUnanswered(nodeId: NodeId): void {
    this.scores.silent(nodeId)
    const peer = this.#peers.get(nodeId)
    if (peer === undefined) return
    peer.unanswered += 1
    if (peer.unanswered < this.#options.unansweredBeforeRedial) return
    peer.unanswered = 0
    for (const { link } of [...peer.links]) link.close()
  }

  #newestLink(to: NodeId): PeerLink | undefined {
    return this.#peers.get(to)?.links.at(-1)
  }

  #peer(nodeId: NodeId): Peer {
    let peer = this.#peers.get(nodeId)
    if (peer === undefined) {
      peer = newPeer()
      this.#peers.set(nodeId, peer)
    }
    return peer
  }

  /** One dial at a time per peer, however many wait for it. */
  #open(to: NodeId): Promise<PeerLink> {
    const peer = this.#peer(to)
    peer.opening ??= this.#dial(to).finally(() => {
      peer.opening = undefined
      this.#forgetIfUnused(to, peer)
    })
    return peer.opening
  }

  async #dial(to: NodeId): Promise<PeerLink> {
    const abort = new AbortController()
    const timer = this.#runtime.setTimer(
      () => abort.abort(new StickyError('UNREACHABLE', `${to} could not be reached.`)),
      this.#options.linkTimeoutMs,
    )
    try {
      const entry: PeerLink = { link: undefined as unknown as Link, hello: undefined }
      entry.link = await this.#network.openLink(to, this.#events(to, entry), { signal: abort.signal })
      this.#addLink(to, entry)
      return entry
    } catch (error) {
      this.scores.silent(to)
      throw asStickyError(error, 'UNREACHABLE')
    } finally {
      timer.clear()
    }
  }

  #accept(link: Link): LinkEvents {
    const entry: PeerLink = { link, hello: undefined }
    this.#addLink(link.peer, entry)
    return this.#events(link.peer, entry)
  }

  #addLink(nodeId: NodeId, entry: PeerLink): void {
    if (this.#closed) return entry.link.close()
    const peer = this.#peer(nodeId)
    peer.links.push(entry)
    while (peer.links.length > this.#options.maxLinksPerPeer) peer.links.shift()?.link.close()
    const { stores, durable } = this.#network
    entry.link.send(
      encodeFrame(['hello', { version: WIRE_VERSION, session: this.#session, stores, durable }]),
    )
  }

  #events(nodeId: NodeId, entry: PeerLink): LinkEvents {
    return {
      onFrame: (bytes) => {
        this.counters.bytesReceived += bytes.byteLength
        try {
          const begunMs = this.#stages.begin()
          const frame = decodeFrame(bytes)
          this.#stages.end('decode', begunMs)
          this.#onFrame(nodeId, entry, frame)
        } catch {
          // What does not decode is hostile or another protocol: the link goes, the node serves on.
          this.counters.undecodable += 1
          entry.link.close()
        }
      },
      onClose: () => this.#onClose(nodeId, entry),
    }
  }

  #onClose(nodeId: NodeId, entry: PeerLink): void {
    for (const pending of [...this.#pending.values()]) {
      if (pending.link === entry)
        pending.reject(new StickyError('LINK_CLOSED', `The link to ${nodeId} closed.`))
    }
    const peer = this.#peers.get(nodeId)
    if (peer === undefined) return
    peer.links = peer.links.filter((other) => other !== entry)
    if (peer.links.length > 0) return
    this.#forgetIfUnused(nodeId, peer)
    for (const listener of this.#goneListeners) listener(nodeId)
  }

  #forgetIfUnused(nodeId: NodeId, peer: Peer): void {
    if (peer.links.length === 0 && peer.opening === undefined && inWorkOf(peer) === 0)
      this.#peers.delete(nodeId)
  }

  #onFrame(from: NodeId, entry: PeerLink, frame: Frame): void {
    if (frame[0] === 'hello') {
      if (frame[1].version !== WIRE_VERSION) throw new StickyError('UNKNOWN_VERSION', 'Another wire version.')
      entry.hello = frame[1]
      this.#peer(from).hello = frame[1]
      for (const listener of this.#seenListeners) listener(from)
      return
    }
    if (entry.hello === undefined) throw new StickyError('MALFORMED', 'The first frame is not a hello.')
    if (frame[0] === 'request') {
      void this.#serve(from, entry, frame[1], frame[2], frame[3])
      return
    }
    const pending = this.#pending.get(frame[1])
    if (pending === undefined || pending.link !== entry) return // late, or not this peer's to answer
    this.counters.replies += 1
    this.#peer(from).unanswered = 0
    this.scores.answered(from)
    if (frame[0] === 'reply') pending.resolve(frame[2])
    else
      pending.reject(new StickyError(isErrorCode(frame[2]) ? frame[2] : 'MALFORMED', `${from}: ${frame[3]}`))
  }

  /** Checks in a fixed order: known, in-flight bound, rate, shape; only then the handler. */
  async #serve(from: NodeId, entry: PeerLink, id: number, name: string, body: unknown): Promise<void> {
    this.counters.requestsReceived += 1
    const peer = this.#peer(from)
    const load = this.#handlers.get(name)?.method.load ?? 'bulk'
    peer.inWork[load] += 1
    const begunMs = this.#stages.begin()
    try {
      const answer = await this.#dispatch(from, peer, name, body)
      const bytes = encodeFrame(['reply', id, answer])
      this.counters.bytesSent += bytes.byteLength
      entry.link.send(bytes)
      this.counters.served += 1
    } catch (error) {
      const { code, message } = asStickyError(error, 'STORAGE_FAILED')
      countCode(this.counters.refusals, code)
      const told = isOwnTrouble(code) ? 'It cannot read or write its disk now.' : message.slice(0, 300)
      entry.link.send(encodeFrame(['error', id, code, told]))
    } finally {
      peer.inWork[load] -= 1
      this.#stages.end(load === 'waiting' ? 'serveWaiting' : 'serve', begunMs)
      this.#forgetIfUnused(from, peer)
    }
  }

  async #dispatch(from: NodeId, peer: Peer, name: string, body: unknown): Promise<unknown> {
    const entry = this.#handlers.get(name)
    if (entry === undefined) throw new StickyError('UNKNOWN_METHOD', 'This node does not serve that.')
    methodCounts(this.counters, name).received += 1
    if (peer.inWork[entry.method.load] > this.#options.maxInflightPerPeer)
      throw new StickyError('BUSY', 'Too many requests in work.')
    if (!this.#limiter.take(`${from} ${name}`, entry.method.quota))
      throw new StickyError('RATE_LIMITED', 'Too many requests.')
    const result = v.safeParse(entry.method.request, body)
    if (!result.success) throw new StickyError('MALFORMED', `${name}: ${result.issues[0].message}`)
    return entry.handle(from, result.output)
  }

  /** Requests of others in work here. */
  get servingCount(): number {
    let count = 0
    for (const peer of this.#peers.values()) count += inWorkOf(peer)
    return count
  }

  /** Peers whose rate is known at the moment, for each method that they used. */
  get rateBuckets(): { held: number; limit: number } {
    return { held: this.#limiter.size, limit: this.#limiter.maxBuckets }
  }

  get sessionId(): string {
    return toHex(this.#session)
  }

  /** Requests of this node that are neither answered nor given up. */
  get pendingCount(): number {
    return this.#pending.size
  }
}
