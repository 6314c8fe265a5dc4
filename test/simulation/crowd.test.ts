import { describe, expect, it } from 'vitest'
import { closeTheWindows } from './crowd.ts'

/** With 500 tabs: `node test/simulation/crowd.ts`. */

describe('five nodes with disks among tabs that are all closed at once', { timeout: 120_000 }, () => {
  it('have everything that was acknowledged', async () => {
    const { acknowledged, lost } = await closeTheWindows({ seed: 1, durable: 5, tabs: 60 })
    expect(acknowledged).toBeGreaterThan(50)
    expect(lost).toEqual([])
  })

  it('which would be lost if topics were held by the closest of any kind', async () => {
    const { acknowledged, lost } = await closeTheWindows({ seed: 1, durable: 5, tabs: 60, minDurable: 0 })
    expect(acknowledged).toBeGreaterThan(50)
    expect(lost).not.toEqual([])
  })
})
