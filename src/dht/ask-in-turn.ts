import { delay, type Runtime } from './runtime.ts'

export interface InTurn<P> {
  runtime: Runtime
  /** So long one is waited for before the next is asked as well. */
  patienceMs: number
  /** It was waited for in vain. */
  onSlow?(peer: P): void
}

/**
 * Asks one after the other until one has it; who has not answered in good time keeps nobody waiting. Undefined when all
 * say that they have not; rejects, with the last reason, when none has it and one could not be asked.
 */
export async function askInTurn<P, T>(
  peers: readonly P[],
  ask: (peer: P, signal: AbortSignal) => Promise<T | undefined>,
  { runtime, patienceMs, onSlow }: InTurn<P>,
): Promise<T | undefined> {
  const over = new AbortController()
  const found = Promise.withResolvers<T>()
  let isFound = false
  let failure: unknown
  const asking: Promise<void>[] = []
  const settled = new Set<P>()
  const askOne = async (peer: P) => {
    try {
      const answer = await ask(peer, over.signal)
      if (answer === undefined) return
      isFound = true
      found.resolve(answer)
    } catch (error) {
      failure = error
    } finally {
      settled.add(peer)
    }
  }
  try {
    for (const peer of peers) {
      const one = askOne(peer)
      asking.push(one)
      const waited = delay(runtime, patienceMs, over.signal)
      waited.then(
        () => settled.has(peer) || onSlow?.(peer),
        () => undefined,
      )
      await Promise.race([one, found.promise, waited])
      if (isFound) return await found.promise
    }
    await Promise.race([found.promise, Promise.all(asking)])
    if (isFound) return await found.promise
  } finally {
    over.abort()
  }
  if (failure !== undefined) throw failure
  return undefined
}
