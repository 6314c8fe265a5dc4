import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type Bridge, type BridgeOptions, startBridge } from '../../src/bridge/index.ts'
import {
  challengeBytes,
  type Identity,
  identityFromSeed,
  issueInvitation,
  passChallenge,
  presentInvitation,
  systemRuntime,
  toBase64url,
} from '../../src/dht/index.ts'
import { createNode, type StickyNode } from '../../src/node/index.ts'
import { joinThrough, keepBridge } from '../../src/node/keep-bridge.ts'
import { createNodeLibp2p } from '../../src/node/transports.ts'
import { ChallengeClient } from '../support/challenge-client.ts'

/** A real bridge that admits only who was invited, and those who try without, again, or for somebody else. */

const DAY = 86_400_000
const seed = (value: number) => new Uint8Array(32).fill(value)
const BRIDGE_SEED = seed(42)

let directory: string
let bridge: Bridge
let aheadMs: number
let own: Identity
let client: Identity
let other: Identity
const open: ChallengeClient[] = []
const nodes: StickyNode[] = []

const start = async (options: Partial<BridgeOptions> = {}): Promise<Bridge> => {
  bridge = await startBridge({
    seed: BRIDGE_SEED,
    port: 0,
    inviteOnly: true,
    directory,
    runtime: {
      ...systemRuntime,
      now: () => Date.now() + aheadMs,
      monotonicNow: () => performance.now() + aheadMs,
    },
    ...options,
  })
  return bridge
}
const restart = async (options: Partial<BridgeOptions> = {}) => {
  const { port } = bridge
  await bridge.close()
  return start({ port, ...options })
}
const invitationBy = (issuer: Identity, change: { uses?: number; ttlMs?: number; audience?: string } = {}) =>
  issueInvitation({ issuer, audience: own.nodeId, ttlMs: DAY, uses: 1, ...change })
const pass = (identity: Identity, invitation?: string) =>
  passChallenge({
    url: `ws://127.0.0.1:${bridge.port}/auth`,
    identity,
    signal: AbortSignal.timeout(15_000),
    ...(invitation === undefined ? {} : { invitation }),
  })
const refusal = (reason: string) => ({ name: 'StickyError', code: 'ADMISSION_REFUSED', reason })
const dial = async () => {
  const socket = await ChallengeClient.open(bridge.port)
  open.push(socket)
  return socket
}
const refusals = async (code: string): Promise<number> => {
  const text = await (await fetch(`${bridge.url}/metrics`)).text()
  const line = text.split('\n').find((each) => each.includes(`refused{code="${code}"}`))
  return Number(line?.split(' ').at(-1) ?? 0)
}

beforeEach(async () => {
  aheadMs = 0
  directory = mkdtempSync(join(tmpdir(), 'sticky-invited-'))
  own = await identityFromSeed(BRIDGE_SEED)
  client = await identityFromSeed(seed(1))
  other = await identityFromSeed(seed(2))
})
afterEach(async () => {
  for (const { socket } of open.splice(0)) socket.terminate()
  await Promise.all(nodes.splice(0).map((node) => node.close()))
  await bridge.close()
  rmSync(directory, { recursive: true, force: true })
})

