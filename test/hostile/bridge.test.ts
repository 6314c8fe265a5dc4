import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { BridgeDiagnostics } from '../../src/bridge/diagnostics.ts'
import { type Bridge, type BridgeOptions, startBridge } from '../../src/bridge/index.ts'
import {
  type Identity,
  identityFromSeed,
  nodeIdOf,
  passChallenge,
  systemRuntime,
} from '../../src/dht/index.ts'
import { ChallengeClient, clientFrame, rawExchange, upgradeTo } from '../support/challenge-client.ts'
import { PATIENCE } from '../support/patience.ts'

/** A real bridge on a real port, and clients that do not keep to the rules. After each it must serve on. */

let bridge: Bridge
let client: Identity
let other: Identity
let aheadMs: number
const open: ChallengeClient[] = []

const start = async (options: Partial<BridgeOptions> = {}): Promise<Bridge> => {
  bridge = await startBridge({
    seed: new Uint8Array(32).fill(42),
    port: 0,
    runtime: { ...systemRuntime, monotonicNow: () => performance.now() + aheadMs },
    ...options,
  })
  return bridge
}
const dial = async (headers?: Record<string, string>): Promise<ChallengeClient> => {
  const socket = await ChallengeClient.open(bridge.port, headers)
  open.push(socket)
  return socket
}
const pass = (identity: Identity, more: object = {}) =>
  passChallenge({
    url: `ws://127.0.0.1:${bridge.port}/auth`,
    identity,
    signal: AbortSignal.timeout(15_000),
    ...more,
  })
const metric = async (name: string): Promise<number> => {
  const text = await (await fetch(`${bridge.url}/metrics`)).text()
  const line = text.split('\n').find((each) => each.startsWith(`sticky_bridge_${name} `))
  return line === undefined ? 0 : Number(line.split(' ').at(-1))
}

beforeEach(async () => {
  aheadMs = 0
  client = await identityFromSeed(new Uint8Array(32).fill(1))
  other = await identityFromSeed(new Uint8Array(32).fill(2))
})
afterEach(async () => {
  // whatever a test did: an honest client is served, and its admission is the bridge's to give
  const honest = await identityFromSeed(crypto.getRandomValues(new Uint8Array(32)))
  expect(await pass(honest)).toEqual({ serverId: bridge.nodeId })
  expect(bridge.isAdmitted(honest.nodeId)).toBe(true)
  expect((await fetch(`${bridge.url}/health`)).status).toBe(200)
  for (const { socket } of open.splice(0)) socket.terminate()
  await bridge.close()
})

describe('the challenge accepts', () => {
  it('the right signature, once, and says so under its own', async () => {
    await start()
    expect(await pass(client, { expectedServerId: bridge.nodeId })).toEqual({ serverId: bridge.nodeId })
    expect(bridge.isAdmitted(client.nodeId)).toBe(true)
    expect(bridge.isAdmitted(other.nodeId)).toBe(false)
    expect(await metric('admitted_peers')).toBe(1)
  })

  it('step by step, ending with a normal close', async () => {
    await start()
    const socket = await dial()
    await socket.respond(client, await socket.challenged(client))
    expect(await socket.frame('CONNECTION_ACCEPTED')).toMatchObject({ nodeId: client.nodeId, verified: true })
    expect((await socket.end()).code).toBe(1000)
  })
})

