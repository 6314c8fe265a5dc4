import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { STAGES, totalOf } from '../../../src/dht/index.ts'
import { FINDINGS, type HealthReading, judge, unknown, unreadable } from '../../../src/node/health.ts'
import { sampleOf } from '../../../src/node/health-sample.ts'
import { METRIC_NAMES, prometheusText } from '../../../src/node/prometheus.ts'
import type { Diagnostics } from '../../../src/pubsub/index.ts'
import { MemoryNet, until } from '../../support/memory-nodes.ts'

/** The metrics of a node: the numbers of its diagnostics, in a form that Prometheus reads. */

const net = new MemoryNet()
let told: Diagnostics
let health: HealthReading
let text: string

beforeAll(async () => {
  const node = await net.add()
  const client = await net.add({ stores: false })
  await client.pubsub.subscribe('topic')
  await client.pubsub.publish('topic', 1)
  await expect(client.pubsub.dht.headAt('other', new Uint8Array(32), node.pubsub.nodeId)).rejects.toThrow()
  await until(() => (node.pubsub.counters().delivery?.acknowledged ?? 0) > 0)
  told = await node.pubsub.diagnostics()
  health = judge({ ...sampleOf(told), uptimeMs: 0 }, sampleOf(told))
  text = prometheusText({ ...told, health })
})
afterAll(() => net.close())

const sampled = (sample: string) =>
  Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${sample} `))
      ?.split(' ')
      .at(-1),
  )

it('has a help and a type for each metric, once, and a number in each line', () => {
  const lines = text.trimEnd().split('\n')
  const samples = lines.filter((line) => !line.startsWith('#'))
  for (const sample of samples)
    expect(sample).toMatch(/^[a-z_]+(\{([a-z_]+="[^"\\]*",?)+\})? \d+(\.\d+)?(e[-+]\d+)?$/)
  expect(new Set(samples.map((sample) => sample.replace(/ \S+$/, ''))).size).toBe(samples.length)
  for (const kind of ['HELP', 'TYPE']) {
    const named = lines.filter((line) => line.startsWith(`# ${kind} `)).map((line) => line.split(' ')[2])
    expect(named).toEqual(METRIC_NAMES)
  }
  for (const line of lines.filter((each) => each.startsWith('# TYPE ')))
    expect(/_total counter$| gauge$|_seconds histogram$/.test(line), line).toBe(true)
})

it('says what the diagnostics say', () => {
  expect(sampled('sticky_node_requests_received_total')).toBe(told.requests.requestsReceived)
  expect(sampled('sticky_node_requests_refused_total{code="UNKNOWN_KIND"}')).toBe(1)
  expect(totalOf(told.requests.refusals)).toBe(1)
  expect(sampled('sticky_node_received_stored_total')).toBe(1)
  expect(sampled('sticky_node_pushes_acknowledged_total')).toBe(told.replica?.delivery.acknowledged)
  expect(sampled('sticky_node_bound_limit{bound="loadedRecords"}')).toBe(told.bounds.loadedRecords?.limit)
  expect(sampled('sticky_node_records_held')).toBe(1)
})

it('has a histogram of each stage whose classes add up', () => {
  for (const stage of STAGES) {
    const { count, totalMs } = told.stages[stage]
    const buckets = [
      ...text.matchAll(new RegExp(`stage_seconds_bucket\\{stage="${stage}",le="([^"]+)"\\} (\\d+)`, 'g')),
    ]
    const counts = buckets.map(([, , below]) => Number(below))
    expect(counts).toEqual(counts.toSorted((a, b) => a - b))
    expect(buckets.at(-1)?.[1]).toBe('+Inf')
    expect(counts.at(-1)).toBe(count)
    expect(sampled(`sticky_node_stage_seconds_count{stage="${stage}"}`)).toBe(count)
    expect(sampled(`sticky_node_stage_seconds_sum{stage="${stage}"}`)).toBeCloseTo(totalMs / 1_000)
  }
  expect(sampled('sticky_node_stage_seconds_count{stage="commit"}')).toBeGreaterThan(0)
})

describe('whether the node is strained', () => {
  const ofHealth = (reading: HealthReading) =>
    prometheusText({ ...told, health: reading })
      .split('\n')
      .filter((line) => /^sticky_node_(strained|finding)/.test(line))
  const all = (found: string) =>
    FINDINGS.map((finding) => `sticky_node_finding{finding="${finding}"} ${Number(finding === found)}`)

  it('is told of each finding there is', () => {
    expect(ofHealth(health)).toEqual(['sticky_node_strained 0', ...all('')])
    const before = { ...sampleOf(told), uptimeMs: 0 }
    const sample = sampleOf(told)
    const after = { ...sample, counts: { ...sample.counts, lostHeads: 1 } }
    expect(ofHealth(judge(before, after))).toEqual(['sticky_node_strained 1', ...all('lost-heads')])
  })

  it('is not told, also not as 0, where it is not known', () => {
    const nothing = unknown(sampleOf(told))
    expect(ofHealth(nothing)).toEqual(['sticky_node_finding{finding="unreadable"} 0'])
    const findings = [unreadable(1, 'CLOSED')]
    expect(ofHealth({ ...nothing, findings })).toEqual(['sticky_node_finding{finding="unreadable"} 1'])
  })
})

it('leaves out what a node does not do that stores nothing', async () => {
  const client = net.nodes.at(-1)?.pubsub
  const own = prometheusText({ ...((await client?.diagnostics()) as Diagnostics), health })
  expect(own).not.toContain('sticky_node_commits_total')
  expect(own).toContain('sticky_node_publishes_stored_total 1')
})

it('is in docs/operating.md, all of it and no more', () => {
  const operating = readFileSync(new URL('../../../docs/operating.md', import.meta.url), 'utf8')
  const listed = [...operating.matchAll(/^\| `(sticky_node_[a-z_]+)/gm)].map(([, name]) => name)
  expect(listed.sort()).toEqual([...METRIC_NAMES].sort())
})
