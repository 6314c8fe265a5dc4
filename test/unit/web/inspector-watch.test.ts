import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { REFRESH_MS, Watcher } from '../../../web/inspector-watch.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

function watched() {
  const state = { isVisible: true, open: [] as ((answer: number) => void)[], asked: 0, shown: [] as number[] }
  const watcher = new Watcher<number>({
    ask: () => {
      state.asked += 1
      return new Promise((resolve) => state.open.push(resolve))
    },
    show: (answer) => state.shown.push(answer),
    isVisible: () => state.isVisible,
  })
  const answer = async (value: number) => {
    state.open.shift()?.(value)
    await vi.advanceTimersByTimeAsync(0)
  }
  return { state, watcher, answer }
}

describe('watching', () => {
  it('asks one question at a time, the next one a pause after the answer', async () => {
    const { state, watcher, answer } = watched()
    watcher.wake()
    watcher.wake()
    await vi.advanceTimersByTimeAsync(10 * REFRESH_MS)
    expect(state.asked).toBe(1)
    await answer(1)
    expect(state.shown).toEqual([1])
    await vi.advanceTimersByTimeAsync(REFRESH_MS - 1)
    expect(state.asked).toBe(1)
    await vi.advanceTimersByTimeAsync(1)
    expect(state.asked).toBe(2)
  })

  it('asks nothing while the page is hidden, and at once when it is shown again', async () => {
    const { state, watcher, answer } = watched()
    watcher.wake()
    state.isVisible = false
    await answer(1)
    await vi.advanceTimersByTimeAsync(10 * REFRESH_MS)
    expect(state.asked).toBe(1)
    state.isVisible = true
    watcher.wake()
    expect(state.asked).toBe(2)
    await answer(2)
    await vi.advanceTimersByTimeAsync(REFRESH_MS)
    expect(state.asked).toBe(3)
  })

  it('shows nothing and asks nothing after the end', async () => {
    const { state, watcher, answer } = watched()
    watcher.wake()
    watcher.stop()
    await answer(1)
    watcher.wake()
    await vi.advanceTimersByTimeAsync(10 * REFRESH_MS)
    expect([state.asked, state.shown]).toEqual([1, []])
    expect(vi.getTimerCount()).toBe(0)
  })
})
