import type { Case } from './checker.ts'
import { type Delivered, type EventOf, ofType } from './history.ts'

/** I7–I9, I12, I14, I17, I20, I22: publishers, replicas, the list of subscribers. */

const MAX_COORDINATOR_BYTES = 1_024
/** A caller hears at its deadline, give or take the event that tells it. */
const DEADLINE_SLACK_MS = 500
/** A number so far beyond the others' is let go of when it meets them (`LIMITS.maxVersionJump`). */
const FORGED_JUMP = 900_000
/** With a majority in reach a publish is stored this soon. */
const QUICK_MS = 2_000

export function checkPublishers(history: Case): void {
  const crashes = [...history.of('crash'), ...ofType(history.afterwards, 'crash')]
  const pauses = history.of('paused')
  for (const { where, text, atMs } of crashes) history.violate('I22', atMs, `error in ${where}: ${text}`)
  for (const { event, outcome } of history.attempts.values()) {
    const { token, atMs, deadlineMs } = event
    const pausedMs = pauses
      .filter((pause) => pause.publisher === event.publisher && pause.atMs + pause.forMs >= atMs)
      .reduce((sum, pause) => sum + pause.forMs, 0)
    const tookMs = (outcome?.atMs ?? history.endMs) - atMs - pausedMs
    if (tookMs > deadlineMs + DEADLINE_SLACK_MS)
      history.violate(
        'I20',
        atMs + tookMs,
        `${token} was not answered within its deadline of ${deadlineMs} ms`,
      )
  }
  checkIds(history)
  checkSpeed(history)
}

/** As long as the schedule asks for it, storing is quick: 99 of 100 within two seconds. */
function checkSpeed(history: Case): void {
  const { quickUntil } = history.settings
  const untilMs = history.phaseMs(quickUntil) ?? 0
  const timed = [...history.attempts.values()].filter(({ event }) => event.atMs < untilMs - QUICK_MS)
  // where it must be quick under an attack, one that was not stored at all took for ever
  const counted = quickUntil === 'heal' ? timed : timed.filter(({ outcome }) => outcome?.type === 'ack')
  const tookMs = counted
    .map(({ event, outcome }) =>
      outcome?.type === 'ack' ? outcome.atMs - event.atMs : Number.POSITIVE_INFINITY,
    )
    .sort((a, b) => a - b)
  const p99 = tookMs[Math.ceil(tookMs.length * 0.99) - 1] ?? 0
  if (p99 > QUICK_MS)
    history.violate(
      'I20',
      untilMs,
      `one publish in 100 takes ${Math.round(p99)} ms though no holder is out of reach`,
    )
}

function checkIds(history: Case): void {
  const byPlace = new Map<string, string>()
  const byToken = new Map<string, string>()
  const note = (
    atMs: number,
    { token, id, publisher, writer, sequence }: Omit<Delivered, 'data' | 'expiresAtMs'>,
  ) => {
    const place = `${publisher}/${writer}#${sequence}`
    for (const [map, key] of [
      [byPlace, place],
      [byToken, token],
    ] as const) {
      const known = map.get(key)
      if (known !== undefined && known !== id) history.violate('I14', atMs, `two messages ${key}`)
      map.set(key, id)
    }
  }
  for (const event of history.events) {
    if (event.type === 'deliver') note(event.atMs, event)
    if (event.type === 'replica' || event.type === 'fresh')
      for (const message of event.messages) note(event.atMs, message)
    if (event.type === 'ack') {
      const publisher = history.attempts.get(event.token)?.event.publisher
      if (publisher !== undefined) note(event.atMs, { ...event, publisher })
    }
  }
}

export function checkReplicas(history: Case): void {
  checkAdvances(history)
  const replicas = history.of('replica')
  const heads = new Set(replicas.map(({ head }) => head))
  if (heads.size > 1) {
    const list = replicas.map(({ node, head }) => `${node}=${head.slice(0, 8)}`).join(' ')
    history.violate('I8', history.endMs, `replicas did not come to one head: ${list}`)
  }
  for (const { node, messages, atMs } of replicas) checkHolds(history, 'I9', node, messages, atMs)
  for (const { messages, atMs } of history.of('fresh'))
    checkHolds(history, 'I3', 'a fresh node', messages, atMs)
}

function checkHolds(
  history: Case,
  invariant: string,
  who: string,
  messages: Delivered[],
  atMs: number,
): void {
  const tokens = new Set<string>()
  for (const { token, data, publisher } of messages) {
    if (tokens.has(token)) history.violate('I2', atMs, `${who} has ${token} twice`)
    tokens.add(token)
    const attempt = history.attempts.get(token)
    if (attempt?.event.publisher !== publisher || attempt.event.data !== data)
      history.violate('I5', atMs, `${who} has ${token}, which nobody published so`)
    if (attempt?.outcome?.type === 'fail') history.violate('I16', atMs, `${who} has the refused ${token}`)
  }
  for (const { attempt } of history.ackedAndAlive(atMs))
    if (!tokens.has(attempt.token)) history.violate(invariant, atMs, `${who} lacks ${attempt.token}`)
}

function checkAdvances(history: Case): void {
  const known = new Map<string, number>()
  const quietMs = history.phaseMs('quiet')
  const endMs = history.phaseMs('end') ?? history.endMs
  let lateWrites: EventOf<'advance'>[] = []
  for (const event of history.events) {
    if (event.type === 'disk-lost') known.delete(event.node)
    if (event.type !== 'advance' && event.type !== 'boot') continue
    const { node, version, atMs } = event
    const before = known.get(node) ?? 0
    if (version < before && before - version < FORGED_JUMP)
      history.violate('I7', atMs, `${node} went back from v${before} to v${version}`)
    known.set(node, before - version < FORGED_JUMP ? Math.max(version, before) : version)
    if (event.type === 'boot') continue
    if (!Number.isSafeInteger(version) || event.bytes > MAX_COORDINATOR_BYTES)
      history.violate('I12', atMs, `${node} has a coordinator of ${event.bytes} bytes, v${version}`)
    if (quietMs !== undefined && atMs > quietMs && atMs < endMs) lateWrites = [...lateWrites, event]
  }
  const last = lateWrites.at(-1)
  if (last !== undefined)
    history.violate(
      'I8',
      last.atMs,
      `${lateWrites.length} coordinator writes while nothing was to be written`,
    )
}

/** Who left is not listed, who stays is. */
export function checkSubscriberList(history: Case): void {
  const lists = history.of('subscribers')
  const states = new Map<string, 'here' | 'left' | 'unsure'>()
  const here = new Map<string, Set<string>>()
  for (const event of history.events) {
    if (event.type !== 'subscribed' && event.type !== 'left') continue
    const live = here.get(event.node) ?? new Set()
    here.set(event.node, live)
    if (event.type === 'subscribed') {
      live.add(event.subscription)
      states.set(event.node, 'here')
    } else {
      live.delete(event.subscription)
      states.set(
        event.node,
        event.how === 'unsubscribed' && live.size === 0 ? 'left' : live.size > 0 ? 'here' : 'unsure',
      )
    }
  }
  for (const { nodes, atMs } of lists) {
    for (const [node, state] of states) {
      if (state === 'left' && nodes.includes(node))
        history.violate('I17', atMs, `${node.slice(-6)} unsubscribed and is still listed`)
      // whose clock is too far off may be refused until it renews
      if (state === 'here' && !nodes.includes(node) && history.settings.skewMs === 0)
        history.violate('I17', atMs, `${node.slice(-6)} is subscribed and not listed`)
    }
  }
}
