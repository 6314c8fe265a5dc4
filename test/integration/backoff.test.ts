import { afterEach, beforeEach, expect, it } from 'vitest'
import { StickyError } from '../../src/dht/index.ts'
import { recordMethods } from '../../src/dht/wire.ts'
import { topicMethods } from '../../src/pubsub/wire.ts'
import type { MemoryNode } from '../support/memory-nodes.ts'
import { OutboxNet } from '../support/outbox-net.ts'

/** How long is waited between two attempts of one publish (requirement A5); in virtual time, chance in the middle. */

let net: OutboxNet
beforeEach(() => {
  net = new OutboxNet()
})
afterEach(() => net.close())

/** When each request of these methods was sent. None of them is answered but by BUSY. */
function refused({ pubsub }: MemoryNode, ...methods: { name: string }[]): number[] {
  const timesMs: number[] = []
  const { rpc } = pubsub.dht
  const request = rpc.request.bind(rpc)
  rpc.request = (to, method, ...rest) => {
    if (!methods.some(({ name }) => name === method.name)) return request(to, method, ...rest)
    timesMs.push(net.runtime.monotonicNow())
    return Promise.reject(new StickyError('BUSY', 'Not now.'))
  }
  return timesMs
}

/** What timers and steps add is less than half of the shortest wait. */
const pausesIn = (timesMs: number[]) =>
  timesMs.slice(1).map((atMs, i) => Math.floor((atMs - (timesMs[i] as number)) / 100) * 100)

const options = { retryMs: 100, maxRetryMs: 800 }
/** For six pauses, the last ones as long as they may be. */
const deadlineMs = 3_500

it('a publisher asks again after a pause that doubles up to its bound', async () => {
  await net.holder()
  const { node } = await net.client({ options })
  const timesMs = refused(node, topicMethods.publish)
  const publishing = net.during(node.pubsub.publish('room', 1, { deadlineMs }))
  await expect(publishing).rejects.toMatchObject({ code: 'QUORUM_FAILED' })
  expect(pausesIn(timesMs)).toEqual([100, 200, 400, 800, 800, 800])
})

it('an initiator sends again, to those who did not take it, after a pause that doubles up to its bound', async () => {
  const holders = await Promise.all([1, 2, 3].map(() => net.holder({ options })))
  const timesMs = holders.map((holder) => refused(holder, recordMethods.append, recordMethods.commit))
  const { pubsub } = await net.client()
  const publishing = net.during(pubsub.publish('room', 1, { deadlineMs }))
  await expect(publishing).rejects.toMatchObject({ code: 'OUTCOME_UNKNOWN' })
  const [sent, ...others] = timesMs.filter((times) => times.length > 0) as [number[]]
  expect(others).toEqual([])
  expect(pausesIn([...new Set(sent)])).toEqual([100, 200, 400, 800, 800, 800])
})
