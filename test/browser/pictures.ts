import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { launchChromium } from '../support/chromium.ts'
import { LocalNetwork } from '../support/local-network.ts'

/** `npm run pictures`: the chat's main states, for the README and the docs. Needs the built chat (npm run build). */

const FOLDER = join(import.meta.dirname, '../../docs/images')

const TALK = [
  ['Ada', 'The bridge is only how we find each other.'],
  ['Bob', 'And who keeps the room?'],
  ['Ada', 'The nodes and tabs closest to its key. Nobody owns it.'],
  ['Chidi', 'I joined just now and see everything from this morning.'],
  ['Bob', 'So history comes with the topic. Nice.'],
  ['Ada', 'Every message is signed, and stored once a majority has it on disk.'],
] as const

async function open(
  browser: Browser,
  url: string,
  name: string,
  options: { width: number; height: number; dark: boolean },
): Promise<Page> {
  const { width, height, dark } = options
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: dark ? 'dark' : 'light',
    deviceScaleFactor: 2,
  })
  const page = await context.newPage()
  await page.goto(url)
  await page.getByTestId('name-input').fill(name)
  await page.getByTestId('name-submit').click()
  await page.getByTestId('room-input').first().fill('lobby')
  await page.getByTestId('room-submit').first().click()
  await page.getByTestId('message').filter({ hasText: 'stored once a majority' }).waitFor({ timeout: 30_000 })
  return page
}

await mkdir(FOLDER, { recursive: true })
const network = await LocalNetwork.start({ nodes: 4 })
const browser = await launchChromium()
try {
  for (const [name, text] of TALK) await network.sticky('pub', 'lobby', text, '--as', name)
  const light = await open(browser, network.url, 'Dana', { width: 1_200, height: 760, dark: false })
  const dark = await open(browser, network.url, 'Eve', { width: 1_200, height: 760, dark: true })
  const phone = await open(browser, network.url, 'Femi', { width: 390, height: 780, dark: false })
  await light.getByTestId('composer-input').fill('Good morning! Catching up on the history now.')
  await light.getByTestId('composer-input').press('Enter')
  for (const page of [light, dark, phone])
    await page.getByTestId('message').filter({ hasText: 'Catching up' }).waitFor({ timeout: 30_000 })
  await light.getByTestId('people-item').nth(2).waitFor({ timeout: 30_000 })
  await light.screenshot({ path: join(FOLDER, 'chat.png') })
  await dark.screenshot({ path: join(FOLDER, 'chat-dark.png') })
  await phone.screenshot({ path: join(FOLDER, 'chat-phone.png') })
  await light.setViewportSize({ width: 1_200, height: 1_340 })
  await light.getByTestId('inspector-toggle').click()
  await light.getByTestId('inspector-node').nth(4).waitFor({ timeout: 30_000 })
  await light.getByTestId('composer-input').fill('One version more.')
  await light.getByTestId('composer-input').press('Enter')
  await light.getByTestId('inspector-version').nth(1).waitFor({ timeout: 30_000 })
  await light.screenshot({ path: join(FOLDER, 'inspector.png') })
} finally {
  await browser.close()
  await network.stop()
}
