import type { AddressInfo } from 'node:net'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { createServer, type ViteDevServer } from 'vite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { launchChromium } from '../support/chromium.ts'

/** The shipped components in a real Chromium, over a node in memory, under the policy that the bridge sends. */

const POLICY = "script-src 'self'; style-src 'self'"
const DESKTOP = { width: 1200, height: 800 }
const PHONE = { width: 360, height: 700 }

let server: ViteDevServer
let browser: Browser
let address: string

beforeAll(async () => {
  server = await createServer({
    configFile: false,
    root: new URL('../..', import.meta.url).pathname,
    appType: 'mpa',
    logLevel: 'error',
    optimizeDeps: { include: ['lit', 'lit/directives/repeat.js', 'valibot'] },
    server: {
      host: '127.0.0.1',
      port: 0,
      hmr: false,
      watch: null,
      headers: { 'content-security-policy': POLICY },
    },
  })
  await server.listen()
  const { port } = server.httpServer!.address() as AddressInfo
  address = `http://127.0.0.1:${port}/test/browser/pages/chat-fixture.html`
  browser = await launchChromium()
})

afterAll(async () => {
  await browser?.close()
  await server?.close()
})

interface Visit {
  page: Page
  violations: string[]
  [Symbol.asyncDispose](): Promise<void>
}

async function visit(options: BrowserContextOptions = {}): Promise<Visit> {
  const context = await browser.newContext({ viewport: DESKTOP, ...options })
  const page = await context.newPage()
  const violations: string[] = []
  page.on('console', (entry) => {
    if (/content security policy/i.test(entry.text())) violations.push(entry.text())
  })
  page.on('pageerror', (error) => violations.push(String(error)))
  await page.goto(address)
  return { page, violations, [Symbol.asyncDispose]: () => context.close() }
}

/** A first visit as a person does it, by keyboard only. */
async function enter(page: Page, room = 'lobby'): Promise<void> {
  await page.getByTestId('name-input').fill('Noor')
  await page.keyboard.press('Enter')
  await page.getByTestId('room-input').fill(room)
  await page.keyboard.press('Enter')
  await page.getByTestId('history-boundary').waitFor({ state: 'attached' })
}

const own = (page: Page, text: string) => page.getByTestId('message').filter({ hasText: text })

