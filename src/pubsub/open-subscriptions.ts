import { type Dht, type NodeId, requireNotAborted, StickyError, toHex } from '../dht/index.ts'
import type { HistoryRequest, SubscribeOptions } from './api.ts'
import type { SubscriptionCounters } from './diagnostics.ts'
import { LIMITS } from './options.ts'
import { encodePresenceState } from './presence-statement.ts'
import { decodePosition, type SavedPosition } from './saved-position.ts'
import { type SubscriptionInit, TopicSubscription } from './subscription.ts'
import { topicMethods } from './wire.ts'

/**
 * The subscriptions of this node. Several to one topic each have a place of their own, and share what a replica pushes; it
 * is told to stop when the last one that it served has left it.
 */

export type OpenSubscriptionsInit = Pick<
  SubscriptionInit,
  'dht' | 'options' | 'presence' | 'verified' | 'statements' | 'retention'
>

export class OpenSubscriptions {
  readonly #init: OpenSubscriptionsInit
  /** By topic. */
  readonly #open = new Map<string, Set<TopicSubscription>>()
  /** Of all since the start, closed ones included. */
  readonly counters: SubscriptionCounters = {
    delivered: 0,
    ways: { history: 0, push: 0, read: 0 },
    gaps: { expired: 0, trimmed: 0, withheld: 0 },
    failures: {},
  }

  constructor(init: OpenSubscriptionsInit) {
    this.#init = init
    this.#receivePushes(init.dht)
  }

  list(): TopicSubscription[] {
    return [...this.#open.values()].flatMap((subscriptions) => [...subscriptions])
  }

  /** One more, to be started by the caller. Throws ABORTED, INVALID_DATA or TOO_LARGE. */
  open(topic: string, topicKey: Uint8Array, options: SubscribeOptions): TopicSubscription {
    const name = toHex(topicKey)
    const { onMessage, signal, presence } = options
    if (presence !== undefined) encodePresenceState(presence) // before anything is said
    requireNotAborted(signal, 'The subscription')
    const onAbort = () => void subscription.close()
    const subscription: TopicSubscription = new TopicSubscription({
      ...this.#init,
      topic,
      topicKey,
      history: options.history ?? (options.receiveHistory === false ? 'none' : 'all'),
      lastSeenVersion: options.lastSeenVersion,
      from: savedPosition(topicKey, options.history),
      info: checkedInfo(options.info ?? ''),
      counters: this.counters,
      hasOthers: () => [...(this.#open.get(name) ?? [])].some((other) => other !== subscription),
      onMoved: (from) => this.#detach(name, topicKey, from),
      onClosed: (closed) => {
        signal?.removeEventListener('abort', onAbort)
        this.#forget(name, topicKey, closed)
      },
    })
    const existing = this.#open.get(name) ?? new Set()
    this.#open.set(name, existing.add(subscription))
    if (onMessage) subscription.on('message', onMessage)
    if (presence !== undefined) subscription.setPresence(presence).catch(() => undefined) // said again at each heartbeat
    signal?.addEventListener('abort', onAbort, { once: true })
    return subscription
  }

  #receivePushes(dht: Dht): void {
    dht.rpc.handle(topicMethods.push, (from, { topic, ...push }) => {
      const subscriptions = this.#open.get(toHex(topic))
      if (subscriptions === undefined)
        throw new StickyError('NOT_FOUND', 'Nobody here is subscribed to that.')
      for (const subscription of subscriptions) subscription.receive(push, from)
      return {}
    })
    dht.rpc.onPeerGone((peer) => {
      for (const subscriptions of this.#open.values()) {
        for (const subscription of subscriptions) subscription.peerGone(peer)
      }
    })
  }

  #forget(name: string, topicKey: Uint8Array, closed: TopicSubscription): void {
    const subscriptions = this.#open.get(name)
    subscriptions?.delete(closed)
    if (subscriptions === undefined || subscriptions.size > 0) return
    this.#open.delete(name)
    if (closed.source !== undefined) this.#detach(name, topicKey, closed.source)
  }

  /** A replica that is not told goes on pushing until the subscription expires. Another one here may need it still. */
  #detach(name: string, topicKey: Uint8Array, from: NodeId): void {
    for (const { source } of this.#open.get(name) ?? []) if (source === from) return
    const { rpc } = this.#init.dht
    if (!rpc.isConnected(from)) return
    rpc.request(from, topicMethods.detach, { topic: topicKey }).catch(() => undefined)
  }
}

/** Where the history asked for begins, when that is a position. Throws INVALID_DATA for what is no request at all. */
function savedPosition(topicKey: Uint8Array, history: HistoryRequest = 'all'): SavedPosition | undefined {
  if (history === 'all' || history === 'none') return undefined
  if ('from' in history) return decodePosition(topicKey, history.from)
  const count = 'since' in history ? history.since : history.last
  if (typeof count !== 'number' || !(count >= 0))
    throw new StickyError('INVALID_DATA', '`last` is a count of messages, `since` a time in ms.')
  return undefined
}

function checkedInfo(info: string): string {
  if (new TextEncoder().encode(info).byteLength > LIMITS.maxInfoBytes) {
    throw new StickyError('TOO_LARGE', `Subscriber info may take ${LIMITS.maxInfoBytes} bytes.`)
  }
  return info
}
