import { type BlockReader, cidOf, type Dht, StickyError } from '../dht/index.ts'
import type { FullHistory } from './api.ts'
import type { Loaded } from './history.ts'
import { COORDINATOR } from './options.ts'
import { snapshotsBehind } from './snapshot.ts'

/** The low-level view of where a topic comes from: its histories through the snapshots, and what two heads join to. */

export const emptyFullHistory = (): FullHistory => ({
  messages: [],
  subscribers: [],
  snapshots: [],
  missing: 0,
})

/** Walks the snapshots behind a head, newest first, at most `maxDepth` levels and `LIMITS.maxHistoryDepth` snapshots. */
export async function fullHistory({ coordinator, reader }: Loaded, maxDepth: number): Promise<FullHistory> {
  const read = reader()
  const history = emptyFullHistory()
  const add = (level: { messageHistory: Uint8Array[]; subscriberHistory: Uint8Array[] }) => {
    history.messages.push(...level.messageHistory.map(cidOf))
    history.subscribers.push(...level.subscriberHistory.map(cidOf))
  }
  if (coordinator.messages) history.messages.push(cidOf(coordinator.messages))
  if (coordinator.subscribers) history.subscribers.push(cidOf(coordinator.subscribers))
  add(coordinator)
  const walk = { maxDepth, optional: false }
  for await (const { snapshots, missing } of snapshotsBehind(coordinator.previous, read, walk)) {
    history.missing += missing
    for (const { id, snapshot } of snapshots) {
      history.snapshots.push(cidOf(id))
      add(snapshot)
    }
  }
  return history
}

/** What two heads of a topic join to, computed here and stored nowhere. Throws NOT_FOUND when a block of them is nowhere. */
export async function mergeHeads(
  dht: Dht,
  topicKey: Uint8Array,
  a: Uint8Array,
  b: Uint8Array,
): Promise<Uint8Array> {
  const kind = dht.store.headKind(COORDINATOR)
  await Promise.all([kind.verify(topicKey, a), kind.verify(topicKey, b)])
  const readers = (await dht.replicas.set(topicKey)).map(({ nodeId }) =>
    dht.reader(COORDINATOR, topicKey, nodeId),
  )
  const readAnywhere: BlockReader = async (ref) => {
    let last: unknown = new StickyError('NO_REPLICAS', 'No node that stores topics can be reached.')
    for (const read of readers) {
      try {
        return await read(ref)
      } catch (error) {
        last = error
      }
    }
    throw last
  }
  return (await kind.join(topicKey, a, b, readAnywhere)).head
}
