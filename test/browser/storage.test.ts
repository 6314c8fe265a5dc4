import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { encode, toHex } from '../../src/dht/codec.ts'
import { nodeIdOf } from '../../src/dht/identity.ts'
import { sealSeed } from '../../src/dht/identity-backup.ts'
import { importIdentity } from '../../src/node/identity-store.ts'
import { inviteTo, readInvite } from '../../src/pubsub/invite.ts'
import { createTopicCipher } from '../../src/pubsub/secret.ts'
import { storageCases } from '../contract/storage-suite.ts'
import { launchChromium } from '../support/chromium.ts'
import { type FixtureServer, openFixture, serveFixture } from '../support/fixture-page.ts'
import type { StorageFixturePage } from './pages/storage.ts'

/** IndexedDB and the identity of a tab, in a real Chromium. */

const PATH = '/test/browser/pages/storage.html'

let server: FixtureServer
let browser: Browser
let context: BrowserContext
let page: Page
/** Another origin of the same profile, and another profile. */
let elsewhere: Page
let other: Page
let port: number

declare const fixture: StorageFixturePage

beforeAll(async () => {
  server = await serveFixture(PATH)
  port = server.port
  browser = await launchChromium()
  context = await browser.newContext()
  page = await open(`http://127.0.0.1:${port}`)
  elsewhere = await open(`http://localhost:${port}`)
  other = await open(`http://127.0.0.1:${port}`, await browser.newContext())
})

afterAll(async () => {
  await browser?.close()
  await server?.close()
})

const open = (origin: string, within = context): Promise<Page> => openFixture(within, origin + PATH)

describe('Storage: IndexedDB', () => {
  for (const { name } of storageCases) it(name, () => page.evaluate((name) => fixture.runCase(name), name))

  it('writes with strict durability, a group in one transaction', async () => {
    const transactions = await page.evaluate(() => fixture.transactionsOfWrites())
    expect(transactions).toEqual(['readwrite strict', 'readwrite strict'])
  })

  it('refuses with STORAGE_FULL over the quota, applies nothing of it, and serves on', async () => {
    const session = await context.newCDPSession(elsewhere)
    await session.send('Storage.overrideQuotaForOrigin', {
      origin: `http://localhost:${port}`,
      quotaSize: 5_000_000,
    })
    expect(await elsewhere.evaluate(() => fixture.fill())).toEqual({
      outcomes: ['StickyError STORAGE_FULL', 'ok'],
      keys: ['after', 'first'],
    })
  })

  it('applies nothing of a write of which a part is refused at once', async () => {
    expect(await page.evaluate(() => fixture.refusedPart())).toEqual({
      outcomes: ['StickyError STORAGE_FAILED', 'ok'],
      keys: ['after'],
    })
  })

  it('lets another tab delete it, and is lost from then on', async () => {
    const failed = 'StickyError STORAGE_FAILED'
    expect(await page.evaluate(() => fixture.deletedByAnother())).toEqual({
      outcomes: [failed, failed, failed],
      told: ['STORAGE_FAILED'],
    })
  })
})

