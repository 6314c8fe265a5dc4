import { exportIdentity, importIdentity, loadOrCreateIdentity } from '../../../src/browser/identity-store.ts'
import { openIdbStorage } from '../../../src/browser/object-store.ts'
import { decodeAny, encode, fromHex, toHex } from '../../../src/dht/codec.ts'
import { identityFromSeed } from '../../../src/dht/identity.ts'
import type { Storage } from '../../../src/dht/storage.ts'
import type { Data } from '../../../src/pubsub/api.ts'
import { inviteTo, readInvite } from '../../../src/pubsub/invite.ts'
import { createTopicCipher } from '../../../src/pubsub/secret.ts'
import { storageCases } from '../../contract/storage-suite.ts'

/** What the tests in storage.test.ts call inside the page. Results are plain values. */

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'ok',
    (error: { name?: string; code?: string }) => `${error.name} ${error.code}`,
  )

const put = (key: string, size: number) => ({
  type: 'put' as const,
  key,
  value: new Uint8Array(size).fill(1),
})

async function keysOf(storage: Storage): Promise<string[]> {
  const keys: string[] = []
  for await (const key of storage.keys('')) keys.push(key)
  return keys
}

const nodeIdOf = async ({ seed }: { seed: Uint8Array }) => (await identityFromSeed(seed)).nodeId

export const fixture = {
  async runCase(name: string): Promise<void> {
    const found = storageCases.find((one) => one.name === name)
    if (found === undefined) throw new Error(`no case ${name}`)
    await found.run({ persistent: true, open: openIdbStorage })
  },

  /** The transactions that 50 writes at once and one more take. */
  async transactionsOfWrites(): Promise<string[]> {
    const storage = await openIdbStorage('counted')
    const seen: string[] = []
    const original = IDBDatabase.prototype.transaction
    IDBDatabase.prototype.transaction = function (names, mode, options) {
      seen.push(`${mode} ${options?.durability}`)
      return original.call(this, names, mode, options)
    }
    try {
      await Promise.all(Array.from({ length: 50 }, (_, index) => storage.write([put(`${index}`, 10)])))
      await storage.write([put('more', 10)])
    } finally {
      IDBDatabase.prototype.transaction = original
    }
    await storage.close()
    return seen
  },

  /** Fills the origin's quota, which the test has made small, then makes room again. */
  async fill() {
    const storage = await openIdbStorage('filled')
    await storage.write([put('first', 1_000)])
    const outcomes = [
      await codeOf(storage.write([put('small', 10), put('large', 30_000_000), put('small too', 10)])),
      await codeOf(storage.write([put('after', 1_000)])),
    ]
    const keys = await keysOf(storage)
    await storage.close()
    return { outcomes, keys }
  },

  /** A write of which the browser refuses one part at once. */
  async refusedPart() {
    const storage = await openIdbStorage('refused')
    const bad = { type: 'put' as const, key: Symbol('no key') as unknown as string, value: new Uint8Array(1) }
    const outcomes = [
      await codeOf(storage.write([put('before', 1), bad])),
      await codeOf(storage.write([put('after', 1)])),
    ]
    const keys = await keysOf(storage)
    await storage.close()
    return { outcomes, keys }
  },

  /** Another tab deletes the database: it must not wait, and this one must say why it fails. */
  async deletedByAnother() {
    const told: string[] = []
    const storage = await openIdbStorage('deleted', ({ code }) => told.push(code))
    await storage.write([put('a', 1)])
    await new Promise((resolve, reject) => {
      const request = indexedDB.deleteDatabase('deleted')
      request.onsuccess = resolve
      request.onerror = () => reject(request.error)
    })
    const outcomes = [
      await codeOf(storage.get('a')),
      await codeOf(storage.write([put('b', 1)])),
      await codeOf(keysOf(storage)),
    ]
    await storage.close()
    return { outcomes, told }
  },

  identity: async () => {
    const loaded = await loadOrCreateIdentity()
    return { nodeId: await nodeIdOf(loaded), created: loaded.created }
  },

  twoIdentitiesAtOnce: async (name: string) =>
    Promise.all((await Promise.all([1, 2, 3].map(() => loadOrCreateIdentity(name)))).map(nodeIdOf)),

  export: (passphrase: string) => exportIdentity(passphrase),

  import: async (text: string, passphrase: string): Promise<string> => {
    try {
      return await nodeIdOf(await importIdentity(text, passphrase))
    } catch (error) {
      return (error as { code: string }).code
    }
  },

  /** What lies in IndexedDB, and what a script gets out of the key there. */
  async keptIdentity() {
    const { seed } = await loadOrCreateIdentity()
    const db = await new Promise<IDBDatabase>((resolve) => {
      const request = indexedDB.open('sticky-pubsub-identity')
      request.onsuccess = () => resolve(request.result)
    })
    const kept = await new Promise<{ key: CryptoKey; sealed: ArrayBuffer }>((resolve) => {
      const request = db.transaction('identity').objectStore('identity').get('own')
      request.onsuccess = () => resolve(request.result)
    })
    db.close()
    const exports = await Promise.all(
      (['raw', 'jwk'] as const).map((format) =>
        crypto.subtle.exportKey(format as 'raw', kept.key).then(
          () => 'exported',
          (error: DOMException) => error.name,
        ),
      ),
    )
    const text = (bytes: Uint8Array) => bytes.join()
    const seedInside = text(new Uint8Array(kept.sealed)).includes(text(seed.subarray(0, 8)))
    return { extractable: kept.key.extractable, exports, sealedBytes: kept.sealed.byteLength, seedInside }
  },

  identityCodes: () =>
    Promise.all([
      codeOf(loadOrCreateIdentity()),
      codeOf(exportIdentity('long enough')),
      codeOf(importIdentity('{}', 'long enough')),
      codeOf(inviteTo('room', { passphrase: 'long enough' })),
    ]),

  /** The same seal and its opening as in Node: texts in, texts out. */
  async sealTopic(publisher: string, text: string) {
    const secret = { passphrase: 'correct horse' }
    const cipher = await createTopicCipher('room', secret)
    const sealed = await cipher.seal(text, publisher, 'message', 'once')
    const invite = await inviteTo('room', secret, { page: location.href })
    return { hiddenName: cipher.hiddenName, sealed: toHex(encode(sealed)), invite }
  },

  async openTopic(invite: string, publisher: string, sealed: string) {
    const { name, secret } = await readInvite(invite)
    const cipher = await createTopicCipher(name, secret)
    return cipher.open(decodeAny(fromHex(sealed), 1_000) as Data, publisher, 'message')
  },
}

export type StorageFixturePage = typeof fixture

Object.assign(globalThis, { fixture })
