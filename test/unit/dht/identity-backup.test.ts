import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { openSeed, sealSeed } from '../../../src/dht/identity-backup.ts'

const seed = Uint8Array.from({ length: 32 }, (_, index) => index * 5)
let text: string
let backup: Record<string, unknown>

beforeAll(async () => {
  text = await sealSeed(seed, 'correct horse')
  backup = JSON.parse(text)
})

afterEach(() => vi.restoreAllMocks())

const altered = (change: Record<string, unknown>) => JSON.stringify({ ...backup, ...change })

describe('identity backup', () => {
  it('opens with its passphrase and only with it', async () => {
    expect(await openSeed(text, 'correct horse')).toEqual(seed)
    await expect(openSeed(text, 'correct horsd')).rejects.toMatchObject({ code: 'WRONG_PASSPHRASE' })
    await expect(openSeed(text, '')).rejects.toMatchObject({ code: 'WRONG_PASSPHRASE' })
  })

  it('opens the file of version 1 for ever', async () => {
    const pinned =
      '{"format":"sticky-pubsub-identity","version":1,"iterations":1000,"salt":"AQEBAQEBAQEBAQEBAQEBAQ","iv":"AgICAgICAgICAgIC","sealed":"58wxgS3m-NF3yQFExwK0MrNBTRHuDAAHa7uX2nv1flgLnEdUcnq7AoeSqggqVR7E"}'
    expect(await openSeed(pinned, 'pässword')).toEqual(seed)
    // the accent as a letter of its own and as a mark behind the a
    expect(await openSeed(pinned, 'pässword'.normalize('NFD'))).toEqual(seed)
  })

  it('holds neither the seed nor the passphrase, and no two are alike', async () => {
    expect(Object.keys(backup)).toEqual(['format', 'version', 'iterations', 'salt', 'iv', 'sealed'])
    expect(backup.iterations).toBe(600_000)
    const other = JSON.parse(await sealSeed(seed, 'correct horse'))
    for (const field of ['salt', 'iv', 'sealed']) expect(other[field]).not.toBe(backup[field])
    expect(text).not.toContain('horse')
    expect(text).not.toContain(Buffer.from(seed).toString('base64url'))
  })

  it('does not open when a byte of it was changed', async () => {
    for (const field of ['salt', 'iv', 'sealed']) {
      const value = backup[field] as string
      const changed = altered({ [field]: (value[0] === 'A' ? 'B' : 'A') + value.slice(1), iterations: 1 })
      await expect(openSeed(changed, 'correct horse'), field).rejects.toMatchObject({
        code: 'WRONG_PASSPHRASE',
      })
    }
  })

  it.each([
    ['no JSON', () => 'identity'],
    ['nothing', () => ''],
    ['an empty object', () => '{}'],
    ['null', () => 'null'],
    ['a later version', () => altered({ version: 2 })],
    ['another format', () => altered({ format: 'pem' })],
    ['more iterations than a reader computes', () => altered({ iterations: 1_000_001 })],
    ['iterations that are no count', () => altered({ iterations: 1.5 })],
    ['no iterations', () => altered({ iterations: 0 })],
    ['an unknown field', () => altered({ hint: 'x' })],
    ['a prototype', () => text.replace('{', '{"__proto__":{"polluted":true},')],
    ['a short salt', () => altered({ salt: 'AAAA' })],
    ['a salt of another alphabet', () => altered({ salt: '+'.repeat(22) })],
    ['a long sealed part', () => altered({ sealed: 'A'.repeat(30_000) })],
    ['a large text', () => altered({ sealed: 'A'.repeat(70_000) })],
    ['deep nesting', () => '['.repeat(65_000)],
  ])('refuses %s as IDENTITY_UNREADABLE, before it computes a key', async (_, make) => {
    const computing = vi.spyOn(crypto.subtle, 'importKey')
    await expect(openSeed(make(), 'correct horse')).rejects.toMatchObject({
      name: 'StickyError',
      code: 'IDENTITY_UNREADABLE',
    })
    expect(computing).not.toHaveBeenCalled()
    expect('polluted' in {}).toBe(false)
  })

  it('seals nothing but a seed', async () => {
    await expect(sealSeed(new Uint8Array(31), 'x')).rejects.toMatchObject({ code: 'BAD_KEY' })
  })
})
