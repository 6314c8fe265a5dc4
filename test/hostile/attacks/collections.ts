import { encode, identityFromSeed, sha256, toHex } from '../../../src/dht/index.ts'
import { emptyCoordinator } from '../../../src/pubsub/coordinator.ts'
import { createMessage, type NewMessage, type VerifiedMessage } from '../../../src/pubsub/message.ts'
import { COORDINATOR, LIMITS } from '../../../src/pubsub/options.ts'
import { createStatement } from '../../../src/pubsub/subscription-statement.ts'
import { topicKeyOf } from '../../../src/pubsub/topic-key.ts'
import type { Attack, Stage } from './attack.ts'

/**
 * Collections made by hand out of properly signed facts: parts that hang in many places, so that a few blocks take for
 * ever to walk, facts of another topic, and references that say what is not so. Each is offered to a topic that exists,
 * where it would be joined, and as the first head of one that does not, where it would be taken over.
 */

const VERSION = 1_000

class Blocks {
  readonly byId = new Map<string, Uint8Array>()

  async add(value: unknown): Promise<Uint8Array> {
    const bytes = encode(value)
    return this.put(await sha256(bytes), bytes)
  }

  put(id: Uint8Array, bytes: Uint8Array): Uint8Array {
    this.byId.set(toHex(id), bytes)
    return id
  }
}

interface Content {
  messages?: Uint8Array | null
  subscribers?: Uint8Array | null
}
/** Makes the collections of a head for one topic. */
type Make = (blocks: Blocks, topicKey: Uint8Array, stage: Stage) => Promise<Content>

const message = (
  { attacker }: Stage,
  topicKey: Uint8Array,
  content: Pick<NewMessage, 'data' | 'payload'> = { data: encode('hostile') },
  sequence = 1,
): Promise<VerifiedMessage> =>
  createMessage({
    topicKey,
    identity: attacker.identity,
    writer: new Uint8Array(8),
    sequence,
    publishedAt: Date.now(),
    ttlMs: 60_000,
    ...content,
  })

const offerOf = async (stage: Stage, topicKey: Uint8Array, make: Make) => {
  const blocks = new Blocks()
  const content = await make(blocks, topicKey, stage)
  const now = Date.now()
  const head = encode({
    ...emptyCoordinator(topicKey, now),
    version: VERSION,
    expiresAt: now + 60_000,
    messages: null,
    ...content,
  })
  const link = await stage.attacker.link((method, body) => {
    if (method !== 'record/blocks') return { head }
    const { refs } = body as { refs: [string, Uint8Array][] }
    return { blocks: refs.map(([, id]) => blocks.byId.get(toHex(id)) ?? null) }
  })
  const source = stage.attacker.identity.publicKey
  return link.request('record/offer', { kind: COORDINATOR, key: topicKey, head, source })
}

/** At the topic under attack, and at one that nobody has begun. */
const both = (name: string, expected: string, make: Make): Attack[] => [
  { name, expected, act: (stage) => offerOf(stage, stage.topicKey, make) },
  {
    name: `${name}, as the first head`,
    expected,
    act: async (stage) => offerOf(stage, await topicKeyOf(`${stage.topic} begun by hand`), make),
  },
]

/** A trie of `depth` branches, each of which names one and the same child 16 times. */
const bombOfSubscribers: Make = async (blocks, topic, { attacker }) => {
  const issuedAt = Date.now()
  const { identity } = attacker
  const facts = { topicKey: topic, identity, issuedAt, expiresAt: issuedAt + 60_000, info: new Uint8Array() }
  const { envelope } = await createStatement({ ...facts, kind: 'subscribe' })
  const depth = 12
  let child = await blocks.add({ v: 1, topic, depth, statements: [envelope] })
  for (let at = depth - 1; at >= 0; at--)
    child = await blocks.add({ v: 1, topic, depth: at, count: 65, children: Array(16).fill(child) })
  return { subscribers: child }
}

const refTo = (id: Uint8Array, count: number) => ({
  id,
  count,
  firstVersion: 1,
  lastVersion: 1,
  expiresAt: Date.now() + 60_000,
})

