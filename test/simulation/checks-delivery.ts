import { DEFAULT_PUBSUB_OPTIONS } from '../../src/pubsub/options.ts'
import type { Case } from './checker.ts'
import type { EventOf } from './history.ts'

/** I1–I6, I13, I16, I19, I23: what each subscription was given. */

/** After a leave a push may still be under way. */
const LEAVE_SLACK_MS = 2_000
/** A message is not cut off at the moment it expires. */
const EXPIRY_SLACK_MS = 2_000
/** A subscription waits with a message for those before it. */
const HELD_BACK_MS = DEFAULT_PUBSUB_OPTIONS.gapPatienceMs + DEFAULT_PUBSUB_OPTIONS.checkIntervalMs

interface Seen {
  name: string
  /** Who has several subscriptions, one after the other, and is to see each message in one of them. */
  reader: string
  node: string
  joinedMs: number
  leftMs: number | undefined
  deliveries: EventOf<'deliver'>[]
  gaps: EventOf<'gap'>[]
}

export function checkSubscriptions(history: Case): void {
  const subscriptions = collect(history)
  const readers = byReader(subscriptions)
  for (const seen of subscriptions) checkContent(history, seen)
  for (const seen of readers) {
    checkDuplicates(history, seen)
    checkOrder(history, seen)
    if (seen.leftMs === undefined) checkComplete(history, seen)
  }
  checkUnknown(history, readers)
}

/** As if each reader's subscriptions were one, with the joining and leaving of the last. */
function byReader(subscriptions: Seen[]): Seen[] {
  const readers = new Map<string, Seen>()
  for (const seen of subscriptions) {
    const earlier = readers.get(seen.reader)
    readers.set(seen.reader, {
      ...seen,
      name: seen.reader,
      deliveries: [...(earlier?.deliveries ?? []), ...seen.deliveries],
      gaps: [...(earlier?.gaps ?? []), ...seen.gaps],
    })
  }
  return [...readers.values()]
}

function collect(history: Case): Seen[] {
  const byName = new Map<string, Seen>()
  for (const event of history.events) {
    if (event.type === 'subscribed') {
      const { subscription: name, node, atMs: joinedMs, reader = name } = event
      byName.set(name, { name, reader, node, joinedMs, leftMs: undefined, deliveries: [], gaps: [] })
    } else if (event.type === 'left') {
      const seen = byName.get(event.subscription)
      if (seen !== undefined) seen.leftMs = event.atMs
    } else if (event.type === 'deliver') byName.get(event.subscription)?.deliveries.push(event)
    else if (event.type === 'gap') byName.get(event.subscription)?.gaps.push(event)
  }
  return [...byName.values()]
}

function checkDuplicates(history: Case, { name, deliveries }: Seen): void {
  const seen = new Set<string>()
  for (const { token, id, atMs } of deliveries) {
    if (seen.has(id) || seen.has(token)) history.violate('I2', atMs, `${name} got ${token} twice`)
    seen.add(id).add(token)
  }
}

/** In each writer's order; a number may come late only after the gap it left was told. */
function checkOrder(history: Case, { name, deliveries, gaps }: Seen): void {
  const newest = new Map<string, number>()
  for (const delivery of deliveries) {
    const { publisher, writer, sequence, atMs, token } = delivery
    const key = `${publisher}/${writer}`
    const last = newest.get(key) ?? 0
    if (sequence <= last && !gaps.some((gap) => gap.atMs <= atMs && covers(gap, delivery)))
      history.violate('I4', atMs, `${name} got ${token} (#${sequence}) after #${last} of the same writer`)
    newest.set(key, Math.max(last, sequence))
  }
}

interface Place {
  publisher: string
  writer: string
  sequence: number
}

const covers = (gap: EventOf<'gap'>, { publisher, writer, sequence }: Place): boolean =>
  gap.publisher === publisher &&
  gap.writer === writer &&
  gap.fromSequence <= sequence &&
  sequence <= gap.toSequence

