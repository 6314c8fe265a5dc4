import { afterEach, describe, expect, it } from 'vitest'
import { type PeerNetwork, type Runtime, systemRuntime } from '../../src/dht/index.ts'
import type { PublishOptions } from '../../src/pubsub/index.ts'
import { COORDINATOR } from '../../src/pubsub/options.ts'
import { type Flow, type FlowName, flowsOf, leaksOf } from '../simulation/flows.ts'
import { crash, heal, separate } from '../support/memory-faults.ts'
import { MemoryNet, type MemoryNode, until } from '../support/memory-nodes.ts'
import { StrictDisk } from '../support/outbox-net.ts'

/** What a node has begun has ended once, or is pending: looked at again and again, while much goes wrong. */

const FAST = { requestTimeoutMs: 150, linkTimeoutMs: 300, unansweredBeforeRedial: 3, downMs: 100 }
const OPTIONS = { publishAttemptMs: 400, commitDeadlineMs: 600, checkIntervalMs: 200, outboxRetryMs: 100 }

let net: MemoryNet
let watching: NodeJS.Timeout
const leaks = new Set<string>()

async function start(
  holders: number,
  runtime: Runtime = systemRuntime,
): Promise<{ nodes: MemoryNode[]; client: MemoryNode }> {
  net = new MemoryNet()
  leaks.clear()
  const init = { dhtOptions: FAST, options: OPTIONS }
  for (let i = 0; i < holders; i++) await net.add({ ...init, storage: new StrictDisk() })
  const client = await net.add({ ...init, runtime, stores: false, durable: false })
  watching = setInterval(look, 5)
  return { nodes: net.nodes.filter((node) => node !== client), client }
}

function look(): void {
  for (const { pubsub } of net.nodes) for (const leak of leaksOf(flowsOf(pubsub))) leaks.add(leak)
}

afterEach(async () => {
  clearInterval(watching)
  await net.close()
})

const sumOf = (name: FlowName, part: keyof Flow, nodes = net.nodes): number =>
  nodes.reduce((sum, { pubsub }) => sum + flowsOf(pubsub)[name][part], 0)

describe('conservation', () => {
  it('holds while holders vanish, stand still, refuse and come back', { timeout: 60_000 }, async () => {
    const { nodes, client } = await start(4)
    const [first, second, third] = nodes as [MemoryNode, MemoryNode, MemoryNode]
    let received = 0
    const onMessage = () => {
      received += 1
    }
    await client.pubsub.subscribe('busy', { onMessage })
    await second.pubsub.subscribe('busy')
    const outcomes: Promise<string>[] = []
    const publish = (count: number, options: PublishOptions = { deadlineMs: 900 }) => {
      for (let i = 0; i < count; i++)
        outcomes.push(
          client.pubsub.publish('busy', `m${i}`, options).then(
            () => 'stored',
            (error) => error.code,
          ),
        )
    }
    const settled = () => Promise.all(outcomes)

    publish(20)
    await settled()

    // frames vanish: requests and pushes time out, a deadline passes, a caller gives up
    separate([client], nodes)
    const given = new AbortController()
    publish(10, { deadlineMs: 300 })
    publish(1, { signal: given.signal })
    await until(() => client.pubsub.counters().waitingPublishes === 11)
    given.abort()
    await settled()
    heal(net.nodes)
    publish(10)

    // a disk refuses, while others are asked; who was out of reach may be asked only when it is probed again
    ;(first.storage as StrictDisk).refuse = () => true
    const hasRefused = () => first.pubsub.counters().storage.failures.STORAGE_FULL !== undefined
    do {
      publish(10)
      await settled()
    } while (!hasRefused())
    ;(first.storage as StrictDisk).refuse = undefined

    // a holder ends without a word
    const gone = third.pubsub
    third.storage.write = () => Promise.reject(new Error('no disk'))
    Object.assign(third.storage, { cut: async () => undefined })
    await crash(net, third)
    publish(10)
    const heard = await settled()
    await until(() => received > 20)
    const { stored, failures } = client.pubsub.counters().publisher
    const told = Object.entries({ stored, ...failures }).flatMap(([how, count]) => Array(count).fill(how))
    expect(told.sort()).toEqual(heard.sort())
    expect(new Set(heard).size).toBeGreaterThan(1)

    await client.pubsub.enqueue('busy', 'from the outbox')
    await until(() => net.nodes.every(({ pubsub }) => pubsub.counters().outbox === 0))
    expect([...leaks, ...leaksOf(flowsOf(gone))]).toEqual([])

    // and it was about something: each kind of work was done, and each kind of end was met
    for (const name of ['requests', 'served', 'writes', 'received', 'pushes', 'publishes', 'outbox'] as const)
      expect(sumOf(name, 'begun'), name).toBeGreaterThan(0)
    const { rpc, publisher } = client.pubsub.counters()
    expect(rpc.timeouts).toBeGreaterThan(0)
    expect(publisher.stored).toBeGreaterThan(20)
  })

  it('counts what is refused under its code, and only there', async () => {
    const ahead = { ...systemRuntime, now: () => Date.now() + 3 * 24 * 3_600_000 }
    const { nodes, client } = await start(1, ahead)
    const [holder] = nodes as [MemoryNode]
    const refused = await client.pubsub.publish('early', 'x', { deadlineMs: 500 }).catch((error) => error)
    expect(refused).toMatchObject({ code: 'FROM_THE_FUTURE' })
    const { initiator } = holder.pubsub.counters()
    expect(initiator).toMatchObject({
      received: 1,
      refusals: { FROM_THE_FUTURE: 1 },
      stored: 0,
      failures: {},
    })
    expect(client.pubsub.counters().publisher.failures).toEqual({ FROM_THE_FUTURE: 1 })
    await expect(
      client.pubsub.dht.headAt('other', new Uint8Array(32), holder.pubsub.nodeId),
    ).rejects.toMatchObject({ code: 'UNKNOWN_KIND' })
    expect(client.pubsub.counters().rpc.failures).toEqual({ UNKNOWN_KIND: 1 })
    expect(holder.pubsub.counters().rpc.refusals).toEqual({ UNKNOWN_KIND: 1 })
    look()
    expect([...leaks]).toEqual([])
  })

  it('counts a request once that times out during a dial which fails only then', async () => {
    const { client } = await start(1)
    const { network, pubsub } = client
    const dialled = Promise.withResolvers<void>()
    const openLink: PeerNetwork['openLink'] = (_peer, _events, { signal }) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          reject(signal.reason)
          dialled.resolve()
        })
      })
    Object.assign(network, { openLink })
    await expect(pubsub.dht.headAt(COORDINATOR, new Uint8Array(32), 'nobody')).rejects.toMatchObject({
      code: 'TIMEOUT',
    })
    await dialled.promise
    await new Promise(setImmediate)
    expect(pubsub.counters().rpc).toMatchObject({ begun: 1, timeouts: 1, failures: {} })
    look()
    expect([...leaks]).toEqual([])
  })
})
