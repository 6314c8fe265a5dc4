import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { InvitationUses } from '../../../src/bridge/invitation-uses.ts'
import type { InvitationClaim } from '../../../src/dht/index.ts'

/** How often an invitation was used, on a real disk. */

const DAY = 86_400_000

let directory: string
let now: number
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'sticky-uses-'))
  now = 1_000
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const open = (maxUses = 100) => InvitationUses.open({ directory, maxUses, now: () => now })
const invitation = (key: number, uses = 1, expiresAt = 5_000): InvitationClaim => ({
  v: 1,
  issuer: new Uint8Array(32),
  audience: new Uint8Array(32),
  key: new Uint8Array(32).fill(key),
  issuedAt: 0,
  expiresAt,
  uses,
})
const file = () => join(directory, 'invitations.json')

describe('an invitation with a number of uses', () => {
  it('lets so many nodes in and no more, and each of them again', async () => {
    const uses = await open()
    await uses.take(invitation(1, 2), 'a')
    await uses.take(invitation(1, 2), 'a')
    await uses.take(invitation(1, 2), 'b')
    await expect(uses.take(invitation(1, 2), 'c')).rejects.toMatchObject({ code: 'INVITATION_USED' })
    await uses.take(invitation(1, 2), 'b')
    await uses.take(invitation(2), 'c')
  })

  it('lets one in of many that come at the same moment', async () => {
    const uses = await open()
    const names = Array.from({ length: 20 }, (_, i) => `node ${i}`)
    const all = await Promise.allSettled(names.map((name) => uses.take(invitation(1), name)))
    expect(all.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  })

  it('is used after a restart as well, on disk before anybody is let in', async () => {
    const uses = await open()
    await uses.take(invitation(1), 'a')
    const again = await open()
    expect(again.size).toBe(1)
    await expect(again.take(invitation(1), 'b')).rejects.toMatchObject({ code: 'INVITATION_USED' })
    await again.take(invitation(1), 'a')
  })

  it('stays used where the clock was ahead for a while, and somebody came in then', async () => {
    const uses = await open()
    await uses.take(invitation(1), 'a')
    now = 23 * 3_600_000
    await uses.take(invitation(2, 1, now + 5_000), 'b')
    now = 1_000
    for (const each of [uses, await open()])
      await expect(each.take(invitation(1), 'c')).rejects.toMatchObject({ code: 'INVITATION_USED' })
  })

  it('all of those that come in at once are on disk', async () => {
    const uses = await open()
    await Promise.all(Array.from({ length: 20 }, (_, i) => uses.take(invitation(i), `node ${i}`)))
    expect((await open()).size).toBe(20)
  })

  it('is on disk once the record is closed, and nobody is let in from then on', async () => {
    const uses = await open()
    const taking = uses.take(invitation(1), 'a')
    await uses.close()
    expect((await open()).size).toBe(1)
    await taking
    await expect(uses.take(invitation(2), 'b')).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(uses.take(invitation(1), 'a')).rejects.toMatchObject({ code: 'CLOSED' })
  })

  it('is not written down where any number may come', async () => {
    const uses = await open()
    for (const name of ['a', 'b', 'c']) await uses.take(invitation(1, 0), name)
    expect(uses.size).toBe(0)
  })
})

describe('the record of uses', () => {
  it('is bounded: what expired a day ago makes room, and until then nobody new comes in', async () => {
    const uses = await open(2)
    await uses.take(invitation(1), 'a')
    await uses.take(invitation(2, 1, 9_000), 'b')
    now = 5_000 + DAY - 1
    await expect(uses.take(invitation(3), 'c')).rejects.toMatchObject({ code: 'BUSY' })
    await uses.take(invitation(1), 'a')
    now = 5_000 + DAY
    await uses.take(invitation(3, 1, 9_000), 'c')
    expect(uses.size).toBe(2)
    expect(JSON.parse(readFileSync(file(), 'utf8')).used).toHaveLength(2)
  })

  it('holds as many uses as it may, read back', async () => {
    const uses = await open(400)
    const names = Array.from({ length: 400 }, (_, i) => `12D3KooW${String(i).padStart(44, 'x')}`)
    await Promise.all(names.map((name, i) => uses.take(invitation(i % 250, 1_000), name)))
    expect((await open(400)).size).toBe(400)
  })

  it('lets nobody in whom it cannot write down, and does not count it', async () => {
    const uses = await open()
    rmSync(directory, { recursive: true })
    writeFileSync(directory, 'a file where the folder was')
    await expect(uses.take(invitation(1), 'a')).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
    expect(uses.size).toBe(0)
    rmSync(directory)
    mkdirSync(directory)
    await uses.take(invitation(1), 'b')
    await expect(uses.take(invitation(1), 'a')).rejects.toMatchObject({ code: 'INVITATION_USED' })
  })

  it.each([
    ['no JSON', '{'],
    ['another version', '{"version":2,"used":[]}'],
    ['a foreign key', '{"version":1,"used":[{"key":"x","expiresAt":1,"by":[]}]}'],
    ['a prototype', '{"version":1,"used":[],"__proto__":{"x":1}}'],
  ])('that cannot be read stops the start instead of counting as empty: %s', async (_name, text) => {
    writeFileSync(file(), text, { mode: 0o600 })
    await expect(open()).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
  })

  it('is its owner’s to read', async () => {
    await (await open()).take(invitation(1), 'a')
    await open()
    chmodSync(file(), 0o644)
    await expect(open()).rejects.toMatchObject({ message: expect.stringContaining('chmod 600') })
  })
})
