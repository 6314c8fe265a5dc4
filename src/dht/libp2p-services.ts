import type { Identify } from '@libp2p/identify'
import type { Libp2p, Stream } from '@libp2p/interface'
import { type KadDHT, kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { StickyError } from './errors.ts'

/** What the libp2p node of every sticky node runs, and how often it pings. */

/** The DHT of everybody. */
export const KAD_PROTOCOL = '/sticky-pubsub/kad/1.0.0'
/** Durable nodes serve it, all others are its clients: the closest durable ones are found however many tabs there are. */
export const KAD_DURABLE_PROTOCOL = '/sticky-pubsub/kad-durable/1.0.0'

export type DhtMode = 'server' | 'client'

export interface DhtServices extends Record<string, unknown> {
  identify: Identify
  kad: KadDHT
  kadDurable: KadDHT
}

export type DhtLibp2p = Libp2p<DhtServices>

/**
 * For the ping service of every node. Both DHTs ping a peer before they take it into their tables, and libp2p's own monitor
 * pings each connection; with libp2p's bound of one such stream they fail each other, and whoever failed once is left out.
 */
export const PING_STREAMS = { maxOutboundStreams: 4, maxInboundStreams: 8 }

/**
 * Of libp2p's monitor, on every connection of a node or a bridge. A peer that has gone without a word is noticed after 30 s,
 * and after a minute where others are slow too. One that is merely slow for a while is spared: where many lose their
 * connections to a busy node at once, their handshakes keep it busy.
 */
export const PINGS = { pingInterval: 20_000, pingTimeout: { minTimeout: 10_000, maxTimeout: 40_000 } }

/**
 * Of one peer in a look-up, its dial included. Half of the time of the whole look-up: with kad-dht's own 5 s and more, one
 * peer that says nothing would have every look-up cut off that meets it.
 */
const QUESTIONS = { minTimeout: 2_500, maxTimeout: 2_500 }

/** What kad-dht offers beyond its published type. */
interface WithInsides {
  rpc: { handlers: Record<string, unknown> }
  network: { _writeReadMessage(stream: Stream, ...rest: unknown[]): Promise<unknown> }
}

/** Of its messages, those that look for peers. */
const ROUTING: ReadonlySet<string> = new Set(['FIND_NODE', 'PING'])

/** An answer names twenty peers; one with forty addresses each has 60 KiB. kad-dht would read 4 MiB. */
const MAX_ANSWER_BYTES = 128 * 1024

/**
 * It would keep values and provider records for whoever sends some, in memory and without a bound; nobody asks for them. And
 * it would take in as many peers as an answer names.
 */
function onlyRouting(kad: KadDHT): KadDHT {
  const { rpc, network } = kad as unknown as WithInsides
  for (const message of Object.keys(rpc.handlers)) if (!ROUTING.has(message)) delete rpc.handlers[message]
  const ask = network._writeReadMessage
  network._writeReadMessage = (stream, ...rest) => {
    let bytes = 0
    stream.addEventListener('message', ({ data }) => {
      bytes += data.byteLength
      if (bytes > MAX_ANSWER_BYTES)
        stream.abort(new StickyError('TOO_LARGE', 'The answer of a peer is too large.'))
    })
    return ask.call(network, stream, ...rest)
  }
  return kad
}

/** The two DHT services of a node. The libp2p node must also run ping, identify and identifyPush. */
export function dhtServices(modes: { common: DhtMode; durable: DhtMode }) {
  const service = (name: string, protocol: string, mode: DhtMode) => {
    const create = kadDHT({
      protocol,
      clientMode: mode === 'client',
      peerInfoMapper: passthroughMapper, // the default drops private addresses
      initialQuerySelfInterval: 100,
      networkDialTimeout: QUESTIONS,
      logPrefix: `libp2p:sticky-${name}`,
      datastorePrefix: `/sticky-${name}`,
      metricsPrefix: `sticky_${name.replace('-', '_')}`,
    })
    return (components: Parameters<typeof create>[0]) => onlyRouting(create(components))
  }
  return {
    kad: service('kad', KAD_PROTOCOL, modes.common),
    kadDurable: service('kad-durable', KAD_DURABLE_PROTOCOL, modes.durable),
  }
}
