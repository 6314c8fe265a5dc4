import type { PubSub } from './api.ts'

/** Who has to do something before a node closes, and has nothing open there by which it would notice. */
const listeners = new WeakMap<PubSub, Set<() => Promise<void>>>()

/** Gives the function that ends it. */
export function onClosing(pubsub: PubSub, listener: () => Promise<void>): () => void {
  const all = listeners.get(pubsub) ?? new Set()
  listeners.set(pubsub, all.add(listener))
  return () => all.delete(listener)
}

/** First of all that closing takes: the node still answers. Never rejects. */
export async function tellClosing(pubsub: PubSub): Promise<void> {
  await Promise.allSettled([...(listeners.get(pubsub) ?? [])].map((listener) => listener()))
}
