import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { equalBytes, sha256 } from '../../../src/dht/codec.ts'
import { publicKeyOf } from '../../../src/dht/identity.ts'
import { blockName } from '../../../src/dht/record.ts'
import { recordMethods } from '../../../src/dht/wire.ts'
import { DhtNet, type DhtNode } from '../../support/dht-net.ts'
import { KIND } from '../../support/holder.ts'
import { topicKey } from '../../support/lineage.ts'
import { until } from '../../support/memory-nodes.ts'

/** What a holder answers to who commits, when it is behind or the request comes late. */

let net: DhtNet
let source: DhtNode
let holder: DhtNode

beforeEach(async () => {
  net = new DhtNet()
  source = await net.add()
  holder = await net.add()
})
afterEach(() => net.close())

const headOf = async (node: DhtNode) => (await node.head()) as Uint8Array
const pull = async () => holder.dht.pull(KIND, topicKey, await headOf(source), source.nodeId)
const asked = () => source.dht.rpc.counters.requestsReceived
const commitOf = (head: Uint8Array) =>
  source.dht.rpc.request(holder.nodeId, recordMethods.commit, { kind: KIND, key: topicKey, head })

/** A head that the holder had, and so many later ones that the newest does not name it any more. */
async function old(): Promise<Uint8Array> {
  await source.commit()
  const head = await headOf(source)
  await pull()
  for (let n = 0; n < 40; n++) {
    await source.commit()
    await pull()
  }
  return head
}

describe('a head that comes when the holder has gone on', () => {
  it('is stored, and not taken for another branch', async () => {
    const head = await old()
    const before = asked()
    const { outcome, head: now } = await commitOf(head)
    expect(outcome).toBe('stored')
    expect(equalBytes(now, await headOf(source))).toBe(true)
    expect(asked()).toBe(before)
  })

  it('is stored too where only its delta comes', async () => {
    const id = await sha256(await old())
    const late = { kind: KIND, key: topicKey, base: null, id, delta: Uint8Array.of(1) }
    expect(await source.dht.rpc.request(holder.nodeId, recordMethods.append, late)).toEqual({
      outcome: 'stored',
    })
  })

  it('is fetched from nobody where it is offered, or is what an offer is answered with', async () => {
    const head = await old()
    const record = await holder.record()
    const gone = record.kind.links(head).map(blockName) // as when it has superseded them
    await holder.storage.write(gone.map((key) => ({ type: 'delete', key })))
    const before = asked()
    const offer = { kind: KIND, key: topicKey, head, source: publicKeyOf(source.nodeId) }
    const { head: now } = await source.dht.rpc.request(holder.nodeId, recordMethods.offer, offer)
    expect(equalBytes(now, await headOf(source))).toBe(true)
    expect(asked()).toBe(before)
    const late = await net.add({ stores: false })
    late.dht.rpc.handle(recordMethods.offer, () => ({ head }))
    await holder.dht.reconcile(record, late.nodeId, 1_000)
    expect(late.dht.rpc.counters.requestsReceived).toBe(1)
  })

  it('is another branch where the holder never had it', async () => {
    await old()
    const other = await net.add()
    await other.commit()
    const { outcome } = await commitOf(await headOf(other))
    expect(outcome).toBe('conflict')
  })
})

describe('a holder that is behind', () => {
  it('is brought to the newest of many commits, and not to each', async () => {
    let advances = 0
    holder.dht.store.onAdvance(() => void advances++)
    const release = holder.storage.hold()
    const { counters } = holder.dht.rpc
    const received = counters.requestsReceived
    const commits: Promise<{ outcome: string }>[] = []
    for (let n = 0; n < 6; n++) {
      await source.commit()
      commits.push(commitOf(await headOf(source)))
    }
    await until(() => counters.requestsReceived === received + commits.length)
    release()
    for (const commit of commits) expect(await commit).toMatchObject({ outcome: 'stored' })
    expect(equalBytes(await headOf(holder), await headOf(source))).toBe(true)
    expect(advances).toBe(2)
  })

  it('is brought to the newest though an older one comes after it', async () => {
    const release = holder.storage.hold()
    const { counters } = holder.dht.rpc
    const heads: Uint8Array[] = []
    for (let n = 0; n < 3; n++) {
      await source.commit()
      heads.push(await headOf(source))
    }
    const [first, second, newest] = heads as [Uint8Array, Uint8Array, Uint8Array]
    const commits: Promise<{ outcome: string }>[] = []
    for (const head of [first, newest, second]) {
      const received = counters.requestsReceived
      commits.push(commitOf(head))
      await until(() => counters.requestsReceived === received + 1)
    }
    release()
    for (const commit of commits) expect(await commit).toMatchObject({ outcome: 'stored' })
    expect(equalBytes(await headOf(holder), newest)).toBe(true)
  })
})
