import {
  type BrowserNode,
  type BrowserNodeOptions,
  createBrowserNode,
  type Message,
  type NodeStatus,
  type Subscription,
} from '../../../src/browser/index.ts'

/** What the tests in tabs.test.ts call inside the page. Results are plain values. */

interface Seen {
  subscription: Subscription
  messages: Message[]
  events: string[]
}

let node: BrowserNode
const seen = new Map<string, Seen>()
const statuses: NodeStatus[] = []
const receipts = new Map<string, string[]>()

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'ok',
    (error: { code?: string }) => error.code ?? String(error),
  )

export const fixture = {
  /** 'ok', or the code of the refusal. */
  async start(bridgeUrl: string, options: Partial<BrowserNodeOptions> = {}): Promise<string> {
    const starting = createBrowserNode({
      bridgeUrl,
      rtcConfiguration: { iceServers: [] },
      onStatus: (status) => statuses.push(status),
      ...options,
    })
    starting.then(
      (started) => {
        node = started
      },
      () => undefined,
    )
    return codeOf(starting)
  },

  nodeId: () => node.nodeId,
  role: () => node.role,
  status: () => node.status(),
  storage: () => node.storage(),
  diagnostics: () => node.pubsub.diagnostics(),
  resync: (reason: string) => node.resync(reason),
  statuses: () => statuses,
  /** Why everything was reconnected on purpose, each time. */
  resyncs(): string[] {
    const each = statuses.flatMap(({ lastResync }) => lastResync ?? [])
    return [...new Map(each.map(({ reason, atMs }) => [`${atMs} ${reason}`, reason])).values()]
  },
  close: () => node.close(),

  async subscribe(topic: string, presence?: string): Promise<void> {
    const subscription = await node.pubsub.subscribe(topic, presence === undefined ? {} : { presence })
    const entry: Seen = { subscription, messages: [], events: [] }
    seen.set(topic, entry)
    subscription.on('message', (message) => entry.messages.push(message))
    subscription.on('history-end', ({ count }) => entry.events.push(`history-end ${count}`))
    subscription.on('gap', ({ fromSequence, toSequence, reason }) =>
      entry.events.push(`gap ${fromSequence}-${toSequence} ${reason}`),
    )
    subscription.on('error', (error) => entry.events.push(`error ${error.message}`))
  },
  texts: (topic: string) => seen.get(topic)?.messages.map(({ data }) => data) ?? [],
  events: (topic: string) => seen.get(topic)?.events ?? [],
  sync: (topic: string) => seen.get(topic)?.subscription.status,
  unsubscribe: (topic: string) => seen.get(topic)?.subscription.unsubscribe(),

  /** 'ok', or what the error says. */
  publish: (topic: string, data: string): Promise<string> =>
    node.pubsub.publish(topic, data).then(() => 'ok', String),
  /** The states that the message goes through are in `receipts`. */
  async enqueue(topic: string, data: string): Promise<string> {
    const { key, state } = await node.pubsub.enqueue(topic, data)
    receipts.set(data, [state])
    node.pubsub.onReceipt((receipt) => {
      if (receipt.key === key) receipts.get(data)?.push(receipt.state)
    })
    return state
  },
  receipts: (data: string) => receipts.get(data) ?? [],
  history: async (topic: string) => (await node.pubsub.history(topic)).messages.map(({ data }) => data),
  subscribers: async (topic: string) => (await node.pubsub.subscribers(topic)).map(({ nodeId }) => nodeId),
  export: () => node.exportIdentity('correct horse'),
  import: (text: string) => codeOf(node.importIdentity(text, 'correct horse')),
}

export type TabsFixture = typeof fixture

Object.assign(globalThis, { fixture })
