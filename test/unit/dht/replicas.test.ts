import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { equalBytes, sha256 } from '../../../src/dht/codec.ts'
import { StickyError } from '../../../src/dht/errors.ts'
import type { ClosestPeer } from '../../../src/dht/network.ts'
import { DEFAULT_DHT_OPTIONS, type DhtOptions } from '../../../src/dht/options.ts'
import {
  type Acknowledgement,
  type CommitOutcome,
  type CommitRequest,
  Replicas,
} from '../../../src/dht/replicas.ts'
import { recordMethods } from '../../../src/dht/wire.ts'
import { until } from '../../support/memory-nodes.ts'
import { codeOf, type HeldPeer, heldHolder, RpcNet, type RpcPeer } from '../../support/rpc-net.ts'

const KEY = new Uint8Array(32).fill(1)
const LATER = Uint8Array.of(8)
const laterId = await sha256(LATER)
const isLater = (id: Uint8Array) => equalBytes(id, laterId)
const request = { kind: 'any', key: KEY, head: Uint8Array.of(1), isLater }
const { requestTimeoutMs, downMs, maxDownMs, replicaSetTtlMs, stragglerMs } = DEFAULT_DHT_OPTIONS

let net: RpcNet
let self: RpcPeer
let replicas: Replicas

function replicasOf(peer: RpcPeer, options: Partial<DhtOptions> = {}): Replicas {
  return new Replicas(peer.network, peer.rpc, net.runtime, { ...DEFAULT_DHT_OPTIONS, ...options })
}

beforeEach(async () => {
  net = new RpcNet()
  self = await net.peer()
  replicas = replicasOf(self)
})
afterEach(() => net.close())

const holders = (...durable: boolean[]) => Promise.all(durable.map((one) => heldHolder(net, one)))

/** A commit under way: what it has said so far. */
function commit(
  set: { nodeId: string; durable: boolean }[],
  local: Promise<unknown> = Promise.resolve(),
  step?: CommitRequest['step'],
) {
  const quorums: Acknowledgement[] = []
  const peers: ClosestPeer[] = set.map(({ nodeId, durable }) => ({ nodeId, durable }))
  const running = { quorums, outcome: undefined as CommitOutcome | undefined, done: Promise.resolve() }
  running.done = replicas
    .commit(peers, { ...request, step }, local, (ack) => quorums.push(ack))
    .then((outcome) => {
      running.outcome = outcome
    })
  return running
}

/** Waits until this node has got so many more replies: an answer that must change nothing has come. */
const replied = (count: number) => until(() => self.rpc.counters.replies === count)
const selfPeer = () => ({ nodeId: self.nodeId, durable: true })

