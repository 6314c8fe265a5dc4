import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  type ChatPages,
  enter,
  keptPosition,
  PHONE,
  receive,
  setVisibility,
  startChatPages,
  type VisitOptions,
} from '../support/chat-pages.ts'

/** The chat in use: what counts as read, what is heard, where the keyboard is, what is asked before it is done. */

let pages: ChatPages
beforeAll(async () => {
  pages = await startChatPages()
})
afterAll(() => pages?.close())

const visit = (options: VisitOptions = {}) => pages.visit({ query: '?messages=3', ...options })

describe('what is unread', () => {
  it('is what came while the page was hidden, until it is seen', async () => {
    await using visited = await visit()
    const { page } = visited
    await enter(page)
    await expect.poll(() => keptPosition(page, 'lobby')).toBe('position-3')
    await setVisibility(page, 'hidden')
    await receive(page, 'lobby', 'seen by nobody', 'nor this')
    await expect.poll(() => page.title()).toBe('(2) Sticky chat')
    await page.waitForTimeout(700) // a read place is kept after half a second
    expect(await keptPosition(page, 'lobby')).toBe('position-3')
    await setVisibility(page, 'visible')
    await expect.poll(() => page.title()).toBe('Sticky chat')
    await expect.poll(() => keptPosition(page, 'lobby')).toBe('position-5')
  })

  it('is nothing in the room that is shown, and what came to it while a phone showed the list', async () => {
    await using visited = await visit({ viewport: PHONE })
    const { page } = visited
    await enter(page)
    await receive(page, 'lobby', 'seen')
    await expect.poll(() => keptPosition(page, 'lobby')).toBe('position-4')
    expect(await page.title()).toBe('Sticky chat')
    await page.getByTestId('back').click()
    await receive(page, 'lobby', 'not seen')
    await expect.poll(() => page.title()).toBe('(1) Sticky chat')
    await page.setViewportSize({ width: 1000, height: 700 })
    await expect.poll(() => page.title()).toBe('Sticky chat')
  })
})
