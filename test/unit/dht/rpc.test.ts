import * as v from 'valibot'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { encode } from '../../../src/dht/codec.ts'
import { StickyError } from '../../../src/dht/errors.ts'
import type { PeerNetwork } from '../../../src/dht/network.ts'
import { DEFAULT_DHT_OPTIONS } from '../../../src/dht/options.ts'
import { method } from '../../../src/dht/wire.ts'
import { Attacker, HELLO } from '../../support/attacker.ts'
import { until } from '../../support/memory-nodes.ts'
import { answering, codeOf, echo, RpcNet, type RpcPeer } from '../../support/rpc-net.ts'

let net: RpcNet
let a: RpcPeer
let b: RpcPeer

beforeEach(async () => {
  net = new RpcNet()
  a = await net.peer()
  b = await net.peer()
})
afterEach(() => net.close())

const ask = (from: RpcPeer, to: string, n = 1) => from.rpc.request(to, echo, { n })

/** Serves `echo` at a peer, answering each request when the test says so. */
function heldEcho({ rpc }: RpcPeer) {
  const asked: { from: string; n: number; answer: PromiseWithResolvers<{ n: number }> }[] = []
  rpc.handle(echo, (from, { n }) => {
    const answer = Promise.withResolvers<{ n: number }>()
    asked.push({ from, n, answer })
    return answer.promise
  })
  const answer = (n: number) => asked.find((one) => one.n === n)?.answer.resolve({ n })
  return { asked, answer, arrived: (count: number) => until(() => asked.length === count) }
}

describe('a request', () => {
  it('gets the reply to itself, whatever the order of the answers, and the handler knows who asks', async () => {
    const held = heldEcho(b)
    const all = [1, 2, 3].map((n) => ask(a, b.nodeId, n))
    await held.arrived(3)
    expect(held.asked.map(({ from }) => from)).toEqual([a.nodeId, a.nodeId, a.nodeId])
    for (const n of [3, 1, 2]) held.answer(n)
    expect(await Promise.all(all)).toEqual([{ n: 1 }, { n: 2 }, { n: 3 }])
    expect(net.runtime.waiting).toBe(0)
  })

  it('gets the error that the handler threw, with its code; a stranger’s code is MALFORMED', async () => {
    b.rpc.handle(echo, () => {
      throw new StickyError('TOPIC_FULL', 'full')
    })
    await expect(ask(a, b.nodeId)).rejects.toMatchObject({
      code: 'TOPIC_FULL',
      message: expect.stringContaining('full'),
    })
    const place = await net.place()
    place.onInboundLink(answering((id) => ['error', id, 'toString', 'odd']))
    expect(await codeOf(ask(a, place.self))).toBe('MALFORMED')
  })

  it('gets the code of what the other machine has trouble with, and no more: its text names folders', async () => {
    const troubles = [
      new StickyError('STORAGE_FULL', 'The disk that holds /home/ada/topics is full.'),
      new StickyError('STORAGE_FULL', 'The disk that holds /home/ada/topics is full.'),
      new TypeError('Cannot read /home/ada/secret'),
    ]
    b.rpc.handle(echo, () => {
      throw troubles.shift()
    })
    const refusal = await ask(a, b.nodeId).catch((error) => error)
    expect(refusal).toMatchObject({ code: 'STORAGE_FULL', message: expect.not.stringContaining('/home') })
    await expect(ask(b, b.nodeId)).rejects.toMatchObject({ message: expect.stringContaining('/home/ada') })
    expect(await ask(a, b.nodeId).catch((error) => error)).toMatchObject({
      code: 'STORAGE_FAILED',
      message: expect.not.stringContaining('/home'),
    })
  })

  it('of an unknown method is answered so, and one that does not fit its schema is MALFORMED', async () => {
    expect(await codeOf(ask(a, b.nodeId))).toBe('UNKNOWN_METHOD')
    const held = heldEcho(b)
    const loose = method('test/echo', echo.quota, v.unknown(), v.unknown())
    for (const body of [null, {}, { n: -1 }, { n: 1, more: 1 }, { n: '1' }])
      expect(await codeOf(a.rpc.request(b.nodeId, loose, body))).toBe('MALFORMED')
    expect(held.asked).toEqual([])
  })

  it('whose reply has another shape is MALFORMED, and the link goes on', async () => {
    const place = await net.place()
    const answers: unknown[] = [{ n: 'one' }, { n: 1 }]
    place.onInboundLink(answering((id) => ['reply', id, answers.shift()]))
    expect(await codeOf(ask(a, place.self))).toBe('MALFORMED')
    expect(await ask(a, place.self)).toEqual({ n: 1 })
  })

  it('too large for a frame is refused here; nothing is sent, and the link stays', async () => {
    heldEcho(b)
    const loose = method('test/echo', echo.quota, v.unknown(), v.unknown())
    const sent = a.rpc.counters.requestsSent
    expect(await codeOf(a.rpc.request(b.nodeId, loose, new Uint8Array(256 * 1024)))).toBe('TOO_LARGE')
    expect(a.rpc.counters.requestsSent).toBe(sent)
    expect(net.runtime.waiting).toBe(0)
  })

  it('to oneself neither dials nor encodes, and knows only what is served here', async () => {
    a.network.openLink = () => Promise.reject(new Error('dialled'))
    expect(await codeOf(ask(a, a.nodeId))).toBe('UNKNOWN_METHOD')
    const froms: string[] = []
    a.rpc.handle(echo, (from, body) => {
      froms.push(from)
      return body
    })
    const body = { n: 1 }
    expect(await a.rpc.request(a.nodeId, echo, body)).toBe(body)
    expect(froms).toEqual([a.nodeId])
    expect(a.rpc.isConnected(a.nodeId)).toBe(true)
    expect(a.rpc.connectedPeers).toEqual([])
  })

  it('ends with ABORTED when its caller gives up, before or during', async () => {
    const held = heldEcho(b)
    const gone = AbortSignal.abort()
    expect(await codeOf(a.rpc.request(b.nodeId, echo, { n: 1 }, { signal: gone }))).toBe('ABORTED')
    const abort = new AbortController()
    const asking = codeOf(a.rpc.request(b.nodeId, echo, { n: 2 }, { signal: abort.signal }))
    await held.arrived(1)
    abort.abort()
    expect(await asking).toBe('ABORTED')
    expect(held.asked.map(({ n }) => n)).toEqual([2])
    expect(net.runtime.waiting).toBe(0)
  })
})