/** Five levels of indexes, each of which names one and the same part 64 times. */
const bombOfMessages: Make = async (blocks, topic, stage) => {
  const { envelope } = await message(stage, topic)
  let ref = refTo(await blocks.add({ v: 1, topic, entries: [[1, envelope]] }), 1)
  for (let level = 1; level < LIMITS.maxSpineLevels; level++)
    ref = refTo(
      await blocks.add({ v: 1, topic, level, refs: Array(LIMITS.fanOut).fill(ref) }),
      ref.count * LIMITS.fanOut,
    )
  const levels = [...Array(LIMITS.maxSpineLevels - 1).fill([]), [ref]]
  const spine = await blocks.add({ v: 1, topic, levels })
  return { messages: await blocks.add({ v: 1, topic, count: ref.count, spine, tail: [] }) }
}

const inTail = async (blocks: Blocks, topic: Uint8Array, inside: VerifiedMessage, bytes?: number) => {
  blocks.put(inside.id, inside.envelope)
  const entry = [inside.id, 1, bytes ?? inside.envelope.byteLength, inside.body.expiresAt]
  return { messages: await blocks.add({ v: 1, topic, count: 1, spine: null, tail: [entry] }) }
}

const DATA = new Uint8Array(20_000)

/** Pages are full by what their messages say, so that a topic could be made full of nothing. */
const namesOf =
  (...lengths: number[]): Make =>
  async (blocks, topic, stage) => {
    const payload = encode(DATA)
    const id = blocks.put(await sha256(payload), payload)
    const messages = await Promise.all(
      lengths.map((bytes, i) => message(stage, topic, { payload: { id, bytes } }, i + 1)),
    )
    const tail = messages.map((inside, i) => {
      blocks.put(inside.id, inside.envelope)
      return [inside.id, 1, inside.envelope.byteLength + (lengths[i] ?? 0), inside.body.expiresAt]
    })
    return { messages: await blocks.add({ v: 1, topic, count: tail.length, spine: null, tail }) }
  }

export const collectionAttacks: Attack[] = [
  ...both('subscribers that hang in 16 places each', 'MALFORMED', bombOfSubscribers),
  ...both('messages that hang in 64 places each', 'MALFORMED', bombOfMessages),
  ...both('a message of another topic', 'WRONG_TOPIC', async (blocks, topic, stage) =>
    inTail(blocks, topic, await message(stage, await topicKeyOf('elsewhere'))),
  ),
  ...both('a page of another topic', 'WRONG_TOPIC', async (blocks, topic, stage) => {
    const elsewhere = await topicKeyOf('elsewhere')
    const { envelope } = await message(stage, elsewhere)
    const page = refTo(await blocks.add({ v: 1, topic: elsewhere, entries: [[1, envelope]] }), 1)
    const spine = await blocks.add({ v: 1, topic, levels: [[page]] })
    return { messages: await blocks.add({ v: 1, topic, count: 1, spine, tail: [] }) }
  }),
  ...both('a subscriber in another’s place', 'MALFORMED', async (blocks, topic) => {
    const issuedAt = Date.now()
    const statements = await Promise.all(
      Array.from({ length: 65 }, async (_, i) => {
        const identity = await identityFromSeed(new Uint8Array(32).fill(i + 1))
        const facts = { topicKey: topic, identity, issuedAt, expiresAt: issuedAt + 60_000 }
        return (await createStatement({ ...facts, kind: 'subscribe', info: new Uint8Array() })).envelope
      }),
    )
    const leaf = await blocks.add({ v: 1, topic, depth: 1, statements: statements.slice(0, 64) })
    const children = [leaf, ...Array(15).fill(null)]
    return { subscribers: await blocks.add({ v: 1, topic, depth: 0, count: 65, children }) }
  }),
  ...both('a payload that is shorter than its message says', 'MALFORMED', namesOf(131_072)),
  {
    name: 'a payload that is here, and shorter than its message says',
    expected: 'MALFORMED',
    mayStore: true, // before the attack
    act: async (stage) => {
      await stage.target.pubsub.publish(stage.topic, DATA)
      return offerOf(stage, stage.topicKey, namesOf(131_072))
    },
  },
  ...both('a payload of two lengths', 'MALFORMED', namesOf(20_003, 131_072)),
  {
    // later it would be sealed into a page by its claimed size
    name: 'a message that claims to be smaller than it is, as the first head',
    expected: 'MALFORMED',
    act: async (stage) =>
      offerOf(stage, await topicKeyOf(`${stage.topic} begun by hand`), async (blocks, topic) =>
        inTail(blocks, topic, await message(stage, topic), 1),
      ),
  },
]
