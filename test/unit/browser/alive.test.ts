import { afterEach, describe, expect, it, vi } from 'vitest'
import { dropDeadConnections, keepAlive } from '../../../src/browser/alive.ts'
import type { DhtLibp2p } from '../../../src/dht/index.ts'

/** Which connections are cut, by who has answered over which of them. */

type Connection = ReturnType<DhtLibp2p['getConnections']>[number]
type Answer = 'answers' | 'unsupported' | 'reset' | 'silent' | 'broken'
type Witness = Parameters<typeof dropDeadConnections>[2]
type Kind = 'server' | 'tab' | 'circuit'

const ADDRESSES: Record<Kind, string> = {
  server: '/ip4/127.0.0.1/tcp/1/ws/p2p/S',
  tab: '/ip4/127.0.0.1/tcp/1/ws/p2p/S/p2p-circuit/webrtc/p2p/T',
  circuit: '/ip4/127.0.0.1/tcp/1/ws/p2p/S/p2p-circuit/p2p/T',
}
const named = (name: string) => Object.assign(new Error(name), { name })

interface Fake {
  name: string
  status: string
  connection: Connection
}

function fake(name: string): Fake {
  const [answer, kind] = name.split(' ') as [Answer, Kind]
  const one: Fake = { name, status: 'open', connection: {} as Connection }
  const newStream = (_protocol: string, { signal }: { signal: AbortSignal }) => {
    if (answer === 'silent')
      return new Promise((_, reject) => {
        const onAbort = () => reject(signal.reason as Error)
        if (signal.aborted) onAbort()
        else signal.addEventListener('abort', onAbort)
      })
    if (answer === 'answers') return Promise.resolve({ close: async () => undefined })
    if (answer === 'unsupported') return Promise.reject(named('UnsupportedProtocolError'))
    return Promise.reject(named(answer === 'broken' ? 'StreamStateError' : 'StreamResetError'))
  }
  one.connection = {
    remoteAddr: { toString: () => ADDRESSES[kind] },
    limits: kind === 'circuit' ? { seconds: 120 } : undefined,
    get status() {
      return one.status
    },
    newStream,
    abort: () => {
      one.status = 'aborted'
    },
  } as unknown as Connection
  return one
}

/** The names of those that are cut, and whether some that were silent stayed. */
async function cutOf(
  names: string[],
  witness: Witness,
  signal = AbortSignal.timeout(20),
): Promise<{ cut: string[]; areLeft: boolean }> {
  const fakes = names.map(fake)
  const libp2p = { getConnections: () => fakes.map(({ connection }) => connection) } as unknown as DhtLibp2p
  const areLeft = await dropDeadConnections(libp2p, signal, witness)
  return { cut: fakes.filter(({ status }) => status === 'aborted').map(({ name }) => name), areLeft }
}

describe('which connections are cut', () => {
  const none: string[] = []
  const byAnybody = { witness: 'anybody' } as const
  it.each<{ of: string[]; cut: string[]; areLeft: boolean; witness?: Witness }>([
    // over which there was an answer, or not
    { of: ['answers server', 'answers tab'], cut: none, areLeft: false },
    { of: ['broken server', 'broken tab'], cut: ['broken server', 'broken tab'], areLeft: false },
    { of: ['silent server'], cut: ['silent server'], areLeft: false },
    // a tab, once others are heard
    { of: ['silent tab'], cut: none, areLeft: true },
    { of: ['silent tab', 'silent server'], cut: ['silent server'], areLeft: true },
    { of: ['silent tab', 'broken tab'], cut: ['broken tab'], areLeft: true },
    { of: ['silent tab', 'answers server'], cut: ['silent tab'], areLeft: false },
    { of: ['silent tab', 'unsupported server'], cut: ['silent tab'], areLeft: false },
    { of: ['silent tab', 'reset server'], cut: ['silent tab'], areLeft: false },
    // by tabs and through a relay, it depends on who is asked for
    { of: ['silent tab', 'answers tab'], cut: ['silent tab'], areLeft: false, ...byAnybody },
    { of: ['silent tab', 'answers tab'], cut: none, areLeft: true },
    { of: ['silent tab', 'reset tab'], cut: ['silent tab'], areLeft: false, ...byAnybody },
    { of: ['silent tab', 'reset tab'], cut: none, areLeft: true },
    { of: ['silent tab', 'answers circuit'], cut: ['silent tab'], areLeft: false, ...byAnybody },
    { of: ['silent tab', 'answers circuit'], cut: none, areLeft: true },
  ])('of $of: $cut', async ({ of, cut, areLeft, witness = 'a server' }) => {
    expect(await cutOf(of, witness)).toEqual({ cut, areLeft })
  })

  it('none for its silence where the asking was stopped', async () => {
    const stop = new AbortController()
    const names = ['silent server', 'silent tab', 'answers server']
    const asked = cutOf(names, 'anybody', AbortSignal.any([stop.signal, AbortSignal.timeout(20_000)]))
    stop.abort()
    expect(await asked).toEqual({ cut: none, areLeft: false })
    const late = AbortSignal.any([stop.signal, AbortSignal.timeout(20_000)])
    expect(await cutOf(names.slice(0, 2), 'anybody', late)).toEqual({ cut: none, areLeft: false })
  })
})

describe('while a node runs', () => {
  afterEach(() => void vi.useRealTimers())

  it('a round begins every 20 s, but none once it stops', async () => {
    vi.useFakeTimers()
    let rounds = 0
    const libp2p = {
      status: 'started',
      getConnections: () => {
        rounds += 1
        return []
      },
      addEventListener: () => undefined,
    }
    keepAlive(libp2p as unknown as DhtLibp2p)
    await vi.advanceTimersByTimeAsync(40_000)
    expect(rounds).toBe(2)
    libp2p.status = 'stopping'
    await vi.advanceTimersByTimeAsync(40_000)
    expect(rounds).toBe(2)
  })
})
