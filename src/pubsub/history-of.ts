import type { HistoryOptions, Message, PubSub } from './api.ts'
import { BEGINNING } from './history.ts'
import { LIMITS } from './options.ts'

/** A message's place, as `before` or `after` of pages and iterations. */
export const cursorOf = ({ addedInVersion, id }: Pick<Message, 'addedInVersion' | 'id'>): string =>
  `${addedInVersion}.${id}`

/**
 * The messages of a topic between two places, oldest first, or newest first where `reverse` is set, at most `limit` of
 * them. A page is read when the one before it is used up, and none that nobody asks for.
 */
export async function* historyOf(
  pubsub: Pick<PubSub, 'history'>,
  topic: string,
  options: HistoryOptions = {},
): AsyncGenerator<Message> {
  const { reverse = false, signal } = options
  let { before, after = reverse ? undefined : BEGINNING } = options
  let left = options.limit ?? Number.POSITIVE_INFINITY
  while (left > 0) {
    const page = await pubsub.history(topic, {
      limit: Math.min(left, PAGE_MESSAGES),
      reverse,
      ...(before === undefined ? {} : { before }),
      ...(after === undefined ? {} : { after }),
      ...(signal === undefined ? {} : { signal }),
    })
    for (const message of page.messages.slice(0, left)) yield message
    left -= page.messages.length
    const next = reverse ? page.before : page.after
    if (next === undefined) return
    if (reverse) before = next
    else after = next
  }
}

/** Of one question: as many as a few sealed pages hold. */
const PAGE_MESSAGES = Math.min(128, LIMITS.maxHistoryLimit)
