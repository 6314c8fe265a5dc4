import { describe, expect, it } from 'vitest'
import { Cleanups } from '../../../src/dht/cleanups.ts'

describe('cleanups', () => {
  it('run in reverse order, each once, also after one that fails, which is told', async () => {
    const cleanups = new Cleanups()
    const ran: string[] = []
    cleanups.add(() => ran.push('first'))
    cleanups.add(async () => {
      ran.push('second')
      throw new Error('second failed')
    })
    cleanups.add(() => ran.push('third'))
    const [one, other] = await Promise.allSettled([cleanups.close(), cleanups.close()])
    expect(ran).toEqual(['third', 'second', 'first'])
    expect([one, other]).toEqual([
      { status: 'rejected', reason: new Error('second failed') },
      { status: 'rejected', reason: new Error('second failed') },
    ])
  })

  it('are waited for by whoever closes second', async () => {
    const cleanups = new Cleanups()
    const gate = Promise.withResolvers<void>()
    let isDone = false
    cleanups.add(async () => {
      await gate.promise
      isDone = true
    })
    void cleanups.close()
    const second = cleanups.close()
    gate.resolve()
    await second
    expect(isDone).toBe(true)
  })
})
