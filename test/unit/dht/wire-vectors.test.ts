import { readFileSync, writeFileSync } from 'node:fs'
import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import { clientFrame, serverFrame } from '../../../src/dht/challenge.ts'
import { fromHex, integer, sha256, toHex } from '../../../src/dht/codec.ts'
import { MAX_FRAME_BYTES } from '../../../src/dht/network.ts'
import { decodeFrame, encodeFrame, frameSchema, recordMethods, WIRE_VERSION } from '../../../src/dht/wire.ts'
import { decodePage, decodeRoot } from '../../../src/pubsub/collection.ts'
import { decodeCoordinator } from '../../../src/pubsub/coordinator.ts'
import { openMessage, verifyMessage } from '../../../src/pubsub/message.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { openPresence, presenceStateOf, verifyPresence } from '../../../src/pubsub/presence-statement.ts'
import { decodeSnapshot } from '../../../src/pubsub/snapshot.ts'
import { decodeTrieNode } from '../../../src/pubsub/subscribers.ts'
import { verifyStatement } from '../../../src/pubsub/subscription-statement.ts'
import { topicMethods } from '../../../src/pubsub/wire.ts'
import { START_MS, topicKey } from '../../support/lineage.ts'
import {
  type AnyMethod,
  bodies,
  frameVectors,
  objectVectors,
  structureOf,
} from '../../support/wire-vectors.ts'

/**
 * The bytes that other versions of this software understand. Who changes them on purpose raises WIRE_VERSION in
 * src/dht/wire.ts and runs the command below; the change then shows in test/vectors.
 */

const COMMAND = 'STICKY_WRITE_VECTORS=1 npx vitest run test/unit/dht/wire-vectors.test.ts'
const CHANGED =
  'The wire has changed: nodes of this version no longer understand those of the last. ' +
  `If that is meant, raise WIRE_VERSION in src/dht/wire.ts and regenerate: ${COMMAND}`

const isWriting = process.env.STICKY_WRITE_VECTORS === '1'
const fileOf = (name: string) => new URL(`../../vectors/${name}.json`, import.meta.url)

/** The pinned vectors; when writing, the new ones, which become the pinned ones. */
function pinned<T extends object>(name: string, now: T): T {
  if (isWriting) writeFileSync(fileOf(name), `${JSON.stringify(now, null, 2)}\n`)
  return JSON.parse(readFileSync(fileOf(name), 'utf8')) as T
}

const methods: AnyMethod[] = [...Object.values(recordMethods), ...Object.values(topicMethods)]

async function schemaHash(): Promise<string> {
  const structure = {
    frame: structureOf(frameSchema),
    challenge: [structureOf(clientFrame), structureOf(serverFrame)],
    methods: methods.map(({ name, request, response }) => [
      name,
      structureOf(request),
      structureOf(response),
    ]),
    maxFrameBytes: MAX_FRAME_BYTES,
  }
  return toHex(await sha256(new TextEncoder().encode(JSON.stringify(structure))))
}

const frames = pinned('frames', frameVectors())
const objects = pinned('objects', await objectVectors())
const bytes = (name: string) => fromHex(objects[name] as string)

describe('the wire', () => {
  it('has the schemas of its version', async () => {
    const now = { wireVersion: WIRE_VERSION, schemas: await schemaHash() }
    expect(now, CHANGED).toEqual(pinned('wire', now))
  })

  it('has the bytes of its version, frame by frame', () => {
    expect(frameVectors(), CHANGED).toEqual(frames)
  })

  it('reads them back, every one', () => {
    for (const [name, hex] of Object.entries(frames)) {
      const frame = decodeFrame(fromHex(hex))
      expect(name.split(' ')[0]).toBe(frame[0])
      expect(toHex(encodeFrame(frame)), name).toBe(hex)
    }
  })

  it('has a vector for each request and reply, as its schema wants it', () => {
    expect(Object.keys(bodies).sort()).toEqual(methods.map(({ name }) => name).sort())
    for (const { name, request, response } of methods) {
      expect(v.safeParse(request, bodies[name]?.request).success, name).toBe(true)
      expect(v.safeParse(response, bodies[name]?.reply).success, name).toBe(true)
    }
  })
})

