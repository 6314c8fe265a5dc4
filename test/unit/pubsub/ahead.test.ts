import { describe, expect, it } from 'vitest'
import { mapAhead } from '../../../src/pubsub/ahead.ts'

const collect = async <T>(items: AsyncIterable<T>): Promise<T[]> => {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

describe('mapping ahead', () => {
  it('keeps the order though later ones are ready first, with no more at once than told', async () => {
    let open = 0
    let most = 0
    const gates = Array.from({ length: 10 }, () => Promise.withResolvers<void>())
    const mapped = collect(
      mapAhead(gates.keys(), 3, async (i) => {
        open += 1
        most = Math.max(most, open)
        // each waits for the one after it, as far as that is begun
        if (i % 3 < 2 && i < 9) await gates[i + 1]?.promise
        gates[i]?.resolve()
        open -= 1
        return i * 10
      }),
    )
    expect(await mapped).toEqual([0, 10, 20, 30, 40, 50, 60, 70, 80, 90])
    expect(most).toBe(3)
  })

  it('gives all before the one that rejects, and nothing after it', async () => {
    const seen: number[] = []
    const reading = (async () => {
      for await (const item of mapAhead([1, 2, 3, 4], 4, async (n) => {
        if (n === 3) throw new Error('third')
        return n
      }))
        seen.push(item)
    })()
    await expect(reading).rejects.toThrow('third')
    expect(seen).toEqual([1, 2])
  })
})
