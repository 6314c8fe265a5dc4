import { expect, it, vi } from 'vitest'
import { startBridge } from '../../../src/bridge/bridge.ts'
import type { DhtLibp2p } from '../../../src/dht/index.ts'

const made: DhtLibp2p[] = []
vi.mock('../../../src/bridge/transports.ts', async (importOriginal) => {
  const real = await importOriginal<typeof import('../../../src/bridge/transports.ts')>()
  return {
    ...real,
    createBridgeLibp2p: async (options: Parameters<typeof real.createBridgeLibp2p>[0]) => {
      const libp2p = await real.createBridgeLibp2p(options)
      made.push(libp2p)
      return libp2p
    },
  }
})

it('libp2p takes as many connections as the port lets through to it', async () => {
  await using bridge = await startBridge({ seed: new Uint8Array(32).fill(42), port: 0 })
  const { bounds } = (await (await fetch(`${bridge.url}/diagnostics/bounds`)).json()) as {
    bounds: { pipes: { limit: number } }
  }
  const [libp2p] = made as unknown as {
    components: { connectionManager: { getMaxConnections(): number } }
  }[]
  expect(bounds.pipes.limit).toBe(5_000)
  expect(libp2p?.components.connectionManager.getMaxConnections()).toBe(5_000)
})
