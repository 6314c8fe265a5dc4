import type { ConnectionGater, MultiaddrConnection } from '@libp2p/interface'
import { AddressCounter } from './address-counter.ts'
import { addressGroup } from './address-group.ts'

/**
 * Who has opened a connection here and has not proved a key over it yet. libp2p bounds them in all and refuses everybody
 * above that, so that one address which opens them and says nothing could keep all others out.
 */

/** In all. Each may take ten seconds. */
export const MAX_HANDSHAKES = 1_024
/** An office or a school is one address, and all of them come at once after a restart. */
const MAX_HANDSHAKES_PER_ADDRESS = 128

type Gater = Required<Pick<ConnectionGater, 'denyInboundConnection' | 'denyInboundUpgradedConnection'>>

/** For the connection gater of who listens. */
export function boundHandshakes(): Gater {
  const open = new AddressCounter()
  const ends = new WeakMap<MultiaddrConnection, () => void>()
  return {
    denyInboundConnection(connection) {
      const address = clientOf(connection)
      if (address === undefined) return false
      if (open.of(address) >= MAX_HANDSHAKES_PER_ADDRESS) return true
      const end = open.add(address)
      ends.set(connection, end)
      connection.addEventListener('close', end, { once: true })
      return false
    },
    denyInboundUpgradedConnection(_peer, connection) {
      ends.get(connection)?.()
      return false
    },
  }
}

/** Undefined where it may be that of many: a relay's, or that of a proxy on this machine. */
function clientOf({ remoteAddr }: MultiaddrConnection): string | undefined {
  const text = remoteAddr.toString()
  const [, host = ''] = /^\/ip[46]\/([^/]+)/.exec(text) ?? []
  return text.includes('/p2p-circuit') || host === '127.0.0.1' || host === '::1'
    ? undefined
    : addressGroup(host)
}
