import { beforeAll, describe, expect, it } from 'vitest'
import { encode, type Identity, identityFromSeed } from '../../../src/dht/index.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { createPresence, type VerifiedPresence } from '../../../src/pubsub/presence-statement.ts'
import { PresenceView } from '../../../src/pubsub/presence-view.ts'

const topicKey = new Uint8Array(32).fill(9)
let ana: Identity
let bo: Identity
beforeAll(async () => {
  ana = await identityFromSeed(new Uint8Array(32).fill(1))
  bo = await identityFromSeed(new Uint8Array(32).fill(2))
})

const says = (identity: Identity, state: string | undefined, at: number, since = 1) =>
  createPresence({ topicKey, identity, state: state === undefined ? undefined : encode(state), since, at })

/** As somebody does who is given a statement. */
function give(view: PresenceView, statement: VerifiedPresence, nowMs = 0): boolean {
  view.confirm(statement.nodeId)
  return view.isNews(statement.nodeId, statement, nowMs) && view.take(statement, nowMs)
}
const statesOf = (view: PresenceView) => view.list().map(({ state }) => state)

describe('what a subscriber knows of the members', () => {
  it('is the newest word of each; who came first stands first', async () => {
    const view = new PresenceView()
    expect(give(view, await says(bo, 'bo', 20, 20))).toBe(true)
    expect(give(view, await says(ana, 'ana', 30, 10))).toBe(true)
    expect(give(view, await says(ana, 'older', 29, 10))).toBe(false)
    expect(statesOf(view)).toEqual(['ana', 'bo'])
    expect(give(view, await says(ana, 'ana', 40, 10))).toBe(false) // a heartbeat shows nothing new
    expect(give(view, await says(ana, 'ann', 50, 10))).toBe(true)
    expect(statesOf(view)).toEqual(['ann', 'bo'])
  })

  it('has nobody back who left, from a replica that has not heard of it; nor for ever out', async () => {
    const view = new PresenceView()
    give(view, await says(ana, 'ana', 10))
    expect(give(view, await says(ana, undefined, 20), 1_000)).toBe(true)
    expect(give(view, await says(ana, 'ana', 15), 1_000)).toBe(false)
    expect(statesOf(view)).toEqual([])
    expect(give(view, await says(ana, 'again', 21, 21), 1_000)).toBe(true)
    give(view, await says(ana, undefined, 500), 2_000)
    // its clock was set back: those who forgot it take it, and so does who remembered the leave
    expect(give(view, await says(ana, 'back', 300, 300), 2_000 + LIMITS.presenceTombstoneMs)).toBe(true)
  })

  it('keeps for one heartbeat whom the replica does not know, and for good when it hears of it', async () => {
    const view = new PresenceView()
    give(view, await says(ana, 'ana', 10))
    give(view, await says(bo, 'bo', 10))
    view.beginListing()
    view.endListing(1_000)
    expect(view.nextMs).toBe(1_000 + LIMITS.presenceHeartbeatMs)
    give(view, await says(bo, 'bo', 10), 2_000)
    view.beginListing()
    give(view, await says(bo, 'bo', 10), 2_000)
    view.endListing(3_000) // in doubt since the first time
    expect(view.expire(1_000 + LIMITS.presenceHeartbeatMs - 1)).toBe(false)
    expect(view.expire(1_000 + LIMITS.presenceHeartbeatMs)).toBe(true)
    expect(statesOf(view)).toEqual(['bo'])
    expect(view.nextMs).toBeUndefined()
  })

  it('is bounded, whatever a replica invents', async () => {
    const view = new PresenceView()
    for (let n = 0; n <= LIMITS.maxSubscribers; n++) {
      const publicKey = new Uint8Array(32)
      new DataView(publicKey.buffer).setUint32(0, n)
      const identity = { nodeId: `${n}`, publicKey, sign: async () => new Uint8Array(64) }
      give(view, await says(identity, 'x', 10))
    }
    expect(view.size).toBe(LIMITS.maxSubscribers)
  })
})
