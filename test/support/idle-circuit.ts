import { lpStream } from '@libp2p/utils'
import { hopConnect, requireHopOk } from '../../src/browser/light-messages.ts'
import { type DhtLibp2p, HOP_PROTOCOL } from '../../src/dht/index.ts'

/** Has the one relay that a node is connected to open a circuit to a peer, and says nothing over it. */
export async function openIdleCircuit(libp2p: DhtLibp2p, nodeId: string): Promise<void> {
  const [connection] = libp2p.getConnections()
  const stream = await connection?.newStream(HOP_PROTOCOL, { maxOutboundStreams: 100 })
  if (stream === undefined) throw new Error('There is no connection to the relay.')
  const messages = lpStream(stream)
  await messages.write(hopConnect(nodeId))
  requireHopOk((await messages.read()).subarray())
}
