import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { type Bridge, type BridgeOptions, startBridge } from '../../src/bridge/index.ts'
import { createNode } from '../../src/node/index.ts'
import { rawExchange, upgradeTo } from '../support/challenge-client.ts'
import { PATIENCE } from '../support/patience.ts'
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'

/** The one public port, before anybody has said who they are: what one address may take of it. */

let bridge: Bridge
let elsewhere: TcpProxy | undefined
const held: Socket[] = []

const start = async (options: Partial<BridgeOptions> = {}): Promise<void> => {
  bridge = await startBridge({ seed: new Uint8Array(32).fill(42), port: 0, ...options })
}
/** A connection that is kept. */
const hold = async (port: number, bytes = ''): Promise<Socket> => {
  const socket = connect(port, '127.0.0.1')
  held.push(socket)
  socket.on('error', () => undefined).resume()
  await new Promise((resolve) => socket.once('connect', resolve))
  socket.write(bytes)
  return socket
}
const health = (port = bridge.port, header = '') =>
  rawExchange(port, `GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n${header}\r\n`)
const metric = async (name: string): Promise<number> => {
  const text = await (await fetch(`${bridge.url}/metrics`)).text()
  return Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`sticky_bridge_${name} `))
      ?.split(' ')
      .at(-1),
  )
}

afterEach(async () => {
  for (const socket of held.splice(0)) socket.destroy()
  await elsewhere?.close()
  elsewhere = undefined
  await bridge.close()
})

describe('one address', () => {
  it('has so many connections and no more, whatever they are for; another one is served', async () => {
    await start({ limits: { maxConnectionsPerAddress: 3 } })
    elsewhere = await startTcpProxy(bridge.port, '127.0.0.2')
    await hold(bridge.port)
    await hold(bridge.port, 'GET /health HT')
    await hold(bridge.port, upgradeTo('/auth'))
    expect(await health()).toBe('')
    expect(await health(elsewhere.port)).toMatch(/^HTTP\/1.1 200 /)
    for (const socket of held.splice(0)) socket.destroy()
    await vi.waitFor(async () => expect(await health()).toMatch(/^HTTP\/1.1 200 /), PATIENCE)
  })

  it('and all together have so many', async () => {
    await start({ limits: { maxConnections: 2 } })
    elsewhere = await startTcpProxy(bridge.port, '127.0.0.2')
    await hold(bridge.port)
    await hold(bridge.port)
    expect(await health(elsewhere.port)).toBe('')
  })

  it('holds none by not reading its answer; who reads slowly gets all of it', async () => {
    const webRoot = mkdtempSync(join(tmpdir(), 'sticky-web-'))
    try {
      writeFileSync(join(webRoot, 'large.js'), new Uint8Array(24_000_000))
      await start({ webRoot, limits: { maxConnectionsPerAddress: 1, answerIdleMs: 400 } })
      const request = 'GET /large.js HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n'
      const ask = () => {
        const socket = connect(bridge.port, '127.0.0.1', () => socket.write(request)).pause()
        held.push(socket)
        return socket.on('error', () => undefined)
      }
      ask()
      await vi.waitFor(async () => expect(await health()).toMatch(/^HTTP\/1.1 200 /), PATIENCE)
      const slow = ask()
      let bytes = 0
      slow.on('data', (chunk) => {
        bytes += chunk.byteLength
        slow.pause()
      })
      const reading = setInterval(() => slow.resume(), 4)
      await new Promise((resolve) => slow.once('close', resolve))
      clearInterval(reading)
      expect(bytes).toBeGreaterThan(24_000_000)
    } finally {
      rmSync(webRoot, { recursive: true })
    }
  }, 30_000)

  it('asks so often and no more: 429 with the moment to come back', async () => {
    await start({ limits: { requestBurst: 3, requestsPerSecond: 0 } })
    elsewhere = await startTcpProxy(bridge.port, '127.0.0.2')
    for (let i = 0; i < 3; i++) expect(await health()).toMatch(/^HTTP\/1.1 200 /)
    const refused = await health()
    expect(refused).toMatch(/^HTTP\/1.1 429 /)
    expect(refused).toContain('Retry-After: 1')
    expect(refused).toContain('"error":"RATE_LIMITED"')
    for (const path of ['/metrics', '/diagnostics']) expect((await fetch(bridge.url + path)).status).toBe(429)
    expect(await health(bridge.port, 'X-Forwarded-For: 203.0.113.1\r\n')).toMatch(/^HTTP\/1.1 429 /)
    expect(await health(elsewhere.port)).toMatch(/^HTTP\/1.1 200 /)
  })

  it('opens libp2p sockets so fast and no faster', async () => {
    await start({ limits: { pipeBurst: 2, pipesPerSecond: 0 } })
    elsewhere = await startTcpProxy(bridge.port, '127.0.0.2')
    for (let i = 0; i < 2; i++) (await hold(bridge.port, upgradeTo('/'))).destroy()
    await vi.waitFor(async () => expect(await metric('pipes')).toBe(0), PATIENCE)
    expect(await rawExchange(bridge.port, upgradeTo('/'))).toMatch(/^HTTP\/1.1 429 /)
    await hold(elsewhere.port, upgradeTo('/'))
    await vi.waitFor(async () => expect(await metric('pipes')).toBe(1), PATIENCE)
  })

  it('is the client’s behind a proxy that is trusted: one client’s flood is not another’s', async () => {
    await start({
      trustedProxies: ['127.0.0.1'],
      limits: { requestBurst: 2, requestsPerSecond: 0, maxConnectionsPerAddress: 1 },
    })
    await hold(bridge.port) // the proxy's own connections are not one client's
    const from = (address: string) => health(bridge.port, `X-Forwarded-For: 198.51.100.1, ${address}\r\n`)
    for (let i = 0; i < 2; i++) expect(await from('203.0.113.1')).toMatch(/^HTTP\/1.1 200 /)
    expect(await from('203.0.113.1')).toMatch(/^HTTP\/1.1 429 /)
    expect(await from('203.0.113.2')).toMatch(/^HTTP\/1.1 200 /)
    for (const last of ['1', '2']) expect(await from(`2001:db8::${last}`)).toMatch(/^HTTP\/1.1 200 /)
    expect(await from('2001:db8::3')).toMatch(/^HTTP\/1.1 429 /) // the same /64
  })
})

