import { multiaddr } from '@multiformats/multiaddr'
import { serve } from './children.ts'
import { createGossipNode } from './gossip.ts'

/** A gossipsub node in a process of its own that takes part in the topic. Arguments: topic, addresses to dial. */
const [, , topic, ...addresses] = process.argv as [string, string, string, ...string[]]
const node = await createGossipNode(['/ip4/127.0.0.1/tcp/0/ws'])
node.services.pubsub.subscribe(topic)
for (const address of addresses) await node.dial(multiaddr(address))
serve(
  { address: String(node.getMultiaddrs()[0]) },
  () => node.services.pubsub.getSubscribers(topic).length,
  () => Promise.resolve(node.stop()),
)
