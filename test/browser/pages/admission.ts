import { multiaddr } from '@multiformats/multiaddr'
import { createBrowserNode } from '../../../src/browser/node.ts'
import type { NodeStatus } from '../../../src/browser/status.ts'
import { createBrowserLibp2p, useRelay } from '../../../src/browser/transports.ts'
import {
  createLibp2pNetwork,
  type DhtLibp2p,
  enterBridge,
  type Identity,
  identityFromSeed,
  LINK_PROTOCOL,
  StickyError,
} from '../../../src/dht/index.ts'
import { dialInTurn } from './dial-in-turn.ts'
import { peerConnections } from './peer-connections.ts'

/** What the tests in admission.test.ts call inside the page. Results are plain values. */

const { createOffer } = RTCPeerConnection.prototype

const nodes: DhtLibp2p[] = []
let network: ReturnType<typeof createLibp2pNetwork> | undefined
let held = { answers: 0, goOn: () => {} }
const silent = { onFrame() {}, onClose() {} }
const seedOf = (value: number) => new Uint8Array(32).fill(value)

/** An identity that signs something else than it is asked to. */
const forging = (identity: Identity): Identity => ({
  nodeId: identity.nodeId,
  publicKey: identity.publicKey,
  sign: (bytes) => identity.sign(bytes.map((byte) => byte ^ 1)),
})

const told = (error: unknown): string =>
  error instanceof StickyError ? `${error.code}: ${error.message}` : String(error)

