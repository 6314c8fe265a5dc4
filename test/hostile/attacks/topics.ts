import { encode, framed, type Identity, identityFromSeed, MAX_DEPTH, sha256 } from '../../../src/dht/index.ts'
import { createMessage, type NewMessage } from '../../../src/pubsub/message.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { createPresence, type NewPresence } from '../../../src/pubsub/presence-statement.ts'
import { createStatement, type NewStatement } from '../../../src/pubsub/subscription-statement.ts'
import { topicKeyOf } from '../../../src/pubsub/topic-key.ts'
import type { Answer } from '../../support/link-attacker.ts'
import { until } from '../../support/memory-nodes.ts'
import { type Attack, outcomeOf, outcomesOf, type Stage } from './attack.ts'

/** Requests about topics that are well formed on the outside: what they carry is false, stale, or not theirs to say. */

const MINUTE_MS = 60_000
/** Further off than two clocks may be. */
const TOO_FAR_MS = 2 * LIMITS.maxSkewMs + MINUTE_MS
const ID = new Uint8Array(32).fill(3)

/** A signed object whose fields no honest program would put together. */
async function signed(identity: Identity, domain: string, body: object): Promise<Uint8Array> {
  const bytes = encode(body)
  return encode({ body: bytes, signature: await identity.sign(framed(domain, bytes)) })
}

const messageBody = ({ attacker, topicKey }: Stage) => ({
  v: 1,
  topic: topicKey,
  publisher: attacker.identity.publicKey,
  writer: new Uint8Array(8),
  sequence: 1,
  publishedAt: Date.now(),
  expiresAt: Date.now() + MINUTE_MS,
  data: encode('hostile'),
})
const message = async (stage: Stage, change: Partial<NewMessage> = {}): Promise<Uint8Array> => {
  const { writer, publishedAt, data } = messageBody(stage)
  const { identity } = stage.attacker
  const facts = { topicKey: stage.topicKey, identity, writer, sequence: 1, publishedAt, ttlMs: MINUTE_MS }
  const content = change.payload === undefined ? { data } : {}
  return (await createMessage({ ...facts, ...content, ...change })).envelope
}
const publish = (stage: Stage, messages: unknown[], more: object = {}): Promise<Answer> =>
  stage.link.request('topic/publish', {
    topic: stage.topicKey,
    messages,
    payloads: [],
    ...more,
  })
/** A message with these fields, properly signed. */
const saying =
  (change: object): Attack['act'] =>
  async (stage) => {
    const body = { ...messageBody(stage), ...change }
    return publish(stage, [await signed(stage.attacker.identity, 'sticky-pubsub/message/1', body)])
  }
const flipped = (bytes: Uint8Array, at: number): Uint8Array =>
  bytes.map((byte, i) => (i === (at + bytes.length) % bytes.length ? byte ^ 1 : byte))
/** A list in a list in a list …: what one stack can take and another cannot is thousands deep. */
const nested = (depth: number): Uint8Array => new Uint8Array(depth).fill(0x81).fill(0x80, depth - 1)
const payloadOf = (byte: number) => encode(new Uint8Array(20_000).fill(byte))

