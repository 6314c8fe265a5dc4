import { writeFile } from 'node:fs/promises'
import { availableParallelism, cpus, totalmem } from 'node:os'
import { parseArgs } from 'node:util'
import { measureLatency, measureThroughput } from './delivery.ts'
import { measureFloors } from './floors.ts'
import { measureGrowth } from './growth.ts'
import { GossipPeers, PEERS, StickyPeers } from './peers.ts'
import { chosenSections } from './sections.ts'
import { Results } from './statistics.ts'

const HELP = `npm run bench -- [options]

Ten storing nodes on loopback, each a process with its data on disk, replication 8; publishers and subscribers
in one more process. Gossipsub gets the same payloads over as many processes in the same run.

  --quick         fewer messages: shows that it works, not what it measures
  --only NAMES    some of latency,throughput,growth,floors, separated by commas
  --json FILE     also write the numbers there
  --help
`
const SECTIONS = ['latency', 'throughput', 'growth', 'floors']

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', default: SECTIONS.join(',') },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
const only = chosenSections(values, SECTIONS, HELP)

const say = (text: string) => process.stderr.write(`${text}\n`)
const results = new Results()
const sizes = values.quick
  ? { latency: 50, throughput: 500, growth: [100, 300], samples: 20, floor: 100 }
  : { latency: 500, throughput: 5_000, growth: [100, 1_000, 10_000], samples: 200, floor: 1_000 }

say(`starting ${PEERS} nodes of each kind`)
const [sticky, gossip] = await Promise.all([StickyPeers.start(), GossipPeers.start()])
try {
  const delivery = { sticky, gossip, results, rounds: 5 }
  if (only.has('latency'))
    for (const subscribers of [1, 10]) {
      say(`latency, ${subscribers} subscriber(s)`)
      await measureLatency({ ...delivery, messages: sizes.latency }, subscribers)
    }
  if (only.has('throughput')) {
    say('throughput')
    await measureThroughput({ ...delivery, messages: sizes.throughput }, 10, 50)
  }
  await gossip.stop()
  if (only.has('growth')) {
    say('growth')
    await measureGrowth({ sticky, results, sizes: sizes.growth, samples: sizes.samples })
  }
  if (only.has('floors')) {
    say('floors')
    await measureFloors(sticky, results, sizes.floor)
  }
} finally {
  await Promise.all([sticky.stop(), gossip.stop()])
}

const machine = {
  node: process.version,
  platform: `${process.platform} ${process.arch}`,
  cpu: cpus()[0]?.model ?? 'unknown',
  cores: availableParallelism(),
  memoryGiB: Math.round(totalmem() / 2 ** 30),
}
process.stdout.write(`${results.table()}\n\n${Object.values(machine).join(', ')}\n`)
if (values.json !== undefined)
  await writeFile(values.json, `${JSON.stringify({ machine, results: results.list }, undefined, 2)}\n`)
