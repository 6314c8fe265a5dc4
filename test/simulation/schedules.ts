import { ATTACKS } from './attacks.ts'
import type { SimulatedNode } from './node.ts'
import type { Simulation } from './simulation.ts'
import type { LoadOptions, Workload } from './workload.ts'

/** The faults of invariants.md, each as a program that runs while the load goes on. What it broke, `heal` repairs. */

export interface FaultContext {
  simulation: Simulation
  workload: Workload
  /** Puts the end of its subscriptions on record, then ends the process. */
  crash(node: SimulatedNode, options?: { isSilent?: boolean; losesDisk?: boolean }): void
  /** Starts it again, with the subscription it had. */
  restart(node: SimulatedNode): Promise<void>
  /** How many attackers; where nothing is said the seed says it. */
  attackers?: number | undefined
}

/** What must have happened for a run to count. */
export interface Needs {
  crashes?: boolean
  /** Heads that differed before the heal, and joins after. */
  merges?: boolean
  stalled?: boolean
  resets?: boolean
  failedWrites?: boolean
  flippedBits?: boolean
  /** What attackers must have done, by the names of their counters. */
  attack?: string[]
}

export interface Schedule {
  about: string
  /** How far clocks are off, for the checker. */
  skewMs?: number
  /** Publishes are stored quickly until then; where nothing is said, until the faults begin. */
  quickUntil?: 'heal'
  needs: Needs
  /** What differs from the load that was asked for. */
  load?: Partial<LoadOptions>
  /** How long after the heal everything is to be right; SETTLE_MS where nothing is said. */
  settleMs?: number
  /** In the end time passes until nothing may be left anywhere. */
  expires?: boolean
  faults(context: FaultContext): Promise<void>
}

const MINUTE_MS = 60_000

/** Every node in exactly one of `count` groups, holders of the topic in the given numbers. */
function groups(simulation: Simulation, holdersPerGroup: number[]): string[][] {
  const { random, replicaSet, nodes } = simulation
  const out: string[][] = holdersPerGroup.map(() => [])
  const set = random.sample(replicaSet, replicaSet.length)
  for (const [i, count] of holdersPerGroup.entries())
    for (let n = 0; n < count; n++) {
      const node = set.pop()
      if (node !== undefined) out[i]?.push(node.nodeId)
    }
  const placed = new Set(out.flat())
  for (const { nodeId } of nodes) if (!placed.has(nodeId)) random.pick(out).push(nodeId)
  return out
}

async function halves({ simulation }: FaultContext): Promise<void> {
  const { random, hub, world } = simulation
  hub.partition(groups(simulation, random.chance(0.6) ? [3, 2] : [2, 2, 1]))
  await world.sleep(random.between(10_000, 25_000))
}

async function crashSome(
  { simulation, workload, crash, restart }: FaultContext,
  losesDisk: boolean,
): Promise<void> {
  const { random, world } = simulation
  const victims = random.sample(simulation.replicaSet, 2)
  await workload.untilPublishing()
  for (const node of victims) {
    crash(node, { isSilent: random.chance(0.3), losesDisk })
    await world.sleep(random.between(0, 200))
  }
  await world.sleep(random.between(8_000, 15_000))
  await Promise.all(victims.map(restart))
}

/** Places are taken over while a holder is away; then everybody goes down, so that only what is on the disks counts. */
async function handOver({ simulation, workload, crash, restart }: FaultContext): Promise<void> {
  const { random, world } = simulation
  const away = random.sample(simulation.replicaSet, 2)
  for (const node of away) crash(node)
  await world.sleep(random.between(6_000, 9_000))
  await workload.untilPublishing()
  const rest = simulation.holders.filter(({ isUp }) => isUp)
  for (const node of rest) crash(node, { isSilent: random.chance(0.3) })
  await world.sleep(random.between(1_000, 4_000))
  // those that were away come last: what was stored without them must be on the others' disks
  for (const node of rest) await restart(node)
  await world.sleep(random.between(2_000, 5_000))
  for (const node of away) await restart(node)
}

/** Their clients still reach them, and they each other: two of five must acknowledge nothing, for nobody else will have it. */
async function cutOffAndErased({ simulation, workload, crash, restart }: FaultContext): Promise<void> {
  const { random, hub, world, replicaSet, holders } = simulation
  const first = replicaSet.find(({ init }) => init.durable) as SimulatedNode // whom publishers ask first
  const victims = [first, random.pick(replicaSet.filter((node) => node !== first))]
  for (const node of victims)
    for (const other of holders) {
      if (victims.includes(other)) continue
      hub.cut(node.nodeId, other.nodeId)
      hub.cut(other.nodeId, node.nodeId)
    }
  // less than it takes until they count the others as gone and go on as a network of two
  await world.sleep(random.between(1_000, 3_000))
  await workload.untilPublishing()
  for (const node of victims) crash(node, { isSilent: random.chance(0.3), losesDisk: true })
  hub.heal()
  await world.sleep(random.between(5_000, 10_000))
  await Promise.all(victims.map(restart))
}