export const messageAttacks: Attack[] = [
  // without this one the refusals below would say nothing
  {
    name: 'a proper one, made by hand',
    expected: 'stored',
    mayStore: true,
    act: async (stage) => {
      const answer = await saying({})(stage)
      const { messages } = await stage.target.pubsub.history(stage.topic, { limit: 1 })
      return messages[0]?.data === 'hostile' ? 'stored' : answer
    },
  },
  { name: 'no message', expected: 'MALFORMED', act: (stage) => publish(stage, []) },
  {
    name: 'more messages than a request may have',
    expected: 'MALFORMED',
    act: async (stage) => publish(stage, new Array(129).fill(await message(stage))),
  },
  {
    name: 'one beyond its limit',
    expected: 'MALFORMED',
    act: (stage) => publish(stage, [new Uint8Array(LIMITS.maxEnvelopeBytes + 1)]),
  },
  {
    name: 'bytes that are none',
    expected: 'MALFORMED',
    act: (stage) => publish(stage, [new Uint8Array(100).fill(255)]),
  },
  { name: 'a text in its place', expected: 'MALFORMED', act: (stage) => publish(stage, ['hello']) },
  {
    name: 'another encoding of it',
    expected: 'MALFORMED',
    act: async (stage) => publish(stage, [Uint8Array.from([...(await message(stage)), 0])]),
  },
  {
    name: 'a wrong signature',
    expected: 'BAD_SIGNATURE',
    act: async (stage) => publish(stage, [flipped(await message(stage), -1)]),
  },
  {
    name: 'a signature for another purpose',
    expected: 'BAD_SIGNATURE',
    act: async (stage) =>
      publish(stage, [
        await signed(stage.attacker.identity, 'sticky-pubsub/subscription/1', messageBody(stage)),
      ]),
  },
  {
    name: 'the name of somebody else',
    expected: 'BAD_SIGNATURE',
    act: async (stage) => {
      const { publicKey } = await identityFromSeed(new Uint8Array(32).fill(8))
      return saying({ publisher: publicKey })(stage)
    },
  },
  {
    name: 'the small-order key whose signature fits everything',
    expected: 'BAD_SIGNATURE',
    act: (stage) => {
      const publisher = Uint8Array.from({ length: 32 }, (_, i) => Number(i === 0))
      const signature = Uint8Array.from({ length: 64 }, (_, i) => Number(i === 0))
      return publish(stage, [encode({ body: encode({ ...messageBody(stage), publisher }), signature })])
    },
  },
  {
    name: 'one of another topic',
    expected: 'WRONG_TOPIC',
    act: async (stage) => publish(stage, [await message(stage, { topicKey: await topicKeyOf('elsewhere') })]),
  },
  {
    name: 'one that is published too far ahead',
    expected: 'FROM_THE_FUTURE',
    act: async (stage) => publish(stage, [await message(stage, { publishedAt: Date.now() + TOO_FAR_MS })]),
  },
  {
    name: 'one that expired too long ago',
    expected: 'EXPIRED',
    act: async (stage) =>
      publish(stage, [await message(stage, { publishedAt: Date.now() - TOO_FAR_MS - MINUTE_MS })]),
  },
  {
    name: 'a life of 31 days',
    expected: 'MALFORMED',
    act: saying({ expiresAt: Date.now() + 31 * 24 * 60 * MINUTE_MS }),
  },
  { name: 'a life that ends before it begins', expected: 'MALFORMED', act: saying({ expiresAt: 1 }) },
  { name: 'the number 0', expected: 'MALFORMED', act: saying({ sequence: 0 }) },
  { name: 'a number and a half', expected: 'MALFORMED', act: saying({ sequence: 1.5 }) },
  { name: 'another version of the format', expected: 'MALFORMED', act: saying({ v: 2 }) },
  { name: 'a field too many', expected: 'MALFORMED', act: saying({ admin: true }) },
  { name: 'data and a payload', expected: 'MALFORMED', act: saying({ payload: { id: ID, bytes: 1 } }) },
  {
    name: 'more data than it may carry',
    expected: 'MALFORMED',
    act: saying({ data: new Uint8Array(LIMITS.maxInlineBytes + 1) }),
  },
  // stored, it would stop everybody who reads the topic at this place, for as long as it lives
  {
    name: 'with data that nobody can decode',
    expected: 'MALFORMED',
    act: saying({ data: Uint8Array.of(0xff) }),
  },
  {
    name: 'with data nested deeper than all can decode',
    expected: 'MALFORMED',
    act: saying({ data: nested(MAX_DEPTH + 1) }),
  },
  {
    name: 'with data nested as deep as a stack',
    expected: 'MALFORMED',
    act: saying({ data: nested(5_000) }),
  },
  {
    name: 'with data as deep as all can decode',
    expected: 'reply',
    mayStore: true,
    act: saying({ data: nested(MAX_DEPTH) }),
  },
  {
    name: 'with a payload that nobody can decode',
    expected: 'MALFORMED',
    act: async (stage) => {
      const bytes = new Uint8Array(20_000).fill(0xff)
      const payload = { id: await sha256(bytes), bytes: bytes.byteLength }
      return publish(stage, [await message(stage, { payload })], { payloads: [bytes] })
    },
  },
  {
    name: 'with a payload nested deeper than all can decode',
    expected: 'MALFORMED',
    act: async (stage) => {
      const bytes = nested(20_000)
      const payload = { id: await sha256(bytes), bytes: bytes.byteLength }
      return publish(stage, [await message(stage, { payload })], { payloads: [bytes] })
    },
  },
  {
    name: 'a payload that fits into the message',
    expected: 'MALFORMED',
    act: async (stage) => {
      const bytes = encode(new Uint8Array(LIMITS.maxInlineBytes - 3))
      const payload = { id: await sha256(bytes), bytes: bytes.byteLength }
      return publish(stage, [await message(stage, { payload })], { payloads: [bytes] })
    },
  },
  {
    name: 'a payload that does not come with it',
    expected: 'MALFORMED',
    act: async (stage) => publish(stage, [await message(stage, { payload: { id: ID, bytes: 20_000 } })]),
  },
  {
    name: 'another payload than it names',
    expected: 'MALFORMED',
    act: async (stage) =>
      publish(stage, [await message(stage, { payload: { id: ID, bytes: 20_000 } })], {
        payloads: [payloadOf(1)],
      }),
  },
  {
    name: 'a payload beyond its limit',
    expected: 'MALFORMED',
    act: async (stage) =>
      publish(stage, [await message(stage)], { payloads: [new Uint8Array(LIMITS.maxPayloadBytes + 1)] }),
  },
  {
    name: 'two at once that expect a version',
    expected: 'MALFORMED',
    act: async (stage) => publish(stage, [await message(stage), await message(stage)], { expect: 0 }),
  },
  {
    name: 'one that expects a version that is past',
    expected: 'UNEXPECTED_VERSION',
    act: async (stage) => publish(stage, [await message(stage)], { expect: 0 }),
  },
  {
    name: 'a question about more messages than it may name',
    expected: 'MALFORMED',
    act: ({ link, topicKey }) =>
      link.request('topic/delivered', { topic: topicKey, ids: new Array(129).fill(ID) }),
  },
  {
    name: 'the same message many times over, kept once',
    expected: 'once',
    mayStore: true,
    act: async (stage) => {
      const envelope = await message(stage)
      await Promise.all(Array.from({ length: 20 }, () => publish(stage, [envelope, envelope])))
      const { messages } = await stage.target.pubsub.history(stage.topic)
      const copies = messages.filter(({ data }) => data === 'hostile').length
      return copies === 1 ? 'once' : `${copies} times`
    },
  },
]

