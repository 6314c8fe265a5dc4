import { decodeAny, encode, type Link, MAX_FRAME_BYTES } from '../../src/dht/index.ts'
import type { PeerNetwork } from '../../src/dht/network.ts'
import { until } from './memory-nodes.ts'

/** A peer that speaks the link protocol by hand, and says what it wants. */

export type Reply = { reply: unknown } | { error: string; message: string } | { closed: true }

export const HELLO = ['hello', { version: 1, session: new Uint8Array(16), stores: false, durable: false }]

export class Attacker {
  /** What this peer answers when the victim asks it for blocks or heads. */
  answer: (method: string, body: unknown) => unknown = () => undefined
  closed = false
  readonly frames: unknown[][] = []
  #link: Link | undefined
  #nextId = 1

  /** Opens a link; says hello unless `greet` is false. */
  static async connect(network: PeerNetwork, victim: string, greet = true): Promise<Attacker> {
    const attacker = new Attacker()
    const events = {
      onFrame: (bytes: Uint8Array) => attacker.#onFrame(decodeAny(bytes, MAX_FRAME_BYTES) as unknown[]),
      onClose: () => {
        attacker.closed = true
      },
    }
    attacker.#link = await network.openLink(victim, events, { signal: AbortSignal.timeout(15_000) })
    if (greet) attacker.send(encode(HELLO))
    return attacker
  }

  send(frame: Uint8Array): void {
    this.#link?.send(frame)
  }

  close(): void {
    this.#link?.close()
  }

  #onFrame(frame: unknown[]): void {
    this.frames.push(frame)
    const [type, id, method, body] = frame
    if (type !== 'request') return
    const answer = this.answer(String(method), body)
    if (answer !== undefined) this.send(encode(['reply', id, answer]))
  }

  /** Sends a request and waits for its answer, or for the end of the link. */
  ask(method: string, body: unknown): Promise<Reply> {
    const id = this.#nextId++
    this.send(encode(['request', id, method, body]))
    return this.outcome(id)
  }

  outcome(id?: number): Promise<Reply> {
    return until(() => {
      const answer = this.frames.find(([type, to]) => (type === 'reply' || type === 'error') && to === id)
      if (answer?.[0] === 'reply') return { reply: answer[2] }
      if (answer !== undefined) return { error: String(answer[2]), message: String(answer[3]) }
      return this.closed ? { closed: true as const } : undefined
    }) as Promise<Reply>
  }
}
