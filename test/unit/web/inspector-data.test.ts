import { describe, expect, it } from 'vitest'
import type { ChatNode } from '../../../web/chat-node.ts'
import { namedCounters, TopicInspection } from '../../../web/inspector-data.ts'
import { fakeInspection, fakeKeyspace } from '../../browser/pages/fake-inspection.ts'

function setUp() {
  const room = { topic: 'lobby', messages: [1, 2, 3], inspections: 0, laggingBy: 0 }
  const calls: string[] = []
  const broken = new Set<string>()
  const answers = { ...fakeInspection(() => room, ['a', 'b', 'c']), channelState: async () => 'ACTIVE' }
  let open = 0
  const pubsub = Object.fromEntries(
    Object.entries(answers).map(([name, answer]) => [
      name,
      async (...given: unknown[]) => {
        calls.push(name)
        expect(++open).toBe(1)
        await Promise.resolve()
        open -= 1
        if (broken.has(name)) throw new Error(`no ${name}`)
        return Reflect.apply(answer as (...given: unknown[]) => unknown, undefined, given)
      },
    ]),
  )
  const status = () => ({
    state: 'online',
    peers: [{ nodeId: 'peer', direct: true, webrtc: false }],
    bridge: true,
  })
  const node = { nodeId: 'self', keyspace: fakeKeyspace, pubsub, status } as unknown as ChatNode
  return { room, calls, broken, inspection: new TopicInspection(node, 'lobby') }
}

describe('inspection of a topic', () => {
  it('asks one thing after the other, and reads history and heads again only where the head is another', async () => {
    const { room, calls, inspection } = setUp()
    const seen = await inspection.ask()
    expect(seen.heads.map(({ version, holders }) => [version, holders.length])).toEqual([[3, 3]])
    expect([...seen.places.keys()].toSorted()).toEqual(['a', 'b', 'c', 'peer', 'self'])
    await inspection.ask()
    const count = (name: string) => calls.filter((call) => call === name).length
    expect([count('replicas'), count('loadFullHistory'), count('mergeCoordinators')]).toEqual([2, 1, 1])
    room.messages.push(4)
    const later = await inspection.ask()
    expect(later.heads.map(({ version, holders }) => [version, holders.length])).toEqual([
      [4, 3],
      [3, 0],
    ])
    expect([count('loadFullHistory'), count('mergeCoordinators')]).toEqual([2, 2])
  })

  it('keeps the last answer of what fails, and says why', async () => {
    const { room, broken, inspection } = setUp()
    expect((await inspection.ask()).problem).toBeUndefined()
    broken.add('loadCoordinator')
    room.messages.push(4)
    const seen = await inspection.ask()
    expect(seen.problem).toBe('no loadCoordinator')
    expect(seen.agreed?.version).toBe(3)
    expect(seen.replicas.map(({ version }) => version)).toEqual([4, 4, 4])
  })

  it('remembers eight heads, those that somebody has before others', async () => {
    const { room, inspection } = setUp()
    room.laggingBy = 1
    for (let round = 0; round < 12; round += 1) {
      room.messages.push(0)
      room.laggingBy += 1
      await inspection.ask()
    }
    const { heads } = await inspection.ask()
    expect(heads.length).toBe(8)
    expect(heads.filter(({ holders }) => holders.length > 0).map(({ version }) => version)).toEqual([15, 2])
  })

  it('takes the counters that it has words for, where the node tells any', () => {
    expect(namedCounters({ merges: 2, commits: { conflicts: 1 }, other: 5, outbox: '3' })).toEqual([
      { name: 'Merges of heads', value: 2 },
      { name: 'Conflicts at commit', value: 1 },
    ])
    expect(namedCounters(undefined)).toEqual([])
  })
})
