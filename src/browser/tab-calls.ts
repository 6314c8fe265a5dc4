import { StickyError } from '../dht/index.ts'
import type { PubSub, Subscription, SubscriptionEvents } from '../pubsub/index.ts'
import type { NetworkNode } from './origin-node.ts'
import { toFailure } from './tab-frames.ts'
import type { ServedNode, ServedObject } from './tab-server.ts'

/**
 * What a tab may call at the tab that leads: one line for each method, so that the type check asks for a line when the
 * face of PubSub grows.
 */

export interface CallRule {
  /**
   * May it be done twice, when the tab that leads is closed before it has answered? `keyed`: yes, where the options have a
   * `key`, under which the second one changes nothing.
   */
  repeat: 'yes' | 'keyed' | 'no'
  /** A call without a key gets one, so that it may be done twice. */
  makesKey?: true
  /** It gives nothing, and nobody waits for it. */
  isForgotten?: true
  /** Which argument is the options with a `signal`, counted from 0. */
  options?: number
}

/** They have code of their own in tab-pubsub.ts. */
type OwnMembers = 'nodeId' | 'subscribe' | 'close'

type Called = Exclude<keyof PubSub, OwnMembers | Listened>

export const PUBSUB_CALLS = {
  publish: { repeat: 'keyed', options: 2 },
  enqueue: { repeat: 'keyed', options: 2, makesKey: true },
  outbox: { repeat: 'yes' },
  delivered: { repeat: 'yes' },
  drainOutbox: { repeat: 'yes', isForgotten: true },
  resync: { repeat: 'yes' },
  history: { repeat: 'yes', options: 1 },
  subscribers: { repeat: 'yes', options: 1 },
  loadCoordinator: { repeat: 'yes' },
  loadMessageCollection: { repeat: 'yes' },
  loadSubscriberCollection: { repeat: 'yes' },
  loadFullHistory: { repeat: 'yes' },
  mergeCoordinators: { repeat: 'yes' },
  replicas: { repeat: 'yes' },
  channelState: { repeat: 'yes' },
  getChannelState: { repeat: 'yes' },
  recover: { repeat: 'yes' },
  keepPosition: { repeat: 'yes' },
  keptPosition: { repeat: 'yes' },
  diagnostics: { repeat: 'yes' },
  /** Of the leader's own class: what a page shows of it. */
  counters: { repeat: 'yes' },
} as const satisfies Record<Called | 'counters', CallRule>

/** Methods that take a listener, and give what ends it. A tab has one of its own at the leader while anybody listens. */
export const PUBSUB_LISTENERS = ['onReceipt', 'onOutboxError'] as const satisfies (keyof PubSub)[]
type Listened = (typeof PUBSUB_LISTENERS)[number]

/** Of the node beside its PubSub. */
export const NODE_CALLS = {
  resyncNode: { repeat: 'yes' },
  exportIdentity: { repeat: 'yes' },
  importIdentity: { repeat: 'yes' },
} as const satisfies Record<string, CallRule>

export const SUBSCRIPTION_CALLS = {
  renew: { repeat: 'yes' },
  unsubscribe: { repeat: 'yes' },
  setPresence: { repeat: 'yes' },
} as const satisfies Partial<Record<keyof Subscription, CallRule>>

/** `wanted`: only told to a tab that listens, because listening costs something. */
export const SUBSCRIPTION_EVENTS = {
  message: 'always',
  'history-end': 'always',
  gap: 'always',
  sync: 'always',
  error: 'always',
  presence: 'wanted',
} as const satisfies Record<keyof SubscriptionEvents, 'always' | 'wanted'>

const isWantedOnly = (event: string): boolean =>
  (SUBSCRIPTION_EVENTS as Record<string, string>)[event] === 'wanted'

/** The call by which a tab begins to listen to an event that is told when wanted. */
export const WATCH = 'watch'

/** The getters of a subscription, told with each of its events. */
export const MIRRORED = [
  'status',
  'lastSeenVersion',
  'position',
  'remaining',
] as const satisfies (keyof Subscription)[]
export type SubscriptionMirror = Pick<Subscription, (typeof MIRRORED)[number]>

export interface NodeMirror {
  nodeId: string
  status: ReturnType<NetworkNode['status']>
}

