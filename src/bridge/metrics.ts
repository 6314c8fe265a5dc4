import { Gauge, Registry } from 'prom-client'
import type { RelayCounters } from './relay-guard.ts'

/** What /metrics and /health tell. Gauges read their value when they are asked, so nothing is counted twice. */
export interface BridgeNumbers {
  admittedPeers: number
  challengesAccepted: number
  challengesPending: number
  refusals: ReadonlyMap<string, number>
  pipes: number
  connections: number
  reservations: number
  relay: RelayCounters
}

export function createMetrics(read: () => BridgeNumbers): Registry {
  const registry = new Registry()
  const gauge = (name: string, help: string, value: (numbers: BridgeNumbers) => number) =>
    new Gauge({
      name: `sticky_bridge_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(value(read()))
      },
    })
  gauge('admitted_peers', 'Peers admitted by a passed challenge', (numbers) => numbers.admittedPeers)
  gauge('challenges_accepted', 'Challenges passed since the start', (numbers) => numbers.challengesAccepted)
  gauge('challenges_pending', 'Challenge sockets open now', (numbers) => numbers.challengesPending)
  gauge('pipes', 'Libp2p sockets piped now', (numbers) => numbers.pipes)
  gauge('connections', 'Libp2p connections now', (numbers) => numbers.connections)
  gauge('relay_reservations', 'Relay reservations now', (numbers) => numbers.reservations)
  gauge('relay_circuits', 'Relayed circuits let through since the start', ({ relay }) => relay.circuits)
  gauge('relay_circuits_refused', 'Circuits above a limit', ({ relay }) => relay.refusedCircuits)
  gauge('relay_reservations_refused', 'Reservations above a limit', ({ relay }) => relay.refusedReservations)
  new Gauge({
    name: 'sticky_bridge_challenges_refused',
    help: 'Challenges refused since the start, by reason',
    labelNames: ['code'],
    registers: [registry],
    collect() {
      for (const [code, count] of read().refusals) this.set({ code }, count)
    },
  })
  return registry
}
