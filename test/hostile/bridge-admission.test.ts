import { afterEach, describe, expect, it, vi } from 'vitest'
import { type Bridge, type BridgeOptions, startBridge } from '../../src/bridge/index.ts'
import {
  type DhtLibp2p,
  enterBridge,
  type Identity,
  identityFromSeed,
  systemRuntime,
} from '../../src/dht/index.ts'
import { bareNode } from '../support/bare-node.ts'
import { ChallengeClient } from '../support/challenge-client.ts'
import { dial } from '../support/dial.ts'
import { PATIENCE } from '../support/patience.ts'
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'

/** More new identities than a bridge may admit: real nodes at a real bridge, some of them seemingly from elsewhere. */

const HOUR_MS = 3_600_000

let bridge: Bridge
let aheadMs = 0
const nodes: DhtLibp2p[] = []
const proxies: TcpProxy[] = []
const seed = (value: number) => new Uint8Array(32).fill(value)

const start = async (limits: BridgeOptions['limits']): Promise<void> => {
  aheadMs = 0
  const runtime = { ...systemRuntime, monotonicNow: () => performance.now() + aheadMs }
  bridge = await startBridge({ seed: seed(99), port: 0, runtime, limits: { lapseCheckMs: 100, ...limits } })
}
/** The bridge's port as somebody at `localAddress` dials it. */
async function portFrom(localAddress: string): Promise<number> {
  const proxy = await startTcpProxy(bridge.port, localAddress)
  proxies.push(proxy)
  return proxy.port
}
const enter = async (value: number, port = bridge.port): Promise<Identity> => {
  const identity = await identityFromSeed(seed(value))
  await enterBridge(`http://127.0.0.1:${port}`, identity)
  return identity
}
/** Twenty new identities. */
async function flood(): Promise<void> {
  for (let value = 100; value < 120; value++) await enter(value)
}
async function connect(value: number): Promise<DhtLibp2p> {
  const libp2p = await bareNode(seed(value))
  nodes.push(libp2p)
  await dial(libp2p, bridge.address)
  return libp2p
}
async function admittedNode(value: number): Promise<DhtLibp2p> {
  await enter(value)
  return connect(value)
}
const connections = async (): Promise<number> => {
  const response = await fetch(`${bridge.url}/health`)
  return ((await response.json()) as { connections: number }).connections
}

afterEach(async () => {
  await Promise.all(nodes.splice(0).map((libp2p) => libp2p.stop()))
  await Promise.all(proxies.splice(0).map((proxy) => proxy.close()))
  await bridge.close()
})

describe('more admissions than there may be', () => {
  it('cost nobody the connection that is there, whose time is not over', async () => {
    await start({ maxAdmitted: 4 })
    const earlier = await admittedNode(1)
    aheadMs = 12 * HOUR_MS
    const later = await admittedNode(2)
    const [standing] = later.getConnections()
    await flood()
    for (const { peerId } of [earlier, later]) expect(bridge.isAdmitted(String(peerId))).toBe(true)
    aheadMs = 25 * HOUR_MS
    // a check that ended the one has seen the other
    await vi.waitFor(async () => expect(await connections()).toBe(1), PATIENCE)
    expect(standing?.status).toBe('open')
    expect(bridge.isAdmitted(String(later.peerId))).toBe(true)
  })

  it('take no place of another address, also of who is yet to dial', async () => {
    await start({ maxAdmitted: 3 })
    const { nodeId } = await enter(1, await portFrom('127.0.0.2'))
    await flood()
    expect(bridge.isAdmitted(nodeId)).toBe(true)
    await connect(1)
  })

  it('are refused where all who are admitted are connected, who may come again themselves', async () => {
    await start({ maxAdmitted: 2 })
    await admittedNode(1)
    const leaving = await admittedNode(2)
    const newcomer = await identityFromSeed(seed(3))
    const socket = await ChallengeClient.open(bridge.port)
    await socket.respond(newcomer, await socket.challenged(newcomer))
    expect(await socket.end()).toEqual({ code: 4503, reason: 'BUSY', refusal: 'BUSY' })
    expect(bridge.isAdmitted(newcomer.nodeId)).toBe(false)
    await enter(1)
    await leaving.stop()
    await vi.waitFor(() => enter(3), PATIENCE)
    await connect(3)
  })
})
