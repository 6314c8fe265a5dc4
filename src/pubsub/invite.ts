import * as v from 'valibot'
import {
  bytesOf,
  concatBytes,
  decode,
  encode,
  equalBytes,
  framed,
  fromBase64url,
  StickyError,
  sha256,
  toBase64url,
} from '../dht/index.ts'
import { LIMITS } from './options.ts'
import { rootOf, type TopicSecret } from './secret.ts'

/**
 * An invite to an encrypted topic, as text: its name and its key, a version in front, a checksum at the end against
 * slips of the pen. Whoever has it can read and write. Inside a link it stands behind the `#`, which browsers never send.
 */

const PREFIX = 'sticky1'
const FRAGMENT = '#invite='
const CHECKSUM_BYTES = 4
const MAX_BODY_BYTES = 1_024
/** Of a link with the page before it; what is longer is no invite. */
const MAX_TEXT_CHARACTERS = 4_096

const bodySchema = v.strictObject({
  name: v.pipe(v.string(), v.minLength(1), v.maxLength(LIMITS.maxTopicNameLength)),
  key: bytesOf(32),
})

export interface Invite {
  name: string
  /** Pass it as `secret`. Never the passphrase. */
  secret: { key: Uint8Array }
}

/** `page`: the link to that page with the invite behind its `#`, in place of what was there. */
export async function inviteTo(
  name: string,
  secret: TopicSecret,
  options: { page?: string } = {},
): Promise<string> {
  const key = await rootOf(name, secret)
  const body = encode({ name, key })
  const text = PREFIX + toBase64url(concatBytes(body, await checksumOf(body)))
  if (options.page === undefined) return text
  const [page] = options.page.split('#', 1)
  return page + FRAGMENT + text
}

/** Takes the text or the whole link. Throws INVALID_INVITE, with nothing of the text in it. */
export async function readInvite(text: string): Promise<Invite> {
  if (typeof text !== 'string' || text.length > MAX_TEXT_CHARACTERS)
    throw new StickyError('INVALID_INVITE', 'This is too long to be an invite.')
  const at = text.indexOf(FRAGMENT)
  const invite = (at === -1 ? text : text.slice(at + FRAGMENT.length)).trim()
  if (/^sticky[02-9]/.test(invite))
    throw new StickyError('INVALID_INVITE', 'This invite is of another version.')
  if (!/^sticky1[A-Za-z0-9_-]+$/.test(invite))
    throw new StickyError('INVALID_INVITE', 'This is not an invite: it begins with "sticky1".')
  try {
    return await readBody(invite.slice(PREFIX.length))
  } catch {
    // without the cause, which may quote what was read
    throw new StickyError('INVALID_INVITE', 'This invite is incomplete, or a character of it is wrong.')
  }
}

async function readBody(text: string): Promise<Invite> {
  const bytes = fromBase64url(text)
  const body = bytes.subarray(0, -CHECKSUM_BYTES)
  const isWhole = equalBytes(bytes.subarray(-CHECKSUM_BYTES), await checksumOf(body))
  // the last character may carry bits that decoding drops: without this, one invite had several texts
  if (!isWhole || toBase64url(bytes) !== text)
    throw new StickyError('INVALID_INVITE', 'The checksum is wrong.')
  const { name, key } = decode(body, MAX_BODY_BYTES, bodySchema)
  return { name, secret: { key } }
}

const checksumOf = async (body: Uint8Array): Promise<Uint8Array> =>
  (await sha256(framed('sticky-pubsub/invite/1', body))).subarray(0, CHECKSUM_BYTES)