const statement = async (stage: Stage, change: Partial<NewStatement> = {}): Promise<Uint8Array> => {
  const issuedAt = change.issuedAt ?? Date.now()
  const made = await createStatement({
    topicKey: stage.topicKey,
    identity: stage.attacker.identity,
    kind: 'subscribe',
    issuedAt,
    expiresAt: issuedAt + LIMITS.subscriptionTtlMs,
    info: new Uint8Array(),
    ...change,
  })
  return made.envelope
}
const say = (stage: Stage, envelope: Uint8Array, method = 'topic/subscribe'): Promise<Answer> =>
  stage.link.request(method, { topic: stage.topicKey, statement: envelope })
const stating =
  (change: (now: number) => Partial<NewStatement>, method?: string): Attack['act'] =>
  async (stage) =>
    say(stage, await statement(stage, change(Date.now())), method)
const isSubscribed = async ({ target, topic, attacker }: Stage): Promise<boolean> =>
  (await target.pubsub.subscribers(topic)).some(({ nodeId }) => nodeId === attacker.identity.nodeId)

export const statementAttacks: Attack[] = [
  {
    name: 'a wrong signature',
    expected: 'BAD_SIGNATURE',
    act: async (stage) => say(stage, flipped(await statement(stage), -1)),
  },
  { name: 'bytes that are none', expected: 'MALFORMED', act: (stage) => say(stage, new Uint8Array(100)) },
  { name: 'one beyond its limit', expected: 'MALFORMED', act: (stage) => say(stage, new Uint8Array(513)) },
  {
    name: 'one of another topic',
    expected: 'WRONG_TOPIC',
    act: async (stage) => say(stage, await statement(stage, { topicKey: await topicKeyOf('elsewhere') })),
  },
  {
    name: 'one signed too long ago',
    expected: 'REPLAYED',
    act: stating((now) => ({ issuedAt: now - TOO_FAR_MS })),
  },
  {
    name: 'one signed too far ahead',
    expected: 'FROM_THE_FUTURE',
    act: stating((now) => ({ issuedAt: now + TOO_FAR_MS })),
  },
  {
    name: 'a life of an hour',
    expected: 'MALFORMED',
    act: stating((now) => ({ expiresAt: now + 60 * MINUTE_MS })),
  },
  {
    name: 'an unsubscribe that is soon forgotten',
    expected: 'MALFORMED',
    act: stating((now) => ({ kind: 'unsubscribe', issuedAt: now, expiresAt: now + MINUTE_MS })),
  },
  {
    name: 'information beyond its limit',
    expected: 'MALFORMED',
    act: stating(() => ({ info: new Uint8Array(129) })),
  },
  {
    name: 'attaching with a wrong signature',
    expected: 'BAD_SIGNATURE',
    act: async (stage) => say(stage, flipped(await statement(stage), -1), 'topic/attach'),
  },
  {
    name: 'attaching in the name of somebody else',
    expected: 'WRONG_IDENTITY',
    act: async (stage) => {
      const identity = await identityFromSeed(new Uint8Array(32).fill(8))
      return say(stage, await statement(stage, { identity }), 'topic/attach')
    },
  },
  {
    name: 'attaching with an unsubscribe',
    expected: 'WRONG_IDENTITY',
    act: stating(() => ({ kind: 'unsubscribe' }), 'topic/attach'),
  },
  {
    name: 'attaching with an old statement',
    expected: 'REPLAYED',
    act: stating((now) => ({ issuedAt: now - TOO_FAR_MS }), 'topic/attach'),
  },
  {
    name: 'a subscription, replayed after its unsubscribe, has no effect',
    expected: 'not subscribed',
    mayStore: true,
    act: async (stage) => {
      const now = Date.now()
      const joining = await statement(stage, { issuedAt: now - 2_000 })
      const renewal = await statement(stage, { issuedAt: now - 1_500 })
      for (const envelope of [joining, renewal]) await say(stage, envelope)
      if (!(await isSubscribed(stage))) return 'was never subscribed'
      await say(stage, await statement(stage, { issuedAt: now - 1_000, kind: 'unsubscribe' }))
      for (const envelope of [joining, renewal]) await say(stage, envelope)
      return (await isSubscribed(stage)) ? 'subscribed' : 'not subscribed'
    },
  },
  {
    name: 'an unsubscribe, replayed after a new subscription, has no effect',
    expected: 'subscribed',
    mayStore: true,
    act: async (stage) => {
      const now = Date.now()
      const leaving = await statement(stage, { issuedAt: now - 2_000, kind: 'unsubscribe' })
      await say(stage, leaving)
      await say(stage, await statement(stage, { issuedAt: now - 1_000 }))
      await say(stage, leaving)
      return (await isSubscribed(stage)) ? 'subscribed' : 'not subscribed'
    },
  },
  {
    name: 'a flood of statements',
    expected: 'RATE_LIMITED, reply',
    mayStore: true,
    act: async (stage) => {
      const envelope = await statement(stage)
      const answers: Answer[] = []
      for (let i = 0; i < 5; i++)
        answers.push(...(await Promise.all(Array.from({ length: 100 }, () => say(stage, envelope)))))
      // one that was overtaken is old by then
      return outcomesOf(answers.filter((answer) => outcomeOf(answer) !== 'REPLAYED'))
    },
  },
]

