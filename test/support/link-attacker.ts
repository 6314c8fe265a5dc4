import type { Stream } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { encode, type Identity, identityFromSeed } from '../../src/dht/index.ts'
import { LINK_PROTOCOL } from '../../src/dht/libp2p.ts'
import { FrameReader } from '../../src/dht/libp2p-link.ts'
import type { DhtLibp2p } from '../../src/dht/libp2p-services.ts'
import { decodeFrame, type Frame, WIRE_VERSION } from '../../src/dht/wire.ts'
import { createNodeLibp2p } from '../../src/node/transports.ts'
import { addressOf, type ServingNode } from './serving-node.ts'

/** Somebody with a key and a connection who speaks the link protocol by hand, as badly as a test wants it. */

export type Answer = { reply: unknown } | { error: string } | 'closed'

/** How the attacker answers what the node asks of it. Undefined: not at all. */
export type Responder = (method: string, body: unknown, id: number) => unknown

export const HELLO = {
  version: WIRE_VERSION,
  session: new Uint8Array(16).fill(7),
  stores: true,
  durable: true,
}

export class LinkAttacker {
  readonly identity: Identity
  readonly libp2p: DhtLibp2p
  readonly #target: ServingNode
  readonly #links: RawLink[] = []

  private constructor(identity: Identity, libp2p: DhtLibp2p, target: ServingNode) {
    this.identity = identity
    this.libp2p = libp2p
    this.#target = target
  }

  static async start(target: ServingNode): Promise<LinkAttacker> {
    const seed = crypto.getRandomValues(new Uint8Array(32))
    const libp2p = await createNodeLibp2p({ seed, role: 'client', listen: [] })
    await libp2p.dial(multiaddr(addressOf(target.libp2p)))
    return new LinkAttacker(await identityFromSeed(seed), libp2p, target)
  }

  /** A stream on which nothing has been said. */
  async silentLink(respond: Responder = () => undefined): Promise<RawLink> {
    const stream = await this.libp2p.dialProtocol(this.#target.libp2p.peerId, LINK_PROTOCOL, {
      maxOutboundStreams: 1_000,
      signal: AbortSignal.timeout(20_000),
    })
    const link = new RawLink(stream, respond)
    this.#links.push(link)
    return link
  }

  /** A link that has said a proper hello. */
  async link(respond?: Responder): Promise<RawLink> {
    const link = await this.silentLink(respond)
    link.send(['hello', HELLO])
    return link
  }

  async close(): Promise<void> {
    for (const link of this.#links) link.abort()
    await this.libp2p.stop()
  }
}

export class RawLink {
  readonly closed: Promise<'closed'>
  readonly #stream: Stream
  readonly #reader = new FrameReader()
  readonly #waiting = new Map<number, (answer: Answer) => void>()
  readonly #respond: Responder
  #nextId = 1

  constructor(stream: Stream, respond: Responder) {
    this.#stream = stream
    this.#respond = respond
    this.closed = new Promise((resolve) => {
      const end = () => {
        resolve('closed')
        for (const answer of this.#waiting.values()) answer('closed')
      }
      stream.addEventListener('close', end)
      stream.addEventListener('remoteCloseWrite', end)
      if (stream.status !== 'open') end()
    })
    stream.addEventListener('message', ({ data }) => {
      for (const chunk of data instanceof Uint8Array ? [data] : data)
        this.#reader.push(chunk, (frame) => this.#onFrame(decodeFrame(frame)))
    })
  }

  /** Bytes as they are, without a length in front. */
  sendRaw(bytes: Uint8Array): void {
    if (this.#stream.status === 'open') this.#stream.send(bytes)
  }

  /** A frame's bytes behind their length. */
  sendBytes(bytes: Uint8Array, announced = bytes.byteLength): void {
    const packet = new Uint8Array(4 + bytes.byteLength)
    new DataView(packet.buffer).setUint32(0, announced)
    packet.set(bytes, 4)
    this.sendRaw(packet)
  }

  send(frame: unknown): void {
    this.sendBytes(encode(frame))
  }

  request(method: string, body: unknown): Promise<Answer> {
    const id = this.#nextId++
    return this.#answerTo(id, () => this.send(['request', id, method, body]))
  }

  /** A request whose frame the test encodes itself. */
  rawRequest(frameOf: (id: number) => Uint8Array): Promise<Answer> {
    const id = this.#nextId++
    return this.#answerTo(id, () => this.sendBytes(frameOf(id)))
  }

  /** Ends its half, as somebody does who goes away in the middle of a frame. */
  async end(): Promise<void> {
    await this.#stream.close().catch(() => undefined)
  }

  abort(): void {
    this.#stream.abort(new Error('The attacker is done.'))
  }

  #answerTo(id: number, ask: () => void): Promise<Answer> {
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve)
      void this.closed.then(resolve)
      ask()
    })
  }

  #onFrame(frame: Frame): void {
    if (frame[0] === 'request') {
      const answer = this.#respond(frame[2], frame[3], frame[1])
      if (answer !== undefined) this.send(['reply', frame[1], answer])
    } else if (frame[0] !== 'hello') {
      this.#waiting.get(frame[1])?.(frame[0] === 'reply' ? { reply: frame[2] } : { error: frame[2] })
      this.#waiting.delete(frame[1])
    }
  }
}
