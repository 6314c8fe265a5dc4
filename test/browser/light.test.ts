import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type Bridge, startBridge } from '../../src/bridge/index.ts'
import { smallLibp2p } from '../../src/browser/vite.ts'
import { createNode, type StickyNode } from '../../src/node/index.ts'
import { launchChromium } from '../support/chromium.ts'
import { type FixtureServer, openFixture, serveFixture } from '../support/fixture-page.ts'
import type { LightFixture } from './pages/light.ts'

/** The light node in a real Chromium: with nodes in terminals, with whole tabs, and with other tabs of its own. */

const PATH = '/test/browser/pages/light.html'
const patience = { timeout: 30_000, interval: 50 }

let server: FixtureServer
let browser: Browser
let bridge: Bridge
let holders: StickyNode[]
let origin: string

declare const fixture: LightFixture

const startTheBridge = (port = 0) =>
  startBridge({ seed: new Uint8Array(32).fill(96), port, allowedOrigins: [origin] })

beforeAll(async () => {
  server = await serveFixture(PATH, [smallLibp2p()])
  origin = `http://127.0.0.1:${server.port}`
  bridge = await startTheBridge()
  const { url: bridgeUrl } = bridge
  // one that can be dialled, and one behind the relay
  holders = await Promise.all([createNode({ bridgeUrl }), createNode({ bridgeUrl, listen: [] })])
  browser = await launchChromium()
}, 60_000)

afterAll(async () => {
  await browser?.close()
  await server?.close()
  await Promise.all((holders ?? []).map((holder) => holder.close()))
  await bridge?.close()
})

async function openTab(
  context: BrowserContext,
  kind: 'light' | 'whole' = 'light',
  url = bridge.url,
): Promise<Page> {
  const page = await openFixture(context, origin + PATH)
  await page.evaluate(([at, which]) => fixture.start(at, which), [url, kind] as const)
  await isOnline(page)
  return page
}

const isOnline = (page: Page) =>
  vi.waitFor(async () => expect((await page.evaluate(() => fixture.status())).state).toBe('online'), patience)
const subscribe = (page: Page, topic: string) => page.evaluate((name) => fixture.subscribe(name), topic)
const publish = (page: Page, topic: string, data: string) =>
  page.evaluate(([name, text]) => fixture.publish(name, text), [topic, data] as const)
const hears = (page: Page, topic: string, data: string[]) =>
  vi.waitFor(
    async () => expect(await page.evaluate((name) => fixture.data(name), topic)).toEqual(data),
    patience,
  )
const nodeId = (page: Page) => page.evaluate(() => fixture.nodeId())

