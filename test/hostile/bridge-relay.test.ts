import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type Bridge, startBridge } from '../../src/bridge/index.ts'
import { type DhtLibp2p, enterBridge, identityFromSeed } from '../../src/dht/index.ts'
import { listenOnRelay } from '../../src/dht/libp2p-relay.ts'
import { createNodeLibp2p } from '../../src/node/transports.ts'
import { dial } from '../support/dial.ts'

/** Real libp2p nodes at a real bridge: what only a passed challenge opens. */

let bridge: Bridge
const nodes: DhtLibp2p[] = []
const seed = (value: number) => new Uint8Array(32).fill(value)

const node = async (value: number, relay?: string): Promise<DhtLibp2p> => {
  const libp2p = await createNodeLibp2p({ seed: seed(value), listen: [], role: 'fleeting' })
  nodes.push(libp2p)
  if (relay !== undefined) await listenOnRelay(libp2p, relay)
  return libp2p
}
const enter = async (value: number) => enterBridge(bridge.url, await identityFromSeed(seed(value)))
const idOf = async (value: number) => (await identityFromSeed(seed(value))).nodeId

beforeAll(async () => {
  bridge = await startBridge({ seed: seed(99), port: 0 })
})
afterAll(async () => {
  await Promise.all(nodes.map((libp2p) => libp2p.stop()))
  await bridge.close()
})

describe('the gate behind the challenge', () => {
  it('refuses the connection of a peer that has not passed, and takes it once it has', async () => {
    const libp2p = await node(1)
    await expect(dial(libp2p, bridge.address)).rejects.toThrow()
    expect(libp2p.getConnections()).toHaveLength(0)
    await enter(1)
    await dial(libp2p, bridge.address)
    expect(libp2p.getConnections()).toHaveLength(1)
  })

  it('gives no reservation before, and one after', async () => {
    await expect(node(2, bridge.address)).rejects.toMatchObject({ code: 'UNREACHABLE' })
    const refused = nodes.pop()
    expect(refused?.getMultiaddrs()).toEqual([])
    expect(bridge.reservations()).not.toContain(await idOf(2))
    await refused?.stop()
    await enter(2)
    const libp2p = await node(2, bridge.address)
    await vi.waitFor(async () => expect(bridge.reservations()).toContain(await idOf(2)), { timeout: 20_000 })
    expect(libp2p.getMultiaddrs().map(String)).toContainEqual(expect.stringContaining('/p2p-circuit'))
  })

  it('relays for admitted peers only', async () => {
    const target = `${bridge.address}/p2p-circuit/p2p/${await idOf(2)}`
    const stranger = await node(3)
    await expect(dial(stranger, target)).rejects.toThrow()
    expect(stranger.getConnections()).toHaveLength(0)
    await enter(3)
    await dial(stranger, target)
    expect(stranger.getConnections().map(({ remotePeer }) => String(remotePeer))).toContain(await idOf(2))
  })

  it('one peer’s pass is not another’s', async () => {
    await enter(4)
    const libp2p = await node(5)
    await expect(dial(libp2p, bridge.address)).rejects.toThrow()
  })
})
