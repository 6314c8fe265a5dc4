import { asStickyError, type BlockRef, equalBytes, fromHex } from '../../src/dht/index.ts'
import { createKinds } from '../../src/pubsub/kinds.ts'
import { VerifiedMessages } from '../../src/pubsub/message.ts'
import type { BadBlock } from './history.ts'
import type { SimulatedNode } from './node.ts'
import type { Simulation } from './simulation.ts'

/** What lies on the disks of honest nodes, seen from outside: by kinds of its own, which have met none of it before. */

/** The same block is on several disks: it is looked at once for all that have the same bytes. */
type Examined = Map<string, { bytes: Uint8Array; bad: BadBlock | undefined }[]>

const MAX_REMEMBERED_MESSAGES = 100_000

export async function observeDisks({ world, history, nodes }: Simulation): Promise<void> {
  const verified = new VerifiedMessages(MAX_REMEMBERED_MESSAGES)
  const { blockKinds } = createKinds({ verified, now: () => world.wallMs })
  const kinds = new Map(blockKinds.map((kind) => [kind.name, kind]))

  const examine = async (name: string, bytes: Uint8Array): Promise<BadBlock | undefined> => {
    const ref = refOf(name)
    const kind = ref && kinds.get(ref.kind)
    if (ref === undefined || kind === undefined) return { name, isIntact: false, refusal: 'UNKNOWN_KIND' }
    const refusal = await kind.verify(ref.id, bytes).then(
      () => undefined,
      (error: unknown) => asStickyError(error, 'MALFORMED').code,
    )
    const isIntact = await kind.matches(ref.id, bytes)
    if (isIntact && refusal === undefined) return undefined
    return { name, isIntact, refusal: refusal === 'WRONG_HASH' ? undefined : refusal }
  }

  const examined: Examined = new Map()
  for (const node of nodes) {
    const bad: BadBlock[] = []
    const blocks = blocksOf(node)
    const shown = blocks.filter(([name]) => !node.disk.isHiddenDamage(name))
    for (const [name, bytes] of shown) {
      const known = examined.get(name) ?? []
      examined.set(name, known)
      let same = known.find((other) => equalBytes(other.bytes, bytes))
      if (same === undefined) {
        same = { bytes, bad: await examine(name, bytes) }
        known.push(same)
      }
      if (same.bad !== undefined) bad.push(same.bad)
    }
    const hidden = blocks.length - shown.length
    history.add({ type: 'disk', node: node.label, blocks: blocks.length, hidden, bad })
  }
}

const blocksOf = ({ disk }: SimulatedNode): [string, Uint8Array][] =>
  [...disk.values].filter(([name]) => name.startsWith('block/'))

/** Entries of records, in whatever form. */
export const recordNames = ({ disk }: SimulatedNode): string[] =>
  [...disk.values.keys()].filter((name) => /^(block|head|log)\//.test(name))

function refOf(name: string): BlockRef | undefined {
  const [, kind, id] = /^block\/([a-z]+)\/([0-9a-f]{64})$/.exec(name) ?? []
  return kind === undefined || id === undefined ? undefined : { kind, id: fromHex(id) }
}
