import { connect } from 'node:net'
import { networkInterfaces } from 'node:os'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type DiagnosticsServer, serveDiagnostics } from '../../src/node/diagnostics-server.ts'
import type { HealthReading } from '../../src/node/health.ts'
import { HealthWatch, healthSource } from '../../src/node/health-watch.ts'
import type { Diagnostics } from '../../src/pubsub/index.ts'
import { rawExchange } from '../support/challenge-client.ts'
import { MemoryNet, type MemoryNode, until } from '../support/memory-nodes.ts'

/** The port on which a node tells how it is: to this machine, so often and no more, and nobody's words. */

const WORDS = ['the quiet part', 'away from keyboard', 'Ada']
const net = new MemoryNet()
let node: MemoryNode
let server: DiagnosticsServer
let watch: HealthWatch

beforeAll(async () => {
  node = await net.add()
  const [data, presence, info] = WORDS as [string, string, string]
  const client = await net.add({ stores: false, durable: false })
  await client.pubsub.subscribe('unnamed there', { presence, info })
  await client.pubsub.publish('unnamed there', data)
  await until(() => (node.pubsub.counters().delivery?.acknowledged ?? 0) > 0)
  watch = new HealthWatch(healthSource(node.pubsub), { sampleMs: 10 })
  await until(() => watch.reading.status === 'ok')
})
afterAll(() => {
  watch.close()
  return net.close()
})
afterEach(() => server.close())

const told = { read: () => node.pubsub.diagnostics(), health: () => watch.reading }
const start = async (options: Partial<Parameters<typeof serveDiagnostics>[0]> = {}): Promise<void> => {
  server = await serveDiagnostics({ port: 0, ...told, ...options })
}
const portOf = () => Number(new URL(server.url).port)
const get = (path: string, headers = 'Host: localhost', method = 'GET') =>
  rawExchange(portOf(), `${method} ${path} HTTP/1.1\r\nConnection: close\r\n${headers}\r\n\r\n`)
const json = async <T>(path: string): Promise<T> => (await (await fetch(server.url + path)).json()) as T

