import type { DhtOptions, Identity } from '../../src/dht/index.ts'
import { type PubSubOptions, StickyPubSub } from '../../src/pubsub/index.ts'
import { SimulatedDisk } from './disk.ts'
import type { SimulatedHub } from './hub.ts'
import { simulatedIdentity } from './identity.ts'
import { SimulatedNetwork } from './network.ts'
import { SimulatedRuntime } from './world.ts'

/** A machine with a disk on which the shipped classes run, crash and start again. */

export interface NodeInit {
  label: string
  stores: boolean
  durable: boolean
  bootstrap: string[]
  smallNetworkPeers: number
  dhtOptions: Partial<DhtOptions>
  options: Partial<PubSubOptions>
  /** Called for each new process, before it joins the network. */
  onStart?: (node: SimulatedNode) => void
}

interface Process {
  runtime: SimulatedRuntime
  network: SimulatedNetwork
  pubsub: StickyPubSub
}

export class SimulatedNode {
  readonly label: string
  readonly disk: SimulatedDisk
  readonly identity: Identity
  readonly init: NodeInit
  readonly #hub: SimulatedHub
  #process: Process | undefined
  /** How often it was started. */
  incarnation = 0
  /** Counters of processes that are gone. */
  #mergesBefore = 0
  #skewMs = 0

  constructor(hub: SimulatedHub, init: NodeInit) {
    this.#hub = hub
    this.init = init
    this.label = init.label
    this.identity = simulatedIdentity(hub.world.random(`identity ${init.label}`).bytes(32))
    this.disk = new SimulatedDisk(hub.world, init.label)
  }

  get nodeId(): string {
    return this.identity.nodeId
  }

  get isUp(): boolean {
    return this.#process !== undefined
  }

  get pubsub(): StickyPubSub {
    if (this.#process === undefined) throw new Error(`${this.label} is down.`)
    return this.#process.pubsub
  }

  /** Live timers of its process. */
  get timers(): number {
    return this.#process?.runtime.timers ?? 0
  }

  get skewMs(): number {
    return this.#skewMs
  }

  /** The wall clock jumps. */
  set skewMs(skewMs: number) {
    this.#skewMs = skewMs
    this.#hub.world.log(this.label, `clock is off by ${skewMs} ms`)
    if (this.#process !== undefined) this.#process.runtime.skewMs = skewMs
  }

  /** Resolves when it has met the network. */
  async start(): Promise<void> {
    if (this.#process !== undefined) throw new Error(`${this.label} is up already.`)
    this.incarnation += 1
    const { label, stores, durable, bootstrap, smallNetworkPeers, dhtOptions, options, onStart } = this.init
    const world = this.#hub.world
    world.log(label, `starts (${this.incarnation})`)
    const runtime = new SimulatedRuntime(world, world.random(`process ${label} ${this.incarnation}`))
    runtime.skewMs = this.#skewMs
    const { nodeId: self } = this
    const network = new SimulatedNetwork({
      hub: this.#hub,
      self,
      label,
      stores,
      durable,
      bootstrap,
      smallNetworkPeers,
    })
    const storage = this.disk.open(runtime)
    const pubsub = new StickyPubSub({
      network,
      storage,
      identity: this.identity,
      runtime,
      dhtOptions,
      options,
    })
    this.#process = { runtime, network, pubsub }
    onStart?.(this)
    await network.join()
  }

  /** SIGSTOP, and SIGCONT after a while. */
  pause(forMs: number): void {
    if (this.#process === undefined) return
    this.#process.runtime.pausedUntilMs = this.#hub.world.nowMs + forMs
    this.#hub.pause(this.nodeId, forMs)
  }

  /** The process ends at once. Silent: as by a power cut, nobody is told. */
  crash({ isSilent = false, losesDisk = false } = {}): void {
    if (this.#process === undefined) return
    this.#mergesBefore = this.merges
    this.#process.runtime.stop()
    this.#process = undefined
    this.#hub.crash(this.nodeId, isSilent)
    this.disk.powerCut()
    if (losesDisk) this.disk.erase()
  }

  /** Leaves cleanly, as on SIGTERM. */
  async stop(): Promise<void> {
    const running = this.#process
    if (running === undefined) return
    await running.pubsub.close()
    if (this.#process !== running) return
    this.#mergesBefore = this.merges
    running.runtime.stop()
    this.#process = undefined
    this.#hub.crash(this.nodeId, false)
  }

  /** Joins of diverged heads at this node, over all its lives. */
  get merges(): number {
    return this.#mergesBefore + (this.#process?.pubsub.counters().merges ?? 0)
  }
}