describe('without an answer', () => {
  const { requestTimeoutMs, unansweredBeforeRedial, linkTimeoutMs } = DEFAULT_DHT_OPTIONS

  it('a request ends with TIMEOUT at its time, not before, and a late reply changes nothing', async () => {
    const held = heldEcho(b)
    let outcome = 'waiting'
    const asking = codeOf(ask(a, b.nodeId, 1)).then((code) => {
      outcome = code
    })
    await held.arrived(1)
    net.runtime.advance(requestTimeoutMs - 1)
    const other = ask(a, b.nodeId, 2)
    await held.arrived(2)
    expect(outcome).toBe('waiting')
    net.runtime.advance(1)
    await asking
    expect(outcome).toBe('TIMEOUT')
    const score = a.rpc.scores.of(b.nodeId)
    expect(score).toBeLessThan(1)
    expect(b.rpc.scores.of(a.nodeId)).toBe(1)
    const replies = a.rpc.counters.replies
    held.answer(1)
    held.answer(2)
    expect(await other).toEqual({ n: 2 })
    expect(a.rpc.counters).toMatchObject({ replies: replies + 1, timeouts: 1 })
    expect(1 - a.rpc.scores.of(b.nodeId)).toBeCloseTo((1 - score) * 0.92) // of one answer, not of the late one
    expect(a.rpc.isConnected(b.nodeId)).toBe(true)
  })

  it('several times in a row the link counts as dead: it is closed, and the next request dials anew', async () => {
    let dials = 0
    const { openLink } = a.network
    a.network.openLink = (...args) => {
      dials += 1
      return openLink.apply(a.network, args)
    }
    b.rpc.handle(echo, (_from, body) => body)
    await ask(a, b.nodeId)
    a.network.blackholes.add(b.nodeId)
    const timeOut = async () => {
      const sent = a.rpc.counters.requestsSent
      const asking = codeOf(ask(a, b.nodeId))
      await until(() => a.rpc.counters.requestsSent > sent)
      net.runtime.advance(requestTimeoutMs)
      return asking
    }
    for (let n = 1; n < unansweredBeforeRedial; n++) expect(await timeOut()).toBe('TIMEOUT')
    a.network.blackholes.clear()
    await ask(a, b.nodeId) // one answer, and the count begins anew
    a.network.blackholes.add(b.nodeId)
    for (let n = 1; n < unansweredBeforeRedial; n++) expect(await timeOut()).toBe('TIMEOUT')
    expect(dials).toBe(1)
    await timeOut()
    a.network.blackholes.clear()
    await until(() => !a.rpc.isConnected(b.nodeId))
    await ask(a, b.nodeId)
    expect(dials).toBe(2)
  })

  it('it counts as none what a peer says on its own: the link is closed all the same', async () => {
    a.rpc.handle(echo, (_from, body) => body)
    const peer = await net.place()
    const talker = await Attacker.connect(peer, a.nodeId)
    await until(() => a.rpc.isConnected(peer.self))
    for (let n = 1; n <= unansweredBeforeRedial; n++) {
      expect(talker.closed).toBe(false)
      const asking = codeOf(ask(a, peer.self))
      await until(() => talker.frames.filter(([type]) => type === 'request').length === n)
      // a greeting, a request and an answer to nothing: each is taken, none is what was asked for
      talker.send(encode(HELLO))
      talker.send(encode(['reply', 4_000_000, { n: 1 }]))
      expect(await talker.ask('test/echo', { n })).toEqual({ reply: { n } })
      net.runtime.advance(requestTimeoutMs)
      expect(await asking).toBe('TIMEOUT')
    }
    await until(() => talker.closed)
  })

  it('to a dial, all that wait for it end as UNREACHABLE together: there was one dial', async () => {
    const signals: AbortSignal[] = []
    const network: PeerNetwork = a.network
    network.openLink = (_peer, _events, { signal }) => {
      signals.push(signal)
      return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    }
    const long = { timeoutMs: 2 * linkTimeoutMs }
    const all = [1, 2, 3].map((n) => codeOf(a.rpc.request(b.nodeId, echo, { n }, long)))
    await until(() => signals.length === 1)
    net.runtime.advance(linkTimeoutMs)
    expect(await Promise.all(all)).toEqual(['UNREACHABLE', 'UNREACHABLE', 'UNREACHABLE'])
    expect(signals).toHaveLength(1)
    expect(net.runtime.waiting).toBe(0)
  })

  it('because nobody is there is UNREACHABLE, and leaves nothing behind', async () => {
    net.hub.crash(b.nodeId)
    expect(await codeOf(ask(a, b.nodeId))).toBe('UNREACHABLE')
    expect(net.runtime.waiting).toBe(0)
    expect(a.rpc.connectedPeers).toEqual([])
  })

  it('because the link closed is LINK_CLOSED, for every request on it and no other', async () => {
    heldEcho(b)
    const c = await net.peer()
    const held = heldEcho(c)
    const lost = [1, 2].map((n) => codeOf(ask(a, b.nodeId, n)))
    const other = ask(a, c.nodeId, 3)
    await held.arrived(1)
    await until(() => b.rpc.counters.requestsReceived === 2)
    net.hub.crash(b.nodeId)
    expect(await Promise.all(lost)).toEqual(['LINK_CLOSED', 'LINK_CLOSED'])
    held.answer(3)
    expect(await other).toEqual({ n: 3 })
  })
})

