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
export { createNode, type NodeOptions, type StickyNode } from './node.ts'
export type { NodeRole } from './transports.ts'
