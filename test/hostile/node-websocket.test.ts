import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { multiaddr } from '@multiformats/multiaddr'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { hardenedListeners } from '../../src/dht/index.ts'
import { bareNode } from '../support/bare-node.ts'
import { clientFrame, upgradeTo } from '../support/challenge-client.ts'
import { until } from '../support/memory-nodes.ts'
import { addressOf, portOf, type ServingNode, servesHonest, startNode } from '../support/serving-node.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'

/** Bytes at a node's websocket port from somebody who never gets as far as libp2p. After each, it serves on. */

interface WithListeners {
  components: { transportManager: { getListeners(): { server?: Server }[] } }
}

const UPGRADE = upgradeTo('/')
const MIB = 1024 * 1024

const garbage = (bytes: number, first: number) =>
  Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => (i === 0 ? first : (i * 197) & 0xff)))

let node: ServingNode
const failures: unknown[] = []
const onFailure = (error: unknown) => void failures.push(error)

beforeAll(async () => {
  node = await startNode('durable')
})
afterAll(() => node?.close())
// an error that nobody handles would end a node's process; here it is seen without ending the test's
const listeners = () => process.listeners('uncaughtException')
let others: NodeJS.UncaughtExceptionListener[]
beforeEach(() => {
  failures.length = 0
  others = listeners()
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', onFailure)
})
afterEach(() => {
  process.removeAllListeners('uncaughtException')
  for (const other of others) process.on('uncaughtException', other)
})

const dial = async (port = portOf(node.libp2p)): Promise<Socket> => {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => undefined)
  await once(socket, 'connect')
  return socket
}

const closed = (socket: Socket) => new Promise((resolve) => socket.once('close', resolve))

/** Everything the node said before it closed the socket. */
async function answerTo(bytes: Buffer | string, then?: Buffer): Promise<string> {
  const socket = await dial()
  let answer = ''
  socket.on('data', (chunk) => {
    if (answer === '' && then !== undefined) socket.write(then)
    answer += chunk.toString('latin1')
  })
  socket.write(bytes)
  await closed(socket)
  return answer
}

describe('a node closes the socket, and serves on, after', () => {
  const inside: [string, Buffer][] = [
    ['a frame with reserved bits', clientFrame(0xf2, 5)],
    ['a frame of an unknown kind', clientFrame(0x83, 5)],
    ['an unmasked frame', Buffer.from([0x82, 1, 0])],
    ['the header of a frame of 100 MiB', clientFrame(0x82, 100 * MIB)],
    ['the header of a frame of 2^63 bytes', Buffer.from([0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])],
    ['fragments without end', Buffer.concat([clientFrame(0x02, 512), ...fragments(2 * MIB)])],
    ['a continuation of nothing', clientFrame(0x80, 5)],
    ['a ping of 200 bytes', Buffer.from([0x89, 0xfe, 0, 200, 0, 0, 0, 0])],
    ['a text that is not UTF-8', Buffer.from([0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28])],
    ['bytes of no protocol', garbage(512, 0xff)],
  ]
  it.each(inside)('%s', async (_name, bytes) => {
    expect(await answerTo(UPGRADE, bytes)).toMatch(/^HTTP\/1.1 101 /)
    await servesHonest(node, 'after bad frames')
    expect(failures).toEqual([])
  })

  const before: [string, Buffer | string, RegExp][] = [
    ['a handshake without a key', UPGRADE.replace(/Sec-WebSocket-Key.*\r\n/, ''), /^HTTP\/1.1 400 /],
    ['a handshake of another version', UPGRADE.replace('13', '99'), /^HTTP\/1.1 400 /],
    [
      'a request that is no handshake',
      'GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
      /^HTTP\/1.1 400 /,
    ],
    [
      'an upgrade to something else',
      'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n',
      /^HTTP\/1.1 400 /,
    ],
    [
      'headers beyond their limit',
      `GET / HTTP/1.1\r\nA: ${'a'.repeat(100_000)}\r\n\r\n`,
      /^(HTTP\/1.1 431 |$)/,
    ],
    ['text that is no request', 'hello hello hello\r\n\r\n', /^HTTP\/1.1 400 /],
    ['bytes that are no HTTP', garbage(512, 0x16), /^$/],
  ]
  it.each(before)('%s', async (_name, bytes, expected) => {
    expect(await answerTo(bytes)).toMatch(expected)
    await servesHonest(node, 'after bad handshakes')
    expect(failures).toEqual([])
  })

  it('sockets that are reset in the middle of everything', async () => {
    for (const bytes of [
      '',
      'GET / HT',
      UPGRADE,
      Buffer.concat([Buffer.from(UPGRADE), clientFrame(0x82, 1_000)]),
    ]) {
      const socket = await dial()
      if (bytes !== '') socket.write(bytes)
      socket.resetAndDestroy()
      await closed(socket)
    }
    await servesHonest(node, 'after resets')
    expect(failures).toEqual([])
  })

  function fragments(bytes: number): Buffer[] {
    return Array.from({ length: bytes / 1_024 }, () => clientFrame(0x00, 1_024, new Uint8Array(1_024)))
  }
})