describe('the challenge refuses', () => {
  const refusals: [string, number, string, (socket: ChallengeClient) => Promise<void>][] = [
    [
      'a wrong signature',
      4401,
      'BAD_SIGNATURE',
      async (socket) => {
        await socket.challenged(client)
        socket.say({ type: 'RESPONSE', signature: 'A'.repeat(86) })
      },
    ],
    [
      'the signature of another key',
      4401,
      'BAD_SIGNATURE',
      async (socket) => socket.respond(other, await socket.challenged(client)),
    ],
    [
      'an id that is not the key’s',
      4403,
      'WRONG_IDENTITY',
      async (socket) => socket.connect({ nodeId: client.nodeId, publicKey: other.publicKey }),
    ],
    [
      'a challenge passed on to another address',
      4401,
      'BAD_SIGNATURE',
      async (socket) =>
        socket.respond(client, { ...(await socket.challenged(client)), audience: 'evil.example' }),
    ],
    [
      'a challenge of another bridge',
      4401,
      'BAD_SIGNATURE',
      async (socket) =>
        socket.respond(client, { ...(await socket.challenged(client)), serverId: other.nodeId }),
    ],
    ...[-60_000, 60_000, 1].map((byMs): (typeof refusals)[number] => [
      `a timestamp moved by ${byMs} ms`,
      4401,
      'BAD_SIGNATURE',
      async (socket) => {
        const challenge = await socket.challenged(client)
        await socket.respond(client, { ...challenge, timestamp: challenge.timestamp + byMs })
      },
    ]),
    [
      'a challenge older than 30 s',
      4410,
      'EXPIRED',
      async (socket) => {
        const challenge = await socket.challenged(client)
        aheadMs += 30_001
        await socket.respond(client, challenge)
      },
    ],
    [
      'a response before the challenge',
      4400,
      'MALFORMED',
      async (socket) => socket.say({ type: 'RESPONSE', signature: 'A'.repeat(86) }),
    ],
    [
      'a second CONNECT',
      4400,
      'MALFORMED',
      async (socket) => {
        await socket.challenged(client)
        socket.connect(client)
      },
    ],
    [
      'the small-order key with the signature that fits everything',
      4401,
      'BAD_SIGNATURE',
      async (socket) => {
        const publicKey = Uint8Array.from({ length: 32 }, (_, i) => (i === 0 ? 1 : 0))
        await socket.challenged({ publicKey, nodeId: nodeIdOf(publicKey) })
        socket.say({ type: 'RESPONSE', signature: `AQ${'A'.repeat(84)}` })
      },
    ],
    ['garbage', 4400, 'MALFORMED', async (socket) => socket.socket.send('{"type":')],
    ['deep JSON', 4400, 'MALFORMED', async (socket) => socket.socket.send('['.repeat(4_000))],
    ['a binary frame', 4400, 'MALFORMED', async (socket) => socket.socket.send(Buffer.from([0xff, 0, 1]))],
  ]

  it.each(refusals)('%s: %i %s', async (_name, code, refusal, act) => {
    await start()
    const socket = await dial()
    await act(socket)
    expect(await socket.end()).toEqual({ code, reason: refusal, refusal })
    expect(bridge.isAdmitted(client.nodeId)).toBe(false)
    expect(await metric('admitted_peers')).toBe(0)
    expect(await metric(`challenges_refused{code="${refusal}"}`)).toBe(1)
  })

  it('an answer replayed on another socket', async () => {
    await start()
    const first = await dial()
    const challenge = await first.challenged(client)
    const second = await dial()
    expect((await second.challenged(client)).nonce).not.toEqual(challenge.nonce)
    await second.respond(client, challenge)
    expect(await second.end()).toMatchObject({ code: 4401, refusal: 'BAD_SIGNATURE' })
    expect(bridge.isAdmitted(client.nodeId)).toBe(false)
    // the socket that it was meant for is none the worse
    await first.respond(client, challenge)
    await first.frame('CONNECTION_ACCEPTED')
  })

  it('two answers at once: a right one after a wrong one is too late', async () => {
    await start()
    const socket = await dial()
    const challenge = await socket.challenged(client)
    socket.say({ type: 'RESPONSE', signature: 'A'.repeat(86) })
    await socket.respond(client, challenge)
    expect((await socket.end()).code).toBeGreaterThanOrEqual(4400)
    expect(bridge.isAdmitted(client.nodeId)).toBe(false)
  })

  it('a frame above 4 KiB, without reading it', async () => {
    await start()
    const socket = await dial()
    socket.socket.send('x'.repeat(4_097))
    expect((await socket.end()).code).toBe(1009)
    await vi.waitFor(
      async () => expect(await metric('challenges_refused{code="TOO_LARGE"}')).toBe(1),
      PATIENCE,
    )
  })

  it('a frame in endless fragments', async () => {
    await start()
    const socket = await dial()
    for (let i = 0; i < 10; i++) socket.socket.send('x'.repeat(1_000), { fin: false })
    expect((await socket.end()).code).toBe(1009)
  })

  it.each([0, 1])('silence, after %i frames', async (frames) => {
    await start({ limits: { authDeadlineMs: 100 } })
    const socket = await dial()
    if (frames === 1) await socket.challenged(client)
    expect(await socket.end()).toEqual({ code: 4408, reason: 'TIMEOUT', refusal: 'TIMEOUT' })
  })

  it('a flood from one address, with a reason, then without one; and recovers', async () => {
    await start({
      limits: { maxPendingPerAddress: 3, maxChallengeSocketsPerAddress: 5, authDeadlineMs: 60_000 },
    })
    const quiet = await Promise.all([dial(), dial(), dial()])
    const refused = await dial()
    expect(await refused.end()).toEqual({ code: 4503, reason: 'BUSY', refusal: 'BUSY' })
    await vi.waitFor(async () => expect(await metric('challenges_pending')).toBe(3), PATIENCE)
    for (const { socket } of quiet) socket.terminate()
    await vi.waitFor(async () => expect(await metric('challenges_pending')).toBe(0), PATIENCE)
  })

  it('clients that do not answer its close: they are let go, and not counted for ever', async () => {
    await start({
      limits: { maxPendingPerAddress: 1, maxChallengeSocketsPerAddress: 3, challengeCloseMs: 200 },
    })
    const upgrade = upgradeTo('/auth')
    const holding = await dial()
    const deaf = [rawExchange(bridge.port, upgrade), rawExchange(bridge.port, upgrade)]
    await vi.waitFor(async () => expect(await metric('challenges_refused{code="BUSY"}')).toBe(2), PATIENCE)
    expect(await rawExchange(bridge.port, upgrade)).toMatch(/^HTTP\/1.1 503 /)
    for (const answer of await Promise.all(deaf)) expect(answer).toContain('"code":"BUSY"')
    holding.socket.terminate()
    await vi.waitFor(async () => expect(await metric('challenges_pending')).toBe(0), PATIENCE)
  })

  it('more challenges than one address may start', async () => {
    await start({ limits: { challengeBurst: 2, challengesPerSecond: 1 } })
    const sockets = [await dial(), await dial(), await dial()]
    expect(await sockets[2]?.end()).toMatchObject({ code: 4429, refusal: 'RATE_LIMITED' })
    aheadMs += 10_000
  })

  it('pages of other origins, and no others', async () => {
    await start({ allowedOrigins: ['https://chat.example'] })
    for (const origin of ['https://evil.example', 'null'])
      await expect(dial({ origin })).rejects.toThrow('403')
    for (const origin of ['https://chat.example', bridge.url]) await dial({ origin })
  })

  it('a name that is not its own, whatever the page says', async () => {
    await start()
    const host = `evil.example:${bridge.port}`
    await expect(dial({ host, origin: `http://${host}` })).rejects.toThrow('403')
    const socket = await dial({ host })
    expect(await socket.end()).toMatchObject({ code: 4403, refusal: 'WRONG_IDENTITY' })
  })
})

