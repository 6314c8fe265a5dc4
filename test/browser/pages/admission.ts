import { multiaddr } from '@multiformats/multiaddr'
import { createBrowserNode } from '../../../src/browser/node.ts'
import { createBrowserLibp2p } from '../../../src/browser/transports.ts'
import {
  AdmissionRefusedError,
  type DhtLibp2p,
  enterBridge,
  type Identity,
  identityFromSeed,
  StickyError,
} from '../../../src/dht/index.ts'

/** What the tests in admission.test.ts call inside the page. Results are plain values. */

const nodes: DhtLibp2p[] = []
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
  async connect(relay: string, value: number): Promise<string> {
    const libp2p = await createBrowserLibp2p({
      seed: seedOf(value),
      relay,
      rtcConfiguration: { iceServers: [] },
    }).catch((error: unknown) => error as Error)
    if (libp2p instanceof Error) return `refused: ${libp2p.message}`
    nodes.push(libp2p)
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
    try {
      const node = await createBrowserNode({
        bridgeUrl,
        rtcConfiguration: { iceServers: [] },
        ...(invitation === undefined ? {} : { invitation }),
      })
      await node.close()
      return 'joined'
    } catch (error) {
      return error instanceof AdmissionRefusedError ? `${error.code} ${error.reason}` : told(error)
    }
  },

  relayedAddresses: (): string[] =>
    nodes
      .flatMap((libp2p) => libp2p.getMultiaddrs().map(String))
      .filter((text) => text.includes('p2p-circuit')),

  stop: () => Promise.all(nodes.splice(0).map((libp2p) => libp2p.stop())).then(() => undefined),
}

export type AdmissionFixture = typeof fixture

Object.assign(globalThis, { fixture })
