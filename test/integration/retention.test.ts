import { afterEach, describe, expect, it } from 'vitest'
import { memoryStorage, type Storage } from '../../src/dht/index.ts'
import type { Message } from '../../src/pubsub/index.ts'
import { LIMITS } from '../../src/pubsub/options.ts'
import type { Retention } from '../../src/pubsub/retention.ts'
import { heal, separate } from '../support/memory-faults.ts'
import { MemoryNet, type MemoryNode, type MemoryNodeOptions, until } from '../support/memory-nodes.ts'
import { subscribe } from '../support/reader-run.ts'

/** A topic that is full after a few pages, at nodes as they are shipped. */

let net: MemoryNet
afterEach(() => net.close())

const retention: Retention = { keptPages: 3, slackPages: 1 }
const MOST = (retention.keptPages + retention.slackPages + 1) * LIMITS.pageEntries
const QUICK: MemoryNodeOptions = {
  retention,
  dhtOptions: { requestTimeoutMs: 2_000, antiEntropyMs: 200 },
  options: { checkIntervalMs: 200, gapPatienceMs: 300 },
}
/**
 * Asks no replica later on whether it has what was said. Where a topic is full after 320 messages it is trimmed by then, and
 * would be said again; one as it is shipped keeps 9,000 at least, which nobody says in those three seconds.
 */
const client = () => {
  const options = { ...QUICK.options, gatherMs: 3_600_000, offerAfterMs: 3_600_000 }
  return net.add({ ...QUICK, options, stores: false, durable: false })
}

const numbersOf = (messages: Message[]) => messages.map(({ sequence }) => sequence)
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

async function publish({ pubsub }: MemoryNode, count: number): Promise<void> {
  for (let left = count; left > 0; left -= 100)
    await Promise.all(Array.from({ length: Math.min(left, 100) }, (_, i) => pubsub.publish('room', i)))
}

/** A disk that notes the pages written to it. */
function noting(pages: Set<string>): Storage {
  const storage = memoryStorage()
  return {
    ...storage,
    write: (operations) => {
      for (const { type, key } of operations) if (type === 'put' && key.startsWith(PAGES)) pages.add(key)
      return storage.write(operations)
    },
  }
}

const PAGES = 'block/page/'

async function pagesOn(storage: Storage): Promise<number> {
  let pages = 0
  for await (const _ of storage.keys(PAGES)) pages += 1
  return pages
}

describe('a topic that is full', () => {
  it('keeps the newest; tells who had been there what it missed, and who is new nothing; and leaves the disk', async () => {
    net = new MemoryNet()
    const written = new Set<string>()
    const holders = await Promise.all([0, 1, 2].map(() => net.add({ ...QUICK, storage: noting(written) })))
    const [publisher, silent] = [await client(), await client()]
    const [reader, late] = [await client(), await client()]
    await silent.pubsub.publish('room', 'once')
    await publish(publisher, 10)
    const old = await subscribe(reader)
    expect(await old.end).toMatchObject({ count: 11, recovered: true })
    await old.subscription.close()
    const { position } = old.subscription
    await publish(publisher, 190)
    await publish(publisher, 500)

    const kept = (await publisher.pubsub.loadMessageCollection('room'))?.count ?? 0
    expect(kept).toBeGreaterThanOrEqual(retention.keptPages * LIMITS.pageEntries)
    expect(kept).toBeLessThan(MOST)
    const oldest = 700 - kept + 1

    const back = await subscribe(reader, { history: { from: position } })
    expect(await back.end).toMatchObject({ count: kept, recovered: false })
    const { nodeId } = publisher.pubsub
    expect(back.gaps).toEqual([
      expect.objectContaining({
        publisher: nodeId,
        fromSequence: 11,
        toSequence: oldest - 1,
        reason: 'trimmed',
      }),
    ])
    expect(numbersOf(back.messages)).toEqual(range(oldest, 700))

    const fresh = await subscribe(late)
    expect(await fresh.end).toMatchObject({ count: kept, recovered: true })
    expect(numbersOf(fresh.messages)).toEqual(range(oldest, 700))
    expect(fresh.gaps).toEqual([])

    // one that was silent meanwhile goes on: who knows it misses nothing, and to the other the rest was gone
    await silent.pubsub.publish('room', 'twice')
    await until(() => back.messages.at(-1)?.data === 'twice' && fresh.messages.at(-1)?.data === 'twice')
    expect(back.gaps).toHaveLength(1)
    expect(fresh.gaps).toEqual([
      expect.objectContaining({ fromSequence: 1, toSequence: 1, reason: 'expired' }),
    ])

    const pages = async () => Math.max(...(await Promise.all(holders.map(({ storage }) => pagesOn(storage)))))
    expect(written.size).toBeGreaterThan(retention.keptPages + retention.slackPages)
    for (let i = 0; i < 2; i++) await Promise.all(holders.map(({ pubsub }) => pubsub.dht.sweep()))
    expect(await pages()).toBeLessThanOrEqual(retention.keptPages + retention.slackPages)
    expect((await late.pubsub.history('room', { limit: 256, after: '' })).messages[0]?.sequence).toBe(oldest)
  })

  it('tells a reader that was cut off, and never went, what was trimmed meanwhile', async () => {
    net = new MemoryNet()
    const holders = await Promise.all([0, 1].map(() => net.add(QUICK)))
    const [publisher, reader] = [await client(), await client()]
    await publish(publisher, 3)
    const run = await subscribe(reader)
    await run.end
    separate(holders, [reader])
    await publish(publisher, 600)
    heal(net.nodes)
    await until(() => run.messages.at(-1)?.sequence === 603, 20_000)
    const first = run.messages[3]?.sequence ?? 0
    expect(first).toBeGreaterThan(4)
    expect(numbersOf(run.messages)).toEqual([1, 2, 3, ...range(first, 603)])
    expect(run.gaps).toEqual([
      expect.objectContaining({ fromSequence: 4, toSequence: first - 1, reason: 'trimmed' }),
    ])
  })
})
