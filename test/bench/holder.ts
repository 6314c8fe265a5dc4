import { writeFile } from 'node:fs/promises'
import { Session } from 'node:inspector/promises'
import { createNode } from '../../src/node/index.ts'
import { serve } from './children.ts'
import { echo } from './echo.ts'
import { countTraffic } from './usage.ts'

/** A durable node as `sticky node` runs it: LevelDB, every write flushed. Arguments: bridge URL, data folder. */
const traffic = countTraffic()
const [, , bridgeUrl, directory] = process.argv as [string, string, string, string]
const node = await createNode({ bridgeUrl, directory, passphrase: 'bench' })
const { rpc } = node.pubsub.dht
rpc.handle(echo, (_from, request) => request)
const profiler = new Session()

async function startProfile(): Promise<void> {
  profiler.connect()
  await profiler.post('Profiler.enable')
  await profiler.post('Profiler.start')
}

async function stopProfile({ file }: { file: string }): Promise<void> {
  const { profile } = await profiler.post('Profiler.stop')
  profiler.disconnect()
  await writeFile(file, JSON.stringify(profile))
}

serve(
  {
    startProfile,
    stopProfile,
    nodeId: () => node.nodeId,
    traffic,
    counters: () => {
      const { commits, merges, rpc: frames } = node.pubsub.counters()
      return {
        commits: commits?.commits ?? 0,
        conflicts: commits?.conflicts ?? 0,
        merges,
        frameBytes: frames.bytesSent,
      }
    },
  },
  () => node.close(),
)
