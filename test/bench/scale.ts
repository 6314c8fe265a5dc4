import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { installSynchronousCrypto } from '../simulation/synchronous-crypto.ts'
import { churn } from './scale-churn.ts'
import { growthWithMessages, growthWithNodes, growthWithSubscribers, loadOfTopics } from './scale-growth.ts'
import { presenceOfMembers } from './scale-presence.ts'
import { chosenSections } from './sections.ts'
import { Results } from './statistics.ts'

const HELP = `npm run bench:scale -- [options]

The shipped classes in a seeded world: what grows with nodes, subscribers, messages and topics, and what churn does.
Times are virtual: ways of 2 to 40 ms, disks of 0.5 to 4 ms.

  --quick       a tenth of everything
  --report      growth with nodes up to 10,000
  --only NAMES  some of nodes,subscribers,messages,topics,churn,presence, separated by commas
  --seed N      default 1
  --json FILE   also write the numbers there
  --help
`
const SECTIONS = ['nodes', 'subscribers', 'messages', 'topics', 'churn', 'presence']

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    report: { type: 'boolean', default: false },
    only: { type: 'string', default: SECTIONS.join(',') },
    seed: { type: 'string', default: '1' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
const only = chosenSections(values, SECTIONS, HELP)

const seed = Number(values.seed)
const results = new Results()
const share = values.quick ? 10 : 1
const nodes = 1_000 / share
const sizes = (all: number[]) => (values.quick ? all.slice(0, -1) : all)
const runs: Record<string, () => Promise<void>> = {
  nodes: () =>
    growthWithNodes(results, seed, [...sizes([10, 100, 1_000]), ...(values.report ? [10_000] : [])]),
  subscribers: () => growthWithSubscribers(results, seed, nodes / 10, sizes([1, 10, 100, 1_000])),
  messages: () => growthWithMessages(results, seed, sizes([100, 1_000, 10_000])),
  topics: () => loadOfTopics(results, seed, nodes, nodes),
  churn: () => churn(results, seed, nodes),
  presence: () => presenceOfMembers(results, seed, nodes / 10, sizes([10, 100, 1_000])),
}
const restoreCrypto = installSynchronousCrypto()
for (const [name, run] of Object.entries(runs)) {
  if (!only.has(name)) continue
  const startMs = performance.now()
  process.stderr.write(`${name} … `)
  await run()
  process.stderr.write(`${Math.round((performance.now() - startMs) / 1_000)} s\n`)
}
restoreCrypto()
process.stdout.write(`${results.table()}\n`)
if (values.json !== undefined)
  await writeFile(values.json, `${JSON.stringify({ seed, results: results.list }, undefined, 2)}\n`)
