import { type BrowserNode, createBrowserNode } from '../../../src/browser/index.ts'
import { asStickyError } from '../../../src/dht/index.ts'
import { peerConnections } from './peer-connections.ts'

/** A tab of the mesh test: a browser node with one topic, driven from mesh.test.ts. Results are plain values. */

let node: BrowserNode
const heard: string[] = []
const gaps: string[] = []

const running = (): BrowserNode => {
  if (node === undefined) throw new Error('not started')
  return node
}

export const fixture = {
  async start(bridgeUrl: string): Promise<string> {
    node = await createBrowserNode({ bridgeUrl, rtcConfiguration: { iceServers: [] } })
    return node.nodeId
  },

  async join(topic: string): Promise<void> {
    const subscription = await running().pubsub.subscribe(topic)
    subscription.on('message', ({ data }) => heard.push(String(data)))
    subscription.on('gap', ({ publisher, fromSequence, toSequence, reason }) =>
      gaps.push(`${publisher} ${fromSequence}-${toSequence} ${reason}`),
    )
  },

  /** 'stored by <replicas>/<durable>', or the code of the error. */
  publish: (topic: string, text: string, deadlineMs?: number): Promise<string> =>
    running()
      .pubsub.publish(topic, text, deadlineMs === undefined ? {} : { deadlineMs })
      .then(
        ({ replicas, durableReplicas }) => `stored by ${replicas}/${durableReplicas}`,
        (error: unknown) => {
          const { code, message } = asStickyError(error, 'MALFORMED')
          return `${code}: ${message}`
        },
      ),

  heard: () => heard,
  gaps: () => gaps,
  status: () => running().status(),

  /** Every message of the topic that one read gives, oldest first. */
  async history(topic: string): Promise<string[]> {
    const all: string[] = []
    let before: string | undefined
    do {
      const page = await running().pubsub.history(topic, before === undefined ? {} : { before })
      all.unshift(...page.messages.map(({ data }) => String(data)))
      before = page.before
    } while (before !== undefined)
    return all
  },

  /** As if the network had lost them: all but two, which may lead to one tab, also those that come up meanwhile. */
  async loseLinks(): Promise<void> {
    const isTab = ({ webrtc }: { webrtc: boolean }) => webrtc
    do {
      const standing = peerConnections.filter(({ connectionState }) => connectionState === 'connected')
      for (const connection of standing.slice(2)) {
        connection.close()
        connection.dispatchEvent(new Event('connectionstatechange')) // which nobody is told of what he closes himself
      }
      await new Promise((resolve) => setTimeout(resolve, 1))
    } while (running().status().peers.filter(isTab).length > 2)
  },

  resync: (reason: string) => running().resync(reason),

  replicas: (topic: string) => running().pubsub.replicas(topic),
}

export type MeshFixture = typeof fixture

Object.assign(globalThis, { fixture })
