import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import {
  closeCodeOf,
  parseClientFrame,
  type Session,
  type SessionContext,
  type SessionEvent,
  step,
  verifyResponse,
} from '../../../src/bridge/session.ts'
import {
  challengeBytes,
  type ErrorCode,
  type Identity,
  identityFromSeed,
  nodeIdOf,
  toBase64url,
} from '../../../src/dht/index.ts'

let client: Identity
let other: Identity
beforeAll(async () => {
  client = await identityFromSeed(new Uint8Array(32).fill(1))
  other = await identityFromSeed(new Uint8Array(32).fill(2))
})

const NONCE = new Uint8Array(32).fill(7)
const at = (monotonicMs: number): SessionContext => ({
  serverId: other.nodeId,
  audience: '127.0.0.1:8080',
  challengeMs: 30_000,
  now: () => 1_700_000_000_000,
  monotonicNow: () => monotonicMs,
  nonce: () => NONCE,
})
const challenge = () => ({
  serverId: other.nodeId,
  audience: '127.0.0.1:8080',
  nodeId: client.nodeId,
  nonce: NONCE,
  timestamp: 1_700_000_000_000,
})
const signature = new Uint8Array(64).fill(9)

const states: Record<Session['state'], () => Session> = {
  connecting: () => ({ state: 'connecting' }),
  challenged: () => ({ state: 'challenged', challenge: challenge(), issuedAtMs: 0 }),
  verifying: () => ({ state: 'verifying', challenge: challenge(), signature }),
  accepted: () => ({ state: 'accepted', challenge: challenge() }),
  refused: () => ({ state: 'refused', code: 'TIMEOUT', message: 'earlier' }),
}

const connect = (nodeId: string, publicKey: Uint8Array): SessionEvent => ({
  type: 'frame',
  frame: { type: 'CONNECT', nodeId, publicKey: toBase64url(publicKey) },
})
const events = {
  connect: () => connect(client.nodeId, client.publicKey),
  response: (): SessionEvent => ({
    type: 'frame',
    frame: { type: 'RESPONSE', signature: toBase64url(signature) },
  }),
  malformed: (): SessionEvent => ({ type: 'malformed', message: 'm' }),
  'too-large': (): SessionEvent => ({ type: 'too-large' }),
  'verified true': (): SessionEvent => ({ type: 'verified', isValid: true }),
  'verified false': (): SessionEvent => ({ type: 'verified', isValid: false }),
  'verified refused': (): SessionEvent => ({
    type: 'verified',
    isValid: true,
    refusal: { code: 'INVITATION_REQUIRED', message: 'm' },
  }),
  deadline: (): SessionEvent => ({ type: 'deadline' }),
}

/** Every cell: the state entered, or the code of the refusal. `same`: the very same object. */
const TABLE: Record<Session['state'], Record<keyof typeof events, string>> = {
  connecting: {
    connect: 'challenged',
    response: 'MALFORMED',
    malformed: 'MALFORMED',
    'too-large': 'TOO_LARGE',
    'verified true': 'MALFORMED',
    'verified false': 'MALFORMED',
    'verified refused': 'MALFORMED',
    deadline: 'TIMEOUT',
  },
  challenged: {
    connect: 'MALFORMED',
    response: 'verifying',
    malformed: 'MALFORMED',
    'too-large': 'TOO_LARGE',
    'verified true': 'MALFORMED',
    'verified false': 'MALFORMED',
    'verified refused': 'MALFORMED',
    deadline: 'TIMEOUT',
  },
  verifying: {
    connect: 'MALFORMED',
    response: 'MALFORMED',
    malformed: 'MALFORMED',
    'too-large': 'TOO_LARGE',
    'verified true': 'accepted',
    'verified false': 'BAD_SIGNATURE',
    'verified refused': 'INVITATION_REQUIRED',
    deadline: 'TIMEOUT',
  },
  accepted: {
    connect: 'same',
    response: 'same',
    malformed: 'same',
    'too-large': 'same',
    'verified true': 'same',
    'verified false': 'same',
    'verified refused': 'same',
    deadline: 'same',
  },
  refused: {
    connect: 'same',
    response: 'same',
    malformed: 'same',
    'too-large': 'same',
    'verified true': 'same',
    'verified false': 'same',
    'verified refused': 'same',
    deadline: 'same',
  },
}

const cells = Object.entries(TABLE).flatMap(([state, row]) =>
  Object.entries(row).map(([event, expected]) => ({ state, event, expected })),
)

describe('every cell of the challenge session', () => {
  it.each(cells)('$state × $event → $expected', ({ state, event, expected }) => {
    const before = states[state as Session['state']]()
    const after = step(before, events[event as keyof typeof events](), at(1))
    if (expected === 'same') expect(after).toBe(before)
    else expect(after.state === 'refused' ? after.code : after.state).toBe(expected)
  })
})

