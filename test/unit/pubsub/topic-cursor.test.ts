import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { placeOf, TopicCursor } from '../../../src/pubsub/topic-cursor.ts'

const idOf = (n: number) => `bafyrei${String(n).padStart(52, '0')}`
/** A subscription's position, as the number of messages that it stands for. */
const begin = (n = 0) => new TopicCursor({ position: String(n), beyond: [] })

/** Which of the first `count` messages would not be given again. */
function standsFor(text: string, count: number): number[] {
  const { position, beyond } = placeOf(text)
  const cursor = new TopicCursor({ position, beyond })
  return Array.from({ length: count }, (_, i) => i + 1).filter(
    (n) => n <= Number(position) || cursor.passesOver(idOf(n)),
  )
}

describe('the place of a reader', () => {
  it('is the position of the subscription once everything has been taken', () => {
    const cursor = begin()
    expect(cursor.text).toBe('0')
    cursor.arrive()
    cursor.take(idOf(1))
    cursor.mark('1')
    expect(cursor.text).toBe('1')
  })

  it('is not ahead of what was taken', () => {
    const cursor = begin()
    for (const _ of [1, 2, 3]) cursor.arrive()
    cursor.mark('3')
    expect(cursor.text).toBe('0')
    cursor.take(idOf(1))
    cursor.take(idOf(2))
    expect(placeOf(cursor.text).position).toBe('0')
    expect(standsFor(cursor.text, 3)).toEqual([1, 2])
    cursor.take(idOf(3))
    expect(cursor.text).toBe('3')
  })

  it('stands for what was taken and nothing else, in whatever order things happen, over several runs', () => {
    const step = fc.constantFrom('arrive', 'arrive', 'take', 'mark', 'end of history', 'restart')
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        let cursor = begin()
        let [arrived, taken] = [0, 0]
        /** Of messages that are there; the subscription gives them in order from its position on. */
        let given = 0
        const waiting: number[] = []
        const give = () => {
          given += 1
          if (cursor.passesOver(idOf(given))) return
          cursor.arrive()
          waiting.push(given)
        }
        for (const step of steps) {
          if (step === 'arrive') {
            arrived = Math.max(arrived, given + 1)
            give()
          } else if (step === 'mark') cursor.mark(String(given))
          else if (step === 'take') {
            const id = waiting.shift()
            if (id === undefined) continue
            expect(id).toBe(taken + 1) // nothing twice, nothing left out
            taken = id
            cursor.take(idOf(id))
          } else if (step === 'restart') {
            const place = placeOf(cursor.text)
            cursor = new TopicCursor(place)
            given = Number(place.position)
            waiting.length = 0
          } else {
            while (given < arrived) give()
            cursor.endHistory()
          }
          expect(standsFor(cursor.text, arrived)).toEqual(Array.from({ length: taken }, (_, n) => n + 1))
        }
      }),
      { numRuns: 500 },
    )
  })

  it('forgets what was taken beyond it once the history has come by without it', () => {
    const cursor = new TopicCursor({ position: '5', beyond: [idOf(6).slice(-20)] })
    cursor.mark('5')
    expect(standsFor(cursor.text, 7)).toEqual([1, 2, 3, 4, 5, 6])
    cursor.endHistory()
    cursor.mark('5')
    expect(cursor.text).toBe('5')
    expect(cursor.passesOver(idOf(6))).toBe(true) // in this run, also later
  })

  it('asks for a new position after so many messages, and stays small without one', () => {
    const cursor = begin()
    const asked: number[] = []
    for (let n = 1; n <= 600; n++)
      if (cursor.arrive()) {
        asked.push(n)
        cursor.mark(String(n))
      }
    expect(asked).toEqual([256, 512])
    for (let n = 1; n <= 600; n++) cursor.take(idOf(n))
    expect(placeOf(cursor.text).position).toBe('512')
    expect(placeOf(cursor.text).beyond).toHaveLength(88)
    const unmarked = begin()
    for (let n = 1; n <= 5_000; n++) {
      unmarked.arrive()
      unmarked.take(idOf(n))
    }
    expect(unmarked.text.length).toBeLessThan(22_000)
    expect(standsFor(unmarked.text, 5_000).at(-1)).toBe(5_000)
  })

  it('is read from any text', () => {
    expect(placeOf('')).toMatchObject({ position: '', beyond: [] })
    expect(placeOf('abc~').beyond).toEqual([])
    expect(placeOf(`abc~${'x.'.repeat(10_000)}`).beyond).toHaveLength(1_024)
  })
})
