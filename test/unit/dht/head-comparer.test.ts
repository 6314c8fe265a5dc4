import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { equalBytes, sha256, toHex } from '../../../src/dht/codec.ts'
import { StickyError } from '../../../src/dht/errors.ts'
import { MAX_RECORDS_PER_COMPARE, recordMethods } from '../../../src/dht/wire.ts'
import { DhtNet, type DhtNode } from '../../support/dht-net.ts'
import { KIND } from '../../support/holder.ts'
import { topicKey } from '../../support/lineage.ts'
import { codeOf } from '../../support/rpc-net.ts'

/** How a client looks whether holders still have the head that it expects. */

const GATHER_MS = 1_000

let net: DhtNet
let holder: DhtNode
let client: DhtNode
let head: Uint8Array

beforeEach(async () => {
  net = new DhtNet()
  holder = await net.add()
  client = await net.add({ stores: false })
  await holder.commit()
  head = (await holder.head()) as Uint8Array
})
afterEach(() => net.close())

const { compare, head: whole } = recordMethods
const begun = ({ name }: { name: string }) => client.dht.rpc.counters.methods[name]?.begun ?? 0
const asked = () => ({ compares: begun(compare), heads: begun(whole) })
const expecting = (key: Uint8Array, at = holder) =>
  client.dht.headAt(KIND, key, at.nodeId, { head, gatherMs: GATHER_MS })
/** Until all that waits for others to be asked with it waits in the same gathering. */
const gathered = () => new Promise((resolve) => setTimeout(resolve, 0))
const onceGathered = async <T>(asking: Promise<T>): Promise<T> => {
  asking.catch(() => undefined)
  await gathered()
  net.runtime.advance(GATHER_MS)
  return asking
}
const strange = async (n: number) => sha256(Uint8Array.of(n >> 8, n & 255))

describe('an expected head', () => {
  it('that the holder has is asked for by its hash, and not sent', async () => {
    expect(await onceGathered(expecting(topicKey))).toBe(head)
    expect(asked()).toEqual({ compares: 1, heads: 0 })
  })

  it('that the holder has no more is followed by the one that it has', async () => {
    await holder.commit()
    expect(await onceGathered(expecting(topicKey))).toEqual(await holder.head())
    expect(await holder.head()).not.toEqual(head)
    expect(asked()).toEqual({ compares: 1, heads: 1 })
  })

  it('of what the holder does not have is none', async () => {
    expect(await onceGathered(expecting(await strange(1)))).toBeNull()
    expect(asked()).toEqual({ compares: 1, heads: 1 })
  })

  it('waits for others that are asked of the same holder, and for no longer than it is told', async () => {
    const other = await net.add()
    const keys = await Promise.all(Array.from({ length: 20 }, (_, i) => strange(i)))
    const first = expecting(topicKey)
    await gathered()
    net.runtime.advance(GATHER_MS - 1)
    const all = [first, ...keys.map((key) => expecting(key)), expecting(topicKey, other)]
    await gathered()
    expect(asked()).toEqual({ compares: 0, heads: 0 })
    net.runtime.advance(1)
    await first
    expect(asked()).toEqual({ compares: 1, heads: 20 })
    net.runtime.advance(GATHER_MS)
    await Promise.all(all)
    expect(asked()).toEqual({ compares: 2, heads: 21 })
  })

  it('is not waited for where a request is full', async () => {
    const keys = await Promise.all(Array.from({ length: MAX_RECORDS_PER_COMPARE }, (_, i) => strange(i)))
    const all = keys.map((key) => codeOf(expecting(key)))
    await gathered()
    await gathered()
    expect(begun(compare)).toBe(1)
    await Promise.all(all)
    expect(net.runtime.monotonicNow()).toBe(0)
  })

  it('is asked for whole where the holder does not want to compare so often, or does not say', async () => {
    const { burst } = compare.quota
    for (let i = 0; i <= burst; i++) {
      const comparing = client.dht.rpc.request(holder.nodeId, compare, { kind: KIND, records: [] })
      expect(await codeOf(comparing)).toBe(i < burst ? 'ok' : 'RATE_LIMITED')
    }
    const before = asked()
    const asking = client.dht.headAt(KIND, topicKey, holder.nodeId, { head, gatherMs: 0 })
    await gathered()
    net.runtime.advance(0)
    expect(toHex((await asking) as Uint8Array)).toBe(toHex(head))
    expect(asked()).toEqual({ compares: before.compares + 1, heads: before.heads + 1 })
    const { rpc } = client.dht
    const request = rpc.request.bind(rpc)
    rpc.request = (to, method, ...rest) =>
      method.name === compare.name
        ? Promise.reject(new StickyError('TIMEOUT', 'It says nothing.'))
        : request(to, method, ...rest)
    expect(toHex((await onceGathered(expecting(topicKey))) as Uint8Array)).toBe(toHex(head))
  })

  it('of a record that the holder cannot read keeps nobody from the others', async () => {
    const broken = await strange(1)
    const { store } = holder.dht
    const record = store.record.bind(store)
    store.record = (kind, key) =>
      equalBytes(key, broken)
        ? Promise.reject(new StickyError('STORAGE_FAILED', 'The disk is broken.'))
        : record(kind, key)
    const both = [codeOf(expecting(broken)), expecting(topicKey)] as const
    await gathered()
    net.runtime.advance(GATHER_MS)
    expect(await both[0]).toBe('STORAGE_FAILED')
    expect(await both[1]).toBe(head)
  })

  it('cannot be had from who is not there, nor when the node closes meanwhile', async () => {
    net.hub.peers.delete(holder.nodeId)
    expect(await codeOf(onceGathered(expecting(topicKey)))).toBe('UNREACHABLE')
    const asking = codeOf(expecting(topicKey))
    await gathered()
    const { waiting } = net.runtime
    const hashing = codeOf(expecting(await strange(1)))
    await client.dht.close()
    expect(await asking).toBe('CLOSED')
    expect(await hashing).toBe('CLOSED')
    expect(net.runtime.waiting).toBeLessThan(waiting)
  })

  it('of the own node needs no question', async () => {
    expect(await holder.dht.headAt(KIND, topicKey, holder.nodeId, { head, gatherMs: GATHER_MS })).toBe(head)
    expect(holder.dht.rpc.counters.begun).toBe(0)
  })
})
