import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { TabOptions } from '../../../src/browser/tab-frames.ts'
import { StickyError } from '../../../src/dht/index.ts'
import {
  type Message,
  newTopicSecret,
  openTopic,
  type PublishReceipt,
  type PubSub,
  type Subscription,
  UnexpectedVersionError,
} from '../../../src/pubsub/index.ts'
import { MemoryNet, type MemoryNode, until } from '../../support/memory-nodes.ts'
import { PortTab } from '../../support/port-tab.ts'

/** PubSub through a port, over real nodes: a tab that follows, the tab that leads, and a change of leaders. */

const net = new MemoryNet()
let node: MemoryNode
let other: MemoryNode

beforeAll(async () => {
  node = await net.add()
  other = await net.add()
})
afterAll(() => net.close())

let tabs: PortTab[] = []
afterEach(async () => {
  await Promise.all(tabs.map((tab) => tab.close()))
  tabs = []
})

function newTab(options?: Partial<TabOptions>): PortTab {
  const tab = new PortTab(node.pubsub, options)
  tabs.push(tab)
  return tab
}

async function following(options?: Partial<TabOptions>): Promise<PortTab> {
  const tab = newTab(options)
  await tab.follow()
  return tab
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'ok',
    (error: unknown) => (error instanceof StickyError ? error.code : String(error)),
  )

function collect(subscription: Subscription): Message[] {
  const messages: Message[] = []
  subscription.on('message', (message) => messages.push(message))
  return messages
}

const texts = (messages: Message[]) => messages.map(({ data }) => data)
const pause = () => new Promise((resolve) => setTimeout(resolve, 20))

/** The node's PubSub with some of it replaced. */
const pubsubWith = (replaced: Partial<PubSub>): PubSub =>
  new Proxy(node.pubsub, {
    get: (target, name) => {
      const found = Reflect.get({ ...replaced }, name) ?? Reflect.get(target, name, target)
      return typeof found === 'function' ? found.bind(target) : found
    },
  })

describe('what was said as somebody', () => {
  it('is said by nobody else, and by the same one at any tab that leads', async () => {
    const tab = await following()
    const say = () =>
      [tab.pubsub.publish('who', 'x', { key: 'k' }), tab.pubsub.enqueue('who', 'x')].map(codeOf)
    tab.client.detach()
    const [mine, place] = [say(), tab.pubsub.keptPosition('who', 'reader')]
    await tab.follow(node.pubsub)
    expect([await Promise.all(mine), await place]).toEqual([['ok', 'ok'], undefined])
    tab.client.detach()
    const [anothers, readable] = [say(), tab.pubsub.channelState('who')]
    await tab.follow(other.pubsub, other.pubsub.nodeId)
    expect(await Promise.all(anothers)).toEqual(['WRONG_IDENTITY', 'WRONG_IDENTITY'])
    expect(await readable).toBe('ACTIVE')
  })

  it('may have been said where that was begun', async () => {
    const never = () => new Promise<never>(() => undefined)
    for (const end of [
      (tab: PortTab) => tab.follow(other.pubsub, other.pubsub.nodeId),
      async (tab: PortTab) => tab.client.close(new StickyError('CLOSED', 'This node is closed.')),
    ]) {
      const tab = newTab()
      await tab.follow(pubsubWith({ publish: never, enqueue: never }))
      const begun = [tab.pubsub.publish('who', 'y', { key: 'k' }), tab.pubsub.enqueue('who', 'y')].map(codeOf)
      await tab.pubsub.outbox() // its answer comes after the word that they were taken
      await end(tab)
      expect(await Promise.all(begun)).toEqual(['OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN'])
    }
  })

  it('but who is in an encrypted topic is shown in it as whoever that is by now', async () => {
    const tab = await following()
    const secret = newTopicSecret()
    const reader = await openTopic(node.pubsub, 'vault', { secret })
    const seen = () => reader.present.map(({ nodeId, state }) => [nodeId, state])
    const topic = await openTopic(tab.pubsub, 'vault', { secret, presence: 'Noor' })
    await until(() => seen().some(([, state]) => state === 'Noor'))
    await tab.follow(other.pubsub, other.pubsub.nodeId)
    await until(() => seen().some(([nodeId]) => nodeId === other.pubsub.nodeId))
    expect(seen()).toContainEqual([other.pubsub.nodeId, 'Noor'])
    await topic.close()
    await reader.close()
  })
})

