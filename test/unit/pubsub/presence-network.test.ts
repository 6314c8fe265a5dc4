import { afterEach, describe, expect, it } from 'vitest'
import { encode, type Identity, identityFromSeed, toHex } from '../../../src/dht/index.ts'
import type { PresenceMember, StickyPubSub } from '../../../src/pubsub/index.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { createPresence, type NewPresence } from '../../../src/pubsub/presence-statement.ts'
import { topicKeyOf } from '../../../src/pubsub/topic-key.ts'
import { type Roster, topicMethods } from '../../../src/pubsub/wire.ts'
import { MemoryNet, type MemoryNode, type MemoryNodeOptions, until } from '../../support/memory-nodes.ts'

/** What a replica takes from a peer, and a subscriber from its replica: by requests made by hand. */

const client: MemoryNodeOptions = { stores: false, durable: false }
let net = new MemoryNet()
afterEach(async () => {
  await net.close()
  net = new MemoryNet()
})

const identityOf = ({ seed }: MemoryNode): Promise<Identity> => identityFromSeed(seed)

async function statement(
  node: MemoryNode,
  topic: string,
  change: Partial<NewPresence> = {},
): Promise<Uint8Array> {
  const at = change.at ?? Date.now()
  const identity = await identityOf(node)
  const facts = { topicKey: await topicKeyOf(topic), identity, state: encode('here'), since: at, at }
  return (await createPresence({ ...facts, ...change })).envelope
}

async function say(from: MemoryNode, to: MemoryNode, topic: string, envelope: Uint8Array): Promise<string> {
  const body = { topic: await topicKeyOf(topic), statement: envelope }
  return from.pubsub.dht.rpc.request(to.pubsub.nodeId, topicMethods.presence, body).then(
    () => 'taken',
    (error: { code: string }) => error.code,
  )
}

const keysOf = async ({ storage }: MemoryNode) => {
  const keys: string[] = []
  for await (const key of storage.keys('')) keys.push(key)
  return keys
}

/** Everybody in these topics is subscribed at the one holder there is. */
async function begin(
  topics: string[],
  options: MemoryNodeOptions['options'] = {},
): Promise<[MemoryNode, MemoryNode]> {
  const holder = await net.add({ options })
  for (const topic of topics) await holder.pubsub.publish(topic, 'it exists')
  return [holder, await net.add(client)]
}

