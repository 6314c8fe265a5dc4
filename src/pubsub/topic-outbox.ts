import { StickyError } from '../dht/index.ts'
import type { Data, PubSub, Receipt } from './api.ts'
import { LIMITS } from './options.ts'
import type { TopicPublishOptions, TopicReceipt } from './topic-api.ts'
import type { TopicContent } from './topic-content.ts'

/** The publishing side of an open topic: in call order whatever the schema takes for each, with receipts of this topic only. */

export interface TopicOutboxInit<T> {
  name: string
  pubsub: PubSub
  content: TopicContent<T>
  onReceipt(receipt: TopicReceipt<T>): void
}

export class TopicOutbox<T> {
  readonly #init: TopicOutboxInit<T>
  #publishing: Promise<unknown> = Promise.resolve()
  #telling: Promise<unknown> = Promise.resolve()
  #stop: (() => void) | undefined

  constructor(init: TopicOutboxInit<T>) {
    this.#init = init
  }

  /** From the first listener on: until then, what came of earlier publishes waits to be told. */
  listen(): void {
    const { pubsub, content } = this.#init
    this.#stop ??= pubsub.onReceipt((receipt) => this.#tell(receipt), content.topic)
  }

  async publish(value: T, options: TopicPublishOptions): Promise<TopicReceipt<T>> {
    const { name, pubsub, content } = this.#init
    const author = pubsub.nodeId
    const outgoing = content.outgoing(value, author, options.key)
    outgoing.catch(() => undefined) // looked at in its turn
    const turn = this.#publishing
      .then(() => outgoing)
      .then(({ data, value }) => {
        if (pubsub.nodeId !== author)
          throw new StickyError('WRONG_IDENTITY', 'The node has another identity by now.')
        const receipt = this.#send(data, options)
        receipt.catch(() => undefined) // looked at below
        return { receipt, value } // inside an object: the next turn does not wait for the disk
      })
    this.#publishing = turn.catch(() => undefined)
    const { receipt, value: published } = await turn
    return { ...(await receipt), topic: name, data: published }
  }

  /** By the outbox; at once where a version is expected. */
  async #send(data: Data, options: TopicPublishOptions): Promise<Receipt> {
    const { pubsub, content } = this.#init
    const { expect, delivered, ...others } = options
    if (expect === undefined)
      return pubsub.enqueue(content.topic, data, { ...others, ...(delivered ? { delivered } : {}) })
    if (delivered)
      throw new StickyError('INVALID_DATA', 'What expects a version is not told of as delivered.')
    const stored = await pubsub.publish(content.topic, data, { ...others, expect })
    const { id, publishedAt } = stored
    const receipt: Receipt = {
      key: others.key ?? id,
      topic: content.topic,
      data,
      state: 'stored',
      queuedAt: publishedAt,
      attempts: 1,
      expiresAt: publishedAt + (others.ttlMs ?? LIMITS.defaultTtlMs),
      stored,
    }
    if (this.#stop !== undefined) this.#tell(receipt)
    return receipt
  }

  async list(): Promise<TopicReceipt<T>[]> {
    const { pubsub, content } = this.#init
    return Promise.all((await pubsub.outbox(content.topic)).map((receipt) => this.#opened(receipt)))
  }

  close(): void {
    this.#stop?.()
    this.#stop = undefined
  }

  #tell(receipt: Receipt): void {
    const opened = this.#opened(receipt)
    this.#telling = this.#telling.then(async () => this.#init.onReceipt(await opened))
  }

  async #opened({ data, ...receipt }: Receipt): Promise<TopicReceipt<T>> {
    const { name, pubsub, content } = this.#init
    const named = { ...receipt, topic: name }
    try {
      return { ...named, data: await content.incoming(data, pubsub.nodeId) }
    } catch {
      return named
    }
  }
}
