import type { Page } from 'playwright-core'
import { expect } from 'vitest'
import type { TabsFixture } from '../browser/pages/tabs.ts'
import { until } from './memory-nodes.ts'

/** What the tests of the tabs of an origin do with a tab, a page of test/browser/pages/tabs.html. */

declare const fixture: TabsFixture

export type StartOptions = Parameters<TabsFixture['start']>[1]

export async function start(page: Page, bridgeUrl: string, options: StartOptions = {}): Promise<void> {
  const outcome = await page.evaluate(([url, opts]) => fixture.start(url, opts), [
    bridgeUrl,
    options,
  ] as const)
  expect(outcome).toBe('ok')
}

export const role = (page: Page) => page.evaluate(() => fixture.role())
export const nodeId = (page: Page) => page.evaluate(() => fixture.nodeId())
export const statusOf = (page: Page) => page.evaluate(() => fixture.status())
export const state = async (page: Page) => (await statusOf(page)).state
export const isOnline = (page: Page) => until(async () => (await state(page)) === 'online', 20_000)
export const texts = (page: Page, topic: string) => page.evaluate((name) => fixture.texts(name), topic)
export const publish = (page: Page, topic: string, data: string) =>
  page.evaluate(([name, text]) => fixture.publish(name, text), [topic, data] as const)

export async function subscribe(page: Page, topic: string): Promise<void> {
  await page.evaluate((name) => fixture.subscribe(name), topic)
  await until(async () => (await page.evaluate((name) => fixture.sync(name), topic)) === 'synced', 20_000)
}

/** The tab has all that was said, once and in order, and no loss was told. */
export async function hasAll(page: Page, topic: string, said: string[]): Promise<void> {
  await until(async () => (await texts(page, topic)).length >= said.length, 20_000)
  expect(await texts(page, topic)).toEqual(said)
  expect(await page.evaluate((name) => fixture.events(name), topic)).toEqual(['history-end 0'])
}