describe('a tab that follows', () => {
  it('has the face of the node: values, errors with their code, and its id', async () => {
    const { pubsub } = await following()
    expect(pubsub.nodeId).toBe(node.pubsub.nodeId)
    const receipt = await pubsub.publish('face', { bytes: new Uint8Array([1, 2]) })
    expect(receipt).toMatchObject({ status: 'stored', sequence: 1 })
    const { messages } = await pubsub.history('face', { limit: 1 })
    expect(messages[0]?.data).toEqual({ bytes: new Uint8Array([1, 2]) })
    expect(await pubsub.channelState('face')).toBe('ACTIVE')
    expect((await pubsub.loadCoordinator('face'))?.version).toBe(1)
    expect(await codeOf(pubsub.publish('', 'x'))).toBe('INVALID_TOPIC')
    const late = pubsub.publish('face', 'x', { expect: { version: 0 } })
    await expect(late).rejects.toBeInstanceOf(UnexpectedVersionError)
    await expect(late).rejects.toMatchObject({ code: 'UNEXPECTED_VERSION', version: 1 })
    expect(await pubsub.delivered('face', [receipt.id])).toEqual([0])
    expect(await codeOf(pubsub.publish('face', 'x', { ttlMs: -1 }))).not.toBe('ok')
    expect(await codeOf(pubsub.publish('face', (() => 1) as never))).toBe('INVALID_DATA')
  })

  it('shows the diagnostics of the node that it uses', async () => {
    const { pubsub } = await following()
    await pubsub.publish('counted', 'once')
    const [told, own] = [await pubsub.diagnostics(), await node.pubsub.diagnostics()]
    expect(told.node).toEqual({ ...own.node, uptimeMs: expect.any(Number) })
    expect(told.publisher).toEqual(own.publisher)
    expect(told.publisher.stored).toBeGreaterThan(0)
    expect(told.replica?.initiator).toEqual(own.replica?.initiator)
  })

  it('hears the events of its subscription once each, and sees its getters move', async () => {
    const { pubsub } = await following()
    await other.pubsub.publish('events', 'before')
    const given: unknown[] = []
    const subscription = await pubsub.subscribe('events', { onMessage: ({ data }) => given.push(data) })
    const messages = collect(subscription)
    const ends: unknown[] = []
    subscription.on('history-end', (end) => ends.push(end))
    await until(() => subscription.status === 'synced')
    await other.pubsub.publish('events', 'after')
    await until(() => messages.length === 2)
    expect(messages.map(({ data, historic }) => [data, historic])).toEqual([
      ['before', true],
      ['after', false],
    ])
    expect(given).toEqual(['before', 'after'])
    expect(ends).toEqual([{ version: expect.any(Number), count: 1, recovered: true }])
    await until(() => subscription.lastSeenVersion > 1)
    await subscription.renew()
    await subscription.unsubscribe()
    expect(subscription.status).toBe('closed')
    expect(node.pubsub.counters().subscriptions).toBe(0)
  })

  it('can be iterated over, and ends with its signal, at the leader too', async () => {
    const { pubsub } = await following()
    const stop = new AbortController()
    const subscription = await pubsub.subscribe('iterated', { signal: stop.signal })
    const seen: unknown[] = []
    const reading = (async () => {
      for await (const { data } of subscription) seen.push(data)
    })()
    await until(() => subscription.status === 'synced')
    await other.pubsub.publish('iterated', 1)
    await until(() => seen.length === 1)
    stop.abort()
    await reading
    await until(() => node.pubsub.counters().subscriptions === 0)
  })

  it('passes an abort on, and tells what became of the call', async () => {
    const tab = newTab()
    let signal: AbortSignal | undefined
    const ended = Promise.withResolvers<never>()
    await tab.follow(
      pubsubWith({
        history: (_topic, options) => {
          signal = options?.signal
          signal?.addEventListener('abort', () => ended.reject(new StickyError('ABORTED', 'It was aborted.')))
          return ended.promise
        },
      }),
    )
    const stop = new AbortController()
    const asking = codeOf(tab.pubsub.history('aborted', { signal: stop.signal }))
    await until(() => signal)
    stop.abort()
    expect(await asking).toBe('ABORTED')
    expect(await codeOf(tab.pubsub.history('aborted', { signal: stop.signal }))).toBe('ABORTED')
  })

  it('hears what becomes of what it put into the outbox, while it listens', async () => {
    const { pubsub } = await following()
    const states: string[] = []
    const stop = pubsub.onReceipt(({ topic, state }) => topic === 'outbox' && states.push(state))
    const { key, state } = await pubsub.enqueue('outbox', 'x')
    expect([state, key.length > 10]).toEqual(['queued', true])
    pubsub.drainOutbox()
    await until(() => states.at(-1) === 'stored')
    stop()
    await until(() => pubsub.outbox().then((waiting) => waiting.length === 0))
    expect(texts((await other.pubsub.history('outbox')).messages)).toEqual(['x'])
  })

  it('hears of one topic only, where it asks for that', async () => {
    const { pubsub } = await following()
    const heard: string[] = []
    const stop = pubsub.onReceipt(({ topic }) => heard.push(topic), 'one')
    const all: string[] = []
    const stopAll = pubsub.onReceipt(({ topic, state }) => state === 'stored' && all.push(topic))
    await pubsub.enqueue('other', 'x')
    await pubsub.enqueue('one', 'y')
    pubsub.drainOutbox()
    await until(() => all.length === 2)
    expect(new Set(heard)).toEqual(new Set(['one']))
    stop()
    stopAll()
  })

  it('sees who is here, and is seen, also after a change of leaders', async () => {
    const tab = await following()
    const subscription = await tab.pubsub.subscribe('here', { presence: 'away' })
    await subscription.setPresence('at the desk')
    const states = () => subscription.present.map(({ state }) => state)
    await until(() => states().includes('at the desk'))
    const lists: unknown[] = []
    subscription.on('presence', (members) => lists.push(members.map(({ state }) => state)))
    await until(() => lists.length > 0)
    await tab.follow(other.pubsub)
    await until(() => subscription.present.some(({ nodeId }) => nodeId === other.pubsub.nodeId))
    expect(subscription.present.find(({ nodeId }) => nodeId === other.pubsub.nodeId)?.state).toBe(
      'at the desk',
    )
  })

  it('has a position that goes on after what an iteration has come to', async () => {
    const { pubsub } = await following()
    const subscription = await pubsub.subscribe('position')
    const reading = subscription[Symbol.asyncIterator]()
    const first = reading.next()
    await until(() => subscription.status === 'synced')
    for (const n of [1, 2, 3]) await other.pubsub.publish('position', n)
    expect((await first).value.data).toBe(1)
    const place = subscription.position
    await until(() => subscription.lastSeenVersion >= 4)
    const again = collect(await pubsub.subscribe('position', { history: { from: place } }))
    await until(() => again.length >= 2)
    expect(texts(again)).toEqual([2, 3])
  })

  it('opens a topic as applications do, and keeps the place of its reader', async () => {
    const { pubsub } = await following()
    const heard: unknown[] = []
    const open = async () => {
      const topic = await openTopic(pubsub, 'opened')
      topic.on('message', ({ data }) => heard.push(data))
      return topic
    }
    const topic = await open()
    await topic.publish('one')
    await until(() => heard.length === 1)
    await topic.close()
    await other.pubsub.publish('opened', 'two')
    const again = await open()
    await until(() => heard.length === 2)
    expect(heard).toEqual(['one', 'two'])
    await again.close()
  })

  it('lets go of all it had when it is gone', async () => {
    const tab = await following()
    await tab.pubsub.subscribe('gone')
    expect(node.pubsub.counters().subscriptions).toBe(1)
    tab.leader?.leave('tab')
    await until(() => node.pubsub.counters().subscriptions === 0)
    expect(tab.leader?.tabs).toBe(0)
  })
})

