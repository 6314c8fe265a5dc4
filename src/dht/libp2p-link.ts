import type { Stream } from '@libp2p/interface'
import type { NodeId } from './identity.ts'
import { type Link, type LinkEvents, MAX_FRAME_BYTES } from './network.ts'
import type { Runtime } from './runtime.ts'

/**
 * Frames on one libp2p stream: a 4-byte big-endian length, then so many bytes. Decides framing, order, back-pressure and
 * how a link ends; it knows nothing of dialling or of what a frame means.
 */

const PREFIX_BYTES = 4
/** A peer that does not take its frames while so much waits for it is cut off: memory is bounded, others go on. */
export const MAX_BUFFERED_BYTES = 8 * 1024 * 1024
/** Larger frames are bulk: pages of a history, large messages. What is small, such as an answer, does not wait behind them. */
const BULK_FRAME_BYTES = 16 * 1024
/** Of small frames while bulk waits; then a bulk frame goes, so that it gets somewhere on a link that is never idle. */
const MAX_SMALL_BYTES_IN_A_ROW = 64 * 1024
/** A closed link's stream is reset when the other side has not closed its half after this long. */
const CLOSE_TIMEOUT_MS = 5_000

/** Cuts a byte stream into frames. The announced length is checked before anything is allocated for it. */
export class FrameReader {
  readonly #prefix = new Uint8Array(PREFIX_BYTES)
  #prefixFilled = 0
  #frame: Uint8Array | undefined
  #frameFilled = 0

  /** Calls `onFrame` for each frame that `chunk` completes. False when a prefix is over the limit: the stream is lost. */
  push(chunk: Uint8Array, onFrame: (frame: Uint8Array) => void): boolean {
    let offset = 0
    while (offset < chunk.byteLength || this.#isComplete()) {
      if (this.#isComplete()) {
        onFrame(this.#take())
        continue
      }
      offset += this.#frame === undefined ? this.#fillPrefix(chunk, offset) : this.#fillFrame(chunk, offset)
      if (this.#frame === undefined && this.#prefixFilled === PREFIX_BYTES && !this.#begin()) return false
    }
    return true
  }

  #isComplete(): boolean {
    return this.#frame !== undefined && this.#frameFilled === this.#frame.byteLength
  }

  #take(): Uint8Array {
    const frame = this.#frame as Uint8Array
    this.#frame = undefined
    this.#prefixFilled = 0
    return frame
  }

  #begin(): boolean {
    const length = new DataView(this.#prefix.buffer).getUint32(0)
    if (length > MAX_FRAME_BYTES) return false
    this.#frame = new Uint8Array(length)
    this.#frameFilled = 0
    return true
  }

  #fillPrefix(chunk: Uint8Array, offset: number): number {
    const part = chunk.subarray(offset, offset + PREFIX_BYTES - this.#prefixFilled)
    this.#prefix.set(part, this.#prefixFilled)
    this.#prefixFilled += part.byteLength
    return part.byteLength
  }

  #fillFrame(chunk: Uint8Array, offset: number): number {
    const frame = this.#frame as Uint8Array
    const part = chunk.subarray(offset, offset + frame.byteLength - this.#frameFilled)
    frame.set(part, this.#frameFilled)
    this.#frameFilled += part.byteLength
    return part.byteLength
  }
}

const prefixed = (frame: Uint8Array): Uint8Array => {
  const packet = new Uint8Array(PREFIX_BYTES + frame.byteLength)
  new DataView(packet.buffer).setUint32(0, frame.byteLength)
  packet.set(frame, PREFIX_BYTES)
  return packet
}

/** First in, first out. An array's own `shift` moves all that is behind. */
class Fifo {
  #packets: (Uint8Array | undefined)[] = []
  #first = 0

  get isEmpty(): boolean {
    return this.#first === this.#packets.length
  }

  push(packet: Uint8Array): void {
    this.#packets.push(packet)
  }

  take(): Uint8Array | undefined {
    if (this.isEmpty) return undefined
    const packet = this.#packets[this.#first]
    this.#packets[this.#first] = undefined
    this.#first += 1
    if (this.#first * 2 > this.#packets.length) {
      this.#packets = this.#packets.slice(this.#first)
      this.#first = 0
    }
    return packet
  }
}

/** Small packets, and bulk behind them. */
class PacketQueue {
  #small = new Fifo()
  #bulk = new Fifo()
  #bytes = 0
  #smallBytesInARow = 0

  get bytes(): number {
    return this.#bytes
  }

  push(packet: Uint8Array): void {
    const queue = packet.byteLength > BULK_FRAME_BYTES ? this.#bulk : this.#small
    queue.push(packet)
    this.#bytes += packet.byteLength
  }

