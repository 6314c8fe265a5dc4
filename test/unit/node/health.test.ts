import { readFileSync } from 'node:fs'
import { afterAll, describe, expect, it } from 'vitest'
import { STAGE_BOUNDS_MS } from '../../../src/dht/index.ts'
import {
  FILLING_SHARE,
  FINDINGS,
  type FindingName,
  judge,
  LONELY_AFTER_MS,
  MAX_AVERAGE_SERVE_MS,
  MAX_COOLED_PEERS,
  MAX_COOLED_SHARE,
  MIN_PEERS_FOR_SHARE,
  NEARLY_FULL_SHARE,
} from '../../../src/node/health.ts'
import { type Counts, QUEUE_NAMES, type Sample, sampleOf } from '../../../src/node/health-sample.ts'
import type { Diagnostics } from '../../../src/pubsub/index.ts'
import { MemoryNet } from '../../support/memory-nodes.ts'

/** How a node is judged: each bar from both sides, and what cannot be told. */

const net = new MemoryNet()
afterAll(() => net.close())

/** Of a node that has just begun, all by itself. */
const { pubsub } = await net.add()
const told = await pubsub.diagnostics()
const START: Sample = { ...sampleOf(told), uptimeMs: 0 }

type Change = Partial<Omit<Sample, 'counts' | 'peers' | 'queues'>> & {
  counts?: Partial<Counts>
  peers?: Partial<Sample['peers']>
  queues?: Partial<Sample['queues']>
}
const but = (sample: Sample, change: Change): Sample => ({
  ...sample,
  ...change,
  counts: { ...sample.counts, ...change.counts },
  peers: { ...sample.peers, ...change.peers },
  queues: { ...sample.queues, ...change.queues },
})
/** After a minute in which nothing happened but `change`. */
const judged = (change: Change, from = START) => judge(from, but(from, { uptimeMs: 60_000, ...change }))
const names = (change: Change, from = START) => judged(change, from).findings.map(({ finding }) => finding)

/** `over` is found, `at` is the most that is not, and no more than `few` are too few to say. */
const BARS: { finding: FindingName; over: Change; at: Change; few?: Change }[] = [
  {
    finding: 'cooled-peers',
    over: { peers: { cooled: 121, known: 1_000 } },
    at: { peers: { cooled: 120, known: 1_000 } },
  },
  {
    finding: 'cooled-peers',
    over: { peers: { cooled: MAX_COOLED_PEERS + 1, known: MIN_PEERS_FOR_SHARE - 1 } },
    at: { peers: { cooled: MAX_COOLED_PEERS, known: 5 } },
  },
  { finding: 'slow-requests', over: { counts: { servedSlowly: 1 } }, at: { counts: { servedSlowly: 0 } } },
  {
    finding: 'slow-serving',
    over: { counts: { served: 20, servedMs: 20 * MAX_AVERAGE_SERVE_MS + 1 } },
    at: { counts: { served: 20, servedMs: 20 * MAX_AVERAGE_SERVE_MS } },
    few: { counts: { served: 19, servedMs: 19 * 4_000 } },
  },
  {
    finding: 'requests-timed-out',
    over: { counts: { requestsAnswered: 180, requestsFailed: 9, requestsTimedOut: 11 } },
    at: { counts: { requestsAnswered: 180, requestsFailed: 10, requestsTimedOut: 10 } },
    few: { counts: { requestsTimedOut: 9 } },
  },
  {
    finding: 'requests-refused',
    over: { counts: { requestsReceived: 100, requestsTurnedAway: 2 } },
    at: { counts: { requestsReceived: 100, requestsTurnedAway: 1 } },
    few: { counts: { requestsReceived: 99, requestsTurnedAway: 99 } },
  },
  {
    finding: 'pushes-unacknowledged',
    over: { counts: { pushesAcknowledged: 14, pushesFailed: 6 } },
    at: { counts: { pushesAcknowledged: 15, pushesFailed: 5 } },
    few: { counts: { pushesFailed: 19 } },
  },
  {
    finding: 'slow-pushes',
    over: { counts: { pushesTimed: 100, pushesSlow: 2 } },
    at: { counts: { pushesTimed: 100, pushesSlow: 1 } },
    few: { counts: { pushesTimed: 99, pushesSlow: 99 } },
  },
  { finding: 'writes-failed', over: { counts: { writesFailed: 1 } }, at: { counts: { writesFailed: 0 } } },
  {
    finding: 'commits-failed',
    over: { counts: { commits: 94, commitsFailed: 6 } },
    at: { counts: { commits: 95, commitsFailed: 5 } },
    few: { counts: { commitsFailed: 2 } },
  },
  { finding: 'lost-heads', over: { counts: { lostHeads: 1 } }, at: { counts: { lostHeads: 0 } } },
  {
    finding: 'no-linked-peer',
    over: { uptimeMs: LONELY_AFTER_MS + 1 },
    at: { uptimeMs: LONELY_AFTER_MS },
  },
  ...QUEUE_NAMES.map((name) => ({
    finding: FINDINGS[FINDINGS.length - QUEUE_NAMES.length + QUEUE_NAMES.indexOf(name)] as FindingName,
    over: { queues: { [name]: { held: 801, limit: 1_000 } } },
    at: { queues: { [name]: { held: 1_000 * NEARLY_FULL_SHARE, limit: 1_000 } } },
  })),
]

