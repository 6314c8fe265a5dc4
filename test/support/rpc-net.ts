import * as v from 'valibot'
import { decodeAny, encode, integer } from '../../src/dht/codec.ts'
import type { StickyError } from '../../src/dht/errors.ts'
import { identityFromSeed } from '../../src/dht/identity.ts'
import { StageTimers } from '../../src/dht/measures.ts'
import { type Link, type LinkEvents, MAX_FRAME_BYTES, type PeerNetwork } from '../../src/dht/network.ts'
import { DEFAULT_DHT_OPTIONS, type DhtOptions } from '../../src/dht/options.ts'
import { Rpc } from '../../src/dht/rpc.ts'
import { method, recordMethods } from '../../src/dht/wire.ts'
import { ManualRuntime } from './manual-runtime.ts'
import { MemoryHub, type MemoryPeer } from './memory-network.ts'

/** Peers that only ask and answer, in time that stands still until a test moves it. */

const number = v.strictObject({ n: integer(0, 1_000) })
/** Ten at once, ten a second. */
export const echo = method('test/echo', { perSecond: 10, burst: 10 }, number, number)

export interface RpcPeer {
  nodeId: string
  network: MemoryPeer
  rpc: Rpc
  stages: StageTimers
}

export class RpcNet {
  readonly hub = new MemoryHub()
  readonly runtime = new ManualRuntime()
  readonly #rpcs: Rpc[] = []
  #count = 0

  /** A place in the network, for a test to speak from by hand. */
  async place(role = { stores: true, durable: true }): Promise<MemoryPeer> {
    this.#count += 1
    const { nodeId } = await identityFromSeed(new Uint8Array(32).fill(50 + this.#count))
    return this.hub.join(nodeId, role)
  }

  async peer(options: Partial<DhtOptions> = {}, role = { stores: true, durable: true }): Promise<RpcPeer> {
    const network = await this.place(role)
    const stages = new StageTimers(this.runtime)
    return { nodeId: network.self, network, stages, rpc: this.rpc(network, options, stages) }
  }

  rpc(network: PeerNetwork, options: Partial<DhtOptions> = {}, stages?: StageTimers): Rpc {
    const rpc = new Rpc(network, this.runtime, { ...DEFAULT_DHT_OPTIONS, ...options }, stages)
    this.#rpcs.push(rpc)
    return rpc
  }

  close(): void {
    for (const rpc of this.#rpcs) rpc.close()
  }
}

/** The code of a rejection, 'ok' when there is none. */
export const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'ok',
    (error: { code?: string }) => error.code ?? String(error),
  )

/** A peer that says hello and answers every request as it is told. */
export const answering =
  (answer: (id: unknown) => unknown) =>
  (link: Link): LinkEvents => {
    link.send(encode(['hello', { version: 1, session: new Uint8Array(16), stores: true, durable: true }]))
    return {
      onFrame: (bytes) => {
        const frame = decodeAny(bytes, MAX_FRAME_BYTES) as unknown[]
        if (frame[0] === 'request') link.send(encode(answer(frame[1])))
      },
      onClose: () => undefined,
    }
  }

type Answer = { outcome: 'stored' | 'conflict'; head: Uint8Array }
const STORED: Answer = { outcome: 'stored', head: Uint8Array.of(1) }

/** A holder that answers a commit when the test says so. */
export interface HeldPeer extends RpcPeer {
  durable: boolean
  asked(): Promise<unknown>
  answer(answer?: Answer): void
  fail(error: StickyError): void
}

export async function heldHolder(net: RpcNet, durable = true): Promise<HeldPeer> {
  const peer = await net.peer({}, { stores: true, durable })
  const asked = Promise.withResolvers<void>()
  const answer = Promise.withResolvers<Answer>()
  answer.promise.catch(() => undefined)
  peer.rpc.handle(recordMethods.commit, () => {
    asked.resolve()
    return answer.promise
  })
  return {
    ...peer,
    durable,
    asked: () => asked.promise,
    answer: (value = STORED) => answer.resolve(value),
    fail: (error) => answer.reject(error),
  }
}
