import { totalOf } from '../../src/dht/index.ts'
import type { StickyPubSub } from '../../src/pubsub/index.ts'

/** What a node has begun, and what has become of it: nothing may get lost on the way, or end twice. */
export interface Flow {
  begun: number
  /** In whatever way. */
  ended: number
  /** Counted where it waits, not as a difference. */
  pending: number
}

export type FlowName = 'requests' | 'served' | 'publishes' | 'outbox' | 'writes' | 'received' | 'pushes'
export type Flows = Record<FlowName, Flow>

const NOTHING: Flow = { begun: 0, ended: 0, pending: 0 }

export function flowsOf(pubsub: StickyPubSub): Flows {
  const counters = pubsub.counters()
  const { rpc, publisher, outboxed, storage, initiator, delivery } = counters
  return {
    requests: {
      begun: rpc.begun,
      ended: rpc.answered + rpc.timeouts + totalOf(rpc.failures),
      pending: counters.pendingRequests,
    },
    served: {
      begun: rpc.requestsReceived,
      ended: rpc.served + totalOf(rpc.refusals),
      pending: counters.serving,
    },
    publishes: {
      begun: publisher.begun,
      ended: publisher.stored + totalOf(publisher.failures),
      pending: counters.waitingPublishes,
    },
    outbox: {
      begun: outboxed.taken,
      ended: outboxed.stored + totalOf(outboxed.failures) + outboxed.unwritten,
      pending: counters.outbox,
    },
    writes: {
      begun: storage.begun,
      ended: storage.written + totalOf(storage.failures),
      pending: counters.pendingWrites,
    },
    received: initiator
      ? {
          begun: initiator.received,
          ended: totalOf(initiator.refusals) + initiator.stored + totalOf(initiator.failures),
          pending: counters.openMessages,
        }
      : NOTHING,
    pushes: delivery
      ? {
          begun: delivery.pushes,
          ended: delivery.acknowledged + totalOf(delivery.failures),
          pending: counters.pushesInFlight,
        }
      : NOTHING,
  }
}

/** In words, for each flow in which something was lost or counted twice. */
export const leaksOf = (flows: Flows): string[] =>
  Object.entries(flows)
    .filter(([, { begun, ended, pending }]) => begun !== ended + pending)
    .map(([name, { begun, ended, pending }]) => `${name}: ${begun} begun, ${ended} ended, ${pending} pending`)
