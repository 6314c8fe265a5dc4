import { type CodeCounts, totalOf } from './measures.ts'

/** How often this node has asked others for it, and others this node. */
export interface MethodCounts {
  begun: number
  received: number
}

/**
 * begun = answered + timeouts + failures + `pendingCount`, and requestsReceived = served + refusals + `servingCount`, at
 * every moment. Each is counted once, when it has happened.
 */
export interface RpcCounters {
  begun: number
  answered: number
  /** Nobody answered in time. */
  timeouts: number
  /** What the peer answered instead, or why it could not be asked. */
  failures: CodeCounts
  requestsSent: number
  replies: number
  requestsReceived: number
  served: number
  refusals: CodeCounts
  /** Frames that are none; their links were closed. */
  undecodable: number
  /** Refusals and undecodable frames. */
  readonly rejected: number
  bytesSent: number
  bytesReceived: number
  /** By name: only methods that this program knows have a place here. */
  readonly methods: Record<string, MethodCounts>
}

export const newRpcCounters = (): RpcCounters => ({
  begun: 0,
  answered: 0,
  timeouts: 0,
  failures: {},
  requestsSent: 0,
  replies: 0,
  requestsReceived: 0,
  served: 0,
  refusals: {},
  undecodable: 0,
  get rejected() {
    return totalOf(this.refusals) + this.undecodable
  },
  bytesSent: 0,
  bytesReceived: 0,
  methods: {},
})

export function methodCounts({ methods }: RpcCounters, name: string): MethodCounts {
  methods[name] ??= { begun: 0, received: 0 }
  return methods[name]
}
