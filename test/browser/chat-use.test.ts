import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { seriousProblems } from '../support/axe.ts'
import {
  type ChatPages,
  enter,
  expectFocus,
  joinRoom,
  keptPosition,
  own,
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
    await page.clock.install()
    await setVisibility(page, 'hidden')
    await receive(page, 'lobby', 'seen by nobody', 'nor this')
    await expect.poll(() => page.title()).toBe('(2) Sticky chat')
    await page.clock.runFor(1_000) // a read place is kept after half a second
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

describe('leaving a room', () => {
  const roomNames = (page: Page) =>
    page.getByTestId('room-item').evaluateAll((all) => all.map((room) => (room as HTMLElement).dataset.room))

  it('is asked about, by keyboard, and goes on in the list of rooms', async () => {
    await using visited = await visit()
    const { page, violations } = visited
    await enter(page)
    await joinRoom(page, 'second')
    const question = page.getByTestId('leave-question')
    await page.getByTestId('inspector-toggle').click()
    await page.getByTestId('inspector').waitFor()
    await page.getByTestId('room-leave').focus()
    await page.keyboard.press('Enter')
    await question.waitFor()
    expect(await question.textContent()).toMatch(/Leave second\?.*You can come back by its name/s)
    expect(await question.textContent()).not.toContain('not sent')
    await expectFocus(page, 'leave-stay')
    await page.keyboard.press('Escape')
    await expectFocus(page, 'room-leave')
    expect(await roomNames(page)).toEqual(['lobby', 'second'])
    expect(await page.getByTestId('inspector').count()).toBe(1) // the key was the question's
    await page.keyboard.press('Enter')
    await page.keyboard.press('Enter') // the first answer is to stay
    await expect.poll(() => question.isVisible()).toBe(false)
    expect(await roomNames(page)).toEqual(['lobby', 'second'])

    for (const left of ['second', 'lobby']) {
      await expectFocus(page, 'room-leave')
      await page.keyboard.press('Enter')
      await page.keyboard.press('Tab')
      await expectFocus(page, 'leave-confirm')
      await page.keyboard.press('Enter')
      await expect.poll(() => roomNames(page)).not.toContain(left)
      await expectFocus(page, left === 'second' ? 'room-item lobby' : 'room-input')
      if (left === 'second') await page.getByTestId('room-leave').focus()
    }
    expect(violations).toEqual([])
  })

  it('says what it takes away: a key, and messages that were not sent', async () => {
    await using visited = await visit()
    const { page } = visited
    await enter(page)
    await page.getByTestId('room-passphrase-open').click()
    await page.getByTestId('room-passphrase').fill('a phrase of our own')
    await joinRoom(page, 'diary')
    await page.getByTestId('room-lock').waitFor()
    const question = page.getByTestId('leave-question')
    await page.getByTestId('room-leave').click()
    await expect.poll(() => question.textContent()).toMatch(/Leave diary\?.*key of this room is deleted/s)
    // another room is shown meanwhile: nobody asked about that one
    await page.evaluate(() => location.assign('#room=lobby'))
    await page.getByTestId('invitation-join').click()
    await expect.poll(() => question.isVisible()).toBe(false)
    expect(await roomNames(page)).toEqual(['lobby', 'diary'])

    await page.evaluate(() => window.fixture.room('lobby').failNext('TOO_LARGE'))
    await page.getByTestId('composer-input').fill('too much')
    await page.keyboard.press('Enter')
    await page.getByTestId('message-discard').waitFor()
    await page.getByTestId('room-leave').click()
    await expect.poll(() => question.textContent()).toContain('that could not be sent are deleted')
    expect(await question.textContent()).not.toContain('still sent')
    await page.getByTestId('leave-stay').click()
    await page.getByTestId('message-discard').click()
    await page.evaluate(() => window.fixture.room('lobby').setSending('offline'))
    await page.getByTestId('composer-input').fill('later')
    await page.keyboard.press('Enter')
    await page.locator('[data-testid=message][data-state=waiting]').waitFor()
    await page.getByTestId('room-leave').click()
    await expect.poll(() => question.textContent()).toContain('What waits to be sent is still sent')
    expect(await question.textContent()).not.toContain('are deleted')
    await page.getByTestId('leave-stay').click()
    expect(await roomNames(page)).toEqual(['lobby', 'diary'])
  })
})

describe('the keyboard', () => {
  it('goes back to the list of rooms on a phone', async () => {
    await using visited = await visit({ viewport: PHONE })
    const { page } = visited
    await enter(page)
    await page.getByTestId('back').focus()
    await page.keyboard.press('Enter')
    await expectFocus(page, 'room-item lobby')
  })

  it('chooses a word of an input method by Enter, and sends it by the next one, in every browser', async () => {
    await using visited = await visit()
    const { page } = visited
    await enter(page)
    const field = page.getByTestId('composer-input')
    await field.fill('日本')
    // as Safari tells of the Enter that chose a word: the composition is over by then
    await field.evaluate((area) =>
      area.dispatchEvent(
        new KeyboardEvent('keydown', { key: 'Enter', keyCode: 229, bubbles: true, cancelable: true }),
      ),
    )
    expect(await field.inputValue()).toBe('日本')
    await field.press('Enter')
    await expect.poll(() => own(page, '日本').count()).toBe(1)
    expect(await field.inputValue()).toBe('')
  })

  it('stays with the messages when the button that had it is gone, and where it is otherwise', async () => {
    await using visited = await visit({ query: '?messages=200' })
    const { page } = visited
    await enter(page)
    await page.getByTestId('message-scroller').evaluate((scroller) => {
      scroller.scrollTop = 200
    })
    await page.getByTestId('to-latest').focus()
    await receive(page, 'lobby', 'something new')
    await expect.poll(() => page.getByTestId('to-latest').textContent()).toContain('1 new')
    await expectFocus(page, 'to-latest')
    await page.keyboard.press('Enter')
    await expectFocus(page, 'message-scroller')

    for (const answer of ['message-retry', 'message-discard']) {
      await page.evaluate(() => window.fixture.room('lobby').failNext('NO_REPLICAS'))
      await page.getByTestId('composer-input').fill(`lost ${answer}`)
      await page.keyboard.press('Enter')
      await own(page, `lost ${answer}`).getByTestId(answer).focus()
      await page.keyboard.press('Enter')
      await expectFocus(page, 'message-scroller')
    }
    await page.getByTestId('composer-input').focus()
    await receive(page, 'lobby', 'later news')
    await own(page, 'later news').waitFor()
    await expectFocus(page, 'composer-input')
  })
})

it('tells a screen reader of each new message and of each failure, in elements that are added', async () => {
  await using visited = await visit()
  const { page } = visited
  await enter(page)
  await page.getByTestId('announced').evaluate((region) => {
    const heard: string[] = []
    Object.assign(window, { heard })
    const watch = new MutationObserver((changes) => {
      for (const { addedNodes } of changes)
        for (const node of addedNodes) if (node instanceof HTMLElement) heard.push(node.textContent)
    })
    watch.observe(region, { childList: true, subtree: true, characterData: true })
  })
  const heard = () => page.evaluate(() => (window as unknown as { heard: string[] }).heard)
  await receive(page, 'lobby', 'one', 'two', 'three')
  const first = ['Bo: one', 'Bo: two', 'Bo: three']
  await expect.poll(heard).toEqual(first)
  await receive(page, 'lobby', 'three')
  await expect.poll(heard).toEqual([...first, 'Bo: three'])
  await page.evaluate(() => window.fixture.room('lobby').failNext('NO_REPLICAS'))
  await page.getByTestId('composer-input').fill('to nobody')
  await page.keyboard.press('Enter')
  const failure = 'Not sent. Nobody who keeps this room can be reached. to nobody'
  await expect.poll(heard).toEqual([...first, 'Bo: three', failure])
  await joinRoom(page, 'second')
  await page.getByTestId('room-item').first().click()
  await receive(page, 'lobby', 'four')
  await expect.poll(heard).toEqual([...first, 'Bo: three', failure, 'Bo: four'])
})

it('keeps what is typed by room over a reload, until it is sent or the room is left', async () => {
  await using visited = await visit()
  const { page } = visited
  await enter(page)
  const field = page.getByTestId('composer-input')
  const kept = () => page.evaluate(() => sessionStorage.getItem('sticky-chat/drafts'))
  await field.fill('for the lobby')
  await joinRoom(page, 'second')
  expect(await field.inputValue()).toBe('')
  await field.fill('for the second')
  await page.reload()
  await expect.poll(() => field.inputValue()).toBe('for the second')
  await page.getByTestId('room-item').first().click()
  await expect.poll(() => field.inputValue()).toBe('for the lobby')
  await field.press('Enter')
  await own(page, 'for the lobby').waitFor()
  expect(await kept()).toBe('[["open/second","for the second"]]')
  await page.getByTestId('room-item').last().click()
  await expect.poll(() => field.inputValue()).toBe('for the second')
  await page.getByTestId('room-leave').click()
  await page.getByTestId('leave-confirm').click()
  await expect.poll(kept).toBe(null)
  await page.reload()
  await field.waitFor()
  expect(await field.inputValue()).toBe('')
  expect(await page.evaluate(() => JSON.stringify({ ...localStorage }))).not.toContain('for the')
})

describe('what goes wrong', () => {
  const banner = (page: Page) => page.getByTestId('storage-problem')

  it('with the storage is said everywhere, with what to do about it, until it works again', async () => {
    await using visited = await visit({ viewport: PHONE })
    const { page } = visited
    await enter(page)
    expect(await banner(page).count()).toBe(0)
    const tell = (code?: string) =>
      page.evaluate((code) => {
        const { storageProblem: _, ...status } = window.fixture.node.status()
        const storageProblem = { code: code ?? '', message: 'Fixture' }
        window.fixture.setStatus(code === undefined ? status : { ...status, storageProblem })
      }, code)
    await tell('STORAGE_FULL')
    await expect.poll(() => banner(page).textContent()).toMatch(/no space left.*Free some space/s)
    expect(await page.getByTestId('composer-input').isVisible()).toBe(true)
    await page.getByTestId('back').click()
    await page.getByTestId('room-item').waitFor()
    expect(await banner(page).isVisible()).toBe(true)
    expect(await seriousProblems(page)).toEqual([])
    await page.setViewportSize({ width: 1000, height: 700 })
    await page.getByTestId('composer-input').waitFor()
    expect(await seriousProblems(page)).toEqual([])
    await tell('STORAGE_FAILED')
    await expect.poll(() => banner(page).textContent()).toContain('Reload the page')
    await tell()
    await expect.poll(() => banner(page).count()).toBe(0)
  })

  it('at the start is seen on a phone that was in no room yet, and can be tried again', async () => {
    await using visited = await visit({ viewport: PHONE, query: '?failing' })
    const { page } = visited
    await page.getByTestId('name-input').fill('Noor')
    await page.keyboard.press('Enter')
    const again = page.getByRole('button', { name: 'Try again' })
    await again.waitFor()
    expect(await page.getByText('The network cannot be reached.').isVisible()).toBe(true)
    await again.click()
    await page.getByTestId('room-input').waitFor()
    expect(await again.count()).toBe(0)
  })

  it('with a room too many, from a link, is seen on a phone', async () => {
    await using visited = await visit({ viewport: PHONE })
    const { page } = visited
    await page.evaluate(() => {
      const rooms = Array.from({ length: 32 }, (_, n) => `quiet ${n}`)
      localStorage.setItem('sticky-chat/rooms', JSON.stringify(rooms))
      localStorage.setItem('sticky-chat/name', 'Noor')
    })
    await page.reload()
    await page.getByTestId('composer-input').waitFor()
    const follow = (room: string) => page.evaluate((hash) => location.assign(hash), `#room=${room}`)
    await follow('quiet%207') // one of them: that is no room more
    await page.getByTestId('invitation-join').click()
    await expectFocus(page, 'composer-input')
    await follow('another')
    await page.getByTestId('invitation-join').click()
    await expect.poll(() => page.getByText('Leave one first.').isVisible()).toBe(true)
    await expectFocus(page, 'room-item quiet 7')
  })

  it('with a link that names no room is said', async () => {
    await using visited = await visit()
    const { page } = visited
    await enter(page)
    for (const broken of ['#room=%E0%A4', '#room=%20%23', '#room=']) {
      await page.evaluate((hash) => location.assign(hash), broken)
      await expect.poll(() => page.getByTestId('invitation').textContent()).toContain('names no room')
      expect(await page.evaluate(() => location.hash)).toBe('')
      await page.keyboard.press('Escape')
      await expect.poll(() => page.getByTestId('invitation').count()).toBe(0)
    }
  })

  it('is not a name or a text with half a character', async () => {
    await using visited = await visit()
    const { page, violations } = visited
    await enter(page, `${'a'.repeat(62)}😀`)
    await page.evaluate((hash) => location.assign(hash), `#room=${'a'.repeat(63)}${encodeURIComponent('😀')}`)
    await page.getByTestId('invitation-join').click()
    await page.getByTestId('composer-input').evaluate((field) => {
      ;(field as HTMLTextAreaElement).value = `half of ${String.fromCharCode(0xd83d)}`
    })
    await page.getByTestId('composer-input').press('Enter')
    await expect.poll(() => own(page, 'half of \ufffd').getAttribute('data-state')).toBe('sent')
    expect(await own(page, 'half of').count()).toBe(1)
    for (const name of [`${'a'.repeat(62)}😀`, 'a'.repeat(63)]) {
      await page.locator(`[data-room="${name}"]`).click()
      await page.getByTestId('room-share').click()
      await page.getByTestId('room-shared').waitFor()
      expect(decodeURIComponent(await page.evaluate(() => navigator.clipboard.readText()))).toContain(name)
    }
    expect(violations).toEqual([])
  })

  it('with reading a room is said while the room is degraded', async () => {
    await using visited = await visit()
    const { page } = visited
    await enter(page)
    const fail = () =>
      page.evaluate(() => {
        const error = Object.assign(new Error('Fixture'), { code: 'TOPIC_FULL' })
        window.fixture.room('lobby').emit('error', error as never)
      })
    const sync = (status: 'degraded' | 'synced' | 'catching-up') =>
      page.evaluate((status) => window.fixture.room('lobby').emit('sync', status), status)
    const problem = page.getByTestId('room-problem')
    await fail()
    await sync('degraded')
    await expect.poll(() => problem.textContent()).toContain('The room is full. Trying again.')
    const state = page.getByTestId('topic-state')
    await sync('catching-up') // tried again, which does not make it right yet
    await expect.poll(() => state.getAttribute('data-sync')).toBe('catching-up')
    expect(await problem.count()).toBe(1)
    await sync('synced')
    await expect.poll(() => problem.count()).toBe(0)
    await fail() // of no consequence
    await receive(page, 'lobby', 'read all the same')
    await own(page, 'read all the same').waitFor()
    expect(await problem.count()).toBe(0)
    await sync('synced')
    await sync('degraded') // nobody said why
    await expect.poll(() => state.getAttribute('data-sync')).toBe('degraded')
    expect(await problem.count()).toBe(0)
  })
})
