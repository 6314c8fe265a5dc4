import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import type { Browser, Page } from 'playwright-core'
import type { AdmissionFixture } from '../browser/pages/admission.ts'
import type { BenchFixture } from '../browser/pages/bench.ts'
import { bundle } from '../support/bundle.ts'
import { launchChromium } from '../support/chromium.ts'
import { LocalNetwork } from '../support/local-network.ts'
import { until } from '../support/memory-nodes.ts'
import { openTab } from '../support/tabs.ts'
import { chosenSections } from './sections.ts'
import { Results } from './statistics.ts'

const HELP = `npm run bench:browser -- [options]

Tabs of a headless Chromium on this machine, a bridge, and for most of it three nodes with disks as processes of their own.

  --only NAMES  some of dials,message,start,memory,scroll,idle, separated by commas
  --quick       little of everything: shows that it works, not what it measures
  --json FILE   also write the numbers there
  --help
`
const SECTIONS = ['dials', 'message', 'start', 'memory', 'scroll', 'idle']

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: SECTIONS.join(',') },
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})
const only = chosenSections(values, SECTIONS, HELP)
const sizes = values.quick
  ? { dials: 10, messages: 20, starts: 2, kept: 500, idleTabs: 3, idleMinutes: 2, minuteMs: 5_000 }
  : { dials: 100, messages: 200, starts: 5, kept: 10_000, idleTabs: 8, idleMinutes: 6, minuteMs: 60_000 }
/** Messages on their way at the same time while the topic for `memory` is filled. */
const BATCH = 250
const SOON_MS = 120_000
const SCROLL_PX = 200
/** A frame and a half at 60 a second: at least one was left out. */
const LATE_FRAME_MS = 25

const results = new Results()
const network = await LocalNetwork.start({ nodes: 3 })
const browser = await launchChromium()
try {
  const runs: Record<string, () => Promise<void>> = { dials, message, start, memory, scroll, idle }
  for (const [name, run] of Object.entries(runs)) {
    if (!only.has(name)) continue
    process.stderr.write(`${name} …\n`)
    await run()
    for (const context of browser.contexts()) await context.close()
  }
} finally {
  await browser.close()
  await network.stop()
}
process.stdout.write(`${results.table()}\n`)
if (values.json !== undefined)
  await writeFile(values.json, `${JSON.stringify({ results: results.list }, undefined, 2)}\n`)

declare const fixture: AdmissionFixture & BenchFixture

interface Opened {
  page: Page
  joinedMs: number
}

async function openNode(from: Browser, script: string): Promise<Opened> {
  const page = await openTab(from, network.url, script)
  return { page, joinedMs: await page.evaluate((url) => fixture.start(url), network.url) }
}

async function openNodes(count: number): Promise<Page[]> {
  const script = await bundle('test/browser/pages/bench.ts')
  const pages: Page[] = []
  while (pages.length < count) pages.push((await openNode(browser, script)).page)
  const areConnected = async () =>
    (await Promise.all(pages.map((page) => page.evaluate(() => fixture.directPeers())))).every(
      (peers) => peers >= count - 1,
    )
  await until(areConnected, SOON_MS)
  return pages
}

/** One tab dials another by WebRTC through the relay, again and again. */
async function dials(): Promise<void> {
  const script = await bundle('test/browser/pages/admission.ts')
  const { relay } = (await (await fetch(new URL('/bootstrap', network.url))).json()) as { relay: string }
  const pages = [await openTab(browser, network.url, script), await openTab(browser, network.url, script)]
  for (const [i, page] of pages.entries())
    await page.evaluate(
      async ([url, address, seed]) => {
        await fixture.enter(url, seed, true)
        await fixture.connect(address, seed)
      },
      [network.url, relay, i + 1] as const,
    )
  const [from, to] = pages as [Page, Page]
  const address = await until(() => to.evaluate(() => fixture.webRtcAddresses()[0]), SOON_MS)
  const args = [address as string, sizes.dials] as const
  const { ms, failures } = await from.evaluate(([target, count]) => fixture.dialInTurn(target, count), args)
  const section = `${sizes.dials} dials from one tab to another, one after the other`
  results.add(section, 'failed', failures.length, '')
  if (failures.length > 0)
    process.stderr.write(`  the first that failed: ${failures.slice(0, 9).join('; ')}\n`)
  if (ms.length > 0) results.durations(section, 'dial and first answer', ms)
  for (const page of pages) await page.evaluate(() => fixture.stop())
}

/** One says something, the other shows it. */
async function message(): Promise<void> {
  const [from, to] = (await openNodes(2)) as [Page, Page]
  for (const page of [from, to]) await page.evaluate(() => fixture.subscribe('message'))
  for (let i = 0; i < sizes.messages; i++) await from.evaluate(() => fixture.say('message'))
  const latencies = () => to.evaluate(() => fixture.latenciesMs())
  await until(async () => (await latencies()).length === sizes.messages, SOON_MS)
  results.durations(
    'a message from tab to tab, both among the replicas',
    'publish → shown',
    await latencies(),
  )
}

