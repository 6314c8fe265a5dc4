import { METHOD_NAMES } from './attackers/flood-bodies.ts'
import { Flooder } from './attackers/flooder.ts'
import { Forger } from './attackers/forger.ts'
import { LyingRouter } from './attackers/router.ts'
import { StaleReplayer } from './attackers/stale-replayer.ts'
import { Withholder } from './attackers/withholder.ts'
import type { FaultContext, Schedule } from './schedules.ts'

/** Schedules in which somebody lies. Who stays until the end goes on lying: what the others hold must come right beside it. */

async function staleReplays({ simulation }: FaultContext): Promise<void> {
  const attacker = StaleReplayer.create(simulation, 'evil')
  await attacker.join()
  await simulation.world.sleep(1_000)
  await attacker.replay(15_000, 200)
  attacker.tell()
}

async function forgeries({ simulation }: FaultContext): Promise<void> {
  const attacker = Forger.create(simulation, 'forger')
  await attacker.join()
  await simulation.world.sleep(1_000)
  await attacker.forge(8_000, 200)
  attacker.tell()
}

/** In two waves: a subscriber that comes and goes takes some seconds to have done so a few times. */
async function flood({ simulation }: FaultContext): Promise<void> {
  const attacker = Flooder.create(simulation, 'flooder')
  await attacker.join()
  await attacker.flood(750, 1_000, 150)
  await simulation.world.sleep(8_000)
  await attacker.flood(750, 1_000, 150)
  attacker.tell()
}

/** Newcomers enter the network through the liars, and a holder comes back: who is where has to be found out anew. */
async function lyingRouters({ simulation, workload, crash, restart }: FaultContext): Promise<void> {
  const { random, world } = simulation
  const routers = ['liar0', 'liar1'].map((label) => LyingRouter.create(simulation, label))
  await Promise.all(routers.map((router) => router.join()))
  await world.sleep(1_000)
  const honest = random.pick(simulation.holders).nodeId
  const bootstrap = [...routers.map(({ nodeId }) => nodeId), honest]
  for (const [i, label] of ['x0', 'x1'].entries()) {
    const newcomer = await simulation.add({ label, stores: false, durable: false, bootstrap })
    await newcomer.start()
    void workload.subscribe(newcomer)
    workload.startPublisher(newcomer, FIRST_NEWCOMER + i)
  }
  const victim = random.pick(simulation.replicaSet)
  await workload.untilPublishing()
  crash(victim)
  await world.sleep(random.between(4_000, 6_000))
  await restart(victim)
  await world.sleep(2_000)
  for (const router of routers) router.tell()
}

/** The other publishers have the numbers before. */
const FIRST_NEWCOMER = 10

async function withholders({
  simulation,
  attackers = 1 + (simulation.world.seed % 4),
}: FaultContext): Promise<void> {
  const group = Withholder.createGroup(simulation, attackers)
  await Promise.all(group.map((attacker) => attacker.join()))
  await simulation.world.sleep(15_000)
  for (const attacker of group) attacker.tell()
}

export const ATTACKS = {
  S7: {
    about: 'one holder replays an old state and withholds all that is new',
    needs: { attack: ['replays', 'lies'] },
    faults: staleReplays,
  },
  S7b: {
    about: 'one holder forges versions, heads, messages, stamps, deltas and forks',
    needs: { attack: ['versions', 'phantoms', 'messages', 'stamps', 'deltas', 'forks', 'lies'] },
    faults: forgeries,
  },
  S7c: {
    about: 'a client sends 1,000 requests a second of every kind, 300 subscriptions, and drops links',
    needs: {
      attack: [
        'random',
        'malformed',
        'oversized',
        'useless',
        'answered',
        'subscribed',
        'droppedLinks',
        'unacknowledged',
        ...METHOD_NAMES,
      ],
    },
    quickUntil: 'heal',
    faults: flood,
  },
  S7d: {
    about: 'two of eleven holders lie about who is where, while others come and go',
    needs: { crashes: true, attack: ['madeUp', 'accomplices', 'nothing'] },
    faults: lyingRouters,
  },
  S8: {
    about: 'one to four of five holders store nothing, show nothing, and say that they do',
    needs: { attack: ['falselyStored', 'withheldHeads'] },
    // a subscriber whose source shows nothing finds that out at a check, and may come upon the next such source
    settleMs: 45_000,
    faults: withholders,
  },
} satisfies Record<string, Schedule>