describe('hostile frames', () => {
  const hello = (change: object) => {
    const told = { version: 1, session: new Uint8Array(16), stores: true, durable: true, ...change }
    return encode(['hello', told])
  }
  const frames: [what: string, frame: Uint8Array][] = [
    ['that are no CBOR', Uint8Array.of(0xff)],
    ['that are empty', new Uint8Array()],
    ['that are not canonical', Uint8Array.of(0x81, 0x18, 0x00)],
    ['of an unknown type', encode(['shout', 1])],
    ['with a negative id', encode(['reply', -1, null])],
    ['with something behind', encode(['reply', 1, null, null])],
    ['with a method name too long', encode(['request', 1, 'm'.repeat(33), null])],
    ['of another wire version', hello({ version: 2 })],
    ['with an unknown field', hello({ more: true })],
  ]
  for (const [what, frame] of frames) {
    it(`${what} close their link, count as rejected, and the others are served`, async () => {
      heldEcho(a)
      const peer = await net.place()
      const attacker = await Attacker.connect(peer, a.nodeId)
      await until(() => a.rpc.isConnected(peer.self))
      const rejected = a.rpc.counters.rejected
      attacker.send(frame)
      expect(await attacker.outcome()).toEqual({ closed: true })
      expect(a.rpc.counters.rejected).toBe(rejected + 1)
      expect(a.rpc.connectedPeers).not.toContain(peer.self)
      const asking = ask(b, a.nodeId, 7)
      await until(() => a.rpc.counters.requestsReceived === 1)
      expect(b.rpc.isConnected(a.nodeId)).toBe(true)
      b.rpc.close()
      expect(await codeOf(asking)).toBe('CLOSED')
    })
  }

  it('are ignored when they answer what was asked of somebody else', async () => {
    const held = heldEcho(b)
    const asking = ask(a, b.nodeId, 1)
    await held.arrived(1)
    const peer = await net.place()
    const attacker = await Attacker.connect(peer, a.nodeId)
    const before = a.rpc.counters.bytesReceived
    for (let id = 0; id < 5; id++) attacker.send(encode(['reply', id, { n: 666 }]))
    attacker.send(encode(['error', 0, 'TOPIC_FULL', 'no']))
    await until(() => a.rpc.counters.bytesReceived > before + 60)
    expect(await attacker.ask('none', null)).toMatchObject({ error: 'UNKNOWN_METHOD' })
    held.answer(1)
    expect(await asking).toEqual({ n: 1 })
    expect(attacker.closed).toBe(false)
  })
})

