import { expect, it } from 'vitest'
import { encode, systemRuntime } from '../../../src/dht/index.ts'
import { decodeCoordinator } from '../../../src/pubsub/coordinator.ts'
import { LIMITS } from '../../../src/pubsub/options.ts'
import { StoredIds } from '../../../src/pubsub/stored-ids.ts'
import { Holder } from '../../support/holder.ts'

it('has what a merge has stamped below what was known, because it ignored a forged number', async () => {
  const holder = new Holder()
  for (let n = 0; n < 5; n++) await holder.commit()
  const record = await holder.record()
  const storedIds = new StoredIds(systemRuntime)
  await record.exclusive(() => storedIds.of(record))

  // as far ahead as this one takes for true, and further than the other branch does
  const coordinator = decodeCoordinator(record.head as Uint8Array)
  const forged = encode({ ...coordinator, version: coordinator.version + LIMITS.maxVersionJump })
  await record.exclusive(() => holder.store.joinLocal(record, forged))
  const other = new Holder({ world: holder.world })
  await other.commit(1, 1)
  const branch = await other.record()
  await branch.checkpoint()
  for await (const [key, value] of other.storage.entries('block/'))
    await holder.storage.write([{ type: 'put', key, value }])
  await record.exclusive(() => holder.store.joinLocal(record, branch.head as Uint8Array))
  for (let n = 0; n < 9; n++) await holder.commit()

  const { version } = decodeCoordinator(record.head as Uint8Array)
  expect(version).toBeGreaterThan(coordinator.version) // the forged one has gone, and nobody looked meanwhile
  expect(version).toBeLessThan(LIMITS.maxVersionJump)
  const ofBranch = await branch.exclusive(() => new StoredIds(systemRuntime).of(branch))
  const known = await record.exclusive(() => storedIds.of(record))
  for (const id of ofBranch.keys()) expect([...known.keys()]).toContain(id)
  expect(known.size).toBe(15)
})
