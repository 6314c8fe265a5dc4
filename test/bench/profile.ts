import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Where the storing nodes' processors spent their time, of profiles that Node wrote into a folder. */

interface ProfileNode {
  id: number
  callFrame: { functionName: string; url: string; lineNumber: number }
}
export interface CpuProfile {
  nodes: ProfileNode[]
  samples: number[]
  timeDeltas: number[]
}

interface Share {
  name: string
  ms: number
}
export interface SelfTimes {
  /** Not idle. */
  busyMs: number
  /** Greatest first. */
  functions: Share[]
  /** The same by package, or by room of src. */
  packages: Share[]
}

/** Not work, or the work of writing the profile down. */
const LEFT_OUT = new Set(['(idle)', '(program)', 'post node:inspector'])

export function selfTimes({ nodes, samples, timeDeltas }: CpuProfile): SelfTimes {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const functions = new Map<string, number>()
  const packages = new Map<string, number>()
  for (const [i, id] of samples.entries()) {
    const node = byId.get(id)
    if (node === undefined) continue
    const { functionName, url, lineNumber } = node.callFrame
    const place = placeOf(url)
    if (LEFT_OUT.has(`${functionName} ${place}`.trim())) continue
    const ms = (timeDeltas[i] ?? 0) / 1_000
    const name = `${functionName || '(anonymous)'} ${place === '' ? '' : `${place}:${lineNumber + 1}`}`.trim()
    functions.set(name, (functions.get(name) ?? 0) + ms)
    const owner = packageOf(place)
    packages.set(owner, (packages.get(owner) ?? 0) + ms)
  }
  const busyMs = [...functions.values()].reduce((sum, ms) => sum + ms, 0)
  return { busyMs, functions: greatestFirst(functions), packages: greatestFirst(packages) }
}

const greatestFirst = (shares: ReadonlyMap<string, number>): Share[] =>
  [...shares].map(([name, ms]) => ({ name, ms })).sort((a, b) => b.ms - a.ms)

const placeOf = (url: string): string =>
  url.includes('/node_modules/')
    ? url.replace(/^.*\/node_modules\//, '')
    : url.replace(/^.*\/(?=(src|test)\/)/, '')

/** `@libp2p/noise`, `src/dht`, `node`, or what has no file: the engine and its built-in functions. */
function packageOf(place: string): string {
  if (place === '') return 'built in'
  if (place.startsWith('node:')) return 'node'
  const parts = place.split('/')
  const isTwoNames = place.startsWith('@') || parts[0] === 'src' || parts[0] === 'test'
  return parts.slice(0, isTwoNames ? 2 : 1).join('/')
}

/** Of each group of profiles, the busiest process, which begins most commits, and the one in the middle. */
export function profileReport(folder: string, count: number): string {
  const files = readdirSync(folder).filter((file) => file.endsWith('.cpuprofile'))
  const groups = Map.groupBy(files, (file) => file.replace(/-\d+\.cpuprofile$/, ''))
  const reports = [...groups.values()].flatMap((group) => {
    const all = group
      .map((file) => ({ file, ...selfTimes(read(join(folder, file))) }))
      .sort((a, b) => b.busyMs - a.busyMs)
    const [busiest, middle] = [all[0], all[Math.floor(all.length / 2)]]
    if (busiest === undefined || middle === undefined) return []
    return [
      report(`${busiest.file}, the busiest node`, busiest, count),
      report(`${middle.file}, the median node`, middle, count),
    ]
  })
  return reports.length === 0 ? `There is no profile in ${folder}.` : reports.join('\n\n')
}

const read = (file: string): CpuProfile => JSON.parse(readFileSync(file, 'utf8')) as CpuProfile

function report(title: string, { busyMs, functions, packages }: SelfTimes, count: number): string {
  const lines = (shares: readonly Share[]) =>
    shares
      .slice(0, count)
      .map(({ name, ms }) => `  ${((100 * ms) / busyMs).toFixed(1).padStart(5)} %  ${name}`)
  return [
    `${title}: busy ${Math.round(busyMs)} ms, of which in the function itself`,
    ...lines(functions),
    '  by package',
    ...lines(packages),
  ].join('\n')
}
