import type { Data, PresenceMember, PubSub, Subscription } from './api.ts'
import type { TopicContent } from './topic-content.ts'

/**
 * Who is in an open topic, and what this reader shows of itself there. Where the topic is encrypted, a state is sealed as
 * the node that shows it: a page whose node gets another identity shows it anew.
 */

export interface TopicPresenceInit {
  pubsub: PubSub
  content: Pick<TopicContent<unknown>, 'outgoingState' | 'incomingState'>
  onChange(members: PresenceMember[]): void
}

export class TopicPresence {
  readonly #init: TopicPresenceInit
  #subscription: Subscription | undefined
  #members: PresenceMember[] = []
  #state: Data | undefined
  /** As the others get it. */
  sealed: Data | undefined
  #sealedAs: string | undefined
  #isWatching = false
  #telling: Promise<unknown> = Promise.resolve()

  constructor(init: TopicPresenceInit) {
    this.#init = init
  }

  get members(): PresenceMember[] {
    this.watch()
    return this.#members
  }

  /** To nobody before the topic has a subscription, which is opened with it. */
  async show(state: Data | undefined): Promise<void> {
    const { pubsub, content } = this.#init
    this.#state = state
    this.#sealedAs = pubsub.nodeId
    this.sealed = await content.outgoingState(state, pubsub.nodeId)
    await this.#subscription?.setPresence(this.sealed)
  }

  /** Of the subscription that has taken the place of another one. */
  attach(subscription: Subscription): void {
    this.#subscription = subscription
    if (this.sealed !== undefined) this.#isWatching = true
    if (this.#isWatching) this.#watchAt(subscription)
  }

  /** Nothing is read for a while. */
  detach(): void {
    this.#subscription = undefined
  }

  /** The node may be another one by now. */
  async showAgain(): Promise<void> {
    if (this.#state !== undefined && this.#sealedAs !== this.#init.pubsub.nodeId) await this.show(this.#state)
  }

  /** It costs something, so it begins when somebody looks. */
  watch(): void {
    if (this.#isWatching) return
    this.#isWatching = true
    if (this.#subscription !== undefined) this.#watchAt(this.#subscription)
  }

  #watchAt(subscription: Subscription): void {
    subscription.on('presence', (members) => this.#tell(members))
    const { present } = subscription
    if (present.length > 0) this.#tell(present)
  }

  #tell(members: PresenceMember[]): void {
    this.#telling = this.#telling.then(async () => {
      this.#members = await this.#opened(members)
      this.#init.onChange(this.#members)
    })
  }

  async #opened(members: PresenceMember[]): Promise<PresenceMember[]> {
    const { content } = this.#init
    const opened = members.map(async (member) => {
      const state = await content.incomingState(member.state, member.nodeId)
      return state === undefined ? [] : [{ ...member, state }]
    })
    return (await Promise.all(opened)).flat()
  }
}
