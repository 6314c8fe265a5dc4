import { hash } from 'node:crypto'

/**
 * Chance from a seed (sfc32). Each purpose has a stream of its own, so that one more draw for one purpose leaves all
 * other streams as they were.
 */
export class Random {
  readonly #name: string
  #a: number
  #b: number
  #c: number
  #counter = 1

  constructor(name: string) {
    this.#name = name
    const bytes = hash('sha256', name, 'buffer')
    this.#a = bytes.readUInt32LE(0)
    this.#b = bytes.readUInt32LE(4)
    this.#c = bytes.readUInt32LE(8)
    for (let i = 0; i < 12; i++) this.#next()
  }

  /** An independent stream. */
  fork(label: string): Random {
    return new Random(`${this.#name}/${label}`)
  }

  #next(): number {
    const out = (this.#a + this.#b + this.#counter) >>> 0
    this.#counter = (this.#counter + 1) >>> 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) >>> 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + out) >>> 0
    return out
  }

  /** Uniform in [0, 1). */
  next(): number {
    return this.#next() / 2 ** 32
  }

  between(min: number, max: number): number {
    return min + this.next() * (max - min)
  }

  /** A whole number, both ends included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1))
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(items: readonly T[]): T {
    if (items.length === 0) throw new Error('Nothing to pick from.')
    return items[this.int(0, items.length - 1)] as T
  }

  /** `count` different items, in random order. */
  sample<T>(items: readonly T[], count: number): T[] {
    const rest = [...items]
    for (let i = rest.length - 1; i > 0; i--) {
      const other = this.int(0, i)
      ;[rest[i], rest[other]] = [rest[other] as T, rest[i] as T]
    }
    return rest.slice(0, count)
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.#next() & 0xff)
  }
}
