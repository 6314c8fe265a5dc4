import { identify } from '@libp2p/identify'
import type { Stream } from '@libp2p/interface'
import { webSockets } from '@libp2p/websockets'
import type { Multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { WebSocket } from 'ws'
import { ASKED, type DhtLibp2p, sparingNoise, sparingYamux } from '../../src/dht/index.ts'
import { bareNode } from '../support/bare-node.ts'
import { until } from '../support/memory-nodes.ts'
import { type ServingNode, servesHonest, startNode } from '../support/serving-node.ts'

/** Frames of yamux from somebody who has proved a key, and has the other side keep bytes or answers. */

const PING_PROTOCOL = '/ipfs/ping/1.0.0'
const PROTOCOL = '/test/much/1.0.0'
const KIB = 1024
const MIB = 1024 * KIB
const STREAMS = 8
const BYTES_EACH = 8 * MIB
/** More than a node of this project ever gives. */
const WIDE_BYTES = 4 * MIB

interface Secured {
  send(bytes: Uint8Array): boolean
  status: string
  writableNeedsDrain: boolean
  writeBufferLength: number
  stream: { websocket: WebSocket }
}

interface Muxer {
  ping(): Promise<number>
  maConn: Secured
  decoder: { buffer: { byteLength: number } }
}

/** `libp2p`'s end of its one connection with `other`. */
function endOf(libp2p: DhtLibp2p, other: DhtLibp2p): Muxer {
  const [connection] = libp2p.getConnections(other.peerId)
  return (connection as unknown as { muxer: Muxer }).muxer
}

const DATA = 0
const WINDOW_UPDATE = 1
const PING = 2
const SYN = 1

function header(type: number, flag: number, streamId: number, length: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(12))
  view.setUint8(1, type)
  view.setUint16(2, flag)
  view.setUint32(4, streamId)
  view.setUint32(8, length)
  return new Uint8Array(view.buffer)
}

function pings(count: number): Uint8Array {
  const frames = new Uint8Array(12 * count)
  for (let i = 0; i < count; i++) frames.set(header(PING, SYN, 0, i), i * 12)
  return frames
}

let peer: DhtLibp2p
beforeEach(async () => {
  peer = await bareNode(crypto.getRandomValues(new Uint8Array(32)))
})
afterEach(() => peer.stop())

async function meet(target: DhtLibp2p): Promise<void> {
  await peer.dial(target.getMultiaddrs()[0] as Multiaddr)
  await until(() => target.getConnections(peer.peerId).length === 1)
}

