import { type BrowserNode, createBrowserNode } from '../../../src/browser/index.ts'

/** A tab of test/bench/browser.ts. Results are plain values; times are ms since the Unix epoch, the same in all tabs. */

let node: BrowserNode
const nowMs = (): number => performance.timeOrigin + performance.now()

/** Every connection of this tab, so that its bytes can be counted. */
const connections = new Set<RTCPeerConnection>()
const Original = globalThis.RTCPeerConnection
globalThis.RTCPeerConnection = class extends Original {
  constructor(configuration?: RTCConfiguration) {
    super(configuration)
    connections.add(this)
  }
}

interface TransportStats {
  type: string
  bytesSent?: number
  bytesReceived?: number
}

async function webRtcBytes(): Promise<number> {
  let bytes = 0
  for (const connection of connections) {
    const stats: TransportStats[] = [...(await connection.getStats()).values()]
    for (const { type, bytesSent = 0, bytesReceived = 0 } of stats)
      if (type === 'transport') bytes += bytesSent + bytesReceived
  }
  return bytes
}

const latenciesMs: number[] = []
let count = 0

export const fixture = {
  /** Until a storing peer is connected; the ms since the navigation. */
  async start(bridgeUrl: string): Promise<number> {
    const joined = Promise.withResolvers<void>()
    node = await createBrowserNode({
      bridgeUrl,
      rtcConfiguration: { iceServers: [] },
      onStatus: ({ state }) => {
        if (state === 'online') joined.resolve()
      },
    })
    await joined.promise
    return performance.now()
  },

  /** Subscribes; with messages that are numbers, notes how long ago they were sent. The ms since the navigation at which the first message was painted. */
  async subscribe(topic: string): Promise<number | undefined> {
    const painted = Promise.withResolvers<number>()
    const subscription = await node.pubsub.subscribe(topic)
    subscription.on('message', ({ data, historic }) => {
      count += 1
      if (!historic && typeof data === 'number') latenciesMs.push(nowMs() - data)
      if (count > 1) return
      document.body.append(String(data))
      requestAnimationFrame(() => setTimeout(() => painted.resolve(performance.now())))
    })
    const ended = new Promise<undefined>((resolve) => {
      subscription.on('history-end', () => resolve(undefined))
    })
    await ended
    return count > 0 ? painted.promise : undefined
  },

  say: async (topic: string): Promise<void> => {
    await node.pubsub.publish(topic, nowMs())
  },
  async sayMany(topic: string, from: number, many: number): Promise<void> {
    const texts = Array.from({ length: many }, (_, i) => `${from + i} `.padEnd(200, '.'))
    await Promise.all(texts.map((text) => node.pubsub.publish(topic, text, { deadlineMs: 120_000 })))
  },
  latenciesMs: () => latenciesMs,
  count: () => count,
  directPeers: () => node.status().peers.filter(({ webrtc }) => webrtc).length,
  webRtcBytes,
}

export type BenchFixture = typeof fixture

Object.assign(globalThis, { fixture })
