import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { launchChromium } from '../support/chromium.ts'
import { type FixtureServer, openFixture, serveFixture } from '../support/fixture-page.ts'

/** The chat in several tabs of one browser: what it keeps beside the node is shared by them. */

const PATH = '/test/browser/pages/chat-fixture.html'

let server: FixtureServer
let browser: Browser

beforeAll(async () => {
  server = await serveFixture(PATH)
  browser = await launchChromium()
}, 60_000)

afterAll(async () => {
  await browser?.close()
  await server?.close()
})

async function profile(): Promise<BrowserContext> {
  const context = await browser.newContext()
  context.setDefaultTimeout(10_000)
  return context
}

const open = (context: BrowserContext): Promise<Page> =>
  openFixture(context, `http://127.0.0.1:${server.port}${PATH}?messages=3`)

async function join(page: Page, room: string, passphrase?: string): Promise<void> {
  if (passphrase !== undefined) {
    await page.getByTestId('room-passphrase-open').click()
    await page.getByTestId('room-passphrase').fill(passphrase)
  }
  await page.getByTestId('room-input').fill(room)
  await page.getByTestId('room-input').press('Enter')
  await expect.poll(() => shown(page)).toBe(room)
}

/** A tab of somebody who is in the lobby. */
async function enter(context: BrowserContext): Promise<Page> {
  const page = await open(context)
  await page.getByTestId('name-input').fill('Noor')
  await page.getByTestId('name-input').press('Enter')
  await join(page, 'lobby')
  return page
}

const rooms = (page: Page) =>
  page
    .getByTestId('room-item')
    .evaluateAll((items) => items.map((item) => (item as HTMLElement).dataset.room))
const shown = (page: Page) =>
  page.locator('[data-testid=room-item][aria-current=true]').getAttribute('data-room')

describe('the rooms of several tabs', () => {
  it('are the same: none takes away what another has joined, and the key of an encrypted one stays', async () => {
    await using context = await profile()
    const one = await enter(context)
    const two = await open(context)
    await expect.poll(() => rooms(two)).toEqual(['lobby'])
    await two.getByTestId('composer-input').fill('half a sentence')
    await join(one, 'vault', 'our secret phrase')
    await expect.poll(() => rooms(two)).toEqual(['lobby', 'vault'])
    expect(await shown(two)).toBe('lobby')
    expect(await two.getByTestId('composer-input').inputValue()).toBe('half a sentence')
    await join(two, 'other')
    await expect.poll(() => rooms(one)).toEqual(['lobby', 'vault', 'other'])
    expect(await shown(one)).toBe('vault')
    for (const page of [one, two]) {
      await page.reload()
      await expect.poll(() => rooms(page)).toEqual(['lobby', 'vault', 'other'])
    }
    await one.locator('[data-room=vault]').click()
    await one.getByTestId('room-lock').waitFor()
  })

  it('keep what was stored when a tab did not hear of it', async () => {
    await using context = await profile()
    const other = await enter(context)
    await context.addInitScript(() =>
      addEventListener('storage', (event) => event.stopImmediatePropagation(), { capture: true }),
    )
    const deaf = await open(context)
    await expect.poll(() => rooms(deaf)).toEqual(['lobby'])
    await join(other, 'vault', 'our secret phrase')
    const storedRooms = () => deaf.evaluate(() => localStorage.getItem('sticky-chat/rooms'))
    await expect.poll(storedRooms).toContain('vault') // another process has written it
    await join(deaf, 'tea')
    await expect.poll(() => rooms(other)).toEqual(['lobby', 'vault', 'tea'])
    // it sees what it kept
    expect(await rooms(deaf)).toEqual(['lobby', 'vault', 'tea'])
  })

  it('go everywhere when they are left in one, also where they are shown', async () => {
    await using context = await profile()
    const one = await enter(context)
    await join(one, 'tea')
    const two = await open(context)
    await expect.poll(() => shown(two)).toBe('tea')
    await join(two, 'coffee')
    await one.getByTestId('room-leave').click()
    await one.getByTestId('leave-confirm').click()
    await expect.poll(() => rooms(one)).toEqual(['lobby', 'coffee'])
    await expect.poll(() => rooms(two)).toEqual(['lobby', 'coffee'])
    expect(await shown(two)).toBe('coffee')
    await expect.poll(() => shown(one)).toBe('coffee')
    await two.getByTestId('room-leave').click()
    await two.getByTestId('leave-confirm').click()
    await expect.poll(() => shown(one)).toBe('lobby')
    await one.getByTestId('room-leave').click()
    await one.getByTestId('leave-confirm').click()
    await expect.poll(() => rooms(two)).toEqual([])
    await one.reload()
    await one.getByText('Join the lobby').waitFor()
    await join(two, 'again')
    await expect.poll(() => shown(one)).toBe('again')
  })
})

