import { describe, expect, it } from 'vitest'
import { DEFAULT_QUESTION_OPTIONS, lookUp } from '../../../src/browser/light-look-up.ts'
import { distanceBetween } from '../../../src/dht/closest.ts'
import { compareBytes, sha256 } from '../../../src/dht/codec.ts'
import { DEFAULT_LOOK_UP_OPTIONS, type Finder, LookUps } from '../../../src/dht/look-ups.ts'
import { systemRuntime } from '../../../src/dht/runtime.ts'

/** Look-ups in networks of which nobody knows all. */

const OPTIONS = DEFAULT_QUESTION_OPTIONS
const NODES = 400
const KNOWN = 20

const places = new Map<string, Uint8Array>()
const placeOf = async (name: string): Promise<Uint8Array> => {
  const place = places.get(name) ?? (await sha256(new TextEncoder().encode(name)))
  places.set(name, place)
  return place
}
const names = Array.from({ length: NODES }, (_, i) => `node ${i}`)
await Promise.all(names.map(placeOf))

const near = (target: Uint8Array, among: string[], count: number): string[] =>
  among
    .map((name) => ({ name, distance: distanceBetween(places.get(name) as Uint8Array, target) }))
    .sort((a, b) => compareBytes(a.distance, b.distance))
    .slice(0, count)
    .map(({ name }) => name)

/** As kad-dht fills its buckets: of each distance some, of those close by all. */
const tables = new Map(
  names.map((name) => {
    const own = places.get(name) as Uint8Array
    const buckets = new Map<number, string[]>()
    for (const other of names) {
      if (other === name) continue
      const distance = distanceBetween(places.get(other) as Uint8Array, own)
      const bucket = Math.clz32(((distance[0] as number) << 24) | ((distance[1] as number) << 16))
      buckets.set(bucket, [...(buckets.get(bucket) ?? []), other].slice(0, KNOWN))
    }
    return [name, [...buckets.values()].flat()]
  }),
)

interface Asked {
  dead?: Set<string>
  lie?: (peer: string) => string[] | undefined
  areAll?: (peers: string[]) => boolean
}

async function find(
  target: Uint8Array,
  { dead = new Set(), lie = () => undefined, areAll = () => true }: Asked = {},
) {
  const asked: string[] = []
  let atOnce = 0
  let mostAtOnce = 0
  const ask = async (peer: string) => {
    asked.push(peer)
    atOnce += 1
    mostAtOnce = Math.max(mostAtOnce, atOnce)
    await new Promise((resolve) => setImmediate(resolve))
    atOnce -= 1
    if (dead.has(peer)) throw new Error('nobody there')
    return lie(peer) ?? near(target, tables.get(peer) ?? [], KNOWN)
  }
  const signal = AbortSignal.timeout(15_000)
  const { peers: found, extent } = await lookUp({
    target,
    seeds: [['node 0']],
    ask,
    placeOf,
    areAll,
    signal,
    options: OPTIONS,
  })
  return { found, extent, asked, mostAtOnce }
}

const targets = await Promise.all(Array.from({ length: 20 }, (_, i) => sha256(Uint8Array.of(i))))