describe('a commit', () => {
  it('is acknowledged by a majority of the set: not before, once, and not only when all have answered', async () => {
    const others = await holders(true, true, true, true)
    const running = commit([selfPeer(), ...others])
    others[0]?.answer()
    await replied(1)
    expect(running.quorums).toEqual([])
    others[1]?.answer()
    await until(() => running.quorums.length > 0)
    expect(running.quorums).toEqual([{ replicas: 3, durableReplicas: 3, signed: [] }])
    expect(running.outcome).toBeUndefined()
    for (const other of others) other.answer()
    await running.done
    expect(running.quorums).toHaveLength(1)
    expect(running.outcome).toEqual({
      quorum: true,
      replicas: 5,
      durableReplicas: 5,
      signed: [],
      conflicts: [],
      failures: [],
    })
  })

  it('brings the delta alone to who has its base, and the head to who has not', async () => {
    const step = { base: new Uint8Array(32).fill(7), delta: Uint8Array.of(2) }
    const [ready, behind, apart] = await holders(true, true, true)
    const asked: string[] = []
    const id = await sha256(request.head)
    for (const [peer, outcome] of [
      [ready, 'stored'],
      [behind, 'other'],
      [apart, 'other'],
    ] as const) {
      peer?.rpc.handle(recordMethods.append, (_from, body) => {
        asked.push(outcome)
        expect(body).toEqual({ kind: 'any', key: KEY, id, ...step })
        return { outcome, signed: Uint8Array.of(4) }
      })
      void peer?.asked().then(() => asked.push('head'))
    }
    const running = commit([ready, behind, apart] as HeldPeer[], undefined, step)
    behind?.answer()
    apart?.answer({ outcome: 'conflict', head: Uint8Array.of(9) })
    await running.done
    expect(asked.toSorted()).toEqual(['head', 'head', 'other', 'other', 'stored'])
    const signed = [{ peer: ready?.nodeId, signed: Uint8Array.of(4) }] // nothing of who has not taken the delta
    expect(running.quorums).toEqual([{ replicas: 2, durableReplicas: 2, signed }])
    expect(running.outcome?.conflicts).toEqual([{ peer: apart?.nodeId, head: Uint8Array.of(9) }])
  })

  it('needs more than half of an even set', async () => {
    const others = await holders(true, true, true)
    const running = commit([selfPeer(), ...others])
    others[0]?.answer()
    await replied(1)
    expect(running.quorums).toEqual([])
    others[1]?.answer()
    await until(() => running.quorums.length === 1)
  })

  it('waits for this node’s own disk like for any other', async () => {
    const own = Promise.withResolvers<void>()
    const others = await holders(true, true)
    const running = commit([selfPeer(), ...others], own.promise)
    others[0]?.answer()
    await replied(1)
    expect(running.quorums).toEqual([])
    own.resolve()
    await until(() => running.quorums.length === 1)
    expect(running.quorums).toEqual([{ replicas: 2, durableReplicas: 2, signed: [] }])
  })

  it('needs a durable holder where the set has one, however many others have it', async () => {
    const [disk, ...tabs] = await holders(true, false, false, false, false)
    const running = commit([disk as HeldPeer, ...tabs])
    for (const tab of tabs) tab.answer()
    await replied(4)
    expect(running.quorums).toEqual([])
    disk?.answer()
    await running.done
    expect(running.quorums).toEqual([{ replicas: 5, durableReplicas: 1, signed: [] }])
  })

  it('needs a majority even when all durable ones have it, and only a majority where there are none', async () => {
    const mixed = await holders(true, false, false)
    const running = commit(mixed)
    mixed[0]?.answer()
    await replied(1)
    expect(running.quorums).toEqual([])
    mixed[1]?.answer()
    await until(() => running.quorums.length === 1)
    const tabs = await holders(false, false, false)
    const among = commit(tabs)
    tabs[0]?.answer()
    tabs[1]?.answer()
    await until(() => among.quorums.length === 1)
    expect(among.quorums).toEqual([{ replicas: 2, durableReplicas: 0, signed: [] }])
  })

  it('counts who has gone on to what this node made of it since, and is no conflict', async () => {
    const others = await holders(true, true)
    const running = commit([selfPeer(), ...others])
    others[0]?.answer({ outcome: 'conflict', head: LATER })
    others[1]?.answer({ outcome: 'conflict', head: Uint8Array.of(9) })
    await running.done
    expect(running.quorums).toEqual([{ replicas: 2, durableReplicas: 2, signed: [] }])
    expect(running.outcome?.conflicts).toEqual([{ peer: others[1]?.nodeId, head: Uint8Array.of(9) }])
  })

  it('counts neither conflicts nor failures, and tells of both', async () => {
    const others = await holders(true, true, true, true)
    const running = commit([selfPeer(), ...others])
    const theirs = Uint8Array.of(9)
    others[0]?.answer()
    others[1]?.answer({ outcome: 'conflict', head: theirs })
    others[2]?.fail(new StickyError('STORAGE_FULL', 'full'))
    others[3]?.fail(new StickyError('BUSY', 'busy'))
    await running.done
    expect(running.quorums).toEqual([])
    expect(running.outcome).toMatchObject({
      quorum: false,
      replicas: 2,
      durableReplicas: 2,
      conflicts: [{ peer: others[1]?.nodeId, head: theirs }],
      failures: expect.arrayContaining([
        { peer: others[2]?.nodeId, code: 'STORAGE_FULL' },
        { peer: others[3]?.nodeId, code: 'BUSY' },
      ]),
    })
    expect(replicas.downCount).toBe(0)
  })

  it('that this node’s own disk refuses is no replica, and this node stays in its own set', async () => {
    const others = await holders(true, true)
    const refused = Promise.reject(new StickyError('STORAGE_FAILED', 'no'))
    const running = commit([selfPeer(), ...others], refused)
    others[0]?.answer()
    await replied(1)
    expect(running.quorums).toEqual([])
    others[1]?.answer()
    await running.done
    expect(running.outcome).toMatchObject({
      quorum: true,
      replicas: 2,
      failures: [{ peer: self.nodeId, code: 'STORAGE_FAILED' }],
    })
    replicas.markDown(self.nodeId)
    expect((await replicas.set(KEY)).map(({ nodeId }) => nodeId)).toContain(self.nodeId)
  })

  it('to nobody is no quorum', async () => {
    const running = commit([])
    await running.done
    expect(running.outcome).toMatchObject({ quorum: false, replicas: 0 })
    expect(running.quorums).toEqual([])
  })

  it('does not wait for a black hole: acknowledged first, then the time runs out for it', async () => {
    const others = await holders(true, true)
    const [hole, good] = others as [HeldPeer, HeldPeer]
    self.network.blackholes.add(hole.nodeId)
    const events: string[] = []
    const peers = [selfPeer(), hole, good].map(({ nodeId, durable }) => ({ nodeId, durable }))
    const done = replicas
      .commit(peers, request, Promise.resolve(), () => events.push('acknowledged'))
      .then(({ failures }) => {
        for (const { peer, code } of failures) events.push(`${peer === hole.nodeId ? 'hole' : peer} ${code}`)
      })
    await good.asked()
    good.answer()
    await until(() => events.length === 1)
    expect(events).toEqual(['acknowledged']) // and no timer has run
    net.runtime.advance(requestTimeoutMs)
    await done
    expect(events).toEqual(['acknowledged', 'hole TIMEOUT'])
  })
})

