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
    await expect.poll(() => rooms(one)).toEqual(['lobby', 'coffee'])
    await expect.poll(() => rooms(two)).toEqual(['lobby', 'coffee'])
    expect(await shown(two)).toBe('coffee')
    await expect.poll(() => shown(one)).toBe('coffee')
    await two.getByTestId('room-leave').click()
    await expect.poll(() => shown(one)).toBe('lobby')
    await one.getByTestId('room-leave').click()
    await expect.poll(() => rooms(two)).toEqual([])
    await one.reload()
    await one.getByText('Join the lobby').waitFor()
    await join(two, 'again')
    await expect.poll(() => shown(one)).toBe('again')
  })
})