describe('a replica', () => {
  it('takes what a peer says of itself, and nothing else', async () => {
    const [holder, peer] = await begin(['room'])
    const other = await net.add(client)
    expect(await say(peer, holder, 'room', await statement(other, 'room'))).toBe('WRONG_IDENTITY')
    const forged = (await statement(peer, 'room')).map((byte, i, all) =>
      i === all.length - 1 ? byte ^ 1 : byte,
    )
    expect(await say(peer, holder, 'room', forged)).toBe('BAD_SIGNATURE')
    expect(await say(peer, holder, 'room', await statement(peer, 'elsewhere'))).toBe('WRONG_TOPIC')
    const far = 2 * LIMITS.maxSkewMs + 60_000
    expect(await say(peer, holder, 'room', await statement(peer, 'room', { at: Date.now() + far }))).toBe(
      'FROM_THE_FUTURE',
    )
    expect(await say(peer, holder, 'room', await statement(peer, 'room', { at: Date.now() - far }))).toBe(
      'REPLAYED',
    )
    expect(await say(peer, holder, 'room', new Uint8Array(LIMITS.maxPresenceBytes))).toBe('MALFORMED')
    expect(holder.pubsub.counters()).toMatchObject({ presenceTopics: 0, presenceEntries: 0 })
    const now = Date.now()
    expect(await say(peer, holder, 'room', await statement(peer, 'room', { at: now }))).toBe('taken')
    expect(await say(peer, holder, 'room', await statement(peer, 'room', { at: now - 1 }))).toBe('REPLAYED')
    expect(holder.pubsub.counters()).toMatchObject({ presenceTopics: 1, presenceEntries: 1 })
  })

  it.each([
    { who: 'that is yet to be given the topic takes it', isReplica: true },
    { who: 'that is none takes nothing', isReplica: false },
  ])('$who, and a topic does not come to be by it', async ({ isReplica }) => {
    const dhtOptions = { replication: 1, minDurable: 0 }
    const nodes = [await net.add({ dhtOptions }), await net.add({ dhtOptions })]
    const peer = await net.add(client)
    const key = await topicKeyOf('nowhere')
    const [closest] = await (nodes[0] as MemoryNode).pubsub.dht.replicas.set(key)
    const node = nodes.find(({ pubsub }) => (pubsub.nodeId === closest?.nodeId) === isReplica) as MemoryNode
    const said = await say(peer, node, 'nowhere', await statement(peer, 'nowhere'))
    expect(said).toBe(isReplica ? 'taken' : 'NOT_FOUND')
    const entries = isReplica ? 1 : 0
    expect(node.pubsub.counters()).toMatchObject({ presenceTopics: entries, presenceEntries: entries })
    expect((await keysOf(node)).filter((name) => name.includes(toHex(key)))).toEqual([])
    expect(await peer.pubsub.loadCoordinator('nowhere')).toBeUndefined()
  })

  it.each([
    { what: 'topics of one peer', options: { maxPresenceEntriesPerPeer: 1 }, isOther: false, topic: 'b' },
    { what: 'members in all topics', options: { maxPresenceEntries: 1 }, isOther: true, topic: 'a' },
    { what: 'topics', options: { maxPresenceTopics: 1 }, isOther: true, topic: 'b' },
  ])(
    'keeps so many $what and no more; who is in may change and leave',
    async ({ options, isOther, topic }) => {
      const [holder, peer] = await begin(['a', 'b'], options)
      const second = isOther ? await net.add(client) : peer
      const now = Date.now()
      expect(await say(peer, holder, 'a', await statement(peer, 'a', { at: now }))).toBe('taken')
      expect(await say(second, holder, topic, await statement(second, topic))).toBe('BUSY')
      expect(await say(peer, holder, 'a', await statement(peer, 'a', { at: now + 1, since: now }))).toBe(
        'taken',
      )
      const leave = await statement(peer, 'a', { at: now + 2, since: now, state: undefined })
      expect(await say(peer, holder, 'a', leave)).toBe('taken')
      expect(holder.pubsub.counters()).toMatchObject({ presenceTopics: 1, presenceEntries: 1 })
    },
  )

  it('answers who is not attached, and remembers nothing of it', async () => {
    const [holder, peer] = await begin(['room'])
    const body = { topic: await topicKeyOf('room'), epoch: new Uint8Array(8), since: 0, listed: 0 }
    const ask = () => peer.pubsub.dht.rpc.request(holder.pubsub.nodeId, topicMethods.roster, body)
    expect(await ask()).toMatchObject({ latest: 0, entries: [] })
    expect(holder.pubsub.counters()).toMatchObject({ presenceTopics: 0 })
    const member = await net.add(client)
    await say(member, holder, 'room', await statement(member, 'room'))
    expect((await ask()).entries).toHaveLength(1)
    await say(
      member,
      holder,
      'room',
      await statement(member, 'room', { state: encode('x'), at: Date.now() + 5 }),
    )
    await until(async () => (await ask()).latest === 2)
    expect(holder.pubsub.counters().presence).toMatchObject({ pushes: 0 })
  })

  it('sends on what changes at most four times a second', async () => {
    const [holder, peer] = await begin(['room'])
    const watcher = await net.add(client)
    const subscription = await watcher.pubsub.subscribe('room')
    const isShown = (n: number) => subscription.present.some(({ state }) => state === n)
    const at = Date.now()
    const change = async (n: number) =>
      say(peer, holder, 'room', await statement(peer, 'room', { at: at + n, since: at, state: encode(n) }))
    await change(0)
    await until(() => isShown(0))
    const before = holder.pubsub.counters().presence?.pushes as number
    const startMs = performance.now()
    for (let n = 1; n <= 60; n++) expect(await change(n)).toBe('taken')
    await until(() => isShown(60))
    const mostPushes = 2 + (performance.now() - startMs) / LIMITS.presencePushMs
    expect((holder.pubsub.counters().presence?.pushes as number) - before).toBeLessThanOrEqual(mostPushes)
  })

  it('that is a member itself never dials for it', async () => {
    const holder = await net.add()
    const subscription = await holder.pubsub.subscribe('room', { presence: 'alone' })
    await until(() => subscription.present.length === 1)
    expect(subscription.present).toMatchObject([{ nodeId: holder.pubsub.nodeId, state: 'alone' }])
    expect(holder.pubsub.counters().rpc.requestsSent).toBe(0)
  })
})

