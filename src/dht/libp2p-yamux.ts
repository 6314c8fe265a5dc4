import type { StreamMuxerFactory } from '@libp2p/interface'
import { type YamuxMuxerInit, yamux } from '@libp2p/yamux'
import { StreamState } from '@libp2p/yamux/stream'

/**
 * Yamux that tells the other side of room in its window when half of it is used up. libp2p's tells after each frame that it
 * received: for small messages that is a packet back for every packet, encrypted, sent and read like any other.
 */

type Yamux = ReturnType<ReturnType<typeof yamux>>
type Muxer = ReturnType<Yamux['createStreamMuxer']>
type Stream = ReturnType<Muxer['onCreateStream']>

/** What the stream keeps to itself: the bytes that may come at all between two updates, and how many still may. */
interface ReceiveWindow {
  recvWindow: number
  recvWindowCapacity: number
}

function sparing(stream: Stream): Stream {
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
  const create = yamux(init)
  return () => {
    const factory = create()
    const createMuxer = factory.createStreamMuxer
    factory.createStreamMuxer = (connection) => {
      const muxer = createMuxer.call(factory, connection)
      const { onCreateStream, onRemoteStream } = muxer
      muxer.onCreateStream = () => sparing(onCreateStream.call(muxer))
      muxer.onRemoteStream = (stream) => onRemoteStream.call(muxer, sparing(stream))
      return muxer
    }
    return factory
  }
}
