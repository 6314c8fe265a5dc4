import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { encode, sha256, toHex } from '../../../src/dht/codec.ts'
import type { Identity } from '../../../src/dht/identity.ts'
import type { BlockRef } from '../../../src/dht/kinds.ts'
import { blockName } from '../../../src/dht/record.ts'
import { remoteReader } from '../../../src/dht/remote-record.ts'
import { MAX_REPLY_BLOCK_BYTES, recordMethods } from '../../../src/dht/wire.ts'
import { encodeDelta } from '../../../src/pubsub/delta.ts'
import { createMessage } from '../../../src/pubsub/message.ts'
import { Attacker } from '../../support/attacker.ts'
import { DhtNet, type DhtNode, messageCount } from '../../support/dht-net.ts'
import { KIND } from '../../support/holder.ts'
import { publishers, topicKey } from '../../support/lineage.ts'
import { until } from '../../support/memory-nodes.ts'
import { codeOf } from '../../support/rpc-net.ts'

let net: DhtNet
let source: DhtNode

beforeEach(async () => {
  net = new DhtNet()
  source = await net.add()
})
afterEach(() => net.close())

const hex = (bytes: Uint8Array | undefined) => (bytes === undefined ? undefined : toHex(bytes))
const headOf = async (node: DhtNode) => (await node.head()) as Uint8Array
const pull = (to: DhtNode, head: Uint8Array, from = source.nodeId) => to.dht.pull(KIND, topicKey, head, from)
const asked = (node: DhtNode) => node.dht.rpc.counters.requestsReceived

/** A node that answers requests for blocks as `answer` says, and holds nothing. */
async function liar(answer: (refs: [string, Uint8Array][]) => (Uint8Array | null)[]): Promise<string> {
  const node = await net.add({ stores: false })
  node.dht.rpc.handle(recordMethods.blocks, (_from, { refs }) => ({ blocks: answer(refs) }))
  node.dht.rpc.handle(recordMethods.head, async () => ({ head: await headOf(source) }))
  return node.nodeId
}

/** What the source has, as a liar would show it. */
async function blocksOf(node: DhtNode): Promise<Map<string, Uint8Array>> {
  const record = await node.record()
  const blocks = new Map<string, Uint8Array>()
  const waiting: BlockRef[] = record.kind.links(await headOf(node))
  for (let ref = waiting.pop(); ref !== undefined; ref = waiting.pop()) {
    const bytes = await record.read(ref)
    blocks.set(toHex(ref.id), bytes)
    waiting.push(...node.dht.store.blockKind(ref.kind).links(bytes))
  }
  return blocks
}

/** The source, started again on a disk that has lost the snapshots behind its head. */
async function withoutSnapshots(): Promise<DhtNode> {
  for (let n = 0; n < 40; n++) await source.commit()
  const record = await source.record()
  await record.exclusive(() => record.checkpoint())
  net.hub.crash(source.nodeId)
  const snapshots = await source.storage.allKeys('block/snapshot/')
  expect(snapshots.length).toBeGreaterThan(0)
  for (const name of snapshots) await source.storage.corrupt(name)
  return net.add({ storage: source.storage })
}