describe('a bridge that is invite-only', () => {
  it('refuses who shows no invitation, with a code, a close code and a typed error', async () => {
    await start()
    const socket = await dial()
    await socket.respond(client, await socket.challenged(client))
    expect(await socket.end()).toEqual({
      code: 4420,
      reason: 'INVITATION_REQUIRED',
      refusal: 'INVITATION_REQUIRED',
    })
    await expect(pass(client)).rejects.toMatchObject(refusal('INVITATION_REQUIRED'))
    expect(bridge.isAdmitted(client.nodeId)).toBe(false)
  })

  it('admits who shows one, and an open bridge does not ask', async () => {
    await start()
    await pass(client, await invitationBy(own))
    expect(bridge.isAdmitted(client.nodeId)).toBe(true)
    await restart({ inviteOnly: false })
    await pass(other)
    expect(bridge.isAdmitted(other.nodeId)).toBe(true)
  })

  it('counts the invitations of an issuer that was named, and no stranger’s', async () => {
    await start({ inviteIssuers: [other.nodeId] })
    await pass(client, await invitationBy(other))
    await expect(pass(client, await invitationBy(client))).rejects.toMatchObject(
      refusal('INVITATION_INVALID'),
    )
    await expect(restart({ inviteIssuers: ['nobody'] })).rejects.toMatchObject({ code: 'WRONG_IDENTITY' })
    await start()
  })

  it('refuses one that is used, also after a restart; who used it comes in again', async () => {
    await start()
    const invitation = await invitationBy(own)
    await pass(client, invitation)
    await expect(pass(other, invitation)).rejects.toMatchObject(refusal('INVITATION_USED'))
    await pass(client, invitation)
    await restart()
    await expect(pass(other, invitation)).rejects.toMatchObject(refusal('INVITATION_USED'))
    expect(bridge.isAdmitted(client.nodeId)).toBe(false)
    await pass(client, invitation)
    expect(bridge.isAdmitted(client.nodeId)).toBe(true)
  })

  it('is alone in its folder, so that no other one counts the uses of the same invitations', async () => {
    const first = await start()
    const { port } = first
    await expect(start()).rejects.toMatchObject({
      code: 'STORAGE_LOCKED',
      message: expect.stringContaining(directory),
    })
    await (await startBridge({ seed: seed(42), port: 0, directory })).close() // which counts nothing
    const invitation = await invitationBy(own)
    await pass(client, invitation)
    await first.close()
    const taken = await startBridge({ seed: seed(43), port })
    await expect(start({ port })).rejects.toMatchObject({ code: 'PORT_IN_USE' })
    await taken.close()
    await start({ port }) // the one before has let go of the folder
    await expect(pass(other, invitation)).rejects.toMatchObject(refusal('INVITATION_USED'))
  })

  it('lets one in of several that show the same at once', async () => {
    await start()
    const invitation = await invitationBy(own)
    const guests = await Promise.all([11, 12, 13, 14, 15].map((value) => identityFromSeed(seed(value))))
    const outcomes = await Promise.allSettled(guests.map((guest) => pass(guest, invitation)))
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    expect(guests.filter(({ nodeId }) => bridge.isAdmitted(nodeId))).toHaveLength(1)
  })

  it('gives nobody a use of an invitation for a key that is not theirs', async () => {
    await start()
    const invitation = await invitationBy(own)
    const socket = await dial()
    const challenge = await socket.challenged(client)
    socket.say({
      type: 'RESPONSE',
      signature: toBase64url(await other.sign(challengeBytes(challenge))),
      invitation: await presentInvitation(invitation, challenge, Date.now()),
    })
    expect(await socket.end()).toMatchObject({ code: 4401, refusal: 'BAD_SIGNATURE' })
    await pass(other, invitation) // not used up
  })

  it('is not opened by what a listener heard', async () => {
    await start()
    const invitation = await invitationBy(own, { uses: 0 })
    const first = await dial()
    const heard = await presentInvitation(invitation, await first.challenged(client), Date.now())
    const second = await dial()
    const challenge = await second.challenged(other)
    second.say({
      type: 'RESPONSE',
      signature: toBase64url(await other.sign(challengeBytes(challenge))),
      invitation: heard,
    })
    expect(await second.end()).toMatchObject({ code: 4421, refusal: 'INVITATION_INVALID' })
    await pass(other, invitation)
  })

  it.each([
    ['A'.repeat(1_024), 4421, 'INVITATION_INVALID'],
    ['A'.repeat(1_025), 4400, 'MALFORMED'],
    ['A'.repeat(4_096), 1009, undefined],
  ])('refuses garbage for a grant (%#)', async (grant, code, refused) => {
    await start()
    const socket = await dial()
    const challenge = await socket.challenged(client)
    const signature = toBase64url(await client.sign(challengeBytes(challenge)))
    socket.say({ type: 'RESPONSE', signature, invitation: { grant, proof: 'A'.repeat(86) } })
    expect(await socket.end()).toMatchObject({ code, refusal: refused })
  })

  it('refuses one that has expired by its clock, whatever the client’s says', async () => {
    await start()
    const invitation = await invitationBy(own, { uses: 0, ttlMs: 60_000 })
    await pass(client, invitation)
    aheadMs = 61_000
    expect(bridge.isAdmitted(client.nodeId)).toBe(false) // no admission is longer than the invitation
    await expect(pass(client, invitation)).rejects.toMatchObject(refusal('INVITATION_EXPIRED'))
  })

  it('is not shown an invitation that is for another bridge', async () => {
    await start()
    const elsewhere = await invitationBy(own, { audience: other.nodeId })
    await expect(pass(client, elsewhere)).rejects.toMatchObject(refusal('INVITATION_INVALID'))
    expect(await refusals('INVITATION_INVALID')).toBe(0)
  })

  it('says nothing of the invitation in an error, to either side', async () => {
    await start()
    const invitation = await invitationBy(own)
    await pass(client, invitation)
    const error = await pass(other, invitation).catch((caught: Error) => caught)
    const told = `${(error as Error).message} ${(error as Error).stack} ${await (await fetch(`${bridge.url}/metrics`)).text()}`
    for (let i = 0; i + 24 <= invitation.length; i += 24)
      expect(told).not.toContain(invitation.slice(i, i + 24))
  })
})

