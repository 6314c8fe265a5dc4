import { StickyError, type Storage, type StorageOp, toHex } from '../../src/dht/index.ts'
import type { Message, PubSubOptions, Receipt } from '../../src/pubsub/index.ts'
import { COORDINATOR } from '../../src/pubsub/options.ts'
import { topicMethods } from '../../src/pubsub/wire.ts'
import { ManualRuntime } from './manual-runtime.ts'
import { CuttableDisk, crash, heal, separate } from './memory-faults.ts'
import { MemoryNet, type MemoryNode, type MemoryNodeOptions } from './memory-nodes.ts'

/** A client with an outbox before a small network, all in virtual time, whose publish requests can be made to fail. */

/** never: the holder does not get it and says BUSY; lost: it does, and its answer is lost; refused: by its contents. */
export type Fault = 'never' | 'lost' | 'refused'

export class OutboxClient {
  readonly node: MemoryNode
  readonly receipts: Receipt[] = []
  /** Envelopes of every publish request, in hex. */
  readonly requests: string[][] = []
  fault: Fault | undefined
  /** Nobody hears of answers any more: neither of those that come, nor that none does. */
  isDeaf = false
  readonly #sending = new Set<string>()

  constructor(node: MemoryNode) {
    this.node = node
    const { rpc } = node.pubsub.dht
    const request = rpc.request.bind(rpc)
    rpc.request = async (to, method, body, options) => {
      if (method.name !== topicMethods.publish.name) return request(to, method, body, options)
      const { messages } = body as unknown as { messages: Uint8Array[] }
      this.requests.push(messages.map(toHex))
      const { fault } = this
      if (fault !== undefined)
        await node.pubsub.dht.headAt(COORDINATOR, (body as { topic: Uint8Array }).topic, to)
      if (fault === 'never') throw new StickyError('BUSY', 'The holder has enough to do.')
      if (fault === 'refused')
        return {
          version: 0,
          replicas: 0,
          durableReplicas: 0,
          results: messages.map(() => 'TOO_LARGE'),
        } as never
      const answer = await request(to, method, body, options)
      if (this.isDeaf) return new Promise(() => undefined)
      if (fault === 'lost') throw new StickyError('TIMEOUT', 'The answer was lost.')
      return answer
    }
    node.pubsub.onReceipt((receipt) => {
      this.receipts.push(receipt)
      if (receipt.state === 'sending') this.#sending.add(receipt.key)
      else this.#sending.delete(receipt.key)
    })
  }

  get pubsub() {
    return this.node.pubsub
  }

  get isSending(): boolean {
    return this.#sending.size > 0
  }

  states(key: string): string[] {
    return this.receipts.filter((receipt) => receipt.key === key).map(({ state }) => state)
  }

  finals(): Receipt[] {
    return this.receipts.filter(({ state }) => state === 'stored' || state === 'failed')
  }
}

export class OutboxNet {
  readonly runtime = new ManualRuntime()
  readonly net = new MemoryNet()
  readonly #clients: OutboxClient[] = []

  holder(options: MemoryNodeOptions = {}): Promise<MemoryNode> {
    return this.net.add({ runtime: this.runtime, storage: new CuttableDisk(), dhtOptions: QUIET, ...options })
  }

  async client(
    init: Pick<MemoryNodeOptions, 'storage' | 'seed' | 'runtime' | 'options' | 'dhtOptions' | 'stores'> = {},
  ) {
    const base = {
      runtime: this.runtime,
      storage: new CuttableDisk(),
      stores: false,
      durable: false,
    }
    const client = new OutboxClient(
      await this.net.add({ ...base, ...init, dhtOptions: { ...QUIET, ...init.dhtOptions } }),
    )
    this.#clients.push(client)
    return client
  }

  /** The same client again after its process has ended without a word. */
  async crashed({ node }: OutboxClient, options: Partial<PubSubOptions> = {}): Promise<OutboxClient> {
    this.#forget(node)
    const storage = await crash(this.net, node)
    return this.client({ storage, seed: node.seed, options })
  }

  /** After a clean end, too; the disk stays readable because `CuttableDisk` is not closed. */
  async reopened({ node }: OutboxClient, options: Partial<PubSubOptions> = {}): Promise<OutboxClient> {
    this.#forget(node)
    await node.pubsub.close()
    this.net.hub.crash(node.pubsub.nodeId)
    this.net.nodes.splice(this.net.nodes.indexOf(node), 1)
    return this.client({ storage: node.storage, seed: node.seed, options })
  }