describe('a newcomer', () => {
  it('gets everything that the head reaches, and can serve it when the source is gone', async () => {
    for (let n = 0; n < 40; n++) await source.commit(5)
    const head = await headOf(source)
    const newcomer = await net.add()
    expect(await pull(newcomer, head)).toBe(true)
    expect(hex(await newcomer.head())).toBe(hex(head))
    net.hub.crash(source.nodeId)
    expect(await messageCount(newcomer)).toBe(200)
    const second = await net.add()
    await pull(second, head, newcomer.nodeId)
    expect(await messageCount(second)).toBe(200)
  })

  it('asks for what it lacks and for nothing else', async () => {
    await source.commit(150)
    const newcomer = await net.add()
    await pull(newcomer, await headOf(source))
    const before = asked(source)
    expect(await pull(newcomer, await headOf(source))).toBe(false)
    expect(asked(source)).toBe(before)
    await source.commit(1)
    const wanted: string[] = []
    const { request } = newcomer.dht.rpc
    newcomer.dht.rpc.request = ((...args: Parameters<typeof request>) => {
      const { refs } = args[2] as { refs?: [string, Uint8Array][] }
      for (const [kind] of refs ?? []) wanted.push(kind)
      return request.apply(newcomer.dht.rpc, args)
    }) as typeof request
    expect(await pull(newcomer, await headOf(source))).toBe(true)
    expect(wanted.sort()).toEqual(['message', 'messages'])
    expect(await messageCount(newcomer)).toBe(151)
  })

  it('follows a source whose head moves on while it is being fetched', async () => {
    for (let n = 0; n < 5; n++) await source.commit(40)
    const old = await headOf(source)
    for (let n = 0; n < 20; n++) await source.commit(2) // the old head's blocks are superseded, and gone
    const newcomer = await net.add()
    const { keptOldCommits } = source.dht.options
    expect(keptOldCommits).toBeLessThan(20)
    await pull(newcomer, old)
    expect(hex(await newcomer.head())).toBe(hex(await source.head()))
    expect(await messageCount(newcomer)).toBe(240)
  })

  it('keeps on disk what it had in memory only and what was fetched links to', async () => {
    const payload = encode(new Uint8Array(20_000).fill(7))
    const message = await createMessage({
      topicKey,
      identity: publishers[0] as Identity,
      writer: new Uint8Array(8),
      sequence: 1,
      publishedAt: net.world.nowMs,
      ttlMs: 3_600_000,
      payload: { id: await sha256(payload), bytes: payload.byteLength },
    })
    const delta = encodeDelta({
      nowMs: net.world.nowMs,
      messages: [message],
      payloads: [payload],
      statements: [],
    })
    const other = await net.add()
    for (const node of [source, other]) {
      const record = await node.record()
      await record.exclusive(() => node.dht.store.applyLocal(record, delta))
    }
    await source.commit(100) // its message is in a sealed page now, here still in the log
    await pull(other, await headOf(source))
    const { keptOldCommits } = other.dht.options
    for (let n = 0; n <= keptOldCommits; n++) await other.commit(1)
    net.hub.crash(source.nodeId)
    expect(await messageCount(other)).toBe(101 + keptOldCommits + 1)
  })

  it('gets everything from a source that has lost a snapshot of its head', async () => {
    const again = await withoutSnapshots()
    const newcomer = await net.add()
    expect(await pull(newcomer, await headOf(again), again.nodeId)).toBe(true)
    expect(hex(await newcomer.head())).toBe(hex(await again.head()))
    expect(await messageCount(newcomer)).toBe(40)
  })

  it('goes on where a transfer was broken off', async () => {
    await source.commit(150)
    const head = await headOf(source)
    const blocks = await blocksOf(source)
    let served = 0
    const stopping = await liar((refs) => {
      served += refs.length
      return refs.map(([kind, id]) => (kind === 'page' ? null : (blocks.get(toHex(id)) ?? null)))
    })
    const newcomer = await net.add()
    expect(await codeOf(pull(newcomer, head, stopping))).toBe('NOT_FOUND')
    expect(served).toBeGreaterThan(0)
    expect(await newcomer.head()).toBeUndefined()
    const stored = (await newcomer.storage.allKeys('block/')).length
    expect(stored).toBeGreaterThan(0)
    await pull(newcomer, head)
    const puts = newcomer.storage.writes.flat().filter(({ key }) => key.startsWith('block/'))
    expect(new Set(puts.map(({ key }) => key)).size).toBe(puts.length)
    expect(await messageCount(newcomer)).toBe(150)
  })
})

describe('a transfer that finds here what one before it has left', () => {
  it('is not robbed of it by a sweep, as often as it has to begin again', async () => {
    await source.commit(150)
    const newcomer = await net.add()
    newcomer.storage.failWhen((group) => group.some(({ key }) => key.startsWith('head/')))
    expect(await codeOf(pull(newcomer, await headOf(source)))).toBe('STORAGE_FAILED')
    const found = await newcomer.storage.allKeys('block/')
    for (let n = 0; n < 3; n++) {
      await newcomer.dht.sweep()
      expect(await codeOf(pull(newcomer, await headOf(source)))).toBe('STORAGE_FAILED')
    }
    expect(await newcomer.storage.allKeys('block/')).toEqual(found)
    const puts = () =>
      newcomer.storage.writes.flat().filter(({ type, key }) => type === 'put' && key.startsWith('block/'))
    expect(puts().length).toBe(found.length)
    // but not for ever
    for (let n = 0; n < 12; n++) {
      await newcomer.dht.sweep()
      await codeOf(pull(newcomer, await headOf(source)))
    }
    expect(puts().length).toBe(2 * found.length)
    for (let n = 0; n < 2; n++) await newcomer.dht.sweep()
    expect(await newcomer.storage.allKeys('block/')).toEqual([])
  })

  it('has it, also where a sweep is just taking it away', async () => {
    await source.commit(150)
    const head = await headOf(source)
    const newcomer = await net.add()
    newcomer.storage.failWhen((group) => group.some(({ key }) => key.startsWith('head/')))
    expect(await codeOf(pull(newcomer, head))).toBe('STORAGE_FAILED')
    newcomer.storage.heal()
    await newcomer.dht.sweep()
    const go = newcomer.storage.hold()
    const sweeping = newcomer.dht.sweep()
    await until(() => newcomer.storage.writes.flat().some(({ type }) => type === 'delete'))
    const pulling = pull(newcomer, head)
    await until(() => newcomer.storage.writes.at(-1)?.some(({ type }) => type === 'put') === true)
    go()
    await Promise.all([sweeping, pulling])
    net.hub.crash(source.nodeId)
    expect(await messageCount(newcomer)).toBe(150)
  })
})

