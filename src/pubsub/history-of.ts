import type { HistoryOptions, Message, PubSub } from './api.ts'
import { BEGINNING } from './history.ts'
import { LIMITS } from './options.ts'

/** A message's place, as `before` or `after` of pages and iterations. */
export const cursorOf = ({ addedInVersion, id }: Pick<Message, 'addedInVersion' | 'id'>): string =>
  `${addedInVersion}.${id}`

type Pages = Pick<PubSub, 'history'>

/**
 * The messages of a topic between two places, oldest first, or newest first where `reverse` is set, at most `limit` of
 * them, each once. A page is read when the one before it is used up, and none that nobody asks for. Where a merge
 * has moved the place to which it has come, what was put behind that comes out of its order.
 */
export async function* historyOf(
  pubsub: Pages,
  topic: string,
  options: HistoryOptions = {},
): AsyncGenerator<Message> {
  const { limit = Number.POSITIVE_INFINITY } = options
  const given = new Set<string>()
  if (limit <= 0) return
  for await (const message of walk(pubsub, topic, options, () => limit - given.size)) {
    if (given.has(message.id)) continue
    given.add(message.id)
    yield message
    if (given.size >= limit) return
  }
}

/** After a merge some of them twice. */
async function* walk(
  pubsub: Pages,
  topic: string,
  options: HistoryOptions,
  left: () => number,
): AsyncGenerator<Message> {
  const { reverse = false } = options
  const bounds = { ...options }
  if (!reverse) bounds.after ??= BEGINNING
  let from: HistoryOptions | undefined
  for (;;) {
    const limit = Math.min(left(), PAGE_MESSAGES)
    const page = await pubsub.history(topic, { ...bounds, ...from, limit })
    // at the place where it began there is nothing behind it
    if (page.moved !== undefined && from !== undefined) yield* behind(pubsub, topic, page.moved, bounds)
    yield* page.messages
    const next = reverse ? page.before : page.after
    if (next === undefined) return
    from = reverse ? { before: next } : { after: next }
  }
}

/** What a merge has stamped together with the message of a place, and put on the side that a walk comes from. */
async function* behind(
  pubsub: Pages,
  topic: string,
  place: string,
  bounds: HistoryOptions,
): AsyncGenerator<Message> {
  const reverse = !bounds.reverse
  const version = Number.parseInt(place, 10)
  let next: string | undefined = place
  while (next !== undefined) {
    const from: HistoryOptions = reverse ? { before: next } : { after: next }
    const page = await pubsub.history(topic, { ...bounds, ...from, limit: PAGE_MESSAGES, reverse })
    for (const message of page.messages) {
      if (message.addedInVersion !== version) return
      yield message
    }
    next = reverse ? page.before : page.after
  }
}

/** Of one question: as many as a few sealed pages hold. */
const PAGE_MESSAGES = Math.min(128, LIMITS.maxHistoryLimit)
