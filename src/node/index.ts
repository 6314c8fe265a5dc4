export { AdmissionRefusedError, asStickyError, type ErrorCode, StickyError } from '../dht/index.ts'
export type * from '../pubsub/index.ts'
export {
  ChannelFailedError,
  cursorOf,
  historyOf,
  inviteTo,
  newTopicSecret,
  openTopic,
  readInvite,
  UnexpectedVersionError,
} from '../pubsub/index.ts'
export { AddressCounter } from './address-counter.ts'
export { addressGroup, addressOf } from './address-group.ts'
export * from './cli.ts'
export { untilAborted } from './commands.ts'
export type { HealthReading } from './health.ts'
export { healthLine } from './health-log.ts'
export * from './identity-store.ts'
export { resolveInvitation } from './invitation.ts'
export * from './node.ts'
export { nodeVersionProblem } from './node-version.ts'
export * from './object-store.ts'
export * from './options.ts'
export * from './output.ts'
export * from './passphrase.ts'
export { createPrivateFile, readPrivateFile } from './private-file.ts'
export * from './run.ts'
