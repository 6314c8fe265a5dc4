import type { ChatEntry, Entry } from './entries.ts'
import { missing } from './rows.ts'

/** Decides what a screen reader hears of a room: each new entry and each failure once, many at once as a number. Pure. */

/** Of one announcement. Who listens cannot skip ahead. */
const MAX_LINES = 5
const MAX_LINE_LENGTH = 300

export class Announcer {
  readonly #heard = new WeakSet<Entry>()
  readonly #failed = new Set<ChatEntry>()

  /** What is there already when the room is shown was there to be read. */
  begin(present: readonly Entry[]): void {
    this.next(present)
  }

  next(present: readonly Entry[]): string[] {
    const news = this.#newOf(present)
    const said = news.flatMap((entry) => (entry.kind === 'message' && entry.own ? [] : [lineOf(entry)]))
    const lines = said.length > MAX_LINES ? [`${said.length} new messages`] : said
    const failures = this.#failuresOf(present)
    return failures.length > MAX_LINES
      ? [...lines, `${failures.length} messages were not sent`]
      : [...lines, ...failures.map(failureOf)]
  }

  /** Mostly at the end, but own messages that are on their way stay behind them. */
  #newOf(present: readonly Entry[]): Entry[] {
    const news = present.filter((entry) => !this.#heard.has(entry))
    for (const entry of news) this.#heard.add(entry)
    return news
  }

  /** Those that have failed since; one that was sent again may fail again. */
  #failuresOf(present: readonly Entry[]): ChatEntry[] {
    const failed = present.filter(hasFailed)
    const news = failed.filter((entry) => !this.#failed.has(entry))
    this.#failed.clear()
    for (const entry of failed) this.#failed.add(entry)
    return news
  }
}

const hasFailed = (entry: Entry): entry is ChatEntry => entry.kind === 'message' && entry.state === 'failed'

const cut = (line: string): string => line.slice(0, MAX_LINE_LENGTH)

function lineOf(entry: Entry): string {
  if (entry.kind === 'message') return cut(`${entry.name}: ${entry.text}`)
  const [what, why] = missing(entry)
  return `${what} from ${entry.name} ${why}`
}

const failureOf = ({ text, problem = '' }: ChatEntry): string => `Not sent. ${problem} ${cut(text)}`
