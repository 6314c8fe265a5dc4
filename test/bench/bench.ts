import { mkdirSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { availableParallelism, cpus, loadavg, totalmem } from 'node:os'
import { resolve } from 'node:path'
import { type Arguments, readArguments } from './arguments.ts'
import { endAll, isOver, refuseNewProcesses } from './children.ts'
import { type About, pageOf } from './html.ts'
import { Lines } from './lines.ts'
import { profileReport } from './profile.ts'
import { BenchRecord, quantiles } from './record.ts'
import type { Network, System } from './system.ts'
import { allSystems } from './systems/index.ts'
import { tableOf } from './table.ts'
import { targetsOf } from './targets.ts'
import type { Workload } from './workload.ts'
import { WORKLOADS } from './workloads/index.ts'

/** `npm run bench`: every workload over every system, run after run, each with processes of its own. */

const NODES = 10
const PROFILED_FUNCTIONS = 15

const say = (text: string): void => void process.stderr.write(text)

async function main(asked: Arguments): Promise<number> {
  const lines = Lines.load()
  const all = (await allSystems()).filter(({ name }) => asked.systems.has(name))
  const systems = all.filter((system) => 'start' in system)
  const missing = all.flatMap((system) => ('missing' in system ? [system.missing] : []))
  if (asked.profile !== undefined) mkdirSync(asked.profile, { recursive: true })
  for (const text of missing) say(`left out: ${text}\n`)
  const record = new BenchRecord()
  const finish = () => report(asked, record, { lines: lines.source, systems, missing })
  endOnSignals(finish)
  for (let run = 1; run <= asked.runs; run++) await oneRun(systems, record, run, asked)
  await finish()
  return record.problems.length === 0 ? 0 : 1
}

async function report(
  asked: Arguments,
  record: BenchRecord,
  of: Pick<About, 'lines' | 'systems' | 'missing'>,
): Promise<void> {
  const runs = Math.max(0, ...record.measurements.map(({ run }) => run))
  const about: About = { date: new Date().toISOString().slice(0, 10), machine: machineText(), runs, ...of }
  process.stdout.write(`\n${tableOf(record)}\n\n${aboutText(about)}\n`)
  await writeFiles(asked, record, about)
  if (asked.profile !== undefined)
    process.stdout.write(`\n${profileReport(asked.profile, PROFILED_FUNCTIONS)}\n`)
}

const aboutText = ({ date, machine, runs, lines, systems, missing }: About): string =>
  [
    `${date}; ${runs === 1 ? 'one run' : `medians of ${runs} runs`}; ${machine}; payloads: ${lines}`,
    ...systems.map(({ title, note }) => `${title}: ${note}`),
    ...missing.map((text) => `left out: ${text}`),
  ].join('\n')

const takesPart = ({ needsHistory, onlyOurs }: Workload, system: System): boolean =>
  (system.hasHistory || needsHistory !== true) && (system.name === 'ours' || onlyOurs !== true)

/** The systems by turns, so that what else the machine does in a minute is in all of them. */
async function oneRun(systems: readonly System[], record: BenchRecord, run: number, asked: Arguments) {
  const started = new Map<System, Network>()
  for (const workload of WORKLOADS)
    for (const system of systems) {
      if (!asked.workloads.has(workload.id) || !takesPart(workload, system)) continue
      say(`run ${run} of ${asked.runs}, ${workload.id}, ${system.title} … `)
      const startMs = performance.now()
      const problemsBefore = record.problems.length
      try {
        const network = started.get(system) ?? (await system.start(NODES))
        started.set(system, network)
        const profile = asked.profile === undefined ? {} : { profileFolder: resolve(asked.profile) }
        const progress = (step: string) => say(`${step} … `)
        await workload.run({ system, network, record, run, sizes: asked.sizes, progress, ...profile })
      } catch (error) {
        if (isOver()) throw error
        record.problems.push(`${workload.id}, ${system.title}, run ${run}: ${textOf(error)}`)
        await started.get(system)?.stop() // the next workload begins with another
        started.delete(system)
      }
      say(`${Math.round((performance.now() - startMs) / 1_000)} s\n`)
      for (const problem of record.problems.slice(problemsBefore)) say(`  ${problem}\n`)
    }
  await Promise.all([...started.values()].map((network) => network.stop()))
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))

async function writeFiles({ json, html }: Arguments, record: BenchRecord, about: About): Promise<void> {
  if (json !== undefined) {
    const { measurements, problems } = record
    const distributions = record
      .samples()
      .map(({ values, ...of }) => ({ ...of, quantiles: quantiles(values) }))
    const rows = record.rows().map((row) => ({
      ...row,
      values: Object.fromEntries(row.values),
      ratios: Object.fromEntries(row.ratios),
    }))
    const content = { about, targets: targetsOf(record), problems, rows, measurements, distributions }
    await writeFile(json, `${JSON.stringify(content, undefined, 2)}\n`)
  }
  if (html !== undefined) await writeFile(html, pageOf(record, about))
}

function machineText(): string {
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`
  const load = `load at the end ${loadavg()[0]?.toFixed(1)}`
  const cores = `${availableParallelism()} cores`
  return [
    `Node ${process.version}`,
    `${process.platform} ${process.arch}`,
    cpus()[0]?.model ?? '',
    cores,
    memory,
    load,
  ].join(', ')
}

/** The first signal ends everything that was started, tells what was measured until then, and ends this process. */
function endOnSignals(finish: () => Promise<void>): void {
  const end = async (code: number) => {
    refuseNewProcesses()
    say('\nending all processes\n')
    await endAll()
    await finish().finally(() => process.exit(code))
  }
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    process.on(signal, () => {
      if (!isOver()) void end(code)
    })
}

const asked = readArguments(process.argv.slice(2))
if ('text' in asked) {
  ;(asked.code === 0 ? process.stdout : process.stderr).write(asked.text)
  process.exitCode = asked.code
} else {
  try {
    process.exitCode = await main(asked)
  } catch (error) {
    if (!isOver()) throw error
    await new Promise(() => undefined) // what was ended by a signal, its handler finishes
  } finally {
    await endAll()
  }
}
