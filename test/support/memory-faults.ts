import { memoryStorage, type NodeId, StickyError, type Storage } from '../../src/dht/index.ts'
import type { MemoryNet, MemoryNode, MemoryNodeOptions } from './memory-nodes.ts'

/** What befalls nodes of an in-process network: they lose each other, or end without a word and come back. */

/** A disk that outlives its node: after `cut` its node writes nothing more, as when its process has ended. */
export class CuttableDisk implements Storage {
  readonly persistent = true
  readonly #inner = memoryStorage()
  #isCut = false

  get = (key: string) => this.#inner.get(key)
  entries = (prefix: string) => this.#inner.entries(prefix)
  keys = (prefix: string) => this.#inner.keys(prefix)
  close = async () => undefined

  write: Storage['write'] = (operations) =>
    this.#isCut
      ? Promise.reject(new StickyError('STORAGE_FAILED', 'The process has ended.'))
      : this.#inner.write(operations)

  /** What is on it now, as the disk of the next process. */
  async cut(): Promise<CuttableDisk> {
    this.#isCut = true
    const next = new CuttableDisk()
    for await (const [key, value] of this.#inner.entries('')) await next.write([{ type: 'put', key, value }])
    return next
  }
}

/** Nobody reaches the node any more and it reaches nobody; what it had not written is gone. Gives its disk. */
export async function crash(net: MemoryNet, node: MemoryNode): Promise<CuttableDisk> {
  const disk = (node.storage as CuttableDisk).cut()
  // what is left of it says nothing more; its successor has the same id, so the others may not be told to avoid it
  cutOff(node, net.nodes)
  net.hub.crash(node.pubsub.nodeId)
  for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate) // its links are gone before its objects are
  await node.pubsub.close().catch(() => undefined) // it has no disk any more
  net.nodes.splice(net.nodes.indexOf(node), 1)
  return disk
}

/** The same node again: its key, and the disk that the crash left. */
export const restart = (
  net: MemoryNet,
  { seed }: MemoryNode,
  storage: CuttableDisk,
  options: MemoryNodeOptions = {},
): Promise<MemoryNode> => net.add({ ...options, seed, storage })

const cuts = new WeakMap<MemoryNode, Set<NodeId>>()

/** Frames between the two sides vanish, and no new link is opened, as between the halves of a divided network. */
export function separate(one: MemoryNode[], others: MemoryNode[]): void {
  for (const node of one) cutOff(node, others)
  for (const node of others) cutOff(node, one)
}

function cutOff(from: MemoryNode, others: MemoryNode[]): void {
  const cut = cutOf(from)
  for (const { pubsub } of others) {
    if (pubsub.nodeId === from.pubsub.nodeId) continue
    cut.add(pubsub.nodeId)
    from.network.blackholes.add(pubsub.nodeId)
  }
}

/** Everybody reaches everybody again. */
export function heal(nodes: MemoryNode[]): void {
  for (const node of nodes) {
    cutOf(node).clear()
    node.network.blackholes.clear()
  }
  for (const { network } of nodes) network.topologyChanged()
}

function cutOf(node: MemoryNode): Set<NodeId> {
  const known = cuts.get(node)
  if (known !== undefined) return known
  const cut = new Set<NodeId>()
  const openLink = node.network.openLink.bind(node.network)
  cuts.set(node, cut)
  node.network.openLink = (peer, events) =>
    cut.has(peer)
      ? Promise.reject(new StickyError('UNREACHABLE', `${peer} is on the other side.`))
      : openLink(peer, events)
  return cut
}
