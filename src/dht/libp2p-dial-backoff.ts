import { type Runtime, systemRuntime } from './runtime.ts'

/**
 * Addresses that did not answer rest for a while. libp2p keeps no such memory: every look-up, reconnect and request dials
 * a dead server again, several times a second in each tab, for as long as anybody still names it.
 */

export interface DialBackoffOptions {
  /** The rest after a first failure: short, because a tab may be named before its relay has a place for it. */
  firstMs: number
  /** The rest doubles up to here: so long may somebody who came back wait to be dialled. */
  maxMs: number
  /** Addresses remembered, the latest ones. */
  maxAddresses: number
  /** A dial that its caller gave up earlier than this says nothing about the address. */
  minAttemptMs: number
  runtime: Runtime
}

export const DEFAULT_DIAL_BACKOFF_OPTIONS: DialBackoffOptions = {
  firstMs: 1_000,
  maxMs: 15_000,
  maxAddresses: 1_024,
  minAttemptMs: 5_000,
  runtime: systemRuntime,
}

interface Dialler {
  dial(address: { toString(): string }, options: { signal?: AbortSignal }): Promise<unknown>
}

export class DialBackoff {
  readonly #options: DialBackoffOptions
  readonly #rests = new Map<string, { untilMs: number; forMs: number }>()
  readonly #exempt = new Set<string>()

  constructor(options: Partial<DialBackoffOptions> = {}) {
    this.#options = { ...DEFAULT_DIAL_BACKOFF_OPTIONS, ...options }
  }

  isResting(address: { toString(): string }): boolean {
    const rest = this.#rests.get(address.toString())
    return rest !== undefined && rest.untilMs > this.#options.runtime.monotonicNow()
  }

  /** Never rests from now on: a relay, which whoever joins dials at a pace of his own. */
  exempt(address: string): void {
    this.#exempt.add(address)
    this.#rests.delete(address)
  }

  /** Forgets all failures: the network is another one now. */
  clear(): void {
    this.#rests.clear()
  }

  /** The transport of `factory`, each dial of it noted. */
  noting<C, T extends object>(factory: (components: C) => T): (components: C) => T {
    return (components) => {
      const transport = factory(components) as T & Dialler
      const dial = transport.dial.bind(transport)
      transport.dial = async (address, options) => {
        const startedMs = this.#options.runtime.monotonicNow()
        try {
          const connection = await dial(address, options)
          this.#rests.delete(address.toString())
          return connection
        } catch (error) {
          const tookMs = this.#options.runtime.monotonicNow() - startedMs
          if (!options.signal?.aborted || tookMs >= this.#options.minAttemptMs) this.#rest(address.toString())
          throw error
        }
      }
      return transport
    }
  }

  #rest(address: string): void {
    const { firstMs, maxMs, maxAddresses, runtime } = this.#options
    if (this.#exempt.has(address)) return
    const before = this.#rests.get(address)?.forMs
    const forMs = before === undefined ? firstMs : Math.min(before * 2, maxMs)
    this.#rests.delete(address)
    if (this.#rests.size >= maxAddresses) this.#rests.delete(this.#rests.keys().next().value as string)
    this.#rests.set(address, { untilMs: runtime.monotonicNow() + forMs, forMs })
  }
}
