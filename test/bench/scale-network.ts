import { SimulatedHub } from '../simulation/hub.ts'
import { SimulatedNode } from '../simulation/node.ts'
import { World } from '../simulation/world.ts'

/** Many nodes in one seeded world, with the options that ship and Kademlia look-ups over two routing tables. */

/** Nodes that join at the same moment: in a network of a thousand as many as are there, or its growth takes hours. */
const joiningAtOnce = (present: number) => (present < 1_000 ? 50 : present)
/** Every fourth holder is a tab: it stores, and does not count as durable. */
const isDurable = (index: number) => index % 4 !== 3

export class ScaleNetwork {
  readonly world: World
  readonly hub: SimulatedHub
  readonly holders: SimulatedNode[] = []
  readonly clients: SimulatedNode[] = []

  constructor(seed: number) {
    this.world = new World({ seed })
    this.hub = new SimulatedHub(this.world)
  }

  get random() {
    return this.hub.random
  }

  async grow(holders: number): Promise<void> {
    const added: SimulatedNode[] = []
    while (this.holders.length < holders) {
      const index = this.holders.length
      const node = this.#node(`n${index}`, true, isDurable(index))
      this.holders.push(node)
      added.push(node)
    }
    await this.#start(added)
  }

  async addClients(count: number): Promise<SimulatedNode[]> {
    const added = Array.from({ length: count }, (_, i) =>
      this.#node(`c${this.clients.length + i}`, false, false),
    )
    this.clients.push(...added)
    await this.#start(added)
    return added
  }

  #node(label: string, stores: boolean, durable: boolean): SimulatedNode {
    const bootstrap = this.holders.slice(0, 3).map(({ nodeId }) => nodeId)
    return new SimulatedNode(this.hub, {
      label,
      stores,
      durable,
      bootstrap,
      smallNetworkPeers: 20,
      dhtOptions: {},
      options: {},
    })
  }

  async #start(nodes: SimulatedNode[]): Promise<void> {
    const waiting = [...nodes]
    while (waiting.length > 0) {
      const present = this.holders.length + this.clients.length - waiting.length
      await Promise.all(waiting.splice(0, joiningAtOnce(present)).map((node) => node.start()))
    }
    await this.world.sleep(2_000)
  }

  /** Until `condition` holds, in virtual time; false when it does not within `withinMs`. */
  async until(condition: () => boolean, withinMs: number): Promise<boolean> {
    const endMs = this.world.nowMs + withinMs
    while (!condition()) {
      if (this.world.nowMs >= endMs) return false
      await this.world.sleep(50)
    }
    return true
  }
}
