import { framed, StickyError, sha256 } from '../dht/index.ts'
import { LIMITS } from './options.ts'

const MAX_REMEMBERED = 1_024
const remembered = new Map<string, Promise<Uint8Array>>()

/** The key under which a topic is kept; the only form in which its name travels. Throws INVALID_TOPIC. */
export async function topicKeyOf(name: string): Promise<Uint8Array> {
  if (typeof name !== 'string' || name.length === 0 || name.length > LIMITS.maxTopicNameLength) {
    throw new StickyError('INVALID_TOPIC', `A topic name has 1 to ${LIMITS.maxTopicNameLength} characters.`)
  }
  let key = remembered.get(name)
  if (key === undefined) {
    key = sha256(framed('sticky-pubsub/topic/1', new TextEncoder().encode(name.normalize('NFC'))))
    if (remembered.size >= MAX_REMEMBERED) remembered.delete(remembered.keys().next().value as string)
    remembered.set(name, key)
  }
  return key
}
