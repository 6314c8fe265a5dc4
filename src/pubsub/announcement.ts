import type { Dht, StickyError } from '../dht/index.ts'
import type { PubSubOptions } from './options.ts'
import { untilDone } from './retry.ts'
import type { Statements } from './statements.ts'
import type { VerifiedStatement } from './subscription-statement.ts'

/** Makes a subscription known to its topic, for which it is said anew before it expires. Delivery does not wait for it. */

export interface AnnouncementInit {
  dht: Dht
  options: PubSubOptions
  statements: Statements
  topicKey: Uint8Array
  info: string
  signal: AbortSignal
  /** It cannot be said. */
  onError(error: StickyError): void
}

export class Announcement {
  readonly #init: AnnouncementInit
  #underWay: Promise<void> | undefined

  constructor(init: AnnouncementInit) {
    this.#init = init
  }

  statement(kind: 'subscribe' | 'unsubscribe' = 'subscribe'): Promise<VerifiedStatement> {
    const { statements, topicKey, info } = this.#init
    return statements.make(topicKey, kind, info)
  }

  /** Once. Rejects where no majority of the replicas has it. */
  async say(kind: 'subscribe' | 'unsubscribe' = 'subscribe'): Promise<void> {
    const { statements, topicKey } = this.#init
    await statements.send(topicKey, await this.statement(kind))
  }

  /** Until a majority has it. Never rejects. */
  persist(): Promise<void> {
    this.#underWay ??= untilDone(() => this.say(), this.#init)
      .catch(this.#init.onError)
      .finally(() => {
        this.#underWay = undefined
      })
    return this.#underWay
  }
}
