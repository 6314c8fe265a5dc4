import type { AddressInfo } from 'node:net'
import { createServer, type Server } from 'node:net'
import { circuitRelayServer } from '@libp2p/circuit-relay-v2'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { identify } from '@libp2p/identify'
import type { Connection, Stream } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { webSockets } from '@libp2p/websockets'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p, type Libp2p } from 'libp2p'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  createLightNetwork,
  type LightNetwork,
  type LightNetworkOptions,
} from '../../src/browser/light-network.ts'
import { encodeFields } from '../../src/browser/light-protobuf.ts'
import { choose, distanceBetween } from '../../src/dht/closest.ts'
import { sha256 } from '../../src/dht/codec.ts'
import { identityFromSeed, nodeIdOf, peerIdBytesOf } from '../../src/dht/identity.ts'
import { placeOfNode } from '../../src/dht/index.ts'
import { LINK_PROTOCOL } from '../../src/dht/libp2p.ts'
import { KAD_DURABLE_PROTOCOL, KAD_PROTOCOL } from '../../src/dht/libp2p-services.ts'
import { startLibp2pNet, type TestLibp2pNet, type TestPeer } from '../support/libp2p-net.ts'
import { PATIENCE } from '../support/patience.ts'

/** What whoever answers a light node can do to it: bridges and peers that lie, flood, or say nothing. */

type Answer = (stream: Stream) => void | Promise<void>

let liar: Libp2p
let light: LightNetwork
let answer: Answer
let questions: number
/** Takes connections, counts them, and never says a word. */
let silent: Server
let dialled: number

const LIMITS: Partial<LightNetworkOptions> = {
  questionMs: 1_000, // that of joining among them
  lookUpTimeoutMs: 2_000,
  directMs: 200,
  dialMs: 2_500, // a handshake with whoever is there, on a busy machine too
}