describe('the public port', () => {
  it.each([
    ['binary garbage', Uint8Array.from({ length: 512 }, (_, i) => (i * 197) & 0xff), /^HTTP\/1.1 400 /],
    ['a bad request line', 'GET\r\n\r\n', /^HTTP\/1.1 400 /],
    [
      'headers beyond 16 KiB',
      `GET / HTTP/1.1\r\nHost: x\r\nA: ${'a'.repeat(20_000)}\r\n\r\n`,
      /^HTTP\/1.1 431 /,
    ],
    [
      'length and chunks at once',
      'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      /^HTTP\/1.1 400 /,
    ],
    [
      'a handshake without a key',
      'GET /auth HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
      /^HTTP\/1.1 400 /,
    ],
    [
      'a page it does not know',
      'GET /p HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
      /^HTTP\/1.1 403 /,
    ],
  ])('answers %s and closes', async (_name, bytes, expected) => {
    await start()
    expect(await rawExchange(bridge.port, bytes)).toMatch(expected)
  })

  it('survives garbage inside the pipe to libp2p, and frees the pipe', async () => {
    await start()
    const upgrade = upgradeTo('/')
    const answer = await rawExchange(
      bridge.port,
      Buffer.concat([Buffer.from(upgrade), Buffer.alloc(64, 0xff)]),
    )
    expect(answer).toMatch(/^HTTP\/1.1 101 /)
    await vi.waitFor(async () => expect(await metric('pipes')).toBe(0), PATIENCE)
  })

  it('takes no websocket message above its limit through the pipe', async () => {
    await start()
    const tooMuch = clientFrame(0x82, 1024 * 1024 + 1) // nobody waits for the rest
    const answer = await rawExchange(bridge.port, Buffer.concat([Buffer.from(upgradeTo('/')), tooMuch]))
    expect(answer).toMatch(/^HTTP\/1.1 101 /)
    expect(answer.slice(-4)).toBe('\x88\x02\x03\xf1') // closed, 1009: too big
  })

  it('caps the pipes of one address', async () => {
    await start({ limits: { maxPipesPerAddress: 1 } })
    const upgrade = upgradeTo('/')
    const held = connect(bridge.port, '127.0.0.1', () => held.write(upgrade))
    held.on('error', () => undefined)
    await vi.waitFor(async () => expect(await metric('pipes')).toBe(1), PATIENCE)
    expect(await rawExchange(bridge.port, upgrade)).toMatch(/^HTTP\/1.1 503 /)
    held.destroy()
    await vi.waitFor(async () => expect(await metric('pipes')).toBe(0), PATIENCE)
  })

  it('shows metrics to this machine only, and errors without their insides', async () => {
    await start()
    const get = (headers: string, path = '/metrics') =>
      rawExchange(bridge.port, `GET ${path} HTTP/1.1\r\nConnection: close\r\n${headers}\r\n\r\n`)
    expect(await get('Host: localhost')).toMatch(/^HTTP\/1.1 200 /)
    expect(await get('Host: evil.example')).toMatch(/^HTTP\/1.1 403 /)
    expect(await get('Host: localhost\r\nX-Forwarded-For: 8.8.8.8')).toMatch(/^HTTP\/1.1 403 /)
    const broken = await get('Host: a b', '/bootstrap')
    expect(broken).toMatch(/^HTTP\/1.1 400 /)
    expect(broken).not.toMatch(/ at |\.ts|node_modules/)
    expect(await get('Host: localhost', '/../../etc/passwd')).toMatch(/^HTTP\/1.1 404 /)
  })

  it('tells of itself under the same rule: the numbers of its metrics with their bounds, and of nobody else', async () => {
    await start({ limits: { maxAdmitted: 7 } })
    expect(await pass(client)).toEqual({ serverId: bridge.nodeId })
    const get = (path: string, headers = 'Host: localhost') =>
      rawExchange(bridge.port, `GET ${path} HTTP/1.1\r\nConnection: close\r\n${headers}\r\n\r\n`)
    for (const path of ['/diagnostics', '/diagnostics/admission']) {
      expect(await get(path)).toMatch(/^HTTP\/1.1 200 /)
      expect(await get(path, 'Host: evil.example')).toMatch(/^HTTP\/1.1 403 /)
      expect(await get(path, 'Host: localhost\r\nX-Forwarded-For: 8.8.8.8')).toMatch(/^HTTP\/1.1 403 /)
    }
    for (const path of ['/diagnostics/none', '/diagnostics/__proto__', '/diagnostics/toString'])
      expect(await get(path)).toMatch(/^HTTP\/1.1 404 /)
    const text = await (await fetch(`${bridge.url}/diagnostics`)).text()
    const told = JSON.parse(text) as BridgeDiagnostics
    expect(told).toMatchObject({
      node: { nodeId: bridge.nodeId },
      admission: {
        admitted: await metric('admitted_peers'),
        challenges: { accepted: 1, pending: 0, refused: {} },
      },
      relay: { reservations: 0, circuits: 0 },
      bounds: { admittedPeers: { held: 1, limit: 7 }, pipes: { held: 0, limit: 5_000 } },
    })
    expect(text).not.toContain(client.nodeId)
    expect(text).not.toContain('127.0.0.1')
    expect(text.length).toBeLessThan(4_096)
    const { admission } = (await (
      await fetch(`${bridge.url}/diagnostics/admission`)
    ).json()) as BridgeDiagnostics
    expect(admission).toEqual(told.admission)
  })

  it('answers a path of the chat with its page, also from below a hidden folder, as npx installs it', async () => {
    const hidden = mkdtempSync(join(tmpdir(), '.sticky-'))
    writeFileSync(join(hidden, 'index.html'), 'the chat')
    try {
      await start({ webRoot: hidden })
      for (const path of ['/', '/room', '/a/b']) {
        const response = await fetch(bridge.url + path, { headers: { accept: 'text/html' } })
        expect([path, response.status, await response.text()]).toEqual([path, 200, 'the chat'])
      }
      expect((await fetch(`${bridge.url}/none.js`)).status).toBe(404)
    } finally {
      rmSync(hidden, { recursive: true })
    }
  })

  it('keeps pages to their own scripts, and tells any page where to dial', async () => {
    await start()
    const response = await fetch(`${bridge.url}/bootstrap`, { headers: { origin: 'https://any.example' } })
    expect(response.headers.get('access-control-allow-origin')).toBe('*')
    const policy = response.headers.get('content-security-policy') ?? ''
    expect(policy).toContain("script-src 'self'")
    expect(policy).toContain("require-trusted-types-for 'script';trusted-types lit-html")
    expect(policy).not.toMatch(/unsafe-(inline|eval)/)
    expect(await response.json()).toEqual({
      serverId: bridge.nodeId,
      relay: `/ip4/127.0.0.1/tcp/${bridge.port}/ws/p2p/${bridge.nodeId}`,
      challenge: '/auth',
      version: 1,
    })
  })
})