describe('two holders', () => {
  it('that diverged hold everything of both after each has pulled the other', async () => {
    await source.commit(70)
    const other = await net.add()
    await pull(other, await headOf(source))
    await source.commit(10)
    await other.commit(20)
    const [a, b] = [await headOf(source), await headOf(other)]
    expect(hex(a)).not.toBe(hex(b))
    await pull(source, b, other.nodeId)
    await pull(other, a)
    expect(hex(await source.head())).toBe(hex(await other.head()))
    expect(await messageCount(source)).toBe(100)
    expect(await messageCount(other)).toBe(100)
    expect(await pull(source, await headOf(other), other.nodeId)).toBe(false)
  })

  it('never go back: an older head changes nothing', async () => {
    await source.commit(5)
    const old = await headOf(source)
    const other = await net.add()
    await pull(other, old)
    await source.commit(5)
    const before = hex(await source.head())
    expect(await pull(source, old, other.nodeId)).toBe(false)
    expect(hex(await source.head())).toBe(before)
  })
})

describe('what a peer shows', () => {
  const refusals: [what: string, code: string, change: (good: Uint8Array, kind: string) => Uint8Array][] = [
    ['with one bit changed', 'WRONG_HASH', (good) => good.map((byte, i) => (i === 40 ? byte ^ 1 : byte))],
    ['that is something else', 'WRONG_HASH', () => encode({ v: 1 })],
    ['that is empty', 'WRONG_HASH', () => new Uint8Array()],
    ['above its limit', 'TOO_LARGE', () => new Uint8Array(200 * 1024)],
  ]
  for (const [what, code, change] of refusals) {
    it(`${what} is refused with ${code}; neither head nor block of it is kept`, async () => {
      await source.commit(100)
      const blocks = await blocksOf(source)
      const target = 'page'
      const newcomer = await net.add()
      const peer = await liar((refs) =>
        refs.map(([kind, id]) => {
          const good = blocks.get(toHex(id)) as Uint8Array
          return kind === target ? change(good, kind) : good
        }),
      )
      expect(await codeOf(pull(newcomer, await headOf(source), peer))).toBe(code)
      expect(await newcomer.head()).toBeUndefined()
      expect(await newcomer.storage.allKeys(`block/${target}/`)).toEqual([])
      expect(await newcomer.storage.allKeys('head/')).toEqual([])
      // the truth from somebody else is taken after that
      await pull(newcomer, await headOf(source))
      expect(await messageCount(newcomer)).toBe(100)
    })
  }

  it('more than was asked is MALFORMED', async () => {
    await source.commit(3)
    const newcomer = await net.add()
    const peer = await liar((refs) => [...refs, ...refs].map(() => new Uint8Array(1)))
    expect(await codeOf(pull(newcomer, await headOf(source), peer))).toBe('MALFORMED')
  })

  it('less than was asked, where no more fits into an answer, is asked for again', async () => {
    for (let n = 0; n < 7; n++) await source.commit(10, encode(new Uint8Array(9_000)))
    const newcomer = await net.add()
    await pull(newcomer, await headOf(source))
    expect(await messageCount(newcomer)).toBe(70)
    const answers = source.dht.rpc.counters.methods[recordMethods.blocks.name]?.received
    expect(answers).toBeGreaterThan(Math.ceil((70 * 9_000) / MAX_REPLY_BLOCK_BYTES))
  })

  it('of another topic is refused as a first head', async () => {
    await source.commit(3)
    const newcomer = await net.add()
    const head = await headOf(source)
    expect(await codeOf(newcomer.dht.pull(KIND, new Uint8Array(32).fill(3), head, source.nodeId))).toBe(
      'WRONG_TOPIC',
    )
    expect(await newcomer.storage.allKeys('head/')).toEqual([])
  })

  it('that is too much is TOO_LARGE, by blocks and by bytes, and is not fetched to its end', async () => {
    for (let n = 0; n < 5; n++) await source.commit(64, encode(new Uint8Array(2_000))) // five pages, one to a frame
    const head = await headOf(source)
    const total = (await blocksOf(source)).size
    const limits = [{ maxSyncBlocks: 3 }, { maxSyncBytes: 200_000 }]
    for (const options of limits) {
      const newcomer = await net.add({ options })
      expect(await codeOf(pull(newcomer, head)), JSON.stringify(options)).toBe('TOO_LARGE')
      expect(await newcomer.head()).toBeUndefined()
      expect((await newcomer.storage.allKeys('block/')).length).toBeLessThan(total)
    }
    const enough = await net.add({ options: { maxSyncBlocks: total } })
    expect(await pull(enough, head)).toBe(true)
    expect(await messageCount(enough)).toBe(320)
  })
})