/** A new visitor: nothing kept, no cache. */
async function start(): Promise<void> {
  const script = await bundle('test/browser/pages/bench.ts')
  const { page: writer } = await openNode(browser, script)
  await writer.evaluate(() => fixture.sayMany('start', 0, 20))
  await writer.context().close()
  const joined: number[] = []
  const painted: number[] = []
  for (let i = 0; i < sizes.starts; i++) {
    const { page, joinedMs } = await openNode(browser, script)
    joined.push(joinedMs)
    painted.push((await page.evaluate(() => fixture.subscribe('start'))) as number)
    await page.context().close()
  }
  const section = `a new tab with three nodes, ${sizes.starts} times, since the navigation`
  results.add(section, 'joined, median', median(joined), 'ms')
  results.add(section, 'first message of the history painted, median', median(painted), 'ms')
}

function median(numbers: number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] as number
}

/** The heap of a tab that subscribes and is a replica, after a garbage collection. */
async function memory(): Promise<void> {
  const [publisher, reader] = (await openNodes(2)) as [Page, Page]
  await reader.evaluate(() => fixture.subscribe('memory'))
  const before = await heapMegabytes(reader)
  for (let from = 0; from < sizes.kept; from += BATCH)
    await publisher.evaluate(([at, many]) => fixture.sayMany('memory', at, many), [from, BATCH] as const)
  await until(async () => (await reader.evaluate(() => fixture.count())) >= sizes.kept, SOON_MS)
  const section = `a tab that has heard ${sizes.kept} messages of 200 bytes`
  results.add(section, 'heap before', before, 'MB')
  results.add(section, 'heap after', await heapMegabytes(reader), 'MB')
}

async function heapMegabytes(page: Page): Promise<number> {
  const session = await page.context().newCDPSession(page)
  await session.send('HeapProfiler.collectGarbage')
  const { usedSize } = await session.send('Runtime.getHeapUsage')
  await session.detach()
  return usedSize / 1_000_000
}

/** The chat, from the newest message of a long room up to the first, a good way at every frame. */
async function scroll(): Promise<void> {
  const { page: writer } = await openNode(browser, await bundle('test/browser/pages/bench.ts'))
  for (let from = 0; from < sizes.kept; from += BATCH)
    await writer.evaluate(([at, many]) => fixture.sayMany('scroll', at, many), [from, BATCH] as const)
  await writer.context().close()
  const page = await (await browser.newContext({ viewport: { width: 1_200, height: 800 } })).newPage()
  await page.goto(network.url)
  await page.getByTestId('name-input').fill('Reader')
  await page.keyboard.press('Enter')
  await page.getByTestId('room-input').first().fill('scroll')
  await page.keyboard.press('Enter')
  await page
    .getByTestId('message')
    .filter({ hasText: `${sizes.kept - 1} ...` })
    .waitFor({ timeout: SOON_MS })
  const frames = await page.getByTestId('message-scroller').evaluate(scrollUp, SCROLL_PX)
  const section = `the chat, scrolled ${SCROLL_PX} px a frame through ${sizes.kept} messages of 200 bytes`
  results.durations(section, 'from frame to frame', frames)
  const late = frames.filter((ms) => ms > LATE_FRAME_MS).length
  results.add(section, `later than ${LATE_FRAME_MS} ms`, (100 * late) / frames.length, '% of frames')
}

/** Runs in the page. The ms between frames, until the top is reached and stays the top for half a second. */
async function scrollUp(scroller: HTMLElement, px: number): Promise<number[]> {
  const frames: number[] = []
  const frame = () => new Promise<number>((resolve) => requestAnimationFrame(resolve))
  let last = await frame()
  let atTopSince = Number.POSITIVE_INFINITY
  while (last - atTopSince < 500) {
    scroller.scrollTop -= px
    const now = await frame()
    frames.push(now - last)
    last = now
    if (scroller.scrollTop > 0) atTopSince = Number.POSITIVE_INFINITY
    else if (atTopSince === Number.POSITIVE_INFINITY) atTopSince = now
  }
  return frames
}

/** Tabs in one topic in which nobody says anything. */
async function idle(): Promise<void> {
  const pages = await openNodes(sizes.idleTabs)
  for (const page of pages) await page.evaluate(() => fixture.subscribe('idle'))
  let socketBytes = 0
  for (const page of pages) {
    const session = await page.context().newCDPSession(page)
    const add = ({ response }: { response: { payloadData: string; opcode: number } }) => {
      socketBytes +=
        response.opcode === 2 ? (response.payloadData.length * 3) / 4 : response.payloadData.length
    }
    session.on('Network.webSocketFrameSent', add).on('Network.webSocketFrameReceived', add)
    await session.send('Network.enable')
  }
  const webRtc = async () => {
    const bytes = await Promise.all(pages.map((page) => page.evaluate(() => fixture.webRtcBytes())))
    return bytes.reduce((sum, one) => sum + one, 0)
  }
  const section = `${pages.length} tabs and three nodes in a topic in which nothing happens, each tab a minute`
  for (let minute = 1; minute <= sizes.idleMinutes; minute++) {
    const before = await webRtc()
    const socketsBefore = socketBytes
    await new Promise((resolve) => setTimeout(resolve, sizes.minuteMs))
    const perTab = (bytes: number) => ((bytes / 1_000 / pages.length) * 60_000) / sizes.minuteMs
    if (minute > 1 && minute < sizes.idleMinutes) continue
    const which = minute === 1 ? 'the first minute' : `minute ${minute}`
    results.add(section, `${which}, by WebRTC, both ways`, perTab((await webRtc()) - before), 'kB')
    results.add(section, `${which}, by websockets, both ways`, perTab(socketBytes - socketsBefore), 'kB')
  }
}