describe('the objects', () => {
  it('have the bytes of their version', async () => {
    expect(await objectVectors(), CHANGED).toEqual(objects)
  })

  it('are read back: a message and a statement with their signatures', async () => {
    const message = await verifyMessage(bytes('message'), { topicKey })
    expect(toHex(message.id)).toBe(objects.messageId)
    expect((await openMessage(bytes('message'))).body).toEqual(message.body)
    const statement = await verifyStatement(bytes('statement'), { topicKey })
    expect(statement.body.kind).toBe('subscribe')
  })

  it('are read back: a presence and a leave with their signatures', async () => {
    const read = (name: string) => verifyPresence(openPresence(bytes(name), topicKey, START_MS))
    expect(presenceStateOf(await read('presence'))).toEqual({ name: 'Ana' })
    expect((await read('presenceLeave')).body).toMatchObject({ leaves: true, since: START_MS })
  })

  it('are read back: collections, coordinators, a snapshot', async () => {
    const coordinator = decodeCoordinator(bytes('coordinator'))
    expect(coordinator).toMatchObject({ version: 1, messageHistory: [], previous: [] })
    expect(toHex(coordinator.messages as Uint8Array)).toBe(toHex(await sha256(bytes('messagesRoot'))))
    expect(toHex(coordinator.subscribers as Uint8Array)).toBe(toHex(await sha256(bytes('subscribersLeaf'))))
    const root = decodeRoot(bytes('messagesRoot'))
    expect(root).toMatchObject({ count: 2, spine: null })
    expect(toHex(root.tail[0]?.[0] as Uint8Array)).toBe(objects.messageId)
    expect(decodeTrieNode(bytes('subscribersLeaf'))).toMatchObject({ depth: 0 })
    expect(toHex(decodePage(bytes('page')).entries[0]?.[1] as Uint8Array)).toBe(objects.message)
    const many = decodeCoordinator(bytes('coordinatorOfMany'))
    expect(many.version).toBe(51)
    expect(decodeRoot(bytes('messagesRootOfMany'))).toMatchObject({ count: 202, spine: expect.anything() })
    expect(toHex(many.previous[0] as Uint8Array)).toBe(toHex(await sha256(bytes('snapshot'))))
    expect(decodeSnapshot(bytes('snapshot')).messageHistory.length).toBeGreaterThan(0)
    const merged = decodeCoordinator(bytes('coordinatorOfMerge'))
    expect(merged.version).toBe(52)
    expect(bytes('coordinatorOfMerge').byteLength).toBeLessThanOrEqual(LIMITS.maxCoordinatorBytes)
  })
})

describe('the structure of a schema', () => {
  const same = (a: v.GenericSchema, b: v.GenericSchema) =>
    JSON.stringify(structureOf(a)) === JSON.stringify(structureOf(b))

  it('shows every change of what is taken', () => {
    const base = () => v.strictObject({ a: integer(0, 9), b: v.nullable(v.string()) })
    expect(same(base(), base())).toBe(true)
    const others = [
      v.strictObject({ a: integer(0, 8), b: v.nullable(v.string()) }),
      v.strictObject({ a: integer(1, 9), b: v.nullable(v.string()) }),
      v.strictObject({ a: v.number(), b: v.nullable(v.string()) }),
      v.strictObject({ a: integer(0, 9), b: v.string() }),
      v.strictObject({ a: integer(0, 9), c: v.nullable(v.string()) }),
      v.strictObject({ a: integer(0, 9), b: v.nullable(v.string()), c: v.boolean() }),
      v.object({ a: integer(0, 9), b: v.nullable(v.string()) }),
    ]
    for (const other of others) expect(same(base(), other)).toBe(false)
    expect(same(v.strictTuple([v.literal('x')]), v.strictTuple([v.literal('y')]))).toBe(false)
    expect(same(v.array(v.string()), v.array(v.number()))).toBe(false)
    expect(same(v.picklist(['a', 'b']), v.picklist(['a', 'c']))).toBe(false)
    expect(same(v.pipe(v.array(v.string()), v.maxLength(3)), v.array(v.string()))).toBe(false)
  })

  it('sees the length of bytes, and every schema of the wire to its leaves', () => {
    const { request } = recordMethods.head
    const own = JSON.stringify(structureOf(request))
    expect(own).toContain('expected 32 bytes')
    expect(JSON.stringify(structureOf(recordMethods.commit.request))).toContain('expected at most 1024 bytes')
    for (const { request, response } of methods) {
      expect(JSON.stringify(structureOf(request))).not.toContain('{}')
      if (Object.keys((response as unknown as { entries: object }).entries).length > 0)
        expect(JSON.stringify(structureOf(response))).not.toContain('{}')
    }
  })
})
