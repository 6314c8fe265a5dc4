import { randomBytes } from 'node:crypto'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Bridge, startBridge } from '../../src/bridge/index.ts'
import { createNode, type StickyNode } from '../../src/node/index.ts'
import { launchWithVisibility } from '../support/chromium.ts'
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
  state,
  subscribe,
  texts,
} from '../support/origin-tabs.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'
import type { TabsFixture } from './pages/tabs.ts'

/** One node for all tabs of an origin, in a real Chromium: hand-over, crash, offline start, sleep. */

const PATH = '/test/browser/pages/tabs.html'

let server: FixtureServer
let browser: Browser
/** In which pages can be hidden and frozen. */
let profile: BrowserContext
let bridge: Bridge
let holders: StickyNode[]
let origin: string

declare const fixture: TabsFixture

const startTheBridge = (port = 0) =>
  startBridge({ seed: new Uint8Array(32).fill(98), port, allowedOrigins: [origin] })

beforeAll(async () => {
  server = await serveFixture(PATH)
  origin = `http://127.0.0.1:${server.port}`
  bridge = await startTheBridge()
  holders = await Promise.all([1, 2].map(() => createNode({ bridgeUrl: bridge.url })))
  const launched = await launchWithVisibility()
  browser = launched.browser
  profile = launched.profile
}, 60_000)

afterAll(async () => {
  await browser?.close()
  await server?.close()
  await Promise.all((holders ?? []).map((holder) => holder.close()))
  await bridge?.close()
})

async function openTab(
  context: BrowserContext,
  options: StartOptions = {},
  bridgeUrl = bridge.url,
): Promise<Page> {
  const page = await openFixture(context, origin + PATH)
  await start(page, bridgeUrl, options)
  return page
}

/** Says numbers from a terminal's node until `during` has ended; gives what was said. */
async function whileTalking(topic: string, during: () => Promise<void>): Promise<string[]> {
  const said: string[] = []
  let isOver = false
  const talking = (async () => {
    for (let n = 0; !isOver || n < 20; n++) {
      await holders[0]?.pubsub.publish(topic, `${n}`)
      said.push(`${n}`)
    }
  })()
  await until(() => said.length >= 5)
  await during()
  isOver = true
  await talking
  return said
}

/** A hidden page stays frozen as long as the session that did it. Gives what thaws it. */
async function freeze(page: Page): Promise<() => Promise<void>> {
  const session = await page.context().newCDPSession(page)
  await session.send('Page.setWebLifecycleState', { state: 'frozen' })
  return async () => {
    await session.send('Page.setWebLifecycleState', { state: 'active' })
    await session.detach()
  }
}

/**
 * As a browser does it: never in the middle of a transaction, for which those of `other`, a page of the same origin, would
 * wait.
 */
async function freezeBetweenWrites(page: Page, other: Page): Promise<() => Promise<void>> {
  for (;;) {
    const thaw = await freeze(page)
    if (await other.evaluate(canWrite, 'sticky-pubsub-records')) return thaw
    await thaw()
  }
}

/** Runs in a page: whether a transaction that writes begins and ends within half a second. */
function canWrite(name: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(name)
    opening.onerror = () => reject(opening.error)
    opening.onsuccess = () => {
      const database = opening.result
      const answer = (can: boolean) => {
        database.close()
        resolve(can)
      }
      setTimeout(() => answer(false), 500)
      const transaction = database.transaction([...database.objectStoreNames], 'readwrite')
      transaction.oncomplete = () => answer(true)
    }
  })
}

/** A user who answers when the page asks to keep its data, which headless Chromium refuses by itself. Tells how often it did. */
async function answering(context: BrowserContext, isYes: boolean): Promise<() => number> {
  let asked = 0
  await context.exposeFunction('askUser', async () => {
    asked++
    if (!isYes) return
    const session = await context.newCDPSession(context.pages()[0] as Page)
    const { targetInfo } = await session.send('Target.getTargetInfo')
    const { browserContextId } = targetInfo
    const permissions: 'durableStorage'[] = ['durableStorage']
    await session.send('Browser.grantPermissions', {
      origin,
      permissions,
      ...(browserContextId ? { browserContextId } : {}),
    })
  })
  await context.addInitScript(() => {
    const { askUser } = globalThis as unknown as { askUser(): Promise<void> }
    const { storage } = navigator
    const persist = storage.persist.bind(storage)
    storage.persist = () => askUser().then(persist)
  })
  return () => asked
}

const incompressible = () => randomBytes(75_000).toString('base64')

async function crash(page: Page): Promise<void> {
  const crashed = page.waitForEvent('crash')
  const session = await page.context().newCDPSession(page)
  session.send('Page.crash').catch(() => undefined) // nobody is left to answer
  await crashed
}