describe('what one tab knows', () => {
  it('the others know: what was read, and the name', async () => {
    await using context = await profile()
    const one = await enter(context)
    await join(one, 'tea')
    await one.locator('[data-room=lobby]').click()
    const two = await open(context)
    await two.locator('[data-room=tea]').click()
    await expect.poll(() => shown(two)).toBe('tea')
    // what the first has read so far is not told after the next comes
    await expect.poll(() => two.evaluate(() => localStorage.getItem('sticky-chat/read'))).toMatch(/ lobby$/)
    const receive = (page: Page) =>
      page.evaluate(() => window.fixture.room('lobby').receive({ kind: 'chat', name: 'Bo', text: 'hello' }))
    const badge = () => two.locator('[data-room=lobby] .badge').allTextContents()
    await receive(two)
    await expect.poll(badge).toEqual([expect.stringContaining('1')])
    await receive(one) // which shows that room
    await expect.poll(badge).toEqual([])

    await one.getByTestId('identity-open').click()
    await one.locator('identity-panel #name').fill('Nora')
    await one.locator('identity-panel #name').press('Enter')
    await two.getByRole('button', { name: 'You: Nora' }).waitFor()
    await two.getByTestId('composer-input').fill('by another name')
    await two.getByTestId('composer-input').press('Enter')
    const said = two.getByTestId('message').filter({ hasText: 'by another name' })
    await expect.poll(() => said.textContent()).toContain('Nora')
  })
})

describe('what could not be sent', () => {
  const own = (page: Page, text: string) => page.getByTestId('message').filter({ hasText: text })
  const texts = (page: Page) =>
    page.locator('[data-testid=message][data-state=failed] .text').allTextContents()
  async function fail(page: Page, text: string): Promise<void> {
    await page.evaluate(() => window.fixture.room('lobby').failNext('NO_REPLICAS'))
    await page.getByTestId('composer-input').fill(text)
    await page.getByTestId('composer-input').press('Enter')
    await expect.poll(() => own(page, text).getAttribute('data-state')).toBe('failed')
  }

  it('is kept whichever tab it failed in, and gone from all once it is discarded or sent', async () => {
    await using context = await profile()
    const one = await enter(context)
    await fail(one, 'in the first')
    const two = await open(context)
    await expect.poll(() => texts(two)).toEqual(['in the first'])
    await fail(two, 'in the second')
    await expect.poll(() => texts(one)).toEqual(['in the first', 'in the second'])
    await own(one, 'in the first').getByTestId('message-discard').click()
    await expect.poll(() => texts(two)).toEqual(['in the second'])
    await fail(two, 'once more')
    await expect.poll(() => texts(one)).toEqual(['in the second', 'once more'])
    await own(one, 'in the second').getByTestId('message-retry').click()
    await expect.poll(() => own(one, 'in the second').getAttribute('data-state')).toBe('sent')
    await expect.poll(() => texts(two)).toEqual(['once more'])
    await fail(one, 'and again')
    for (const page of [one, two]) {
      await page.reload()
      await expect.poll(() => texts(page)).toEqual(['once more', 'and again'])
    }
  })

  it('goes with its room, and what failed in another room stays', async () => {
    await using context = await profile()
    const one = await enter(context)
    await fail(one, 'in the lobby')
    await join(one, 'tea')
    const two = await open(context)
    await one.getByTestId('room-leave').click()
    await one.getByTestId('leave-confirm').click()
    await expect.poll(() => rooms(two)).toEqual(['lobby'])
    for (const page of [one, two]) await expect.poll(() => texts(page)).toEqual(['in the lobby'])
    await two.getByTestId('room-leave').click()
    await two.getByTestId('leave-confirm').click()
    await expect.poll(() => rooms(one)).toEqual([])
    expect(await one.evaluate(() => localStorage.getItem('sticky-chat/unsent'))).toBe('[]')
  })
})
