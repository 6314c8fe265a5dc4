import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { enterBridge, rejoinPauseMs } from '../../../src/dht/bootstrap.ts'
import { AdmissionRefusedError, type ErrorCode, StickyError } from '../../../src/dht/errors.ts'
import { identityFromSeed } from '../../../src/dht/identity.ts'

/** Whatever is at the address instead of a bridge: the error says so, and what to do. Real bridges: test/hostile/bridge.test.ts. */

const identity = await identityFromSeed(new Uint8Array(32).fill(7))

let server: Server | undefined
afterEach(() => {
  server?.closeAllConnections()
  server?.close()
  server = undefined
})

async function serve(listener: RequestListener): Promise<string> {
  server = createServer(listener)
  await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const fails = (entering: Promise<unknown>, code: string, message: RegExp) =>
  expect(entering).rejects.toMatchObject({
    name: 'StickyError',
    code,
    message: expect.stringMatching(message),
  })

describe('entering a bridge', () => {
  it('that is not there', async () => {
    const url = await serve(() => undefined)
    await new Promise((resolve) => server?.close(resolve))
    await fails(enterBridge(url, identity), 'UNREACHABLE', /No bridge answers at .+ Is it running/)
    await fails(enterBridge('no address', identity), 'UNREACHABLE', /is the address right/)
  })

  it('that takes the connection and says nothing, or stops in the middle', async () => {
    const silent = await serve(() => undefined)
    await fails(
      enterBridge(silent, identity, undefined, { timeoutMs: 200 }),
      'UNREACHABLE',
      /did not answer in time\. Check the address/,
    )
    server?.closeAllConnections()
    server?.close()
    const halting = await serve((_request, response) => void response.write('{"serverId":'))
    await fails(
      enterBridge(halting, identity, undefined, { timeoutMs: 200 }),
      'UNREACHABLE',
      /did not answer in time/,
    )
  })

  it('that answers with an error, as a proxy does', async () => {
    const url = await serve((_request, response) => void response.writeHead(502).end('Bad Gateway'))
    await fails(enterBridge(url, identity), 'UNREACHABLE', /answered 502 .+ a proxy in between/)
  })

  it('that never stops talking', async () => {
    let sent = 0
    const endless = await serve((_request, response) => {
      const more = () => {
        while (!response.destroyed && response.write(' '.repeat(1_024))) sent += 1_024
        if (!response.destroyed) response.once('drain', more)
      }
      more()
    })
    await fails(enterBridge(endless, identity), 'MALFORMED', /is not a sticky-pubsub bridge/)
    expect(sent).toBeGreaterThan(16 * 1_024)
  })

  it('that is something else', async () => {
    const page = await serve((_request, response) => void response.end('<!doctype html>'))
    await fails(enterBridge(page, identity), 'MALFORMED', /is not a sticky-pubsub bridge\. Check the address/)
    server?.close()
    const json = await serve((_request, response) => void response.end('{"relay":7}'))
    await fails(enterBridge(json, identity), 'MALFORMED', /is not a sticky-pubsub bridge\. Check the address/)
  })

  it('ends when the caller wants no more, which is not the fault of the bridge', async () => {
    const caller = new AbortController()
    const url = await serve(() => caller.abort())
    await fails(enterBridge(url, identity, caller.signal), 'ABORTED', /aborted/)
  })
})

describe('the pause before a bridge is asked again', () => {
  const refusal = (reason: ErrorCode) => new AdmissionRefusedError(reason, 'no')

  it('doubles to the maximum while the bridge is away or busy', () => {
    for (const error of [
      new StickyError('UNREACHABLE', 'away'),
      refusal('BUSY'),
      refusal('RATE_LIMITED'),
      'odd',
    ])
      expect([1_500, 3_000, 20_000].map((lastMs) => rejoinPauseMs(error, lastMs, 30_000))).toEqual([
        3_000, 6_000, 30_000,
      ])
  })

  it.each(['INVITATION_REQUIRED', 'INVITATION_USED', 'INVITATION_EXPIRED', 'WRONG_IDENTITY'] as const)(
    'is the maximum at once after %s: the bridge has a rule against this node',
    (reason) => {
      expect(rejoinPauseMs(refusal(reason), 1_500, 30_000)).toBe(30_000)
    },
  )
})
