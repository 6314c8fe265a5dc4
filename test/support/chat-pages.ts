import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BrowserContextOptions, Page } from 'playwright-core'
import { build, preview } from 'vite'
import { expect } from 'vitest'
import { launchChromium } from './chromium.ts'

/** The shipped components of the chat over a node in memory, served under the policy that the bridge sends. */

const PATH = '/test/browser/pages/chat-fixture.html'
const configFile = new URL('../../vite.config.ts', import.meta.url).pathname
const POLICY =
  "script-src 'self'; style-src 'self'; require-trusted-types-for 'script'; trusted-types lit-html"
const DESKTOP = { width: 1200, height: 800 }
const CLIPBOARD = ['clipboard-read', 'clipboard-write']
export const PHONE = { width: 360, height: 700 }

export interface Visit {
  page: Page
  violations: string[]
  [Symbol.asyncDispose](): Promise<void>
}

/** `query`: what stands behind the `?` of the fixture. */
export type VisitOptions = BrowserContextOptions & { query?: string }

export interface ChatPages {
  visit(options?: VisitOptions): Promise<Visit>
  close(): Promise<void>
}

export async function startChatPages(): Promise<ChatPages> {
  // Bundled once: served as sources, each visit would load all of them one by one.
  const outDir = await mkdtemp(join(tmpdir(), 'chat-ui-'))
  const root = new URL('../..', import.meta.url).pathname
  const input = join(root, PATH)
  await build({
    configFile,
    root,
    logLevel: 'error',
    build: {
      outDir,
      emptyOutDir: true,
      minify: false,
      reportCompressedSize: false,
      rolldownOptions: { input },
    },
  })
  const server = await preview({
    configFile: false,
    root,
    logLevel: 'error',
    appType: 'mpa',
    build: { outDir },
    preview: { host: '127.0.0.1', port: 0, headers: { 'content-security-policy': POLICY } },
  })
  const address = new URL(PATH, server.resolvedUrls!.local[0]!).href
  const browser = await launchChromium()
  return {
    async visit({ query = '', ...options } = {}) {
      const context = await browser.newContext({ viewport: DESKTOP, permissions: CLIPBOARD, ...options })
      context.setDefaultTimeout(10_000)
      const page = await context.newPage()
      const violations: string[] = []
      page.on('console', (entry) => {
        if (/content security policy/i.test(entry.text())) violations.push(entry.text())
      })
      page.on('pageerror', (error) => violations.push(String(error)))
      await page.goto(address + query)
      return { page, violations, [Symbol.asyncDispose]: () => context.close() }
    },
    async close() {
      await browser.close()
      await server.close()
      await rm(outDir, { recursive: true, force: true })
    },
  }
}

/** A first visit as a person does it, by keyboard only. */
export async function enter(page: Page, room = 'lobby'): Promise<void> {
  await page.getByTestId('name-input').fill('Noor')
  await page.keyboard.press('Enter')
  await joinRoom(page, room)
}

export async function joinRoom(page: Page, room: string): Promise<void> {
  await page.getByTestId('room-input').fill(room)
  await page.keyboard.press('Enter')
  await page.getByTestId('history-boundary').waitFor({ state: 'attached' })
}

export const keptPosition = (page: Page, room: string) =>
  page.evaluate((room) => window.fixture.node.pubsub.keptPosition(room, 'chat'), room)

export const own = (page: Page, text: string) => page.getByTestId('message').filter({ hasText: text })

export const receive = (page: Page, room: string, ...texts: string[]) =>
  page.evaluate(
    ([room, texts]) => {
      for (const text of texts) window.fixture.room(room).receive({ kind: 'chat', name: 'Bo', text })
    },
    [room, texts] as const,
  )

/** As when the tab goes to the background and comes back. */
export const setVisibility = (page: Page, state: DocumentVisibilityState): Promise<void> =>
  page.evaluate((state) => {
    Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => state })
    document.dispatchEvent(new Event('visibilitychange'))
  }, state)

/** Waits until the keyboard is where it is expected: the test id, the class or the name of the element. */
export async function expectFocus(page: Page, expected: string): Promise<void> {
  const focused = () =>
    page.evaluate(() => {
      let element = document.activeElement
      while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement
      const { testid, room } = (element as HTMLElement | null)?.dataset ?? {}
      return [testid ?? element?.localName, room].filter(Boolean).join(' ')
    })
  await expect.poll(focused).toBe(expected)
}
