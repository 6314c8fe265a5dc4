import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { encode } from '../../../src/dht/codec.ts'
import type { BlockRef } from '../../../src/dht/kinds.ts'
import { MAX_REPLY_BLOCK_BYTES, recordMethods } from '../../../src/dht/wire.ts'
import { DhtNet, type DhtNode } from '../../support/dht-net.ts'
import { KIND } from '../../support/holder.ts'
import { topicKey } from '../../support/lineage.ts'

let net: DhtNet
let source: DhtNode
let reader: DhtNode

beforeEach(async () => {
  net = new DhtNet()
  source = await net.add()
  reader = await net.add({ stores: false })
})
afterEach(() => net.close())

/** What the newest messages of the source link to. */
async function linked(): Promise<BlockRef[]> {
  const { head, kind, read } = await source.record()
  const [root] = kind.links(head as Uint8Array).filter((ref) => ref.kind === 'messages')
  return source.dht.store.blockKind('messages').links(await read(root as BlockRef))
}

/** Gives the blocks of the source, one at a time. Counts its answers. */
async function oneByOne() {
  const { read } = await source.record()
  const node = await net.add({ stores: false })
  const counts = { nodeId: node.nodeId, answers: 0 }
  node.dht.rpc.handle(recordMethods.blocks, async (_from, { refs: [first] }) => {
    counts.answers += 1
    const [kind, id] = first as [string, Uint8Array]
    return { blocks: [await read({ kind, id })] }
  })
  return counts
}

const readAll = (refs: BlockRef[], from: string) => {
  const read = reader.dht.reader(KIND, topicKey, from)
  return Promise.all(refs.map(read))
}

describe('a reader of blocks that one holder has', () => {
  it('asks again until it has them, where they do not fit into one answer', async () => {
    for (let n = 0; n < 7; n++) await source.commit(10, encode(new Uint8Array(9_000)))
    const { read } = await source.record()
    const [spine] = (await linked()).filter((ref) => ref.kind === 'spine')
    const refs = source.dht.store.blockKind('spine').links(await read(spine as BlockRef))
    const pages = await Promise.all(refs.map(read))
    expect(pages.length).toBeGreaterThan(2)
    const [first, second] = pages as [Uint8Array, Uint8Array]
    expect(first.byteLength + second.byteLength).toBeGreaterThan(MAX_REPLY_BLOCK_BYTES)
    const slow = await oneByOne()
    for (const holder of [source.nodeId, slow.nodeId]) expect(await readAll(refs, holder)).toEqual(pages)
    expect(slow.answers).toBe(pages.length)
  })

  it('does not take them one by one, for as long as that lasts, where the next would have fitted', async () => {
    await source.commit(40)
    const refs = await linked()
    const slow = await oneByOne()
    expect(await readAll(refs, source.nodeId)).toHaveLength(40)
    await expect(readAll(refs, slow.nodeId)).rejects.toMatchObject({ code: 'MALFORMED' })
    expect(slow.answers).toBe(1)
  })
})