describe('a peer that asks much', () => {
  it('has a bounded number of requests in work; more are BUSY, and others are served meanwhile', async () => {
    const c = await net.peer({ maxInflightPerPeer: 2 })
    const held = heldEcho(c)
    const working = [1, 2].map((n) => ask(a, c.nodeId, n))
    await held.arrived(2)
    expect(await codeOf(ask(a, c.nodeId, 3))).toBe('BUSY')
    const other = ask(b, c.nodeId, 4)
    await held.arrived(3)
    for (const n of [1, 2, 4]) held.answer(n)
    expect(await Promise.all([...working, other])).toEqual([{ n: 1 }, { n: 2 }, { n: 4 }])
    const again = ask(a, c.nodeId, 5)
    await held.arrived(4)
    held.answer(5)
    expect(await again).toEqual({ n: 5 })
  })

  it('has its control, and what waits for others, served while all that it may have in work is bulk', async () => {
    const c = await net.peer({ maxInflightPerPeer: 2 })
    const bulk = heldEcho(c)
    const beat = method('test/beat', echo.quota, v.unknown(), v.unknown(), 'control')
    const beats: (() => void)[] = []
    c.rpc.handle(beat, () => new Promise((resolve) => beats.push(() => resolve(null))))
    const working = [1, 2].map((n) => ask(a, c.nodeId, n))
    await bulk.arrived(2)
    const beating = [1, 2].map(() => a.rpc.request(c.nodeId, beat, null))
    await until(() => beats.length === 2)
    expect(await codeOf(ask(a, c.nodeId, 3))).toBe('BUSY')
    expect(await codeOf(a.rpc.request(c.nodeId, beat, null))).toBe('BUSY')
    const offer = method('test/offer', echo.quota, v.unknown(), v.unknown(), 'waiting')
    c.rpc.handle(offer, () => null)
    const { serve } = c.stages.readings
    expect(await a.rpc.request(c.nodeId, offer, null)).toBeNull()
    expect(c.stages.readings.serve).toEqual(serve) // what waits for others says nothing of this node
    expect(c.stages.readings.serveWaiting.count).toBe(1)
    for (const done of beats) done()
    for (const n of [1, 2]) bulk.answer(n)
    expect(await Promise.all([...working, ...beating])).toEqual([{ n: 1 }, { n: 2 }, null, null])
    expect(c.rpc.servingCount).toBe(0)
    expect(c.stages.readings.serve.count).toBe(serve.count + 4)
  })

  it('is limited before its request is looked at, one peer and method at a time', async () => {
    let served = 0
    b.rpc.handle(echo, (_from, body) => {
      served += 1
      return body
    })
    const other = method('test/other', { perSecond: 1, burst: 1 }, v.unknown(), v.unknown())
    b.rpc.handle(other, () => null)
    const loose = method('test/echo', echo.quota, v.unknown(), v.unknown())
    const bad = () => codeOf(a.rpc.request(b.nodeId, loose, 'no number'))
    for (let n = 0; n < 4; n++) expect(await bad()).toBe('MALFORMED')
    for (let n = 0; n < 6; n++) await ask(a, b.nodeId)
    expect(served).toBe(6)
    expect(await codeOf(ask(a, b.nodeId))).toBe('RATE_LIMITED')
    expect(await bad()).toBe('RATE_LIMITED') // not MALFORMED: nobody looked
    expect(served).toBe(6)
    expect(await a.rpc.request(b.nodeId, other, 1)).toBeNull()
    const c = await net.peer()
    await ask(c, b.nodeId)
    net.runtime.advance(100)
    await ask(a, b.nodeId)
    expect(await codeOf(ask(a, b.nodeId))).toBe('RATE_LIMITED')
    expect(served).toBe(8)
  })
})

