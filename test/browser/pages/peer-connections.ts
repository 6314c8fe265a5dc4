/** Every one that is made from now on: import this before the node. The tests close some. */
export const peerConnections: RTCPeerConnection[] = []

globalThis.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(configuration?: RTCConfiguration) {
    super(configuration)
    peerConnections.push(this)
  }
}