const push = { previous: 0, version: 1, messages: ID, entries: [] }

export const pushAttacks: Attack[] = [
  {
    name: 'to a node that is not subscribed',
    expected: 'NOT_FOUND',
    act: ({ link, topicKey }) => link.request('topic/push', { topic: topicKey, ...push }),
  },
  {
    name: 'with more entries than it may have',
    expected: 'MALFORMED',
    act: ({ link, topicKey }) =>
      link.request('topic/push', {
        topic: topicKey,
        ...push,
        entries: new Array(257).fill([1, new Uint8Array(1)]),
      }),
  },
  {
    name: 'of a version beyond all versions',
    expected: 'MALFORMED',
    act: ({ link, topicKey }) => link.request('topic/push', { topic: topicKey, ...push, version: 2 ** 41 }),
  },
  {
    name: 'of a signed message to a subscriber that did not ask this peer',
    expected: 'nothing delivered',
    mayStore: true,
    act: async (stage) => {
      const { target, link, topic, topicKey } = stage
      const heard: unknown[] = []
      const subscription = await target.pubsub.subscribe(topic, { onMessage: ({ data }) => heard.push(data) })
      const version = subscription.lastSeenVersion
      const entries = [[version + 1, await message(stage)]]
      await link.request('topic/push', {
        topic: topicKey,
        ...push,
        previous: version,
        version: version + 1,
        entries,
      })
      await target.pubsub.publish(topic, 'behind it')
      for await (const { data } of subscription) if (data === 'behind it') break
      await subscription.unsubscribe()
      return heard.includes('hostile') ? 'delivered' : 'nothing delivered'
    },
  },
]

const presence = async (stage: Stage, change: Partial<NewPresence> = {}): Promise<Uint8Array> => {
  const at = change.at ?? Date.now()
  const { identity } = stage.attacker
  const facts = { topicKey: stage.topicKey, identity, state: encode('hostile'), since: at, at }
  return (await createPresence({ ...facts, ...change })).envelope
}
const appear = ({ link, topicKey }: Stage, envelope: Uint8Array): Promise<Answer> =>
  link.request('topic/presence', { topic: topicKey, statement: envelope })