async function crashAll({ simulation, workload, crash, restart }: FaultContext): Promise<void> {
  const { random, world } = simulation
  const victims = simulation.replicaSet
  await workload.untilPublishing()
  for (const node of random.sample(victims, victims.length)) {
    crash(node, { isSilent: random.chance(0.3) })
    await world.sleep(random.between(0, 100 / victims.length))
  }
  await world.sleep(random.between(3_000, 12_000))
  for (const node of victims) {
    await world.sleep(random.between(0, 1_500))
    await restart(node)
  }
}

async function oneWay({ simulation }: FaultContext): Promise<void> {
  const { random, hub, world, replicaSet, nodes } = simulation
  for (const node of random.sample(replicaSet, 2))
    for (const other of nodes) if (other !== node && random.chance(0.5)) hub.cut(node.nodeId, other.nodeId)
  await world.sleep(random.between(10_000, 25_000))
}

/** Six to twenty times, so that a short run can be had. */
async function flapping(context: FaultContext): Promise<void> {
  const { simulation } = context
  const { hub, world } = simulation
  const sides = groups(simulation, [3, 2])
  for (let i = simulation.random.int(6, 20); i > 0; i--) {
    hub.partition(sides)
    await world.sleep(1_000)
    hub.heal()
    await world.sleep(1_000)
  }
}

/** Each holder of the topic reaches a majority of them, no two the same one. */
async function majorityRing({ simulation }: FaultContext): Promise<void> {
  const { random, hub, world } = simulation
  const ring = random.sample(simulation.replicaSet, 5)
  for (const [i, node] of ring.entries())
    for (const [j, other] of ring.entries()) {
      const apart = Math.min((i - j + ring.length) % ring.length, (j - i + ring.length) % ring.length)
      if (apart > 1) hub.cut(node.nodeId, other.nodeId)
    }
  await world.sleep(random.between(10_000, 25_000))
}

async function slowHolder({ simulation }: FaultContext): Promise<void> {
  const { random, hub, world, replicaSet } = simulation
  const victim = random.pick(replicaSet)
  hub.slow(victim.nodeId, 2_000)
  victim.disk.options = { minWriteMs: 50, maxWriteMs: 800, maxReadMs: 30 }
  await world.sleep(random.between(12_000, 20_000))
}

async function standStill({ simulation }: FaultContext): Promise<void> {
  const { random, world } = simulation
  for (const victim of random.sample(simulation.replicaSet, random.int(1, 2))) {
    victim.pause(20_000)
    simulation.history.add({ type: 'paused', publisher: victim.nodeId, forMs: 20_000 })
  }
  await world.sleep(21_000)
}

async function badWires({ simulation }: FaultContext): Promise<void> {
  const { random, hub, world } = simulation
  hub.quality = { lossRate: 0.1, resetRate: 0.01, jitterMs: 200 }
  await world.sleep(random.between(12_000, 20_000))
}

async function clocks({ simulation }: FaultContext): Promise<void> {
  const { random, world, nodes, replicaSet } = simulation
  for (const node of nodes) if (random.chance(0.5)) node.skewMs = random.between(-4, 4) * MINUTE_MS
  for (const skewMs of [7, -7]) random.pick(nodes).skewMs = skewMs * MINUTE_MS
  await world.sleep(8_000)
  const jumper = random.pick(replicaSet)
  jumper.skewMs -= 10 * MINUTE_MS
  await world.sleep(8_000)
  // clocks are set right again one after the other, by jumps
  for (const node of nodes) node.skewMs = Math.max(-4 * MINUTE_MS, Math.min(4 * MINUTE_MS, node.skewMs))
}

/** Clocks stay off until the end. */
async function beforeExpiry(context: FaultContext): Promise<void> {
  const { random, nodes } = context.simulation
  for (const node of nodes) if (random.chance(0.5)) node.skewMs = random.between(-4, 4) * MINUTE_MS
  await crashSome(context, false)
}

