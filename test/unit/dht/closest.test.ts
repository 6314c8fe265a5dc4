import { describe, expect, it } from 'vitest'
import { chooseFirst, type Ranked } from '../../../src/dht/closest.ts'

const at = (distance: number, durable = false): Ranked => ({
  nodeId: String(distance),
  durable,
  distance: Uint8Array.of(distance),
})
const ranked = [at(1, true), at(2), at(3, true), at(4), at(5, true), at(6)]
const chosen = (preferred: string[], count: number, minDurable: number) =>
  chooseFirst(ranked, ({ nodeId }) => preferred.includes(nodeId), count, minDurable).map(
    ({ nodeId }) => nodeId,
  )

describe('those that are preferred', () => {
  it('come before others that are closer, all of them nearest first', () => {
    expect(chosen(['4', '6'], 3, 0)).toEqual(['1', '4', '6'])
    expect(chosen(['2', '4', '6'], 2, 0)).toEqual(['2', '4'])
  })

  it('are all that is chosen where they are enough', () => {
    expect(chosen(['5', '6'], 2, 2)).toEqual(['5', '6'])
  })

  it('leave what durable ones are missing to the others', () => {
    expect(chosen(['2', '4', '5'], 4, 2)).toEqual(['1', '2', '4', '5'])
    expect(chosen([], 3, 2)).toEqual(['1', '2', '3'])
  })
})
