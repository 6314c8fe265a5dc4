import { type NodeId, StickyError } from '../../src/dht/index.ts'
import { describeFrame } from './frames.ts'
import { SimulatedLink } from './link.ts'
import type { SimulatedNetwork } from './network.ts'
import type { Random } from './random.ts'
import type { World } from './world.ts'

/** The wires between all nodes: delays, cuts, resets, and who is up. */

export interface HubOptions {
  minDelayMs: number
  maxDelayMs: number
  /** Each frame takes up to this much longer than its way does. */
  jitterMs: number
  /** A link over which nothing gets through for this long breaks. */
  deadLinkMs: number
  /** A dial that nobody answers. */
  dialTimeoutMs: number
  /** A routing question that nobody answers. */
  queryTimeoutMs: number
}

const DEFAULT_HUB_OPTIONS: HubOptions = {
  minDelayMs: 2,
  maxDelayMs: 40,
  jitterMs: 5,
  deadLinkMs: 12_000,
  dialTimeoutMs: 10_000,
  queryTimeoutMs: 1_000,
}

export interface Quality {
  /** Chance that a frame needs a retransmission. */
  lossRate: number
  /** Chance that the link breaks at a frame. */
  resetRate: number
  jitterMs: number
}

export class SimulatedHub {
  readonly world: World
  readonly options: HubOptions
  readonly random: Random
  readonly nodes = new Map<NodeId, SimulatedNetwork>()
  readonly links = new Set<SimulatedLink>()
  quality: Quality
  readonly counters = {
    frames: 0,
    bytes: 0,
    stalledFrames: 0,
    lostPackets: 0,
    resets: 0,
    brokenDials: 0,
    lostQueries: 0,
    crashes: 0,
  }
  /** Bytes of frames by sender. */
  readonly sentBytes = new Map<NodeId, number>()
  /** Routing questions by who asked. */
  readonly questions = new Map<NodeId, number>()
  readonly #labels = new Map<NodeId, string>()
  readonly #wayMs = new Map<string, number>()
  readonly #cuts = new Set<string>()
  readonly #extraMs = new Map<NodeId, number>()
  readonly #pausedUntilMs = new Map<NodeId, number>()

  constructor(world: World, options: Partial<HubOptions> = {}) {
    this.world = world
    this.options = { ...DEFAULT_HUB_OPTIONS, ...options }
    this.random = world.random('hub')
    this.quality = this.clearQuality
  }

  get clearQuality(): Quality {
    return { lossRate: 0, resetRate: 0, jitterMs: this.options.jitterMs }
  }

  name(nodeId: NodeId, label: string): void {
    this.#labels.set(nodeId, label)
  }

  label(nodeId: NodeId): string {
    return this.#labels.get(nodeId) ?? nodeId.slice(-6)
  }

  join(network: SimulatedNetwork): void {
    this.nodes.set(network.self, network)
  }

  isUp(nodeId: NodeId): boolean {
    return this.nodes.has(nodeId)
  }

