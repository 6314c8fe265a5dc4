import { describe, expect, it } from 'vitest'
import { askInTurn } from '../../../src/dht/ask-in-turn.ts'
import { systemRuntime } from '../../../src/dht/runtime.ts'

const quick = { runtime: systemRuntime, patienceMs: 20 }
const patient = { runtime: systemRuntime, patienceMs: 60_000 }

/** What each answers: undefined has not, 'never' does not answer until it is told that it is over, an error fails. */
function peers(answers: (string | undefined | Error)[]) {
  const asked: number[] = []
  const ended: number[] = []
  const ask = async (at: number, signal: AbortSignal): Promise<string | undefined> => {
    asked.push(at)
    const answer = answers[at]
    if (answer instanceof Error) throw answer
    if (answer !== 'never') return answer
    return new Promise((_, reject) =>
      signal.addEventListener('abort', () => {
        ended.push(at)
        reject(signal.reason)
      }),
    )
  }
  return { all: answers.map((_, at) => at), ask, asked, ended }
}

describe('asking in turn', () => {
  it('asks no more than it must', async () => {
    const { all, ask, asked } = peers([undefined, 'found', 'never'])
    expect(await askInTurn(all, ask, patient)).toBe('found')
    expect(asked).toEqual([0, 1])
  })

  it('goes on to the next while one is silent, which is told when it is over', async () => {
    const { all, ask, asked, ended } = peers(['never', undefined, 'found', 'never'])
    expect(await askInTurn(all, ask, quick)).toBe('found')
    expect([asked, ended]).toEqual([[0, 1, 2], [0]])
  })

  it('takes the answer of one that was slow', async () => {
    const { promise, resolve } = Promise.withResolvers<string>()
    const ask = (at: number) => {
      if (at === 1) resolve('of the first')
      return at === 0 ? promise : new Promise<never>(() => undefined)
    }
    expect(await askInTurn([0, 1], ask, quick)).toBe('of the first')
  })

  it('gives nothing when all say no, and the reason when none has it and one fails', async () => {
    const none = peers([undefined, undefined])
    expect(await askInTurn(none.all, none.ask, patient)).toBeUndefined()
    const failing = peers([new Error('gone'), undefined])
    await expect(askInTurn(failing.all, failing.ask, patient)).rejects.toThrow('gone')
    expect(failing.asked).toEqual([0, 1])
    const some = peers([new Error('gone'), 'found'])
    expect(await askInTurn(some.all, some.ask, patient)).toBe('found')
    expect(await askInTurn([], none.ask, patient)).toBeUndefined()
  })
})