describe('a node is strained by', () => {
  it.each(BARS)('$finding: $over, and not by $at', ({ finding, over, at, few = {} }) => {
    const strained = judged(over)
    expect(strained.findings.map((one) => one.finding)).toEqual([finding])
    expect(strained.status).toBe('strained')
    const [{ value, limit, text }] = strained.findings as [(typeof strained.findings)[0]]
    if (finding === 'no-linked-peer') expect(value).toBeLessThan(limit)
    else expect(value).toBeGreaterThan(limit)
    expect(text).toMatch(/\((at most|at least) [\d.,]+( %| ms)?\)/)
    for (const fine of [at, few, {}]) expect(judged(fine)).toMatchObject({ status: 'ok', findings: [] })
  })

  it('each of its findings in one case here; they have stable names and are told in docs/operating.md', () => {
    const tried = new Set(BARS.map(({ finding }) => finding))
    expect([...FINDINGS].filter((finding) => !tried.has(finding))).toEqual(['unreadable'])
    expect(new Set(FINDINGS).size).toBe(FINDINGS.length)
    for (const finding of FINDINGS) expect(finding).toMatch(/^[a-z]+(-[a-z]+)*$/)
    const operating = readFileSync(new URL('../../../docs/operating.md', import.meta.url), 'utf8')
    const listed = [...operating.matchAll(/^\| `([a-z]+(?:-[a-z]+)*)` \|.*\|.*\|$/gm)].map(([, name]) => name)
    expect(listed.filter((name) => FINDINGS.some((finding) => finding === name))).toEqual([...FINDINGS])
  })

  it('several things at once, each told', () => {
    const counts = { writesFailed: 2, lostHeads: 1, servedSlowly: 3 }
    expect(names({ counts })).toEqual(['slow-requests', 'writes-failed', 'lost-heads'])
  })

  it('what happened in the window, and what was lost at any time', () => {
    const old = but(START, {
      counts: { writesFailed: 9, commitsFailed: 9, servedSlowly: 9, requestsTimedOut: 99, lostHeads: 2 },
    })
    expect(names({}, old)).toEqual(['lost-heads'])
  })
})

describe('of peers that are left out', () => {
  it('154 of 1,359 are well, 12.1 % are not', () => {
    const fine = judged({ peers: { cooled: 154, known: 1_359 } })
    expect(fine.status).toBe('ok')
    expect(fine.rates.cooledShare).toBeCloseTo(0.1133, 4)
    const [finding] = judged({ peers: { cooled: 121, known: 1_000 } }).findings
    expect(finding).toEqual({
      finding: 'cooled-peers',
      value: 0.121,
      limit: MAX_COOLED_SHARE,
      text: '12.1 % of 1,000 known peers are left out (at most 12 %)',
    })
  })

  it('few are counted', () => {
    const [finding] = judged({ peers: { cooled: 6, known: 49 } }).findings
    expect(finding).toMatchObject({ value: 6, limit: 5 })
    expect(names({ peers: { cooled: 6, known: MIN_PEERS_FOR_SHARE } })).toEqual([]) // 12 %
    expect(names({ peers: { cooled: 7, known: MIN_PEERS_FOR_SHARE } })).toEqual(['cooled-peers'])
  })
})

