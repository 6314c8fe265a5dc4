import type { ChatPubSub, CoordinatorView, Keyspace } from '../../../web/chat-node.ts'

/** What the inspector asks of a node, answered from a room in memory: a version for each message. */

interface Inspected {
  readonly topic: string
  readonly messages: readonly unknown[]
  inspections: number
  laggingBy: number
}

type Inspection = Pick<
  ChatPubSub,
  'replicas' | 'loadCoordinator' | 'loadFullHistory' | 'mergeCoordinators' | 'counters'
>

const HISTORY = 12
const START_MS = Date.UTC(2026, 4, 5, 9)

const hash = async (text: string): Promise<Uint8Array> =>
  new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)))

export const fakeKeyspace: Keyspace = {
  placeOfTopic: (name) => hash(`topic ${name}`),
  placeOfNode: (nodeId) => hash(nodeId),
}

const idOf = (kind: string, topic: string, version: number): string =>
  `bafy-${topic}-${kind}-${String(version).padStart(6, '0')}`

function viewOf(topic: string, version: number): CoordinatorView {
  const encoded = new TextEncoder().encode(String(version))
  const count = Math.min(version - 1, HISTORY)
  return {
    id: idOf('head', topic, version),
    version,
    state: 'active',
    messages: idOf('set', topic, version),
    subscribers: idOf('people', topic, 1),
    messageHistory: Array.from({ length: count }, (_, index) => idOf('set', topic, version - 1 - index)),
    subscriberHistory: [],
    previous: version > HISTORY ? [idOf('snapshot', topic, 2)] : [],
    createdAt: START_MS,
    lastModified: START_MS + version * 1_000,
    bytes: 700,
    encoded,
  }
}

/** `replicas`: the last is the only one that is not durable. */
export function fakeInspection(room: (topic: string) => Inspected, replicas: string[]): Inspection {
  const current = (topic: string) => viewOf(topic, room(topic).messages.length)
  return {
    replicas: async (topic) => {
      room(topic).inspections += 1
      return replicas.map((nodeId, index) => {
        const isLast = index === replicas.length - 1
        const version = room(topic).messages.length - (isLast ? room(topic).laggingBy : 0)
        const { id, encoded } = viewOf(topic, version)
        return { nodeId, durable: !isLast, headId: id, version, head: encoded }
      })
    },
    loadCoordinator: async (topic) => current(topic),
    loadFullHistory: async (topic) => {
      const { messages = '', messageHistory, previous } = current(topic)
      const older = previous.length === 0 ? [] : [idOf('snapshot', topic, 1)]
      return {
        messages: [messages, ...messageHistory],
        subscribers: [idOf('people', topic, 1)],
        snapshots: [...previous, ...older],
        missing: 0,
      }
    },
    mergeCoordinators: async (topic, a) => viewOf(topic, Number(new TextDecoder().decode(a))),
    counters: () => ({
      merges: 3,
      lostHeads: 0,
      commits: { commits: 40, conflicts: 2 },
      resync: { runs: 1, lastReason: '' },
    }),
  }
}
