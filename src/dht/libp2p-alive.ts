import type { Connection } from '@libp2p/interface'
import { isWebRtc } from './libp2p-peers.ts'
import type { DhtLibp2p } from './libp2p-services.ts'

/**
 * Asks every open connection for a sign of life, and cuts those that give none until `signal` aborts. After a sleep the
 * sockets may be dead without anybody having told: libp2p would find out one stream at a time. Where only
 * tabs answer, or nobody, it may be this page that is slow, and those to other tabs stay: without a bridge they cannot be
 * dialled again. Gives whether any that was silent stayed.
 */
export async function dropDeadConnections(libp2p: DhtLibp2p, signal: AbortSignal): Promise<boolean> {
  const open = libp2p.getConnections().filter(({ status }) => status === 'open')
  const answers = await Promise.all(open.map((connection) => isAlive(libp2p, connection, signal)))
  const silent = open.filter((_, index) => !answers[index])
  const isServed = open.some((connection, index) => answers[index] && !isWebRtc(connection))
  const dead = isServed ? silent : silent.filter((connection) => !isWebRtc(connection))
  for (const connection of dead) connection.abort(new Error('The connection gave no sign of life.'))
  return dead.length < silent.length
}

/** Identify is what every peer of ours answers, on a relayed connection too. */
export const isAlive = (libp2p: DhtLibp2p, connection: Connection, signal: AbortSignal): Promise<boolean> =>
  libp2p.services.identify.identify(connection, { signal }).then(
    () => true,
    () => connection.status === 'open' && !signal.aborted, // it answered, if only with a refusal
  )
