import type { Connection } from '@libp2p/interface'
import type { NodeId } from './identity.ts'
import type { ConnectedPeer } from './network.ts'

/** Who is connected, and how: what a person wants to see of a libp2p node. */
export interface PeerView extends ConnectedPeer {
  webrtc: boolean
}

/** To a tab, or from one. */
export const isWebRtc = ({ remoteAddr }: Connection): boolean => remoteAddr.toString().includes('/webrtc')

/** One for each peer, by the best of its connections. */
export function peersOf(connections: Connection[]): PeerView[] {
  const peers = new Map<NodeId, PeerView>()
  for (const connection of connections) {
    const nodeId = connection.remotePeer.toString()
    const webrtc = isWebRtc(connection)
    const direct = webrtc || !connection.remoteAddr.toString().includes('/p2p-circuit')
    const known = peers.get(nodeId)
    peers.set(nodeId, {
      nodeId,
      direct: direct || known?.direct === true,
      webrtc: webrtc || known?.webrtc === true,
    })
  }
  return [...peers.values()]
}
