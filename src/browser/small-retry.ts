import { delay, systemRuntime } from '../dht/index.ts'

interface RetryOptions {
  retries: number
  factor?: number
  minTimeout?: number
  signal?: AbortSignal
}

/**
 * Stands in for `p-retry` where libp2p imports it, to dial a peer again that it means to keep: so many times more, after
 * pauses that grow. What else p-retry can do is 2 kB of the page after compression.
 */
export default async function retry<T>(
  work: (attempt: number) => Promise<T>,
  { retries, factor = 2, minTimeout = 1_000, signal }: RetryOptions,
): Promise<T> {
  for (let attempt = 1; ; attempt++)
    try {
      signal?.throwIfAborted()
      return await work(attempt)
    } catch (error) {
      if (attempt > retries || signal?.aborted) throw error
      await delay(systemRuntime, minTimeout * factor ** (attempt - 1), signal)
    }
}
