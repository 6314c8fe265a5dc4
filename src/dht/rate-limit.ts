import type { Runtime } from './runtime.ts'

/** What one peer may ask of one method: `burst` at once, refilled at `perSecond`. */
export interface Quota {
  perSecond: number
  burst: number
}

/** Token buckets by name. Bounded: when `maxBuckets` are in use the longest untouched one is forgotten. */
export class RateLimiter {
  readonly #runtime: Runtime
  readonly maxBuckets: number
  readonly #buckets = new Map<string, { tokens: number; atMs: number }>()

  constructor(runtime: Runtime, maxBuckets = 16_384) {
    this.#runtime = runtime
    this.maxBuckets = maxBuckets
  }

  /** Takes `cost` tokens; false when they are not there (nothing is taken then). */
  take(name: string, quota: Quota, cost = 1): boolean {
    const now = this.#runtime.monotonicNow()
    const bucket = this.#buckets.get(name) ?? { tokens: quota.burst, atMs: now }
    const tokens = Math.min(quota.burst, bucket.tokens + ((now - bucket.atMs) / 1_000) * quota.perSecond)
    const allowed = tokens >= cost
    this.#buckets.delete(name)
    if (this.#buckets.size >= this.maxBuckets)
      this.#buckets.delete(this.#buckets.keys().next().value as string)
    this.#buckets.set(name, { tokens: allowed ? tokens - cost : tokens, atMs: now })
    return allowed
  }

  get size(): number {
    return this.#buckets.size
  }
}
