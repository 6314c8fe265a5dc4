import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Bridge, startBridge } from '../../src/bridge/index.ts'
import { sealSeed } from '../../src/dht/index.ts'
import { createNode, type StickyNode } from '../../src/node/index.ts'
import { launchChromium } from '../support/chromium.ts'
import { type FixtureServer, openFixture, serveFixture } from '../support/fixture-page.ts'
import { until } from '../support/memory-nodes.ts'
import {
  hasAll,
  isOnline,
  nodeId,
  publish,
  role,
  type StartOptions,
  start,
  statusOf,
  subscribe,
} from '../support/origin-tabs.ts'
import type { TabsFixture } from './pages/tabs.ts'

/** Tabs of an origin whose data are taken away under them, or whose page has changed meanwhile. */

const PATH = '/test/browser/pages/tabs.html'

let server: FixtureServer
let browser: Browser
let bridge: Bridge
let holders: StickyNode[]
let origin: string

declare const fixture: TabsFixture

beforeAll(async () => {
  server = await serveFixture(PATH)
  origin = `http://127.0.0.1:${server.port}`
  bridge = await startBridge({ seed: new Uint8Array(32).fill(97), port: 0, allowedOrigins: [origin] })
  holders = await Promise.all([1, 2].map(() => createNode({ bridgeUrl: bridge.url })))
  browser = await launchChromium()
}, 60_000)

afterAll(async () => {
  await browser?.close()
  await server?.close()
  await Promise.all((holders ?? []).map((holder) => holder.close()))
  await bridge?.close()
})

async function openTab(context: BrowserContext, options: StartOptions = {}): Promise<Page> {
  const page = await openFixture(context, origin + PATH)
  await start(page, bridge.url, options)
  return page
}

const clearRecords = (page: Page) =>
  page.evaluate(
    (name) =>
      new Promise((resolve, reject) => {
        const request = indexedDB.deleteDatabase(name)
        request.onsuccess = resolve
        request.onerror = () => reject(request.error)
      }).then(() => undefined),
    'sticky-pubsub-records',
  )

interface OtherVersion {
  otherVersion: { asked: number; isSilent: boolean; isRobbed: boolean }
}

/** Runs in a page: takes the lead, and answers who asks, as a page does that speaks another version. */
async function leadAsAnotherVersion(): Promise<void> {
  const other = { asked: 0, isSilent: false, isRobbed: false }
  Object.assign(globalThis, { otherVersion: other })
  const channel = new BroadcastChannel('sticky-pubsub/tabs')
  const announce = () => channel.postMessage({ v: 99, type: 'leads', term: 'other', ready: true })
  await new Promise<void>((resolve) => {
    const hold = () => {
      resolve()
      return new Promise(() => undefined)
    }
    navigator.locks.request('sticky-pubsub/leader', { steal: true }, hold).catch(() => {
      other.isRobbed = true
    })
  })
  channel.onmessage = ({ data }) => {
    if (data.type !== 'who' || other.isSilent) return
    other.asked += 1
    announce()
  }
  announce()
}

/** Runs in a page: gives what is said next by another one. */
function sayItLeads(): Promise<unknown> {
  const channel = new BroadcastChannel('sticky-pubsub/tabs')
  channel.postMessage({ v: 99, type: 'leads', term: 'other', ready: true })
  return new Promise((resolve) => {
    channel.onmessage = ({ data }) => {
      channel.close()
      resolve(data.type)
    }
  })
}

/** Runs in a page. */
function askWhoLeads(): Promise<unknown> {
  const channel = new BroadcastChannel('sticky-pubsub/tabs')
  channel.postMessage({ v: 99, type: 'who' })
  return new Promise((resolve) => {
    channel.onmessage = ({ data }) => {
      if (data.type !== 'leads') return
      channel.close()
      resolve(data)
    }
  })
}