describe('chat interface', () => {
  it('sends by keyboard and shows sending, sent, failed and retried', async () => {
    await using visited = await visit()
    const { page } = visited
    await enter(page)
    const input = page.getByTestId('composer-input')
    await expect.poll(() => input.evaluate((field) => field.matches(':focus'))).toBe(true)

    await page.evaluate(() => {
      window.fixture.room('lobby').held = true
    })
    await page.keyboard.type('first line')
    await page.keyboard.press('Shift+Enter')
    await page.keyboard.type('second line')
    await page.keyboard.press('Enter')
    const message = own(page, 'second line')
    await expect.poll(() => message.getAttribute('data-state')).toBe('sending')
    expect(await message.locator('.text').textContent()).toBe('first line\nsecond line')
    expect(await input.inputValue()).toBe('')

    await page.evaluate(() => window.fixture.room('lobby').release())
    await expect.poll(() => message.getAttribute('data-state')).toBe('sent')
    expect(await message.getAttribute('data-id')).toMatch(/^bafy-lobby-/)
    expect(await message.count()).toBe(1)

    await page.evaluate(() => window.fixture.room('lobby').failNext('NO_REPLICAS'))
    await page.keyboard.type('lost at first')
    await page.keyboard.press('Enter')
    const failed = own(page, 'lost at first')
    await expect.poll(() => failed.getAttribute('data-state')).toBe('failed')
    await failed.getByTestId('message-retry').click()
    await expect.poll(() => failed.getAttribute('data-state')).toBe('sent')
    expect(await failed.count()).toBe(1)
  })

  it('shows an unknown outcome as failed until the message turns up, then as sent and once', async () => {
    await using visited = await visit()
    const { page } = visited
    await enter(page)
    await page.evaluate(() => window.fixture.room('lobby').failNext('OUTCOME_UNKNOWN'))
    await page.getByTestId('composer-input').fill('did it arrive')
    await page.keyboard.press('Enter')
    const message = own(page, 'did it arrive')
    await expect.poll(() => message.getAttribute('data-state')).toBe('failed')
    await page.evaluate(() => window.fixture.arriveLate('lobby'))
    await expect.poll(() => message.getAttribute('data-state')).toBe('sent')
    expect(await message.count()).toBe(1)
  })

  it('keeps hostile text inert and ignores other shapes', async () => {
    await using visited = await visit()
    const { page, violations } = visited
    await enter(page)
    await page.evaluate(() => {
      const room = window.fixture.room('lobby')
      const name = '<b>Mallory</b>\u202e'
      const say = (text: string) => room.receive({ kind: 'chat', name, text })
      say('<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>')
      say('javascript:alert(1) data:text/html,x https://bank.example@evil.example/ https://good.example/a.')
      say(`bidi \u202egnp.exe ${'W'.repeat(3_900)}`)
      room.receive({ kind: 'chat', name, text: 'x'.repeat(4_001) })
      room.receive({ kind: 'chat', name: 'n'.repeat(65), text: 'long name' })
      room.receive({ kind: 'other', name, text: 'not for a chat' })
      room.receive('just a string')
      say('end of the attack')
    })
    await own(page, 'end of the attack').waitFor()
    expect(await page.locator('message-list img, message-list script, message-list b').count()).toBe(0)
    expect(await page.evaluate(() => 'hacked' in window)).toBe(false)
    expect(await page.locator('message-list').getByText('long name').count()).toBe(0)
    expect(await page.locator('message-list').getByText('not for a chat').count()).toBe(0)
    const links = page
      .locator('message-list')
      .getByTestId('message')
      .filter({ hasText: 'javascript:' })
      .locator('a')
    expect(
      await links.evaluateAll((all) =>
        all.map((link) => [link.getAttribute('href'), link.getAttribute('rel')]),
      ),
    ).toEqual([['https://good.example/a', 'noopener noreferrer']])
    expect(await page.locator('bdi.author').last().textContent()).toBe('<b>Mallory</b>')
    expect(await overflow(page)).toBe(0)
    expect(violations).toEqual([])
  })

  it('reads older pages while scrolling up and keeps the read message in place, down to the first', async () => {
    await using visited = await visit()
    const { page } = visited
    await enter(page)
    const scroller = page.getByTestId('message-scroller')
    expect(await page.evaluate(() => window.fixture.room('lobby').pagesRead)).toBe(0)
    const moved = await scroller.evaluate(async (element) => {
      const frame = () => new Promise((resolve) => requestAnimationFrame(resolve))
      const rows = () => [...element.querySelectorAll<HTMLElement>('[data-key]')]
      element.scrollTop = 300
      const edge = element.getBoundingClientRect().top
      const read = rows().find((row) => row.getBoundingClientRect().top > edge)
      const top = read?.getBoundingClientRect().top ?? 0
      const before = rows().length
      for (let frames = 0; rows().length === before && frames < 300; frames += 1) await frame()
      await frame()
      return { by: Math.abs((read?.getBoundingClientRect().top ?? 0) - top), added: rows().length - before }
    })
    // a page is of 100, of which the join brought the last 60
    expect(moved.added).toBeGreaterThanOrEqual(40)
    expect(moved.by).toBeLessThan(1)

    // All 2,000 messages pass, while only a window of them is ever in the page.
    let widest = 0
    const first = page.locator('message-list').getByText('The beginning of')
    await expect
      .poll(
        async () => {
          const rows = await scroller.evaluate((element) => {
            element.scrollTop = 0
            return element.querySelectorAll('[data-key]').length
          })
          widest = Math.max(widest, rows)
          return first.count()
        },
        { timeout: 15_000, interval: 20 },
      )
      .toBe(1)
    expect(await page.getByTestId('message').first().textContent()).toContain('(0)')
    expect(widest).toBeLessThanOrEqual(300)

    await page.getByTestId('to-latest').click()
    await expect
      .poll(() => scroller.evaluate((e) => e.scrollHeight - e.scrollTop - e.clientHeight))
      .toBeLessThan(2)
    await page.getByTestId('history-boundary').waitFor()
  })

  it('shows connection, channel and sync state, people and gaps', async () => {
    await using visited = await visit()
    const { page } = visited
    await enter(page)
    const connection = page.getByTestId('connection-state')
    expect(await connection.getAttribute('data-state')).toBe('online')
    await expect.poll(() => connection.textContent()).toContain('5 peers')
    await expect.poll(() => page.getByTestId('topic-state').getAttribute('data-sync')).toBe('synced')
    await expect.poll(() => page.getByTestId('people-item').first().textContent()).toContain('Noor')
    expect(await page.getByTestId('people-item').count()).toBe(7)

    await page.evaluate(() => {
      const room = window.fixture.room('lobby')
      const publisher = room.people[1]!.nodeId
      room.emit('gap', { publisher, writer: '0', fromSequence: 1, toSequence: 3, reason: 'expired' })
      room.emit('gap', { publisher, writer: '0', fromSequence: 4, toSequence: 5, reason: 'withheld' })
      room.channel = 'FAILED'
      room.emit('sync', 'degraded')
      window.fixture.setStatus({ state: 'offline', peers: [], bridge: false })
    })
    await expect
      .poll(() => page.getByTestId('gap').allTextContents())
      .toEqual([
        expect.stringMatching(/2 messages from .+ are missing: no node that keeps this room has them/s),
      ])
    await expect.poll(() => page.getByTestId('topic-state').getAttribute('data-state')).toBe('FAILED')
    expect(await page.getByTestId('topic-state').getAttribute('data-sync')).toBe('degraded')
    await expect.poll(() => connection.getAttribute('data-state')).toBe('offline')
    await page.getByRole('button', { name: 'Try now' }).click()
    await expect.poll(() => page.getByTestId('topic-state').getAttribute('data-state')).toBe('ACTIVE')
  })

  it('remembers name, rooms and colours over a reload, moves by arrow keys and forgets a room that is left', async () => {
    await using visited = await visit()
    const { page } = visited
    await enter(page, 'lobby')
    await page.getByTestId('room-input').fill('#infusion')
    await page.keyboard.press('Enter')
    await page.getByTestId('theme-toggle').click()
    await page.reload()
    const rooms = page.getByTestId('room-item')
    await expect
      .poll(() => rooms.evaluateAll((all) => all.map((room) => (room as HTMLElement).dataset.room)))
      .toEqual(['lobby', 'infusion'])
    expect(await page.evaluate(() => document.documentElement.dataset.theme)).toBe('light')
    await rooms.nth(1).focus()
    await page.keyboard.press('ArrowUp')
    await page.keyboard.press('Enter')
    await expect.poll(() => rooms.first().getAttribute('aria-current')).toBe('true')
    await page.evaluate(() =>
      window.fixture.room('infusion').receive({ kind: 'chat', name: 'Bo', text: 'hello' }),
    )
    await expect.poll(() => rooms.nth(1).locator('.badge').textContent()).toContain('1')
    await page.getByTestId('room-leave').click()
    await expect.poll(() => rooms.count()).toBe(1)
    await page.reload()
    await expect.poll(() => rooms.count()).toBe(1)
  })

  it('backs up by passphrase and says when a backup does not open', async () => {
    await using visited = await visit()
    const { page } = visited
    await enter(page)
    await page.getByTestId('identity-open').click()
    await page.getByTestId('export-passphrase').fill('correct horse')
    const downloading = page.waitForEvent('download')
    await page.getByTestId('export-submit').click()
    expect((await downloading).suggestedFilename()).toMatch(/^sticky-identity-/)
    await page
      .getByTestId('import-file')
      .setInputFiles({ name: 'b.txt', mimeType: 'text/plain', buffer: Buffer.from('x') })
    await page.getByTestId('import-passphrase').fill('wrong')
    await page.getByTestId('import-submit').click()
    await expect.poll(() => page.locator('identity-panel [role=alert]').textContent()).toContain('passphrase')
    await page.keyboard.press('Escape')
    await expect.poll(() => page.getByTestId('identity-panel').isVisible()).toBe(false)
  })

  it('looks inside the room by keyboard, keeps looking, and asks nothing once closed', async () => {
    await using visited = await visit()
    const { page, violations } = visited
    const loaded: string[] = []
    page.on('request', (request) => loaded.push(new URL(request.url()).pathname))
    await page.clock.install()
    await page.reload()
    await enter(page)
    const toggle = page.getByTestId('inspector-toggle')
    const asked = () => page.evaluate(() => window.fixture.room('lobby').inspections)
    expect(loaded.filter((path) => path.includes('inspector'))).toEqual([])
    await page.getByTestId('people-toggle').focus()
    await page.keyboard.press('Tab')
    await page.keyboard.press('Enter')
    const node = page.getByTestId('inspector-node')
    await expect.poll(() => node.count()).toBe(6)
    expect(loaded).toContain('/web/inspector.ts')
    expect(await toggle.getAttribute('aria-expanded')).toBe('true')
    await expect
      .poll(() => page.getByTestId('inspector-close').evaluate((button) => button.matches(':focus')))
      .toBe(true)

    // five peers, of which four keep the room, one through a relay; and this node
    const count = (attribute: string) => page.locator(`[data-testid=inspector-node]${attribute}`).count()
    expect(await count('[data-replica=durable]')).toBe(3)
    expect(await count('[data-replica=fleeting]')).toBe(1)
    expect([await count('[data-link=relayed]'), await count('[data-link=webrtc]')]).toEqual([1, 2])
    expect(await page.locator('[data-testid=inspector-ring] rect.mark.replica').count()).toBe(3)
    expect(await page.locator('[data-testid=inspector-ring] circle.mark').count()).toBe(3)
    expect(await page.getByTestId('inspector-counters').textContent()).toMatch(/Merges of heads\s*3/)
    const versions = () =>
      page
        .getByTestId('inspector-version')
        .evaluateAll((rows) =>
          (rows as HTMLElement[]).map(({ dataset }) => `${dataset.version} by ${dataset.holders}`),
        )
    await expect.poll(versions).toEqual(['2000 by 4'])

    await page.evaluate(() => {
      const room = window.fixture.room('lobby')
      room.laggingBy = 1
      room.receive({ kind: 'chat', name: 'Bo', text: 'one version more' })
    })
    await page.clock.fastForward(2_000)
    await expect.poll(versions).toEqual(['2001 by 3', '2000 by 1'])
    expect(await page.locator('[data-testid=inspector-lineage] circle.head').count()).toBe(2)

    await setVisibility(page, 'hidden')
    const beforeHidden = await asked()
    await page.clock.fastForward(60_000)
    expect(await asked()).toBe(beforeHidden)
    await setVisibility(page, 'visible')
    await expect.poll(asked).toBe(beforeHidden + 1)
    await page.clock.fastForward(2_000)
    await expect.poll(asked).toBe(beforeHidden + 2)

    await page.keyboard.press('Escape')
    await expect.poll(() => page.getByTestId('inspector').count()).toBe(0)
    expect(await toggle.evaluate((button) => button.matches(':focus'))).toBe(true)
    const atTheEnd = await asked()
    await page.clock.fastForward(60_000)
    expect(await asked()).toBe(atTheEnd)
    expect(violations).toEqual([])
  })

  it('fits a phone without horizontal scrolling, in every view', async () => {
    await using visited = await visit({ viewport: PHONE, hasTouch: true, isMobile: true })
    const { page, violations } = visited
    expect(await overflow(page)).toBe(0)
    await enter(page, 'a-room-with-quite-a-long-name-that-does-not-fit-on-one-line')
    expect(await page.getByTestId('composer-input').isVisible()).toBe(true)
    expect(await overflow(page)).toBe(0)
    await page.getByTestId('people-toggle').click()
    await page.getByTestId('people-item').first().waitFor()
    expect(await overflow(page)).toBe(0)
    await page.keyboard.press('Escape')
    await expect.poll(() => page.getByTestId('people-item').count()).toBe(0)
    await page.getByTestId('inspector-toggle').click()
    await page.getByTestId('inspector-node').first().waitFor()
    expect(await overflow(page)).toBe(0)
    await page.getByTestId('inspector-close').click()
    await page.getByTestId('back').click()
    await page.getByTestId('room-item').waitFor()
    expect(await page.getByTestId('composer-input').isVisible()).toBe(false)
    expect(await overflow(page)).toBe(0)
    expect(violations).toEqual([])
  })

  it('notices a violation of the policy (the check above can fail)', async () => {
    await using visited = await visit()
    const { page, violations } = visited
    await page.evaluate(() => document.body.setAttribute('style', 'color: red'))
    await expect.poll(() => violations.length).toBe(1)
  })
})

/** As when the tab goes to the background and comes back. */
const setVisibility = (page: Page, state: DocumentVisibilityState): Promise<void> =>
  page.evaluate((state) => {
    Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => state })
    document.dispatchEvent(new Event('visibilitychange'))
  }, state)

/** How far the page, or anything that scrolls in it, is wider than what is shown. */
const overflow = (page: Page): Promise<number> =>
  page.evaluate(() => {
    const widths: number[] = []
    const look = (root: Document | ShadowRoot) => {
      for (const element of root.querySelectorAll<HTMLElement>('*')) {
        const scrolls = ['auto', 'scroll'].includes(getComputedStyle(element).overflowX)
        if (scrolls || element === document.documentElement)
          widths.push(element.scrollWidth - element.clientWidth)
        if (element.shadowRoot !== null) look(element.shadowRoot)
      }
    }
    look(document)
    return Math.max(...widths)
  })
