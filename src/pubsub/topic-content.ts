import { decodeAny, type NodeId, StickyError } from '../dht/index.ts'
import type { Data } from './api.ts'
import { LIMITS } from './options.ts'
import { encodeData } from './publish-data.ts'
import { createTopicCipher, type TopicCipher, type TopicSecret } from './secret.ts'
import { type StandardSchemaV1, validated } from './standard-schema.ts'

/** Between what an application says and what is published: its schema, and the encryption of the topic where it has one. */
export class TopicContent<T> {
  /** What the topic is called in the network. */
  readonly topic: string
  readonly #schema: StandardSchemaV1<unknown, T> | undefined
  readonly #cipher: TopicCipher | undefined

  constructor(
    topic: string,
    schema: StandardSchemaV1<unknown, T> | undefined,
    cipher: TopicCipher | undefined,
  ) {
    this.topic = cipher?.hiddenName ?? topic
    this.#schema = schema
    this.#cipher = cipher
  }

  /** What the schema makes of the value, and how it is published; the same each time under one key. Throws INVALID_DATA or TOO_LARGE. */
  async outgoing(value: T, publisher: NodeId, key?: string): Promise<{ value: T; data: Data }> {
    const valid = this.#schema ? await validated(this.#schema, value) : value
    // as it is now: without a schema, what the application changes once it has its promise is not sent
    const data = this.#cipher ? await this.#cipher.seal(valid, publisher, 'message', key) : copyOf(valid)
    return { value: valid, data }
  }

  /** Throws UNDECRYPTABLE or INVALID_DATA. */
  async incoming(data: Data, publisher: NodeId): Promise<T> {
    const value = this.#cipher ? await this.#cipher.open(data, publisher, 'message') : data
    return this.#schema ? validated(this.#schema, value) : (value as T)
  }

  async outgoingState(state: Data | undefined, publisher: NodeId): Promise<Data | undefined> {
    if (state === undefined || this.#cipher === undefined) return state
    return this.#cipher.seal(state, publisher, 'presence')
  }

  /** Undefined for a state that is not of somebody who has the secret. */
  async incomingState(state: Data, publisher: NodeId): Promise<Data | undefined> {
    if (this.#cipher === undefined) return state
    return this.#cipher.open(state, publisher, 'presence').catch(() => undefined)
  }
}

const copyOf = (value: unknown): Data => decodeAny(encodeData(value as Data), LIMITS.maxPayloadBytes) as Data

export async function createTopicContent<T>(
  name: string,
  options: {
    schema?: StandardSchemaV1<unknown, T> | undefined
    secret?: TopicSecret | undefined
    info?: string | undefined
  },
): Promise<TopicContent<T>> {
  const { schema, secret, info } = options
  if (secret !== undefined && info !== undefined)
    throw new StickyError('INVALID_DATA', 'Info is not encrypted: use presence in an encrypted topic.')
  return new TopicContent(name, schema, secret && (await createTopicCipher(name, secret)))
}