describe('a libp2p socket on which nobody proves a key', () => {
  it('takes the place of nobody else: with hundreds from two addresses a newcomer joins at once', async () => {
    await start()
    const proxies = await Promise.all(
      ['127.0.0.2', '127.0.0.3'].map((one) => startTcpProxy(bridge.port, one)),
    )
    try {
      for (const { port } of proxies) for (let i = 0; i < 150; i++) await hold(port, upgradeTo('/'))
      await vi.waitFor(async () => expect(await metric('pipes')).toBe(300), PATIENCE)
      const signal = AbortSignal.timeout(5_000)
      await using node = await createNode({ bridgeUrl: bridge.url, role: 'client', signal })
      expect(node.bridgeProblem).toBe(undefined)
      await vi.waitFor(async () => expect(await metric('connections')).toBe(1), PATIENCE)
      expect(await metric('pipes')).toBeGreaterThan(256) // they are there still
    } finally {
      await Promise.all(proxies.map((proxy) => proxy.close()))
    }
  }, 30_000)

  it.each([
    ['says nothing after its handshake', upgradeTo('/')],
    ['never ends its handshake', upgradeTo('/').replace('Version: 13', 'Version: 99')],
  ])(
    'is ended when it %s',
    async (_name, bytes) => {
      await start({ limits: { pipeDeadlineMs: 100 } })
      await rawExchange(bridge.port, bytes) // ends only with the connection
      await vi.waitFor(async () => expect(await metric('pipes')).toBe(0), PATIENCE)
    },
    20_000,
  ) // ws alone would wait 30 s for the answer to its close
})