describe('a holder', () => {
  const ask = async (body: Record<string, unknown>, method = 'record/blocks') => {
    const attacker = await Attacker.connect(net.hub.join(`asker ${Math.random()}`, CLIENT), source.nodeId)
    return attacker.ask(method, { kind: KIND, key: topicKey, ...body })
  }
  const CLIENT = { stores: false, durable: false }

  it('shows blocks in the order asked, null for what it has not or what its disk has corrupted', async () => {
    await source.commit(100)
    const record = await source.record()
    await record.exclusive(() => record.checkpoint())
    const refs = record.kind.links(await headOf(source))
    const root = refs.find(({ kind }) => kind === 'messages') as BlockRef
    const bytes = (await record.local(root)) as Uint8Array
    const wire = ['messages', root.id]
    const unknown = new Uint8Array(32)
    const wanted = { refs: [['page', unknown], wire, ['odd', unknown], wire] }
    expect(await ask(wanted)).toEqual({ reply: { blocks: [null, bytes, null, bytes] } })
    const restarted = await net.add({ storage: source.storage })
    await source.storage.corrupt(`block/messages/${toHex(root.id)}`)
    const { blocks } = await restarted.dht.rpc.request(restarted.nodeId, recordMethods.blocks, {
      kind: KIND,
      key: topicKey,
      refs: [['messages', root.id]],
    })
    expect(blocks).toEqual([null])
  })

  it('ends a list of blocks where the frame is full, and shows at least one', async () => {
    for (let n = 0; n < 4; n++) await source.commit(64, encode(new Uint8Array(2_000)))
    const pages: [string, Uint8Array][] = []
    for (const [id, bytes] of await blocksOf(source))
      if (bytes.byteLength > 100_000) pages.push(['page', Uint8Array.from(Buffer.from(id, 'hex'))])
    expect(pages.length).toBeGreaterThan(2)
    const reply = (await ask({ refs: pages })) as { reply: { blocks: unknown[] } }
    expect(reply.reply.blocks.length).toBeGreaterThan(0)
    expect(reply.reply.blocks.length).toBeLessThan(pages.length)
  })

  it('that has lost a snapshot of its head commits on it without a word to the others: one may be silent', async () => {
    const again = await withoutSnapshots()
    again.network.blackholes.add((await net.add()).nodeId)
    for (let n = 0; n < 20; n++) await again.commit(1)
    expect(again.dht.rpc.counters.requestsSent).toBe(0)
    expect(await messageCount(again)).toBe(60)
  })

  it('takes a delta on its own head that gives the head it came with, and the same one twice', async () => {
    await source.commit(3)
    const author = await net.add()
    await pull(author, await headOf(source))
    const base = (await author.record()).headId as Uint8Array
    const deltas: Uint8Array[] = []
    author.dht.store.onAdvance(({ delta }) => delta && deltas.push(delta))
    await author.commit(2)
    const id = (await author.record()).headId as Uint8Array
    const body = { kind: KIND, key: topicKey, base, id, delta: deltas[0] as Uint8Array }
    const append = (change: object = {}) =>
      author.dht.rpc.request(source.nodeId, recordMethods.append, { ...body, ...change })
    const before = source.storage.writes.length
    for (const change of [{ base: id }, { base: null }, { id: topicKey }])
      expect(await append(change)).toEqual({ outcome: 'other' })
    await expect(append({ delta: new Uint8Array() })).rejects.toMatchObject({ code: 'MALFORMED' })
    expect(await append({ id: base })).toEqual({ outcome: 'stored' }) // it is there
    expect(source.storage.writes.length).toBe(before)
    for (let n = 0; n < 2; n++) {
      expect(await append()).toEqual({ outcome: 'stored' })
      expect(hex(await headOf(source))).toBe(hex(await headOf(author)))
      expect(source.storage.writes.length - before).toBe(1)
    }
    expect(await messageCount(source)).toBe(5)
  })

  it('answers conflict with its own head when the two have diverged, and lets go of nothing', async () => {
    await source.commit(3)
    const author = await net.add()
    await pull(author, await headOf(source))
    await author.commit(2)
    await source.commit(1)
    const own = await headOf(source)
    const body = { kind: KIND, key: topicKey, head: await headOf(author) }
    const answer = await author.dht.rpc.request(source.nodeId, recordMethods.commit, body)
    expect(answer.outcome).toBe('conflict')
    expect(hex(answer.head)).toBe(hex(own))
    expect(hex(await source.head())).toBe(hex(own))
  })

  it('that is merely behind fetches what it lacks from the author, then says stored', async () => {
    await source.commit(3)
    const author = await net.add()
    await pull(author, await headOf(source))
    for (let n = 0; n < 4; n++) await author.commit(2)
    const head = await headOf(author)
    const body = { kind: KIND, key: topicKey, head }
    expect((await author.dht.rpc.request(source.nodeId, recordMethods.commit, body)).outcome).toBe('stored')
    expect(hex(await source.head())).toBe(hex(head))
    expect(await messageCount(source)).toBe(11)
  })
})

