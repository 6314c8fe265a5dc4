import type { BridgeNumbers } from './metrics.ts'
import type { BridgeLimits } from './options.ts'
import type { RelayLimits } from './transports.ts'

/** What a bridge tells of itself: the numbers of /metrics with the bounds beside them. No peer and no address is named. */
export interface BridgeDiagnostics {
  /** ms since the Unix epoch. */
  asOf: number
  /** `startedAt`: all counts began at 0 then. */
  node: { nodeId: string; startedAt: number; uptimeMs: number }
  admission: {
    admitted: number
    challenges: { accepted: number; pending: number; refused: Record<string, number> }
  }
  connections: { libp2p: number; pipes: number }
  relay: { reservations: number; refusedReservations: number; circuits: number; refusedCircuits: number }
  /** What is kept, against the most that it may be. */
  bounds: Record<string, { held: number; limit: number }>
}

export interface BridgeDiagnosticsParts {
  nodeId: string
  startedAt: number
  uptimeMs: number
  numbers: BridgeNumbers
  limits: BridgeLimits
  relay: RelayLimits
}

export function bridgeDiagnostics(parts: BridgeDiagnosticsParts): BridgeDiagnostics {
  const { nodeId, startedAt, uptimeMs, numbers, limits } = parts
  const { admittedPeers, challengesAccepted, challengesPending, pipes, reservations } = numbers
  const bound = (held: number, limit: number) => ({ held, limit })
  return {
    asOf: startedAt + Math.floor(uptimeMs),
    node: { nodeId, startedAt, uptimeMs },
    admission: {
      admitted: admittedPeers,
      challenges: {
        accepted: challengesAccepted,
        pending: challengesPending,
        refused: Object.fromEntries(numbers.refusals),
      },
    },
    connections: { libp2p: numbers.connections, pipes },
    relay: { ...numbers.relay, reservations },
    bounds: {
      admittedPeers: bound(admittedPeers, limits.maxAdmitted),
      challengesPending: bound(challengesPending, limits.maxPending),
      pipes: bound(pipes, limits.maxPipes),
      reservations: bound(reservations, parts.relay.maxReservations),
    },
  }
}
