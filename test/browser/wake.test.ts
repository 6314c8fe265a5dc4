import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Bridge, startBridge } from '../../src/bridge/index.ts'
import { DEFAULT_WAKE_OPTIONS } from '../../src/browser/wake.ts'
import { launchWithVisibility } from '../support/chromium.ts'
import { type FixtureServer, openFixture, serveFixture } from '../support/fixture-page.ts'
import { until } from '../support/memory-nodes.ts'
import { isOnline, type StartOptions, start } from '../support/origin-tabs.ts'
import type { TabsFixture } from './pages/tabs.ts'

/** From which signs a tab takes it that it was away, and from which it does not. The clock of its pages is the test's. */

const PATH = '/test/browser/pages/tabs.html'
const { clockMs, driftMs, gatherMs } = DEFAULT_WAKE_OPTIONS

let server: FixtureServer
let bridge: Bridge
let browser: Browser
/** In which a page is hidden while another one is in front. */
let profile: BrowserContext
let page: Page
let other: Page

declare const fixture: TabsFixture

beforeAll(async () => {
  server = await serveFixture(PATH)
  const origin = `http://127.0.0.1:${server.port}`
  bridge = await startBridge({ seed: new Uint8Array(32).fill(94), port: 0, allowedOrigins: [origin] })
  const launched = await launchWithVisibility()
  browser = launched.browser
  profile = launched.profile
  await profile.clock.install()
  other = await profile.newPage()
}, 60_000)

afterAll(async () => {
  await browser?.close()
  await server?.close()
  await bridge?.close()
})

async function openTab(options: StartOptions = {}): Promise<void> {
  page = await openFixture(profile, `http://127.0.0.1:${server.port}${PATH}`)
  await show()
  await start(page, bridge.url, options)
  await isOnline(page)
}

const resyncs = () => page.evaluate(() => fixture.resyncs())
const isNow = (state: string) => until(() => page.evaluate((is) => document.visibilityState === is, state))

const hide = () => other.bringToFront().then(() => isNow('hidden'))
const show = () => page.bringToFront().then(() => isNow('visible'))
const setOffline = (is: boolean) =>
  profile.setOffline(is).then(() => until(() => page.evaluate((is) => navigator.onLine !== is, is)))
const sleep = (ms: number) => profile.clock.fastForward(ms) // each timer that is due meanwhile runs once
const tell = (event: 'freeze' | 'resume') =>
  page.evaluate((type) => void document.dispatchEvent(new Event(type)), event)
const comeBack = (persisted: boolean) =>
  page.evaluate((is) => void dispatchEvent(new PageTransitionEvent('pageshow', { persisted: is })), persisted)

/** What was a sign until now has led to a resync of its own, which is before this one. */
async function settled(): Promise<void> {
  await profile.clock.runFor(2 * gatherMs)
  await page.evaluate(() => fixture.resync('told'))
}

const cases: { reason: string; not: string; before: () => Promise<unknown>; sign: () => Promise<unknown> }[] =
  [
    { reason: 'visible', not: 'being hidden', before: hide, sign: show },
    { reason: 'resume', not: 'being frozen', before: () => tell('freeze'), sign: () => tell('resume') },
    {
      reason: 'online',
      not: 'being offline',
      before: () => setOffline(true),
      sign: () => setOffline(false),
    },
    {
      reason: 'pageshow',
      not: 'being loaded',
      before: () => comeBack(false),
      sign: () => comeBack(true),
    },
    {
      reason: 'clock',
      not: 'a look at it that comes a little late',
      before: () => sleep(driftMs - 1_000),
      sign: () => sleep(clockMs + driftMs + 1_000),
    },
  ]

describe('a tab reconnects', () => {
  beforeAll(() => openTab(), 60_000)
  afterAll(() => page.close())

  async function expectOnly(reason: string, before: () => Promise<unknown>, sign: () => Promise<unknown>) {
    const earlier = await resyncs()
    await before()
    await settled()
    await sign()
    await until(async () => (await resyncs()).at(-1) !== 'told')
    await settled()
    expect(await resyncs()).toEqual([...earlier, 'told', reason, 'told'])
  }

  it.each(cases)('once, because of "$reason", and not because of $not', ({ reason, before, sign }) =>
    expectOnly(reason, before, sign),
  )

  it('not because its clock stood still while it was hidden, and once when it is shown', () =>
    expectOnly('visible', () => hide().then(() => sleep(clockMs + driftMs + 1_000)), show))
})

describe('a tab with wake: false', () => {
  beforeAll(() => openTab({ wake: false }), 60_000)
  afterAll(() => page.close())

  it.each(cases)('does not because of "$reason", only when it is told to', async ({ before, sign }) => {
    const earlier = await resyncs()
    await before()
    await sign()
    await settled()
    expect(await resyncs()).toEqual([...earlier, 'told'])
  })
})
