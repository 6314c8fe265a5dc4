import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sealSeed } from '../../src/dht/index.ts'
import { launchChromium } from '../support/chromium.ts'
import { LocalNetwork } from '../support/local-network.ts'
import { until } from '../support/memory-nodes.ts'

/** The built chat in a real Chromium, against a bridge and nodes that are processes of their own. */

let network: LocalNetwork
let browser: Browser

beforeAll(async () => {
  network = await LocalNetwork.start({ nodes: 3 })
  browser = await launchChromium()
}, 60_000)

afterAll(async () => {
  await browser?.close()
  await network?.stop()
})

async function openChat(name: string, room: string, context?: BrowserContext): Promise<Page> {
  const page = await (context ?? (await browser.newContext())).newPage()
  await page.goto(`${network.url}/?debug`)
  await page.getByTestId('name-input').fill(name)
  await page.getByTestId('name-submit').click()
  await enterRoom(page, room)
  return page
}

async function enterRoom(page: Page, room: string): Promise<void> {
  await page.getByTestId('room-input').first().fill(room)
  await page.getByTestId('room-submit').first().click()
  await page.getByTestId('history-boundary').or(page.getByTestId('composer-input')).first().waitFor()
  await page.locator('[data-testid="topic-state"][data-sync="synced"]').first().waitFor({ timeout: 20_000 })
}

async function say(page: Page, text: string): Promise<void> {
  await page.getByTestId('composer-input').fill(text)
  await page.getByTestId('composer-input').press('Enter')
  await page
    .locator('[data-testid="message"][data-state="sent"]', { hasText: text })
    .waitFor({ timeout: 20_000 })
}

const sees = (page: Page, text: string) =>
  page.locator('[data-testid="message"]', { hasText: text }).waitFor({ timeout: 20_000 })

const PASSPHRASE = 'correct horse battery'

/** These two run in a page. */
const shownRoom = () =>
  document.querySelector('chat-app')?.shadowRoot?.querySelector<HTMLElement & { room: object }>('chat-room')
    ?.room
const exportIdentity = (passphrase: string) =>
  (window as unknown as DebugWindow).stickyChat.node.exportIdentity(passphrase)

interface ShownRoom {
  shownRoom: typeof shownRoom
}
interface DebugWindow {
  stickyChat: {
    node: {
      exportIdentity(passphrase: string): Promise<string>
      nodeId: string
      pubsub: { outbox(): Promise<unknown[]> }
      status(): { bridge: boolean; peers: { nodeId: string; webrtc: boolean }[] }
    }
  }
}
const nodeIdOf = (page: Page) =>
  page.evaluate(() => (window as unknown as DebugWindow).stickyChat.node.nodeId)
const statusOf = (page: Page) =>
  page.evaluate(() => (window as unknown as DebugWindow).stickyChat.node.status())

/** What its inspector says of the nodes that keep the room, and of the versions that they have. */
async function showsReplicas(page: Page): Promise<void> {
  await page.getByTestId('inspector-toggle').click()
  const durable = page.locator('[data-testid="inspector-node"][data-replica="durable"][data-link="direct"]')
  await durable.nth(2).waitFor({ timeout: 20_000 })
  const nodeIds = await durable.evaluateAll((rows) =>
    (rows as HTMLElement[]).map((row) => row.dataset.nodeId),
  )
  expect(nodeIds.toSorted()).toEqual(network.nodes.map(({ nodeId }) => nodeId).toSorted())
  const self = page.locator('[data-testid="inspector-node"][data-link="self"]')
  expect(await self.getAttribute('data-node-id')).toBe(await nodeIdOf(page))
  const holders = async () =>
    Number(await page.getByTestId('inspector-version').first().getAttribute('data-holders'))
  await until(async () => (await holders()) > 2, 20_000)
  expect(await page.getByTestId('inspector-counters').textContent()).toContain('Requests sent')
}

