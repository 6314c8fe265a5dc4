import type { PeerId } from '@libp2p/interface'
import type { KadDHT } from '@libp2p/kad-dht'
import { describe, expect, it } from 'vitest'
import { KadFinder } from '../../../src/dht/libp2p-finder.ts'
import { BUCKET_PEERS } from '../../../src/dht/look-ups.ts'

/** A kad-dht that tells these events, then goes on until it is cut off where `isEndless`. */
function finderOf(events: object[], { known = BUCKET_PEERS, isEndless = false } = {}): KadFinder {
  const kad = {
    routingTable: { size: known },
    async *getClosestPeers(_key: Uint8Array, { signal }: { signal: AbortSignal }) {
      const cut = new Promise((resolve) => signal.addEventListener('abort', resolve))
      yield* events
      if (isEndless && !signal.aborted) await cut
      signal.throwIfAborted()
    },
  }
  return new KadFinder(kad as unknown as KadDHT, async () => new Uint8Array(32))
}

const peer = (name: string) => name as unknown as PeerId
const answered = (name: string) => ({ name: 'PEER_RESPONSE', from: peer(name) })
const final = (name: string) => ({ name: 'FINAL_PEER', peer: { id: peer(name) } })
const request = { key: new Uint8Array(1), target: new Uint8Array(32), signal: new AbortController().signal }
const bucket = Array.from({ length: BUCKET_PEERS }, (_, i) => `peer ${i}`)

describe('a query of kad-dht', () => {
  it('gives a bucket of the closest', async () => {
    const found = await finderOf([answered('far'), ...bucket.map(final)]).find(request)
    expect(found).toEqual({ peers: bucket, extent: 'closest' })
  })

  it('gives all there are where these are fewer than a bucket, and no more are known', async () => {
    const few = [answered('a'), final('a'), final('b')]
    expect((await finderOf(few, { known: 2 }).find(request)).extent).toBe('all')
    expect((await finderOf(few).find(request)).extent).toBe('closest')
  })

  it('gives who has answered where it is cut off', async () => {
    const cut = new AbortController()
    const finding = finderOf([answered('a'), answered('b')], { isEndless: true }).find({
      ...request,
      signal: cut.signal,
    })
    cut.abort()
    expect(await finding).toEqual({ peers: ['a', 'b'], extent: 'some' })
  })

  it('needs somebody to ask', () => {
    expect(finderOf([], { known: 0 }).canAsk()).toBe(false)
    expect(finderOf([], { known: 1 }).canAsk()).toBe(true)
  })
})
