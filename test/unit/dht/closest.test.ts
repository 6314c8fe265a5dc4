import { describe, expect, it } from 'vitest'
import { choose, type Ranked } from '../../../src/dht/closest.ts'

const at = (distance: number, durable = false): Ranked => ({
  nodeId: String(distance),
  durable,
  distance: Uint8Array.of(distance),
})
const ranked = [at(6), at(5, true), at(4), at(3, true), at(2), at(1)]
const chosen = (count: number, minDurable: number) =>
  choose(ranked, count, minDurable).map(({ nodeId }) => nodeId)

describe('those that are chosen', () => {
  it('are the closest, nearest first', () => {
    expect(chosen(3, 0)).toEqual(['1', '2', '3'])
    expect(chosen(9, 0)).toEqual(['1', '2', '3', '4', '5', '6'])
    expect(chosen(0, 1)).toEqual([])
  })

  it('have the closest durable ones among them, however many others are closer', () => {
    expect(chosen(3, 2)).toEqual(['1', '3', '5'])
    expect(chosen(2, 2)).toEqual(['3', '5'])
    expect(chosen(1, 2)).toEqual(['3'])
    expect(chosen(4, 9)).toEqual(['1', '2', '3', '5'])
  })
})
