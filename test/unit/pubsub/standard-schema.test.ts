import * as v from 'valibot'
import { describe, expect, expectTypeOf, it } from 'vitest'
import { type StandardSchemaV1, validated } from '../../../src/pubsub/standard-schema.ts'

const chat = v.strictObject({
  text: v.pipe(v.string(), v.trim(), v.minLength(1)),
  mood: v.optional(v.string(), 'calm'),
})

/** A validator of somebody else's, with what it answers. */
const other = (
  validate: StandardSchemaV1<unknown, string>['~standard']['validate'],
): StandardSchemaV1<unknown, string> => ({
  '~standard': { version: 1, vendor: 'test', validate },
})
const refused = (work: Promise<unknown>, message: string) =>
  expect(work).rejects.toMatchObject({ name: 'StickyError', code: 'INVALID_DATA', message })

describe('a schema', () => {
  it('of valibot fits, and gives what it makes of the value', async () => {
    const value = await validated(chat, { text: ' hi ' })
    expectTypeOf(value).toEqualTypeOf<{ text: string; mood: string }>()
    expect(value).toEqual({ text: 'hi', mood: 'calm' })
  })

  it('may take its time', async () => {
    const slow = v.pipeAsync(
      v.string(),
      v.checkAsync(async (text) => text !== 'bad', 'is bad'),
    )
    expect(await validated(slow, 'good')).toBe('good')
    await refused(validated(slow, 'bad'), 'is bad')
  })

  it('refuses with where and why', async () => {
    await refused(
      validated(v.object({ a: v.array(v.strictObject({ b: v.number('no number') })) }), {
        a: [{ b: 1 }, { b: 'x' }],
      }),
      'a.1.b: no number',
    )
    await refused(
      validated(
        other(() => ({ issues: [] })),
        1,
      ),
      'it does not fit the schema',
    )
    await refused(
      validated(
        other(() => ({ issues: [{ message: 'no', path: ['a', 0] }] })),
        1,
      ),
      'a.0: no',
    )
  })

  it('that throws, or rejects, is a refusal too', async () => {
    const fail = () => {
      throw new TypeError('no such field')
    }
    await refused(validated(other(fail), 1), 'no such field')
    await refused(
      validated(
        other(async () => fail()),
        1,
      ),
      'no such field',
    )
  })

  it('does not let a stranger fill the error', async () => {
    const key = 'k'.repeat(10_000)
    const error = await validated(
      other((value) => ({ issues: [{ message: String(value), path: Array(50).fill(key) }] })),
      key,
    ).catch((failure: Error) => failure.message)
    expect(error.length).toBeLessThan(2_000)
  })
})