describe('every listener of a node', () => {
  it('is hardened, also one that is opened again later', async () => {
    const other = await startNode('durable')
    try {
      await other.libp2p.stop()
      await other.libp2p.start()
      const socket = await dial(portOf(other.libp2p))
      socket.once('data', () => socket.write(clientFrame(0xf2, 5)))
      socket.write(UPGRADE)
      await closed(socket)
      expect(addressOf(other.libp2p)).toContain('/ws')
      expect(failures).toEqual([])
    } finally {
      await other.close()
    }
  })

  const from2 = { host: '127.0.0.1', localAddress: '127.0.0.2' }

  it.each([
    ['silent ones', '', 400], // more than wait to be accepted are lost, and those that say nothing never know
    ['silent websockets', UPGRADE, 1_100],
  ])(
    'takes newcomers while one address holds as many %s as it can',
    async (_name, bytes, count) => {
      const other = await startNode('durable')
      const silent = Array.from({ length: count }, () => {
        const socket = connect({ port: portOf(other.libp2p), ...from2 })
        socket.on('error', () => undefined).on('connect', () => socket.write(bytes))
        return socket.resume()
      })
      try {
        const isHeld = () => silent.filter(({ closed, connecting }) => !closed && !connecting).length <= 128
        await until(() => silent.every(({ connecting }) => !connecting) && isHeld(), 8_000)
        const held = () => silent.filter(({ closed }) => !closed).length
        expect(held()).toBe(128)
        await servesHonest(other, 'newcomers')
        await until(() => held() === 0, 20_000) // their time is over, and so is their place
        const again = connect({ port: portOf(other.libp2p), ...from2 })
        again.on('error', () => undefined).write(UPGRADE)
        await once(again, 'data')
        await new Promise((resolve) => setTimeout(resolve, 200))
        expect(again.closed).toBe(false)
        again.destroy()
      } finally {
        for (const socket of silent) socket.destroy()
        await other.close()
      }
    },
    60_000,
  )

  it('takes newcomers while one address has as many identities as it can', async () => {
    const other = await startNode('durable', {}, undefined, {
      maxConnections: 6,
      maxConnectionsPerAddress: 3,
    })
    const elsewhere = await startTcpProxy(portOf(other.libp2p), '127.0.0.2')
    const through = multiaddr(`/ip4/127.0.0.1/tcp/${elsewhere.port}/ws/p2p/${other.libp2p.peerId}`)
    const greedy = await Promise.all(
      Array.from({ length: 8 }, () => bareNode(crypto.getRandomValues(new Uint8Array(32)))),
    )
    try {
      const dials = await Promise.allSettled(greedy.map((one) => one.dial(through)))
      expect(dials.filter(({ status }) => status === 'fulfilled')).toHaveLength(3)
      await until(() => other.libp2p.getConnections().length === 3)
      await servesHonest(other, 'newcomers')
      await Promise.all(greedy.map((one) => one.hangUp(other.libp2p.peerId)))
      await until(async () => {
        const dialled = await greedy[7]?.dial(through).catch(() => undefined)
        return dialled !== undefined
      })
    } finally {
      await Promise.all(greedy.map((one) => one.stop()))
      await elsewhere.close()
      await other.close()
    }
  }, 60_000)

  it('goes on when a connection cannot be accepted', async () => {
    const { transportManager } = (node.libp2p as unknown as WithListeners).components
    for (const { server } of transportManager.getListeners())
      server?.emit('error', Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' }))
    await servesHonest(node, 'after an error of the server')
    expect(failures).toEqual([])
  })

  it('lets the node stop while somebody holds silent sockets open', async () => {
    const other = await startNode('durable')
    const port = portOf(other.libp2p)
    const silent = await dial(port)
    const half = await dial(port)
    half.write('GET / HTTP/1.1\r\n')
    const gone = Promise.all([closed(silent), closed(half)])
    await other.close()
    await gone
  })

  it('lets go of a socket that does not become a websocket, and keeps one that does', async () => {
    const transport = hardenedListeners(() => ({ createListener: () => listener }), {
      handshakeTimeoutMs: 200,
    })({})
    const server = createServer()
    const wsServer = new WebSocketServer({ noServer: true })
    const listener = { server, wsServer, close: async () => void server.close() }
    transport.createListener()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    await closed(await dial(port))
    const slow = await dial(port)
    const header = setInterval(() => slow.write('a'), 20)
    await closed(slow).finally(() => clearInterval(header))
    const http = createHttpServer().on('upgrade', (request, socket, head) =>
      wsServer.handleUpgrade(request, socket, head, () => undefined),
    )
    server.on('connection', (socket) => http.emit('connection', socket))
    const webSocket = new WebSocket(`ws://127.0.0.1:${port}`)
    await once(webSocket, 'open')
    await closed(await dial(port)) // as long as a silent one lives
    expect(webSocket.readyState).toBe(WebSocket.OPEN)
    const ended = new Promise((resolve) => webSocket.on('close', resolve).on('error', () => undefined))
    await listener.close()
    await ended
  })
})
