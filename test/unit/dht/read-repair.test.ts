import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { encode, sha256, toHex } from '../../../src/dht/codec.ts'
import { StickyError } from '../../../src/dht/errors.ts'
import { nodeIdOf } from '../../../src/dht/identity.ts'
import { DEFAULT_DHT_OPTIONS } from '../../../src/dht/options.ts'
import type { HeadAnswer } from '../../../src/dht/replicas.ts'
import { Rpc } from '../../../src/dht/rpc.ts'
import { recordMethods } from '../../../src/dht/wire.ts'
import { decodeCoordinator } from '../../../src/pubsub/coordinator.ts'
import { DhtNet, type DhtNode, messageCount } from '../../support/dht-net.ts'
import { KIND } from '../../support/holder.ts'
import { topicKey } from '../../support/lineage.ts'

/** A majority read while the holder closest to the key, which everybody asks first, lies. */

let net: DhtNet
let honest: [DhtNode, DhtNode, DhtNode]
let reader: DhtNode
let liar: string
/** To all but the question for its head. */
let isSilent: boolean

beforeEach(async () => {
  isSilent = false
  net = new DhtNet()
  honest = [await net.add(), await net.add(), await net.add()]
  await honest[0].commit(3)
  await honest[1].commit(4)
  reader = await net.add({ stores: false })
})
afterEach(() => net.close())

/** Of many keys the one nearest to the topic. */
async function nearestId(): Promise<string> {
  const target = await sha256(topicKey)
  let best = { id: '', distance: '~' }
  for (let i = 0; i < 500; i++) {
    const key = await sha256(encode(i))
    const distance = toHex((await sha256(key)).map((byte, at) => byte ^ (target[at] as number)))
    if (distance < best.distance) best = { id: nodeIdOf(key), distance }
  }
  return best.id
}

/** It answers each question for its head, and each offer, with what `show` makes of the head of the first holder. */
async function lieWith(show: (head: Uint8Array, asked: 'head' | 'offer') => Uint8Array): Promise<void> {
  liar = await nearestId()
  const network = net.hub.join(liar, { stores: true, durable: true })
  const rpc = new Rpc(network, net.runtime, DEFAULT_DHT_OPTIONS)
  const truth = (await honest[0].head()) as Uint8Array
  rpc.handle(recordMethods.head, () => ({ head: show(truth, 'head') }))
  const silence = () => new Promise<never>(() => undefined)
  rpc.handle(recordMethods.offer, () => (isSilent ? silence() : { head: show(truth, 'offer') }))
  rpc.handle(recordMethods.blocks, (_from, { refs }) =>
    isSilent ? silence() : { blocks: refs.map(() => null) },
  )
}

/** What a read gives, while time passes. */
async function readHeads(): Promise<HeadAnswer[]> {
  const reading = reader.dht.readHeads(KIND, topicKey)
  let isOver = false
  const over = () => {
    isOver = true
  }
  reading.then(over, over)
  while (!isOver) {
    await new Promise((resolve) => setTimeout(resolve, 5))
    if (isSilent) net.runtime.advance(250)
  }
  return reading
}

const changed = (head: Uint8Array, change: object) => encode({ ...decodeCoordinator(head), ...change })

async function expectHonestRepaired(): Promise<void> {
  const answers = await readHeads()
  expect(answers[0]?.peer).toBe(liar)
  const ofHonest = answers.filter(({ peer }) => peer !== liar)
  expect(ofHonest.map(({ error }) => error)).toEqual([undefined, undefined, undefined])
  expect(new Set(ofHonest.map(({ head }) => toHex(head as Uint8Array))).size).toBe(1)
  for (const node of honest) expect(await messageCount(node)).toBe(7)
  expect(answers[0]?.error?.code).toBeDefined()
  expect(answers[0]?.head).toBeUndefined()
}

describe('a read of heads with a liar among the holders', () => {
  it('goes by the others where it shows what is no head', async () => {
    await lieWith((head) => changed(head, { version: 2 ** 40 }))
    await expectHonestRepaired()
  })

  it('goes by the others where it joins them to what is no head', async () => {
    await lieWith((head, asked) => (asked === 'head' ? head : changed(head, { version: -1 })))
    await expectHonestRepaired()
  })

  it('goes by the others where it names blocks that nobody has', async () => {
    await lieWith((head) => changed(head, { version: 9, messages: new Uint8Array(32).fill(9) }))
    await expectHonestRepaired()
  })

  it('goes by the others where it shows a head, and then says nothing more', async () => {
    await lieWith((head) => changed(head, { version: 9, messages: new Uint8Array(32).fill(9) }))
    isSilent = true
    await expectHonestRepaired()
  })

  it('goes by the others where it shows a head, and can be reached by none of them', async () => {
    await lieWith((head) => changed(head, { version: 9, messages: new Uint8Array(32).fill(9) }))
    for (const { dht } of honest) {
      const request = dht.rpc.request.bind(dht.rpc)
      dht.rpc.request = (to, ...rest) =>
        to === liar ? Promise.reject(new StickyError('UNREACHABLE', 'Not for you.')) : request(to, ...rest)
    }
    await expectHonestRepaired()
  })

  it('asks a single holder for its head, and refuses one from the future', async () => {
    await lieWith((head) => changed(head, { version: 2 ** 40 }))
    await expect(reader.dht.headAt(KIND, topicKey, liar)).rejects.toMatchObject({ code: 'FROM_THE_FUTURE' })
    const head = await reader.dht.headAt(KIND, topicKey, honest[0].nodeId)
    expect(toHex(head as Uint8Array)).toBe(toHex((await honest[0].head()) as Uint8Array))
  })
})

describe('a read of heads that differ', () => {
  const offers = () => reader.dht.rpc.counters.methods[recordMethods.offer.name]?.begun ?? 0

  it('joins nothing where they agree on what is read', async () => {
    const answers = await reader.dht.readHeads(KIND, topicKey, undefined, () => true)
    expect(offers()).toBeGreaterThan(0) // one has none, and lacks what is read
    const before = offers()
    await honest[1].commit(1)
    const again = await reader.dht.readHeads(KIND, topicKey, undefined, () => true)
    expect(offers()).toBe(before)
    expect(new Set(again.map(({ head }) => toHex(head as Uint8Array))).size).toBe(2)
    expect(answers).toHaveLength(again.length)
  })

  it('has one joined that a liar showed and would not give, if another holder has it', async () => {
    const [first, second, third] = honest
    for (const to of [third, await net.add()])
      await to.dht.pull(KIND, topicKey, (await first.head()) as Uint8Array, first.nodeId)
    const other = (await second.head()) as Uint8Array
    let asked = 0
    await lieWith((head) => (asked++ === 0 ? other : head))
    await reader.dht.readHeads(KIND, topicKey)
    expect(asked).toBeGreaterThan(1)
    expect(await messageCount(first)).toBe(7)
  })

  it('shows each of them once to the holder that joins them, however many have it', async () => {
    const [first, second, third] = honest
    const give = async (from: DhtNode, to: DhtNode) =>
      to.dht.pull(KIND, topicKey, (await from.head()) as Uint8Array, from.nodeId)
    await give(first, third)
    for (const from of [first, second]) await give(from, await net.add())
    await reader.dht.readHeads(KIND, topicKey)
    expect(offers()).toBe(1 + 4) // one of the three with the first head joins the second one, and is shown to four
  })
})