describe('tabs of one origin', () => {
  let context: BrowserContext
  let id: string
  let first: Page
  let second: Page
  let third: Page

  beforeAll(async () => {
    context = await browser.newContext()
    first = await openTab(context)
    second = await openTab(context)
    id = await nodeId(first)
    await isOnline(second)
  }, 60_000)
  afterAll(() => context?.close())

  it('are one node: one leads, both hear everything once, and both publish', async () => {
    for (const page of [first, second]) await subscribe(page, 'pair')
    expect(await Promise.all([first, second].map(role))).toEqual(['leader', 'follower'])
    expect(await nodeId(second)).toBe(id)
    expect(await publish(first, 'pair', 'from the leader')).toBe('ok')
    expect(await publish(second, 'pair', 'from the follower')).toBe('ok')
    await holders[0]?.pubsub.publish('pair', 'from a node')
    const all = ['from the leader', 'from the follower', 'from a node']
    for (const page of [first, second]) await hasAll(page, 'pair', all)
    const page = await holders[0]?.pubsub.history('pair')
    expect(page?.messages.map(({ publisher }) => publisher === id)).toEqual([true, true, false])
    expect(await second.evaluate(() => fixture.subscribers('pair'))).toEqual([id])
  }, 60_000)

  it('tell of the one node that they are, and how it is connected', async () => {
    for (const page of [first, second]) {
      const { node, peers, storage, stages } = await page.evaluate(() => fixture.diagnostics())
      expect(node).toMatchObject({ nodeId: id, stores: true, durable: false })
      expect(peers.direct).toBeGreaterThan(0)
      expect(storage.persistent).toBe(true)
      expect(storage.written).toBeGreaterThan(0)
      expect(stages.disk.count).toBeGreaterThanOrEqual(storage.written)
    }
  }, 60_000)

  it('are one subscriber, which stays until the last tab has left the topic', async () => {
    await first.evaluate(() => fixture.unsubscribe('pair'))
    await holders[0]?.pubsub.publish('pair', 'to those who stayed')
    await until(async () => (await texts(second, 'pair')).length === 4)
    expect(await texts(first, 'pair')).toHaveLength(3)
    expect(await second.evaluate(() => fixture.subscribers('pair'))).toEqual([id])
    await second.evaluate(() => fixture.unsubscribe('pair'))
    await until(async () => (await second.evaluate(() => fixture.subscribers('pair'))).length === 0)
  }, 60_000)

  it('hand over when the leader is closed while messages flow: nothing is lost, nothing comes twice', async () => {
    await subscribe(second, 'closing')
    const said = await whileTalking('closing', async () => {
      await first.close()
      await until(async () => (await role(second)) === 'leader')
      await isOnline(second)
    })
    await hasAll(second, 'closing', said)
    expect(await nodeId(second)).toBe(id)
    expect(await publish(second, 'closing', 'after')).toBe('ok')
  }, 60_000)

  it('hand over when the leader crashes while messages flow', async () => {
    third = await openTab(context)
    expect(await role(third)).toBe('follower')
    await subscribe(third, 'crash')
    const enqueue = (data: string) => third.evaluate((text) => fixture.enqueue('enqueued', text), data)
    const said = await whileTalking('crash', async () => {
      const enqueuing = ['a', 'b', 'c'].map(enqueue)
      await crash(second)
      await Promise.all([...enqueuing, enqueue('d')])
      await until(async () => (await role(third)) === 'leader')
      await isOnline(third)
    })
    await hasAll(third, 'crash', said)
    expect(await nodeId(third)).toBe(id)
    const stored = () => third.evaluate(() => fixture.history('enqueued'))
    await until(async () => (await stored()).length >= 4, 20_000)
    expect((await stored()).toSorted()).toEqual(['a', 'b', 'c', 'd'])
    await second.close()
  }, 60_000)

  it('are noticed when they are gone: what they had at the leader is closed', async () => {
    const follower = await openTab(context)
    expect(await role(follower)).toBe('follower')
    await follower.evaluate(() => fixture.subscribe('gone', 'here'))
    const watching = await (holders[0] as StickyNode).pubsub.subscribe('gone')
    await until(() => watching.present.some(({ nodeId }) => nodeId === id), 20_000)
    await follower.close()
    await until(() => watching.present.length === 0, 20_000)
    await watching.close()
  }, 60_000)

  it('tell what the browser gives of its disk', async () => {
    const { persisted, usedBytes, quotaBytes } = await third.evaluate(() => fixture.storage())
    expect(typeof persisted).toBe('boolean')
    expect(usedBytes).toBeGreaterThan(0)
    expect(quotaBytes).toBeGreaterThan(usedBytes)
  }, 60_000)

  it('are another node for another profile, until it imports the identity: then at once, in all its tabs', async () => {
    await using other = await browser.newContext()
    const [one, two] = [await openTab(other), await openTab(other)]
    expect(await nodeId(one)).not.toBe(id)
    expect(await nodeId(two)).toBe(await nodeId(one))
    const backup = await third.evaluate(() => fixture.export())
    expect(await two.evaluate((text) => fixture.import(text), backup)).toBe('ok')
    for (const page of [one, two]) await until(async () => (await nodeId(page)) === id)
  }, 60_000)
})

