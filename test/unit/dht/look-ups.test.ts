import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { distanceBetween } from '../../../src/dht/closest.ts'
import { compareBytes } from '../../../src/dht/codec.ts'
import {
  BUCKET_PEERS,
  DEFAULT_LOOK_UP_OPTIONS,
  type Finder,
  type LookUpOptions,
  LookUps,
} from '../../../src/dht/look-ups.ts'
import { ManualRuntime } from '../../support/manual-runtime.ts'

const REPLICAS = 8
const OPTIONS = DEFAULT_LOOK_UP_OPTIONS

const placeOf = (text: string): Uint8Array => createHash('sha256').update(text).digest()

/** A DHT of so many peers, in which a look-up finds those that are closest. */
class Network {
  readonly runtime = new ManualRuntime()
  readonly places: Map<string, Uint8Array>
  readonly looked: string[] = []
  underWay = 0
  mostUnderWay = 0
  /** Given: look-ups go on until then, or until they are cut off. */
  until: Promise<void> = Promise.resolve()
  readonly lookUps: LookUps<string>

  constructor(size: number, options: Partial<LookUpOptions> = {}, isTaken = (_place: Uint8Array) => true) {
    this.places = new Map()
    for (let i = 0; this.places.size < size; i++) {
      const place = placeOf(`peer ${size}/${i}`)
      if (isTaken(place)) this.places.set(`peer ${size}/${i}`, place)
    }
    const finder: Finder<string> = {
      canAsk: () => size > 0,
      placeOf: async (peer) => this.places.get(peer) as Uint8Array,
      find: async ({ key, signal }) => {
        const name = Buffer.from(key).toString()
        this.looked.push(name)
        this.underWay += 1
        this.mostUnderWay = Math.max(this.mostUnderWay, this.underWay)
        const cut = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
        await Promise.race([this.until, cut])
        this.underWay -= 1
        const peers = this.closest(name)
        if (signal.aborted) return { peers: peers.slice(0, 1), extent: 'some' }
        return { peers: peers.slice(0, BUCKET_PEERS), extent: size < BUCKET_PEERS ? 'all' : 'closest' }
      },
    }
    this.lookUps = new LookUps(finder, this.runtime, { ...OPTIONS, ...options })
  }

  /** Nearest first. */
  closest(key: string, peers: Iterable<string> = this.places.keys()): string[] {
    const target = placeOf(key)
    const ranked = [...peers].map((peer) => ({
      peer,
      distance: distanceBetween(this.places.get(peer) as Uint8Array, target),
    }))
    return ranked.sort((a, b) => compareBytes(a.distance, b.distance)).map(({ peer }) => peer)
  }

  async find(key: string, signal = new AbortController().signal): Promise<string[]> {
    const request = { key: Buffer.from(key), target: placeOf(key), needed: REPLICAS, signal }
    return this.closest(key, await this.lookUps.find(request))
  }
}

/** Keys as one node holds them: all in the same 32nd of the key space. */
function keysNear(place: string, count: number): string[] {
  const [first = 0] = placeOf(place)
  const keys: string[] = []
  for (let i = 0; keys.length < count; i++)
    if ((placeOf(`key ${i}`)[0] as number) >> 3 === first >> 3) keys.push(`key ${i}`)
  return keys
}

/** One in each 16th of the key space. */
function keysApart(): string[] {
  const places = Array.from({ length: 500 }, (_, i) => `place ${i}`)
  return [...Map.groupBy(places, (place) => (placeOf(place)[0] as number) >> 4).values()].flatMap(
    ([first]) => first ?? [],
  )
}

describe('what one look-up found', () => {
  it('answers for the keys beside it: those of one holder take a few', async () => {
    const network = new Network(300)
    const keys = keysNear('a holder', 200)
    const found = await Promise.all(keys.map((key) => network.find(key)))
    for (const [i, key] of keys.entries())
      expect(found[i]?.slice(0, REPLICAS)).toEqual(network.closest(key).slice(0, REPLICAS))
    expect(network.looked.length).toBeLessThan(5)
  })

  it('never gives another set than a look-up of the key itself', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: BUCKET_PEERS + 1, max: 400 }), fc.integer(), async (size, seed) => {
        const network = new Network(size)
        const keys = Array.from({ length: 100 }, (_, i) => `${seed} ${i}`)
        for (const key of keys) {
          const found = await network.find(key)
          expect(found.slice(0, REPLICAS)).toEqual(network.closest(key).slice(0, REPLICAS))
        }
        return network.looked.length <= keys.length
      }),
      { numRuns: 20 },
    )
  })

  it('is forgotten after a while', async () => {
    const network = new Network(300)
    await network.find('a')
    await network.find('a')
    expect(network.looked).toEqual(['a'])
    network.runtime.advance(OPTIONS.lookUpReuseMs + 1)
    await network.find('a')
    expect(network.looked).toEqual(['a', 'a'])
  })

  it('is forgotten when peers came or went', async () => {
    const network = new Network(300)
    await network.find('a')
    network.lookUps.forget()
    await network.find('a')
    expect(network.looked).toEqual(['a', 'a'])
  })

  it('is not for who asks after they did, where it was begun before', async () => {
    const network = new Network(300)
    const over = Promise.withResolvers<void>()
    network.until = over.promise
    const before = [network.find('a'), network.find('a')]
    network.lookUps.forget()
    const after = network.find('a')
    over.resolve()
    for (const peers of await Promise.all([...before, after])) expect(peers).toHaveLength(BUCKET_PEERS)
    expect(network.looked).toEqual(['a', 'a'])
  })

  it('answers for all keys where it is fewer peers than a bucket holds, for no others where a part is missing', async () => {
    const small = new Network(BUCKET_PEERS - 1)
    for (const key of keysApart()) expect(await small.find(key)).toEqual(small.closest(key))
    expect(small.looked).toHaveLength(1)
    const full = new Network(BUCKET_PEERS)
    for (const key of keysApart()) expect(await full.find(key)).toEqual(full.closest(key))
    expect(full.looked.length).toBeGreaterThan(1)
  })

  it('answers for nobody else where it was cut off', async () => {
    const network = new Network(300)
    network.until = new Promise(() => undefined)
    const first = network.find('a')
    network.runtime.advance(OPTIONS.lookUpTimeoutMs)
    expect(await first).toEqual(network.closest('a').slice(0, 1)) // who had answered
    network.until = Promise.resolve()
    expect(await network.find('a')).toHaveLength(BUCKET_PEERS)
    expect(network.looked).toEqual(['a', 'a'])
  })
})

