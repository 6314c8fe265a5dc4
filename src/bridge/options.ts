/** Every number of this room, with its unit in the name and its reason beside it. */
export interface BridgeLimits {
  /** From opening a challenge socket to its end. */
  authDeadlineMs: number
  /** A challenge is answered within this, by a clock that does not jump (requirement B2). */
  challengeMs: number
  /** Challenge sockets open at once, per address and in all: half-open ones cost the bridge nothing more. */
  maxPendingPerAddress: number
  maxPending: number
  /** The same, counting also the sockets that are being told why they are refused. Above it there is no answer in words. */
  maxChallengeSocketsPerAddress: number
  maxChallengeSockets: number
  /** How long a client may take to answer the close of its challenge socket. */
  challengeCloseMs: number
  /** Challenges one address may start: at once, and refilled per second. */
  challengeBurst: number
  challengesPerSecond: number
  /** Challenges one node id may pass: at once, and refilled per second. */
  identityChallengeBurst: number
  identityChallengesPerSecond: number
  /** How long a passed challenge admits, and for how many peers at once; then some that are not connected are forgotten. */
  admissionMs: number
  maxAdmitted: number
  /** Libp2p sockets piped at once, per address and in all. */
  maxPipesPerAddress: number
  maxPipes: number
  /** Libp2p sockets one address may open: at once, and refilled per second. */
  pipeBurst: number
  pipesPerSecond: number
  /** From opening a libp2p socket to having proved a key over it. */
  pipeDeadlineMs: number
  /** TCP connections of the public port at once, whatever they are for, per address and in all. Above it they are cut. */
  maxConnectionsPerAddress: number
  maxConnections: number
  /** HTTP requests one address may make: at once, and refilled per second. */
  requestBurst: number
  requestsPerSecond: number
  /** A client that takes nothing of an answer for so long is cut: it holds one of the connections above. */
  answerIdleMs: number
  /** Uses of limited invitations remembered at once, until a day after each expired. */
  maxInvitationUses: number
  /** How often connections of peers whose admission is over are looked for, and ended. */
  lapseCheckMs: number
  /** One websocket message of a piped socket; noise sends at most 64 KiB at a time. */
  maxPipedMessageBytes: number
  /** On shutdown, how long open sockets may take to finish. */
  drainMs: number
}

export const DEFAULT_BRIDGE_LIMITS: BridgeLimits = {
  authDeadlineMs: 5_000,
  challengeMs: 30_000,
  maxPendingPerAddress: 50,
  maxPending: 500,
  maxChallengeSocketsPerAddress: 100,
  maxChallengeSockets: 1_000,
  challengeCloseMs: 1_000,
  challengeBurst: 100,
  challengesPerSecond: 10,
  identityChallengeBurst: 60,
  identityChallengesPerSecond: 1,
  admissionMs: 24 * 3_600_000,
  maxAdmitted: 10_000,
  maxPipesPerAddress: 500,
  maxPipes: 5_000,
  pipeBurst: 200,
  pipesPerSecond: 20,
  pipeDeadlineMs: 10_000,
  maxConnectionsPerAddress: 700,
  maxConnections: 8_000,
  requestBurst: 300,
  requestsPerSecond: 50,
  answerIdleMs: 30_000,
  maxInvitationUses: 10_000,
  lapseCheckMs: 60_000,
  maxPipedMessageBytes: 1024 * 1024,
  drainMs: 2_000,
}