describe('the port for diagnostics', () => {
  it('tells all of it, one section of it, and in short that the node is there', async () => {
    await start()
    const told = await json<Diagnostics>('/diagnostics')
    expect(told).toMatchObject({
      node: { nodeId: node.pubsub.nodeId },
      replica: { initiator: { received: 1, stored: 1 } },
      records: { held: 1 },
    })
    const { asOf, ...part } = await json<Diagnostics>('/diagnostics/records')
    expect(part).toEqual({ bootId: told.node.bootId, records: { ...told.records, sets: expect.any(Array) } })
    expect(asOf).toBeGreaterThanOrEqual(told.asOf)
    const { bootId } = told.node
    expect(await json('/health')).toMatchObject({ status: 'ok', nodeId: node.pubsub.nodeId, bootId })
    const { health } = await json<{ health: HealthReading }>('/diagnostics')
    expect(health.status).toBe('ok')
    const section = await json<{ asOf: number; health: HealthReading }>('/diagnostics/health')
    expect(Object.keys(section.health)).toEqual(Object.keys(health))
    expect(section).toEqual({ asOf: section.health.asOf, bootId, health: section.health })
    const response = await fetch(`${server.url}/diagnostics`)
    expect(response.headers.get('cache-control')).toBe('no-store')
    expect(response.headers.get('access-control-allow-origin')).toBeNull()
    expect((await fetch(`${server.url}/metrics`)).headers.get('content-type')).toMatch(
      /^text\/plain; version=0\.0\.4/,
    )
  })

  it('is for this machine, under its own name, and not by way of a proxy', async () => {
    await start()
    for (const path of ['/diagnostics', '/diagnostics/node', '/metrics', '/health', '/diagnostics/health']) {
      expect(await get(path)).toMatch(/^HTTP\/1.1 200 /)
      expect(await get(path, 'Host: evil.example')).toMatch(/^HTTP\/1.1 403 /)
      expect(await get(path, 'Host: localhost\r\nX-Forwarded-For: 8.8.8.8')).toMatch(/^HTTP\/1.1 403 /)
    }
    const others = Object.values(networkInterfaces()).flatMap((each) => each ?? [])
    for (const { address } of others.filter(({ internal, family }) => !internal && family === 'IPv4')) {
      const reached = await new Promise<boolean>((resolve) => {
        const socket = connect(portOf(), address, () => resolve(true))
        socket.once('error', () => resolve(false)).once('connect', () => socket.destroy())
      })
      expect(reached).toBe(false)
    }
  })

  it('changes nothing, and has nothing but what it is there for', async () => {
    await start()
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS'])
      expect(await get('/metrics', 'Host: localhost', method)).toMatch(/^HTTP\/1.1 405 /)
    for (const path of [
      '/',
      '/diagnostics/',
      '/diagnostics/none',
      '/diagnostics/constructor',
      '/diagnostics/__proto__',
    ])
      expect(await get(path), path).toMatch(/^HTTP\/1.1 404 /)
    expect(await get('/../../etc/passwd')).toMatch(/^HTTP\/1.1 404 /)
    expect(await get('/metrics?x=1')).toMatch(/^HTTP\/1.1 200 /)
    expect(await get(`/${'x'.repeat(20_000)}`)).toMatch(/^HTTP\/1.1 431 /)
  })

  it('is asked so often and no more, whoever asks', async () => {
    let reads = 0
    const read = () => {
      reads += 1
      return node.pubsub.diagnostics()
    }
    await start({ read, requestBurst: 3, requestsPerSecond: 0 })
    for (let i = 0; i < 3; i++) expect(await get('/metrics')).toMatch(/^HTTP\/1.1 200 /)
    const refused = await get('/diagnostics')
    expect(refused).toMatch(/^HTTP\/1.1 429 /)
    expect(refused).toContain('Retry-After: 1')
    expect(reads).toBe(3)
  })

  it('shows no message, presence, name of a person or topic, and no key; and is small', async () => {
    await start()
    const seed = Buffer.from(node.seed)
    for (const path of ['/diagnostics', '/metrics', '/health']) {
      const text = await (await fetch(server.url + path)).text()
      for (const secret of [...WORDS, 'unnamed there', seed.toString('hex'), seed.toString('base64')])
        expect(text).not.toContain(secret)
      expect(text).toContain(node.pubsub.nodeId)
      expect(text.length).toBeLessThan(64 * 1024)
    }
  })

  it('tells of its health whatever that is, with 200, and without asking a node that may not answer', async () => {
    const source = healthSource(node.pubsub)
    const read = () => Promise.reject(new Error('the disk at /home/ada is full'))
    const broken = new HealthWatch({ ...source, read }, { sampleMs: 10 })
    await until(() => (broken.reading.findings[0]?.value ?? 0) > 1)
    broken.close()
    await start({ read: () => new Promise(() => undefined), health: () => broken.reading })
    for (const path of ['/health', '/diagnostics/health']) {
      const answer = await get(path)
      expect(answer).toMatch(/^HTTP\/1.1 200 /)
      expect(answer).toContain('"status":"unknown"')
      expect(answer).toContain('could not be read (STORAGE_FAILED)')
      expect(answer).not.toContain('/home')
    }
  })

  it('answers without its insides when the node cannot tell, and says that a port is taken', async () => {
    await start({ read: () => Promise.reject(new Error('the disk at /home/ada is full')) })
    const broken = await get('/diagnostics')
    expect(broken).toMatch(/^HTTP\/1.1 503 /)
    expect(broken).not.toContain('ada')
    await expect(serveDiagnostics({ port: portOf(), ...told })).rejects.toMatchObject({
      code: 'PORT_IN_USE',
    })
  })
})