  take(): Uint8Array | undefined {
    const isBulksTurn = this.#small.isEmpty || this.#smallBytesInARow >= MAX_SMALL_BYTES_IN_A_ROW
    const packet = (isBulksTurn ? this.#bulk.take() : undefined) ?? this.#small.take()
    if (packet === undefined) return undefined
    this.#bytes -= packet.byteLength
    const isSmall = packet.byteLength <= BULK_FRAME_BYTES
    this.#smallBytesInARow = isSmall && !this.#bulk.isEmpty ? this.#smallBytesInARow + packet.byteLength : 0
    return packet
  }

  clear(): void {
    this.#small = new Fifo()
    this.#bulk = new Fifo()
    this.#bytes = 0
  }
}

/** A link over a stream of the link protocol that this side has opened. The caller has it before its first event. */
export function linkOver(peer: NodeId, stream: Stream, runtime: Runtime, events: LinkEvents): Link {
  const link = new StreamLink(peer, stream, runtime)
  nextTask(() => link.start(events))
  return link
}

/** A task of its own, after all promise reactions of this one. Unlike a timer it is not throttled in a hidden tab. */
function nextTask(callback: () => void): void {
  const { port1, port2 } = new MessageChannel()
  port1.onmessage = () => {
    port1.close()
    callback()
  }
  port2.postMessage(null)
}

export class StreamLink implements Link {
  readonly peer: NodeId
  readonly #stream: Stream
  readonly #runtime: Runtime
  readonly #reader = new FrameReader()
  /** Packets that wait for the stream's 'drain'. */
  readonly #waiting = new PacketQueue()
  #events: LinkEvents | undefined
  #closed = false
  #told = false

  constructor(peer: NodeId, stream: Stream, runtime: Runtime) {
    this.peer = peer
    this.#stream = stream
    this.#runtime = runtime
    stream.addEventListener('drain', () => this.#flush())
    stream.addEventListener('close', () => this.#end())
  }

  get bufferedBytes(): number {
    return this.#waiting.bytes + this.#stream.writeBufferLength
  }

  /** Begins to deliver. libp2p keeps what arrived before in the stream's read buffer. */
  start(events: LinkEvents): void {
    this.#events = events
    if (this.#closed) {
      this.#tellClosed()
      return
    }
    this.#stream.addEventListener('message', ({ data }) => {
      for (const chunk of data instanceof Uint8Array ? [data] : data) this.#read(chunk)
    })
    this.#stream.addEventListener('remoteCloseWrite', () => this.close())
    // the other side may have closed before we listened; what it had sent is dispatched in the microtask before this one
    queueMicrotask(() => {
      if (this.#stream.status !== 'open' || this.#stream.remoteWriteStatus === 'closed') this.close()
    })
  }

  send(frame: Uint8Array): boolean {
    if (this.#closed) return false
    const bytes = PREFIX_BYTES + frame.byteLength
    if (frame.byteLength > MAX_FRAME_BYTES || this.bufferedBytes + bytes > MAX_BUFFERED_BYTES) {
      this.#abort('The frame is too large, or the peer does not take what waits for it.')
      return false
    }
    const packet = prefixed(frame)
    if (this.#waiting.bytes === 0 && !this.#stream.writableNeedsDrain) return this.#write(packet)
    this.#waiting.push(packet)
    return true
  }

  /** What `send` accepted still goes out; nothing more is delivered. */
  close(): void {
    if (this.#closed) return
    for (let packet = this.#waiting.take(); packet !== undefined; packet = this.#waiting.take())
      if (!this.#write(packet)) break
    this.#end()
    const stream = this.#stream
    if (stream.status !== 'open') return
    const timer = this.#runtime.setTimer(
      () => stream.abort(new Error('The other side did not close its half of the link.')),
      CLOSE_TIMEOUT_MS,
    )
    stream.addEventListener('close', () => timer.clear(), { once: true })
    stream.close().catch((error: Error) => stream.abort(error))
  }

  #read(chunk: Uint8Array): void {
    if (this.#closed) return
    const inOrder = this.#reader.push(chunk, (frame) => {
      if (!this.#closed) this.#events?.onFrame(frame)
    })
    if (!inOrder) this.#abort('A frame over the size limit was announced.')
  }

  #write(packet: Uint8Array): boolean {
    try {
      this.#stream.send(packet)
      return true
    } catch (error) {
      this.#abort(error instanceof Error ? error.message : 'The stream refused a frame.')
      return false
    }
  }

  #flush(): void {
    while (!this.#closed && !this.#stream.writableNeedsDrain) {
      const packet = this.#waiting.take()
      if (packet === undefined) return
      this.#write(packet)
    }
  }

  #abort(reason: string): void {
    this.#end()
    this.#stream.abort(new Error(reason))
  }

  #end(): void {
    if (this.#closed) return
    this.#closed = true
    this.#waiting.clear()
    this.#tellClosed()
  }

  /** Once, and never inside the call that closed the link. */
  #tellClosed(): void {
    const events = this.#events
    if (events === undefined || this.#told) return
    this.#told = true
    queueMicrotask(() => events.onClose())
  }
}
