import { describe, expect, it } from 'vitest'
import { Slots } from '../../../src/pubsub/slots.ts'

/** Work that ends when it is told to, or fails. */
function works() {
  const begun: number[] = []
  const ends: PromiseWithResolvers<number>[] = []
  const work = (name: number) => {
    const end = Promise.withResolvers<number>()
    ends[name] = end
    return () => {
      begun.push(name)
      return end.promise
    }
  }
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  return { begun, ends, work, turn }
}

describe('slots', () => {
  it('let so many work at once, and the others in their order as places come free', async () => {
    const { begun, ends, work, turn } = works()
    const slots = new Slots(2)
    const all = [0, 1, 2, 3].map((name) => slots.run(work(name)))
    await turn()
    expect(begun).toEqual([0, 1])
    ends[1]?.resolve(1)
    await turn()
    expect(begun).toEqual([0, 1, 2])
    for (const name of [0, 2, 3]) ends[name]?.resolve(name)
    expect(await Promise.all(all)).toEqual([0, 1, 2, 3])
    expect(begun).toEqual([0, 1, 2, 3])
  })

  it('come free when the work fails, which its caller is told', async () => {
    const { begun, ends, work, turn } = works()
    const slots = new Slots(1)
    const failing = slots.run(work(0)).catch((error: Error) => error.message)
    const next = slots.run(work(1))
    await turn()
    ends[0]?.reject(new Error('no'))
    expect(await failing).toBe('no')
    ends[1]?.resolve(1)
    expect(await next).toBe(1)
    expect(begun).toEqual([0, 1])
    const after = slots.run(work(2))
    ends[2]?.resolve(2)
    expect(await after).toBe(2)
  })
})