describe('identity of a tab', () => {
  const identity = (of = page) => of.evaluate(() => fixture.identity())

  it('is created once, and is the same after a reload and in another tab', async () => {
    const made = await identity()
    expect(made.created).toBe(true)
    expect(made.nodeId).toMatch(/^12D3Koo/)
    await page.reload()
    await page.waitForFunction(() => 'fixture' in globalThis)
    expect(await identity()).toEqual({ nodeId: made.nodeId, created: false })
    const tab = await open(`http://127.0.0.1:${port}`)
    expect(await identity(tab)).toEqual({ nodeId: made.nodeId, created: false })
    await tab.close()
  })

  it('is one when several start at once', async () => {
    const ids = await page.evaluate(() => fixture.twoIdentitiesAtOnce('race'))
    expect(new Set(ids).size).toBe(1)
  })

  it('is another for another origin and another profile', async () => {
    const own = await identity()
    expect((await identity(elsewhere)).nodeId).not.toBe(own.nodeId)
    expect((await identity(other)).nodeId).not.toBe(own.nodeId)
  })

  it('lies sealed under a key that nobody gets out', async () => {
    expect(await page.evaluate(() => fixture.keptIdentity())).toEqual({
      extractable: false,
      exports: ['InvalidAccessError', 'InvalidAccessError'],
      sealedBytes: 48,
      seedInside: false,
    })
  })

  it('moves by backup to another profile and to a Node folder; a wrong passphrase changes nothing', async () => {
    const { nodeId } = await identity()
    const backup = await page.evaluate(() => fixture.export('correct horse'))
    const before = await identity(other)
    const load = (passphrase: string) =>
      other.evaluate(([text, word]) => fixture.import(text, word), [backup, passphrase] as const)
    expect(await load('correct horsd')).toBe('WRONG_PASSPHRASE')
    expect((await identity(other)).nodeId).toBe(before.nodeId)
    expect(await load('correct horse')).toBe(nodeId)
    expect(await identity(other)).toEqual({ nodeId, created: false })

    const directory = mkdtempSync(join(tmpdir(), 'sticky-import-'))
    const imported = await importIdentity({ directory, passphrase: 'x' }, backup, 'correct horse')
    expect(imported.identity.nodeId).toBe(nodeId)
    rmSync(directory, { recursive: true })
  })

  it('takes a backup made in Node', async () => {
    const backup = await sealSeed(new Uint8Array(32).fill(5), 'correct horse')
    const id = await other.evaluate((text) => fixture.import(text, 'correct horse'), backup)
    expect(await identity(other)).toEqual({ nodeId: id, created: false })
    const refused = await other.evaluate(() => fixture.import('{"format":"pem"}', 'correct horse'))
    expect(refused).toBe('IDENTITY_UNREADABLE')
  })

  it('asks for a secure page where there is no cryptography', async () => {
    await using profile = await browser.newContext()
    const insecure = await profile.newPage()
    // a name that the browser does not hold for this machine's own
    await insecure.route('http://chat.example/**', async (route) => {
      const { pathname, search } = new URL(route.request().url())
      await route.fulfill({
        response: await route.fetch({ url: `http://127.0.0.1:${port}${pathname}${search}` }),
      })
    })
    await insecure.goto(`http://chat.example${PATH}`)
    await insecure.waitForFunction(() => 'fixture' in globalThis)
    expect(await insecure.evaluate(() => isSecureContext)).toBe(false)
    const codes = await insecure.evaluate(() => fixture.identityCodes())
    expect(new Set(codes)).toEqual(new Set(['StickyError UNSUPPORTED_PLATFORM']))
  })
})

describe('an encrypted topic', () => {
  it('has the same bytes in a tab and in Node, and an invite goes from one to the other', async () => {
    const publisher = nodeIdOf(new Uint8Array(32).fill(7))
    const secret = { passphrase: 'correct horse' }
    const inPage = await page.evaluate((publisher) => fixture.sealTopic(publisher, 'hello'), publisher)
    const here = await createTopicCipher('room', secret)
    expect(inPage.hiddenName).toBe(here.hiddenName)
    const sealed = await here.seal('hello', publisher, 'message', 'once')
    expect(inPage.sealed).toBe(toHex(encode(sealed)))
    const { name, secret: read } = await readInvite(inPage.invite)
    expect(await (await createTopicCipher(name, read)).open(sealed, publisher, 'message')).toBe('hello')
    const other = toHex(encode(await here.seal({ from: 'Node' }, publisher, 'message')))
    const invite = await inviteTo('room', secret)
    expect(
      await page.evaluate(([...all]) => fixture.openTopic(...all), [invite, publisher, other] as const),
    ).toEqual({ from: 'Node' })
  })
})
