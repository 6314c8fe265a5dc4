import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import type { Connection, Stream } from '@libp2p/interface'
import { StickyError } from './errors.ts'

/** libp2p's circuit relay, both ends of it, with what it lacks against peers that mean harm. */

export const HOP_PROTOCOL = '/libp2p/circuit/relay/0.2.0/hop'

type Handler = (stream: Stream, connection: Connection) => Promise<void>

/** What the relay server has beyond its published type. */
interface WithHop {
  onHop: Handler
}

/** libp2p's relay server, but that it reads no large request. */
export function relayServer(init: Parameters<typeof circuitRelayServer>[0]) {
  const create = circuitRelayServer(init)
  return (components: Parameters<typeof create>[0]) => {
    const server = create(components)
    const inside = server as unknown as WithHop
    const { onHop } = inside
    inside.onHop = (stream, connection) => onHop(boundRequest(stream), connection)
    return server
  }
}

/**
 * A request has two hundred bytes. libp2p would read one of four million, and parse every address in it, in one go: nothing
 * else would be done for seconds, each time.
 */
function boundRequest(stream: Stream): Stream {
  let lengthBytes = 0
  const look = ({ data }: { data: { subarray(from: number, to: number): Uint8Array } }) => {
    for (const byte of data.subarray(0, MAX_LENGTH_BYTES - lengthBytes)) {
      if (byte < 0x80) return stream.removeEventListener('message', look)
      lengthBytes += 1
    }
    if (lengthBytes === MAX_LENGTH_BYTES)
      stream.abort(new StickyError('TOO_LARGE', 'The request is too large.'))
  }
  stream.addEventListener('message', look)
  return stream
}

/** Of a request's length, which comes first, seven bits in each byte: less than 16 KiB. */
const MAX_LENGTH_BYTES = 2

/** Circuits that end at one peer: more than another one can take all of. */
const MAX_TO_ONE = 16

/** What the relay transport has beyond its published type. */
interface WithStop {
  onStop: Handler
}

/**
 * libp2p's relay transport, but for one thing: it asks everybody through whom somebody comes for a place, and listens there
 * from then on. So anybody could make himself a relay of this node, which it would tell to all, and as often as he likes.
 */
export function relayTransport() {
  const create = circuitRelayTransport({ maxOutboundStopStreams: MAX_TO_ONE }) // which counts, and not the server's
  return (components: Parameters<typeof create>[0]) => {
    const transport = create(components)
    const stopping = transport as unknown as WithStop
    const { onStop } = Object.getPrototypeOf(transport) as WithStop
    const contented = Object.create(transport, {
      reservationStore: { value: { hasReservation: () => true } },
    })
    stopping.onStop = (stream, connection) => onStop.call(contented, boundRequest(stream), connection)
    return transport
  }
}