/** Whom a newcomer is shown by the node that is attacked. */
const shown = async ({ target, topic }: Stage): Promise<unknown[]> => {
  const subscription = await target.pubsub.subscribe(topic, { presence: 'honest' })
  await until(() => subscription.present.some(({ state }) => state === 'honest'))
  const states = subscription.present.map(({ state }) => state)
  await subscription.unsubscribe()
  return states
}

export const presenceAttacks: Attack[] = [
  // without this one the refusals below would say nothing
  {
    name: 'a proper one, made by hand',
    expected: 'honest, hostile',
    mayStore: true,
    act: async (stage) => {
      const answer = await appear(stage, await presence(stage))
      if (outcomesOf([answer]) !== 'reply') return answer
      return (await shown(stage)).toSorted().join(', ')
    },
  },
  {
    name: 'a signature for another purpose',
    expected: 'BAD_SIGNATURE',
    act: async (stage) => {
      const now = Date.now()
      const { identity } = stage.attacker
      const body = {
        v: 1,
        topic: stage.topicKey,
        client: identity.publicKey,
        state: encode(1),
        since: now,
        at: now,
      }
      return appear(stage, await signed(identity, 'sticky-pubsub/subscription/1', { ...body, leaves: false }))
    },
  },
  {
    name: 'the presence of somebody else',
    expected: 'WRONG_IDENTITY',
    act: async (stage) => {
      const identity = await identityFromSeed(new Uint8Array(32).fill(8))
      return appear(stage, await presence(stage, { identity }))
    },
  },
  {
    name: 'a state nested deeper than all can decode',
    expected: 'MALFORMED',
    act: async (stage) => appear(stage, await presence(stage, { state: nested(MAX_DEPTH + 1) })),
  },
  {
    name: 'in a topic that is nowhere, at one of its replicas, is taken in memory only',
    expected: 'reply',
    act: async (stage) => {
      const topicKey = await topicKeyOf('nowhere')
      return appear({ ...stage, topicKey }, await presence(stage, { topicKey }))
    },
  },
  {
    name: 'in sixty topics that are nowhere: each costs a look-up and a place',
    expected: 'NOT_FOUND, reply, few taken',
    act: async (stage) => {
      const appearAt = async (_: unknown, i: number) => {
        const topicKey = await topicKeyOf(`nowhere ${i}`)
        return appear({ ...stage, topicKey }, await presence(stage, { topicKey }))
      }
      const answers = await Promise.all(Array.from({ length: 60 }, appearAt))
      const taken = answers.filter((answer) => outcomeOf(answer) === 'reply').length
      return `${outcomesOf(answers)}, ${taken < 30 ? 'few' : 'most'} taken`
    },
  },
  {
    name: 'a presence, replayed after its leave, has no effect',
    expected: 'honest',
    mayStore: true,
    act: async (stage) => {
      const now = Date.now()
      const coming = await presence(stage, { at: now - 3 })
      await appear(stage, coming)
      await appear(stage, await presence(stage, { at: now - 2, since: now - 3, state: undefined }))
      const answer = await appear(stage, coming)
      return outcomesOf([answer]) === 'REPLAYED' ? (await shown(stage)).join(', ') : answer
    },
  },
  {
    name: 'pushed to a node that watches nothing',
    expected: 'NOT_FOUND',
    act: async (stage) => {
      const roster = { epoch: new Uint8Array(8), since: 0, counter: 1, latest: 1, gone: [] }
      return stage.link.request('topic/present', {
        topic: stage.topicKey,
        ...roster,
        entries: [await presence(stage)],
      })
    },
  },
  {
    name: 'a list with more members than an answer may have',
    expected: 'MALFORMED',
    act: ({ link, topicKey }) => {
      const roster = { epoch: new Uint8Array(8), since: 0, counter: 1, latest: 1, gone: [] }
      return link.request('topic/present', { topic: topicKey, ...roster, entries: new Array(513).fill(ID) })
    },
  },
  {
    name: 'a flood of changes',
    expected: 'RATE_LIMITED, reply',
    mayStore: true,
    act: async (stage) => {
      const now = Date.now()
      const changes: Uint8Array[] = []
      for (let i = 0; i < 500; i++) changes.push(await presence(stage, { at: now + i, since: now }))
      const answers: Answer[] = []
      // as many at once as a node takes of one peer, so that they are a flood on a slow machine too
      for (let i = 0; i < changes.length; i += 250)
        answers.push(...(await Promise.all(changes.slice(i, i + 250).map((change) => appear(stage, change)))))
      // one that was overtaken is old by then
      return outcomesOf(answers.filter((answer) => outcomeOf(answer) !== 'REPLAYED'))
    },
  },
]