describe('a change of leaders', () => {
  it('goes on with a subscription where it was: nothing twice, nothing missing', async () => {
    const tab = await following()
    await other.pubsub.publish('change', 1)
    const subscription = await tab.pubsub.subscribe('change')
    const messages = collect(subscription)
    const ends: unknown[] = []
    const statuses: string[] = []
    subscription.on('history-end', (end) => ends.push(end))
    await until(() => messages.length === 1 && subscription.status === 'synced')
    subscription.on('sync', (status) => statuses.push(status))
    tab.client.detach()
    expect(subscription.status).toBe('catching-up')
    await other.pubsub.publish('change', 2)
    await tab.follow(other.pubsub)
    await other.pubsub.publish('change', 3)
    await until(() => messages.length === 3)
    await until(() => subscription.status === 'synced')
    expect(texts(messages)).toEqual([1, 2, 3])
    expect(messages.map(({ historic }) => historic)).toEqual([true, false, false])
    expect(ends).toHaveLength(1)
    expect(statuses.at(-1)).toBe('synced')
    expect(statuses).not.toContain('joining')
    await subscription.unsubscribe()
    expect(other.pubsub.counters().subscriptions).toBe(0)
  })

  it('enqueues once, whichever leader has answered', async () => {
    const tab = newTab()
    let enqueued = 0
    await tab.follow(
      pubsubWith({
        enqueue: async (...args) => {
          await node.pubsub.enqueue(...args)
          enqueued += 1
          return new Promise<never>(() => undefined) // and is gone before it could say so
        },
      }),
    )
    const enqueuing = tab.pubsub.enqueue('enqueued', 'x')
    await until(() => enqueued)
    await tab.follow() // the same disk
    const { key } = await enqueuing
    expect(key).toBeTruthy()
    await until(async () => (await tab.pubsub.history('enqueued')).messages.length > 0)
    await until(() => tab.pubsub.outbox().then((waiting) => waiting.length === 0))
    expect(texts((await tab.pubsub.history('enqueued')).messages)).toEqual(['x'])
  })

  it('makes what may be done twice again, and what waited for a leader', async () => {
    const tab = newTab()
    const waiting = tab.pubsub.publish('again', 'made while nobody led')
    const never = new Promise<never>(() => undefined)
    let asked = 0
    await tab.follow(
      pubsubWith({
        history: () => {
          asked += 1
          return never
        },
      }),
    )
    expect((await waiting).status).toBe('stored')
    const reading = tab.pubsub.history('again')
    await until(() => asked)
    await tab.follow(other.pubsub)
    expect(texts((await reading).messages)).toEqual(['made while nobody led'])
  })

  it('does not publish again what the lost leader had begun, but says that it does not know', async () => {
    const tab = newTab()
    let published = 0
    const losing = (): Promise<PublishReceipt> => {
      published += 1
      return new Promise(() => undefined)
    }
    await tab.follow(pubsubWith({ publish: losing }))
    const lost = codeOf(tab.pubsub.publish('begun', 'x'))
    await until(() => published)
    await tab.pubsub.outbox() // its answer comes after the word that it was taken
    await tab.follow(other.pubsub)
    expect(await lost).toBe('OUTCOME_UNKNOWN')
    expect((await tab.pubsub.history('begun')).messages).toEqual([])
  })

  it('says so too where no leader follows, or the tab is closed', async () => {
    for (const end of [
      (tab: PortTab) => tab.client.failWaiting(new StickyError('STORAGE_FAILED', 'It cannot start here.')),
      (tab: PortTab) => tab.client.close(new StickyError('CLOSED', 'This node is closed.')),
    ]) {
      const tab = newTab()
      await tab.follow(pubsubWith({ publish: () => new Promise(() => undefined) }))
      const begun = codeOf(tab.pubsub.publish('begun', 'x'))
      await tab.pubsub.outbox() // its answer comes after the word that it was taken
      tab.client.detach()
      const waiting = codeOf(tab.pubsub.publish('begun', 'y'))
      end(tab)
      expect(await begun).toBe('OUTCOME_UNKNOWN')
      expect(await waiting).toMatch(/STORAGE_FAILED|CLOSED/)
    }
  })

  it('does not make again what was aborted while the lost leader was silent', async () => {
    const tab = await following()
    const frozen = tab.ports?.port1 as MessagePort
    frozen.onmessage = null
    const stop = new AbortController()
    const aborted = [
      codeOf(tab.pubsub.publish('unwanted', 'x', { signal: stop.signal })),
      codeOf(tab.pubsub.publish('unwanted', 'y', { key: 'once', signal: stop.signal })),
    ]
    const wanted = codeOf(tab.pubsub.publish('unwanted', 'z'))
    await pause()
    stop.abort()
    await tab.follow(other.pubsub)
    expect(await Promise.all(aborted)).toEqual(['ABORTED', 'ABORTED'])
    expect(await wanted).toBe('ok')
    expect(texts((await tab.pubsub.history('unwanted')).messages)).toEqual(['z'])
  })

  it('lets a leader that closes end what it has begun', async () => {
    const tab = newTab()
    const slow = Promise.withResolvers<PublishReceipt>()
    let published = 0
    await tab.follow(
      pubsubWith({
        publish: () => {
          published += 1
          return slow.promise
        },
      }),
    )
    const publishing = tab.pubsub.publish('drained', 'x')
    await until(() => published)
    const closing = tab.leader?.close(true)
    slow.resolve({ status: 'stored', id: 'x' } as PublishReceipt)
    expect((await publishing).id).toBe('x')
    await closing
    await until(() => !tab.client.isConnected)
  })
})

