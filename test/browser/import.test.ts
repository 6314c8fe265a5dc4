import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { launchChromium } from '../support/chromium.ts'
import { LocalNetwork } from '../support/local-network.ts'

/** Two rooms of a chat log, published by several nodes: `STICKY_CHAT_LOG`, else the program's own generated lines. */

const LOG = process.env.STICKY_CHAT_LOG
const LINES = 2_000

interface Line {
  room: string
  from: string
  text: string
}

let network: LocalNetwork
let browser: Browser

beforeAll(async () => {
  network = await LocalNetwork.start({ nodes: 4 })
  browser = await launchChromium()
}, 60_000)

afterAll(async () => {
  await browser?.close()
  await network?.stop()
})

const textsByAuthor = (lines: Line[]): Record<string, string[]> => {
  const authors: Record<string, string[]> = {}
  for (const { from, text } of lines) {
    authors[from] ??= []
    authors[from].push(text)
  }
  return authors
}

async function stored(room: string): Promise<Line[]> {
  const { stdout } = await network.sticky('history', room, '--json')
  return stdout
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { data: { name: string; text: string } }).data)
    .map(({ name, text }) => ({ room, from: name, text }))
}

describe('the demo import', () => {
  it('stores every line once, in each author’s order, and a fresh tab reads the room page by page', async () => {
    const file = LOG === undefined ? [] : [LOG]
    const { stdout } = await network.sticky('demo-import', ...file, '--limit', String(LINES), '--json')
    const { rooms } = JSON.parse(stdout) as { rooms: Record<string, number> }
    const [larger] = Object.entries(rooms).sort((a, b) => b[1] - a[1])[0] as [string, number]
    const expected = LOG
      ? gunzipSync(readFileSync(LOG))
          .toString()
          .trim()
          .split('\n')
          .slice(0, LINES)
          .map((line) => JSON.parse(line) as Line)
      : undefined
    const all: Line[] = []
    for (const [room, count] of Object.entries(rooms)) {
      const lines = await stored(room)
      expect(lines.length).toBe(count)
      all.push(...lines)
      if (expected)
        expect(textsByAuthor(lines)).toEqual(textsByAuthor(expected.filter((line) => line.room === room)))
    }
    expect(all.length).toBe(LINES)

    const page = await (await browser.newContext({ viewport: { width: 1_100, height: 800 } })).newPage()
    await page.goto(network.url)
    await page.getByTestId('name-input').fill('Reader')
    await page.getByTestId('name-submit').click()
    await page.getByTestId('room-input').first().fill(larger)
    await page.getByTestId('room-submit').first().click()
    const newest = all.filter((line) => line.room === larger).at(-1) as Line
    const messages = page.getByTestId('message')
    await messages.filter({ hasText: newest.text }).last().waitFor({ timeout: 20_000 })
    const scroller = page.getByTestId('message-scroller')
    const oldestId = () => messages.first().getAttribute('data-id')
    for (let round = 0; round < 3; round++) {
      const before = await oldestId()
      await scroller.evaluate((element) => element.scrollTo(0, 0))
      await expect.poll(oldestId, { timeout: 20_000 }).not.toBe(before)
    }
  }, 120_000)
})
