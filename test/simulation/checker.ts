import { checkSubscriptions } from './checks-delivery.ts'
import { checkDisks, checkKept } from './checks-disk.ts'
import { checkFlows, checkResources } from './checks-resources.ts'
import { checkPublishers, checkReplicas, checkSubscriberList } from './checks-state.ts'
import { type EventOf, type HistoryEvent, ofType } from './history.ts'

/** Whether a history keeps the invariants. Pure: the same history gives the same verdict. */

export interface CheckerSettings {
  /** How far clocks are off in this run, at most. */
  skewMs: number
  /** Everything is to be right this long after the last fault was lifted. */
  settleMs: number
  /** The longest time between two sweeps. */
  sweepMs: number
  /** Until this phase publishes are stored quickly. */
  quickUntil: 'faults' | 'heal'
}

export interface Violation {
  invariant: string
  atMs: number
  text: string
}

export const DEFAULT_CHECKER_SETTINGS: CheckerSettings = {
  skewMs: 0,
  settleMs: 15_000,
  sweepMs: 30_000,
  quickUntil: 'faults',
}

export interface Attempt {
  event: EventOf<'attempt'>
  outcome: EventOf<'ack' | 'fail' | 'unknown'> | undefined
}

/** The history by what the checks ask for. */
export class Case {
  readonly events: HistoryEvent[]
  /** From where on nobody uses the topic and everything in it expires; what comes there is no part of `events`. */
  readonly afterwards: HistoryEvent[]
  readonly settings: CheckerSettings
  readonly attempts = new Map<string, Attempt>()
  readonly violations: Violation[] = []
  readonly endMs: number
  readonly healMs: number

  constructor(events: HistoryEvent[], settings: CheckerSettings) {
    const expiryAt = events.findIndex((event) => event.type === 'phase' && event.phase === 'expiry')
    this.afterwards = expiryAt < 0 ? [] : events.slice(expiryAt)
    this.events = expiryAt < 0 ? events : events.slice(0, expiryAt)
    this.settings = settings
    for (const event of this.events) {
      if (event.type === 'attempt') this.attempts.set(event.token, { event, outcome: undefined })
      if (event.type === 'ack' || event.type === 'fail' || event.type === 'unknown') {
        const attempt = this.attempts.get(event.token)
        if (attempt !== undefined && attempt.outcome === undefined) attempt.outcome = event
      }
    }
    this.endMs = this.events.at(-1)?.atMs ?? 0
    this.healMs = this.phaseMs('heal') ?? 0
  }

  of<T extends HistoryEvent['type']>(type: T): EventOf<T>[] {
    return ofType(this.events, type)
  }

  phaseMs(phase: string): number | undefined {
    return this.of('phase').find((event) => event.phase === phase)?.atMs
  }

  /** Acknowledged messages, with the moment of acknowledgement, that nobody may have let go of at `atMs`. */
  ackedAndAlive(atMs: number): { attempt: EventOf<'attempt'>; ack: EventOf<'ack'> }[] {
    const out: { attempt: EventOf<'attempt'>; ack: EventOf<'ack'> }[] = []
    for (const { event, outcome } of this.attempts.values()) {
      if (outcome?.type !== 'ack') continue
      if (event.atMs + event.ttlMs - 2 * this.settings.skewMs > atMs)
        out.push({ attempt: event, ack: outcome })
    }
    return out
  }

  violate(invariant: string, atMs: number, text: string): void {
    this.violations.push({ invariant, atMs, text })
  }
}

export function check(events: HistoryEvent[], settings: Partial<CheckerSettings> = {}): Violation[] {
  const history = new Case(events, { ...DEFAULT_CHECKER_SETTINGS, ...settings })
  checkSubscriptions(history)
  checkPublishers(history)
  checkReplicas(history)
  checkSubscriberList(history)
  checkDisks(history)
  checkKept(history)
  checkResources(history)
  checkFlows(history)
  return history.violations
}
