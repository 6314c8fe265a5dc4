/**
 * Works around a race in @libp2p/webrtc 6.0.33: the dialler waits for 'open' on its `init` data channel, then closes it
 * and waits for 'close'; when the responder was faster the channel has closed already, neither event comes again, and
 * the dial hangs until it times out. Here whoever asks for such an event after the fact is told it.
 */

const INIT_CHANNEL_LABEL = 'init'
const installed = Symbol.for('sticky-pubsub/webrtc-race')

type Host = { RTCPeerConnection?: typeof RTCPeerConnection }

/** Wraps `host.RTCPeerConnection`, once. Must run before @libp2p/webrtc is imported. Does nothing without WebRTC. */
export function installWebRtcRaceFix(host: Host = globalThis): void {
  const Original = host.RTCPeerConnection
  if (Original === undefined || installed in Original) return
  class PeerConnection extends Original {
    static readonly [installed] = true

    override createDataChannel(label: string, init?: RTCDataChannelInit): RTCDataChannel {
      const channel = super.createDataChannel(label, init)
      return label === INIT_CHANNEL_LABEL ? tellLateListeners(channel, this) : channel
    }
  }
  host.RTCPeerConnection = PeerConnection
}

const LOST: readonly RTCPeerConnectionState[] = ['failed', 'closed']

function tellLateListeners(channel: RTCDataChannel, connection: RTCPeerConnection): RTCDataChannel {
  const listen = channel.addEventListener.bind(channel) as EventTarget['addEventListener']
  const isLate = (type: string): boolean => {
    // a connection that is lost must not look like one that opened
    if (type === 'open')
      return ['closing', 'closed'].includes(channel.readyState) && !LOST.includes(connection.connectionState)
    return type === 'close' && channel.readyState === 'closed'
  }
  channel.addEventListener = ((...args: Parameters<EventTarget['addEventListener']>) => {
    listen(...args)
    const [type, listener] = args
    if (listener === null || !isLate(type)) return
    queueMicrotask(() => {
      const event = new Event(type)
      if (typeof listener === 'function') listener.call(channel, event)
      else listener.handleEvent(event)
    })
  }) as RTCDataChannel['addEventListener']
  return channel
}
