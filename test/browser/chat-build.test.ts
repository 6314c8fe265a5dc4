import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { build, type PreviewServer, preview } from 'vite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { launchChromium } from '../support/chromium.ts'

/** The page as it is shipped: bundled by vite.config.ts, served under the bridge's policy, with no bridge behind it. */

const POLICY =
  "default-src 'self'; script-src 'self'; style-src 'self'; require-trusted-types-for 'script'; trusted-types lit-html"
const configFile = new URL('../../vite.config.ts', import.meta.url).pathname

let outDir: string
let server: PreviewServer
let browser: Browser
let address: string

beforeAll(async () => {
  outDir = await mkdtemp(join(tmpdir(), 'chat-build-'))
  await build({
    configFile,
    logLevel: 'error',
    build: { outDir, emptyOutDir: true, reportCompressedSize: false },
  })
  server = await preview({
    configFile,
    logLevel: 'error',
    appType: 'mpa',
    build: { outDir },
    preview: { host: '127.0.0.1', port: 0, headers: { 'content-security-policy': POLICY } },
  })
  address = server.resolvedUrls!.local[0]!
  browser = await launchChromium()
})

afterAll(async () => {
  await browser?.close()
  await server?.close()
  await rm(outDir, { recursive: true, force: true })
})

async function open(prepare?: () => void): Promise<{ page: Page; violations: string[] }> {
  const page = await browser.newPage()
  const violations: string[] = []
  page.on('console', (entry) => {
    if (/content security policy/i.test(entry.text())) violations.push(entry.text())
  })
  page.on('pageerror', (error) => violations.push(String(error)))
  if (prepare !== undefined) await page.addInitScript(prepare)
  await page.goto(address)
  return { page, violations }
}

describe('built chat page', () => {
  it('draws every element, keeps to the policy, and takes what is written without a bridge', async () => {
    const { page, violations } = await open()
    await page.getByTestId('name-input').fill('Noor')
    await page.keyboard.press('Enter')
    await page.getByTestId('room-input').waitFor()
    await expect.poll(() => page.getByTestId('connection-state').getAttribute('data-state')).toBe('offline')
    await page.getByTestId('room-input').fill('lobby')
    await page.keyboard.press('Enter')
    await page.getByTestId('composer-input').fill('written without a network')
    await page.keyboard.press('Enter')
    const message = page.getByTestId('message').filter({ hasText: 'written without a network' })
    expect(await message.getAttribute('data-state')).toBe('waiting')
    await message.getByTitle('Kept on this device').waitFor({ timeout: 20_000 })
    await page.reload()
    await message.getByTitle('Kept on this device').waitFor({ timeout: 20_000 })
    expect(await message.count()).toBe(1)
    expect(await page.evaluate(() => 'stickyChat' in window)).toBe(false)
    expect(violations).toEqual([])
    await page.close()
  })

  it('explains itself where the browser offers no cryptography', async () => {
    const { page } = await open(() => Object.defineProperty(globalThis, 'crypto', { value: {} }))
    await page.getByTestId('insecure-notice').waitFor()
    expect(await page.getByTestId('name-input').count()).toBe(0)
    await page.close()
  })
})
