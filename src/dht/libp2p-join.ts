import type { Connection } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { asStickyError, StickyError } from './errors.ts'
import { meetNeighbours } from './libp2p-meet.ts'
import type { DhtLibp2p } from './libp2p-services.ts'
import { networkError } from './network.ts'
import { type RoutingTable, routingTable } from './routing-table.ts'
import { type Runtime, systemRuntime } from './runtime.ts'

export interface JoinOptions {
  signal: AbortSignal
  /**
   * From a connection to the first routing table entry, which identify brings: a fraction of a second unless it was lost,
   * and then for ever. More than the 10 s after which a node in Node makes another attempt by its own signal.
   */
  firstEntryTimeoutMs: number
  runtime: Runtime
}

/** How long a join without a signal of its own may take. */
const JOIN_TIMEOUT_MS = 30_000

const DEFAULT_JOIN_OPTIONS: Omit<JoinOptions, 'signal'> = {
  firstEntryTimeoutMs: 12_000,
  runtime: systemRuntime,
}

/**
 * Joins through known addresses: dials them, waits for the first routing table entry, then looks for itself in both
 * DHTs, which makes this node known to its neighbours. Rejects with UNREACHABLE when no address answers, with TIMEOUT
 * when one answers and does not tell what it is, else ABORTED.
 */
export async function joinDht(
  libp2p: DhtLibp2p,
  bootstrapMultiaddrs: string[],
  init: Partial<JoinOptions> = {},
): Promise<void> {
  const signal = init.signal ?? AbortSignal.timeout(JOIN_TIMEOUT_MS)
  const options = { ...DEFAULT_JOIN_OPTIONS, ...init, signal }
  try {
    signal.throwIfAborted()
    const connections: Connection[] = []
    const dials = bootstrapMultiaddrs.map(async (address) => {
      connections.push(await libp2p.dial(multiaddr(address), { signal }))
    })
    await Promise.any(dials)
    await firstEntry(routingTable(libp2p.services.kad), options).catch((error: unknown) => {
      // libp2p identifies a connection once, so the next attempt needs another one
      for (const connection of connections) connection.abort(asStickyError(error, 'ABORTED'))
      throw error
    })
    await meetNeighbours(libp2p, signal)
  } catch (error) {
    throw networkError(error, signal)
  }
}

function firstEntry(
  table: RoutingTable,
  { signal, firstEntryTimeoutMs, runtime }: JoinOptions,
): Promise<void> {
  if (table.size > 0) return Promise.resolve()
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    const timer = runtime.setTimer(() => {
      const waited = `The bridge was reached, but has not told in ${firstEntryTimeoutMs} ms what it is.`
      finish(() =>
        reject(new StickyError('TIMEOUT', `${waited} Try again; restart the bridge if it recurs.`)),
      )
    }, firstEntryTimeoutMs)
    const finish = (settle: () => void) => {
      timer.clear()
      table.removeEventListener('peer:add', onAdd)
      signal.removeEventListener('abort', onAbort)
      settle()
    }
    const onAdd = () => finish(resolve)
    const onAbort = () => finish(() => reject(signal.reason))
    table.addEventListener('peer:add', onAdd)
    signal.addEventListener('abort', onAbort, { once: true })
  })
}
