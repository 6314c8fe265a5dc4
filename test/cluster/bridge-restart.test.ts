import { afterEach, expect, it } from 'vitest'
import { LocalNetwork } from '../support/local-network.ts'

/** A bridge keeps its admissions in memory: after a restart every node has to pass its challenge again, by itself. */

let network: LocalNetwork
afterEach(() => network.stop())

it('nodes join a bridge that was killed and started again, and who is new finds them through it', async () => {
  network = await LocalNetwork.start({ nodes: 2 })
  await network.sticky('pub', 'before', 'said before', '--json')
  const port = Number(new URL(network.url).port)
  await network.killBridge()
  await network.startBridge(port)

  // a durable node of its own would count itself: only one that found both others is ready
  await network.startNode('late', 3)
  const { stdout } = await network.sticky('history', 'before', '--json')
  expect(JSON.parse(stdout)).toMatchObject({ data: 'said before' })
  const { stdout: stored } = await network.sticky('pub', 'after', 'said after', '--json')
  expect(JSON.parse(stored)).toMatchObject({ status: 'stored', replicas: expect.any(Number) })
}, 60_000)