describe('starting and stopping', () => {
  const reason = (options: Partial<BridgeOptions>) =>
    startBridge({ seed: new Uint8Array(32).fill(43), ...options }).then(
      () => undefined,
      (error: unknown) => error,
    )

  it('says in a sentence why it cannot start', async () => {
    await start()
    expect(await reason({ port: bridge.port })).toMatchObject({
      code: 'PORT_IN_USE',
      message: expect.stringMatching(/^Port \d+ is in use\./),
    })
    expect(await reason({ port: 70_000 })).toMatchObject({ code: 'PORT_IN_USE' })
    expect(await reason({ port: 0, host: '192.0.2.1' })).toMatchObject({ code: 'UNREACHABLE' })
    expect(await reason({ port: 0, publicUrl: 'nowhere' })).toMatchObject({ code: 'MALFORMED' })
  })

  it('closes with clients that hang on, and frees its port', async () => {
    await start({ limits: { drainMs: 200 } })
    const { port } = bridge
    await dial()
    const idle = connect(port, '127.0.0.1')
    idle.on('error', () => undefined)
    const half = connect(port, '127.0.0.1', () => half.write('GET /health HTTP/1.1\r\n'))
    half.on('error', () => undefined)
    // refused, told so, and keeping its own half open
    const refused = connect({ port, host: '127.0.0.1', allowHalfOpen: true }, () =>
      refused.write(
        'GET / HTTP/1.1\r\nHost: x\r\nOrigin: http://evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
      ),
    )
    refused.on('error', () => undefined).resume()
    await new Promise((resolve) => refused.once('end', resolve))
    await vi.waitFor(async () => expect(await metric('challenges_pending')).toBe(1), PATIENCE)
    await Promise.all([bridge.close(), bridge.close()])
    refused.destroy()
    await start({ port })
  })
})
