import { createNode } from '../../src/node/index.ts'
import { serve } from './children.ts'
import { echo } from './echo.ts'

/** A durable node as `sticky node` runs it: LevelDB, every write flushed. Arguments: bridge URL, data folder. */
const [, , bridgeUrl, directory] = process.argv as [string, string, string, string]
const node = await createNode({ bridgeUrl, directory, passphrase: 'bench' })
const { rpc } = node.pubsub.dht
rpc.handle(echo, (_from, request) => request)
serve(
  { nodeId: node.nodeId },
  () => rpc.counters.bytesSent,
  () => node.close(),
)
