import type { Connection } from '@libp2p/interface'
import type { NodeId } from './identity.ts'
import type { ConnectedPeer } from './network.ts'

/** Who is connected, and how: what a person wants to see of a libp2p node. */
export interface PeerView extends ConnectedPeer {
  webrtc: boolean
}

/** One for each peer, by the best of its connections. */
export function peersOf(connections: Connection[]): PeerView[] {
  const peers = new Map<NodeId, PeerView>()
  for (const { remotePeer, remoteAddr } of connections) {
    const nodeId = remotePeer.toString()
    const address = remoteAddr.toString()
    const webrtc = address.includes('/webrtc')
    const direct = webrtc || !address.includes('/p2p-circuit')
    const known = peers.get(nodeId)
    peers.set(nodeId, {
      nodeId,
      direct: direct || known?.direct === true,
      webrtc: webrtc || known?.webrtc === true,
    })
  }
  return [...peers.values()]
}
