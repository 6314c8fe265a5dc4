import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { toHex } from '../../src/dht/index.ts'
import { createNode, type StickyNode } from '../../src/node/index.ts'
import type { Diagnostics } from '../../src/pubsub/index.ts'
import { COORDINATOR } from '../../src/pubsub/options.ts'
import { assignedReplicas } from '../../src/pubsub/statements.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { LocalNetwork, type Program, type RunningNode } from '../support/local-network.ts'
import { freePort, ProxiedLinks } from '../support/proxied.ts'

/**
 * Processes whose links are bad, each behind proxies of its own. One holder serves all subscribers at first, so that who
 * waits for whom shows in its counters.
 */

const TOPIC = 'busy'
const PATIENCE = { timeout: 40_000, interval: 200 }

let network: LocalNetwork
let holder: RunningNode
/** Publishes, and asks around; its own links are good. */
let client: StickyNode
let near: Program
let slow: Program
let slowLinks: ProxiedLinks
let mute: Program
let muteLinks: ProxiedLinks
let replicaLinks: ProxiedLinks | undefined
let published = 0

beforeAll(async () => {
  network = await LocalNetwork.start({ nodes: 1, nodeFlags: ['--metrics-port', '0'] })
  holder = network.nodes[0] as RunningNode
  slowLinks = await ProxiedLinks.start(network)
  muteLinks = await ProxiedLinks.start(network)
  near = subscribe('near')
  slow = subscribe('slow', slowLinks)
  mute = subscribe('mute', muteLinks)
  client = await createNode({ bridgeUrl: network.url, role: 'client' })
  await Promise.all([near, slow, mute].map((one) => one.event(({ event }) => event === 'history-end')))
  await vi.waitFor(async () => expect((await delivery()).subscribers).toBe(3), PATIENCE)
}, 60_000)

afterAll(async () => {
  await client?.close()
  await network?.stop()
  for (const links of [slowLinks, muteLinks, replicaLinks]) await links?.close()
})

const subscribe = (info: string, links?: ProxiedLinks): Program =>
  network.runWith(links?.env ?? {}, 'sub', TOPIC, '--json', '--bridge', network.url, '--info', info)

async function publish(count: number, from = client, topic = TOPIC): Promise<void> {
  for (let i = 0; i < count; i++) {
    published += 1
    await from.pubsub.publish(topic, published)
  }
}
const all = () => Array.from({ length: published }, (_, i) => i + 1)

const given = ({ events }: Program) => events.filter(({ id }) => id !== undefined).map(({ data }) => data)
const has = (one: Program, count: number) => one.count(({ id }) => id !== undefined, count, PATIENCE.timeout)
/** Each once, in order, and nobody was told of a gap. */
function expectAll(one: Program): void {
  expect(given(one)).toEqual(all())
  expect(one.events.filter(({ event }) => event === 'gap')).toEqual([])
}

async function told<S extends keyof Diagnostics>(section: S, { metrics } = holder): Promise<Diagnostics[S]> {
  const response = await fetch(`${metrics}/diagnostics/${section}`)
  return ((await response.json()) as Pick<Diagnostics, S>)[section]
}
/** Where it is neither the one that everybody publishes through, nor the one that serves who asks. */
async function topicHeldBeside(nodeId: string, { nodeId: asker, pubsub }: StickyNode): Promise<string> {
  for (let n = 1; ; n++) {
    const key = await topicKeyOf(`topic ${n}`)
    const set = await pubsub.dht.replicas.set(key)
    const [source] = await assignedReplicas(asker, key, set)
    if (set.length === 3 && set.at(-1)?.nodeId === nodeId && source !== nodeId) return `topic ${n}`
  }
}
const delivery = async () =>
  (await told('replica'))?.delivery as NonNullable<Diagnostics['replica']>['delivery']

