import { encode, identityFromSeed, sha256 } from '../../../src/dht/index.ts'
import { type Coordinator, decodeCoordinator, emptyCoordinator } from '../../../src/pubsub/coordinator.ts'
import { createMessage } from '../../../src/pubsub/message.ts'
import { COORDINATOR, LIMITS } from '../../../src/pubsub/options.ts'
import { topicKeyOf } from '../../../src/pubsub/topic-key.ts'
import type { Answer, Responder } from '../../support/link-attacker.ts'
import { servesHonest } from '../../support/serving-node.ts'
import { type Attack, headOf, outcomeOf, type Stage } from './attack.ts'

/** Heads, deltas and blocks that are not what they claim to be, and holders that do not have what they offer. */

const ID = new Uint8Array(32).fill(3)
const HOUR_MS = 3_600_000

const commit = ({ link, topicKey: key }: Stage, head: Uint8Array): Promise<Answer> =>
  link.request('record/commit', { kind: COORDINATOR, key, head })
/** The topic's own head with other fields. */
const changed = async (stage: Stage, change: Partial<Coordinator> | object): Promise<Uint8Array> =>
  encode({ ...decodeCoordinator(await headOf(stage)), ...change })
const committing =
  (change: (own: Coordinator) => object): Attack['act'] =>
  async (stage) =>
    commit(stage, await changed(stage, change(decodeCoordinator(await headOf(stage)))))
/** One that follows on the topic's own, with messages that somebody else has to show. */
const successor = (own: Coordinator) => ({
  version: own.version + 1,
  messages: ID,
  messageHistory: own.messages === null ? [] : [own.messages],
})
const delta = (change: object) =>
  encode({ v: 1, nowMs: Date.now(), messages: [], payloads: [], statements: [], ...change })
const onOwnHead = async (stage: Stage, bytes: Uint8Array): Promise<Answer> =>
  stage.link.request('record/append', {
    kind: COORDINATOR,
    key: stage.topicKey,
    base: await sha256(await headOf(stage)),
    id: ID,
    delta: bytes,
  })

const withVersion = async (stage: Stage, version: number): Promise<string> => {
  const before = decodeCoordinator(await headOf(stage)).version
  const answer = await commit(stage, await changed(stage, { version }))
  const after = decodeCoordinator(await headOf(stage)).version
  return `${outcomeOf(answer)}, version ${after === before ? 'kept' : after}`
}

export const recordAttacks: Attack[] = [
  {
    name: 'a head beyond its limit',
    expected: 'MALFORMED',
    act: (stage) => commit(stage, new Uint8Array(LIMITS.maxCoordinatorBytes + 1)),
  },
  { name: 'a head that is none', expected: 'MALFORMED', act: (stage) => commit(stage, new Uint8Array(100)) },
  {
    name: 'a delta beyond its limit',
    expected: 'TOO_LARGE',
    act: async (stage) => onOwnHead(stage, new Uint8Array(LIMITS.maxDeltaBytes + 1)),
  },
  {
    name: 'a head of another topic',
    expected: 'WRONG_TOPIC',
    act: async (stage) => commit(stage, await changed(stage, { topic: await topicKeyOf('elsewhere') })),
  },
  {
    name: 'a head from the future',
    expected: 'FROM_THE_FUTURE',
    act: committing(() => ({ lastModified: Date.now() + HOUR_MS })),
  },
  {
    name: 'a version beyond all versions',
    expected: 'MALFORMED',
    act: committing(() => ({ version: 2 ** 40 + 1 })),
  },
  { name: 'a version below zero', expected: 'MALFORMED', act: committing(() => ({ version: -1 })) },
  { name: 'a version and a half', expected: 'MALFORMED', act: committing(() => ({ version: 1.5 })) },
  {
    name: 'a forged huge version, which counts for nothing',
    expected: 'conflict, version kept',
    act: (stage) => withVersion(stage, Date.now() - LIMITS.versionEpochMs),
  },
  {
    name: 'a version that no topic can have reached',
    expected: 'FROM_THE_FUTURE, version kept',
    act: (stage) => withVersion(stage, LIMITS.maxVersion),
  },
  {
    name: 'a first head with a huge version, which stops nobody',
    expected: 'stored, honest served',
    mayStore: true,
    act: async (stage) => {
      const topic = `${stage.topic}, taken first`
      const topicKey = await topicKeyOf(topic)
      const version = Date.now() - LIMITS.versionEpochMs
      const head = encode({ ...emptyCoordinator(topicKey, Date.now()), version })
      const answer = await commit({ ...stage, topicKey }, head)
      await servesHonest(stage.target, topic)
      return `${outcomeOf(answer)}, honest served`
    },
  },
  {
    name: 'an old head, which takes nothing back',
    expected: 'stored, head kept',
    act: async (stage) => {
      const before = await headOf(stage)
      const answer = await commit(stage, encode(emptyCoordinator(stage.topicKey, Date.now())))
      const isKept = Buffer.from(before).equals(await headOf(stage))
      return `${outcomeOf(answer)}, head ${isKept ? 'kept' : 'changed'}`
    },
  },
  {
    name: 'a delta that is none',
    expected: 'MALFORMED',
    act: async (stage) => onOwnHead(stage, new Uint8Array(100).fill(255)),
  },
  {
    name: 'a delta from the future',
    expected: 'FROM_THE_FUTURE',
    act: async (stage) => onOwnHead(stage, delta({ nowMs: Date.now() + HOUR_MS })),
  },
  {
    name: 'a delta with a message that is none',
    expected: 'MALFORMED',
    act: async (stage) => onOwnHead(stage, delta({ messages: [new Uint8Array(10)] })),
  },
  {
    name: 'a delta that brings back what had expired',
    expected: 'EXPIRED',
    act: async (stage) => {
      const { envelope } = await createMessage({
        topicKey: stage.topicKey,
        identity: stage.attacker.identity,
        writer: new Uint8Array(8),
        sequence: 1,
        publishedAt: Date.now() - HOUR_MS,
        ttlMs: 60_000,
        data: encode('over'),
      })
      return onOwnHead(stage, delta({ messages: [envelope] }))
    },
  },
  {
    name: 'a delta that does not give its head',
    expected: 'other',
    act: async (stage) => onOwnHead(stage, delta({})),
  },
  {
    name: 'more records to compare than a request may name',
    expected: 'MALFORMED',
    act: ({ link }) =>
      link.request('record/compare', { kind: COORDINATOR, records: new Array(1_025).fill([ID, ID]) }),
  },
  {
    name: 'more blocks than a request may name',
    expected: 'MALFORMED',
    act: ({ link, topicKey: key }) =>
      link.request('record/blocks', { kind: COORDINATOR, key, refs: new Array(129).fill(['page', ID]) }),
  },
  {
    name: 'blocks of unknown kinds, which nobody has',
    expected: 'reply',
    act: ({ link, topicKey: key }) =>
      link.request('record/blocks', {
        kind: COORDINATOR,
        key,
        refs: [
          ['../head', ID],
          ['__proto__', ID],
        ],
      }),
  },
]