describe('the set', () => {
  const ids = async (of = replicas) => (await of.set(KEY)).map(({ nodeId }) => nodeId)

  it('keeps a peer that is slow: a majority is of all, not of those that are fast', async () => {
    const [slow] = (await holders(true, true)) as [HeldPeer]
    expect(await ids()).toHaveLength(3)
    const running = commit([slow])
    await slow.asked()
    net.runtime.advance(requestTimeoutMs)
    await running.done
    expect(running.outcome?.failures).toEqual([{ peer: slow.nodeId, code: 'TIMEOUT' }])
    expect(await ids()).toContain(slow.nodeId)
    replicas.noteFailure(slow.nodeId, new StickyError('BUSY', 'busy'))
    replicas.noteFailure(slow.nodeId, new StickyError('RATE_LIMITED', 'slow down'))
    expect(await ids()).toContain(slow.nodeId)
  })

  it('keeps a peer that says that it cannot reach another one', async () => {
    const [stuck] = (await holders(true, true)) as [HeldPeer]
    const running = commit([stuck])
    stuck.fail(new StickyError('UNREACHABLE', 'Another one is away.'))
    await running.done
    expect(running.outcome?.failures).toEqual([{ peer: stuck.nodeId, code: 'UNREACHABLE' }])
    expect(await ids()).toContain(stuck.nodeId)
  })

  it('leaves out a peer that cannot be reached, for a while that doubles up to a limit', async () => {
    const [gone] = (await holders(true, true)) as [HeldPeer]
    expect(await ids()).toContain(gone.nodeId)
    const { openLink } = self.network
    self.network.openLink = (peer, ...rest) =>
      peer === gone.nodeId
        ? Promise.reject(new StickyError('UNREACHABLE', 'gone'))
        : openLink.call(self.network, peer, ...rest)
    let waitMs = downMs
    for (let n = 0; n < 8; n++) {
      const running = commit([gone])
      await running.done
      expect(running.outcome?.failures).toEqual([{ peer: gone.nodeId, code: 'UNREACHABLE' }])
      expect(await ids()).not.toContain(gone.nodeId)
      net.runtime.advance(waitMs - 1)
      expect(await ids(), `after ${waitMs} ms`).not.toContain(gone.nodeId)
      net.runtime.advance(1)
      expect(await ids(), `after ${waitMs} ms`).toContain(gone.nodeId)
      waitMs = Math.min(2 * waitMs, maxDownMs)
    }
    expect(waitMs).toBe(maxDownMs)
  })

  it('counts all that was under way when a peer went as once, and the next time as twice', async () => {
    const [gone] = (await holders(true, true)) as [HeldPeer]
    await ids()
    const cooledMs = () => replicas.view(8).cooled.map(({ forMs }) => forMs)
    const running = Array.from({ length: 8 }, () => commit([gone]))
    await until(() => gone.rpc.counters.requestsReceived === 8)
    net.hub.crash(gone.nodeId)
    const outcomes = await Promise.all(running.map(async ({ done }) => done))
    expect(outcomes).toHaveLength(8)
    expect(running.map(({ outcome }) => outcome?.failures[0]?.code)).toEqual(running.map(() => 'LINK_CLOSED'))
    expect(cooledMs()).toEqual([downMs])
    net.runtime.advance(downMs)
    await Promise.all([commit([gone]).done, commit([gone]).done])
    expect(cooledMs()).toEqual([2 * downMs])
  })

  it('does not take it back because it is looked up again, however often', async () => {
    const [gone] = (await holders(true, true)) as [HeldPeer]
    expect(await ids()).toContain(gone.nodeId)
    let lookUps = 0
    const { closestPeers } = self.network
    self.network.closestPeers = (...args) => {
      lookUps += 1
      return closestPeers.apply(self.network, args)
    }
    replicas.markDown(gone.nodeId)
    for (let n = 1; n <= 100; n++) {
      replicas.topologyChanged()
      expect(await ids()).not.toContain(gone.nodeId)
      await until(() => lookUps === n && replicas.refreshing(KEY) === undefined)
    }
    expect(await ids()).not.toContain(gone.nodeId)
    net.runtime.advance(downMs)
    expect(await ids()).toContain(gone.nodeId)
  })

  it('asks those again that were gone, where nobody else is left', async () => {
    const peers = await holders(true, false)
    const { closestPeers } = self.network
    self.network.closestPeers = async (...args) =>
      (await closestPeers.apply(self.network, args)).filter(({ nodeId }) => nodeId !== self.nodeId)
    const [first, second] = (await ids()) as [string, string]
    replicas.markDown(first)
    expect(await ids()).toEqual([second])
    replicas.markDown(second)
    expect(await ids()).toEqual([first, second])
    expect(peers.map(({ nodeId }) => nodeId).sort()).toEqual([first, second].sort())
  })

  it('takes it back at once when it says hello, and forgets how often it was gone', async () => {
    const [other] = (await holders(true)) as [HeldPeer]
    for (let n = 0; n < 3; n++) replicas.markDown(other.nodeId)
    expect(await ids()).not.toContain(other.nodeId)
    void codeOf(other.rpc.request(self.nodeId, recordMethods.head, { kind: 'any', key: KEY }))
    await until(() => self.rpc.isConnected(other.nodeId) && replicas.downCount === 0)
    expect(await ids()).toContain(other.nodeId)
    replicas.markDown(other.nodeId)
    net.runtime.advance(downMs)
    expect(await ids()).toContain(other.nodeId)
  })

  it('has the closest durable ones, the closest of any kind for the rest, nearest first', async () => {
    await holders(...Array.from({ length: 12 }, (_, n) => n % 4 === 0))
    const all = await self.network.closestPeers(KEY, {
      count: 100,
      minDurable: 100,
      signal: new AbortController().signal,
    })
    const small = replicasOf(self, { replication: 5, minDurable: 3 })
    const chosen = await small.set(KEY)
    const durable = all.filter((peer) => peer.durable).slice(0, 3)
    const others = all.filter((peer) => !durable.includes(peer)).slice(0, 2)
    const expected = all.filter((peer) => durable.includes(peer) || others.includes(peer))
    expect(chosen).toEqual(expected)
    // who is down gives its place to the next of its kind
    small.markDown(
      durable[0]?.nodeId === self.nodeId ? String(durable[1]?.nodeId) : String(durable[0]?.nodeId),
    )
    const after = await small.set(KEY)
    expect(after).toHaveLength(5)
    expect(after.filter((peer) => peer.durable).length).toBeGreaterThanOrEqual(3)
  })

  it('is looked up once, again when it is old or peers came or went, and not waited for then', async () => {
    let lookUps = 0
    const { closestPeers } = self.network
    let gate: Promise<void> | undefined
    self.network.closestPeers = async (...args) => {
      lookUps += 1
      await gate
      return closestPeers.apply(self.network, args)
    }
    const before = await ids()
    await ids()
    expect(lookUps).toBe(1)
    net.runtime.advance(replicaSetTtlMs + 1)
    const held = Promise.withResolvers<void>()
    gate = held.promise
    const newcomer = await heldHolder(net)
    expect(await ids()).toEqual(before) // the known set serves meanwhile
    expect(await ids()).toEqual(before)
    expect(lookUps).toBe(2)
    held.resolve()
    await until(async () => (await ids()).includes(newcomer.nodeId))
    expect(lookUps).toBe(2)
    net.runtime.advance(1)
    replicas.topologyChanged()
    await ids()
    expect(lookUps).toBe(3)
  })

  it('is remembered for a bounded number of keys', async () => {
    let lookUps = 0
    const { closestPeers } = self.network
    self.network.closestPeers = (...args) => {
      lookUps += 1
      return closestPeers.apply(self.network, args)
    }
    const two = replicasOf(self, { maxCachedReplicaSets: 2 })
    const key = (n: number) => new Uint8Array(32).fill(n)
    for (const n of [1, 2, 2, 1]) await two.set(key(n))
    expect(lookUps).toBe(2)
    await two.set(key(3))
    await two.set(key(2))
    expect(lookUps).toBe(3)
    await two.set(key(1))
    expect(lookUps).toBe(4)
  })

  it('that cannot be looked up is an error, and the next one tries again', async () => {
    const { closestPeers } = self.network
    self.network.closestPeers = () => Promise.reject(new StickyError('NO_REPLICAS', 'nobody'))
    expect(await codeOf(replicas.set(KEY))).toBe('NO_REPLICAS')
    self.network.closestPeers = closestPeers
    expect(await ids()).toEqual([self.nodeId])
  })
})