describe('limits by identity', () => {
  it('bound how often one node may pass, and count nobody else’s failures for it', async () => {
    await start({ inviteOnly: false, limits: { identityChallengeBurst: 2, identityChallengesPerSecond: 1 } })
    for (let i = 0; i < 4; i++) {
      // somebody else in the client's name
      const socket = await dial()
      await socket.respond(other, await socket.challenged(client))
      expect(await socket.end()).toMatchObject({ refusal: 'BAD_SIGNATURE' })
    }
    await pass(client)
    await pass(client)
    const socket = await dial()
    await socket.respond(client, await socket.challenged(client))
    expect(await socket.end()).toEqual({ code: 4429, reason: 'RATE_LIMITED', refusal: 'RATE_LIMITED' })
    await pass(other)
    aheadMs = 1_000
    await pass(client)
  })
})

describe('a node at a bridge that is invite-only', () => {
  const nodeWith = async (invitation: string | undefined): Promise<StickyNode> => {
    const node = await createNode({ bridgeUrl: bridge.url, ...(invitation ? { invitation } : {}) })
    nodes.push(node)
    return node
  }

  it('joins with an invitation, and rejects with ADMISSION_REFUSED and the reason without', async () => {
    await start()
    const node = await nodeWith(await invitationBy(own))
    expect(bridge.isAdmitted(node.nodeId)).toBe(true)
    await expect(nodeWith(undefined)).rejects.toMatchObject(refusal('INVITATION_REQUIRED'))
  })

  it('loses its connection when its admission is over', async () => {
    await start({ limits: { lapseCheckMs: 20 } })
    const node = await nodeWith(await invitationBy(own, { ttlMs: 60_000 }))
    const connections = async () =>
      ((await (await fetch(`${bridge.url}/health`)).json()) as { connections: number }).connections
    expect(await connections()).toBe(1)
    expect(bridge.isAdmitted(node.nodeId)).toBe(true)
    aheadMs = 61_000
    await vi.waitFor(async () => expect(await connections()).toBe(0), { timeout: 20_000 })
  })

  it('goes on asking a bridge that has a rule against it, and is in when the rule is gone', async () => {
    await start({ inviteOnly: false })
    const { url: bridgeUrl, nodeId: serverId, address: relay } = bridge
    await pass(client)
    const libp2p = await createNodeLibp2p({ seed: seed(1), listen: [], role: 'fleeting' })
    const bootstrap = { serverId, relay, challenge: '/auth' }
    await joinThrough(libp2p, bridgeUrl, bootstrap, AbortSignal.timeout(20_000))
    const joining = { bridgeUrl, bootstrap, identity: client, libp2p, stores: false }
    const stop = keepBridge(joining, { rejoinMs: 20, maxRejoinMs: 200 })
    const isJoined = () => expect(libp2p.getConnections()).toHaveLength(1)
    try {
      await restart()
      await vi.waitFor(async () => expect(await refusals('INVITATION_REQUIRED')).toBeGreaterThan(2), {
        timeout: 20_000,
      })
      expect(libp2p.getConnections()).toHaveLength(0)
      await restart({ inviteOnly: false })
      await vi.waitFor(isJoined, { timeout: 20_000 })
    } finally {
      await stop()
      await libp2p.stop()
    }
  })
})