describe('yamux as pages and nodes have it', () => {
  let target: DhtLibp2p
  beforeEach(async () => {
    target = (await createLibp2p({
      addresses: { listen: ['/ip4/127.0.0.1/tcp/0/ws'] },
      transports: [webSockets()],
      connectionEncrypters: [sparingNoise()],
      streamMuxers: [sparingYamux()],
      services: { identify: identify() },
    })) as unknown as DhtLibp2p
    await target.handle(PROTOCOL, (stream) => void stream.send(new Uint8Array(BYTES_EACH)), {
      maxInboundStreams: STREAMS,
    })
    await meet(target)
  })
  afterEach(() => target.stop())

  const isCut = () => target.getConnections(peer.peerId).length === 0

  const openStreams = (): Promise<Stream[]> =>
    Promise.all(
      Array.from({ length: STREAMS }, () =>
        peer.dialProtocol(target.peerId, PROTOCOL, { maxOutboundStreams: STREAMS }),
      ),
    )

  /** Reads no more, and asks for more than its socket can hold. */
  async function fill(streams: Stream[]): Promise<void> {
    const { maConn } = endOf(peer, target)
    maConn.stream.websocket.pause()
    for (const stream of streams) {
      const window = stream as unknown as { recvWindow: number; recvWindowCapacity: number }
      const moreBytes = WIDE_BYTES - window.recvWindow
      window.recvWindow += moreBytes
      window.recvWindowCapacity += moreBytes
      maConn.send(header(WINDOW_UPDATE, 0, Number(stream.id), moreBytes))
    }
    await until(() => endOf(target, peer).maConn.writableNeedsDrain)
  }

  it('ends a connection with a frame that announces 4 GiB before they are there', async () => {
    const { maConn } = endOf(peer, target)
    const { decoder } = endOf(target, peer)
    maConn.send(header(DATA, SYN, 1_001, 2 ** 32 - 1))
    let mostBytes = 0
    for (let sent = 0; sent < 32 * MIB && maConn.status === 'open'; sent += 256 * KIB) {
      maConn.send(new Uint8Array(256 * KIB))
      await new Promise((resolve) => setImmediate(resolve))
      mostBytes = Math.max(mostBytes, decoder.buffer.byteLength)
    }
    await until(isCut)
    expect(mostBytes).toBeLessThan(4 * MIB)
  })

  it('ends one whose other side takes nothing and pings on', async () => {
    const { maConn } = endOf(peer, target)
    const answers = endOf(target, peer).maConn
    await fill(await openStreams())
    let mostBytes = 0
    for (let sent = 0; sent < 500 && answers.status === 'open'; sent += 1) {
      maConn.send(pings(1_000))
      await new Promise((resolve) => setImmediate(resolve))
      mostBytes = Math.max(mostBytes, answers.writeBufferLength)
    }
    await until(isCut)
    expect(mostBytes).toBeLessThan(4 * MIB)
  })

  it('sends somebody slow all of what he asked for over many streams, and keeps it in the streams until then', async () => {
    const { websocket } = endOf(peer, target).maConn.stream
    const sending = endOf(target, peer).maConn
    const streams = await openStreams()
    const taken = streams.map(() => 0)
    streams.forEach((stream, i) => {
      stream.addEventListener('message', ({ data }) => {
        taken[i] = (taken[i] as number) + data.byteLength
      })
    })
    await fill(streams)
    const all = () => taken.reduce((sum, bytes) => sum + bytes)
    let mostBytes = 0
    while (all() < STREAMS * BYTES_EACH && !isCut()) {
      const before = all()
      websocket.resume()
      await until(() => all() > before || isCut())
      websocket.pause()
      await new Promise((resolve) => setImmediate(resolve))
      mostBytes = Math.max(mostBytes, sending.writeBufferLength)
    }
    expect(taken).toEqual(streams.map(() => BYTES_EACH))
    expect(mostBytes).toBeLessThan(MIB)
  }, 60_000)
})

describe('a node', () => {
  let target: ServingNode
  beforeEach(async () => {
    target = await startNode('durable')
    await meet(target.libp2p)
  })
  afterEach(() => target.close())

  const isCut = () => target.libp2p.getConnections(peer.peerId).length === 0

  it('cuts off who pings without end, long before its socket is full', async () => {
    const { maConn } = endOf(peer, target.libp2p)
    const answers = endOf(target.libp2p, peer).maConn
    maConn.stream.websocket.pause()
    for (let sent = 0; sent < 100 && answers.status === 'open'; sent += 1) {
      maConn.send(pings(1_000))
      await new Promise((resolve) => setImmediate(resolve))
    }
    await until(isCut)
    expect(answers.writableNeedsDrain).toBe(false)
    await servesHonest(target, 'after endless pings')
  }, 30_000)

  it('answers somebody who pings and opens streams as an honest node never does', async () => {
    const muxer = endOf(peer, target.libp2p)
    for (let i = 0; i < ASKED.burst / 4; i += 1) await muxer.ping()
    for (let i = 0; i < ASKED.burst / 8; i += 1)
      await (await peer.dialProtocol(target.libp2p.peerId, PING_PROTOCOL)).close()
    expect(isCut()).toBe(false)
  }, 30_000)
})
