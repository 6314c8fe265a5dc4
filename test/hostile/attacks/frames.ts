import { encode } from '../../../src/dht/index.ts'
import { LINK_PROTOCOL } from '../../../src/dht/libp2p.ts'
import { COORDINATOR } from '../../../src/pubsub/options.ts'
import { HELLO, type RawLink } from '../../support/link-attacker.ts'
import { until } from '../../support/memory-nodes.ts'
import { type Attack, outcomesOf, type Stage } from './attack.ts'

/** Frames and requests that are wrong before anybody asks what they are about. */

const text = (value: string) => [0x60 + value.length, ...new TextEncoder().encode(value)]
const head = ({ topicKey }: Stage) => ({ kind: COORDINATOR, key: topicKey })

/** The link closes, or the attack failed. */
const closedBy =
  (act: (link: RawLink) => void): Attack['act'] =>
  async ({ link }) => {
    act(link)
    return link.closed
  }
const firstFrame =
  (frame: unknown): Attack['act'] =>
  async ({ attacker }) => {
    const link = await attacker.silentLink()
    link.send(frame)
    return link.closed
  }
/** A request whose body is encoded by hand. */
const requestWith = (...body: number[]): Attack['act'] =>
  closedBy((link) =>
    link.sendBytes(Uint8Array.from([0x84, ...text('request'), 1, ...text('record/head'), ...body])),
  )

export const frameAttacks: Attack[] = [
  {
    name: 'a frame of one byte too many, announced',
    act: closedBy((link) => link.sendRaw(Uint8Array.of(0, 4, 0, 1))),
  },
  { name: 'a frame of 4 GiB, announced', act: closedBy((link) => link.sendRaw(new Uint8Array(4).fill(255))) },
  { name: 'an empty frame', act: closedBy((link) => link.sendBytes(new Uint8Array())) },
  { name: 'bytes that are no CBOR', act: closedBy((link) => link.sendBytes(new Uint8Array(100).fill(255))) },
  {
    name: 'half a frame, then the end',
    act: closedBy((link) => {
      link.sendBytes(new Uint8Array(10), 100)
      void link.end()
    }),
  },
  { name: 'an integer in a longer form than it needs', act: requestWith(0x18, 0x01) },
  { name: 'a map of endless length', act: requestWith(0xbf, 0xff) },
  { name: 'a map with one key twice', act: requestWith(0xa2, ...text('a'), 1, ...text('a'), 1) },
  { name: 'a map in another order', act: requestWith(0xa2, ...text('b'), 1, ...text('a'), 1) },
  { name: 'a number that is none', act: requestWith(0xfb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0) },
  {
    name: 'arrays in arrays, 200,000 deep',
    act: closedBy((link) => link.sendBytes(new Uint8Array(200_000).fill(0x81))),
  },
  {
    name: 'arrays in arrays, 200,000 deep and complete',
    act: closedBy((link) => link.sendBytes(new Uint8Array(200_000).fill(0x81).fill(0, -1))),
  },
  { name: 'a frame of an unknown kind', act: closedBy((link) => link.send(['order', 1, 'record/head', {}])) },
  { name: 'a frame with something behind it', act: closedBy((link) => link.send(['reply', 1, {}, {}])) },
  {
    name: 'a request number below zero',
    act: closedBy((link) => link.send(['request', -1, 'record/head', {}])),
  },
  {
    name: 'a method name beyond its limit',
    act: closedBy((link) => link.send(['request', 1, 'm'.repeat(33), {}])),
  },
  {
    name: 'an error text beyond its limit',
    act: closedBy((link) => link.send(['error', 1, 'BUSY', 'm'.repeat(301)])),
  },
  {
    name: 'a second hello, of another version',
    act: closedBy((link) => link.send(['hello', { ...HELLO, version: 2 }])),
  },
  { name: 'a hello of another version', act: firstFrame(['hello', { ...HELLO, version: 2 }]) },
  { name: 'a hello with more than it has', act: firstFrame(['hello', { ...HELLO, admin: true }]) },
  { name: 'a request before the hello', act: firstFrame(['request', 1, 'record/head', {}]) },
  { name: 'a reply before the hello', act: firstFrame(['reply', 1, {}]) },
].map((attack) => ({ ...attack, expected: 'closed' }))

