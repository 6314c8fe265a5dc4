import { StickyError } from '../dht/index.ts'
import { DEFAULT_PUBSUB_OPTIONS, type PubSub, topicKeyOf } from '../pubsub/index.ts'
import {
  type CallRule,
  isOnce,
  NODE_CALLS,
  PUBSUB_CALLS,
  PUBSUB_LISTENERS,
  withoutSignal,
} from './tab-calls.ts'
import type { RemoteObject, TabClient } from './tab-client.ts'
import type { TabOptions } from './tab-frames.ts'
import { TabSubscription } from './tab-subscription.ts'

/** PubSub as every tab has it, the leading one included: its node is at the other end of the client's port. */

type Caller = (...args: unknown[]) => Promise<unknown>

/** `nodeId`: who calls. What is published as somebody who is gone when a tab leads again is nobody else's to say. */
function callers(
  client: TabClient,
  rules: Record<string, CallRule>,
  nodeId: () => string,
): Record<string, Caller> {
  return Object.fromEntries(
    Object.entries(rules).map(([method, rule]) => [
      method,
      async (...given: unknown[]) => {
        const { args, signal } = withoutSignal(rule, rule.makesKey ? withKey(rule, given) : given)
        const author = nodeId()
        const problem = () => (rule.repeat === 'yes' || nodeId() === author ? undefined : otherIdentity())
        const calling = client.call(method, args, {
          tracked: rule.repeat !== 'yes',
          mayRepeat: !isOnce(rule, args),
          problem,
          ...(signal ? { signal } : {}),
        })
        return rule.isForgotten ? calling.catch(() => undefined) : calling
      },
    ]),
  )
}

const otherIdentity = (): StickyError =>
  new StickyError('WRONG_IDENTITY', 'Another identity was restored before this was sent.')

function withKey(rule: CallRule, given: unknown[]): unknown[] {
  const index = rule.options ?? 0
  const args = Array.from({ length: Math.max(given.length, index + 1) }, (_, i) => given[i])
  const options = args[index] as { key?: string } | undefined
  return args.with(index, { ...options, key: options?.key ?? crypto.randomUUID() })
}

type Listen = (listener: (value: unknown) => void, about?: string) => () => void

/** Of each method that takes a listener: the listeners of this tab, and one at the leader while there are any. */
function listening(client: TabClient): Record<string, Listen> {
  return Object.fromEntries(
    PUBSUB_LISTENERS.map((method) => {
      const byTopic = new Map<string | undefined, Listen>()
      const listen: Listen = (listener, about) => {
        const one = byTopic.get(about) ?? listenersOf(client, method, about, () => byTopic.delete(about))
        byTopic.set(about, one)
        return one(listener)
      }
      return [method, listen]
    }),
  )
}

/** `about`: what only is told of, e.g. one topic. `onNobody`: the last listener has gone. */
function listenersOf(
  client: TabClient,
  method: string,
  about: string | undefined,
  onNobody: () => void,
): Listen {
  const listeners = new Set<{ listener: (value: unknown) => void }>()
  let number: number | undefined
  const args = about === undefined ? [] : [about]
  const open = () => {
    // a leader that refuses is one of too many subscriptions; the next one is asked again
    client.call(method, args, { opens: number ?? 0 }).catch(() => undefined)
  }
  const remote: RemoteObject = {
    take: (events) => {
      for (const [, value] of events) for (const { listener } of [...listeners]) listener(value)
    },
    reopen: open,
    interrupted: () => undefined,
    end: () => listeners.clear(),
  }
  return (listener) => {
    const entry = { listener }
    listeners.add(entry)
    if (number === undefined) {
      number = client.register(remote)
      open()
    }
    return () => {
      if (!listeners.delete(entry) || listeners.size > 0 || number === undefined) return
      client.forget(number)
      number = undefined
      onNobody()
    }
  }
}

export interface TabPubSubInit {
  client: TabClient
  options: TabOptions
  nodeId(): string
  close(): Promise<void>
}

export function createTabPubSub({ client, options, nodeId, close }: TabPubSubInit): PubSub {
  const own: Pick<PubSub, 'nodeId' | 'subscribe' | 'close'> = {
    get nodeId() {
      return nodeId()
    },
    async subscribe(topic, subscribeOptions = {}) {
      const subscription = new TabSubscription({
        client,
        topic,
        topicKey: await topicKeyOf(topic),
        options: subscribeOptions,
        maxSeenIds: options.maxSeenIds,
        maxUnread: DEFAULT_PUBSUB_OPTIONS.maxUnreadMessages,
      })
      await subscription.start()
      return subscription
    },
    close,
  }
  return Object.assign(own, callers(client, PUBSUB_CALLS, nodeId), listening(client)) as unknown as PubSub
}

export interface NodeCalls {
  resyncNode(reason: string): Promise<void>
  exportIdentity(passphrase: string): Promise<string>
  importIdentity(text: string, passphrase: string): Promise<void>
}

export const createNodeCalls = (client: TabClient, nodeId: () => string): NodeCalls =>
  callers(client, NODE_CALLS, nodeId) as unknown as NodeCalls