describe('a tab', () => {
  it('starts with the bridge down, publishes, and joins when the bridge comes: delivered once', async () => {
    await using context = await browser.newContext()
    const { port } = bridge
    await bridge.close()
    const page = await openTab(context)
    await until(async () => (await state(page)) === 'offline')
    const { problem } = await page.evaluate(() => fixture.status())
    expect(problem?.code).toBe('UNREACHABLE')
    expect(await page.evaluate(() => fixture.enqueue('offline', 'written offline'))).toBe('queued')
    expect(await page.evaluate(() => fixture.receipts('written offline'))).not.toContain('stored')
    bridge = await startTheBridge(port)
    await page.evaluate(() => fixture.resync('test'))
    await until(
      async () => (await page.evaluate(() => fixture.receipts('written offline'))).at(-1) === 'stored',
      20_000,
    )
    await isOnline(page)
    const heard: unknown[] = []
    const subscription = await holders[1]?.pubsub.subscribe('offline')
    subscription?.on('message', ({ data }) => heard.push(data))
    await until(() => heard.length > 0, 20_000)
    await publish(page, 'offline', 'written online')
    await until(() => heard.length > 1, 20_000)
    expect(heard).toEqual(['written offline', 'written online'])
  }, 60_000)

  it('tells that nothing more can be stored, while that is so', async () => {
    await using context = await browser.newContext()
    const page = await openFixture(context, origin + PATH)
    const session = await context.newCDPSession(page)
    await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 500_000 })
    await start(page, bridge.url)
    const problem = async () => (await page.evaluate(() => fixture.status())).storageProblem?.code
    await until(async () => {
      await publish(page, 'full', incompressible())
      return (await problem()) === 'STORAGE_FULL'
    }, 30_000)
    await session.send('Storage.overrideQuotaForOrigin', { origin })
    await until(async () => {
      await publish(page, 'full', incompressible())
      return (await problem()) === undefined
    }, 30_000)
  }, 60_000)

  it.each([
    { name: 'asks to keep its data, and shows the yes', isYes: true, options: {}, asked: 1 },
    { name: 'asks to keep its data, and shows the no', isYes: false, options: {}, asked: 1 },
    { name: 'does not ask with persist: false', isYes: true, options: { persist: false }, asked: 0 },
  ])(
    '$name',
    async ({ isYes, options, asked }) => {
      await using context = await browser.newContext()
      const times = await answering(context, isYes)
      const page = await openTab(context, options)
      await isOnline(page)
      for (const text of ['one', 'two']) expect(await publish(page, 'kept', text)).toBe('ok')
      const mayStay = async () => (await page.evaluate(() => fixture.storage())).persisted
      await until(async () => (await mayStay()) === (isYes && asked > 0))
      expect(times()).toBe(asked)
    },
    60_000,
  )

  it('that is frozen is followed no longer by one that is seen, and follows when it thaws', async () => {
    const leader = await openTab(profile)
    const impatient = await openTab(profile, { tabs: { heartbeatMs: 200, maxMissedHeartbeats: 15 } })
    expect(await role(impatient)).toBe('follower')
    await impatient.bringToFront()
    await subscribe(impatient, 'frozen leader')
    const thaw = await freezeBetweenWrites(leader, impatient)
    await until(async () => (await role(impatient)) === 'leader', 20_000)
    expect(await publish(impatient, 'frozen leader', 'without the frozen one')).toBe('ok')
    await hasAll(impatient, 'frozen leader', ['without the frozen one'])
    await thaw()
    await until(async () => (await role(leader)) === 'follower')
    expect(await publish(leader, 'frozen leader', 'through the other')).toBe('ok')
    await hasAll(impatient, 'frozen leader', ['without the frozen one', 'through the other'])
    for (const page of [leader, impatient]) await page.close()
  }, 60_000)

  it('that was frozen, and whose sockets died meanwhile, has what it missed and what comes after', async () => {
    await using own = await startTheBridge()
    const proxy = await startTcpProxy(own.port)
    // reachable through the bridge only, so that all of the tab's traffic is on the sockets that die
    await using holder = await createNode({ bridgeUrl: own.url, listen: [] })
    await using second = await createNode({ bridgeUrl: own.url, listen: [] })
    await until(async () => (await second.knownHolders()) === 2, 20_000)
    const page = await openTab(profile, {}, `http://127.0.0.1:${proxy.port}`)
    await isOnline(page)
    await subscribe(page, 'sleep')
    await holder.pubsub.publish('sleep', 'before')
    await until(async () => (await texts(page, 'sleep')).length === 1, 20_000)
    expect((await page.evaluate(() => fixture.status())).lastResync).toBeUndefined()
    const other = await profile.newPage()
    await other.bringToFront()
    const thaw = await freeze(page)
    proxy.stallStanding()
    for (const text of ['missed 1', 'missed 2']) await holder.pubsub.publish('sleep', text)
    await thaw()
    await until(async () => (await texts(page, 'sleep')).length === 3, 20_000)
    expect((await page.evaluate(() => fixture.status())).lastResync?.reason).toBe('resume')
    await holder.pubsub.publish('sleep', 'after')
    await hasAll(page, 'sleep', ['before', 'missed 1', 'missed 2', 'after'])
    for (const opened of [page, other]) await opened.close()
    await proxy.close()
  }, 60_000)
})