describe('what the steps decide', () => {
  it('challenges with the given nonce, clock and names', () => {
    expect(step({ state: 'connecting' }, events.connect(), at(5))).toEqual({
      state: 'challenged',
      challenge: challenge(),
      issuedAtMs: 5,
    })
  })

  it.each([
    ['another key', () => connect(client.nodeId, other.publicKey)],
    ['an id that is none', () => connect('0OIl', client.publicKey)],
    ['an empty id', () => connect('', client.publicKey)],
    ['an id with a prefix', () => connect(`1${client.nodeId}`, client.publicKey)],
  ])('refuses %s', (_name, event) => {
    expect(step({ state: 'connecting' }, event(), at(0))).toMatchObject({ code: 'WRONG_IDENTITY' })
  })

  it('takes a response at the limit of its age, and none after it', () => {
    expect(step(states.challenged(), events.response(), at(30_000)).state).toBe('verifying')
    expect(step(states.challenged(), events.response(), at(30_001))).toMatchObject({ code: 'EXPIRED' })
  })

  it('a wrong signature is told before any rule of the bridge', () => {
    const verdict: SessionEvent = {
      type: 'verified',
      isValid: false,
      refusal: { code: 'INVITATION_REQUIRED', message: 'm' },
    }
    expect(step(states.verifying(), verdict, at(0))).toMatchObject({ code: 'BAD_SIGNATURE' })
  })

  it('verifies the signature over this challenge only', async () => {
    const good = await client.sign(challengeBytes(challenge()))
    const verify = (change: object) =>
      verifyResponse({ state: 'verifying', challenge: { ...challenge(), ...change }, signature: good })
    expect(await verify({})).toBe(true)
    expect(await verify({ nonce: new Uint8Array(32) })).toBe(false)
    expect(await verify({ timestamp: 1_700_000_000_001 })).toBe(false)
    expect(await verify({ audience: 'evil.example' })).toBe(false)
    expect(await verify({ serverId: client.nodeId })).toBe(false)
  })

  it('refuses a small-order key, whose one signature fits every message', async () => {
    const weak = Uint8Array.from({ length: 32 }, (_, i) => (i === 0 ? 1 : 0))
    const fits = Uint8Array.from({ length: 64 }, (_, i) => (i === 0 ? 1 : 0))
    const of = { ...challenge(), nodeId: nodeIdOf(weak) }
    expect(await verifyResponse({ state: 'verifying', challenge: of, signature: fits })).toBe(false)
  })
})

describe('frames of a client', () => {
  const parse = (text: string, isBinary = false) => parseClientFrame(new TextEncoder().encode(text), isBinary)
  const connectText = () =>
    JSON.stringify({ type: 'CONNECT', nodeId: client.nodeId, publicKey: toBase64url(client.publicKey) })

  it('parses the two that exist', () => {
    expect(parse(connectText())).toMatchObject({ type: 'frame', frame: { type: 'CONNECT' } })
    const text = JSON.stringify({ type: 'RESPONSE', signature: toBase64url(signature) })
    expect(parse(text)).toMatchObject({ type: 'frame', frame: { type: 'RESPONSE' } })
  })

  it.each([
    ['nothing', ''],
    ['no JSON', '{'],
    ['null', 'null'],
    ['a number', '5'],
    ['an array', '[]'],
    ['another type', '{"type":"ACCEPTED"}'],
    ['a prototype', '{"type":"RESPONSE","__proto__":{"signature":"x"}}'],
    ['a short signature', '{"type":"RESPONSE","signature":"AAAA"}'],
    ['a long signature', JSON.stringify({ type: 'RESPONSE', signature: 'A'.repeat(87) })],
    ['an object for bytes', '{"type":"RESPONSE","signature":{"length":86}}'],
    ['a foreign field', JSON.stringify({ type: 'RESPONSE', signature: 'A'.repeat(86), admin: true })],
    ['a second encoding of the bytes', JSON.stringify({ type: 'RESPONSE', signature: `${'A'.repeat(85)}B` })],
    [
      'a grant beyond its size',
      JSON.stringify({
        type: 'RESPONSE',
        signature: 'A'.repeat(86),
        invitation: { grant: 'A'.repeat(1_025), proof: 'A'.repeat(86) },
      }),
    ],
    [
      'an invitation without its proof',
      JSON.stringify({ type: 'RESPONSE', signature: 'A'.repeat(86), invitation: { grant: 'A' } }),
    ],
    ['other base64', JSON.stringify({ type: 'RESPONSE', signature: `${'A'.repeat(85)}+` })],
  ])('refuses %s', (_name, text) => {
    expect(parse(text)).toMatchObject({ type: 'malformed' })
  })

  it('refuses binary frames, invalid UTF-8 and what is too large', () => {
    expect(parse(connectText(), true)).toMatchObject({ type: 'malformed' })
    expect(parseClientFrame(Uint8Array.of(0xff, 0xfe), false)).toMatchObject({ type: 'malformed' })
    expect(parseClientFrame(new Uint8Array(4_097), false)).toEqual({ type: 'too-large' })
  })
})

it('gives each reason the close code of docs/protocol.md', () => {
  const text = readFileSync(join(import.meta.dirname, '../../../docs/protocol.md'), 'utf8')
  const rows = [...text.matchAll(/^\| (\d{4}) \| `([A-Z_]+)`/gm)].map(([, close, code]) => [
    Number(close),
    code,
  ])
  expect(rows.length).toBe(12)
  expect(rows.map(([, code]) => [closeCodeOf(code as ErrorCode), code])).toEqual(rows)
  expect(closeCodeOf('NOT_FOUND')).toBe(4400)
})
