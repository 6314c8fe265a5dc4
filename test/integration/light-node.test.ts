import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { type Bridge, type BridgeOptions, startBridge } from '../../src/bridge/index.ts'
import { createNode, type NodeOptions, type StickyNode } from '../../src/node/index.ts'
import type { Subscription } from '../../src/pubsub/index.ts'
import { type LightNode, startLightNode } from '../support/light-node.ts'
import { PATIENCE } from '../support/patience.ts'

/** A light node in a network of whole ones, which take it for one of their own. */

const seed = new Uint8Array(32).fill(41)

const startAt = (port: number, options: Partial<BridgeOptions> = {}) =>
  startBridge({ seed, port, ...options })

const dataOf = (subscription: Subscription): unknown[] => {
  const data: unknown[] = []
  subscription.on('message', (message) => data.push(message.data))
  return data
}

async function meet(nodes: StickyNode[]): Promise<void> {
  await vi.waitFor(async () => {
    for (const node of nodes) expect(await node.knownHolders()).toBe(nodes.length)
  }, PATIENCE)
}

/** `relayed`: nobody can dial them but through the bridge. */
async function startNodes(
  bridge: Bridge,
  count: number,
  { relayed = false, ...more }: NodeOptions & { relayed?: boolean } = {},
) {
  const where = relayed ? { listen: [] } : {}
  const nodes = await Promise.all(
    Array.from({ length: count }, () => createNode({ bridgeUrl: bridge.url, ...where, ...more })),
  )
  await meet(nodes)
  return nodes
}

const lights: LightNode[] = []
const light = async (url: string, options = {}): Promise<LightNode> => {
  const node = await startLightNode(url, options)
  lights.push(node)
  return node
}
afterEach(() => Promise.all(lights.splice(0).map((node) => node.close())))

describe.each([
  ['that can be dialled', false],
  ['behind the relay', true],
])('a light node and nodes %s', (_, relayed) => {
  let bridge: Bridge
  let nodes: StickyNode[]

  beforeAll(async () => {
    bridge = await startAt(0)
    nodes = await startNodes(bridge, 3, { relayed })
  }, 40_000)
  afterAll(async () => {
    await Promise.all((nodes ?? []).map((node) => node.close()))
    await bridge?.close()
  }, 20_000)

  it('hear each other, what was said before included', async () => {
    const [first, second] = nodes as [StickyNode, StickyNode]
    for (const said of ['one', 'two']) await first.pubsub.publish('talk', said)
    const own = await light(bridge.url)
    const heard = dataOf(await own.pubsub.subscribe('talk', { history: 'all' }))
    await vi.waitFor(() => expect(heard).toEqual(['one', 'two']), PATIENCE)
    const others = dataOf(await second.pubsub.subscribe('talk', { history: 'all' }))
    expect(await own.pubsub.publish('talk', 'three')).toMatchObject({ status: 'stored' })
    await second.pubsub.publish('talk', 'four')
    await vi.waitFor(
      () =>
        expect([heard, others]).toEqual([
          ['one', 'two', 'three', 'four'],
          ['one', 'two', 'three', 'four'],
        ]),
      PATIENCE,
    )
    const ways = own.network.connections().filter(({ nodeId }) => nodeId !== bridge.nodeId)
    expect(ways.length).toBeGreaterThan(0)
    expect(ways.every(({ direct }) => direct === !relayed)).toBe(true)
  }, 40_000)

  it('hear of a publish by a push, long before anybody asks', async () => {
    const own = await light(bridge.url)
    const heard = dataOf(await own.pubsub.subscribe('pushed', { history: 'all' }))
    await nodes[0]?.pubsub.publish('pushed', 'warm')
    await vi.waitFor(() => expect(heard).toEqual(['warm']), PATIENCE)
    const startedMs = performance.now()
    await nodes[1]?.pubsub.publish('pushed', 'now')
    await vi.waitFor(() => expect(heard).toHaveLength(2), PATIENCE)
    expect(performance.now() - startedMs).toBeLessThan(4_000) // a subscriber asks every 5 s
  }, 40_000)

  it('know that it holds nothing', async () => {
    const own = await light(bridge.url)
    await own.pubsub.publish('held', 'x')
    for (const node of nodes) expect(await node.knownHolders()).toBe(nodes.length)
    const replicas = await own.pubsub.replicas('held')
    expect(replicas.map(({ nodeId }) => nodeId).toSorted()).toEqual(
      nodes.map(({ nodeId }) => nodeId).toSorted(),
    )
  }, 40_000)

  it('two light ones hear each other through them', async () => {
    const [one, other] = [await light(bridge.url), await light(bridge.url)]
    const heard = dataOf(await other.pubsub.subscribe('between', { history: 'all' }))
    for (let i = 0; i < 5; i++) await one.pubsub.publish('between', i)
    await vi.waitFor(() => expect(heard).toEqual([0, 1, 2, 3, 4]), PATIENCE)
  }, 40_000)
})