describe('look-ups', () => {
  it('are so many at a time, and all have their turn', async () => {
    const network = new Network(2_000)
    const keys = Array.from({ length: 100 }, (_, i) => `far ${i}`)
    const found = await Promise.all(keys.map((key) => network.find(key)))
    for (const peers of found) expect(peers).toHaveLength(BUCKET_PEERS)
    expect(network.looked.length).toBeGreaterThan(OPTIONS.maxLookUps)
    expect(network.mostUnderWay).toBe(OPTIONS.maxLookUps)
  })

  it('do not wait for one another where none answers for others', async () => {
    const [first = 0] = placeOf('a holder')
    let neighbours = 0
    const isFar = ([place = 0]: Uint8Array) => place >> 7 !== first >> 7
    const network = new Network(60, {}, (place) => isFar(place) || neighbours++ < REPLICAS - 1)
    for (const key of keysNear('a holder', 3)) await network.find(key)
    expect(network.looked).toHaveLength(3)
    await Promise.all(keysNear('a holder', 50).map((key) => network.find(key)))
    expect(network.mostUnderWay).toBe(OPTIONS.maxLookUps)
    expect(network.looked).toHaveLength(53)
  })

  it('are one at a time again once one was cut off, the one that has waited longest first', async () => {
    const network = new Network(2_000)
    const keys = keysApart()
    for (const key of keys) await network.find(key)
    network.lookUps.forget()
    network.until = new Promise(() => undefined)
    const first = keys.slice(0, OPTIONS.maxLookUps).map((key) => network.find(key))
    expect(network.underWay).toBe(OPTIONS.maxLookUps)
    network.runtime.advance(OPTIONS.lookUpTimeoutMs - 1)
    const later = keys.slice(OPTIONS.maxLookUps).map((key) => network.find(key))
    network.runtime.advance(1)
    await Promise.all(first)
    expect(network.looked.slice(-1)).toEqual(keys.slice(OPTIONS.maxLookUps, OPTIONS.maxLookUps + 1))
    expect(network.underWay).toBe(1)
    network.runtime.advance(OPTIONS.lookUpTimeoutMs)
    await Promise.all(later)
  })

  it('keep nobody waiting for longer than they may take, however many there are', async () => {
    const network = new Network(2_000)
    network.until = new Promise(() => undefined)
    const all = Array.from({ length: 1_000 }, (_, i) => network.find(`far ${i}`))
    network.runtime.advance(OPTIONS.lookUpTimeoutMs)
    const found = await Promise.all(all)
    expect(network.looked).toHaveLength(1)
    expect(found.filter((peers) => peers.length === 0)).toHaveLength(999) // others know somebody, or nobody
    expect(network.runtime.waiting).toBe(0)
  })

  it('give who waits in vain whom others have found', async () => {
    const network = new Network(2_000)
    await network.find('far')
    network.until = new Promise(() => undefined)
    const [first, second] = keysApart()
    const all = [network.find(first as string), network.find(second as string)]
    const third = network.find('very far')
    network.runtime.advance(OPTIONS.lookUpTimeoutMs)
    await Promise.all(all)
    expect(await third).toHaveLength(BUCKET_PEERS)
  })

  it('are not made with nobody to ask', async () => {
    const network = new Network(0)
    expect(await network.find('a')).toEqual([])
    expect(network.looked).toEqual([])
  })

  it('are over for who does not want them any more, also before their turn', async () => {
    const network = new Network(300, { maxLookUps: 1 })
    network.until = new Promise(() => undefined)
    const all = new AbortController()
    const second = new AbortController()
    const asked = [network.find('a', all.signal), network.find('b', second.signal)] as const
    second.abort(new Error('over'))
    await expect(asked[1]).rejects.toThrow('over')
    expect(network.underWay).toBe(1)
    all.abort(new Error('over'))
    expect(await asked[0]).toHaveLength(1) // who had answered
    expect(network.looked).toEqual(['a'])
  })
})