describe('a reader that holds nothing', () => {
  it('gets blocks in one request per turn, each verified, and remembers them', async () => {
    await source.commit(100)
    const reader = await net.add({ stores: false })
    const { rpc, store } = reader.dht
    const read = remoteReader(rpc, store.blockKinds, KIND, topicKey, source.nodeId)
    const [root] = (await source.record()).kind.links(await headOf(source))
    const bytes = await read(root as BlockRef)
    expect(hex(bytes)).toBe(hex((await blocksOf(source)).get(toHex((root as BlockRef).id))))
    const before = asked(source)
    const links = store.blockKind('messages').links(bytes)
    await Promise.all([...links, ...links].map(read))
    expect(asked(source)).toBe(before + 1)
    await Promise.all(links.slice(0, 3).map(read))
    expect(asked(source)).toBe(before + 1)
    expect(await codeOf(read({ kind: 'page', id: new Uint8Array(32) }))).toBe('NOT_FOUND')
  })

  it('gets from another holder what its source has lost, and nothing where all have', async () => {
    await source.commit(3)
    const other = await net.add()
    await pull(other, await headOf(source))
    const reader = await net.add({ stores: false })
    const [ref] = (await source.record()).kind.links(await headOf(source)) as [BlockRef]
    await source.dht.store.close() // its blocks are on its disk now
    await source.storage.write([{ type: 'delete', key: blockName(ref) }])
    const read = reader.dht.reader(KIND, topicKey, source.nodeId)
    expect(hex(await read(ref))).toBe(hex(await (await other.record()).read(ref)))
    await other.storage.write([{ type: 'delete', key: blockName(ref) }])
    const again = reader.dht.reader(KIND, topicKey, source.nodeId)
    expect(await codeOf(again(ref))).toBe('NOT_FOUND')
  })

  it('is shown nothing false', async () => {
    await source.commit(3)
    const blocks = await blocksOf(source)
    const peer = await liar((refs) =>
      refs.map(([, id]) =>
        (blocks.get(toHex(id)) as Uint8Array).map((byte, i) => (i === 9 ? byte ^ 1 : byte)),
      ),
    )
    const reader = await net.add({ stores: false })
    const read = remoteReader(reader.dht.rpc, reader.dht.store.blockKinds, KIND, topicKey, peer)
    const [root] = (await source.record()).kind.links(await headOf(source))
    expect(await codeOf(read(root as BlockRef))).toBe('WRONG_HASH')
  })
})
