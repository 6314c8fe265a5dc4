import type { PubSub, Receipt } from '../../../src/pubsub/api.ts'
import { inviteTo, readInvite } from '../../../src/pubsub/invite.ts'
import { openTopic } from '../../../src/pubsub/topic.ts'
import type { ChatNode, NodeStatus } from '../../../web/chat-node.ts'
import { fakeInspection, fakeKeyspace } from './fake-inspection.ts'
import { coded, FakeRoom, personId, SELF } from './fake-room.ts'

/**
 * A network in memory that does what it is told: for the interface tests and for looking at the interface. The topics
 * over it are the library's own.
 */

type FakePubSub = Pick<
  PubSub,
  | 'nodeId'
  | 'subscribe'
  | 'history'
  | 'enqueue'
  | 'outbox'
  | 'onReceipt'
  | 'channelState'
  | 'recover'
  | 'keepPosition'
  | 'keptPosition'
>

/** What an encrypted topic is called. */
const HIDDEN_NAME = /^[\w-]{43}$/

export class FakeNode implements ChatNode {
  readonly nodeId = SELF
  readonly keyspace = fakeKeyspace
  readonly inviteTo = inviteTo
  imports = 0
  readonly readInvite = readInvite
  readonly #rooms = new Map<string, FakeRoom>()
  readonly #history: number
  readonly #statusListeners = new Set<(status: NodeStatus) => void>()
  readonly #receiptListeners = new Set<(receipt: Receipt) => void>()
  #status: NodeStatus = {
    state: 'online',
    bridge: true,
    peers: [0, 1, 2, 3, 4].map((index) => ({
      nodeId: personId(index),
      direct: index !== 3,
      webrtc: index > 1 && index !== 3,
    })),
  }
  readonly pubsub: FakePubSub & ChatNode['pubsub'] = {
    nodeId: SELF,
    subscribe: async (topic, options = {}) => this.room(topic).subscribe(options),
    history: async (topic, options = {}) => this.room(topic).page(options),
    enqueue: async (topic, data, { key = crypto.randomUUID() } = {}) => this.room(topic).enqueue(data, key),
    outbox: async (topic) =>
      topic === undefined
        ? [...this.#rooms.values()].flatMap((room) => room.outbox())
        : this.room(topic).outbox(),
    onReceipt: (listener, topic) => this.#onReceipt(listener, topic),
    channelState: async (topic) => this.room(topic).channel,
    recover: async (topic) => {
      this.room(topic).channel = 'ACTIVE'
    },
    keepPosition: async (topic, reader, position) =>
      sessionStorage.setItem(`fake-position/${topic}/${reader}`, position),
    keptPosition: async (topic, reader) =>
      sessionStorage.getItem(`fake-position/${topic}/${reader}`) ?? undefined,
    ...fakeInspection((topic) => this.room(topic), [0, 1, 2, 3].map(personId)),
  }

  constructor(history: number) {
    this.#history = history
  }

  readonly openTopic: ChatNode['openTopic'] = (name, options) =>
    openTopic(this.pubsub as PubSub, name, options)

  /** Rooms called `quiet…`, and encrypted ones, have no history. */
  room(topic: string): FakeRoom {
    const existing = this.#rooms.get(topic)
    if (existing !== undefined) return existing
    const isQuiet = topic.startsWith('quiet') || HIDDEN_NAME.test(topic)
    const room = new FakeRoom(topic, isQuiet ? 0 : this.#history, (receipt) => {
      for (const listener of this.#receiptListeners) listener(receipt)
    })
    this.#rooms.set(topic, room)
    return room
  }

  /** By the names that the network knows. */
  get topics(): string[] {
    return [...this.#rooms.keys()]
  }

  status(): NodeStatus {
    return this.#status
  }

  setStatus(status: NodeStatus): void {
    this.#status = status
    for (const listener of this.#statusListeners) listener(status)
  }

  onStatus(listener: (status: NodeStatus) => void): () => void {
    this.#statusListeners.add(listener)
    return () => this.#statusListeners.delete(listener)
  }

  async storage(): Promise<Awaited<ReturnType<ChatNode['storage']>>> {
    return { persisted: false, usedBytes: 2_400_000, quotaBytes: 1_200_000_000 }
  }

  async exportIdentity(): Promise<string> {
    return 'sticky-identity/1 fixture'
  }

  async importIdentity(_text: string, passphrase: string): Promise<void> {
    if (passphrase !== 'correct horse') throw coded('WRONG_PASSPHRASE')
    this.imports += 1
  }

  async close(): Promise<void> {}

  #onReceipt(listener: (receipt: Receipt) => void, topic: string | undefined): () => void {
    const ofTopic = (receipt: Receipt) => {
      if (topic === undefined || receipt.topic === topic) listener(receipt)
    }
    this.#receiptListeners.add(ofTopic)
    return () => this.#receiptListeners.delete(ofTopic)
  }
}
