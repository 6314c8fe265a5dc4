import { expect, it } from 'vitest'
import { DEFAULT_BRIDGE_LIMITS } from '../../src/bridge/options.ts'
import { DEFAULT_PUBSUB_OPTIONS, LIMITS } from '../../src/pubsub/options.ts'

/** Where the requirements give a number, it is the default; written out here, so that it cannot change unnoticed. */

const KIB = 1_024
const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS

it.each([
  ['A2', 'a coordinator has at most 1 KiB', LIMITS.maxCoordinatorBytes, KIB],
  ['A3', 'objects stay an hour after the latest expiry inside', LIMITS.graceMs, HOUR_MS],
  ['A5', 'a commit is tried again after 100 ms', DEFAULT_PUBSUB_OPTIONS.retryMs, 100],
  ['A5', 'and after 30 s at most', DEFAULT_PUBSUB_OPTIONS.maxRetryMs, 30_000],
  ['A8', 'a topic is RECOVERING after 10 failed merges', DEFAULT_PUBSUB_OPTIONS.maxFailedMerges, 10],
  ['A10', 'the version is checked every 5 s', DEFAULT_PUBSUB_OPTIONS.checkIntervalMs, 5_000],
  ['A12', 'a subscription lives 30 minutes', LIMITS.subscriptionTtlMs, 30 * MINUTE_MS],
  ['A12', 'and is renewed at half of that', DEFAULT_PUBSUB_OPTIONS.renewMs, 15 * MINUTE_MS],
  ['A12', 'a clock may be off by 5 minutes', LIMITS.maxSkewMs, 5 * MINUTE_MS],
  ['B2', 'a challenge is 30 s old at most', DEFAULT_BRIDGE_LIMITS.challengeMs, 30_000],
  ['C2', 'the outbox makes 5 attempts', DEFAULT_PUBSUB_OPTIONS.outboxAttempts, 5],
  ['C2', 'after 2 s, doubling', DEFAULT_PUBSUB_OPTIONS.outboxRetryMs, 2_000],
  ['C2', 'up to 60 s', DEFAULT_PUBSUB_OPTIONS.maxOutboxRetryMs, 60_000],
  ['E1', 'a message has 10 KiB of data inside', LIMITS.maxInlineBytes, 10 * KIB],
  ['E1', 'a topic has 1,000 subscribers', LIMITS.maxSubscribers, 1_000],
  ['F6', 'a member says every 15 s that it is here', LIMITS.presenceHeartbeatMs, 15_000],
])('%s: %s', (_requirement, _what, is, wanted) => {
  expect(is).toBe(wanted)
})

it('C5, F6: 50,000 messages are kept, by whole pages of 64, and who crashed has gone after 30 s', () => {
  expect(LIMITS.pageEntries).toBe(64)
  expect(LIMITS.keptPages).toBe(Math.ceil(50_000 / 64))
  expect(LIMITS.presenceExpiryMs).toBeGreaterThan(2 * 12_000)
  expect(LIMITS.presenceExpiryMs).toBeLessThan(30_000)
})
