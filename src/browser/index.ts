export {
  AdmissionRefusedError,
  asStickyError,
  type ErrorCode,
  placeOfKey,
  placeOfNode,
  StickyError,
} from '../dht/index.ts'
export type * from '../pubsub/index.ts'
export {
  ChannelFailedError,
  cursorOf,
  historyOf,
  inviteTo,
  newTopicSecret,
  openTopic,
  readInvite,
  topicKeyOf,
  UnexpectedVersionError,
} from '../pubsub/index.ts'
export * from './node.ts'
export type { NodeStatus, Problem } from './status.ts'
export type { StorageState } from './storage-state.ts'
export { DEFAULT_TAB_OPTIONS, type TabOptions } from './tab-frames.ts'
export type { Role } from './tabs.ts'