describe('a light node whose bridge restarts', () => {
  it.each([
    ['goes on with whom it can dial while it is gone, and with all others after', false],
    ['hears all that was said meanwhile once it is back, where everybody is behind its relay', true],
  ])(
    '%s',
    async (_, relayed) => {
      let bridge = await startAt(0)
      const { port } = bridge
      const nodes = await startNodes(bridge, 3, { relayed })
      try {
        const own = await light(bridge.url)
        const heard = dataOf(await own.pubsub.subscribe('room', { history: 'all' }))
        await own.pubsub.publish('room', 'before')
        await vi.waitFor(() => expect(heard).toEqual(['before']), PATIENCE)
        await bridge.close()
        await vi.waitFor(() => expect(own.network.isConnected(bridge.nodeId)).toBe(false), PATIENCE)
        if (!relayed) {
          expect(await own.pubsub.publish('room', 'without')).toMatchObject({ status: 'stored' })
          await vi.waitFor(() => expect(heard).toContain('without'), PATIENCE)
        }
        bridge = await startAt(port)
        await vi.waitFor(() => expect(own.network.isConnected(bridge.nodeId)).toBe(true), PATIENCE)
        await vi.waitFor(async () => {
          const { status } = await own.pubsub.publish('room', 'after', { key: 'after' })
          expect(status).toBe('stored')
        }, PATIENCE)
        await vi.waitFor(() => expect(heard).toContain('after'), PATIENCE)
        await vi.waitFor(() => nodes[2]?.pubsub.publish('room', 'from a node', { key: 'node' }), PATIENCE)
        await vi.waitFor(() => expect(heard).toContain('from a node'), PATIENCE)
        expect(new Set(heard).size).toBe(heard.length)
      } finally {
        await Promise.all(nodes.map((node) => node.close()))
        await bridge.close()
      }
    },
    90_000,
  )
})

describe('a light node at its bridge', () => {
  it('passes the challenge again when its admission has ended', async () => {
    await using bridge = await startAt(0, { limits: { admissionMs: 1_000, lapseCheckMs: 100 } })
    const own = await light(bridge.url)
    await vi.waitFor(() => expect(own.attempts.length).toBeGreaterThan(1), PATIENCE)
    expect(own.attempts.every((error) => error === undefined)).toBe(true)
    await vi.waitFor(() => expect(bridge.isAdmitted(own.identity.nodeId)).toBe(true), PATIENCE)
  }, 40_000)

  it('is told why it is not let in', async () => {
    await using bridge = await startAt(0, { inviteOnly: true })
    const own = await light(bridge.url)
    await vi.waitFor(() => expect(own.attempts.length).toBeGreaterThan(0), PATIENCE)
    expect(own.attempts[0]).toMatchObject({ code: 'ADMISSION_REFUSED', reason: 'INVITATION_REQUIRED' })
  })

  it('cuts a connection that gives no sign of life when it is asked to, and joins anew', async () => {
    await using bridge = await startAt(0)
    const own = await light(bridge.url)
    await vi.waitFor(() => expect(own.network.isConnected(bridge.nodeId)).toBe(true), PATIENCE)
    await own.bridge.reconnect()
    expect([own.network.isConnected(bridge.nodeId), own.attempts]).toEqual([true, [undefined]])
    await own.network.dropDead(AbortSignal.abort()) // by a stop
    expect(own.network.isConnected(bridge.nodeId)).toBe(true)
    await own.network.dropDead(AbortSignal.abort(new DOMException('Too late.', 'TimeoutError')))
    expect(own.network.isConnected(bridge.nodeId)).toBe(false)
    await own.bridge.reconnect()
    expect(own.network.isConnected(bridge.nodeId)).toBe(true)
  }, 40_000)
})
