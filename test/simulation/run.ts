import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { runAcceptance } from './acceptance.ts'
import { ACCEPTANCE } from './acceptance-check.ts'
import { describeCounts, describeEvent } from './history.ts'
import { attackCounts, type RunResult, replayCommand, runScenario } from './scenario.ts'
import { SEEDS } from './seeds.ts'
import { LOADS } from './workload.ts'

const HELP = `npm run test:sim -- [options]

Fault schedules (docs/invariants.md) in a seeded world, one line for each run. Ends with 1 when an invariant was broken
or a run proves nothing.

  --seeds LIST      such as 1-20 or 3,7 (default 1-5)
  --schedule NAMES  of ${Object.keys(SEEDS).join(', ')} (default: all)
  --load NAME       ${Object.keys(LOADS).join(' or ')} (default full)
  --trace FILE      writes every event of the last run
  --quiet           of a broken run only what is wrong, not what happened before
  --until NAME      ends once this invariant is broken
  --help
`

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '1-5' },
    schedule: { type: 'string', default: Object.keys(SEEDS).join(',') },
    load: { type: 'string', default: 'full' },
    trace: { type: 'string' },
    quiet: { type: 'boolean', default: false },
    until: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  process.stdout.write(HELP)
  process.exit()
}
for (const name of values.schedule.split(','))
  if (!Object.hasOwn(SEEDS, name)) throw new Error(`No schedule ${name}: ${Object.keys(SEEDS)}`)

const load = values.load as keyof typeof LOADS
if (!Object.hasOwn(LOADS, load)) throw new Error(`No load ${load}: ${Object.keys(LOADS)}`)

function seedsOf(text: string): number[] {
  return text.split(',').flatMap((part) => {
    const [from, to] = part.split('-').map(Number) as [number, number | undefined]
    return Array.from({ length: (to ?? from) - from + 1 }, (_, i) => from + i)
  })
}

const MAX_TOLD = 12
const CONTEXT_EVENTS = 25

/** Violations, and what happened before the first of them. */
function report(schedule: string, seed: number, { violations, vacuous, events }: RunResult): void {
  const byInvariant = new Map<string, number>()
  for (const { invariant } of violations) byInvariant.set(invariant, (byInvariant.get(invariant) ?? 0) + 1)
  const sums = [...byInvariant].map(([name, count]) => `${name} x${count}`).join(', ')
  console.log(
    `FAIL ${schedule} seed ${seed}: ${[sums, ...vacuous.map((why) => `proves nothing: ${why}`)].join('; ')}`,
  )
  for (const { invariant, atMs, text } of violations.slice(0, MAX_TOLD))
    console.log(`  ${invariant} at ${(atMs / 1_000).toFixed(3)} s: ${text}`)
  if (!values.quiet) {
    const firstMs = Math.min(...violations.map(({ atMs }) => atMs))
    const important = events.filter(({ type }) => type !== 'advance' && type !== 'deliver')
    console.log('  before that:')
    for (const event of important.filter(({ atMs }) => atMs <= firstMs).slice(-CONTEXT_EVENTS))
      console.log(`    ${(event.atMs / 1_000).toFixed(3)} ${describeEvent(event)}`)
  }
  console.log(`  replay: ${replayCommand({ schedule, seed, load })}`)
}

let failures = 0
let runs = 0
let isOver = false
for (const schedule of values.schedule.split(',')) {
  for (const seed of seedsOf(values.seeds)) {
    if (isOver) break
    const startedMs = performance.now()
    const run = Object.hasOwn(ACCEPTANCE, schedule) ? runAcceptance : runScenario
    const result = await run({ schedule, seed, load, keepTrace: values.trace !== undefined })
    runs += 1
    const { attempts, acks, weakAcks, unknown, failed, merges, gaps } = result.stats
    const { late, total, joinedAfter, initiators, joins } = result.stats
    const acceptance =
      total === undefined
        ? ''
        : `late subscriber after ${joinedAfter} got ${late} of ${total}, ${initiators} initiators, ${joins} joins seen, `
    const attack = describeCounts(attackCounts(result.events))
    if (values.trace !== undefined) writeFileSync(values.trace, `${result.trace.join('\n')}\n`)
    if (result.violations.length + result.vacuous.length > 0) {
      failures += 1
      report(schedule, seed, result)
      isOver = result.violations.some(({ invariant }) => invariant === values.until)
    }
    console.log(
      `${schedule} seed ${seed}: ${attempts} published, ${acks} stored (${weakAcks} at fewer than three), ${unknown} unknown, ${failed} failed, ${merges} merges, ${gaps} gaps, ${acceptance}${attack && `attack: ${attack}, `}trace ${result.checksum}, ${Math.round(performance.now() - startedMs)} ms`,
    )
  }
}
console.log(`${runs - failures} of ${runs} runs passed.`)
process.exitCode = failures === 0 ? 0 : 1
