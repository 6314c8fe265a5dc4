import type { MessageStream, StreamMuxerFactory } from '@libp2p/interface'
import { type YamuxMuxerInit, yamux } from '@libp2p/yamux'
import { StreamState } from '@libp2p/yamux/stream'

/**
 * Yamux that tells the other side of room in its window when half of it is used up. libp2p's tells after each frame that it
 * received: for small messages that is a packet back for every packet, encrypted, sent and read like any other.
 *
 * What the other side makes it keep is bounded. libp2p's waits for whole frames, which may announce 4 GiB, and keeps
 * answers to pings without end for somebody who takes none.
 */

/** For one connection: of a frame that has begun, and of answers beyond what its socket takes. Streams wait for the socket. */
const MAX_KEPT_BYTES = 2 * 1024 * 1024
/** Of one stream, and so of one frame. libp2p lets it grow to 16 MiB. */
const MAX_WINDOW_BYTES = MAX_KEPT_BYTES / 2

type Yamux = ReturnType<ReturnType<typeof yamux>>
type Muxer = ReturnType<Yamux['createStreamMuxer']>
type Stream = ReturnType<Muxer['onCreateStream']>

/** What the stream keeps to itself: the bytes that may come at all between two updates, and how many still may. */
interface ReceiveWindow {
  recvWindow: number
  recvWindowCapacity: number
}

interface MuxerInsides {
  decoder: { buffer: { byteLength: number } }
  _newStream(...args: unknown[]): Stream
}

function sparing(stream: Stream, connection: MessageStream): Stream {
  const waitForConnection = () => {
    stream.writableNeedsDrain = connection.writableNeedsDrain
  }
  waitForConnection()
  stream.addEventListener('drain', waitForConnection) // also of room in its window
  const update = stream.sendWindowUpdate
  stream.sendWindowUpdate = () => {
    const { recvWindow, recvWindowCapacity } = stream as unknown as ReceiveWindow
    // before it is established the update opens the stream
    if (stream.state === StreamState.Established && recvWindowCapacity > recvWindow / 2) return
    update.call(stream)
  }
  return stream
}

/** For `streamMuxers`, where `yamux()` would stand. The other side may run either. */
export function sparingYamux(init: YamuxMuxerInit = {}): () => StreamMuxerFactory {
  const create = yamux({ ...init, streamOptions: { maxStreamWindowSize: MAX_WINDOW_BYTES } })
  return () => {
    const factory = create()
    const createMuxer = factory.createStreamMuxer
    factory.createStreamMuxer = (connection) => {
      const muxer = createMuxer.call(factory, connection)
      const insides = muxer as unknown as MuxerInsides
      const { decoder, _newStream } = insides
      insides._newStream = (...args) => sparing(_newStream.apply(muxer, args), connection)
      connection.addEventListener('message', () => {
        // the muxer has read it by now: what is left is the beginning of a frame, and what is unsent is for somebody who does not read
        if (decoder.buffer.byteLength + connection.writeBufferLength > MAX_KEPT_BYTES)
          connection.abort(new Error('too much'))
      })
      return muxer
    }
    return factory
  }
}
