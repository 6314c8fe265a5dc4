import { createBrowserNode } from '../../../src/browser/index.ts'
import { type BrowserNode, createLightNode, type Subscription } from '../../../src/browser/light.ts'

/** What the tests in light.test.ts call inside the page. Results are plain values. */

let node: BrowserNode
const seen = new Map<string, { subscription: Subscription; data: unknown[] }>()

export const fixture = {
  async start(bridgeUrl: string, kind: 'light' | 'whole'): Promise<void> {
    node =
      kind === 'light'
        ? await createLightNode({ bridgeUrl })
        : await createBrowserNode({ bridgeUrl, rtcConfiguration: { iceServers: [] } })
  },

  nodeId: () => node.nodeId,
  role: () => node.role,
  status: () => node.status(),
  close: () => node.close(),

  async subscribe(topic: string, history: 'all' | 'none' = 'all'): Promise<void> {
    const subscription = await node.pubsub.subscribe(topic, { history })
    const data: unknown[] = []
    subscription.on('message', (message) => data.push(message.data))
    seen.set(topic, { subscription, data })
  },

  data: (topic: string) => seen.get(topic)?.data ?? [],

  publish: async (topic: string, data: string) => (await node.pubsub.publish(topic, data)).status,

  async enqueue(topic: string, data: string): Promise<void> {
    await node.pubsub.enqueue(topic, data)
  },

  waiting: async () => (await node.pubsub.outbox()).length,

  /** WebRTC connections that this page has made so far: a light node makes none. */
  usesWebRtc: () => made > 0,
}

let made = 0
const Original = globalThis.RTCPeerConnection
globalThis.RTCPeerConnection = new Proxy(Original, {
  construct(target, args, newTarget) {
    made += 1
    return Reflect.construct(target, args, newTarget) as object
  },
})

export type LightFixture = typeof fixture

Object.assign(globalThis, { fixture })
