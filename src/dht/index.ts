export * from './bootstrap.ts'
export { MAX_DEPTH } from './canonical.ts'
export * from './challenge.ts'
export * from './challenge-bytes.ts'
export { Cleanups } from './cleanups.ts'
export { byPreference, choose, distanceBetween, type Ranked } from './closest.ts'
export * from './codec.ts'
export * from './dht.ts'
export * from './errors.ts'
export { ForwardingStorage } from './forwarding-storage.ts'
export * from './group-writer.ts'
export { holdRecords } from './holding.ts'
export * from './identity.ts'
export * from './identity-backup.ts'
export * from './invitation.ts'
export * from './keyspace.ts'
export * from './kinds.ts'
export * from './libp2p.ts'
export { ASKED, boundAnswers } from './libp2p-answers.ts'
export { HOP_PROTOCOL, relayServer, relayTransport } from './libp2p-circuit.ts'
export { DialBackoff } from './libp2p-dial-backoff.ts'
export { boundIntroductions, introductions, SIGNALLING_PROTOCOL } from './libp2p-introduce.ts'
export * from './libp2p-join.ts'
export { linkOver, StreamLink } from './libp2p-link.ts'
export { NEEDED_VALUE } from './libp2p-needed.ts'
export { keepNewest } from './libp2p-newest.ts'
export { sparingNoise } from './libp2p-noise.ts'
export { boundPeerStore } from './libp2p-peer-store.ts'
export { isWebRtc, type PeerView, peersOf } from './libp2p-peers.ts'
export { listenOnRelay } from './libp2p-relay.ts'
export * from './libp2p-services.ts'
export { sparingYamux } from './libp2p-yamux.ts'
export { isLocalRequest, isLoopbackName } from './local-request.ts'
export {
  BUCKET_PEERS,
  DEFAULT_LOOK_UP_OPTIONS,
  type Finder,
  type FindRequest,
  type Found,
  findInEach,
  type LookUpOptions,
  LookUps,
} from './look-ups.ts'
export * from './measured-storage.ts'
export * from './measures.ts'
export * from './memory-storage.ts'
export * from './network.ts'
export * from './options.ts'
export { bytesOfPassphrase, PASSPHRASE_ITERATIONS } from './passphrase-key.ts'
export { GOOD_SCORE, MAX_SCORED } from './peer-scores.ts'
export { type Quota, RateLimiter } from './rate-limit.ts'
export type { HeldRecord } from './record.ts'
export type { Advance } from './record-store.ts'
export {
  type Acknowledgement,
  type CommitOutcome,
  type CommitRequest,
  type CooledPeer,
  type HeadAnswer,
  MAX_DOWN,
  type ReplicaSetView,
  type SignedByHolder,
} from './replicas.ts'
export type { MethodCounts, RpcCounters } from './rpc-counters.ts'
export * from './runtime.ts'
export * from './storage.ts'
export { endingOnAbort } from './websocket-abort.ts'
export { hardenedListeners, loopbackPortOf } from './websocket-listener.ts'
export { MAX_SIGNED_BYTES, method, WIRE_VERSION } from './wire.ts'