describe('heads', () => {
  const head = (n: number) => ({ head: Uint8Array.of(n) })

  it('are asked of all; who has none and who fails is told apart', async () => {
    const [one, two, three] = (await holders(true, true, true)) as [HeldPeer, HeldPeer, HeldPeer]
    self.rpc.handle(recordMethods.head, () => head(1))
    one.rpc.handle(recordMethods.head, () => head(2))
    two.rpc.handle(recordMethods.head, () => ({ head: null }))
    three.rpc.handle(recordMethods.head, () => {
      throw new StickyError('STORAGE_FAILED', 'no')
    })
    const answers = new Map((await replicas.heads('any', KEY)).map((answer) => [answer.peer, answer]))
    expect(answers.get(self.nodeId)).toMatchObject({ ...head(1), error: undefined })
    expect(answers.get(one.nodeId)).toMatchObject({ ...head(2), error: undefined })
    expect(answers.get(two.nodeId)).toMatchObject({ head: undefined, error: undefined })
    expect(answers.get(three.nodeId)).toMatchObject({ head: undefined, error: { code: 'STORAGE_FAILED' } })
  })

  it('of a majority are enough: who is slower than that gets a short while, and no more', async () => {
    const [one, slow] = (await holders(true, true)) as [HeldPeer, HeldPeer]
    self.rpc.handle(recordMethods.head, () => head(1))
    one.rpc.handle(recordMethods.head, () => head(1))
    slow.rpc.handle(recordMethods.head, () => new Promise(() => undefined))
    let answers: Awaited<ReturnType<Replicas['heads']>> | undefined
    const asking = replicas.heads('any', KEY).then((given) => {
      answers = given
    })
    await until(() => self.rpc.counters.replies === 1 && slow.rpc.counters.requestsReceived === 1)
    net.runtime.advance(stragglerMs - 1)
    await Promise.resolve()
    expect(answers).toBeUndefined()
    net.runtime.advance(1)
    await asking
    expect(answers?.find(({ peer }) => peer === slow.nodeId)).toMatchObject({ error: { code: 'TIMEOUT' } })
    expect(answers?.filter(({ error }) => error === undefined)).toHaveLength(2)
    expect(await replicas.set(KEY)).toHaveLength(3)
  })

  it('of less than a majority are waited for', async () => {
    const [one, two] = (await holders(true, true)) as [HeldPeer, HeldPeer]
    self.rpc.handle(recordMethods.head, () => head(1))
    const never = () => new Promise<{ head: Uint8Array }>(() => undefined)
    one.rpc.handle(recordMethods.head, never)
    two.rpc.handle(recordMethods.head, never)
    let isDone = false
    const asking = replicas.heads('any', KEY).then((answers) => {
      isDone = true
      return answers
    })
    await until(() => one.rpc.counters.requestsReceived + two.rpc.counters.requestsReceived === 2)
    net.runtime.advance(requestTimeoutMs - 1)
    await until(() => self.rpc.isConnected(one.nodeId))
    expect(isDone).toBe(false)
    net.runtime.advance(1)
    expect((await asking).filter(({ error }) => error?.code === 'TIMEOUT')).toHaveLength(2)
  })
})
