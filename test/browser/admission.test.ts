import type { Browser, Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { type Bridge, startBridge } from '../../src/bridge/index.ts'
import { type DhtLibp2p, identityFromSeed, issueInvitation } from '../../src/dht/index.ts'
import { bareNode } from '../support/bare-node.ts'
import { launchChromium } from '../support/chromium.ts'
import { dial } from '../support/dial.ts'
import { type FixtureServer, openFixture, serveFixture } from '../support/fixture-page.ts'
import { openIdleCircuit } from '../support/idle-circuit.ts'
import { startLibp2pNet } from '../support/libp2p-net.ts'
import { crash, freeze } from '../support/tabs.ts'
import type { AdmissionFixture } from './pages/admission.ts'

/** Real tabs at a real bridge: only a signature over its challenge opens the relay, and then they reach each other. */

const PATH = '/test/browser/pages/admission.html'

let server: FixtureServer
let bridge: Bridge
let browser: Browser
let page: Page

let origin: string

declare const fixture: AdmissionFixture

beforeAll(async () => {
  server = await serveFixture(PATH)
  origin = `http://127.0.0.1:${server.port}`
  bridge = await startBridge({ seed: new Uint8Array(32).fill(99), port: 0, allowedOrigins: [origin] })
  browser = await launchChromium()
  page = await openFixture(await browser.newContext(), origin + PATH)
})
afterEach(() => page.evaluate(() => fixture.stop()))
afterAll(async () => {
  await browser?.close()
  await server?.close()
  await bridge?.close()
})

const enter = (value: number, isHonest: boolean) =>
  page.evaluate(([url, n, honest]) => fixture.enter(url, n, honest), [bridge.url, value, isHonest] as const)
const join = (url: string, invitation?: string) =>
  page.evaluate(([at, text]) => fixture.join(at, text), [url, invitation] as const)
const connect = (value: number) =>
  page.evaluate(([relay, n]) => fixture.connect(relay, n), [bridge.address, value] as const)
const nodeId = (value: number) => page.evaluate((n) => fixture.nodeId(n), value)
const relayedAddresses = () => page.evaluate(() => fixture.relayedAddresses())

describe('a tab at the challenge', () => {
  it('is refused with a wrong signature, and gets no connection and no reservation', async () => {
    expect(await enter(1, false)).toMatch(/^ADMISSION_REFUSED: .*BAD_SIGNATURE/)
    expect(await connect(1)).toMatch(/^refused/)
    expect(await relayedAddresses()).toEqual([])
    expect(bridge.reservations()).not.toContain(await nodeId(1))
  })

  it('is admitted with the right one, and can be reached through the relay', async () => {
    expect(await enter(2, true)).toBe('admitted')
    expect(await connect(2)).toBe('connected')
    const reserved = await nodeId(2)
    await vi.waitFor(() => expect(bridge.reservations()).toContain(reserved), { timeout: 10_000 })
    await vi.waitFor(async () => expect(await relayedAddresses()).not.toEqual([]), { timeout: 10_000 })
  })

  it('is refused after another one was admitted', async () => {
    expect(await enter(3, true)).toBe('admitted')
    expect(await enter(4, false)).toMatch(/BAD_SIGNATURE/)
    expect(await connect(4)).toMatch(/^refused/)
  })
})

describe('a tab at a bridge that is invite-only', () => {
  it('comes in with an invitation, and is told why without, or with one that is used', async () => {
    const seed = new Uint8Array(32).fill(98)
    await using invited = await startBridge({ seed, port: 0, allowedOrigins: [origin], inviteOnly: true })
    const issuer = await identityFromSeed(seed)
    const invitation = (uses: number) =>
      issueInvitation({ issuer, audience: invited.nodeId, ttlMs: 60_000, uses })
    const one = await invitation(1)
    expect(await join(invited.url)).toBe('ADMISSION_REFUSED INVITATION_REQUIRED')
    expect(await join(invited.url, one.slice(1))).toBe('ADMISSION_REFUSED INVITATION_INVALID')
    expect(await join(invited.url, one)).toBe('joined')
    expect(
      await page.evaluate(([url, text]) => fixture.enter(url, 5, true, text), [invited.url, one] as const),
    ).toMatch(/INVITATION_USED/)
    expect(await join(invited.url, one)).toBe('joined') // the same tab again
  })
})

describe('a tab with a bound on its connections', () => {
  it('closes what is too much, links in use too, and keeps the relay', async () => {
    const net = await startLibp2pNet([])
    try {
      net.admitted.add(await nodeId(7))
      const args = [net.bridgeAddress, 7, 4] as const
      expect(await page.evaluate((given) => fixture.connect(...given), args)).toBe('connected')
      for (let i = 0; i < 5; i++) {
        const { libp2p, network } = await net.add('fleeting', { join: false })
        network.onInboundLink(() => ({ onFrame: () => undefined, onClose: () => undefined }))
        // one too many may be cut before its link is up
        const link = page.evaluate((to) => fixture.link(to), String(libp2p.getMultiaddrs()[0]))
        await link.catch(() => undefined)
      }
      // of the four places one stays free
      const peers = () => page.evaluate(() => fixture.peers())
      await vi.waitFor(async () => expect(await peers()).toHaveLength(3), { timeout: 10_000 })
      expect(await peers()).toContain(net.bridge.peerId.toString())
    } finally {
      await net.stop()
    }
  })
})

describe('a tab that a class dials at once', () => {
  const PEERS = 10
  const CIRCUITS_EACH = 4 // more to one node the relay lets nobody open

  it('takes one more while all the others are in their handshake', async () => {
    const net = await startLibp2pNet([])
    const others: DhtLibp2p[] = []
    try {
      const tab = await nodeId(8)
      net.admitted.add(tab)
      const args = [net.bridgeAddress, 8] as const
      expect(await page.evaluate((given) => fixture.connect(...given), args)).toBe('connected')
      for (let i = 0; i <= PEERS; i++) {
        const other = await bareNode(new Uint8Array(32).fill(20 + i))
        others.push(other)
        net.admitted.add(other.peerId.toString())
        await dial(other, net.bridgeAddress)
      }
      const [last, ...silent] = others as [DhtLibp2p, ...DhtLibp2p[]]
      const open = () => silent.map((other) => openIdleCircuit(other, tab))
      await Promise.all(Array.from({ length: CIRCUITS_EACH }, open).flat())
      await dial(last, `${net.bridgeAddress}/p2p-circuit/p2p/${tab}`)
      expect(await page.evaluate(() => fixture.peers())).toContain(last.peerId.toString())
    } finally {
      await Promise.all(others.map((other) => other.stop()))
      await net.stop()
    }
  })
})

describe('two tabs', { timeout: 120_000 }, () => {
  let other: Page
  const ids = new Map<Page, string>()

  beforeAll(async () => {
    other = await openFixture(await browser.newContext(), page.url())
    ids.set(page, await nodeId(5)).set(other, await nodeId(6))
  })

  /** Both are admitted and have a place at the relay. */
  async function meetAtRelay(at: Bridge = bridge, aliveRoundMs?: number): Promise<string> {
    for (const [tab, value] of [
      [page, 5],
      [other, 6],
    ] as const) {
      const args = [at.url, at.address, value, aliveRoundMs] as const
      await tab.evaluate(async ([url, relay, n, roundMs]) => {
        await fixture.enter(url, n, true)
        await fixture.connect(relay, n, undefined, roundMs)
      }, args)
    }
    const addressOf = () => other.evaluate(() => fixture.webRtcAddresses()[0])
    await vi.waitFor(async () => expect(await addressOf()).toBeDefined(), { timeout: 10_000 })
    return (await addressOf()) as string
  }
  afterEach(() => other.evaluate(() => fixture.stop()))

  it('reach each other at every dial of a row: 100 by npm run bench:browser', async () => {
    const address = await meetAtRelay()
    const dials = await page.evaluate((to) => fixture.dialInTurn(to, 20), address)
    expect(dials.failures).toEqual([])
    expect(dials.ms.length).toBe(20)
  })

  /** Through the relay, while WebRTC does not work. */
  async function meetWithoutWebRtc(): Promise<void> {
    await meetAtRelay()
    for (const tab of [page, other]) await tab.evaluate(() => fixture.allowWebRtc(false))
    const peer = ids.get(other) as string
    const dial = () => page.evaluate((to) => fixture.dial(to), `${bridge.address}/p2p-circuit/p2p/${peer}`)
    await vi.waitFor(dial, { timeout: 10_000 })
    expect([...new Set(await connections(page))]).toEqual(['relayed'])
  }
  /** Of one of them to the other. */
  const connections = (tab: Page) =>
    tab.evaluate((id) => fixture.connectionsTo(id), ids.get(tab === page ? other : page) as string)
  const areDirect = () =>
    vi.waitFor(async () => expect([...new Set(await connections(page))]).toEqual(['direct']), {
      timeout: 45_000,
    })

  it('that met through the relay are connected directly as soon as they can be, unless the other one needs it', async () => {
    await meetWithoutWebRtc()
    // who has dialled tries, which may be both
    const hasDialled = await page.evaluate((id) => fixture.hasDialled(id), ids.get(other) as string)
    const [trying, needing] = hasDialled ? [page, other] : [other, page]
    await needing.evaluate(() => fixture.holdAnswers())
    for (const tab of [page, other]) await tab.evaluate(() => fixture.allowWebRtc(true))
    const [address] = await trying.evaluate(() => fixture.webRtcAddresses())
    const dialled = needing.evaluate(
      (to) => fixture.dial(to as string).then(() => 'dialled', String),
      address,
    )
    const isHeld = async () => expect(await needing.evaluate(() => fixture.heldAnswers())).toBeGreaterThan(0)
    await vi.waitFor(isHeld, { timeout: 10_000 })
    await vi.waitFor(async () => expect(await connections(trying)).toContain('direct'), { timeout: 20_000 })
    for (let look = 0; look < 100; look++) expect(await connections(trying)).toContain('relayed')
    await needing.evaluate(() => fixture.goOn())
    expect(await dialled).toBe('dialled')
    await areDirect()
  })

  it('keep the way through the relay until both know that they are connected directly', async () => {
    await meetWithoutWebRtc()
    const first = Promise.withResolvers<{ connected: Page; goOn(): Promise<void> }>()
    let isAnswered = false
    // either may have dialled, or both
    for (const connected of [page, other])
      await connected.exposeFunction('onAnswer', async () => {
        if (isAnswered) return
        isAnswered = true
        first.resolve({ connected, goOn: await freeze(connected === page ? other : page) })
      })
    for (const tab of [page, other])
      await tab.evaluate(() => {
        fixture.tellAnswer()
        fixture.allowWebRtc(true)
      })
    const { connected, goOn } = await first.promise
    const heldWhileFrozen = async () => {
      await vi.waitFor(async () => expect(await connections(connected)).toContain('direct'), {
        timeout: 20_000,
      })
      for (let look = 0; look < 20; look++) expect(await connections(connected)).toContain('relayed')
    }
    await heldWhileFrozen().finally(goOn)
    await areDirect()
  })

  describe('of which one is silent', () => {
    const ROUND_MS = 2_000
    let relay: Bridge
    beforeEach(async () => {
      relay = await startBridge({ seed: new Uint8Array(32).fill(97), port: 0, allowedOrigins: [origin] })
    })
    afterEach(() => relay.close())

    async function meetDirectly(aliveRoundMs?: number): Promise<void> {
      const address = await meetAtRelay(relay, aliveRoundMs)
      for (const tab of [page, other]) await tab.evaluate(() => fixture.useNetwork())
      await page.evaluate((to) => fixture.dial(to), address)
      expect(await connections(page)).toContain('direct')
    }

    it('are parted, while the other one hears the relay', async () => {
      await meetDirectly(ROUND_MS)
      const goOn = await freeze(other)
      const areParted = async () => expect(await connections(page)).not.toContain('direct')
      await vi.waitFor(areParted, { timeout: 20_000 }).finally(goOn)
    })

    it('are parted at once where the connection is broken, whoever is heard', async () => {
      await meetDirectly(ROUND_MS)
      await relay.close()
      await page.evaluate(() => fixture.breakWebRtc())
      await vi.waitFor(async () => expect(await connections(page)).toEqual([]), { timeout: 20_000 })
    })

    it('stay connected where the other one hears nobody, who might not find it again', async () => {
      await meetDirectly(ROUND_MS)
      await relay.close()
      const goOn = await freeze(other)
      const open = (timeoutMs: number) =>
        page.evaluate(([id, ms]) => fixture.openLink(id, ms), [ids.get(other) as string, timeoutMs] as const)
      // longer than a connection to a server may take, and than several rounds
      expect(await open(10_000).finally(goOn)).toBe('ABORTED')
      expect(await connections(page)).toContain('direct')
      expect(await open(20_000)).toBe('open')
    })

    it('are linked at once where the other one crashed and is back, if only through the relay', async () => {
      await meetDirectly(120_000) // nobody is asked for a sign of life meanwhile
      const peer = ids.get(other) as string
      await crash(other)
      other = await openFixture(await browser.newContext(), page.url())
      ids.set(other, peer)
      await other.evaluate(() => fixture.allowWebRtc(false))
      await other.evaluate(
        async ([url, address]) => {
          await fixture.enter(url, 6, true)
          await fixture.connect(address, 6)
          fixture.useNetwork()
        },
        [relay.url, relay.address] as const,
      )
      const address = `${relay.address}/p2p-circuit/p2p/${ids.get(page)}`
      await vi.waitFor(() => other.evaluate((to) => fixture.dial(to), address), { timeout: 10_000 })
      await vi.waitFor(async () => expect(await connections(page)).toContain('relayed'), {
        timeout: 10_000,
      })
      expect(await connections(page)).toContain('direct')
      const opened = page.evaluate((id) => fixture.openLink(id, 5_000), peer)
      expect(await opened).toBe('open')
    })
  })
})
