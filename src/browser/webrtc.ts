/** The one part of @libp2p/webrtc that a tab uses; a dynamic import of the whole would keep all of it in the bundle. */
export { webRTC } from '@libp2p/webrtc'