describe('bounds', () => {
  it('refuses calls and subscriptions beyond them, and takes new ones afterwards', async () => {
    const tab = newTab({ maxCalls: 2, maxObjects: 1 })
    const [first, second] = [tab.pubsub.channelState('a'), tab.pubsub.channelState('b')]
    expect(await codeOf(tab.pubsub.channelState('c'))).toBe('BUSY')
    await tab.follow()
    expect(await Promise.all([first, second])).toEqual(['ACTIVE', 'ACTIVE'])
    const subscription = await tab.pubsub.subscribe('a')
    expect(await codeOf(tab.pubsub.subscribe('b'))).toBe('BUSY')
    await subscription.close()
    expect(await codeOf(tab.pubsub.subscribe('b'))).toBe('ok')
  })

  it('leave room for what is open to be opened again at the next leader', async () => {
    const tab = await following({ maxCalls: 3 })
    const subscription = await tab.pubsub.subscribe('full', { presence: 'here' })
    const messages = collect(subscription)
    await until(() => subscription.present.length > 0)
    tab.client.detach()
    const waiting = [1, 2, 3].map((n) => codeOf(tab.pubsub.publish('full', n)))
    expect(await codeOf(tab.pubsub.publish('full', 4))).toBe('BUSY')
    await tab.follow(other.pubsub)
    expect(await Promise.all(waiting)).toEqual(['ok', 'ok', 'ok'])
    await until(() => messages.length === 3)
    await until(() => subscription.present.some(({ nodeId }) => nodeId === other.pubsub.nodeId))
    expect(subscription.status).not.toBe('closed')
  })

  it('leave that room beside calls of what is open, all of which are made at the next leader', async () => {
    const tab = await following({ maxCalls: 3, maxObjects: 1 })
    const subscription = await tab.pubsub.subscribe('full of calls', { presence: 'here' })
    await until(() => subscription.status === 'synced')
    tab.client.detach()
    const states = [1, 2, 3, 4, 5, 6].map((n) => codeOf(subscription.setPresence(n)))
    expect(await codeOf(subscription.setPresence(7))).toBe('BUSY')
    await tab.follow(other.pubsub)
    expect(await Promise.all(states)).toEqual(states.map(() => 'ok'))
    await until(() => subscription.status === 'synced')
  })

  it('let go of a subscription that a tab does not read, which goes on where it was', async () => {
    const tab = await following({ maxUnackedEvents: 10, ackEvents: 4 })
    const subscription = await tab.pubsub.subscribe('burst')
    const messages = collect(subscription)
    await until(() => subscription.status === 'synced')
    // a frozen tab: what comes waits in its port
    const port = tab.ports?.port2 as MessagePort
    const handler = port.onmessage
    const frames: MessageEvent[] = []
    port.onmessage = (frame) => frames.push(frame)
    const numbers = Array.from({ length: 40 }, (_, n) => n)
    for (const n of numbers) await other.pubsub.publish('burst', n)
    await until(() => frames.some(({ data }) => data.t === 'ended'))
    await until(() => node.pubsub.counters().subscriptions === 0)
    port.onmessage = handler
    for (const frame of frames) handler?.call(port, frame)
    await until(() => messages.length === numbers.length)
    expect(texts(messages)).toEqual(numbers)
  })
})

