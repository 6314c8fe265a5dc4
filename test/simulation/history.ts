import type { Flows } from './flows.ts'
import type { World } from './world.ts'

/** What happened in a run, as its nodes and an all-seeing observer saw it. The checker reads nothing else. */

export interface Delivered {
  token: string
  id: string
  publisher: string
  writer: string
  sequence: number
  /** Virtual ms, by the publisher's clock. */
  expiresAtMs: number
  /** Checksum of the data. */
  data: string
}

/** What a node has under way: amid the load, and when it has come to rest. */
export interface Resources {
  waitingPublishes: number
  queuedTopics: number
  pendingRequests: number
  waitingConfirms: number
  attachedSubscribers: number
  /** Peers that it knows to be linked with, and the links that it has. */
  peers: number
  links: number
  timers: number
  /** What was begun, has ended and is under way since the process started. */
  flows: Flows
}

/** A block that is not what its name says, or that its kind refuses for another reason. */
export interface BadBlock {
  name: string
  isIntact: boolean
  refusal: string | undefined
}

export type HistoryEvent = {
  atMs: number
} /** From `expiry` on nobody publishes or is subscribed, and time passes until all has expired. */ & (
  | { type: 'phase'; phase: 'faults' | 'heal' | 'quiet' | 'end' | 'expiry' }
  | {
      type: 'attempt'
      token: string
      publisher: string
      data: string
      ttlMs: number
      deadlineMs: number
    }
  | { type: 'ack'; token: string; id: string; writer: string; sequence: number; replicas: number }
  /** The publisher was told that it is not, and never will be, stored. */
  | { type: 'fail'; token: string; code: string }
  /** It may or may not appear; also when the publisher died before it heard. */
  | { type: 'unknown'; token: string; code: string }
  /** `reader`: what it was given counts together with what earlier subscriptions of the same reader were. */
  | { type: 'subscribed'; subscription: string; node: string; reader?: string; isResumed?: boolean }
  | {
      type: 'left'
      subscription: string
      node: string
      how: 'unsubscribed' | 'closed' | 'crashed' | 'unsure'
    }
  | ({ type: 'deliver'; subscription: string } & Delivered)
  | {
      type: 'gap'
      subscription: string
      publisher: string
      writer: string
      fromSequence: number
      toSequence: number
    }
  | { type: 'advance'; node: string; version: number; before: number; bytes: number; head: string }
  | { type: 'boot'; node: string; version: number }
  /** From here on its promises begin anew. */
  | { type: 'disk-lost'; node: string }
  /** What an attacker did, by name. */
  | { type: 'attack'; counts: Record<string, number> }
  /** It can neither hear nor answer for so long. */
  | { type: 'paused'; publisher: string; forMs: number }
  /** What one replica of the final set holds once all is quiet. */
  | { type: 'replica'; node: string; head: string; messages: Delivered[] }
  /** What a node that was never there before reads at the end. */
  | { type: 'fresh'; messages: Delivered[] }
  | { type: 'subscribers'; nodes: string[] }
  | ({ type: 'resources'; node: string; moment: 'load' | 'rest' } & Resources)
  /** All blocks on one disk were looked at; `hidden` are those that it corrupted and nobody has read since. */
  | { type: 'disk'; node: string; blocks: number; hidden: number; bad: BadBlock[] }
  /** What one node has of records once everything in them has expired. */
  | { type: 'kept'; node: string; before: number; names: string[]; head: string }
  | { type: 'crash'; where: string; text: string }
)

type WithoutTime<T> = T extends unknown ? Omit<T, 'atMs'> : never
export type NewEvent = WithoutTime<HistoryEvent>

export class History {
  readonly events: HistoryEvent[] = []
  readonly #world: World

  constructor(world: World) {
    this.#world = world
  }

  add(event: NewEvent): void {
    this.events.push({ atMs: this.#world.nowMs, ...event } as HistoryEvent)
    this.#world.log('history', describeEvent(event))
  }
}

export const describeCounts = (counts: Record<string, number>): string =>
  Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(', ')

export function describeEvent(event: NewEvent): string {
  switch (event.type) {
    case 'phase':
      return `--- ${event.phase}`
    case 'attempt':
      return `publish ${event.token} by ${event.publisher.slice(-6)}, ttl ${event.ttlMs}`
    case 'ack':
      return `stored ${event.token} as ${event.writer.slice(0, 4)}#${event.sequence} at ${event.replicas}`
    case 'fail':
    case 'unknown':
      return `${event.type} ${event.token}: ${event.code}`
    case 'subscribed':
      return `${event.subscription} subscribed${event.isResumed ? ' with its position' : ''}`
    case 'left':
      return `${event.subscription} ${event.how}`
    case 'deliver':
      return `${event.subscription} got ${event.token} ${event.writer.slice(0, 4)}#${event.sequence}`
    case 'gap':
      return `${event.subscription} gap ${event.writer.slice(0, 4)}#${event.fromSequence}-${event.toSequence}`
    case 'advance':
      return `${event.node} v${event.before} -> v${event.version} ${event.head}`
    case 'boot':
      return `${event.node} boots at v${event.version}`
    case 'disk-lost':
      return `${event.node} lost its disk`
    case 'attack':
      return `an attacker: ${describeCounts(event.counts)}`
    case 'paused':
      return `${event.publisher.slice(-6)} stands still for ${event.forMs} ms`
    case 'replica':
      return `${event.node} holds ${event.messages.length} messages, head ${event.head}`
    case 'fresh':
      return `a fresh node reads ${event.messages.length} messages`
    case 'subscribers':
      return `${event.nodes.length} subscribers listed`
    case 'resources':
      return `${event.node} at ${event.moment}: ${event.waitingPublishes} publishes, ${event.pendingRequests} requests, ${event.links} links to ${event.peers}, ${event.timers} timers`
    case 'disk':
      return `${event.node} has ${event.blocks} blocks on disk, ${event.hidden} corrupted, ${event.bad.length} wrong`
    case 'kept':
      return `${event.node} has ${event.names.length} of ${event.before} entries left`
    case 'crash':
      return `error in ${event.where}: ${event.text}`
  }
}

export type EventOf<T extends HistoryEvent['type']> = Extract<HistoryEvent, { type: T }>

export const ofType = <T extends HistoryEvent['type']>(events: HistoryEvent[], type: T): EventOf<T>[] =>
  events.filter((event): event is EventOf<T> => event.type === type)