describe('the chat', () => {
  it('carries messages between two browsers and a terminal, and shows history to a third', async () => {
    const ada = await openChat('Ada', 'lobby')
    const bob = await openChat('Bob', 'lobby')
    await say(ada, 'hello from Ada')
    await sees(bob, 'hello from Ada')
    await say(bob, 'hello from Bob')
    await sees(ada, 'hello from Bob')
    await bob.getByTitle(/^Stored by \d nodes, delivered to 1$/).waitFor({ timeout: 20_000 })
    await network.sticky('pub', 'lobby', 'hello from the terminal', '--as', 'Term')
    await sees(ada, 'hello from the terminal')
    const late = await openChat('Late', 'lobby')
    for (const text of ['hello from Ada', 'hello from Bob', 'hello from the terminal']) await sees(late, text)
    expect(await late.locator('[data-testid="message"]', { hasText: 'hello from Ada' }).count()).toBe(1)
    await late.getByTestId('history-boundary').first().waitFor()
    const { stdout } = await network.sticky('history', 'lobby', '--json')
    const texts = stdout
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { data: { text: string } }).data.text)
    expect(texts).toEqual(['hello from Ada', 'hello from Bob', 'hello from the terminal'])
    await showsReplicas(late)
    for (const page of [ada, bob, late]) await page.context().close()
  }, 90_000)

  it('shares an encrypted room by a link, shows who is here, and keeps what is unread', async () => {
    const context = await browser.newContext({ permissions: ['clipboard-read', 'clipboard-write'] })
    const ada = await openChat('Ada', 'lobby', context)
    await ada.getByTestId('room-passphrase-open').click()
    await ada.getByTestId('room-passphrase').fill('seven words that nobody would ever guess')
    await enterRoom(ada, 'diary')
    await ada.getByTestId('room-lock').waitFor()
    await say(ada, 'dear diary')
    const mark = ada.locator('[data-testid="message"]', { hasText: 'dear diary' }).getByRole('img')
    // it may come back by the topic before its receipt does
    await until(
      async () => /^Stored by \d nodes?(, delivered to \d)?$/.test((await mark.getAttribute('title')) ?? ''),
      20_000,
    )
    await ada.getByTestId('room-share').click()
    await ada.getByTestId('room-shared').waitFor()
    const link = await ada.evaluate(() => navigator.clipboard.readText())

    const bob = await (await browser.newContext()).newPage()
    await bob.goto(link)
    await bob.getByTestId('name-input').fill('Bob')
    await bob.getByTestId('name-submit').click()
    await bob.getByTestId('invitation-join').click()
    await sees(bob, 'dear diary')
    const here = (page: Page) => page.getByTestId('people-item').locator('.name').allTextContents()
    await expect.poll(() => here(ada), { timeout: 20_000 }).toEqual(['Ada', 'Bob'])
    await expect.poll(() => here(bob), { timeout: 20_000 }).toEqual(['Bob', 'Ada'])

    await ada.locator('[data-room=lobby]').click()
    await say(bob, 'while Ada looks elsewhere')
    const badge = ada.locator('[data-room=diary] .badge')
    await expect.poll(() => badge.textContent(), { timeout: 20_000 }).toBe('1 unread')
    await ada.reload()
    await expect.poll(() => badge.textContent(), { timeout: 20_000 }).toBe('1 unread')
    await ada.locator('[data-room=diary]').click()
    for (const text of ['dear diary', 'while Ada looks elsewhere']) await sees(ada, text)
    expect(await ada.getByTestId('message').count()).toBe(2)
    expect((await network.sticky('history', 'diary', '--json')).stdout).toBe('')
    for (const page of [ada, bob]) await page.context().close()
  }, 90_000)

  it('keeps its identity and rooms over a reload', async () => {
    const page = await openChat('Ada', 'reload')
    await say(page, 'before the reload')
    const before = await nodeIdOf(page)
    await page.reload()
    await sees(page, 'before the reload')
    expect(await nodeIdOf(page)).toBe(before)
    const asMarkup = () => {
      document.body.append(Object.assign(document.createElement('div'), { innerHTML: '<b>bold</b>' }))
    }
    await expect(page.evaluate(asMarkup)).rejects.toThrow('TrustedHTML') // the bridge's policy
    const other = await openChat('Eve', 'reload')
    expect(await nodeIdOf(other)).not.toBe(before)
    for (const opened of [page, other]) await opened.context().close()
  }, 60_000)

  it('is another person in all tabs when one restores another identity, and keeps what is half typed', async () => {
    const context = await browser.newContext()
    const one = await openChat('Ada', 'person', context)
    const two = await context.newPage()
    await two.goto(`${network.url}/?debug`)
    await say(two, 'before')
    const before = await nodeIdOf(two)
    await two.getByTestId('composer-input').fill('half a sentence')
    const nothingWaits = () =>
      one.evaluate(
        async () => (await (window as unknown as DebugWindow).stickyChat.node.pubsub.outbox()).length === 0,
      )
    const restore = async (backup: string) => {
      await until(nothingWaits, 20_000) // it is shown as sent before its receipt comes
      await one.bringToFront()
      await one.getByTestId('identity-open').click()
      const file = { name: 'backup.txt', mimeType: 'text/plain', buffer: Buffer.from(backup) }
      await one.getByTestId('import-file').setInputFiles(file)
      await one.getByTestId('import-passphrase').fill(PASSPHRASE)
      await one.getByTestId('import-submit').click()
      await one.getByText('Identity restored').waitFor()
      return one.getByTestId('node-id')
    }
    // the same one again: the node starts anew, and nothing is taken from the page
    const model = await two.evaluateHandle(shownRoom)
    const isSameModel = () =>
      two.evaluate((then) => then === (window as unknown as ShownRoom).shownRoom(), model)
    await two.evaluate(`window.shownRoom = ${shownRoom}`)
    const shownId = await restore(await one.evaluate(exportIdentity, PASSPHRASE))
    await one.keyboard.press('Escape')
    await say(one, 'as the same')
    await sees(two, 'as the same')
    expect(await isSameModel()).toBe(true)
    expect(await shownId.textContent()).toBe(before)

    await restore(await sealSeed(crypto.getRandomValues(new Uint8Array(32)), PASSPHRASE))
    for (const page of [one, two]) await until(async () => (await nodeIdOf(page)) !== before, 20_000)
    await expect.poll(() => shownId.textContent()).toBe(await nodeIdOf(two))
    await one.keyboard.press('Escape')
    await expect.poll(isSameModel).toBe(false)
    expect(await two.getByTestId('composer-input').inputValue()).toBe('half a sentence')
    await sees(two, 'as the same')
    for (const page of [one, two]) {
      await page.bringToFront()
      const text = `after, of ${page === one ? 'one' : 'two'}`
      await say(page, text)
      for (const each of [one, two]) {
        await sees(each, text)
        // what comes twice comes by the topic and by the receipt
        await each.locator('[data-testid="message"]', { hasText: text }).getByRole('img').waitFor()
        expect(await each.locator('[data-testid="message"]', { hasText: text }).count()).toBe(1)
      }
    }
    await context.close()
  }, 90_000)

  it('goes on between tabs, connected directly, when the bridge is killed', async () => {
    const ada = await openChat('Ada', 'mesh')
    const bob = await openChat('Bob', 'mesh')
    const [adaId, bobId] = [await nodeIdOf(ada), await nodeIdOf(bob)]
    await say(ada, 'with the bridge')
    await sees(bob, 'with the bridge')
    const direct = async (page: Page, other: string) =>
      (await statusOf(page)).peers.some((peer) => peer.nodeId === other && peer.webrtc)
    await until(
      () => direct(ada, bobId),
      60_000,
      () => 'no direct WebRTC connection between the tabs',
    )
    await until(() => direct(bob, adaId), 60_000)
    await network.killBridge()
    await until(async () => !(await statusOf(ada)).bridge && !(await statusOf(bob)).bridge, 20_000)
    await say(ada, 'without the bridge, from Ada')
    await sees(bob, 'without the bridge, from Ada')
    await say(bob, 'without the bridge, from Bob')
    await sees(ada, 'without the bridge, from Bob')
    for (const page of [ada, bob]) await page.context().close()
  }, 150_000)
})
