import { afterEach, describe, expect, it } from 'vitest'
import { LocalNetwork, type RunningNode } from '../support/local-network.ts'
import { until } from '../support/memory-nodes.ts'

/** Bridge and nodes are processes of their own; every node is driven through the shipped program. */

let network: LocalNetwork
afterEach(async () => {
  await network.stop()
})

interface Printed {
  id: string
  publisher: string
  writer: string
  sequence: number
  data: unknown
}

const isMessage = (event: Record<string, unknown>) =>
  typeof event.id === 'string' && event.status === undefined
const isStored = (event: Record<string, unknown>) => event.status === 'stored'

async function history(topic: string): Promise<Printed[]> {
  const { stdout } = await network.sticky('history', topic, '--json')
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Printed)
}

/** Once each, and each writer's numbers without a gap from 1, in order. */
function expectWholeAndOrdered(messages: Printed[]): void {
  expect(new Set(messages.map(({ id }) => id)).size).toBe(messages.length)
  const next = new Map<string, number>()
  for (const { publisher, writer, sequence } of messages) {
    const key = `${publisher} ${writer}`
    expect(sequence).toBe((next.get(key) ?? 0) + 1)
    next.set(key, sequence)
  }
}

async function restart(node: RunningNode, holders: number): Promise<void> {
  await network.startNode(node.directory.split('/').at(-1) as string, holders)
}

describe('a network of processes', () => {
  it('delivers live to B and C what A publishes, and all of it to D who joins late', async () => {
    network = await LocalNetwork.start({ nodes: 4 })
    const b = network.run('sub', 'news', '--json', '--bridge', network.url)
    const c = network.run('sub', 'news', '--json', '--bridge', network.url)
    await Promise.all([b, c].map((subscriber) => subscriber.event((event) => event.event === 'history-end')))
    const a = network.run(
      'pub',
      'news',
      '-',
      '--json',
      '--bridge',
      network.url,
      '--data',
      `${network.directory}/a`,
    )
    a.child.stdin?.end(Array.from({ length: 100 }, (_, i) => `line ${i + 1}\n`).join(''))
    expect(await a.exited).toBe(0)
    const expected = Array.from({ length: 100 }, (_, i) => `line ${i + 1}`)
    for (const subscriber of [b, c]) {
      await subscriber.count(isMessage, 100)
      expect(subscriber.events.filter(isMessage).map((event) => event.data)).toEqual(expected)
    }
    const d = network.run('sub', 'news', '--json', '--bridge', network.url)
    const end = await d.event((event) => event.event === 'history-end')
    expect(end.count).toBe(100)
    expect(d.events.filter(isMessage).map((event) => event.data)).toEqual(expected)
    for (const subscriber of [b, c, d]) {
      subscriber.child.kill('SIGINT')
      expect(await subscriber.exited).toBe(0)
    }
  }, 60_000)

  it('keeps every acknowledged message when two replicas are killed while publishing, and when all stop', async () => {
    network = await LocalNetwork.start({ nodes: 5 })
    const publishers = Array.from({ length: 3 }, (_, i) =>
      network.run(
        'pub',
        'ledger',
        '-',
        '--json',
        '--bridge',
        network.url,
        '--data',
        `${network.directory}/publisher-${i}`,
      ),
    )
    const lines = (publisher: number) => Array.from({ length: 200 }, (_, i) => `p${publisher} ${i + 1}\n`)
    const feed = lines(0).map((_, i) => publishers.map((_publisher, p) => lines(p)[i] as string))
    const stored = () =>
      publishers.flatMap((publisher) => publisher.events.filter(isStored).map((event) => event.id as string))
    const [first, second] = network.nodes
    if (first === undefined || second === undefined) throw new Error('five nodes')
    for (const [i, round] of feed.entries()) {
      for (const [p, line] of round.entries()) publishers[p]?.child.stdin?.write(line)
      if (i === 60) {
        await until(() => stored().length >= 60, 30_000)
        await Promise.all([first, second].map((node) => node.process.kill('SIGKILL')))
      }
    }
    for (const publisher of publishers) publisher.child.stdin?.end()
    const codes = await Promise.all(publishers.map((publisher) => publisher.exited))
    const acknowledged = stored()
    expect(codes, publishers.map((publisher) => publisher.stderr).join('')).toEqual([0, 0, 0])
    expect(acknowledged.length).toBe(600)

    await Promise.all([first, second].map((node) => restart(node, 5)))
    const afterRestart = await history('ledger')
    expectWholeAndOrdered(afterRestart)
    expect(new Set(afterRestart.map(({ id }) => id))).toEqual(new Set(acknowledged))

    const running = network.nodes.filter(
      (node) => node.process.child.exitCode === null && node.process.child.signalCode === null,
    )
    expect(running.length).toBe(5)
    await Promise.all(running.map((node) => node.process.kill('SIGTERM')))
    await Promise.all(running.map((node) => restart(node, 5)))
    const afterAll = await history('ledger')
    expect(afterAll.map(({ id }) => id)).toEqual(afterRestart.map(({ id }) => id))
  }, 120_000)

  it('says what is wrong when a folder is in use, a port is taken, or there is no bridge', async () => {
    network = await LocalNetwork.start({ nodes: 1 })
    const [node] = network.nodes
    if (node === undefined) throw new Error('one node')
    const failing = (...args: string[]) =>
      network.sticky(...args).then(
        () => ({ code: 0, stderr: '' }),
        (error: { code: number; stderr: string }) => error,
      )
    expect(await failing('node', '--data', node.directory)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('in use by another process'),
    })
    const port = new URL(network.url).port
    const second = network.run('bridge', '--port', port, '--data', `${network.directory}/second`)
    expect(await second.exited).toBe(1)
    expect(second.stderr).toContain(`Port ${port} is in use`)
    const alone = network.run(
      'pub',
      'x',
      'y',
      '--bridge',
      'http://127.0.0.1:9',
      '--data',
      `${network.directory}/alone`,
    )
    expect(await alone.exited).toBe(1)
    expect(alone.stderr).toContain('No bridge answers')
  }, 60_000)
})
