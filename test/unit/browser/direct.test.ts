import { afterEach, expect, it, vi } from 'vitest'
import { keepDirect } from '../../../src/browser/direct.ts'
import { type DhtLibp2p, SIGNALLING_PROTOCOL } from '../../../src/dht/index.ts'

/** What becomes of the way through a relay once there is a direct one. The rest is shown by tabs, in admission.test.ts. */

afterEach(() => void vi.useRealTimers())

const RELAYED = '/ip4/127.0.0.1/tcp/1/ws/p2p/S/p2p-circuit/p2p/T'

/** What was done to it, where closing it ends in `closed`. */
async function doneTo(closed: () => Promise<void>): Promise<string[]> {
  vi.useFakeTimers()
  const done: string[] = []
  const relayed = {
    id: 'relayed',
    status: 'open',
    streams: [],
    direction: 'outbound',
    remotePeer: 'T',
    remoteAddr: RELAYED,
    close: () => {
      done.push('closed')
      return closed()
    },
    abort: () => done.push('aborted'),
  }
  const newStream = async () => ({ close: async () => undefined })
  const direct = { status: 'open', remoteAddr: RELAYED.replace('/p2p/T', '/webrtc/p2p/T'), newStream }
  const onOpen: ((event: { detail: unknown }) => void)[] = []
  const libp2p = {
    addEventListener: (name: string, listener: (event: { detail: unknown }) => void) => {
      if (name === 'connection:open') onOpen.push(listener)
    },
    getConnections: () => [relayed, direct],
    peerStore: { get: async () => ({ protocols: [SIGNALLING_PROTOCOL] }) },
  }
  keepDirect(libp2p as unknown as DhtLibp2p)
  for (const listener of onOpen) listener({ detail: relayed })
  await vi.advanceTimersByTimeAsync(200_000)
  return done
}

it('it is closed', async () => {
  expect(await doneTo(async () => undefined)).toEqual(['closed'])
})

it('it is cut where it does not close in good time', async () => {
  expect(await doneTo(() => Promise.reject(new Error('timed out')))).toEqual(['closed', 'aborted'])
})
