import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { toHex } from '../../../src/dht/codec.ts'
import { publicKeyOf } from '../../../src/dht/identity.ts'
import { recordMethods } from '../../../src/dht/wire.ts'
import { DhtNet, type DhtNode, messageCount } from '../../support/dht-net.ts'
import { KIND } from '../../support/holder.ts'
import { topicKey } from '../../support/lineage.ts'
import { until } from '../../support/memory-nodes.ts'

let net: DhtNet
let source: DhtNode

beforeEach(async () => {
  net = new DhtNet()
  source = await net.add()
})
afterEach(() => net.close())

const pull = async (to: DhtNode, from: DhtNode) =>
  to.dht.pull(KIND, topicKey, (await from.head()) as Uint8Array, from.nodeId)
const offer = async (from: DhtNode, to: DhtNode) => from.dht.reconcile(await from.record(), to.nodeId, 60_000)
const headOf = async (node: DhtNode) => toHex((await node.head()) as Uint8Array)

/** Offers the head of the source, and never shows a block of it. Resolves once that was asked for. */
async function offerInVain(to: DhtNode): Promise<void> {
  const liar = await net.add({ stores: false })
  let asked = false
  liar.dht.rpc.handle(recordMethods.blocks, () => {
    asked = true
    return new Promise<never>(() => undefined)
  })
  const head = (await source.head()) as Uint8Array
  const request = { kind: KIND, key: topicKey, head, source: publicKeyOf(liar.nodeId) }
  liar.dht.rpc.request(to.nodeId, recordMethods.offer, request).catch(() => undefined)
  await until(() => asked || to.dht.rpc.servingCount > 1)
}

describe('a newcomer to whom all holders of a record offer it at once', () => {
  it('fetches each block of it once', async () => {
    for (let n = 0; n < 40; n++) await source.commit(5)
    const holders = [source]
    for (let n = 0; n < 6; n++) {
      const holder = await net.add()
      await pull(holder, source)
      holders.push(holder)
    }
    const newcomer = await net.add()
    await Promise.all(holders.map((holder) => offer(holder, newcomer)))
    expect(await messageCount(newcomer)).toBe(200)
    const puts = newcomer.storage.writes.flat().filter(({ key }) => key.startsWith('block/'))
    expect(puts.length).toBe(new Set(puts.map(({ key }) => key)).size)
  })

  it('goes on to the next one where the first shows nothing, after two seconds', async () => {
    await source.commit(5)
    const newcomer = await net.add()
    await offerInVain(newcomer)
    const offered = offer(source, newcomer)
    await until(() => newcomer.dht.rpc.servingCount === 2)
    net.runtime.advance(1_999)
    expect(await newcomer.head()).toBeUndefined()
    net.runtime.advance(1)
    await offered
    expect(await headOf(newcomer)).toBe(await headOf(source))
  })

  it('is held up for six seconds at most, however many show nothing', async () => {
    await source.commit(5)
    const newcomer = await net.add()
    for (let n = 0; n < 8; n++) await offerInVain(newcomer)
    const offered = offer(source, newcomer)
    await until(() => newcomer.dht.rpc.servingCount === 9)
    net.runtime.advance(6_000)
    await offered
    expect(await headOf(newcomer)).toBe(await headOf(source))
  })
})

it('a holder merges what has diverged at once, whatever else it is being offered', async () => {
  await source.commit(5)
  const [one, other] = [await net.add(), await net.add()]
  await pull(one, source)
  await pull(other, source)
  await source.commit(1)
  await offerInVain(one)
  await one.commit(2)
  await other.commit(3)
  await offer(other, one)
  expect(await messageCount(one)).toBe(10)
  expect(await headOf(one)).toBe(await headOf(other))
})
