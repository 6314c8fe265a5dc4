import { nodeIdOf } from '../../src/dht/identity.ts'
import type { PeerNetwork } from '../../src/dht/network.ts'
import { SimulatedHub } from '../simulation/hub.ts'
import { SimulatedNetwork } from '../simulation/network.ts'
import { Random } from '../simulation/random.ts'
import { World } from '../simulation/world.ts'
import { type NetworkFixture, networkSuite } from './network-suite.ts'

/** The suite waits in real time; here virtual time runs on as fast as it can while it does. */

const roles = [
  { stores: true, durable: true },
  { stores: true, durable: false },
  { stores: true, durable: true },
  { stores: true, durable: true },
  { stores: true, durable: false },
  { stores: false, durable: false },
]

async function fixture(smallNetworkPeers: number): Promise<NetworkFixture> {
  const world = new World({ seed: 1, maxVirtualMs: Number.POSITIVE_INFINITY })
  const hub = new SimulatedHub(world)
  const random = new Random('contract')
  const ids = roles.map(() => nodeIdOf(random.bytes(32)))
  const first = ids[0] as string
  const networks = roles.map(
    (role, i) =>
      new SimulatedNetwork({
        hub,
        self: ids[i] as string,
        label: `n${i}`,
        ...role,
        bootstrap: [first],
        smallNetworkPeers,
      }),
  )
  let stopped = false
  const pump = (async () => {
    while (!stopped) if (!(await world.step())) await new Promise((resolve) => setTimeout(resolve, 1))
  })()
  for (const network of networks) await network.join()
  return {
    holders: networks.slice(0, -1),
    client: networks.at(-1) as PeerNetwork,
    unreachable: nodeIdOf(random.bytes(32)),
    async stop() {
      stopped = true
      await pump
    },
  }
}

networkSuite('simulated, by look-up', () => fixture(0))
networkSuite('simulated, from the routing tables', () => fixture(20))
