import { type IDBPDatabase, openDB } from 'idb'
import { openSeed, StickyError, sealSeed } from '../dht/index.ts'

/**
 * The identity of a tab: the seed, sealed with an AES key that the browser gives nobody, both in IndexedDB. A copy of the
 * database files without the browser profile's keys, or another origin, cannot read it; a script inside the page can use it.
 */

interface Kept {
  key: CryptoKey
  iv: Uint8Array<ArrayBuffer>
  sealed: ArrayBuffer
}

const STORE = 'identity'
const ENTRY = 'own'

async function withIdentityDb<T>(name: string, action: (db: IDBPDatabase) => Promise<T>): Promise<T> {
  let db: IDBPDatabase | undefined
  try {
    db = await openDB(`${name}-identity`, 1, {
      upgrade: (database) => {
        database.createObjectStore(STORE)
      },
    })
    return await action(db)
  } catch (error) {
    if (error instanceof StickyError) throw error
    throw new StickyError(
      'STORAGE_FAILED',
      'This browser does not let the page keep its identity (private mode, or storage is blocked or full).',
      { cause: error },
    )
  } finally {
    db?.close()
  }
}

export interface BrowserIdentity {
  /** 32 bytes. Kept in memory while the tab lives. */
  seed: Uint8Array
  /** Made just now, not loaded. */
  created: boolean
}

/** This origin's identity. Throws UNSUPPORTED_PLATFORM, IDENTITY_UNREADABLE or STORAGE_FAILED. */
export async function loadOrCreateIdentity(name = 'sticky-pubsub'): Promise<BrowserIdentity> {
  requireCrypto()
  return withIdentityDb(name, async (db) => {
    const kept = (await db.get(STORE, ENTRY)) as Kept | undefined
    if (kept !== undefined) return { seed: await unseal(kept), created: false }
    const seed = crypto.getRandomValues(new Uint8Array(32))
    const winner = await putIfAbsent(db, await seal(seed))
    return winner === undefined ? { seed, created: true } : { seed: await unseal(winner), created: false }
  })
}

/** The identity that another tab of this origin has put there meanwhile, else nothing, and `own` is kept. */
async function putIfAbsent(db: IDBPDatabase, own: Kept): Promise<Kept | undefined> {
  const transaction = db.transaction(STORE, 'readwrite', { durability: 'strict' })
  const kept = (await transaction.store.get(ENTRY)) as Kept | undefined
  if (kept === undefined) await transaction.store.put(own, ENTRY)
  await transaction.done
  return kept
}

/** A backup text under a passphrase. */
export async function exportIdentity(passphrase: string, name?: string): Promise<string> {
  if (passphrase.length < 8)
    throw new StickyError('WRONG_PASSPHRASE', 'Choose a passphrase of at least 8 characters.')
  const { seed } = await loadOrCreateIdentity(name)
  return sealSeed(seed, passphrase)
}

/** Replaces this origin's identity by the one in the backup. A node that runs does not notice: use its own `importIdentity`. */
export async function importIdentity(
  text: string,
  passphrase: string,
  name = 'sticky-pubsub',
): Promise<BrowserIdentity> {
  requireCrypto()
  const seed = await openSeed(text, passphrase)
  const kept = await seal(seed)
  await withIdentityDb(name, async (db) => {
    const transaction = db.transaction(STORE, 'readwrite', { durability: 'strict' })
    await transaction.store.put(kept, ENTRY)
    await transaction.done
  })
  return { seed, created: false }
}

async function seal(seed: Uint8Array): Promise<Kept> {
  const key = await crypto.subtle.generateKey({ name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt'])
  const iv = crypto.getRandomValues(new Uint8Array(12))
  return {
    key,
    iv,
    sealed: await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, key, seed as Uint8Array<ArrayBuffer>),
  }
}

async function unseal({ key, iv, sealed }: Kept): Promise<Uint8Array> {
  try {
    return new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-GCM', iv }, key, sealed))
  } catch (error) {
    throw new StickyError(
      'IDENTITY_UNREADABLE',
      'The identity kept in this browser cannot be opened. Import a backup, or clear the site’s data.',
      { cause: error },
    )
  }
}

function requireCrypto(): void {
  if (globalThis.crypto?.subtle === undefined) {
    throw new StickyError(
      'UNSUPPORTED_PLATFORM',
      'This page needs https (or localhost): browsers give no cryptography to insecure pages.',
    )
  }
}