describe('a subscriber', () => {
  it('that is merely far away is pushed to like the others, and never let go of', async () => {
    const { dropped, failedPushes, overflows } = await delivery()
    slowLinks.each((proxy) => {
      proxy.delayMs = 300
    })
    await publish(10)
    await Promise.all([near, slow, mute].map((one) => has(one, published)))
    await expect.poll(async () => (await delivery()).pending, PATIENCE).toBe(0)
    const after = await delivery()
    expect(after).toMatchObject({ subscribers: 3, dropped, failedPushes, overflows })
    for (const one of [near, slow, mute]) expectAll(one)
  })

  it('that takes nothing, or whose acknowledgements are lost, keeps nobody waiting, is let go of, and has everything in the end', {
    timeout: 90_000,
  }, async () => {
    const before = published
    const { dropped, failures } = await delivery()
    const connections = muteLinks.accepted
    slowLinks.each((proxy) => proxy.hold())
    muteLinks.each((proxy) => proxy.stallStanding('toListener'))
    await publish(1)
    await has(near, published)
    // the others go on while one and the same push to each of these is under way
    const windows: boolean[] = []
    for (let window = 0; window < 4; window++) {
      const first = await delivery()
      await publish(5)
      await has(near, published)
      const last = await delivery()
      windows.push(Math.min(first.pending, last.pending) >= 2 && first.failedPushes === last.failedPushes)
    }
    expect(windows).toContain(true)
    expect(given(slow)).toHaveLength(before)

    // both are found by what they do not acknowledge
    await expect.poll(async () => (await delivery()).dropped - dropped, PATIENCE).toBeGreaterThanOrEqual(2)
    expect((await delivery()).failures.TIMEOUT).toBeGreaterThanOrEqual((failures.TIMEOUT ?? 0) + 2)
    // one of them can be reached anew: its connection is replaced, while the other is still away
    await has(mute, published)
    expect(muteLinks.accepted).toBeGreaterThan(connections)
    await expect.poll(async () => (await delivery()).subscribers, PATIENCE).toBe(2)
    // nothing is sent any more to who was let go of, and it is a subscriber of the topic all the same
    const quiet = await delivery()
    await publish(5)
    await Promise.all([near, mute].map((one) => has(one, published)))
    await expect.poll(async () => (await delivery()).pending, PATIENCE).toBe(0)
    expect(await delivery()).toMatchObject({ failedPushes: quiet.failedPushes, dropped: quiet.dropped })
    expect(given(slow)).toHaveLength(before)
    expect((await client.pubsub.subscribers(TOPIC)).map(({ info }) => info)).toContain('slow')

    slowLinks.each((proxy) => {
      proxy.delayMs = 0
      proxy.release()
    })
    await has(slow, published)
    await expect.poll(async () => (await delivery()).subscribers, PATIENCE).toBe(3)
    await publish(1)
    await Promise.all([near, slow, mute].map((one) => has(one, published)))
    for (const one of [near, slow, mute]) expectAll(one)
  })
})

describe('a replica', () => {
  it('whose links died silently is found by what it does not acknowledge, linked anew, and has everything', {
    timeout: 90_000,
  }, async () => {
    const other = await network.startNode('other', 2)
    const port = await freePort()
    const links = await ProxiedLinks.start(network, port)
    replicaLinks = links
    const listen = ['--listen', `/ip4/127.0.0.1/tcp/${port}/ws`]
    const announce = ['--announce', `/ip4/127.0.0.1/tcp/${links.inwardPort}/ws`]
    const replica = await network.startNode('replica', 3, { flags: [...listen, ...announce], env: links.env })
    // who comes now knows all three at once
    await using late = await createNode({ bridgeUrl: network.url, role: 'client' })
    await expect.poll(() => late.knownHolders(), PATIENCE).toBe(3)
    const topic = await topicHeldBeside(replica.nodeId, late)
    const seen: unknown[] = []
    await late.pubsub.subscribe(topic, { onMessage: ({ data }) => seen.push(data) })
    const first = published
    await publish(5, late, topic)
    /** Of both holders: requests that were not answered in time, and those that ended with their link. */
    const lost = async () => {
      const both = await Promise.all([told('requests'), told('requests', other)])
      const sum = (part: (one: Diagnostics['requests']) => number) =>
        both.reduce((n, one) => n + part(one), 0)
      return { silent: sum((one) => one.timeouts), cut: sum(({ failures }) => failures.LINK_CLOSED ?? 0) }
    }
    const before = await lost()
    const connections = links.accepted

    links.eachToNodes((proxy) => proxy.stallStanding())
    await publish(10, late, topic) // nobody waits for it
    await using observer = await createNode({ bridgeUrl: network.url, role: 'client' })
    // the first few that are not answered end the link, and with it the others under way: they do not wait for their time
    await expect.poll(async () => (await lost()).cut, PATIENCE).toBeGreaterThan(before.cut)
    const { silent } = await lost()
    expect(silent).toBeGreaterThan(before.silent)
    expect(silent - before.silent).toBeLessThan(10)
    const key = await topicKeyOf(topic)
    const headAt = async ({ nodeId }: RunningNode) =>
      toHex((await observer.pubsub.dht.headAt(COORDINATOR, key, nodeId)) ?? new Uint8Array())
    const isWhole = async () => {
      await publish(1, late, topic)
      const [own, others] = await Promise.all([headAt(replica), headAt(holder)])
      return own === others
    }
    await expect.poll(isWhole, PATIENCE).toBe(true)
    expect(links.accepted).toBeGreaterThan(connections)
    await expect.poll(() => seen, PATIENCE).toEqual(all().slice(first))
  })
})
