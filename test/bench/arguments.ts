import { parseArgs } from 'node:util'
import { SYSTEM_NAMES } from './system.ts'
import type { Sizes } from './workload.ts'
import { WORKLOADS } from './workloads/index.ts'

/** What was asked for on the command line, and how much work that is. */

const HELP = `npm run bench -- [options]

Compares this project with gossipsub, NATS JetStream and Redis Streams: real processes on loopback, the same
payloads, everything that is stored flushed to disk. Ours are ten storing nodes with replication 8; gossipsub has
no servers and stores nothing; the other two are one server each, where it is installed (apt-get install
nats-server redis-server, or NATS_SERVER and REDIS_SERVER name the programs).

${WORKLOADS.map(({ id, title }) => `  ${id.padEnd(7)} ${title}`).join('\n')}

  --only NAMES     some of these, separated by commas
  --systems NAMES  some of ${SYSTEM_NAMES.join(',')}
  --runs N         medians of so many runs, default 3
  --quick          one run of little: shows that it works, not what it measures
  --full           topics of 100,000 messages too
  --json FILE      also write all measurements there
  --html FILE      also write a page with tables and plots there
  --profile DIR    write processor profiles of our storing nodes in W1, W2 and W5 there, and say where their time went
  --help

Payloads are the lines of the chat log that STICKY_CHAT_LOG names (.ndjson.gz), else generated ones of the same lengths.
Ctrl-C ends all processes, removes their data, and tells what was measured until then. The exit code is 1 where something was lost or failed.
`

export interface Arguments {
  workloads: ReadonlySet<string>
  systems: ReadonlySet<string>
  runs: number
  sizes: Sizes
  json?: string
  html?: string
  profile?: string
}

const DEFAULT_RUNS = 3

const NORMAL: Sizes = {
  latency: [
    { subscribers: 1, messages: 300 },
    { subscribers: 10, messages: 300 },
    { subscribers: 100, messages: 100 },
    { subscribers: 1, messages: 300, after: 1_500 },
  ],
  messagesEach: 100,
  bursts: 5,
  histories: [1_000, 10_000],
  joins: 3,
  topicSizes: [100, 1_000, 10_000],
  samples: 200,
  topics: 1_000,
  clients: 100,
  topicsEach: 10,
  rounds: 5,
  floorSamples: 1_000,
}
const FULL: Sizes = { ...NORMAL, topicSizes: [...NORMAL.topicSizes, 100_000] }
const QUICK: Sizes = {
  latency: [
    { subscribers: 1, messages: 30 },
    { subscribers: 10, messages: 30 },
  ],
  messagesEach: 20,
  bursts: 2,
  histories: [100, 300],
  joins: 1,
  topicSizes: [100, 300],
  samples: 20,
  topics: 50,
  clients: 10,
  topicsEach: 5,
  rounds: 2,
  floorSamples: 100,
}

/** Ends in a string: what to print, and the exit code, instead of running. */
export function readArguments(argv: string[]): Arguments | { text: string; code: number } {
  const options = {
    only: { type: 'string', default: WORKLOADS.map(({ id }) => id).join(',') },
    systems: { type: 'string', default: SYSTEM_NAMES.join(',') },
    runs: { type: 'string' },
    quick: { type: 'boolean', default: false },
    full: { type: 'boolean', default: false },
    json: { type: 'string' },
    html: { type: 'string' },
    profile: { type: 'string' },
    help: { type: 'boolean', default: false },
  } as const
  try {
    const { values } = parseArgs({ args: argv, options })
    if (values.help) return { text: HELP, code: 0 }
    if (values.quick && values.full) throw new Error('--quick and --full exclude each other.')
    return {
      workloads: chosen(
        'workload',
        values.only,
        WORKLOADS.map(({ id }) => id),
      ),
      systems: chosen('system', values.systems, SYSTEM_NAMES),
      runs: runsOf(values.runs, values.quick ? 1 : DEFAULT_RUNS),
      sizes: values.quick ? QUICK : values.full ? FULL : NORMAL,
      ...(values.json === undefined ? {} : { json: values.json }),
      ...(values.html === undefined ? {} : { html: values.html }),
      ...(values.profile === undefined ? {} : { profile: values.profile }),
    }
  } catch (error) {
    return { text: `${error instanceof Error ? error.message : error}\n\n${HELP}`, code: 2 }
  }
}

function chosen(kind: string, names: string, known: readonly string[]): Set<string> {
  const byLowerCase = new Map(known.map((name) => [name.toLowerCase(), name]))
  return new Set(
    names.split(',').map((name) => {
      const found = byLowerCase.get(name.trim().toLowerCase())
      if (found === undefined) throw new Error(`There is no ${kind} ${name}.`)
      return found
    }),
  )
}

function runsOf(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise
  const runs = Number(text)
  if (!Number.isSafeInteger(runs) || runs < 1) throw new Error(`--runs takes a number from 1, not ${text}.`)
  return runs
}
