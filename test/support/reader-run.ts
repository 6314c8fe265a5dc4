import type { Gap, Message, SubscribeOptions, Subscription } from '../../src/pubsub/index.ts'
import type { MemoryNode } from './memory-nodes.ts'

/** One run of a reader of `room`, and what it was given. */
export interface Run {
  subscription: Subscription
  messages: Message[]
  gaps: Gap[]
  end: Promise<{ count: number; recovered: boolean }>
}

export async function subscribe({ pubsub }: MemoryNode, options: SubscribeOptions = {}): Promise<Run> {
  const messages: Message[] = []
  const gaps: Gap[] = []
  const onMessage = (message: Message) => messages.push(message)
  const subscription = await pubsub.subscribe('room', { ...options, onMessage })
  subscription.on('gap', (gap) => gaps.push(gap))
  const end = new Promise<{ count: number; recovered: boolean }>((resolve) =>
    subscription.on('history-end', resolve),
  )
  return { subscription, messages, gaps, end }
}