describe('what cannot be measured', () => {
  it('is left out, and neither zero nor infinite', () => {
    const { status, rates } = judged({ peers: { cooled: 0, known: 0 } })
    expect(status).toBe('ok')
    expect(Object.keys(rates).sort()).toEqual([
      'deliveredPerSecond',
      'messagesStoredPerSecond',
      'requestsAnsweredPerSecond',
    ])
    expect(JSON.stringify(rates)).not.toContain('null')
  })

  it('is told as soon as there is something of it', () => {
    const counts = {
      ...{ requestsAnswered: 120, requestsTimedOut: 3, requestsFailed: 27, requestsReceived: 200 },
      ...{ requestsTurnedAway: 1, served: 200, servedMs: 500, pushesAcknowledged: 30, pushesFailed: 10 },
      ...{ pushesTimed: 40, pushesSlow: 0, messagesStored: 6, delivered: 60, commits: 4, commitsFailed: 1 },
    }
    const { rates, windowMs, status } = judged({ counts, peers: { cooled: 1, known: 4 } })
    expect({ status, windowMs, rates }).toEqual({
      status: 'ok',
      windowMs: 60_000,
      rates: {
        requestsAnsweredPerSecond: 2,
        timedOutShare: 0.02,
        refusedShare: 0.005,
        averageServeMs: 2.5,
        pushesAcknowledgedShare: 0.75,
        slowPushesShare: 0,
        messagesStoredPerSecond: 0.1,
        deliveredPerSecond: 1,
        failedCommitsShare: 0.2,
        cooledShare: 0.25,
      },
    })
  })
})

describe('a queue', () => {
  const filled = (held: number) => judged({ queues: { outboxEntries: { held, limit: 1_000 } } })

  it('is worth a word above a half, and a strain above four fifths, one or the other', () => {
    expect(filled(1_000 * FILLING_SHARE)).toMatchObject({ status: 'ok', findings: [], notices: [] })
    const half = filled(501)
    expect(half).toMatchObject({ status: 'ok', findings: [] })
    expect(half.notices).toEqual([
      {
        finding: 'outbox-entries-filling',
        value: 0.501,
        limit: FILLING_SHARE,
        text: '501 of 1,000 entries of the outbox, 50.1 % (at most 50 %)',
      },
    ])
    const full = filled(1_000)
    expect(full).toMatchObject({ status: 'strained', notices: [] })
    expect(full.findings).toMatchObject([{ value: 1, limit: NEARLY_FULL_SHARE }])
  })

  it('without a bound does not fill', () => {
    const bounds = { ...told.bounds, attachedTopics: { held: 9_000_000, limit: Number.POSITIVE_INFINITY } }
    expect(judge(START, { ...sampleOf({ ...told, bounds }), uptimeMs: 10_000 })).toMatchObject({
      status: 'ok',
    })
  })
})

it('no link is missed by a node that has others and nothing to say to them', () => {
  const late = { uptimeMs: LONELY_AFTER_MS + 1 }
  expect(names({ ...late, peers: { connected: 1 } })).toEqual([])
  expect(names({ ...late, peers: { connected: 1 }, isUsed: true })).toEqual(['no-linked-peer'])
  expect(names({ ...late, peers: { connected: 1, linked: 1 }, isUsed: true })).toEqual([])
})

it('writes that failed are told with the codes of this time', () => {
  const from = but(START, { counts: { writesFailed: 2 }, writeFailures: { STORAGE_FAILED: 2 } })
  const change = {
    counts: { writesFailed: 5 },
    writeFailures: { STORAGE_FAILED: 2, STORAGE_FULL: 3 },
  }
  expect(judged(change, from).findings[0]?.text).toBe(
    'writes to the disk that failed with STORAGE_FULL: 3 (at most 0)',
  )
})

