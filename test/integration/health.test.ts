import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { multiaddr } from '@multiformats/multiaddr'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runNode } from '../../src/node/commands.ts'
import { type DiagnosticsServer, serveDiagnostics } from '../../src/node/diagnostics-server.ts'
import type { Finding, FindingName, HealthReading } from '../../src/node/health.ts'
import { HealthWatch, healthSource } from '../../src/node/health-watch.ts'
import type { Output } from '../../src/node/output.ts'
import { COORDINATOR } from '../../src/pubsub/options.ts'
import { FaultStorage } from '../support/fault-storage.ts'
import { flood } from '../support/flood.ts'
import { MemoryNet, type MemoryNode, type MemoryNodeOptions, until } from '../support/memory-nodes.ts'
import { startNode } from '../support/serving-node.ts'

/** A node that gets into trouble says so on its port and to who runs it, and that it is over. */

/** Short: nobody waits for minutes here. */
const HEALTH = { sampleMs: 20, windowMs: 1_500 }

describe('on the port of a node', () => {
  let net: MemoryNet
  let node: MemoryNode
  let watch: HealthWatch
  let server: DiagnosticsServer

  beforeEach(() => {
    net = new MemoryNet()
  })
  afterEach(async () => {
    watch.close()
    await server.close()
    await net.close()
  })

  async function start(options: MemoryNodeOptions = {}): Promise<void> {
    node = await net.add(options)
    const { pubsub } = node
    watch = new HealthWatch(healthSource(pubsub), HEALTH)
    const told = { read: () => pubsub.diagnostics(), health: () => watch.reading }
    server = await serveDiagnostics({ port: 0, ...told, requestsPerSecond: 1_000 })
  }
  async function health(): Promise<HealthReading> {
    const response = await fetch(`${server.url}/health`)
    expect(response.status).toBe(200)
    return (await response.json()) as HealthReading
  }
  const status = async (wanted: HealthReading['status']) =>
    until(
      async () => (await health()).status === wanted,
      10_000,
      () => JSON.stringify(watch.reading),
    )
  const metric = async (name: string) => {
    const text = await (await fetch(`${server.url}/metrics`)).text()
    return text.split('\n').find((line) => line.startsWith(`sticky_node_${name} `))
  }
  /** Goes on with what makes trouble until that is told, here and in the metrics. */
  async function troubled(finding: FindingName, trouble: () => Promise<unknown>): Promise<Finding> {
    let told: Finding | undefined
    const isTold = async () => {
      await trouble()
      const { status, findings } = await health()
      told = findings.find((one) => one.finding === finding)
      if (told !== undefined) expect(status).toBe('strained')
      const metrics = [await metric('strained'), await metric(`finding{finding="${finding}"}`)]
      return told !== undefined && metrics.every((line) => line?.endsWith(' 1'))
    }
    await until(isTold, 10_000, () => JSON.stringify(watch.reading))
    return told as Finding
  }

  it('ordinary traffic is no strain', async () => {
    await start()
    for (let i = 0; i < 4; i++) await net.add()
    const client = await net.add({ stores: false })
    let seen = 0
    await client.pubsub.subscribe('room', { onMessage: () => (seen += 1) })
    const end = performance.now() + 2 * HEALTH.windowMs
    let published = 0
    const told: HealthReading[] = []
    while (performance.now() < end) {
      await Promise.all(Array.from({ length: 20 }, (_, i) => node.pubsub.publish('room', i)))
      published += 20
      told.push(await health())
    }
    await until(() => seen === published)
    await status('ok')
    expect(told.flatMap(({ findings }) => findings)).toEqual([])
    const { rates, windowMs } = told.at(-1) as HealthReading
    expect(windowMs).toBeGreaterThan(0)
    expect(windowMs).toBeLessThanOrEqual(HEALTH.windowMs)
    expect(rates.requestsAnsweredPerSecond).toBeGreaterThan(0)
    expect(rates.timedOutShare).toBe(0)
    expect(await metric('strained')).toBe('sticky_node_strained 0')
  })

  it('a disk that refuses writes is told while it does, and no longer', async () => {
    const storage = new FaultStorage()
    await start({ storage })
    await node.pubsub.publish('room', 'before')
    await status('ok')
    storage.failWhen(() => true)
    const fail = () => expect(node.pubsub.publish('room', 'meanwhile', { deadlineMs: 200 })).rejects.toThrow()
    expect(await troubled('writes-failed', fail)).toMatchObject({
      limit: 0,
      text: expect.stringContaining('STORAGE_FAILED'),
    })
    storage.heal()
    await status('ok')
    expect(await metric('strained')).toBe('sticky_node_strained 0')
    await node.pubsub.publish('room', 'afterwards')
    await status('ok')
  })

  it('peers that do not answer are told until they do', async () => {
    await start({ dhtOptions: { requestTimeoutMs: 40 } })
    const other = await net.add()
    const askOnce = () =>
      node.pubsub.dht.headAt(COORDINATOR, new Uint8Array(32), other.pubsub.nodeId).catch(() => undefined)
    const ask = () => Promise.all(Array.from({ length: 50 }, askOnce))
    await ask()
    await status('ok')
    other.network.blackholes.add(node.pubsub.nodeId)
    const { value, limit } = await troubled('requests-timed-out', ask)
    expect(value).toBeGreaterThan(limit)
    other.network.blackholes.clear()
    await ask()
    await status('ok')
  })

  it('holders that are gone are told while they are left out', async () => {
    await start({ dhtOptions: { downMs: 3_000 } })
    for (let i = 0; i < 7; i++) await net.add()
    await node.pubsub.publish('room', 'to all of them')
    await status('ok')
    const key = node.pubsub.dht.replicas.view(1).sets[0]?.key as string
    for (const { pubsub } of net.nodes.slice(2)) {
      net.hub.crash(pubsub.nodeId)
      await pubsub.close() // it would dial, and be seen again
    }
    await node.pubsub.dht.replicas.heads(COORDINATOR, Uint8Array.from(Buffer.from(key, 'hex')))
    expect(await troubled('cooled-peers', async () => undefined)).toMatchObject({ value: 6, limit: 5 })
    await status('ok')
  })
})

describe('who runs a node', () => {
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sticky-health-'))
  })
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  it('is told that it is asked for too much, and that it is well again', async () => {
    const lines: string[] = []
    const ready = Promise.withResolvers<{ addresses: string[]; nodeId: string }>()
    const output: Output = {
      json: false,
      result: (value) => ready.resolve(value as { addresses: string[]; nodeId: string }),
      note: (text) => lines.push(text),
      progress: () => undefined,
    }
    const stopped = new AbortController()
    const options = { bridge: '', data: directory, json: false, awaitHolders: 1 }
    const running = runNode(options, output, stopped.signal, { ...HEALTH, betweenLinesMs: 100 })
    const client = await startNode('client')
    try {
      const { addresses, nodeId } = await Promise.race([ready.promise, running.then(() => ready.promise)])
      await client.libp2p.dial(multiaddr(addresses[0] as string))
      await until(async () => {
        await flood(client.pubsub, nodeId)
        return lines.length > 0
      })
      await until(() => lines.length > 1)
      expect(lines[0]).toMatch(
        /^strained: [\d.]+ % of [\d,]+ requests of peers were refused as too many \(at most 1 %\)$/,
      )
      expect(lines.slice(1)).toEqual(['well again'])
    } finally {
      await client.close()
      stopped.abort()
      await running
    }
  })
})
