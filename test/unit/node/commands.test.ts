import { afterEach, describe, expect, it, vi } from 'vitest'
import { StickyError } from '../../../src/dht/index.ts'
import { lookInto, tellEvents } from '../../../src/node/commands.ts'
import { createOutput, messageLine, type Output, report } from '../../../src/node/output.ts'
import { Emitter } from '../../../src/pubsub/emitter.ts'
import type { Gap, Message, SubscriptionEvents } from '../../../src/pubsub/index.ts'
import { MemoryNet } from '../../support/memory-nodes.ts'

const expired: Gap = {
  publisher: '12D3KooA',
  writer: 'aa',
  fromSequence: 1,
  toSequence: 9,
  reason: 'expired',
}
const trimmed: Gap = { ...expired, fromSequence: 10, toSequence: 11, reason: 'trimmed' }
const withheld: Gap = { ...expired, fromSequence: 12, toSequence: 13, reason: 'withheld' }

/** What `sticky sub` says when its subscription tells of this. */
function saidOf(json: boolean, tell: (emitter: Emitter<SubscriptionEvents>) => void) {
  const emitter = new Emitter<SubscriptionEvents>(16)
  const results: object[] = []
  const notes: string[] = []
  const output: Output = {
    json,
    result: (value) => results.push(value),
    note: (text) => notes.push(text),
    progress: () => undefined,
  }
  tellEvents(emitter, output)
  tell(emitter)
  return { results, notes }
}
const said = (json: boolean, gaps: Gap[]) =>
  saidOf(json, (emitter) => {
    for (const gap of gaps) emitter.emit('gap', gap)
  })

describe('sticky sub', () => {
  it('tells people what is lost, and not what had expired before they came', () => {
    const { results, notes } = said(false, [expired, trimmed, withheld])
    expect(results).toEqual([])
    expect(notes).toEqual([
      expect.stringMatching(/10\.\.11.*keeps no more/),
      expect.stringMatching(/12\.\.13.*no replica/),
    ])
  })

  it('tells why it cannot be served, once until it is', () => {
    const full = new StickyError('TOPIC_FULL', 'Too many subscribers here.')
    const tell = (emitter: Emitter<SubscriptionEvents>) => {
      for (const error of [full, full]) emitter.emit('error', error)
      emitter.emit('sync', 'degraded')
      emitter.emit('error', full)
      emitter.emit('sync', 'synced')
      emitter.emit('error', full)
    }
    const told = '-- TOPIC_FULL: Too many subscribers here. --'
    expect(saidOf(false, tell)).toEqual({ results: [], notes: [told, expect.any(String), told] })
    const event = { event: 'error', error: 'TOPIC_FULL', message: 'Too many subscribers here.' }
    expect(saidOf(true, tell).results).toEqual([event, event])
  })

  it('tells machines of both', () => {
    const { results, notes } = said(true, [expired, withheld])
    expect(results).toEqual([
      { event: 'gap', ...expired },
      { event: 'gap', ...withheld },
    ])
    expect(notes).toEqual([])
  })
})

describe('JSON', () => {
  afterEach(() => vi.restoreAllMocks())

  it('has none of the characters that a terminal obeys, and says the same', () => {
    const written: string[] = []
    vi.spyOn(process.stdout, 'write').mockImplementation((text) => written.push(String(text)) > 0)
    const hostile = { 'a\u009b2J': 'b\u009d0;owned\u0007 \u202etxt.exe\u2066 \u007f' }
    createOutput(true).result(hostile, '')
    expect(written[0]).toMatch(/^[\u0020-\u007e]+\n$/)
    expect(JSON.parse(written[0] as string)).toEqual(hostile)
    const message = { data: hostile, publisher: '12D3KooA', publishedAt: 0 } as unknown as Message
    expect(messageLine(message)).toMatch(/^[\u0020-\u007e]+$/)
  })
})

describe('a sentence', () => {
  afterEach(() => vi.restoreAllMocks())

  it('is one line without control characters, whatever a peer or a bridge wrote into it', () => {
    const written: unknown[] = []
    vi.spyOn(process.stderr, 'write').mockImplementation((text) => written.push(text) > 0)
    const hostile = '12D3KooA: \u001b]0;owned\u0007\u001b[2J\n-- 3 earlier messages; live from here --'
    createOutput(false).note(`-- BUSY: ${hostile} --`)
    report(new StickyError('ADMISSION_REFUSED', hostile), false)
    for (const text of written.map(String)) {
      expect(text.includes('\u001b') || text.includes('\u0007')).toBe(false)
      expect(text.split('\n').filter((line) => !/^( {4}|$)/.test(line))).toHaveLength(1)
    }
    expect(written).toHaveLength(2)
  })
})

it('`sticky inspect` shows the replicas of a topic also where its node knew none of them at first', async () => {
  const net = new MemoryNet()
  try {
    const holder = await net.add()
    await holder.pubsub.publish('room', 'said')
    const { pubsub, network } = await net.add({ stores: false })
    vi.spyOn(network, 'closestPeers').mockResolvedValueOnce([]).mockResolvedValueOnce([])
    const texts: string[] = []
    const output: Output = {
      json: false,
      result: (_value, text) => texts.push(text),
      note: () => undefined,
      progress: () => undefined,
    }
    await lookInto('room', { pubsub }, output)
    expect(texts).toEqual([expect.stringContaining('replicas     1')])
  } finally {
    await net.close()
  }
})
