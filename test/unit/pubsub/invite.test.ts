import { describe, expect, it } from 'vitest'
import { concatBytes, encode, framed, sha256 } from '../../../src/dht/codec.ts'
import { inviteTo, readInvite } from '../../../src/pubsub/invite.ts'
import { rootOf } from '../../../src/pubsub/secret.ts'

const KEY = Uint8Array.from({ length: 32 }, (_, index) => index * 3)
const PINNED = 'sticky1omNrZXlYIAADBgkMDxIVGBseISQnKi0wMzY5PD9CRUhLTlFUV1pdZG5hbWVkcm9vbQ1Sr9A'

const textOf = (bytes: Uint8Array) => `sticky1${Buffer.from(bytes).toString('base64url')}`

/** What somebody would write who knows the format: with its right checksum. */
async function forged(body: Uint8Array): Promise<string> {
  const checksum = (await sha256(framed('sticky-pubsub/invite/1', body))).subarray(0, 4)
  return textOf(concatBytes(body, checksum))
}

const refused = (text: string) =>
  expect(readInvite(text), text.slice(0, 80)).rejects.toMatchObject({
    name: 'StickyError',
    code: 'INVALID_INVITE',
  })

describe('an invite', () => {
  it('gives back name and key, and has the pinned form', async () => {
    const text = await inviteTo('room', { key: KEY })
    expect(text).toBe(PINNED)
    expect(await readInvite(text)).toEqual({ name: 'room', secret: { key: KEY } })
    expect(await readInvite(`  ${text}\n`)).toEqual({ name: 'room', secret: { key: KEY } })
    expect(text).toBe(await forged(encode({ name: 'room', key: KEY })))
  })

  it('of a passphrase holds the key that it makes, and not the passphrase', async () => {
    const text = await inviteTo('room', { passphrase: 'correct horse' })
    const { secret } = await readInvite(text)
    expect(secret.key).toEqual(new Uint8Array(await rootOf('room', { passphrase: 'correct horse' })))
    expect(Buffer.from(text.slice(7), 'base64url').includes('horse')).toBe(false)
  })

  it('stands behind the # of a link, which is not sent', async () => {
    const link = await inviteTo('room', { key: KEY }, { page: 'https://chat.example/app?x=1#old' })
    expect(link).toBe(`https://chat.example/app?x=1#invite=${PINNED}`)
    const { hash, pathname, search } = new URL(link)
    expect(pathname + search).toBe('/app?x=1')
    expect(await readInvite(link)).toEqual({ name: 'room', secret: { key: KEY } })
    expect(await readInvite(hash)).toEqual({ name: 'room', secret: { key: KEY } })
  })

  it.each([['ש'.repeat(256)], ['\u0958'.repeat(256)], ['💬'.repeat(128)], [' a\u0000b ']])(
    'carries every name that a topic may have',
    async (name) => {
      expect((await readInvite(await inviteTo(name, { key: KEY }))).name).toBe(name)
    },
  )

  it('is refused with any one character wrong, missing, doubled or swapped with the next', async () => {
    for (let i = 0; i < PINNED.length; i++) {
      const [before, here, after] = [PINNED.slice(0, i), PINNED[i] as string, PINNED.slice(i + 1)]
      await refused(before + (here === 'A' ? 'B' : 'A') + after)
      await refused(before + after)
      await refused(before + here + here + after)
      if (after[0] !== undefined && after[0] !== here)
        await refused(before + after[0] + here + after.slice(1))
    }
  })

  it('is refused in another text of the same bytes', async () => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    const twin = PINNED.slice(0, -1) + alphabet[alphabet.indexOf(PINNED.at(-1) as string) + 1]
    expect(Buffer.from(twin.slice(7), 'base64url')).toEqual(Buffer.from(PINNED.slice(7), 'base64url'))
    await refused(twin)
    await refused(`${PINNED}=`)
  })

  it.each([
    ['nothing', ''],
    ['only the beginning', 'sticky1'],
    ['a later version', PINNED.replace('sticky1', 'sticky2')],
    ['capitals', PINNED.toUpperCase()],
    ['a link without one', 'https://chat.example/#room'],
    ['an invite in the query, where servers see it', `https://chat.example/?invite=${PINNED}`],
    ['a very long text', 'sticky1'.padEnd(5_000, 'A')],
    ['another alphabet', PINNED.replace(/.$/, '+')],
  ])('is refused when it is %s', async (_, text) => {
    await refused(text)
  })

  it('is refused from somebody who knows the format, too', async () => {
    for (const body of [
      encode({ name: 'room', key: KEY.subarray(1) }),
      encode({ name: '', key: KEY }),
      encode({ name: 'x'.repeat(257), key: KEY }),
      encode({ name: 'x'.repeat(2_000), key: KEY }),
      encode({ name: 5, key: KEY }),
      encode({ name: 'room' }),
      encode({ name: 'room', key: KEY, server: 'evil.example' }),
      encode(['room', KEY]),
      new Uint8Array([0xff]),
      new Uint8Array(0),
    ])
      await refused(await forged(body))
  })

  it('does not appear in the error', async () => {
    const error = await readInvite(`${PINNED.slice(0, -1)}A`).catch((failure: Error) => failure)
    const secret = PINNED.slice(20, 30)
    expect(`${error} ${(error as Error).cause}`).not.toContain(secret)
  })
})