async function badDisks(context: FaultContext, flipsLog: boolean): Promise<void> {
  const { simulation, workload, crash, restart } = context
  const { random, world, replicaSet } = simulation
  const [refusing, slow, flipped] = random.sample(replicaSet, 3) as [
    SimulatedNode,
    SimulatedNode,
    SimulatedNode,
  ]
  slow.disk.options = { minWriteMs: 100, maxWriteMs: 1_500, maxReadMs: 50 }
  for (let i = 0; i < 4; i++) {
    refusing.disk.fault = random.pick(['STORAGE_FAILED', 'STORAGE_FULL'])
    await world.sleep(random.between(1_000, 3_000))
    refusing.disk.fault = undefined
    await world.sleep(random.between(200, 1_500))
  }
  await workload.untilPublishing()
  crash(flipped)
  const blocks = flipped.disk.flipBits('block/', 6)
  if (flipsLog) flipped.disk.flipBits('log/', 1)
  // what follows in the log is lost with an entry; the state that the log goes on from, with what its head names
  if (flipsLog || blocks.some((name) => !/^block\/(message|payload|page)\//.test(name)))
    simulation.history.add({ type: 'disk-lost', node: flipped.label })
  await world.sleep(2_000)
  await restart(flipped)
  await world.sleep(2_000)
}

async function churn({ simulation, workload, crash, restart }: FaultContext): Promise<void> {
  const { random, world } = simulation
  for (let i = 0; i < 8; i++) {
    // the label decides the identity, and churn may come more than once in a run
    const label = `x${simulation.nodes.filter((node) => node.label.startsWith('x')).length}`
    const newcomer = await simulation.add({ label, stores: true, durable: random.chance(0.5) })
    if (random.chance(0.5)) void newcomer.start()
    const victim = random.pick(simulation.holders.filter(({ isUp }) => isUp))
    await workload.untilPublishing()
    if (random.chance(0.5)) crash(victim, { isSilent: random.chance(0.3) })
    else {
      simulation.world.log(victim.label, 'leaves')
      crash(victim)
    }
    await world.sleep(random.between(1_500, 4_000))
    await restart(victim)
  }
}

/** Those that leave three of five disks whole whatever else goes on. */
const COMBINABLE = ['S1', 'S1b', 'S2', 'S2b', 'S2c', 'S2d', 'S3', 'S3b', 'S4', 'churn']

/** Two different ones at the same time, two or three times; in between one of them is over and the other goes on. */
async function combined(context: FaultContext): Promise<void> {
  const { random, world } = context.simulation
  for (let round = random.int(2, 3); round > 0; round--) {
    const names = random.sample(COMBINABLE, 2)
    world.log('faults', names.join(' and '))
    const faults = names.map(async (name) => {
      await world.sleep(random.between(0, 5_000))
      await SCHEDULES[name]?.faults(context)
    })
    await Promise.all(faults)
  }
}

export const SCHEDULES: Record<string, Schedule> = {
  S1: {
    about: 'two of five holders are killed and come back with their disks',
    needs: { crashes: true },
    faults: (c) => crashSome(c, false),
  },
  S1b: { about: 'all five holders are killed within 100 ms', needs: { crashes: true }, faults: crashAll },
  S1c: {
    about: 'two of five holders lose their disks',
    needs: { crashes: true },
    faults: (c) => crashSome(c, true),
  },
  S1e: {
    about: 'two of five holders are cut off from the others and lose their disks',
    needs: { crashes: true, stalled: true },
    faults: cutOffAndErased,
  },
  S1d: {
    about: 'holders hand over, then all nodes go down at once',
    needs: { crashes: true },
    faults: handOver,
  },
  S2: {
    about: 'the network falls into two or three parts',
    needs: { merges: true, stalled: true },
    faults: halves,
  },
  S2b: { about: 'some ways are cut in one direction', needs: { stalled: true }, faults: oneWay },
  S2c: { about: 'a partition comes and goes every second', needs: { stalled: true }, faults: flapping },
  S2d: { about: 'each holder reaches another majority', needs: { stalled: true }, faults: majorityRing },
  S3: { about: 'one holder is 2 s away each way, its disk slow', needs: {}, faults: slowHolder },
  S3b: { about: 'one or two holders stand still for 20 s', needs: {}, faults: standStill },
  S4: { about: 'loss, jitter and resets on all links', needs: { resets: true }, faults: badWires },
  S5: {
    about: 'clocks are off by up to 7 min and jump by 10',
    needs: {},
    skewMs: 10 * MINUTE_MS,
    faults: clocks,
  },
  S6: {
    about: 'disks refuse, are slow, or flip bits in blocks',
    needs: { crashes: true, failedWrites: true, flippedBits: true },
    faults: (c) => badDisks(c, false),
  },
  S6b: {
    about: 'the same, and a bit of a commit log flips',
    needs: { crashes: true, failedWrites: true, flippedBits: true },
    faults: (c) => badDisks(c, true),
  },
  ...ATTACKS,
  S12: {
    about: 'two of these at the same time, two or three times',
    needs: {},
    // a partition may last through all of them: whom a holder could not reach for that long it asks again within a minute
    settleMs: 30_000,
    faults: combined,
  },
  expiry: {
    about: 'everything expires while holders are killed and clocks are off by up to 4 min',
    needs: { crashes: true },
    skewMs: 4 * MINUTE_MS,
    load: { longTtlMs: 15 * MINUTE_MS },
    expires: true,
    faults: beforeExpiry,
  },
  churn: { about: 'holders come and go', needs: { crashes: true }, faults: churn },
}