/** Whether a call must not be made again at another leader. */
export function isOnce(rule: CallRule, args: unknown[]): boolean {
  if (rule.repeat !== 'keyed') return rule.repeat === 'no'
  const options = args[rule.options ?? -1] as { key?: unknown } | undefined
  return options?.key === undefined
}

const unknownMethod = (method: string): StickyError =>
  new StickyError('UNKNOWN_METHOD', `The tab that leads knows no ${method}: reload both tabs.`)

/** The node as the tabs use it. */
export function serveNode(node: NetworkNode): ServedNode {
  return {
    mirror: (): NodeMirror => ({ nodeId: node.nodeId, status: node.status() }),
    call: async (method, args, signal) => {
      if (Object.hasOwn(PUBSUB_CALLS, method)) {
        const rule: CallRule = PUBSUB_CALLS[method as keyof typeof PUBSUB_CALLS]
        return invoke(node.pubsub, method, withSignal(rule, args, signal))
      }
      if (Object.hasOwn(NODE_CALLS, method)) return invoke(node, method, args)
      throw unknownMethod(method)
    },
    open: async (method, args, signal, tell) => {
      if ((PUBSUB_LISTENERS as readonly string[]).includes(method))
        return serveListener(node.pubsub, method, args, tell)
      if (method !== 'subscribe') throw unknownMethod(method)
      const [topic, options] = args as Parameters<PubSub['subscribe']>
      return serveSubscription(await node.pubsub.subscribe(topic, { ...options, signal }), tell)
    },
  }
}

/** An object with the one event `told`. */
function serveListener(
  pubsub: PubSub,
  method: string,
  args: unknown[],
  tell: (event: string, value: unknown) => void,
): ServedObject {
  const stop = invoke(pubsub, method, [(value: unknown) => tell('told', value), ...args]) as () => void
  return {
    mirror: () => null,
    call: async (name) => {
      throw unknownMethod(name)
    },
    close: async () => stop(),
  }
}

function serveSubscription(
  subscription: Subscription,
  tell: (event: string, value: unknown) => void,
): ServedObject {
  const told = new Set<string>()
  const pass = (event: string) => {
    if (told.has(event)) return
    told.add(event)
    subscription.on(event as keyof SubscriptionEvents, (value) =>
      tell(event, value instanceof Error ? toFailure(value) : value),
    )
  }
  for (const event of Object.keys(SUBSCRIPTION_EVENTS)) if (!isWantedOnly(event)) pass(event)
  return {
    mirror: (): SubscriptionMirror => mirrorOf(subscription),
    call: async (method, args) => {
      if (method === WATCH) {
        if (isWantedOnly(String(args[0]))) pass(String(args[0]))
        return
      }
      if (!Object.hasOwn(SUBSCRIPTION_CALLS, method)) throw unknownMethod(method)
      return invoke(subscription, method, args)
    },
    close: () => subscription.close(),
  }
}

const mirrorOf = (subscription: Subscription): SubscriptionMirror =>
  Object.fromEntries(MIRRORED.map((name) => [name, subscription[name]])) as unknown as SubscriptionMirror

/** Options without what cannot be sent to another tab, and their signal. */
export function withoutSignal(
  rule: CallRule,
  args: unknown[],
): { args: unknown[]; signal: AbortSignal | undefined } {
  const options = args[rule.options ?? -1] as { signal?: AbortSignal } | undefined
  if (rule.options === undefined || options?.signal === undefined) return { args, signal: undefined }
  const { signal, ...rest } = options
  return { args: args.with(rule.options, rest), signal }
}

function withSignal(rule: CallRule, args: unknown[], signal: AbortSignal): unknown[] {
  if (rule.options === undefined) return args
  const all = Array.from({ length: Math.max(args.length, rule.options + 1) }, (_, index) => args[index])
  return all.with(rule.options, { ...(all[rule.options] as object | undefined), signal })
}

/** `method` is a name from one of the tables. */
function invoke(target: object, method: string, args: unknown[]): unknown {
  const found = (target as Record<string, (...args: unknown[]) => unknown>)[method]
  if (typeof found !== 'function') throw unknownMethod(method)
  return found.apply(target, args)
}
