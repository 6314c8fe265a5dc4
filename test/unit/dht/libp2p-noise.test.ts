import type { Multiaddr } from '@multiformats/multiaddr'
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest'
import type { DhtLibp2p } from '../../../src/dht/index.ts'
import { createNodeLibp2p } from '../../../src/node/transports.ts'
import { bareNode } from '../../support/bare-node.ts'
import { PATIENCE } from '../../support/patience.ts'

/** Messages over real connections, and the exceptions that are made for them. A bare node runs noise as it comes. */

const PROTOCOL = '/test/messages/1.0.0'
const MESSAGES = 50

let ours: DhtLibp2p
let plain: DhtLibp2p

beforeAll(async () => {
  const seed = (byte: number) => new Uint8Array(32).fill(byte)
  ours = await createNodeLibp2p({ seed: seed(1), role: 'durable', listen: ['/ip4/127.0.0.1/tcp/0/ws'] })
  plain = await bareNode(seed(2))
  await plain.dial(ours.getMultiaddrs()[0] as Multiaddr)
})
afterAll(() => Promise.all([ours, plain].map((libp2p) => libp2p?.stop())))
afterEach(() => vi.unstubAllGlobals())

/** Sends messages, each once the one before has come; gives how many RangeErrors were made meanwhile, at both ends. */
async function errorsFor(from: DhtLibp2p, to: DhtLibp2p, bytes: number): Promise<number> {
  let received = 0
  await to.handle(PROTOCOL, (stream) => {
    stream.addEventListener('message', ({ data }) => {
      received += data.byteLength
    })
  })
  const stream = await from.dialProtocol(to.peerId, PROTOCOL)
  let errors = 0
  const counted: ProxyHandler<RangeErrorConstructor> = {
    apply(...call) {
      errors += 1
      return Reflect.apply(...call)
    },
  }
  vi.stubGlobal('RangeError', new Proxy(RangeError, counted))
  for (let i = 1; i <= MESSAGES; i++) {
    stream.send(new Uint8Array(bytes))
    await vi.waitFor(() => expect(received).toBe(i * bytes), PATIENCE)
  }
  vi.unstubAllGlobals()
  await stream.close()
  await to.unhandle(PROTOCOL)
  return errors
}

it('makes no exception for a message that it receives, where noise as it comes makes one for each', async () => {
  // a ping may come to the bare node meanwhile
  expect(await errorsFor(plain, ours, 200)).toBeLessThan(MESSAGES / 2)
  expect(await errorsFor(ours, plain, 200)).toBeGreaterThanOrEqual(MESSAGES)
})

it('reads what comes in several packets', async () => {
  await errorsFor(plain, ours, 100_000)
})
