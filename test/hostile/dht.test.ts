import { publicKeyToProtobuf } from '@libp2p/crypto/keys'
import { peerIdFromString } from '@libp2p/peer-id'
import { lpStream } from '@libp2p/utils'
import { multiaddr } from '@multiformats/multiaddr'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { nodeIdOf } from '../../src/dht/identity.ts'
import type { DhtLibp2p } from '../../src/dht/libp2p-services.ts'
import { KAD_DURABLE_PROTOCOL, KAD_PROTOCOL } from '../../src/dht/libp2p-services.ts'
import { createNodeLibp2p } from '../../src/node/transports.ts'
import { startLibp2pNet, type TestLibp2pNet } from '../support/libp2p-net.ts'

/**
 * kad-dht would keep values and provider records for whoever sends some, and take in all peers that an answer names: in
 * memory, without a bound.
 */

const packages = new URL('../../node_modules/', import.meta.url)
const codec = (path: string) => import(new URL(path, packages).href)
const { Message, MessageType } = await codec('@libp2p/kad-dht/dist/src/message/dht.js')
const { Libp2pRecord } = await codec('@libp2p/record/dist/src/index.js')
const { CID } = await codec('multiformats/dist/src/cid.js')

interface WithDatastore {
  components: { datastore: { queryKeys(query: { prefix: string }): AsyncIterable<unknown> } }
}

let net: TestLibp2pNet
let attacker: DhtLibp2p
beforeAll(async () => {
  net = await startLibp2pNet(['durable'])
  attacker = await createNodeLibp2p({ seed: new Uint8Array(32).fill(71), role: 'client', listen: [] })
  net.admitted.add(String(attacker.peerId))
}, 20_000)
afterAll(async () => {
  await attacker?.stop()
  await net?.stop()
})

const targets = () => ({ node: net.peers[0]?.libp2p as DhtLibp2p, bridge: net.bridge })

/** What its DHTs keep for others. */
async function kept(target: DhtLibp2p): Promise<number> {
  const { datastore } = (target as unknown as WithDatastore).components
  let count = 0
  for (const prefix of ['/sticky-kad', '/sticky-kad-durable'])
    for await (const key of datastore.queryKeys({ prefix })) if (key) count += 1
  return count
}

/** What the target answers, undefined where it ends the stream. */
async function send(target: DhtLibp2p, protocol: string, message: object): Promise<unknown> {
  await attacker.dial(target.getMultiaddrs().map((address) => multiaddr(String(address))))
  const stream = await attacker.dialProtocol(target.peerId, protocol)
  const messages = lpStream(stream)
  try {
    await messages.write(Message.encode({ closer: [], providers: [], ...message }))
    const answer = await messages.read({ signal: AbortSignal.timeout(2_000) })
    return Message.decode(answer.subarray())
  } catch {
    return undefined
  } finally {
    stream.abort(new Error('done'))
  }
}

const cid = CID.parse('bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku')
const publicKeyRecord = ({ peerId }: DhtLibp2p) => {
  const key = new TextEncoder().encode('/pk/')
  const name = peerId.toMultihash().bytes
  const whole = new Uint8Array([...key, ...name])
  const record = new Libp2pRecord(whole, publicKeyToProtobuf(peerId.publicKey as never), new Date())
  return { key: whole, record: record.serialize().subarray() }
}

describe.each(['node', 'bridge'] as const)('the DHT of a %s', (name) => {
  const protocols = [KAD_PROTOCOL, KAD_DURABLE_PROTOCOL]

  it.each(protocols)('keeps nothing that a peer would put there: %s', async (protocol) => {
    const target = targets()[name]
    const own = {
      id: attacker.peerId.toMultihash().bytes,
      multiaddrs: [multiaddr('/ip4/1.2.3.4/tcp/1/ws').bytes],
    }
    const attacks = [
      { type: MessageType.PUT_VALUE, ...publicKeyRecord(attacker) },
      { type: MessageType.GET_VALUE, key: publicKeyRecord(attacker).key },
      { type: MessageType.ADD_PROVIDER, key: cid.bytes, providers: [own] },
      { type: MessageType.GET_PROVIDERS, key: cid.bytes },
    ]
    for (const attack of attacks) expect(await send(target, protocol, attack)).toBeUndefined()
    expect(await kept(target)).toBe(0)
  })

  it('says who is close, and that it is there', async () => {
    for (const protocol of protocols) {
      const key = new Uint8Array(32).fill(1)
      expect(await send(targets()[name], protocol, { type: MessageType.FIND_NODE, key })).toBeDefined()
      expect(await send(targets()[name], protocol, { type: MessageType.PING })).toBeDefined()
    }
  })
})

describe('an answer of the DHT', () => {
  /** Named by a peer that serves the DHT as nobody else does. */
  async function namedBy(count: number): Promise<number> {
    const node = net.peers[0]?.libp2p as DhtLibp2p
    const liar = await net.add('durable')
    const closer = Array.from({ length: count }, (_, i) => {
      const key = new Uint8Array(32)
      new DataView(key.buffer).setUint32(0, count * 100 + i)
      const id = peerIdFromString(nodeIdOf(key)).toMultihash().bytes
      return { id, multiaddrs: [multiaddr(`/ip4/10.1.${i >> 8}.${i & 255}/tcp/1/ws`).bytes] }
    })
    const answer = Message.encode({ type: MessageType.FIND_NODE, closer, providers: [] })
    let asked = 0
    await liar.libp2p.unhandle(KAD_PROTOCOL)
    await liar.libp2p.handle(KAD_PROTOCOL, async (stream) => {
      asked += 1
      const messages = lpStream(stream)
      await messages.read().catch(() => undefined)
      await messages.write(answer).catch(() => undefined)
    })
    const before = (await node.peerStore.all()).length
    const signal = AbortSignal.timeout(2_000)
    const events = node.services.kad.getClosestPeers(liar.libp2p.peerId.toMultihash().bytes, { signal })
    const looking = (async () => {
      for await (const _ of events) if (asked > 0 && signal.aborted) return
    })()
    await looking.catch(() => undefined)
    expect(asked).toBeGreaterThan(0)
    await liar.network.close()
    await liar.libp2p.stop()
    return (await node.peerStore.all()).length - before
  }

  it('that names a few peers is heard', async () => {
    expect(await namedBy(20)).toBeGreaterThanOrEqual(20)
  })

  it('that names thousands is not read', async () => {
    expect(await namedBy(10_000)).toBeLessThan(10)
  })
})
