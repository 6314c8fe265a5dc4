import { PING_PROTOCOL } from '@libp2p/ping'
import { type DhtLibp2p, isTimeout, isWebRtc } from '../dht/index.ts'

/**
 * Whether those that a tab is connected to are still there. Without a bridge another tab can hardly be dialled again, and a
 * network that is gone the browser notices by itself. So one is cut for its silence only where others are heard: where
 * nobody is, it may be this page that is slow.
 */

type Connection = ReturnType<DhtLibp2p['getConnections']>[number]

/** Between two rounds of asking, each of which takes no longer: who stands still is noticed after 20 to 40 s. */
const ROUND_MS = 20_000

/** For as long as the node runs, every `roundMs`. In place of libp2p's own monitor, which cuts whatever is silent. */
export function keepAlive(libp2p: DhtLibp2p, roundMs = ROUND_MS): void {
  const timer = setInterval(() => {
    // while it stops, its connections are closed, not cut
    if (libp2p.status === 'started') void dropDeadConnections(libp2p, AbortSignal.timeout(roundMs), 'anybody')
  }, roundMs)
  libp2p.addEventListener('stop', () => clearInterval(timer))
}

/**
 * Asks over every open connection, and cuts those that are broken, or gave no answer until `signal` aborts: to other tabs
 * only if `witness` has answered. A server has other things to do than tabs that woke up with this one, and answers sooner.
 * Resolves with whether any that was silent stayed. Where the signal was aborted by a stop, silence says nothing.
 */
export async function dropDeadConnections(
  libp2p: DhtLibp2p,
  signal: AbortSignal,
  witness: 'a server' | 'anybody',
): Promise<boolean> {
  const open = libp2p.getConnections().filter(({ status }) => status === 'open')
  const answerOf = async (connection: Connection) => {
    const answer = await ask(connection, signal)
    if (answer === 'broken') cut(connection)
    return answer
  }
  const answers = await Promise.all(open.map(answerOf))
  if (signal.aborted && !isTimeout(signal)) return false
  // what answers through a relay is a tab
  const isServer = (connection: Connection) => connection.limits === undefined && !isWebRtc(connection)
  const isWitness = (connection: Connection) => witness === 'anybody' || isServer(connection)
  const isHeard = open.some((connection, index) => answers[index] === 'answered' && isWitness(connection))
  const silent = open.filter((_, index) => answers[index] === 'silent')
  const dead = isHeard ? silent : silent.filter((connection) => !isWebRtc(connection))
  for (const connection of dead) cut(connection)
  return dead.length < silent.length
}

const cut = (connection: Connection) => connection.abort(new Error('The connection gave no sign of life.'))

/** Whether the other side answers over it until `signal` aborts. Never rejects. */
export const isAlive = async (connection: Connection, signal: AbortSignal): Promise<boolean> =>
  (await ask(connection, signal)) === 'answered'

/** Errors that come of what the other side has answered. */
const ANSWERS = ['UnsupportedProtocolError', 'TooManyOutboundProtocolStreamsError', 'StreamResetError']

async function ask(connection: Connection, signal: AbortSignal): Promise<'answered' | 'broken' | 'silent'> {
  try {
    // that both agree on a protocol takes an answer, over a relay too
    const stream = await connection.newStream(PING_PROTOCOL, { signal, runOnLimitedConnection: true })
    stream.close({ signal }).catch((error: Error) => stream.abort(error))
    return 'answered'
  } catch (error) {
    if (ANSWERS.includes((error as Error).name)) return 'answered'
    return signal.aborted ? 'silent' : 'broken'
  }
}