/** A head whose blocks only the attacker can give, and how it gives them. */
const offering =
  (respond: Responder, source?: (stage: Stage) => Promise<Uint8Array> | Uint8Array): Attack['act'] =>
  async (stage) => {
    const link = await stage.attacker.link(respond)
    return link.request('record/offer', {
      kind: COORDINATOR,
      key: stage.topicKey,
      head: await changed(stage, successor(decodeCoordinator(await headOf(stage)))),
      source: (await source?.(stage)) ?? stage.attacker.identity.publicKey,
    })
  }
const blocks =
  (answer: unknown): Responder =>
  (method) =>
    method === 'record/blocks' ? { blocks: answer } : { head: null }

export const blockAttacks: Attack[] = [
  { name: 'that nobody has', expected: 'NOT_FOUND', act: offering(blocks([null])) },
  { name: 'that never comes', expected: 'TIMEOUT', act: offering(() => undefined) },
  { name: 'of the wrong bytes', expected: 'WRONG_HASH', act: offering(blocks([new Uint8Array(100)])) },
  { name: 'beyond its limit', expected: 'TOO_LARGE', act: offering(blocks([new Uint8Array(200 * 1_024)])) },
  { name: 'and one more than was asked for', expected: 'MALFORMED', act: offering(blocks([null, null])) },
  { name: 'in a list without one', expected: 'MALFORMED', act: offering(blocks([])) },
  { name: 'that is a text', expected: 'MALFORMED', act: offering(blocks(['block'])) },
  { name: 'in an answer of another shape', expected: 'MALFORMED', act: offering(() => 'no') },
  {
    name: 'and a head that moves on for ever',
    expected: 'NOT_FOUND',
    act: async (stage) => {
      const own = decodeCoordinator(await headOf(stage))
      let version = own.version + 1
      const next = () => encode({ ...own, ...successor(own), version: ++version })
      return offering((method) => (method === 'record/blocks' ? { blocks: [null] } : { head: next() }))(stage)
    },
  },
  {
    name: 'at somebody who cannot be reached',
    expected: 'TIMEOUT',
    act: offering(blocks([null]), async () => (await identityFromSeed(new Uint8Array(32).fill(8))).publicKey),
  },
  {
    // it looks for them at itself, and goes by the head that it finds there: its own
    name: 'at the node itself',
    expected: 'reply',
    act: offering(blocks([null]), async ({ target }) => target.libp2p.peerId.publicKey?.raw as Uint8Array),
  },
  {
    name: 'at a key that is none',
    expected: 'TIMEOUT',
    act: offering(blocks([null]), () => new Uint8Array(32)),
  },
  {
    name: 'answered on another link than it was asked for on',
    expected: 'TIMEOUT',
    act: async (stage) =>
      offering((_method, _body, id) => void stage.link.send(['reply', id, { blocks: [null] }]))(stage),
  },
  {
    name: 'asked for by hundreds of offers at once',
    expected: 'BUSY',
    act: async (stage) => {
      const head = await changed(stage, successor(decodeCoordinator(await headOf(stage))))
      const source = stage.attacker.identity.publicKey
      const offer = { kind: COORDINATOR, key: stage.topicKey, head, source }
      const answers = await Promise.all(
        Array.from({ length: 400 }, () => stage.link.request('record/offer', offer)),
      )
      return answers.some((answer) => outcomeOf(answer) === 'BUSY') ? 'BUSY' : 'all were taken'
    },
  },
]
