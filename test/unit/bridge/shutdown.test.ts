import { connect, createServer } from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import type { ChallengeSocket } from '../../../src/bridge/challenge-socket.ts'
import { startBridge } from '../../../src/bridge/index.ts'
import { openPort } from '../../../src/bridge/listen.ts'
import { DEFAULT_BRIDGE_LIMITS } from '../../../src/bridge/options.ts'
import { handleUpgrades } from '../../../src/bridge/upgrade.ts'
import { systemRuntime } from '../../../src/dht/index.ts'

const limits = { ...DEFAULT_BRIDGE_LIMITS, trustedProxies: new Set<string>() }

afterEach(() => vi.restoreAllMocks())

describe('at the end of a bridge', () => {
  it('an upgrade on a connection from before is refused, and does not keep the port open', async () => {
    const upstream = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => upstream.once('listening', resolve))
    const publicPort = await openPort(0, '127.0.0.1', limits)
    const pipes = handleUpgrades(publicPort.server, {
      libp2pPort: (upstream.address() as { port: number }).port,
      challenge: {} as ChallengeSocket,
      limits: DEFAULT_BRIDGE_LIMITS,
      origins: { allowedOrigins: [], isLoopbackOnly: true },
      trustedProxies: limits.trustedProxies,
      runtime: systemRuntime,
    })
    const client = connect(publicPort.port, '127.0.0.1')
    let answer = ''
    client.on('data', (chunk: Buffer) => {
      answer += chunk.toString()
    })
    const ended = new Promise((resolve) => client.once('close', resolve))
    client.write('GET / HTTP/1.1\r\n') // a request under way when the end begins
    await expect.poll(() => connectionsOf(publicPort.server)).toBe(1)
    const closed = publicPort.close(60_000)
    pipes.closeAll()
    client.write('Host: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
    await ended
    expect(answer).toMatch(/^HTTP\/1.1 503 /)
    await closed
    upstream.close()
  })

  it('its port is free again when it could not start', async () => {
    const port = await openPort(0, '127.0.0.1', limits)
    await port.close(0)
    const options = { seed: new Uint8Array(32).fill(4), port: port.port }
    const announce = { relay: { maxCircuitBytes: 0.5 } } // no bigint
    await expect(startBridge({ ...options, ...announce })).rejects.toThrow()
    await using bridge = await startBridge(options)
    expect(bridge.port).toBe(port.port)
  })
})

const connectionsOf = (server: import('node:http').Server): Promise<number> =>
  new Promise((resolve, reject) =>
    server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
  )
