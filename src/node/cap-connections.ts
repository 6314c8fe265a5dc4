import type { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { AddressCounter } from './address-counter.ts'
import { addressGroup, addressOf } from './address-group.ts'

export interface ConnectionCaps {
  maxConnections: number
  maxConnectionsPerAddress: number
  /** Whether the connections of an address may be those of many, as a proxy's are. They count in all, and not as one's. */
  isOfMany(address: string): boolean
}

/**
 * For servers that anybody may connect to, all of which count together. From before a byte is read, since a client that says
 * nothing at all costs a socket too, until the socket closes, since whoever proves a key may prove a thousand.
 */
export function capConnections(caps: ConnectionCaps): (server: EventEmitter) => void {
  const { maxConnections, maxConnectionsPerAddress, isOfMany } = caps
  const open = new AddressCounter()
  return (server) => {
    server.on('connection', (socket: Socket) => {
      const address = addressGroup(socket.remoteAddress)
      const isAboveOwn =
        open.of(address) >= maxConnectionsPerAddress && !isOfMany(addressOf(socket.remoteAddress))
      if (isAboveOwn || open.total >= maxConnections) socket.destroy()
      else socket.on('close', open.add(address))
    })
  }
}