describe('a tab', () => {
  it('whose data are cleared starts anew in place: the tabs go on with what others keep', async () => {
    await using context = await browser.newContext()
    const leader = await openTab(context, { tabs: { restartMs: 1 } })
    const follower = await openTab(context)
    const before = await nodeId(leader)
    for (const page of [leader, follower]) await subscribe(page, 'cleared')
    expect(await publish(follower, 'cleared', 'kept by others')).toBe('ok')
    await clearRecords(follower)
    expect(await publish(follower, 'cleared', 'after')).toBe('ok')
    expect(await publish(leader, 'cleared', 'after too')).toBe('ok')
    for (const page of [leader, follower])
      await hasAll(page, 'cleared', ['kept by others', 'after', 'after too'])
    expect(await Promise.all([leader, follower].map(role))).toEqual(['leader', 'follower'])
    expect(await nodeId(follower)).toBe(before)
    expect((await statusOf(follower)).storageProblem).toBeUndefined()
  }, 60_000)

  it('goes on as somebody else when the browser clears all that it has', async () => {
    await using context = await browser.newContext()
    const tabs = [await openTab(context, { tabs: { restartMs: 1 } }), await openTab(context)]
    const before = await nodeId(tabs[0] as Page)
    for (const page of tabs) await subscribe(page, 'all cleared')
    const session = await context.newCDPSession(tabs[1] as Page)
    await session.send('Storage.clearDataForOrigin', { origin, storageTypes: 'indexeddb' })
    for (const page of tabs) await until(async () => (await nodeId(page)) !== before, 20_000)
    for (const page of tabs) expect(await publish(page, 'all cleared', 'after')).toBe('ok')
    for (const page of tabs) await hasAll(page, 'all cleared', ['after', 'after'])
  }, 60_000)

  it('whose data do not last lets another one lead, and says why when there is none', async () => {
    await using context = await browser.newContext()
    const leader = await openTab(context, { tabs: { restartMs: 60_000 } })
    const follower = await openTab(context, { tabs: { restartMs: 5_000 } })
    await clearRecords(leader)
    await until(async () => (await role(follower)) === 'leader', 20_000)
    await until(async () => (await role(leader)) === 'follower')
    expect(await publish(leader, 'let go', 'through the other')).toBe('ok')
    await leader.close()
    // one that started longer ago than `restartMs` starts anew in silence, and is asked again
    const isSaid = async () => (await statusOf(follower)).problem?.code === 'STORAGE_FAILED'
    for (let attempt = 0; attempt < 4 && !(await isSaid()); attempt += 1) {
      await clearRecords(follower)
      await until(isSaid, 3_000).catch(() => undefined)
    }
    expect((await statusOf(follower)).problem?.message).toContain('were cleared')
    await isOnline(follower)
    expect(await publish(follower, 'let go', 'after the pause')).toBe('ok')
  }, 60_000)

  it('keeps what waits with the identity that enqueued it, and sends it once that is restored', async () => {
    await using context = await browser.newContext()
    const page = await openFixture(context, origin + PATH)
    const own = await startBridge({ seed: new Uint8Array(32).fill(96), port: 0, allowedOrigins: [origin] })
    await own.close() // nobody is there yet
    await start(page, own.url)
    const before = await nodeId(page)
    expect(await page.evaluate(() => fixture.enqueue('left behind', 'of the first'))).toBe('queued')
    const backup = await page.evaluate(() => fixture.export())
    const other = await sealSeed(new Uint8Array(32).fill(95), 'correct horse')
    const restore = (text: string) => page.evaluate((text) => fixture.import(text), text)
    expect(await restore(other)).toBe('ok')
    await until(async () => (await nodeId(page)) !== before)
    await using again = await startBridge({
      seed: new Uint8Array(32).fill(96),
      port: own.port,
      allowedOrigins: [origin],
    })
    await using second = await createNode({ bridgeUrl: again.url })
    await isOnline(page)
    expect(await publish(page, 'left behind', 'of the other')).toBe('ok')
    expect(await restore(backup)).toBe('ok')
    const sent = async () => (await second.pubsub.history('left behind')).messages.map(({ data }) => data)
    await until(async () => (await sent()).length === 2, 20_000)
    expect(await sent()).toEqual(['of the other', 'of the first'])
    expect(await nodeId(page)).toBe(before)
  }, 60_000)

  it('goes on with its leader when a page of another version was wrong to say that it leads', async () => {
    await using context = await browser.newContext()
    const [leader, follower] = [await openTab(context), await openTab(context)]
    await isOnline(follower)
    await subscribe(follower, 'doubt')
    const other = await openFixture(context, origin + PATH)
    expect(await other.evaluate(sayItLeads)).toBe('who') // the follower makes sure
    expect(await publish(follower, 'doubt', 'still there')).toBe('ok')
    await hasAll(follower, 'doubt', ['still there'])
    expect((await statusOf(follower)).problem).toBeUndefined()
    expect(await Promise.all([leader, follower].map(role))).toEqual(['leader', 'follower'])
  }, 60_000)

  it('of another version of the page is not followed and not robbed while it answers', async () => {
    await using context = await browser.newContext()
    const impatient = { tabs: { heartbeatMs: 100, maxMissedHeartbeats: 30 } }
    const tab = await openTab(context, impatient)
    const other = await openFixture(context, origin + PATH)
    const problem = async () => (await statusOf(tab)).problem?.code
    // one that leads tells also those who cannot follow
    expect(await other.evaluate(askWhoLeads)).toMatchObject({ v: 1, type: 'leads' })
    await isOnline(tab)
    await other.evaluate(leadAsAnotherVersion)
    await until(async () => (await problem()) === 'UNKNOWN_VERSION')
    expect(await publish(tab, 'versions', 'to nobody')).toContain('another version')
    const late = await openFixture(context, origin + PATH)
    const refused = await late.evaluate((url) => fixture.start(url), bridge.url)
    expect(refused).toBe('UNKNOWN_VERSION')
    // more questions than may go without an answer
    const asked = () => other.evaluate(() => (globalThis as unknown as OtherVersion).otherVersion.asked)
    const before = await asked()
    await until(async () => (await asked()) > before + 31, 20_000)
    const isRobbed = () => other.evaluate(() => (globalThis as unknown as OtherVersion).otherVersion.isRobbed)
    expect([await role(tab), await problem(), await isRobbed()]).toEqual([
      'follower',
      'UNKNOWN_VERSION',
      false,
    ])
    // one that does not answer any more is frozen, whatever its version
    await other.evaluate(() => {
      ;(globalThis as unknown as OtherVersion).otherVersion.isSilent = true
    })
    await until(async () => (await role(tab)) === 'leader', 20_000)
    await isOnline(tab)
    expect([await publish(tab, 'versions', 'to all'), await isRobbed()]).toEqual(['ok', true])
  }, 60_000)

  it('for which its leader has no place is told so, and goes on when one is free', async () => {
    await using context = await browser.newContext()
    const withPlaces = (maxTabs: number) => openTab(context, { tabs: { maxTabs, heartbeatMs: 100 } })
    const [first, second, third] = [await withPlaces(3), await withPlaces(1), await withPlaces(2)]
    const late = await openFixture(context, origin + PATH)
    const tryLate = () => late.evaluate((url) => fixture.start(url), bridge.url)
    expect(await tryLate()).toBe('BUSY')
    await first.close()
    await until(async () => (await role(second)) === 'leader', 20_000)
    const problem = async () => (await statusOf(third)).problem
    await until(async () => (await problem())?.code === 'BUSY', 20_000)
    expect((await problem())?.message).toContain('Close one')
    expect(await publish(third, 'places', 'to nobody')).toContain('Close one')
    await second.close()
    await until(async () => (await role(third)) === 'leader', 20_000)
    expect(await publish(third, 'places', 'there again')).toBe('ok')
    expect(await problem()).toBeUndefined()
    expect(await tryLate()).toBe('ok')
  }, 60_000)
})
