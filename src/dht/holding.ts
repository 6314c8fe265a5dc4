import { AntiEntropy } from './anti-entropy.ts'
import { serveRecords } from './holder.ts'
import type { NodeId } from './identity.ts'
import type { RecordStore } from './record-store.ts'
import type { Replicas } from './replicas.ts'
import type { Rpc } from './rpc.ts'
import type { Runtime } from './runtime.ts'

export interface RecordHoldingInit {
  store: RecordStore
  replicas: Replicas
  rpc: Rpc
  runtime: Runtime
  self: NodeId
}

/** What a node that stores does for the records that it holds. A page whose node stores nothing does not load it. */
export function holdRecords({ store, replicas, rpc, runtime, self }: RecordHoldingInit): AntiEntropy {
  serveRecords(store, rpc)
  return new AntiEntropy(store, replicas, rpc, runtime, self)
}