describe('nothing can be told between two samples', () => {
  it.each<[string, Change]>([
    ['of two starts', { bootId: 'another' }],
    ['that are at the same moment', { uptimeMs: 0 }],
    ['of which the later one is earlier', { uptimeMs: -1 }],
    ...Object.keys(START.counts).map((name): [string, Change] => [
      `where ${name} goes back`,
      { counts: { [name]: -1 } },
    ]),
  ])('%s', (_what, change) => {
    const { status, findings, windowMs, rates } = judged(change)
    expect({ status, findings, windowMs, rates }).toEqual({
      ...{ status: 'unknown', findings: [], windowMs: 0, rates: {} },
    })
  })
})

describe('a sample', () => {
  it('is refused where a part of it is missing or no number', () => {
    const broken: ((copy: Diagnostics) => void)[] = [
      ({ bounds }) => delete bounds.outboxBytes,
      (copy) => delete (copy as Partial<Diagnostics>).stages,
      ({ stages }) => delete (stages as Partial<Diagnostics['stages']>).serve,
      ({ stages }) => stages.fanOut.counts.splice(3),
      ({ requests }) => delete (requests as Partial<typeof requests>).timeouts,
      ({ requests }) => (requests.answered = Number.NaN),
      ({ storage }) => (storage.failures.STORAGE_FULL = Number.NaN),
      ({ peers }) => (peers.linked = -1),
      ({ bounds }) => (bounds.outboxEntries = { held: 0, limit: Number.NaN }),
      ({ node }) => (node.uptimeMs = Number.POSITIVE_INFINITY),
    ]
    for (const spoil of broken) {
      const copy = structuredClone(told)
      expect(() => sampleOf(copy)).not.toThrow()
      spoil(copy)
      expect(() => sampleOf(copy), spoil.toString()).toThrow()
    }
  })

  it('counts as slow what is above the bar, and not what is at it', () => {
    const copy = structuredClone(told)
    const class_ = (ms: (typeof STAGE_BOUNDS_MS)[number]) => STAGE_BOUNDS_MS.indexOf(ms)
    copy.stages.serve.counts = STAGE_BOUNDS_MS.map(() => 0).concat(100)
    copy.stages.serve.counts[class_(5_000)] = 1_000
    copy.stages.serve.counts[class_(30_000)] = 10
    copy.stages.fanOut.counts = STAGE_BOUNDS_MS.map(() => 0).concat(100)
    copy.stages.fanOut.counts[class_(1_000)] = 1_000
    copy.stages.fanOut.counts[class_(5_000)] = 7
    expect(sampleOf(copy).counts).toMatchObject({ servedSlowly: 110, pushesSlow: 107 })
  })

  it('knows each peer once, and nobody who is left out no longer', () => {
    const copy = structuredClone(told)
    copy.peers = {
      ...{ direct: 2, relayed: 1, linked: 2 },
      list: ['a', 'b', 'c'].map((nodeId) => ({ nodeId, path: 'direct', linked: true, score: 1 })),
      cooled: [
        { nodeId: 'c', leftMs: 10, forMs: 20 },
        { nodeId: 'd', leftMs: 1, forMs: 20 },
        { nodeId: 'e', leftMs: 0, forMs: 20 },
      ],
    }
    copy.records.sets = [{ key: '', ageMs: 0, peers: ['a', 'f', copy.node.nodeId] }]
    expect(sampleOf(copy).peers).toEqual({ linked: 2, connected: 3, cooled: 2, known: 5 }) // a to d, and f
    copy.peers.direct = 40
    expect(sampleOf(copy).peers).toEqual({ linked: 2, connected: 41, cooled: 2, known: 42 })
  })

  it('takes what does not store for others as it is', async () => {
    const client = await net.add({ stores: false })
    const sample = sampleOf(await client.pubsub.diagnostics())
    expect(sample.counts).toMatchObject({ pushesAcknowledged: 0, commits: 0, messagesStored: 0 })
  })
})
