export type * from './api.ts'
export { DEFAULT_PUBSUB_OPTIONS, LIMITS, type PubSubOptions } from './options.ts'
export { type PubSubInit, StickyPubSub } from './pubsub.ts'
export { topicKeyOf } from './topic-key.ts'