async function startLiar(): Promise<Libp2p> {
  const node = await createLibp2p({
    privateKey: await generateKeyPairFromSeed('Ed25519', new Uint8Array(32).fill(66)),
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0/ws'] },
    transports: [webSockets()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: { identify: identify(), ping: ping(), relay: circuitRelayServer() },
  })
  const lie = async (stream: Stream) => {
    questions += 1
    await answer(stream)
  }
  for (const protocol of [KAD_PROTOCOL, KAD_DURABLE_PROTOCOL])
    await node.handle(protocol, lie, { maxInboundStreams: 1_000 })
  await node.handle(LINK_PROTOCOL, () => undefined) // it takes links in anybody's name
  return node
}

beforeEach(async () => {
  questions = 0
  dialled = 0
  answer = say(encodeFields([{ number: 1, value: 4 }])) // an honest one who knows nobody
  silent = createServer((socket) => {
    dialled += 1
    socket.on('error', () => undefined)
  })
  await new Promise<void>((resolve) => silent.listen(0, '0.0.0.0', resolve))
  liar = await startLiar()
  const seed = new Uint8Array(32).fill(67)
  const { nodeId } = await identityFromSeed(seed)
  light = await createLightNetwork({ nodeId, seed, options: LIMITS })
  await light.join(String(liar.getMultiaddrs()[0]), String(liar.peerId), AbortSignal.timeout(15_000))
})
afterEach(async () => {
  await light?.close()
  await liar?.stop()
  silent?.close()
})

const lengthPrefix = (length: number): Uint8Array => {
  const bytes: number[] = []
  for (let rest = length; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Uint8Array.from([...bytes, rest])
    bytes.push((rest % 128) | 128)
  }
}
function say(...messages: Uint8Array[]): Answer {
  return (stream) => {
    for (const message of messages) {
      stream.send(lengthPrefix(message.byteLength))
      stream.send(message)
    }
  }
}
const idOf = (value: number) => {
  const key = new Uint8Array(32)
  new DataView(key.buffer).setUint32(0, value + 1)
  return nodeIdOf(key)
}
/** Each another one, so that none rests because another failed. */
const silentAddress = (i = 0) =>
  multiaddr(`/ip4/127.1.${(i >> 8) & 255}.${i & 255}/tcp/${(silent.address() as AddressInfo).port}/ws`).bytes
const peers = (count: number, from = 0, address = (i: number) => silentAddress(i)) =>
  encodeFields([
    { number: 1, value: 4 },
    ...Array.from({ length: count }, (_, i) => ({
      number: 8,
      value: encodeFields([
        { number: 1, value: peerIdBytesOf(idOf(from + i)) },
        { number: 2, value: address(from + i) },
      ]),
    })),
  ])

const closest = () =>
  light.closestPeers(Uint8Array.of(1), { count: 16, minDurable: 6, signal: AbortSignal.timeout(10_000) })

/** The light node is as before: what an honest answer says is believed, and the connection stands. */
async function isWell(): Promise<void> {
  const before = questions
  answer = say(encodeFields([{ number: 1, value: 4 }]))
  expect(await closest()).toEqual([])
  expect(questions).toBeGreaterThanOrEqual(before + 2) // both DHTs
  expect(light.isConnected(String(liar.peerId))).toBe(true)
}

describe('an answer of the DHT', () => {
  const junk = crypto.getRandomValues(new Uint8Array(5_000))
  it.each<[string, Answer]>([
    ['that is garbage', say(junk)],
    ['of garbage and no length', (stream) => void stream.send(junk)],
    ['that is empty', say(new Uint8Array(0))],
    ['to another question', say(encodeFields([{ number: 1, value: 5 }]))],
    ['whose length is 4 GB', (stream) => void stream.send(lengthPrefix(2 ** 32))],
    ['of 1 MB', say(new Uint8Array(1_000_000))],
    ['with a field longer than itself', say(Uint8Array.of(8, 4, 66, 127, 1))],
    ['that ends in the middle', (stream) => void stream.send(Uint8Array.of(100, 8, 4))],
    ['that is cut off', (stream) => stream.abort(new Error('cut'))],
    ['that never comes', () => undefined],
  ])('%s does no harm', async (_, lie) => {
    answer = lie
    expect(await closest()).toEqual([])
    await isWell()
  })

  it('with thousands of peers makes it dial a few of them, and name none of those that do not answer', async () => {
    let from = 0
    answer = (stream) => {
      from += 2_000
      return say(peers(2_000, from))(stream)
    }
    const startedMs = performance.now()
    expect(await closest()).toEqual([]) // so many are not even read
    answer = (stream) => {
      from += 500
      return say(peers(500, from))(stream)
    }
    const named = await closest()
    expect(performance.now() - startedMs).toBeLessThan(8_000)
    expect(named).toEqual([])
    expect(dialled).toBeGreaterThan(0)
    expect(dialled).toBeLessThan(150)
    expect(light.connections()).toHaveLength(1)
    await isWell()
  }, 20_000)

  it('with the node itself, or the bridge, does not make holders of them', async () => {
    const self = [light.self, String(liar.peerId)].map((nodeId) => ({
      number: 8,
      value: encodeFields([
        { number: 1, value: peerIdBytesOf(nodeId) },
        { number: 2, value: silentAddress() },
      ]),
    }))
    answer = say(encodeFields([{ number: 1, value: 4 }, ...self]))
    expect(await closest()).toEqual([])
    expect(dialled).toBe(0)
  })
})

describe('a peer', () => {
  it('that another one answers for is not reached', async () => {
    // the address is the liar's own: it has no key but its own
    const own = multiaddr(String(liar.getMultiaddrs()[0])).decapsulate(`/p2p/${liar.peerId}`)
    answer = say(peers(1, 0, () => own.bytes))
    await closest()
    const opening = light.openLink(
      idOf(0),
      { onFrame: () => undefined, onClose: () => undefined },
      { signal: AbortSignal.timeout(15_000) },
    )
    await expect(opening).rejects.toMatchObject({ code: 'UNREACHABLE' })
    await isWell()
  })

  it('that opens streams without end gets a few', async () => {
    const [connection] = liar.getConnections()
    const opened: Promise<unknown>[] = []
    light.onInboundLink(() => ({ onFrame: () => undefined, onClose: () => undefined }))
    for (let i = 0; i < 100; i++)
      opened.push(
        connection?.newStream(LINK_PROTOCOL, {
          maxOutboundStreams: 1_000,
          signal: AbortSignal.timeout(2_000),
        }) as Promise<unknown>,
      )
    const outcomes = await Promise.allSettled(opened)
    expect(outcomes.filter(({ status }) => status === 'fulfilled').length).toBeLessThanOrEqual(16)
    await isWell()
  })

  it('that says goodbye and leaves its connection open is let go, and dialled anew', async () => {
    let changes = 0
    light.onConnections(() => void changes++)
    const [connection] = liar.getConnections() as (Connection & { muxer: { sendGoAway(): void } })[]
    const before = changes
    connection?.muxer.sendGoAway()
    await vi.waitFor(() => expect(changes).toBeGreaterThan(before), PATIENCE)
    await vi.waitFor(() => expect(connection?.status).not.toBe('open'), PATIENCE)
    await light.join(String(liar.getMultiaddrs()[0]), String(liar.peerId), AbortSignal.timeout(15_000))
    await isWell()
  })

  it('that asks for what is not served is refused at once', async () => {
    const [connection] = liar.getConnections()
    for (const protocol of [KAD_PROTOCOL, '/ipfs/ping/1.0.0', '/other/1'])
      await expect(connection?.newStream(protocol)).rejects.toMatchObject({
        name: 'UnsupportedProtocolError',
      })
    await isWell()
  })

  it('may propose some protocols in turn, and not without end', async () => {
    const [connection] = liar.getConnections()
    light.onInboundLink(() => ({ onFrame: () => undefined, onClose: () => undefined }))
    const others = (count: number) => Array.from({ length: count }, (_, i) => `/other/${i}`)
    const taken = await connection?.newStream([...others(5), LINK_PROTOCOL])
    expect(taken?.protocol).toBe(LINK_PROTOCOL)
    await expect(connection?.newStream([...others(50), LINK_PROTOCOL])).rejects.toThrow()
    await isWell()
  })

  it('that opens a link and sends garbage, or says nothing, does no harm', async () => {
    const [connection] = liar.getConnections()
    let closed = 0
    light.onInboundLink(() => ({ onFrame: () => undefined, onClose: () => void closed++ }))
    const stream = await connection?.newStream(LINK_PROTOCOL)
    stream?.send(new Uint8Array(100).fill(255))
    await vi.waitFor(() => expect(closed).toBe(1), PATIENCE)
    await isWell()
  })
})

describe('a holder among others that names forty nodes that are not there, closer than all that are', () => {
  let net: TestLibp2pNet
  const key = Uint8Array.of(1)
  /** The closest of the holders, so that it is asked. */
  let first: TestPeer | undefined
  let made: string[] = []

  beforeEach(async () => {
    net = await startLibp2pNet(['durable', 'durable', 'durable', 'durable', 'durable', 'durable'])
    const target = await sha256(key)
    const closestOf = async (ids: string[], count: number) => {
      const rank = async (nodeId: string) => {
        return { nodeId, durable: true, distance: distanceBetween(await placeOfNode(nodeId), target) }
      }
      return choose(await Promise.all(ids.map(rank)), count, 0).map(({ nodeId }) => nodeId)
    }
    const ids = Array.from({ length: 4_000 }, (_, i) => idOf(10_000 + i))
    made = await closestOf(ids, 400)
    const [closest] = await closestOf(
      net.peers.map(({ network }) => network.self),
      1,
    )
    first = net.peers.find(({ network }) => network.self === closest)
  }, 60_000) // six nodes join, on a busy machine too
  afterEach(() => net?.stop())

  /** Each time others, so that none rests, and only to the light node: the others ask too, and would use them up. */
  const lie =
    (to: string, addresses: (i: number) => Uint8Array[], lies: Uint8Array[]) =>
    (stream: Stream, connection: Connection) => {
      const isMeant = String(connection.remotePeer) === to
      const named = isMeant ? made.slice(20 * lies.length, 20 * (lies.length + 1)) : []
      const fields = named.map((nodeId, i) => ({
        number: 8,
        value: encodeFields([
          { number: 1, value: peerIdBytesOf(nodeId) },
          ...addresses(20 * lies.length + i).map((value) => ({ number: 2, value })),
        ]),
      }))
      const answer = encodeFields([{ number: 1, value: 4 }, ...fields])
      if (isMeant) lies.push(answer)
      return say(answer)(stream)
    }

  it.each<[string, (i: number) => Uint8Array[]]>([
    ['and cannot be dialled', () => []],
    ['and at whose addresses nobody says a word', (i) => [silentAddress(i)]],
  ])(
    '%s, pushes none of them out, however slow they are, and its are not named',
    async (_, addresses) => {
      const seed = crypto.getRandomValues(new Uint8Array(32)) // not one of the others
      const { nodeId } = await identityFromSeed(seed)
      const lies: Uint8Array[] = []
      const tell = lie(nodeId, addresses, lies)
      for (const protocol of [KAD_PROTOCOL, KAD_DURABLE_PROTOCOL]) {
        await first?.libp2p.unhandle(protocol)
        await first?.libp2p.handle(protocol, tell, { maxInboundStreams: 1_000 })
      }
      const node = await createLightNetwork({
        nodeId,
        seed,
        // whoever it is takes longer than `directMs`; the relay, which is asked then, has a place for none of them
        options: { directMs: 1, bucketPeers: 0 },
      })
      try {
        net.admitted.add(nodeId)
        await node.join(net.bridgeAddress, String(net.bridge.peerId), AbortSignal.timeout(15_000))
        const within = { signal: AbortSignal.timeout(40_000) }
        const named = await node.closestPeers(key, { count: 8, minDurable: 3, ...within })
        expect(lies.length).toBe(2) // it is asked once in each DHT
        const found = named.map((peer) => peer.nodeId)
        expect(found.toSorted()).toEqual(net.peers.map(({ network }) => network.self).toSorted())
      } finally {
        await node.close()
      }
    },
    60_000,
  )
})
