import { type Link, type LinkEvents, MAX_FRAME_BYTES, type NodeId } from '../../src/dht/index.ts'
import type { SimulatedHub } from './hub.ts'

/**
 * One end of a link, as TCP makes it: frames arrive in order and once, or the link breaks. While the way is cut they wait
 * (retransmission); when that lasts too long the link breaks. A lost packet delays it and everything behind it. The port
 * forbids lost, doubled or swapped frames, so the simulation has none; a request is doubled when its answer is lost with
 * the link and it is sent again.
 */

type Item = { isCounted?: boolean } & (
  | { type: 'opened' }
  | { type: 'frame'; frame: Uint8Array }
  | { type: 'end' }
)

export class SimulatedLink implements Link {
  readonly peer: NodeId
  readonly owner: NodeId
  readonly #hub: SimulatedHub
  other: SimulatedLink | undefined
  #events: LinkEvents | undefined
  /** Called instead of events while the dialler waits for the other side's answer. */
  onOpened: (() => void) | undefined
  #isSendClosed = false
  #isDead = false
  /** Waiting while the way to the peer is cut. */
  #stalled: Item[] = []
  #lastArrivalMs = 0
  #inFlightBytes = 0
  #deadTimer: { clear(): void } | undefined

  constructor(hub: SimulatedHub, owner: NodeId, peer: NodeId) {
    this.#hub = hub
    this.owner = owner
    this.peer = peer
    hub.links.add(this)
  }

  get bufferedBytes(): number {
    return this.#inFlightBytes
  }

  get isDead(): boolean {
    return this.#isDead
  }

  setEvents(events: LinkEvents): void {
    this.#events = events
  }

  send(frame: Uint8Array): boolean {
    if (this.#isSendClosed || this.#isDead) return false
    if (frame.byteLength > MAX_FRAME_BYTES) {
      this.break()
      return false
    }
    this.#inFlightBytes += frame.byteLength
    this.transmit({ type: 'frame', frame: frame.slice() })
    return true
  }

  /** What was sent before still arrives. */
  close(): void {
    if (this.#isSendClosed || this.#isDead) return
    this.#isSendClosed = true
    this.transmit({ type: 'end' })
    this.#hub.world.at(0, () => this.#die())
  }

  /** The link goes at both ends, each as soon as it can learn of it. Frames under way are lost. */
  break(): void {
    if (this.#isDead) return
    this.#hub.world.at(0, () => this.#die())
    const { other } = this
    if (other === undefined || other.isDead) return
    const delayMs = this.#hub.delayMs(this.owner, this.peer) ?? this.#hub.options.deadLinkMs
    this.#hub.world.at(delayMs, () => other.#die())
  }

  /** The process at this end is gone; its other end is told, or not. */
  vanish(isSilent: boolean): void {
    if (this.#isDead) return
    this.#isDead = true
    this.#deadTimer?.clear()
    this.#hub.links.delete(this)
    const { other } = this
    if (other === undefined || other.isDead) return
    const delayMs = isSilent ? undefined : this.#hub.delayMs(this.owner, this.peer)
    this.#hub.world.at(delayMs ?? this.#hub.options.deadLinkMs, () => other.#die())
  }

  #die(): void {
    if (this.#isDead) return
    this.#isDead = true
    this.#isSendClosed = true
    this.#deadTimer?.clear()
    this.#stalled = []
    this.#inFlightBytes = 0
    this.#hub.links.delete(this)
    this.#events?.onClose()
  }

  transmit(item: Item): void {
    const { world, options, counters } = this.#hub
    const delayMs = this.#hub.delayMs(this.owner, this.peer)
    if (delayMs === undefined || this.#stalled.length > 0) {
      this.#stalled.push(item)
      counters.stalledFrames += 1
      this.#deadTimer ??= world.at(options.deadLinkMs, () => this.break())
      return
    }
    let arrivalMs = Math.max(this.#lastArrivalMs, world.nowMs + delayMs)
    const quality = this.#hub.quality
    if (this.#hub.random.chance(quality.lossRate)) {
      arrivalMs += this.#hub.random.between(200, 600) // one retransmission
      counters.lostPackets += 1
    }
    this.#lastArrivalMs = arrivalMs
    const fate =
      item.type === 'frame' && this.#hub.random.chance(quality.resetRate) ? this.#resetFate() : 'arrives'
    world.at(arrivalMs - world.nowMs, () => this.other?.arrive(item, fate))
  }

  /** A reset takes the frame with it, or comes right after it, so that its answer is lost. */
  #resetFate(): 'lost' | 'last' {
    this.#hub.counters.resets += 1
    return this.#hub.random.chance(0.5) ? 'lost' : 'last'
  }

  arrive(item: Item, fate: 'arrives' | 'lost' | 'last'): void {
    if (item.type === 'frame' && !item.isCounted && this.other !== undefined)
      this.other.#inFlightBytes -= item.frame.byteLength
    if (this.#isDead) {
      // this process is gone or has hung up: whoever still sends is told
      const { other } = this
      const delayMs = this.#hub.delayMs(this.owner, this.peer)
      if (other !== undefined && !other.isDead && delayMs !== undefined && this.#hub.isUp(this.owner))
        this.#hub.world.at(delayMs, () => other.#die())
      return
    }
    const pauseMs = this.#hub.pauseMs(this.owner)
    if (pauseMs > 0) {
      this.#hub.world.at(pauseMs, () => this.arrive({ ...item, isCounted: true }, fate))
      return
    }
    if (fate === 'lost') return this.break()
    if (item.type === 'opened') this.onOpened?.()
    else if (item.type === 'end') this.#die()
    else {
      this.#hub.onFrame(this.peer, this.owner, item.frame)
      this.#events?.onFrame(item.frame)
    }
    if (fate === 'last') this.break()
  }

  /** The way may be free again. */
  resume(): void {
    if (this.#stalled.length === 0 || this.#hub.delayMs(this.owner, this.peer) === undefined) return
    this.#deadTimer?.clear()
    this.#deadTimer = undefined
    const items = this.#stalled
    this.#stalled = []
    this.#lastArrivalMs = Math.max(
      this.#lastArrivalMs,
      this.#hub.world.nowMs + this.#hub.random.between(0, 1_000),
    )
    for (const item of items) this.transmit(item)
  }
}
