import type { StreamMuxerFactory } from '@libp2p/interface'
import { StickyError } from './errors.ts'
import { type Quota, RateLimiter } from './rate-limit.ts'
import { systemRuntime } from './runtime.ts'

/**
 * Yamux for processes that anybody may dial. It answers each ping, and each stream above those that somebody may open, with
 * twelve bytes; until they are taken they cost thirty times as much, and a socket takes a quarter of a million of them
 * before it is full.
 */

/** Pings and new streams of one connection. A node opens a stream for each question to its DHT, and a few hundred when it joins. */
export const ASKED: Quota = { perSecond: 100, burst: 2_000 }

/** Of a stream that is opened, and of a ping that wants an answer. */
const SYN = 1

interface Muxer {
  handleFrame(frame: { header: { flag: number } }): void
}

/** `create`: what would stand in `streamMuxers`. Who asks for more than `quota` is cut off. */
export function boundAnswers(create: () => StreamMuxerFactory, quota = ASKED): () => StreamMuxerFactory {
  return () => {
    const factory = create()
    const createMuxer = factory.createStreamMuxer
    factory.createStreamMuxer = (connection) => {
      const muxer = createMuxer.call(factory, connection)
      const insides = muxer as unknown as Muxer
      const { handleFrame } = insides
      const limiter = new RateLimiter(systemRuntime)
      insides.handleFrame = (frame) => {
        if ((frame.header.flag & SYN) !== 0 && !limiter.take('asked', quota))
          throw new StickyError('RATE_LIMITED', 'A peer pings, or opens streams, without end.')
        handleFrame.call(muxer, frame)
      }
      return muxer
    }
    return factory
  }
}