export const fixture = {
  async nodeId(value: number): Promise<string> {
    return (await identityFromSeed(seedOf(value))).nodeId
  },

  /** Takes the challenge; 'admitted', or the code and text of the refusal. */
  async enter(bridgeUrl: string, value: number, isHonest: boolean, invitation?: string): Promise<string> {
    const identity = await identityFromSeed(seedOf(value))
    const shown = invitation === undefined ? {} : { invitation }
    return enterBridge(bridgeUrl, isHonest ? identity : forging(identity), undefined, shown).then(
      () => 'admitted',
      told,
    )
  },

  /** Starts the tab's libp2p, which asks the relay for a reservation, and tells whether the relay takes its connection. */
  async connect(relay: string, value: number, maxConnections = 50, aliveRoundMs = 20_000): Promise<string> {
    const libp2p = await createBrowserLibp2p({
      seed: seedOf(value),
      rtcConfiguration: { iceServers: [] },
      maxConnections,
      aliveRoundMs,
    })
    nodes.push(libp2p)
    const failure = await useRelay(libp2p, relay).then(
      () => undefined,
      (error: Error) => error,
    )
    if (failure !== undefined) return `refused: ${failure.message}`
    const { ping } = libp2p.services as unknown as { ping: { ping(peer: unknown): Promise<number> } }
    for (;;) {
      const outcome = await ping.ping(multiaddr(relay)).then(
        () => undefined,
        (error: Error) => error,
      )
      if (outcome === undefined) return 'connected'
      // libp2p's own connection monitor has the one stream for this now
      if (outcome.name !== 'TooManyOutboundProtocolStreamsError') return `refused: ${outcome.message}`
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  },

  /** Starts the whole node of a tab; 'joined', or the code and reason of the refusal. */
  async join(bridgeUrl: string, invitation?: string): Promise<string> {
    const attempted = Promise.withResolvers<NodeStatus>()
    const node = await createBrowserNode({
      bridgeUrl,
      rtcConfiguration: { iceServers: [] },
      onStatus: (status) => {
        if (status.state !== 'connecting') attempted.resolve(status)
      },
      ...(invitation === undefined ? {} : { invitation }),
    })
    const { problem } = await attempted.promise
    await node.close()
    return problem === undefined ? 'joined' : `${problem.code} ${problem.reason}`
  },

  /** Where another tab dials this one: by WebRTC, through the relay. */
  webRtcAddresses: (): string[] =>
    nodes.flatMap((libp2p) => libp2p.getMultiaddrs().map(String)).filter((text) => text.includes('/webrtc')),

  dialInTurn: (address: string, count: number) => dialInTurn(nodes[0] as DhtLibp2p, address, count),

  /** From now on every WebRTC connection of this tab fails, until it is allowed again. */
  allowWebRtc(isAllowed: boolean): void {
    const { prototype } = RTCPeerConnection
    prototype.createOffer = isAllowed
      ? createOffer
      : ((() => Promise.reject(new Error('WebRTC is blocked here.'))) as unknown as typeof createOffer)
  },

  /** Tells the test (`onAnswer`) when the other side of a WebRTC connection has answered the offer, and goes on after it. */
  tellAnswer(): void {
    const { prototype } = RTCPeerConnection
    const setRemoteDescription: (description: RTCSessionDescriptionInit) => Promise<void> =
      prototype.setRemoteDescription
    const { onAnswer } = globalThis as unknown as { onAnswer(): Promise<void> }
    prototype.setRemoteDescription = async function (description: RTCSessionDescriptionInit) {
      if (description.type === 'answer') await onAnswer()
      return setRemoteDescription.call(this, description)
    }
  },

  /** From now on the WebRTC connections that this tab makes go no further than the other side's answer, until `goOn`. */
  holdAnswers(): void {
    const { prototype } = RTCPeerConnection
    const setRemoteDescription: (description: RTCSessionDescriptionInit) => Promise<void> =
      prototype.setRemoteDescription
    const released = Promise.withResolvers<void>()
    held = {
      answers: 0,
      goOn() {
        prototype.setRemoteDescription = setRemoteDescription
        released.resolve()
      },
    }
    prototype.setRemoteDescription = async function (description: RTCSessionDescriptionInit) {
      if (description.type === 'answer') {
        held.answers += 1
        await released.promise
      }
      return setRemoteDescription.call(this, description)
    }
  },

  heldAnswers: () => held.answers,

  goOn: () => held.goOn(),

  async dial(address: string): Promise<void> {
    await (nodes[0] as DhtLibp2p).dial(multiaddr(address))
  },

  /** From now on this tab takes links, and can open some. */
  useNetwork(): void {
    network = createLibp2pNetwork({ libp2p: nodes[0] as DhtLibp2p, durable: false, stores: true })
    network.onInboundLink(() => silent)
  },

  /** 'open', or the code of the error. */
  openLink: async (peer: string, timeoutMs: number): Promise<string> => {
    if (network === undefined) throw new Error('useNetwork() comes first')
    return network.openLink(peer, silent, { signal: AbortSignal.timeout(timeoutMs) }).then(
      () => 'open',
      (error: StickyError) => error.code,
    )
  },

  /** Of the connections to a peer: 'direct' or 'relayed'. */
  connectionsTo: (peer: string): string[] =>
    nodes
      .flatMap((libp2p) => libp2p.getConnections())
      .filter(({ remotePeer, status }) => status === 'open' && remotePeer.toString() === peer)
      .map(({ remoteAddr }) => (remoteAddr.toString().includes('/webrtc') ? 'direct' : 'relayed')),

  /** Whether a connection to a peer was opened by this tab. */
  hasDialled: (peer: string): boolean =>
    nodes
      .flatMap((libp2p) => libp2p.getConnections())
      .some(
        (one) => one.direction === 'outbound' && one.status === 'open' && String(one.remotePeer) === peer,
      ),

  /** Connects to a peer, and opens the stream on which frames go. */
  async link(address: string): Promise<void> {
    await (nodes[0] as DhtLibp2p).dialProtocol(multiaddr(address), LINK_PROTOCOL)
  },

  /** What a page closes itself, its libp2p is not told of. */
  breakWebRtc(): void {
    for (const connection of peerConnections.splice(0)) connection.close()
  },

  peers: (): string[] => nodes.flatMap((libp2p) => libp2p.getPeers().map(String)),

  relayedAddresses: (): string[] =>
    nodes
      .flatMap((libp2p) => libp2p.getMultiaddrs().map(String))
      .filter((text) => text.includes('p2p-circuit')),

  async stop(): Promise<void> {
    held.goOn()
    await network?.close()
    network = undefined
    await Promise.all(nodes.splice(0).map((libp2p) => libp2p.stop()))
  },
}

export type AdmissionFixture = typeof fixture

Object.assign(globalThis, { fixture })
