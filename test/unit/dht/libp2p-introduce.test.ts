import type { Connection, PeerId } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import { describe, expect, it } from 'vitest'
import { nodeIdOf } from '../../../src/dht/identity.ts'
import { reach, SIGNALLING_PROTOCOL } from '../../../src/dht/libp2p-introduce.ts'
import type { DhtLibp2p } from '../../../src/dht/libp2p-services.ts'

/** Whom a tab asks to introduce it, and how long: of libp2p only what is asked here, since no tab runs in Node. */

const HOP = '/libp2p/circuit/relay/0.2.0/hop'
const idOf = (number: number) => peerIdFromString(nodeIdOf(new Uint8Array(32).fill(number)))
const tab = idOf(1)
const relay = idOf(2)
const neighbours = [3, 4, 5, 6, 7, 8].map(idOf)
const DEADLINE_MS = 20

interface World {
  /** Of the tab, as far as it is known. */
  addresses?: string[]
  connected?: PeerId[]
  /** They say nothing, for ever. The others introduce. */
  silent?: PeerId[]
  /** Who dials can connect by WebRTC. */
  isTab?: boolean
}

function world({ addresses = [], connected = neighbours, silent = [], isTab = true }: World = {}) {
  const dials: (PeerId | 'direct')[] = []
  const dial = async (target: unknown, { signal }: { signal: AbortSignal }): Promise<Connection> => {
    const introducer = neighbours.find((one) => String(target).startsWith(`/p2p/${one}/p2p-circuit/webrtc/`))
    dials.push(introducer ?? 'direct')
    if (introducer === undefined) throw new Error('It cannot be reached directly.')
    if (!silent.includes(introducer)) return {} as Connection
    return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  }
  const libp2p = {
    dial,
    getProtocols: () => (isTab ? [SIGNALLING_PROTOCOL] : []),
    getConnections: (peer: PeerId) => (connected.some((one) => one.equals(peer)) ? [{}] : []),
    peerStore: {
      get: async (peer: PeerId) =>
        peer.equals(tab)
          ? { addresses: addresses.map((one) => ({ multiaddr: multiaddr(one) })) }
          : { protocols: [HOP] },
    },
    services: { kad: { routingTable: { size: neighbours.length, closestPeers: () => [...neighbours] } } },
  } as unknown as DhtLibp2p
  const tryToReach = () =>
    reach(libp2p, tab, AbortSignal.timeout(DEADLINE_MS)).then(
      () => true,
      () => false,
    )
  return { dials, tryToReach }
}

const atRelay = [`/ip4/127.0.0.1/tcp/1/ws/p2p/${relay}/p2p-circuit/webrtc/p2p/${tab}`]

describe('a tab', () => {
  it('is introduced by the nearest neighbour where its relay is away', async () => {
    const { dials, tryToReach } = world({ addresses: atRelay })
    expect(await tryToReach()).toBe(true)
    expect(dials).toEqual([neighbours[0]])
  })

  it('is dialled where its relay is connected, or it has an address that needs none, or not by a tab', async () => {
    for (const one of [
      { addresses: atRelay, connected: [...neighbours, relay] },
      { addresses: ['/ip4/127.0.0.1/tcp/1/ws'] },
      { isTab: false },
    ]) {
      const { dials, tryToReach } = world(one)
      await tryToReach()
      expect(dials).toEqual(['direct'])
    }
  })

  it('is introduced where nobody knows an address of it: it has told that it lost its bridge', async () => {
    const { dials, tryToReach } = world()
    expect(await tryToReach()).toBe(true)
    expect(dials).toEqual([neighbours[0]])
  })

  it('is introduced however many of the nearest neighbours say nothing', async () => {
    const silent = neighbours.slice(0, 5)
    const { dials, tryToReach } = world({ addresses: atRelay, silent })
    const reached: boolean[] = []
    for (let i = 0; i < 7; i++) reached.push(await tryToReach())
    expect(reached).toEqual([false, false, false, false, false, true, true])
    expect(dials).toEqual([...neighbours, neighbours[5]])
  })

  it('is asked for anew of who was silent once: all were, maybe because of the tab', async () => {
    const silent = [...neighbours]
    const { dials, tryToReach } = world({ addresses: atRelay, silent })
    for (let i = 0; i < 7; i++) await tryToReach()
    expect(dials).toEqual([...neighbours, neighbours[0]])
    silent.splice(0)
    expect(await tryToReach()).toBe(true)
  })
})
