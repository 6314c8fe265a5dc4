import type { StickyPubSub } from '../../src/pubsub/index.ts'
import { topicMethods } from '../../src/pubsub/wire.ts'

/** At once; a node gives one peer a hundred. */
const REQUESTS = 400

/** Asks a node for more than it gives one peer, so that it refuses most of it. */
export async function flood({ dht }: StickyPubSub, nodeId: string): Promise<void> {
  const body = { topic: new Uint8Array(32), ids: [new Uint8Array(32)] }
  const asked = Array.from({ length: REQUESTS }, () => dht.rpc.request(nodeId, topicMethods.delivered, body))
  const answers = await Promise.allSettled(asked)
  const refused = answers.filter(
    (answer) => answer.status === 'rejected' && ['RATE_LIMITED', 'BUSY'].includes(answer.reason.code),
  )
  if (refused.length < REQUESTS / 4) throw new Error(`${nodeId} refused ${refused.length} of ${REQUESTS}.`)
}
