export type * from './api.ts'
export { StickyPubSub, type PubSubInit } from './pubsub.ts'
export { DEFAULT_PUBSUB_OPTIONS, LIMITS, type PubSubOptions } from './options.ts'
export { topicKeyOf } from './topic-key.ts'
