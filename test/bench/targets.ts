import type { BenchRecord, Row } from './record.ts'
import type { SystemName } from './system.ts'
import { METRICS } from './workload.ts'
import { FLOORS } from './workloads/floors.ts'

/** What ours should reach, as ratios within the same runs wherever a ratio can say it. */

export interface Target {
  text: string
  value: number
  limit: number
  unit: string
  /** Most targets are upper bounds. */
  atLeast: boolean
  isMet: boolean
}

const REPLICAS = 8

/** Those that were measured. */
export function targetsOf(record: BenchRecord): Target[] {
  const look = new Look(record)
  const targets: Target[] = []
  const add = (text: string, value: number | undefined, limit: number, unit = '×', atLeast = false) => {
    if (value === undefined || !Number.isFinite(value)) return
    targets.push({ text, value, limit, unit, atLeast, isMet: atLeast ? value >= limit : value <= limit })
  }
  latencyTargets(look, add)
  for (const row of look.rows('W2', METRICS.rate))
    add(`W2, ${row.scenario}: messages received, to JetStream’s`, row.ratios.get('jetstream'), 0.5, '×', true)
  historyTargets(look, add)
  growthTargets(look, add)
  for (const row of look.rows('W5', METRICS.wall))
    add(`W5, ${row.scenario}: all received, to gossipsub’s`, row.ratios.get('gossipsub'), 2)
  for (const row of look.rows('W6', METRICS.wall))
    add(`W6, ${row.scenario}: all received, to gossipsub’s`, row.ratios.get('gossipsub'), 1)
  for (const row of look.rows('W5', 'idle: memory of the largest node'))
    add(`an idle node with ${row.scenario}: memory`, ours(row), 200, 'MB')
  for (const row of look.rows('W5', 'idle: processor, the busiest node'))
    add(`an idle node with ${row.scenario}: processor`, ours(row), 1, '%')
  return targets
}

type Add = (text: string, value: number | undefined, limit: number, unit?: string) => void

/** By subscribers, with which the name of each scenario begins. */
const LATENCY_LIMITS: Record<number, number> = { 1: 2, 10: 1, 100: 0.3 }
const subscribersOf = ({ scenario }: Row): number => Number.parseInt(scenario, 10)

function latencyTargets(look: Look, add: Add): void {
  for (const row of look.rows('W1', METRICS.receivedP50))
    add(
      `W1, ${row.scenario}: publish → received p50, to gossipsub’s`,
      row.ratios.get('gossipsub'),
      LATENCY_LIMITS[subscribersOf(row)] ?? 1,
    )
  const floor = sum(look.floor(FLOORS.roundTrip), look.floor(FLOORS.flush))
  const stored = look.ours('W1', '1 subscriber', METRICS.storedP50)
  add('W1, 1 subscriber: publish → stored p50, to one round trip and one flush', over(stored, floor), 3)
  for (const row of look.rows('W1', METRICS.wire)) {
    const receivers = REPLICAS + subscribersOf(row)
    const floorBytes = look.floor(FLOORS.envelope)
    const ideal = floorBytes === undefined ? undefined : floorBytes * receivers
    add(
      `W1, ${row.scenario}: bytes on the wire, to one signed message for each receiver`,
      over(ours(row), ideal),
      2,
    )
  }
}

function historyTargets(look: Look, add: Add): void {
  const rates = [FLOORS.verify, FLOORS.verifyMany, FLOORS.verifySync].map((name) => look.floor(name) ?? 0)
  const row = look.rows('W3', METRICS.all).at(-1)
  if (row === undefined) return
  const count = Number(row.scenario.replace(/\D/g, ''))
  const fastest = Math.max(...rates)
  const verifyMs = fastest === 0 ? undefined : (1_000 * count) / fastest
  add(`W3, ${row.scenario}: all of them, to verifying as many signatures`, over(ours(row), verifyMs), 1.5)
  const page = look.ours('W3', row.scenario, METRICS.latestPage)
  add(`W3, ${row.scenario}: ${METRICS.latestPage}`, page, 50, 'ms')
}

function growthTargets(look: Look, add: Add): void {
  for (const name of [METRICS.storedP50, METRICS.wire, METRICS.file]) {
    const [first, ...larger] = look.rows('W4', name)
    if (first === undefined) continue
    for (const row of larger)
      add(`W4, ${row.scenario}: ${name}, to ${first.scenario}`, over(ours(row), ours(first)), 1.1)
  }
  for (const row of look.rows('W4', METRICS.file).slice(-1))
    add(
      `W4, ${row.scenario}: ${METRICS.file}, to a signed message`,
      over(ours(row), look.floor(FLOORS.envelope)),
      4,
    )
  add(
    'W4, 100,000 messages: memory of a replica',
    look.ours('W4', '100,000 messages', 'memory of the largest node'),
    150,
    'MB',
  )
}

class Look {
  readonly #rows: Row[]

  constructor(record: BenchRecord) {
    this.#rows = record.rows()
  }

  rows(workload: string, name: string): Row[] {
    return this.#rows.filter((row) => row.workload === workload && row.name === name)
  }

  ours(workload: string, scenario: string, name: string): number | undefined {
    const row = this.rows(workload, name).find((candidate) => candidate.scenario === scenario)
    return row && ours(row)
  }

  floor(name: string): number | undefined {
    return this.ours(FLOORS.id, FLOORS.scenario, name)
  }
}

const OURS: SystemName = 'ours'
const ours = (row: Row): number | undefined => row.values.get(OURS)?.median
const over = (above: number | undefined, below: number | undefined): number | undefined =>
  above === undefined || below === undefined || below === 0 ? undefined : above / below
const sum = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || b === undefined ? undefined : a + b
