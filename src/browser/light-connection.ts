import { generateKeyPairFromSeed, publicKeyToProtobuf } from '@libp2p/crypto/keys'
import type {
  ComponentLogger,
  MessageStream,
  PrivateKey,
  Stream,
  StreamMuxer,
  StreamMuxerFactory,
  Upgrader,
} from '@libp2p/interface'
import { peerIdFromPrivateKey, peerIdFromString } from '@libp2p/peer-id'
import { lpStream } from '@libp2p/utils'
import {
  isTimeout,
  LINK_PROTOCOL,
  type NodeId,
  publicKeyOf,
  StickyError,
  sparingNoise,
  sparingYamux,
} from '../dht/index.ts'
import { IDENTIFY_PROTOCOL, identifyAnswer, MAX_MESSAGE_BYTES } from './light-messages.ts'
import { handle, select } from './light-negotiate.ts'
import { defaultLogger } from './no-libp2p-log.ts'

/**
 * One connection to another node, as any libp2p node has it: a noise handshake that proves both keys, then streams by
 * yamux, each for one protocol. Decides who the other side is and what it may open here; not whom to connect to.
 */

/** Streams that the other side may have open here: links, and questions who this is. */
const MAX_INBOUND_STREAMS = 16
/** The other side has opened a stream and is to say what for. */
const NEGOTIATION_MS = 5_000
const CLOSE_MS = 1_000
/** As long as a stream may take to open. */
const DOUBT_MS = 2_500
/** What is heard without an answer to a ping is believed for so long: it may be that nothing goes out any more. */
const MAX_PING_MS = 60_000

/**
 * What the other side may ask for. Not ping: who monitors a connection takes the refusal for the sign of life that it is.
 */
const SERVED = [IDENTIFY_PROTOCOL, LINK_PROTOCOL]

/** What a node needs for its handshakes, made once. */
export interface LightKey {
  encrypter: ReturnType<ReturnType<typeof sparingNoise>>
  muxers: StreamMuxerFactory
  /** What it says of itself to who asks. */
  identify: Uint8Array
}

/** `seed`: 32 bytes, of the node's Ed25519 key. */
export async function lightKeyOf(seed: Uint8Array): Promise<LightKey> {
  const privateKey: PrivateKey = await generateKeyPairFromSeed('Ed25519', seed)
  const muxers = sparingYamux({ maxInboundStreams: MAX_INBOUND_STREAMS })()
  const encrypter = sparingNoise()({
    peerId: peerIdFromPrivateKey(privateKey as Parameters<typeof peerIdFromPrivateKey>[0]),
    privateKey,
    logger: defaultLogger() as unknown as ComponentLogger,
    // all that noise asks of it: the muxers are agreed on within the handshake, a round trip less
    upgrader: { getStreamMuxers: () => new Map([[muxers.protocol, muxers]]) } as unknown as Upgrader,
  })
  const identify = identifyAnswer(publicKeyToProtobuf(privateKey.publicKey), SERVED)
  return { encrypter, muxers, identify }
}

export interface UpgradeInit {
  key: LightKey
  /** Who must be at the other end. */
  peer: NodeId
  /** It goes through the bridge's relay. */
  relayed: boolean
  /** Takes a stream of the link protocol that the other side has opened. */
  onLink(stream: Stream, connection: LightConnection): void
  signal: AbortSignal
}

/** Makes a connection of a fresh byte stream to a listening node. Rejects, and ends the stream, unless it is `peer`. */
export async function upgrade(raw: MessageStream, init: UpgradeInit): Promise<LightConnection> {
  const { key, peer, signal } = init
  try {
    publicKeyOf(peer) // an id that does not contain its key would not be compared with the one that is shown
    const remotePeer = peerIdFromString(peer)
    await select(raw, key.encrypter.protocol, { signal })
    const secured = await key.encrypter.secureOutbound(raw, { remotePeer, signal })
    if (!secured.remotePeer.equals(remotePeer)) throw wrongIdentity()
    if (secured.streamMuxer === undefined) await select(secured.connection, key.muxers.protocol, { signal })
    return new LightConnection(secured.connection, key.muxers.createStreamMuxer(secured.connection), init)
  } catch (error) {
    raw.abort(error instanceof Error ? error : new Error(String(error)))
    throw (error as Error)?.name === 'UnexpectedPeerError' ? wrongIdentity(error) : error
  }
}

const wrongIdentity = (cause?: unknown): StickyError =>
  new StickyError('WRONG_IDENTITY', 'Another node answered than the one that was meant.', { cause })

export class LightConnection {
  readonly peer: NodeId
  readonly relayed: boolean
  readonly #secured: MessageStream
  readonly #muxer: StreamMuxer
  readonly #init: UpgradeInit
  #lastHeardMs = performance.now()
  #isClosing = false
  #doubting: Promise<void> | undefined
  #pinging: Promise<unknown> | undefined
  #pingedMs = 0

