import { describe, expect, it } from 'vitest'
import {
  commonBits,
  fractionOf,
  layRing,
  type NodeRow,
  nodeRows,
  onRing,
  RING,
} from '../../../web/inspector-places.ts'

const place = (...bytes: number[]): Uint8Array => Uint8Array.from({ length: 32 }, (_, i) => bytes[i] ?? 0)

const TOPIC = place(0b1000_0000)

describe('places on the ring', () => {
  it('counts the leading bits that two places share', () => {
    expect(commonBits(place(), place())).toBe(256)
    expect(commonBits(place(0x80), place())).toBe(0)
    expect(commonBits(place(1), place())).toBe(7)
    expect(commonBits(place(0xff, 0x10), place(0xff))).toBe(11)
  })

  it('goes clockwise from the top', () => {
    expect([place(), place(0x40), place(0x80)].map(fractionOf)).toEqual([0, 0.25, 0.5])
    const middle = { x: RING.width / 2, y: RING.height / 2 }
    const near = (actual: { x: number; y: number }, x: number, y: number) => {
      expect(actual.x).toBeCloseTo(x)
      expect(actual.y).toBeCloseTo(y)
    }
    near(onRing(place()), middle.x, middle.y - RING.radius)
    near(onRing(place(0x40)), middle.x + RING.radius, middle.y)
    near(onRing(place(0x80)), middle.x, middle.y + RING.radius)
    near(onRing(place(0xc0)), middle.x - RING.radius, middle.y)
  })

  it('lists who keeps the topic and who is connected, the closest by XOR first, and leaves out who has no place', () => {
    const places = new Map([
      ['self', place(0x00)],
      ['near', place(0x81)],
      ['middle', place(0xc0)],
      ['far', place(0x7f)],
    ])
    const replicas = [
      { nodeId: 'near', durable: true, headId: 'h', version: 7 },
      { nodeId: 'middle', durable: false, error: 'TIMEOUT' },
      { nodeId: 'self', durable: false },
      { nodeId: 'nowhere', durable: true },
    ]
    const rows = nodeRows({ places, replicas, topicPlace: TOPIC }, 'self', [
      { nodeId: 'near', direct: true, webrtc: false },
      { nodeId: 'far', direct: false, webrtc: false },
    ])
    // 0x7f lies next to the topic on the ring, and is the farthest by XOR
    expect(rows.map(({ nodeId }) => nodeId)).toEqual(['near', 'middle', 'self', 'far'])
    expect(rows.map(({ link }) => link)).toEqual(['direct', 'none', 'self', 'relayed'])
    expect(rows.map(({ replica }) => replica)).toEqual(['durable', 'fleeting', 'fleeting', undefined])
    expect(rows.map(({ commonBits }) => commonBits)).toEqual([7, 1, 0, 0])
    expect(rows[0]!.version).toBe(7)
    expect(rows[1]!.error).toBe('TIMEOUT')
  })
})

/** All in the same corner of the key space. */
const crowd = (count: number): NodeRow[] =>
  Array.from({ length: count }, (_, index) => ({
    nodeId: `node-${index}`,
    isSelf: index === 0,
    replica: index < 8 ? ('durable' as const) : undefined,
    version: 1,
    error: undefined,
    link: index === 0 ? ('self' as const) : ('direct' as const),
    place: place(0x20, index),
    commonBits: 0,
  }))

describe('marks and words on the ring', () => {
  it('writes no words over others and all inside the picture, however close the marks lie', () => {
    const labels = layRing(place(0x20), crowd(30)).flatMap(({ label }) =>
      label === undefined ? [] : [label],
    )
    expect(labels.length).toBeGreaterThan(10)
    for (const anchor of ['start', 'end']) {
      const heights = labels
        .filter((label) => label.anchor === anchor)
        .map(({ y }) => y)
        .toSorted((a, b) => a - b)
      for (const [index, y] of heights.entries()) {
        expect(y).toBeGreaterThanOrEqual(0)
        expect(y).toBeLessThanOrEqual(RING.height)
        if (index > 0) expect(y - heights[index - 1]!).toBeGreaterThan(12)
      }
    }
  })

  it('draws at most so many peers, but the topic, this node and every replica always, with words', () => {
    const marks = layRing(place(0xa0), crowd(300))
    const count = (kind: string) => marks.filter((mark) => mark.kind === kind).length
    expect([count('topic'), count('self'), count('replica'), count('peer')]).toEqual([1, 1, 7, 50])
    for (const mark of marks) if (mark.kind !== 'peer') expect(mark.label).toBeDefined()
  })
})
