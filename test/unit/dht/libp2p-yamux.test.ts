import type { Stream } from '@libp2p/interface'
import type { Multiaddr } from '@multiformats/multiaddr'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type DhtLibp2p, sha256, toHex } from '../../../src/dht/index.ts'
import { createNodeLibp2p } from '../../../src/node/transports.ts'
import { bareNode } from '../../support/bare-node.ts'
import { PATIENCE } from '../../support/patience.ts'

/** Bytes over real connections, and what comes back for them. A bare node runs yamux as it comes. */

const PROTOCOL = '/test/bytes/1.0.0'
const MEBIBYTE = 1024 * 1024

interface Inner {
  sendFrame(header: { type: number }, body?: unknown): boolean
}

/** Takes what comes, and counts the frames that it sends back for it (type 1 is a window update). */
class Receiver {
  bytes = 0
  updates = 0
  readonly chunks: Uint8Array[] = []

  constructor(stream: Stream) {
    const inner = stream as unknown as Inner
    const { sendFrame } = inner
    inner.sendFrame = (header, body) => {
      if (header.type === 1) this.updates += 1
      return sendFrame.call(stream, header, body)
    }
    stream.addEventListener('message', ({ data }) => {
      for (const chunk of data instanceof Uint8Array ? [data] : data) {
        this.bytes += chunk.byteLength
        this.chunks.push(chunk.slice())
      }
    })
  }
}

async function send(stream: Stream, bytes: Uint8Array, eachBytes: number): Promise<void> {
  for (let at = 0; at < bytes.byteLength; at += eachBytes)
    if (!stream.send(bytes.subarray(at, at + eachBytes)))
      await new Promise((resolve) => stream.addEventListener('drain', resolve, { once: true }))
}

describe('yamux that spares window updates', () => {
  let sparing: DhtLibp2p
  let other: DhtLibp2p
  let plain: DhtLibp2p
  const receivers = new Map<DhtLibp2p, Receiver>()

  beforeAll(async () => {
    const node = (byte: number) =>
      createNodeLibp2p({
        seed: new Uint8Array(32).fill(byte),
        role: 'durable',
        listen: ['/ip4/127.0.0.1/tcp/0/ws'],
      })
    sparing = await node(1)
    other = await node(2)
    plain = await bareNode(new Uint8Array(32).fill(3))
    for (const libp2p of [sparing, other, plain])
      await libp2p.handle(PROTOCOL, (stream) => {
        receivers.set(libp2p, new Receiver(stream))
      })
    await plain.dial(sparing.getMultiaddrs()[0] as Multiaddr)
    await other.dial(sparing.getMultiaddrs()[0] as Multiaddr)
  })
  afterAll(() => Promise.all([sparing, other, plain].map((libp2p) => libp2p?.stop())))

  /** Sends over a new stream, and resolves with the other end once everything is there. */
  async function through(from: DhtLibp2p, to: DhtLibp2p, bytes: Uint8Array, eachBytes: number) {
    receivers.delete(to)
    const stream = await from.dialProtocol(to.peerId, PROTOCOL)
    await send(stream, bytes, eachBytes)
    await vi.waitFor(() => expect(receivers.get(to)?.bytes).toBe(bytes.byteLength), PATIENCE)
    const receiver = receivers.get(to) as Receiver
    expect(toHex(await sha256(...receiver.chunks))).toBe(toHex(await sha256(bytes)))
    await stream.close()
    return receiver
  }

  const random = (length: number) => {
    const bytes = new Uint8Array(length)
    for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536))
    return bytes
  }

  it('sends none for a hundred small messages, where yamux as it comes sends one for each', async () => {
    const bytes = random(100 * 200)
    expect((await through(other, sparing, bytes, 200)).updates).toBe(0)
    expect((await through(sparing, plain, bytes, 200)).updates).toBeGreaterThan(20)
  })

  it('never holds up a large transfer, whichever the other side runs', async () => {
    const bytes = random(6 * MEBIBYTE)
    for (const [from, to] of [
      [other, sparing],
      [plain, sparing],
      [sparing, plain],
    ] as const) {
      const receiver = await through(from, to, bytes, 100_000)
      if (to === sparing) expect(receiver.updates).toBeLessThanOrEqual(6 * 8 + 1)
    }
  })

  it('lets go on what has waited for room: a window in one piece, and a byte more', async () => {
    const receiver = await through(other, sparing, random(256 * 1024 + 1), MEBIBYTE)
    expect(receiver.updates).toBeGreaterThan(0)
  })
})