describe('links', () => {
  it('are told when a peer has said hello, and when its last one has closed', async () => {
    const events: string[] = []
    a.rpc.onPeerSeen((peer) => events.push(`seen ${peer === b.nodeId}`))
    a.rpc.onPeerGone((peer) => events.push(`gone ${peer === b.nodeId}`))
    b.rpc.handle(echo, (_from, body) => body)
    await ask(a, b.nodeId)
    expect(a.rpc.helloOf(b.nodeId)).toMatchObject({ version: 1, stores: true, durable: true })
    expect(a.rpc.connectedPeers).toEqual([b.nodeId])
    const second = await Attacker.connect(b.network, a.nodeId)
    await until(() => events.length === 2)
    second.close()
    await until(() => second.closed)
    expect(events).toEqual(['seen true', 'seen true'])
    net.hub.crash(b.nodeId)
    await until(() => events.length === 3)
    expect(events.at(-1)).toBe('gone true')
    expect(a.rpc.isConnected(b.nodeId)).toBe(false)
    expect(a.rpc.helloOf(b.nodeId)).toBeUndefined()
  })

  it('replace each other: requests go out on the newest, and the one before still brings its answers', async () => {
    const peer = await net.place()
    const first = await Attacker.connect(peer, a.nodeId)
    const asking = ask(a, peer.self, 1)
    const request = await until(() => first.frames.find(([type]) => type === 'request'))
    const second = await Attacker.connect(peer, a.nodeId)
    second.answer = () => ({ n: 2 })
    await until(() => second.frames.length === 1)
    expect(await ask(a, peer.self, 2)).toEqual({ n: 2 })
    first.send(encode(['reply', request?.[1], { n: 1 }]))
    expect(await asking).toEqual({ n: 1 })
    second.close()
    await until(() => second.closed)
    first.answer = () => ({ n: 3 })
    expect(await ask(a, peer.self, 3)).toEqual({ n: 3 })
  })

  it('of one peer are bounded: the oldest closes, and what waited on it is LINK_CLOSED', async () => {
    const { maxLinksPerPeer } = DEFAULT_DHT_OPTIONS
    const peer = await net.place()
    const oldest = await Attacker.connect(peer, a.nodeId)
    const asking = codeOf(ask(a, peer.self))
    await until(() => oldest.frames.length === 2)
    const newer: Attacker[] = []
    for (let n = 0; n < maxLinksPerPeer; n++) newer.push(await Attacker.connect(peer, a.nodeId))
    await until(() => oldest.closed)
    expect(await asking).toBe('LINK_CLOSED')
    expect(newer.map(({ closed }) => closed)).toEqual(newer.map(() => false))
  })

  it('with a reply on another link than its request is not answered', async () => {
    const peer = await net.place()
    const first = await Attacker.connect(peer, a.nodeId)
    const asking = ask(a, peer.self, 1)
    const request = await until(() => first.frames.find(([type]) => type === 'request'))
    const second = await Attacker.connect(peer, a.nodeId)
    second.send(encode(['reply', request?.[1], { n: 666 }]))
    expect(await second.ask('none', null)).toMatchObject({ error: 'UNKNOWN_METHOD' })
    first.send(encode(['reply', request?.[1], { n: 1 }]))
    expect(await asking).toEqual({ n: 1 })
  })
})

describe('closing', () => {
  it('rejects everything that waits, closes every link, and refuses what comes later', async () => {
    const held = heldEcho(b)
    const waiting = [1, 2, 3].map((n) => codeOf(ask(a, b.nodeId, n)))
    await held.arrived(3)
    let finishDial: (() => void) | undefined
    const { openLink } = a.network
    a.network.openLink = async (...args) => {
      await new Promise<void>((resolve) => {
        finishDial = resolve
      })
      return openLink.apply(a.network, args)
    }
    const c = await net.peer()
    const dialling = codeOf(ask(a, c.nodeId, 4))
    await until(() => finishDial)
    a.rpc.close()
    expect(await Promise.all([...waiting, dialling])).toEqual(['CLOSED', 'CLOSED', 'CLOSED', 'CLOSED'])
    expect(await codeOf(ask(a, b.nodeId))).toBe('CLOSED')
    expect(await codeOf(ask(a, a.nodeId))).toBe('CLOSED')
    await until(() => !b.rpc.isConnected(a.nodeId))
    finishDial?.()
    await until(() => net.runtime.waiting === 0)
    await until(() => c.rpc.connectedPeers.length === 0)
    expect(a.rpc.connectedPeers).toEqual([])
    // who comes now is not let in
    const late = await Attacker.connect(await net.place(), a.nodeId)
    await until(() => late.closed)
  })
})