function checkContent(history: Case, { name, deliveries, leftMs, joinedMs }: Seen): void {
  const { skewMs } = history.settings
  for (const { token, data, publisher, atMs, expiresAtMs } of deliveries) {
    const attempt = history.attempts.get(token)
    if (attempt === undefined || attempt.event.publisher !== publisher || attempt.event.atMs > atMs)
      history.violate('I5', atMs, `${name} got ${token}, which ${publisher.slice(-6)} never published`)
    else if (attempt.event.data !== data) history.violate('I5', atMs, `${name} got ${token} altered`)
    if (attempt?.outcome?.type === 'fail')
      history.violate('I16', atMs, `${name} got ${token}, which was refused (${attempt.outcome.code})`)
    if (atMs > expiresAtMs + 2 * skewMs + EXPIRY_SLACK_MS)
      history.violate(
        'I6',
        atMs,
        `${name} got ${token} ${Math.round(atMs - expiresAtMs)} ms after it expired`,
      )
    if (leftMs !== undefined && atMs > leftMs + LEAVE_SLACK_MS)
      history.violate('I13', atMs, `${name} got ${token} after it had left`)
    if (atMs < joinedMs) history.violate('I13', atMs, `${name} got ${token} before it had joined`)
  }
}

/** Everything acknowledged arrived, in time; what did not was at least told as a gap. */
function checkComplete(history: Case, { name, deliveries, gaps, joinedMs }: Seen): void {
  const { settleMs } = history.settings
  const arrivals = new Map(deliveries.map((delivery) => [delivery.token, delivery.atMs]))
  for (const { attempt, ack } of history.ackedAndAlive(history.endMs)) {
    const invariant = joinedMs > ack.atMs ? 'I3' : 'I1'
    const dueMs = Math.max(history.healMs, ack.atMs, joinedMs) + settleMs
    const { token } = attempt
    const arrivedMs = arrivals.get(token)
    if (dueMs > history.endMs && arrivedMs === undefined) continue
    if (arrivedMs === undefined) {
      history.violate(
        invariant,
        dueMs,
        `${name} never got ${token} (${ack.writer.slice(0, 4)}#${ack.sequence})`,
      )
      const place = { publisher: attempt.publisher, writer: ack.writer, sequence: ack.sequence }
      if (!gaps.some((gap) => covers(gap, place)))
        history.violate('I23', dueMs, `${name} was not told that ${token} is missing`)
    } else if (arrivedMs > dueMs)
      history.violate(
        invariant,
        arrivedMs,
        `${name} got ${token} ${Math.round(arrivedMs - dueMs)} ms too late`,
      )
  }
}

/**
 * What nobody could vouch for is there for everybody or for nobody. But a replica shows what its own disk has, and when all
 * the disks that had it are lost before a majority got it, nobody can bring it to those that have not seen it.
 */
function checkUnknown(history: Case, subscriptions: Seen[]): void {
  const live = subscriptions.filter(
    ({ leftMs, joinedMs }) => leftMs === undefined && joinedMs < history.healMs,
  )
  const got = new Map(
    live.map((seen) => [seen.name, new Map(seen.deliveries.map(({ token, atMs }) => [token, atMs]))]),
  )
  const lastLossMs = Math.max(...history.of('disk-lost').map(({ atMs }) => atMs))
  const replicas = history.of('replica').map((event) => ({
    name: event.node,
    tokens: new Set(event.messages.map((message) => message.token)),
  }))
  for (const { event, outcome } of history.attempts.values()) {
    if (
      outcome?.type !== 'unknown' ||
      event.atMs + event.ttlMs - 2 * history.settings.skewMs <= history.endMs
    )
      continue
    const holders = replicas.filter(({ tokens }) => tokens.has(event.token))
    const readers = live.filter(({ name }) => got.get(name)?.has(event.token))
    const isAll = holders.length === replicas.length && readers.length === live.length
    if (holders.length + readers.length === 0 || isAll) continue
    const isFromBefore = readers.every(
      ({ name }) => (got.get(name)?.get(event.token) ?? 0) <= lastLossMs + HELD_BACK_MS,
    )
    if (holders.length === 0 && event.atMs <= lastLossMs && isFromBefore) continue
    history.violate(
      'I19',
      history.endMs,
      `${event.token} (unknown) is at ${holders.length}/${replicas.length} replicas and ${readers.length}/${live.length} subscribers`,
    )
  }
}