describe('a subscriber', () => {
  /** A replica whose pushes the test makes, and a subscriber of it that sees one member. */
  async function watched(options: MemoryNodeOptions['options'] = {}) {
    const [holder, member] = await begin(['room'])
    const watcher = await net.add({ ...client, options })
    const topic = await topicKeyOf('room')
    const subscription = await watcher.pubsub.subscribe('room')
    const lists: PresenceMember[][] = []
    subscription.on('presence', (list) => lists.push(list))
    await until(() => subscription.status === 'synced')
    const memberSubscription = await member.pubsub.subscribe('room', { presence: 'member' })
    await until(() => subscription.present.length === 1)
    const { rpc } = holder.pubsub.dht
    const current = await watcher.pubsub.dht.rpc.request(holder.pubsub.nodeId, topicMethods.roster, {
      topic,
      epoch: new Uint8Array(8),
      since: 0,
      listed: 0,
    })
    let counter = current.counter
    const push = (change: Partial<Roster>, by: StickyPubSub = holder.pubsub): Promise<string> => {
      const roster = {
        ...current,
        since: counter,
        counter: counter + 1,
        latest: counter + 1,
        entries: [],
        gone: [],
      }
      counter += 1
      return (by === holder.pubsub ? rpc : by.dht.rpc)
        .request(watcher.pubsub.nodeId, topicMethods.present, { topic, ...roster, ...change })
        .then(
          () => 'taken',
          (error: { code: string }) => error.code,
        )
    }
    const statesShown = () => subscription.present.map(({ state }) => state).toSorted()
    return { holder, member, memberSubscription, watcher, subscription, push, statesShown, lists }
  }

  it('believes no replica that invents or alters, and takes what it can check', async () => {
    const { push, member, statesShown } = await watched()
    const stranger = await net.add(client)
    const invented = await statement(stranger, 'room')
    const altered = invented.map((byte, i, all) => (i === all.length - 1 ? byte ^ 1 : byte))
    expect(await push({ entries: [altered] })).toBe('BAD_SIGNATURE')
    expect(await push({ entries: [await statement(stranger, 'elsewhere')] })).toBe('WRONG_TOPIC')
    expect(await push({ entries: [new Uint8Array(9)] })).toBe('MALFORMED')
    // no reason to punish, and none to believe
    expect(
      await push({
        entries: [await statement(member, 'room', { at: Date.now() - 60_000, state: encode('old') })],
      }),
    ).toBe('taken')
    expect(await push({ entries: [await statement(stranger, 'room', { at: Date.now() - 3_600_000 })] })).toBe(
      'taken',
    )
    expect(statesShown()).toEqual(['member'])
    expect(await push({ entries: [altered, invented] })).toBe('BAD_SIGNATURE')
    expect(statesShown()).toEqual(['here', 'member'])
  })

  it('is told nothing by a peer that does not serve it', async () => {
    const { push, statesShown } = await watched()
    const stranger = await net.add(client)
    expect(await push({ entries: [await statement(stranger, 'room')] }, stranger.pubsub)).toBe('NOT_FOUND')
    expect(statesShown()).toEqual(['member'])
    const other = {
      topic: await topicKeyOf('another'),
      epoch: new Uint8Array(8),
      since: 0,
      counter: 0,
      latest: 0,
      entries: [],
      gone: [],
    }
    const { rpc } = stranger.pubsub.dht
    const [watcher] = net.nodes.slice(2, 3) as [MemoryNode]
    await expect(rpc.request(watcher.pubsub.nodeId, topicMethods.present, other)).rejects.toMatchObject({
      code: 'NOT_FOUND',
    })
  })

  it('reads the list again when a push was lost on the way', async () => {
    const { push, member, memberSubscription, statesShown } = await watched()
    await push({ gone: [(await identityOf(member)).publicKey] })
    expect(statesShown()).toEqual([])
    await push({ since: 1_000, counter: 1_001, latest: 1_001 })
    // the count of the honest replica is behind the invented one: it gives all
    await until(() => statesShown().length === 1)
    await memberSubscription.setPresence('changed')
    await until(() => statesShown()[0] === 'changed')
  })

  it('checks no more signatures than an honest replica has for it', async () => {
    const { push, statesShown } = await watched({ maxPresenceChecks: 4, presenceChecksPerSecond: 0 })
    const strangers = await Promise.all(Array.from({ length: 6 }, () => net.add(client)))
    const entries = await Promise.all(strangers.map((stranger) => statement(stranger, 'room')))
    expect(await push({ entries })).toBe('RATE_LIMITED')
    expect(statesShown().length).toBeLessThanOrEqual(4)
  })

  it('says what is wrong with a state, and shows nothing of it', async () => {
    const { subscription, watcher, statesShown } = await watched()
    await expect(subscription.setPresence('x'.repeat(300))).rejects.toMatchObject({ code: 'TOO_LARGE' })
    await expect(subscription.setPresence(Number.NaN)).rejects.toMatchObject({ code: 'INVALID_DATA' })
    await expect(watcher.pubsub.subscribe('room', { presence: 'x'.repeat(300) })).rejects.toMatchObject({
      code: 'TOO_LARGE',
    })
    expect(watcher.pubsub.counters().subscriptions).toBe(1)
    await subscription.setPresence('mine')
    await until(() => statesShown().length === 2)
    await subscription.close()
    await expect(subscription.setPresence('late')).rejects.toMatchObject({ code: 'CLOSED' })
  })
})