const ask =
  (method: string, body: unknown): Attack['act'] =>
  ({ link }) =>
    link.request(method, body)

export const requestAttacks: Attack[] = [
  ...['record/steal', '__proto__', 'constructor', ''].map((method) => ({
    name: `the method "${method}"`,
    expected: 'UNKNOWN_METHOD',
    act: ask(method, {}),
  })),
  ...[null, [], 'x', {}, { kind: COORDINATOR, key: new Uint8Array(31) }].map((body) => ({
    name: `a body of the wrong shape: ${JSON.stringify(body)}`,
    expected: 'MALFORMED',
    act: ask('record/head', body),
  })),
  {
    name: 'a body that names the prototype',
    expected: 'MALFORMED',
    act: ({ link }) => {
      const body = [0xa1, ...text('__proto__'), 0xa1, ...text('kind'), 1]
      return link.rawRequest((id) =>
        Uint8Array.from([0x84, ...text('request'), id, ...text('record/head'), ...body]),
      )
    },
  },
  {
    name: 'a field too many',
    expected: 'MALFORMED',
    act: (stage) => stage.link.request('record/head', { ...head(stage), force: true }),
  },
  {
    name: 'an unknown kind of record',
    expected: 'UNKNOWN_KIND',
    act: ask('record/head', { kind: 'prototype', key: new Uint8Array(32) }),
  },
  {
    name: 'answers to requests that were never made',
    expected: 'reply',
    act: async (stage) => {
      for (let id = 0; id < 200; id++) {
        stage.link.send(['reply', id, { head: new Uint8Array(8) }])
        stage.link.send(['error', id, 'TOPIC_FULL', 'You are full.'])
      }
      return stage.link.request('record/head', head(stage))
    },
  },
  {
    name: 'a flood of cheap requests',
    expected: 'RATE_LIMITED, reply',
    act: async ({ link }) =>
      outcomesOf(
        await Promise.all(
          Array.from({ length: 200 }, () =>
            link.request('record/compare', { kind: COORDINATOR, records: [] }),
          ),
        ),
      ),
  },
  {
    name: 'a flood of records that nobody has',
    expected: 'reply',
    act: async ({ link }) => {
      const keys = Array.from({ length: 200 }, () => crypto.getRandomValues(new Uint8Array(32)))
      return outcomesOf(
        await Promise.all(keys.map((key) => link.request('record/head', { kind: COORDINATOR, key }))),
      )
    },
  },
  {
    name: 'many requests in one frame after another, and never a pause to read',
    expected: 'reply',
    act: async (stage) => {
      const request = encode(['request', 9, 'record/head', head(stage)])
      for (let i = 0; i < 100; i++) stage.link.sendBytes(request)
      return stage.link.request('record/head', head(stage))
    },
  },
  {
    name: 'many streams that say nothing, or half a word',
    expected: 'at most 8 streams',
    act: async ({ attacker, target }) => {
      const opened = await Promise.allSettled(Array.from({ length: 60 }, () => attacker.silentLink()))
      for (const result of opened)
        if (result.status === 'fulfilled' && Math.random() < 0.5) result.value.sendRaw(Uint8Array.of(0, 0))
      const held = () =>
        target.libp2p
          .getConnections(attacker.libp2p.peerId)
          .flatMap(({ streams }) => streams)
          .filter(({ protocol, direction }) => protocol === LINK_PROTOCOL && direction === 'inbound').length
      await until(
        () => held() <= 8,
        8_000,
        () => `${held()} streams`,
      )
      return 'at most 8 streams'
    },
  },
]