  /** How much longer a node stands still. */
  pauseMs(nodeId: NodeId): number {
    return Math.max(0, (this.#pausedUntilMs.get(nodeId) ?? 0) - this.world.nowMs)
  }

  /** The process stands still: what reaches it waits at its door. */
  pause(nodeId: NodeId, forMs: number): void {
    this.world.log(this.label(nodeId), `stands still for ${forMs} ms`)
    this.#pausedUntilMs.set(nodeId, this.world.nowMs + forMs)
    this.nodes.get(nodeId)?.pause(forMs)
  }

  /** How long something takes from one node to another now; undefined where the way is cut. */
  delayMs(from: NodeId, to: NodeId): number | undefined {
    const way = `${from}>${to}`
    if (this.#cuts.has(way)) return undefined
    let baseMs = this.#wayMs.get(way)
    if (baseMs === undefined) {
      const { minDelayMs, maxDelayMs } = this.options
      baseMs = this.world.random(`way ${this.label(from)} ${this.label(to)}`).between(minDelayMs, maxDelayMs)
      this.#wayMs.set(way, baseMs)
    }
    const extraMs = (this.#extraMs.get(from) ?? 0) + (this.#extraMs.get(to) ?? 0)
    return baseMs + extraMs + this.random.between(0, this.quality.jitterMs)
  }

  /** One direction: nothing that `from` sends reaches `to`. */
  cut(from: NodeId, to: NodeId): void {
    this.#cuts.add(`${from}>${to}`)
  }

  /** Nodes of different groups cannot reach each other; nodes in no group reach everybody. */
  partition(groups: NodeId[][]): void {
    this.world.log(
      'net',
      `partition ${groups.map((g) => g.map((id) => this.label(id)).join(',')).join(' | ')}`,
    )
    for (const group of groups)
      for (const other of groups) {
        if (other === group) continue
        for (const a of group) for (const b of other) this.cut(a, b)
      }
  }

  heal(): void {
    this.world.log('net', 'heal')
    this.#cuts.clear()
    this.#extraMs.clear()
    this.quality = this.clearQuality
    for (const link of [...this.links]) link.resume()
  }

  /** Everything to and from a node takes longer. */
  slow(nodeId: NodeId, extraMs: number): void {
    this.world.log('net', `${this.label(nodeId)} is slower by ${extraMs} ms each way`)
    this.#extraMs.set(nodeId, extraMs)
  }

  /** Silent: the others learn it only from silence. */
  crash(nodeId: NodeId, isSilent: boolean): void {
    this.counters.crashes += 1
    this.world.log(this.label(nodeId), isSilent ? 'loses power' : 'is killed')
    this.nodes.get(nodeId)?.stop()
    this.nodes.delete(nodeId)
    for (const link of [...this.links]) if (link.owner === nodeId) link.vanish(isSilent)
  }

  /** The dialler's way to a peer and back; `done` gets an error or the open link, at the dialler's end. */
  dial(from: SimulatedNetwork, to: NodeId, done: (error?: StickyError, link?: SimulatedLink) => void): void {
    const { world, options, counters } = this
    const forthMs = this.delayMs(from.self, to)
    const backMs = this.delayMs(to, from.self)
    const fail = (afterMs: number) => {
      counters.brokenDials += 1
      world.at(afterMs, () => done(new StickyError('UNREACHABLE', `${this.label(to)} cannot be reached.`)))
    }
    if (forthMs === undefined || backMs === undefined) return fail(options.dialTimeoutMs)
    const knock = () => {
      if (this.pauseMs(to) > 0) return world.at(this.pauseMs(to), knock)
      const accept = this.nodes.get(to)?.acceptLink
      if (accept === undefined) return fail(backMs)
      const near = new SimulatedLink(this, from.self, to)
      const far = new SimulatedLink(this, to, from.self)
      near.other = far
      far.other = near
      near.onOpened = () => done(undefined, near)
      far.transmit({ type: 'opened' })
      far.setEvents(accept(far))
    }
    world.at(forthMs, knock)
  }

  /** A routing question and its answer; undefined when either is lost. */
  query<T>(from: NodeId, to: NodeId, answer: (peer: SimulatedNetwork) => T): Promise<T | undefined> {
    const { world, options, counters } = this
    this.questions.set(from, (this.questions.get(from) ?? 0) + 1)
    return new Promise((resolve) => {
      const lose = () => {
        counters.lostQueries += 1
        world.at(options.queryTimeoutMs, () => resolve(undefined))
      }
      const forthMs = this.delayMs(from, to)
      if (forthMs === undefined) return lose()
      world.at(forthMs, () => {
        const peer = this.nodes.get(to)
        const backMs = this.pauseMs(to) > 0 ? undefined : this.delayMs(to, from)
        if (backMs === undefined) return lose()
        const result = peer === undefined ? undefined : answer(peer)
        world.at(backMs, () => resolve(result))
      })
    })
  }

  onFrame(from: NodeId, to: NodeId, frame: Uint8Array): void {
    this.counters.frames += 1
    this.counters.bytes += frame.byteLength
    this.sentBytes.set(from, (this.sentBytes.get(from) ?? 0) + frame.byteLength)
    this.world.log(`${this.label(from)}>${this.label(to)}`, describeFrame(frame, this.world.keepsTrace))
  }
}