describe('a look-up', () => {
  it('finds the closest of 400 nodes, with few questions', async () => {
    for (const target of targets) {
      const { found, extent, asked, mostAtOnce } = await find(target)
      expect(extent).toBe('closest')
      expect(found.slice(0, 16)).toEqual(near(target, names, 16))
      expect(asked.length).toBeLessThan(18)
      expect(new Set(asked).size).toBe(asked.length)
      expect(mostAtOnce).toBeLessThanOrEqual(OPTIONS.questionsAtOnce)
    }
  })

  it('goes around those that are dead, and does not name those that it has asked in vain', async () => {
    for (const target of targets) {
      const closest = near(target, names, 10)
      const dead = new Set(closest.filter((_, i) => i % 2 === 0))
      const { found, asked } = await find(target, { dead })
      expect(found.slice(0, 5)).toEqual(
        near(
          target,
          names.filter((name) => !dead.has(name)),
          5,
        ),
      )
      expect(asked.length).toBeLessThanOrEqual(OPTIONS.maxQuestions + 1)
    }
  })

  it('ends with liars too, who name ever closer ones that are not there', async () => {
    let made = 0
    const lie = (peer: string) => {
      const invented = Array.from({ length: 40 }, () => `invented ${made++}`)
      return peer.startsWith('invented') || peer === 'node 0' ? invented : undefined
    }
    const { found, asked } = await find(targets[0] as Uint8Array, { lie })
    expect(asked.length).toBeLessThanOrEqual(OPTIONS.maxQuestions + 1)
    expect(found.length).toBeLessThanOrEqual(64)
  })

  it('asks few of those that one liar alone names, however many and close, and finds the others', async () => {
    const invented = Array.from({ length: 4_000 }, (_, i) => `invented ${i}`)
    await Promise.all(invented.map(placeOf))
    for (const target of targets) {
      const [liar] = near(target, tables.get('node 0') ?? [], 1) // who is asked next
      const named = near(target, invented, KNOWN)
      const lie = (peer: string) => (peer === liar ? [...named, ...named] : undefined)
      const { found, extent, asked } = await find(target, { lie, dead: new Set(invented) })
      expect(asked).toContain(liar)
      expect(asked.filter((peer) => invented.includes(peer)).length).toBeLessThanOrEqual(
        OPTIONS.questionsAtOnce,
      )
      expect(asked.length).toBeLessThan(18)
      expect(extent).toBe('closest')
      expect(found.filter((peer) => !invented.includes(peer)).slice(0, 16)).toEqual(near(target, names, 16))
    }
  })

  it('is not sure of the closest where it has asked as many as it may, and the closest do not answer', async () => {
    const invented = Array.from({ length: 400 }, (_, i) => `invented ${i}`)
    await Promise.all(invented.map(placeOf))
    for (const target of targets) {
      const lie = (peer: string) => (peer === 'node 0' ? near(target, invented, 40) : undefined)
      const { found, extent } = await find(target, { lie, dead: new Set(invented) })
      expect(found.length).toBeGreaterThan(0)
      expect(extent).toBe('some')
    }
  })

  it('answers for the keys around its own as look-ups of them would', async () => {
    let lookedUp = 0
    const finder: Finder<string> = {
      canAsk: () => true,
      placeOf,
      find: async ({ target }) => {
        lookedUp += 1
        const { found: peers, extent } = await find(target)
        return { peers, extent }
      },
    }
    const lookUps = new LookUps(finder, systemRuntime, DEFAULT_LOOK_UP_OPTIONS)
    const { signal } = new AbortController()
    const keys = Array.from({ length: 2_000 }, (_, i) => Uint8Array.of(i >> 8, i & 255))
    const places = await Promise.all(keys.map((key) => sha256(key)))
    const close = places.filter(([first = 0]) => first >> 4 === 7) // as they lie at one holder
    expect(close.length).toBeGreaterThan(60)
    for (const target of close) {
      const peers = await lookUps.find({ key: target, target, needed: 8, signal })
      expect(near(target, peers, 8)).toEqual(near(target, names, 8))
    }
    expect(lookedUp).toBeLessThan(close.length)
  })

  it('asks nobody but the seed where that names all there are', async () => {
    const { found, extent, asked } = await find(targets[0] as Uint8Array, {
      lie: () => ['node 1', 'node 2', 'node 1'],
    })
    expect([found, extent, asked]).toEqual([['node 1', 'node 2'], 'all', ['node 0']])
  })

  it('asks the second seeds where the first say nothing, and finds nobody where none does', async () => {
    const init = {
      target: targets[0] as Uint8Array,
      placeOf,
      areAll: () => true,
      signal: AbortSignal.timeout(15_000),
      options: OPTIONS,
    }
    const ask = async (peer: string) => {
      if (peer === 'down') throw new Error('down')
      return ['node 1']
    }
    const second = await lookUp({ ...init, ask, seeds: [['down'], ['node 3']] })
    expect(second).toEqual({ peers: ['node 1'], extent: 'all' })
    const unsure = await lookUp({ ...init, ask, areAll: () => false, seeds: [['node 3']] })
    expect(unsure).toEqual({ peers: ['node 1'], extent: 'some' })
    const none = await lookUp({ ...init, ask, seeds: [['down'], []] })
    expect(none).toEqual({ peers: [], extent: 'some' })
  })
})
