import type { AddressInfo } from 'node:net'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type WebSocket, WebSocketServer } from 'ws'
import {
  acceptedBytes,
  type Challenge,
  type Identity,
  identityFromSeed,
  passChallenge,
  toBase64url,
} from '../../src/dht/index.ts'

/** The client's side of the challenge, against bridges that lie. */

let client: Identity
let real: Identity
let evil: Identity
let server: WebSocketServer | undefined
beforeAll(async () => {
  client = await identityFromSeed(new Uint8Array(32).fill(1))
  real = await identityFromSeed(new Uint8Array(32).fill(2))
  evil = await identityFromSeed(new Uint8Array(32).fill(3))
})
afterEach(() => {
  for (const socket of server?.clients ?? []) socket.terminate()
  server?.close()
  server = undefined
})

/** A bridge that answers each frame as `answer` says. */
async function falseBridge(answer: (frame: { type: string }, socket: WebSocket) => unknown): Promise<string> {
  const listening = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  server = listening
  listening.on('connection', (socket) => {
    socket.on('error', () => undefined)
    socket.on('message', async (data) => answer(JSON.parse(String(data)), socket))
  })
  await new Promise((resolve) => listening.once('listening', resolve))
  return `ws://127.0.0.1:${(listening.address() as AddressInfo).port}/auth`
}
const pass = (url: string, more: { signal?: AbortSignal } = {}) =>
  passChallenge({
    url,
    identity: client,
    expectedServerId: real.nodeId,
    signal: AbortSignal.timeout(15_000),
    ...more,
  })
const send = (socket: WebSocket, frame: object) => socket.send(JSON.stringify(frame))
const NONCE = new Uint8Array(32).fill(5)

/** Plays the protocol as `signer`, under the name `serverId`, with a challenge of `timestamp`. */
const playing =
  (signer: Identity, serverId: string, timestamp: number) =>
  async (frame: { type: string }, socket: WebSocket): Promise<void> => {
    const nonce = toBase64url(NONCE)
    if (frame.type === 'CONNECT') return send(socket, { type: 'CHALLENGE', nonce, timestamp, serverId })
    const { port } = (server as WebSocketServer).address() as AddressInfo
    const challenge: Challenge = {
      serverId,
      audience: `127.0.0.1:${port}`,
      nodeId: client.nodeId,
      nonce: NONCE,
      timestamp,
    }
    const serverSignature = toBase64url(await signer.sign(acceptedBytes(challenge)))
    send(socket, { type: 'CONNECTION_ACCEPTED', nodeId: client.nodeId, verified: true, serverSignature })
  }

describe('the client of the challenge', () => {
  it('accepts the bridge it meant, with a clock four minutes off', async () => {
    for (const offMs of [0, -4 * 60_000, 4 * 60_000]) {
      const url = await falseBridge(playing(real, real.nodeId, Date.now() + offMs))
      expect(await pass(url)).toEqual({ serverId: real.nodeId })
      server?.close()
    }
  })

  it.each([
    ['names itself', () => playing(evil, evil.nodeId, Date.now()), 'WRONG_IDENTITY'],
    [
      'takes the name of the one that was meant',
      () => playing(evil, real.nodeId, Date.now()),
      'WRONG_IDENTITY',
    ],
    ['plays back an old acceptance', () => playing(real, real.nodeId, Date.now() - 6 * 60_000), 'EXPIRED'],
    [
      'challenges from the future',
      () => playing(real, real.nodeId, Date.now() + 6 * 60_000),
      'FROM_THE_FUTURE',
    ],
  ])('refuses one that %s', async (_name, play, code) => {
    await expect(pass(await falseBridge(play()))).rejects.toMatchObject({ name: 'StickyError', code })
  })

  const accepted = { type: 'CONNECTION_ACCEPTED', verified: true, serverSignature: 'A'.repeat(86) }
  it.each([
    ['accepts without a challenge', JSON.stringify({ ...accepted, nodeId: 'x' }), 'MALFORMED'],
    ['talks garbage', '{{{', 'ADMISSION_REFUSED'],
    ['talks without end', `"${'x'.repeat(5_000)}"`, 'ADMISSION_REFUSED'],
    [
      'refuses with a code that does not exist',
      '{"type":"REFUSED","code":"constructor","message":"m"}',
      'ADMISSION_REFUSED',
    ],
  ])('refuses one that %s', async (_name, text, code) => {
    const url = await falseBridge((_frame, socket) => socket.send(text))
    await expect(pass(url)).rejects.toMatchObject({ name: 'StickyError', code })
  })

  it('signs one challenge, not two', async () => {
    let answers = 0
    const challenge = () => ({
      type: 'CHALLENGE',
      nonce: toBase64url(NONCE),
      timestamp: Date.now(),
      serverId: real.nodeId,
    })
    const url = await falseBridge((frame, socket) => {
      if (frame.type === 'RESPONSE') answers += 1
      send(socket, challenge())
    })
    await expect(pass(url)).rejects.toMatchObject({ code: 'MALFORMED' })
    expect(answers).toBe(1)
  })

  it('says what is wrong with one that closes, is silent, is not there or has no address', async () => {
    const closing = await falseBridge((_frame, socket) => socket.close())
    await expect(pass(closing)).rejects.toMatchObject({ name: 'StickyError', code: 'UNREACHABLE' })
    server?.close()
    const silent = await falseBridge(() => undefined)
    await expect(pass(silent, { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({
      code: 'UNREACHABLE',
    })
    await expect(pass(silent, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' })
    await expect(pass('ws://127.0.0.1:1/auth')).rejects.toMatchObject({ code: 'UNREACHABLE' })
    await expect(pass('nowhere')).rejects.toMatchObject({ name: 'StickyError', code: 'UNREACHABLE' })
  })
})
