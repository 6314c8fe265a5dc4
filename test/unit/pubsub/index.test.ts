import { expect, it } from 'vitest'
import * as entry from '../../../src/pubsub/index.ts'

it('the package offers these names and no others: whatever is offered is there for good', () => {
  expect(Object.keys(entry).toSorted()).toEqual([
    'ChannelFailedError',
    'ClientPubSub',
    'DEFAULT_PUBSUB_OPTIONS',
    'LIMITS',
    'StickyError',
    'StickyPubSub',
    'UnexpectedVersionError',
    'asStickyError',
    'cursorOf',
    'historyOf',
    'inviteTo',
    'newTopicSecret',
    'openTopic',
    'readInvite',
    'topicKeyOf',
  ])
})