describe('what is no frame', () => {
  const call = { t: 'call', id: 900, object: 0, method: 'channelState', args: ['x'], tracked: false }
  const asks: unknown[] = [
    undefined,
    null,
    1,
    'call',
    [],
    {},
    { t: 'nothing' },
    { ...call, id: -1 },
    { ...call, id: 1.5 },
    { ...call, id: '1' },
    { ...call, args: 'x' },
    { ...call, args: Array.from({ length: 9 }) },
    { ...call, method: 'x'.repeat(41) },
    { ...call, more: true },
    { t: 'abort' },
    { t: 'drop', object: Number.NaN },
    { t: 'ack', object: 1, count: -5 },
  ]
  const tells: unknown[] = [
    undefined,
    7,
    { t: 'result' },
    { t: 'result', id: 5_000, value: 1 },
    { t: 'taken', id: 'x' },
    { t: 'error', id: 1, error: { code: 1, message: 'x' } },
    { t: 'events', object: 77, events: [['message', {}]], mirror: {} },
    { t: 'events', object: 0, events: 'x', mirror: {} },
    { t: 'ended', object: 5_000 },
  ]

  it('does nothing, on either side', async () => {
    const tab = await following()
    const subscription = await tab.pubsub.subscribe('frames')
    const messages = collect(subscription)
    const { port1, port2 } = tab.ports as MessageChannel
    for (const frame of asks) port2.postMessage(frame)
    for (const frame of tells) port1.postMessage(frame)
    await other.pubsub.publish('frames', 'still here')
    await until(() => messages.length === 1)
    expect(await tab.pubsub.channelState('frames')).toBe('ACTIVE')
    expect(node.pubsub.counters().subscriptions).toBe(1)
  })

  it('calls nothing that is not in the table', async () => {
    const { client, pubsub } = await following()
    for (const method of ['close', 'receive', 'constructor', '__proto__', 'toString', 'dht'])
      expect(await codeOf(client.call(method, []))).toBe('UNKNOWN_METHOD')
    const subscription = await pubsub.subscribe('table')
    const numbers = Array.from({ length: 20 }, (_, number) => number + 1)
    const closing = numbers.map((object) => codeOf(client.call('close', [], { object })))
    // the one there is, and those that are not there
    expect(new Set(await Promise.all(closing))).toEqual(new Set(['UNKNOWN_METHOD', 'CLOSED']))
    expect(await codeOf(client.call('publish', [], { opens: client.register(nobody) }))).toBe(
      'UNKNOWN_METHOD',
    )
    expect(subscription.status).not.toBe('closed')
    expect((await pubsub.publish('table', 'open still')).status).toBe('stored')
  })

  const nobody = {
    take: () => undefined,
    reopen: () => undefined,
    interrupted: () => undefined,
    end: () => undefined,
  }
})