  #forget(node: MemoryNode): void {
    const index = this.#clients.findIndex((client) => client.node === node)
    if (index >= 0) this.#clients.splice(index, 1)
  }

  cutOff({ node }: OutboxClient): void {
    separate(
      [node],
      this.net.nodes.filter((other) => other !== node),
    )
  }

  heal(): void {
    heal(this.net.nodes)
  }

  /** Lets time pass until the condition holds; fails when it does not within so much of it. */
  async until(condition: () => unknown | Promise<unknown>, withinMs = 120_000): Promise<void> {
    const endMs = this.runtime.monotonicNow() + withinMs
    for (let step = 0; ; step++) {
      await this.#rest()
      if (await condition()) return
      if (this.runtime.monotonicNow() > endMs)
        throw new Error(`Not within ${withinMs} ms: ${condition.toString()}`)
      // the processor needs its time, too, for what the condition waits for
      if (step < FIRST_STEPS) this.runtime.advance(STEP_MS / 10)
      else this.#step(endMs)
    }
  }

  /** Lets this much time pass. */
  async pass(ms: number): Promise<void> {
    const endMs = this.runtime.monotonicNow() + ms
    while (this.runtime.monotonicNow() < endMs) {
      await this.#rest()
      this.#step(endMs)
    }
    await this.#rest()
  }

  /** Up to the next timer where everybody waits for one, less where something may be about to be sent, else a moment. */
  #step(endMs: number): void {
    const counters = this.net.nodes.map(({ pubsub }) => pubsub.counters())
    const isAsking = counters.some(
      ({ pendingRequests, waitingPublishes }) => pendingRequests + waitingPublishes > 0,
    )
    const isBusy = isAsking || this.#clients.some((client) => client.isSending)
    const maxMs = counters.some(({ outbox }) => outbox > 0) ? 10 * STEP_MS : Number.POSITIVE_INFINITY
    const leftMs = endMs - this.runtime.monotonicNow()
    const stepMs = Math.max(STEP_MS, Math.min(this.runtime.nextInMs, leftMs, maxMs))
    this.runtime.advance(isBusy ? STEP_MS : stepMs)
  }

  /** What is under way goes on as far as it can without time, signatures included, which other threads check. */
  async #rest(): Promise<void> {
    for (let turn = 0; turn < 4; turn++)
      await Promise.all([new Promise((resolve) => setTimeout(resolve, 0)), threadsAreDone()])
  }

  /** What a promise gives, while time passes. */
  async during<T>(work: Promise<T>, withinMs?: number): Promise<T> {
    let isOver = false
    const over = () => {
      isOver = true
    }
    work.then(over, over)
    await this.until(() => isOver, withinMs)
    return work
  }

  /** All that a holder has of a topic, oldest first. */
  async read({ pubsub }: MemoryNode, topic: string): Promise<Message[]> {
    const all: Message[] = []
    let before: string | undefined
    do {
      const page = await this.during(
        pubsub.history(topic, { limit: 256, ...(before === undefined ? {} : { before }) }),
      )
      all.unshift(...page.messages)
      before = page.before
    } while (before !== undefined)
    return all
  }

  async close(): Promise<void> {
    const closing = this.net.close()
    let isClosed = false
    const over = () => {
      isClosed = true
    }
    closing.then(over, over)
    while (!isClosed) {
      await this.#rest()
      this.runtime.advance(STEP_MS)
    }
    await closing
  }
}

/** As many hashes as there are threads, which take work in order: what was handed to them before has been begun. */
const threadsAreDone = () =>
  Promise.all(Array.from({ length: 4 }, () => crypto.subtle.digest('SHA-256', new Uint8Array(1))))

const STEP_MS = 50
const FIRST_STEPS = 10

/** Nothing that happens by itself every half second. */
const QUIET = { antiEntropyMs: 30_000 }

/** A disk under a test's hand: what `refuse` picks is refused with a code, what `hold` picks waits for `release`. */
export class StrictDisk implements Storage {
  readonly persistent = true
  readonly #inner: Storage
  refuse: ((key: string) => boolean) | undefined
  hold: ((key: string) => boolean) | undefined
  readonly #gates: (() => void)[] = []

  constructor(inner: Storage = new CuttableDisk()) {
    this.#inner = inner
  }

  get = (key: string) => this.#inner.get(key)
  entries = (prefix: string) => this.#inner.entries(prefix)
  keys = (prefix: string) => this.#inner.keys(prefix)
  close = async () => undefined

  async write(operations: StorageOp[]): Promise<void> {
    const { hold, refuse } = this
    if (hold && operations.some(({ key }) => hold(key)))
      await new Promise<void>((resolve) => this.#gates.push(resolve))
    if (refuse && operations.some(({ key }) => refuse(key)))
      throw new StickyError('STORAGE_FULL', 'No space is left.')
    await this.#inner.write(operations)
  }

  /** Writes that are held. */
  get waiting(): number {
    return this.#gates.length
  }

  release(): void {
    this.hold = undefined
    for (const open of this.#gates.splice(0)) open()
  }

  outboxKeys(): Promise<string[]> {
    return Array.fromAsync(this.#inner.keys('outbox/'))
  }
}
