import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, it } from 'vitest'
import { memoryStorage } from '../../src/dht/memory-storage.ts'
import { openLevelStorage } from '../../src/node/object-store.ts'
import { type StorageFixture, storageCases } from './storage-suite.ts'

// IndexedDB: test/browser/storage.test.ts

function storageSuite(name: string, fixture: StorageFixture): void {
  describe(`Storage: ${name}`, () => {
    for (const { name, run } of storageCases) it(name, () => run(fixture))
  })
}

storageSuite('memory', { persistent: false, open: async () => memoryStorage() })

describe('on disk', () => {
  let folder = ''
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'sticky-storage-'))
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  storageSuite('LevelDB', { persistent: true, open: (name) => openLevelStorage(join(folder, name)) })
})