  constructor(secured: MessageStream, muxer: StreamMuxer, init: UpgradeInit) {
    this.peer = init.peer
    this.relayed = init.relayed
    this.#secured = secured
    this.#muxer = muxer
    this.#init = init
    secured.addEventListener('message', () => {
      this.#lastHeardMs = performance.now()
      // yamux reads before, and tells nobody of a goodbye; the other side may leave it at that
      if (!this.#isClosing && muxer.status === 'closed') this.abort('The other side has closed.')
    })
    // of a circuit only this tells that the other end has gone
    secured.addEventListener('remoteCloseWrite', () => this.abort('The other side has closed.'))
    muxer.addEventListener('stream', ({ detail }) => void this.#serve(detail))
  }

  get isOpen(): boolean {
    return this.#secured.status === 'open' && this.#muxer.status === 'open'
  }

  /** Nothing uses it. */
  get isIdle(): boolean {
    return this.#muxer.streams.length === 0
  }

  get lastHeardMs(): number {
    return this.#lastHeardMs
  }

  onClose(listener: () => void): void {
    this.#secured.addEventListener('close', listener)
  }

  /** Rejects with the signal's reason, UNKNOWN_METHOD (the peer does not speak it), or what happened to the connection. */
  async newStream(protocol: string, signal: AbortSignal): Promise<Stream> {
    signal.throwIfAborted()
    const stream = await this.#muxer.createStream({ signal })
    try {
      await select(stream, protocol, { signal })
      return stream
    } catch (error) {
      stream.abort(error as Error)
      if (!signal.aborted) throw error
      this.#doubt()
      throw signal.reason
    }
  }

  /** A stream was not opened in time: the other side is slow, or has gone without a word. */
  #doubt(): void {
    this.#doubting ??= this.requireAlive(AbortSignal.timeout(DOUBT_MS)).finally(() => {
      this.#doubting = undefined
    })
  }

  /** One question and its answer, each with its length before it, on a stream of their own. */
  async ask(protocol: string, question: Uint8Array | undefined, signal: AbortSignal): Promise<Uint8Array> {
    const stream = await this.newStream(protocol, signal)
    try {
      const messages = lpStream(stream, { maxDataLength: MAX_MESSAGE_BYTES })
      if (question !== undefined) await messages.write(question, { signal })
      return (await messages.read({ signal })).subarray()
    } finally {
      endStream(stream)
    }
  }

  /**
   * Cuts the connection unless there is a sign of life before the signal's time is over: on a slow line it waits behind
   * data. Aborted otherwise, the signal only ends the asking.
   */
  async requireAlive(signal: AbortSignal): Promise<void> {
    const startedMs = performance.now()
    try {
      signal.throwIfAborted()
      await unlessAborted(this.#ping(), signal)
    } catch {
      if (signal.aborted && !isTimeout(signal)) return
      const nowMs = performance.now()
      const isHeard = this.isOpen && this.#lastHeardMs > startedMs && nowMs - this.#pingedMs < MAX_PING_MS
      if (!isHeard) this.abort('The connection gave no sign of life.')
    }
  }

  /** One for all who ask, and never given up: yamux cuts a connection on which an answer comes that nobody waits for. */
  #ping(): Promise<unknown> {
    if (this.#pinging === undefined) {
      this.#pingedMs = performance.now()
      this.#pinging = (this.#muxer as StreamMuxer & { ping(): Promise<number> }).ping().finally(() => {
        this.#pinging = undefined
      })
    }
    return this.#pinging
  }

  abort(why: string): void {
    const error = new Error(why)
    this.#muxer.abort(error)
    this.#secured.abort(error)
  }

  /** What was sent goes out. */
  async close(): Promise<void> {
    this.#isClosing = true
    const signal = AbortSignal.timeout(CLOSE_MS)
    try {
      await this.#muxer.close({ signal })
      await this.#secured.close({ signal })
    } catch {
      this.abort('The connection did not close in time.')
    }
  }

  async #serve(stream: Stream): Promise<void> {
    const signal = AbortSignal.timeout(NEGOTIATION_MS)
    try {
      const protocol = await handle(stream, SERVED, { signal })
      if (protocol === LINK_PROTOCOL) return this.#init.onLink(stream, this)
      await lpStream(stream).write(this.#init.key.identify, { signal })
      endStream(stream)
    } catch (error) {
      stream.abort(error as Error)
    }
  }
}

/** Without waiting for the other side; one that does not close its half in time leaves nothing behind here. */
function endStream(stream: Stream): void {
  if (stream.status !== 'open') return
  const timer = setTimeout(() => stream.abort(new Error('The other side did not close its half.')), CLOSE_MS)
  stream.addEventListener('close', () => clearTimeout(timer), { once: true })
  stream.close().catch((error: Error) => stream.abort(error))
}

/** The result, or the signal's reason if that aborts before. */
export async function unlessAborted<T>(result: T, signal: AbortSignal): Promise<Awaited<T>> {
  const gaveUp = Promise.withResolvers<never>()
  const onAbort = () => gaveUp.reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([result, gaveUp.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