describe('a page with a light node', { timeout: 90_000 }, () => {
  it('talks with nodes in terminals, and has the history and its identity after a reload', async () => {
    const context = await browser.newContext()
    const page = await openTab(context)
    const [holder] = holders as [StickyNode]
    const heard: unknown[] = []
    const subscription = await holder.pubsub.subscribe('light', { history: 'all' })
    subscription.on('message', (message) => heard.push(message.data))
    await subscribe(page, 'light')
    expect(await publish(page, 'light', 'from the page')).toBe('stored')
    await vi.waitFor(() => expect(heard).toEqual(['from the page']), patience)
    await holder.pubsub.publish('light', 'from a terminal')
    await hears(page, 'light', ['from the page', 'from a terminal'])
    expect((await page.evaluate(() => fixture.status())).bridge).toBe(true)
    // the second comes to be known, and has no address to be dialled at
    await vi.waitFor(async () => {
      const { peers } = await page.evaluate(() => fixture.status())
      expect(peers.map(({ direct }) => direct).toSorted()).toEqual([false, true])
    }, patience)

    const before = await nodeId(page)
    await page.reload()
    await page.waitForFunction(() => 'fixture' in globalThis)
    await page.evaluate((url) => fixture.start(url, 'light'), bridge.url)
    expect(await nodeId(page)).toBe(before)
    await subscribe(page, 'light')
    await hears(page, 'light', ['from the page', 'from a terminal'])
    expect(await page.evaluate(() => fixture.usesWebRtc())).toBe(false)
    await context.close()
  })

  it('keeps what it could not send over a reload, and sends it', async () => {
    const context = await browser.newContext()
    const page = await openTab(context)
    await bridge.close()
    await vi.waitFor(
      async () => expect((await page.evaluate(() => fixture.status())).bridge).toBe(false),
      patience,
    )
    await page.reload()
    await page.waitForFunction(() => 'fixture' in globalThis)
    await page.evaluate((url) => fixture.start(url, 'light'), bridge.url)
    await page.evaluate(() => fixture.enqueue('kept', 'later'))
    await page.reload()
    await page.waitForFunction(() => 'fixture' in globalThis)
    await page.evaluate((url) => fixture.start(url, 'light'), bridge.url)
    expect(await page.evaluate(() => fixture.waiting())).toBe(1)
    bridge = await startTheBridge(bridge.port)
    await subscribe(page, 'kept').catch(() => undefined) // nobody may be known yet
    await vi.waitFor(async () => expect(await page.evaluate(() => fixture.waiting())).toBe(0), patience)
    const [holder] = holders as [StickyNode]
    const read = await holder.pubsub.history('kept', { limit: 10 })
    expect(read.messages.map(({ data }) => data)).toEqual(['later'])
    await context.close()
  })

  it('shares its node with other tabs, and hands it on when it is closed', async () => {
    const context = await browser.newContext()
    const [first, second] = [await openTab(context), await openTab(context)]
    const role = (page: Page) => page.evaluate(() => fixture.role())
    expect([await role(first), await role(second)]).toEqual(['leader', 'follower'])
    expect(await nodeId(first)).toBe(await nodeId(second))
    for (const page of [first, second]) await subscribe(page, 'shared')
    await publish(first, 'shared', 'one')
    for (const page of [first, second]) await hears(page, 'shared', ['one'])
    await first.close()
    await vi.waitFor(async () => expect(await role(second)).toBe('leader'), patience)
    await isOnline(second)
    await holders[0]?.pubsub.publish('shared', 'two')
    await hears(second, 'shared', ['one', 'two'])
    await context.close()
  })

  it('follows a tab with a whole node, and leads one', async () => {
    const context = await browser.newContext()
    const whole = await openTab(context, 'whole')
    const light = await openTab(context, 'light')
    await subscribe(light, 'mixed')
    await publish(whole, 'mixed', 'one')
    await hears(light, 'mixed', ['one'])
    await whole.close()
    await isOnline(light)
    const other = await openTab(context, 'whole')
    await subscribe(other, 'mixed')
    expect(await publish(other, 'mixed', 'two')).toBe('stored')
    for (const page of [light, other]) await hears(page, 'mixed', ['one', 'two'])
    expect(await other.evaluate(() => fixture.usesWebRtc())).toBe(false)
    await context.close()
  })

  it('reads and writes where nobody but tabs holds anything', async () => {
    await using tabsOnly = await startBridge({
      seed: new Uint8Array(32).fill(95),
      port: 0,
      allowedOrigins: [origin],
    })
    const contexts = await Promise.all([1, 2, 3].map(() => browser.newContext()))
    const [one, two, three] = contexts as [BrowserContext, BrowserContext, BrowserContext]
    const tab = await openTab(one, 'whole', tabsOnly.url)
    await openTab(two, 'whole', tabsOnly.url)
    const light = await openTab(three, 'light', tabsOnly.url)
    await subscribe(light, 'among tabs')
    await subscribe(tab, 'among tabs')
    await vi.waitFor(async () => expect(await publish(light, 'among tabs', 'hello')).toBe('stored'), patience)
    await hears(tab, 'among tabs', ['hello'])
    expect(await publish(tab, 'among tabs', 'and back')).toBe('stored')
    await hears(light, 'among tabs', ['hello', 'and back'])
    const peers = () => light.evaluate(() => fixture.status().peers.map(({ direct }) => direct))
    await vi.waitFor(async () => expect(await peers()).toEqual([false, false]), patience)
    await Promise.all(contexts.map((context) => context.close()))
  })
})
