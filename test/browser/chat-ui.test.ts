import jsQR from 'jsqr'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { seriousProblems } from '../support/axe.ts'
import {
  type ChatPages,
  enter,
  keptPosition,
  own,
  PHONE,
  setVisibility,
  startChatPages,
  type VisitOptions,
} from '../support/chat-pages.ts'

/** The shipped components in a real Chromium, over a node in memory, under the policy that the bridge sends. */

let pages: ChatPages
beforeAll(async () => {
  pages = await startChatPages()
})
afterAll(() => pages?.close())

const visit = (options?: VisitOptions) => pages.visit(options)

describe('chat interface', () => {
  it('sends by keyboard and shows sending, sent, failed and retried', async () => {
    await using visited = await visit()
    const { page } = visited
    await enter(page)
    const input = page.getByTestId('composer-input')
    await expect.poll(() => input.evaluate((field) => field.matches(':focus'))).toBe(true)

    await page.evaluate(() => window.fixture.room('lobby').setSending('held'))
    await page.keyboard.type('first line')
    await page.keyboard.press('Shift+Enter')
    await page.keyboard.type('second line')
    await page.keyboard.press('Enter')
    const message = own(page, 'second line')
    await expect.poll(() => message.getAttribute('data-state')).toBe('sending')
    expect(await message.locator('.text').textContent()).toBe('first line\nsecond line')
    expect(await input.inputValue()).toBe('')

    await page.evaluate(() => window.fixture.room('lobby').setSending('open'))
    await expect.poll(() => message.getAttribute('data-state')).toBe('sent')
    expect(await message.getAttribute('data-id')).toMatch(/^bafy-lobby-/)
    expect(await message.count()).toBe(1)
    const mark = message.getByRole('img', { name: 'Sent. Stored by 5 nodes' })
    expect(await mark.getAttribute('title')).toBe('Stored by 5 nodes')
    await page.evaluate(() => window.fixture.room('lobby').deliver(2))
    await message.getByTitle('Stored by 5 nodes, delivered to 2').waitFor()

    await page.evaluate(() => window.fixture.room('lobby').failNext('NO_REPLICAS'))
    await page.keyboard.type('lost at first')
    await page.keyboard.press('Enter')
    const failed = own(page, 'lost at first')
    await expect.poll(() => failed.getAttribute('data-state')).toBe('failed')
    expect(await failed.textContent()).toContain('Nobody who keeps this room can be reached')
    await failed.getByTestId('message-retry').click()
    await expect.poll(() => failed.getAttribute('data-state')).toBe('sent')
    expect(await failed.count()).toBe(1)

    await page.evaluate(() => window.fixture.room('lobby').failNext('TOO_LARGE'))
    await input.fill('given up')
    await page.keyboard.press('Enter')
    await own(page, 'given up').getByTestId('message-discard').click()
    await expect.poll(() => own(page, 'given up').count()).toBe(0)
    await page.reload()
    await expect.poll(() => own(page, 'lost at first').count()).toBe(1)
    expect(await own(page, 'given up').count()).toBe(0)
  })

  it('shows what waits in the outbox again after a reload, each once, and as sent when it goes out', async () => {
    await using visited = await visit()
    const { page } = visited
    await enter(page)
    await page.evaluate(() => window.fixture.room('lobby').setSending('offline'))
    const say = async (text: string) => {
      await page.getByTestId('composer-input').fill(text)
      await page.keyboard.press('Enter')
      await expect.poll(() => own(page, text).getAttribute('data-state')).toBe('waiting')
    }
    await say('written on the train')
    await say('and in the tunnel')
    await page.reload()
    const texts = ['written on the train', 'and in the tunnel']
    for (const text of texts)
      await expect.poll(() => own(page, text).getAttribute('data-state')).toBe('waiting')
    expect(await own(page, 'written on the train').textContent()).toContain('Waiting to be sent')
    await page.evaluate(() => window.fixture.room('lobby').failNext('TIMEOUT'))
    await page.evaluate(() => window.fixture.room('lobby').setSending('open'))
    await expect.poll(() => own(page, texts[0]!).getAttribute('data-state')).toBe('failed')
    // the outbox has said so and lets go of it; who wrote it may come back much later
    for (let visits = 0; visits < 2; visits++) {
      await page.reload()
      await expect.poll(() => own(page, texts[0]!).getAttribute('data-state')).toBe('failed')
      expect(await own(page, texts[0]!).textContent()).toContain('The network did not answer in time')
    }
    await own(page, texts[0]!).getByTestId('message-retry').click()
    for (const text of texts) {
      await expect.poll(() => own(page, text).getAttribute('data-state')).toBe('sent')
      expect(await own(page, text).count()).toBe(1)
    }
    await page.reload()
    for (const text of texts) {
      await expect.poll(() => own(page, text).getAttribute('data-state')).toBe('sent')
      expect(await own(page, text).count()).toBe(1)
    }
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
      const mallory = { nodeId: 'x'.repeat(52), state: { name, away: 'yes' }, since: 0 }
      const trent = { nodeId: 'y'.repeat(52), state: { name, away: true }, since: 0 }
      room.emit('presence', [mallory, trent])
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
    const names = page.getByTestId('people-item').locator('.name')
    await expect.poll(() => names.allTextContents()).toEqual(['<b>Mallory</b>', 'xxxxxx'])
    expect(await page.locator('room-people b').count()).toBe(0)
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
        { timeout: 50_000, interval: 20 },
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

  it('has own messages where the topic has them, and behind all others until it has', async () => {
    await using visited = await visit({ query: '?messages=2' })
    const { page } = visited
    await enter(page)
    const texts = () => page.locator('[data-testid=message] .text').allTextContents()
    const newest = async (count: number) => (await texts()).slice(-count)
    const setSending = (how: 'open' | 'offline') =>
      page.evaluate((how) => window.fixture.room('lobby').setSending(how), how)
    const receive = (text: string) =>
      page.evaluate((text) => window.fixture.room('lobby').receive({ kind: 'chat', name: 'Bo', text }), text)
    await setSending('offline')
    await page.getByTestId('composer-input').fill('mine')
    await page.keyboard.press('Enter')
    await own(page, 'mine').waitFor()
    await receive('theirs')
    await expect.poll(() => newest(2)).toEqual(['theirs', 'mine'])
    await expect.poll(() => page.getByTestId('announced').textContent()).toContain('Bo: theirs')
    await page.evaluate(() =>
      window.fixture.room('lobby').receiveMeanwhile({ kind: 'chat', name: 'Bo', text: 'meanwhile' }),
    )
    await page.reload()
    await expect.poll(() => newest(3)).toEqual(['theirs', 'meanwhile', 'mine'])
    await setSending('open')
    await expect.poll(() => own(page, 'mine').getAttribute('data-state')).toBe('sent')
    await receive('at last')
    await expect.poll(() => newest(4)).toEqual(['theirs', 'meanwhile', 'mine', 'at last'])
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
      const publisher = room.present[1]!.nodeId
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
    await page.evaluate(() => {
      const room = window.fixture.room('lobby')
      const publisher = room.present[1]!.nodeId
      const next = room.messages.length + 1
      const gap = { writer: '0000000000000000', fromSequence: next, toSequence: next }
      room.emit('gap', { publisher, ...gap, reason: 'withheld' })
    })
    await expect.poll(() => page.getByTestId('gap').textContent()).toContain('3 messages')
    await page.evaluate(() => {
      const room = window.fixture.room('lobby')
      room.receive({ kind: 'chat', name: 'Ana', text: 'late' }, room.present[1]!.nodeId)
    })
    await expect.poll(() => page.getByTestId('gap').textContent()).toContain('2 messages')
    await expect.poll(() => page.getByTestId('topic-state').getAttribute('data-state')).toBe('FAILED')
    expect(await page.getByTestId('topic-state').getAttribute('data-sync')).toBe('degraded')
    await expect.poll(() => connection.getAttribute('data-state')).toBe('offline')
    await page.getByRole('button', { name: 'Try now' }).click()
    await expect.poll(() => page.getByTestId('topic-state').getAttribute('data-state')).toBe('ACTIVE')
  })

  it('shows who is here now, and itself as away while the page is hidden', async () => {
    await using visited = await visit()
    const { page } = visited
    await enter(page)
    const people = page.getByTestId('people-item')
    await expect.poll(() => people.count()).toBe(7)
    const me = people.first()
    const away = page.getByTestId('people-item').filter({ hasText: 'Chidi' })
    expect(await me.getAttribute('data-away')).toBe('false')
    expect(await away.textContent()).toContain('away')
    await setVisibility(page, 'hidden')
    await expect.poll(() => me.getAttribute('data-away')).toBe('true')
    await setVisibility(page, 'visible')
    await expect.poll(() => me.getAttribute('data-away')).toBe('false')
    await page.evaluate(() => {
      const room = window.fixture.room('lobby')
      room.emit('presence', room.present.slice(3))
    })
    await expect.poll(() => people.count()).toBe(4)
    expect(await page.getByRole('button', { name: 'Who is here now: 4' }).count()).toBe(1)
  })

  it('keeps what is unread over a reload, with the history before it', async () => {
    await using visited = await visit()
    const { page } = visited
    await enter(page, 'tea')
    await page.getByTestId('room-input').fill('lobby')
    await page.keyboard.press('Enter')
    const badge = page.locator('[data-room=tea] .badge')
    const receive = (text: string) =>
      page.evaluate((text) => window.fixture.room('tea').receive({ kind: 'chat', name: 'Bo', text }), text)
    await receive('read by nobody yet')
    await expect.poll(() => badge.textContent()).toBe('1 unread')
    await page.evaluate(() =>
      window.fixture.room('tea').receiveMeanwhile({ kind: 'chat', name: 'Bo', text: 'said while away' }),
    )
    await page.reload()
    await expect.poll(() => badge.textContent()).toBe('2 unread')
    expect(await page.locator('[data-room=lobby] .badge').count()).toBe(0)
    await page.locator('[data-room=tea]').click()
    await expect.poll(() => badge.count()).toBe(0)
    for (const text of ['read by nobody yet', 'said while away'])
      expect(await own(page, text).count()).toBe(1)
    // what was read before stands above, and nothing twice
    await expect.poll(() => page.getByTestId('message').count()).toBeGreaterThan(60)
    const ids = await page
      .getByTestId('message')
      .evaluateAll((all) => all.map((message) => (message as HTMLElement).dataset.id))
    expect(new Set(ids).size).toBe(ids.length)
    const boundary = await page.getByTestId('history-boundary').textContent()
    expect(boundary).toContain('You had read up to here')

    await expect.poll(() => keptPosition(page, 'tea')).toBe('position-2002')
    await page.reload()
    await page.getByTestId('history-boundary').waitFor({ state: 'attached' })
    expect(await badge.count()).toBe(0)
  })

  it('encrypts a room by passphrase, and shares it by a link that asks before it joins', async () => {
    const passphrase = 'seven words that nobody would ever guess'
    await using visited = await visit()
    const { page, violations } = visited
    await enter(page)
    await page.getByTestId('room-passphrase-open').click()
    const field = page.getByTestId('room-passphrase')
    expect(await page.locator('#passphrase-help').textContent()).toContain('an empty one')
    await page.getByTestId('room-input').fill('diary')
    await field.fill(passphrase)
    // Making the key takes a while, in which nobody may write into the room of before.
    const shown = await page.evaluate(async () => {
      const app = document.querySelector<HTMLElement & { updateComplete: Promise<boolean> }>('chat-app')!
      const list = app.shadowRoot!.querySelector('room-list')!
      list.shadowRoot!.querySelector<HTMLElement>('[data-testid=room-submit]')!.click()
      await app.updateComplete
      return app.shadowRoot!.querySelector('main')!.innerText
    })
    expect(shown).toBe('Making the key of the room…')
    await page.getByTestId('room-lock').waitFor()
    await page.getByTestId('history-boundary').waitFor({ state: 'attached' })
    const item = page.getByTestId('room-item').filter({ hasText: 'diary' })
    expect(await item.getByRole('img', { name: 'Encrypted' }).count()).toBe(1)
    expect(await field.inputValue()).toBe('')
    await page.getByTestId('composer-input').fill('dear diary')
    await page.keyboard.press('Enter')
    await expect.poll(() => own(page, 'dear diary').getAttribute('data-state')).toBe('sent')
    const hidden = await page.evaluate(
      () => window.fixture.node.topics.find((name) => name !== 'lobby') ?? '',
    )
    expect(hidden).toMatch(/^[\w-]{43}$/)
    const sealed = await page.evaluate((name) => JSON.stringify(window.fixture.room(name).messages), hidden)
    expect(sealed).not.toContain('diary')
    expect(await page.evaluate(() => JSON.stringify({ ...localStorage }))).not.toContain('seven')

    await page.getByTestId('room-share').click()
    expect(await page.getByTestId('room-shared').textContent()).toContain('Link copied.')
    const link = await page.evaluate(() => navigator.clipboard.readText())
    expect(link).toMatch(/#invite=sticky1[\w-]+$/)
    expect(await scanned(page)).toBe(link)
    await page.reload()
    await own(page, 'dear diary').waitFor()
    await page.getByTestId('history-boundary').waitFor({ state: 'attached' })

    await using visitor = await visit()
    const guest = visitor.page
    await guest.goto('about:blank')
    await guest.goto(link)
    await guest.getByTestId('name-input').fill('Gil')
    await guest.keyboard.press('Enter')
    const dialog = guest.getByTestId('invitation')
    await dialog.waitFor()
    await expect.poll(() => dialog.textContent()).toMatch(/Join\s+diary\?/)
    expect(guest.url()).not.toContain('#')
    await guest.keyboard.press('Escape')
    await expect.poll(() => dialog.count()).toBe(0)
    expect(await guest.getByTestId('room-item').count()).toBe(0)
    await guest.evaluate((hash) => location.assign(hash), new URL(link).hash)
    await dialog.getByTestId('invitation-join').click()
    await guest.getByTestId('room-lock').waitFor()
    await expect.poll(() => guest.evaluate(() => window.fixture.node.topics)).toContain(hidden)

    await guest.evaluate((hash) => location.assign(hash), new URL(link).hash.slice(0, -3))
    await expect.poll(() => dialog.textContent()).toContain('not a whole invitation')
    await guest.keyboard.press('Escape')
    await guest.evaluate(() => location.assign('#room=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E'))
    await expect.poll(() => dialog.textContent()).toMatch(/Join\s+<img src=x onerror=alert\(1\)>\?/)
    expect(await dialog.locator('img').count()).toBe(0)
    expect([...violations, ...visitor.violations]).toEqual([])
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
    await page.evaluate(() => window.fixture.room('lobby').failNext('TOO_LARGE'))
    await page.getByTestId('composer-input').fill('for nobody')
    await page.keyboard.press('Enter')
    const keptFailed = () => page.evaluate(() => localStorage.getItem('sticky-chat/unsent'))
    await expect.poll(keptFailed).toContain('for nobody')
    await page.getByTestId('room-leave').click()
    await page.getByTestId('leave-confirm').click()
    await expect.poll(() => rooms.count()).toBe(1)
    await expect.poll(keptFailed).toBe('[]')
    await page.reload()
    await expect.poll(() => rooms.count()).toBe(1)
  })

  it('backs up by passphrase and says when a backup does not open', async () => {
    await using visited = await visit()
    const { page } = visited
    await enter(page)
    await page.getByTestId('identity-open').click()
    await expect.poll(() => page.getByTestId('storage').textContent()).toMatch(/2[.,]4 MB of .*200 MB used/)
    expect(await page.getByTestId('storage').getAttribute('data-persisted')).toBe('false')
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

  it('asks before it restores another identity while messages wait, and not when none does', async () => {
    await using visited = await visit()
    const { page } = visited
    await enter(page)
    const setSending = (how: 'open' | 'offline') =>
      page.evaluate((how) => window.fixture.room('lobby').setSending(how), how)
    await setSending('offline')
    for (const text of ['on the train', 'in the tunnel']) {
      await page.getByTestId('composer-input').fill(text)
      await page.keyboard.press('Enter')
      await expect.poll(() => own(page, text).getAttribute('data-state')).toBe('waiting')
    }
    const imports = () => page.evaluate(() => window.fixture.node.imports)
    const alert = page.locator('identity-panel [role=alert]')
    const restored = page.getByText('Identity restored')
    const restore = page.getByTestId('import-submit')
    const fill = async () => {
      const file = { name: 'b.txt', mimeType: 'text/plain', buffer: Buffer.from('x') }
      await page.getByTestId('import-file').setInputFiles(file)
      await page.getByTestId('import-passphrase').fill('correct horse')
    }
    await page.getByTestId('identity-open').click()
    await fill()
    await restore.click()
    await expect.poll(() => alert.textContent()).toContain('2 messages wait to be sent')
    expect(await imports()).toBe(0)
    // what was answered before is not an answer now
    await page.keyboard.press('Escape')
    await page.getByTestId('identity-open').click()
    expect(await alert.count()).toBe(0)
    await restore.click()
    await expect.poll(() => alert.count()).toBe(1)
    expect(await imports()).toBe(0)
    await page.getByRole('button', { name: 'Restore all the same' }).click()
    await restored.waitFor()
    expect(await imports()).toBe(1)
    await page.keyboard.press('Escape')

    await setSending('open')
    await expect.poll(() => own(page, 'in the tunnel').getAttribute('data-state')).toBe('sent')
    await page.getByTestId('identity-open').click()
    expect(await restored.count()).toBe(0)
    await fill()
    await page.getByRole('button', { name: 'Restore', exact: true }).click()
    await restored.waitFor()
    expect(await imports()).toBe(2)
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
    expect(loaded.filter((path) => path.includes('inspector'))).not.toEqual([])
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
    await page.getByTestId('room-passphrase-open').click()
    await page.getByTestId('room-passphrase').fill('secret')
    const field = await page.getByTestId('room-passphrase').boundingBox()
    expect((field?.x ?? 0) + (field?.width ?? PHONE.width)).toBeLessThan(PHONE.width)
    expect(violations).toEqual([])
  })

  for (const colorScheme of ['light', 'dark'] as const)
    it(`has nothing serious for axe to find, ${colorScheme}`, async () => {
      await using visited = await visit({ colorScheme })
      const { page } = visited
      expect(await seriousProblems(page)).toEqual([])
      await enter(page)
      for (const text of ['a first line of mine', 'a second of mine']) {
        await page.getByTestId('composer-input').fill(text)
        await page.keyboard.press('Enter')
        await own(page, text.slice(0, 8)).waitFor()
      }
      expect(await seriousProblems(page)).toEqual([])
      await page.getByTestId('room-share').click()
      await page.getByTestId('inspector-toggle').click()
      await page.getByTestId('inspector-version').first().waitFor()
      expect(await seriousProblems(page)).toEqual([])
      await page.getByTestId('identity-open').click()
      expect(await seriousProblems(page)).toEqual([])
      await page.keyboard.press('Escape')
      await page.getByTestId('room-leave').click()
      expect(await seriousProblems(page)).toEqual([])
      await page.keyboard.press('Escape')
      await page.evaluate(() => location.assign('#room=elsewhere'))
      await page.getByTestId('invitation').waitFor()
      expect(await seriousProblems(page)).toEqual([])
      await page.keyboard.press('Escape')
      await page.setViewportSize(PHONE)
      expect(await seriousProblems(page)).toEqual([])
      await page.evaluate(() => document.body.append(document.createElement('button')))
      expect(await seriousProblems(page)).toEqual(['button-name: button'])
    })

  it('notices a violation of the policy (the check above can fail)', async () => {
    await using visited = await visit()
    const { page, violations } = visited
    await page.evaluate(() => document.body.setAttribute('style', 'color: red'))
    await expect.poll(() => violations.length).toBe(1)
  })
})

/** What the camera of another device would read of the code on the screen. */
async function scanned(page: Page): Promise<string | undefined> {
  const picture = (await page.locator('qr-code').screenshot()).toString('base64')
  const { data, width, height } = await page.evaluate(async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))
    const bitmap = await createImageBitmap(new Blob([bytes], { type: 'image/png' }))
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d')!
    context.drawImage(bitmap, 0, 0)
    const { data, width, height } = context.getImageData(0, 0, bitmap.width, bitmap.height)
    return { data: [...data], width, height }
  }, picture)
  return jsQR.default(Uint8ClampedArray.from(data), width, height)?.data
}

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
