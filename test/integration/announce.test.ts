import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Bridge, startBridge } from '../../src/bridge/index.ts'
import { createNode, type NodeOptions, type StickyNode } from '../../src/node/index.ts'
import { until } from '../support/memory-nodes.ts'
import { freePort } from '../support/proxied.ts'

/** Holders that tell others another address than the one on which they listen, as behind a router or a proxy. */

let bridge: Bridge
const nodes: StickyNode[] = []
beforeEach(async () => {
  bridge = await startBridge({ seed: new Uint8Array(32).fill(94), port: 0 })
})
afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.close()))
  await bridge.close()
})

async function join(options: NodeOptions): Promise<StickyNode> {
  const node = await createNode({ bridgeUrl: bridge.url, ...options })
  nodes.push(node)
  return node
}

/** How somebody who comes new reaches the holder: the one to which it publishes. */
async function pathTo(holder: StickyNode): Promise<string | undefined> {
  const client = await join({ role: 'client' })
  await client.pubsub.publish('lobby', 'hello')
  const { peers } = await client.pubsub.diagnostics()
  return peers.list.find(({ nodeId }) => nodeId === holder.nodeId)?.path
}

describe('a holder that announces a name', () => {
  it('is reached by it, and tells of no address on which it listens', async () => {
    const port = await freePort()
    const name = `/dns4/localhost/tcp/${port}/ws`
    const holder = await join({ listen: [`/ip4/127.0.0.1/tcp/${port}/ws`], announce: [name] })
    expect(holder.addresses).toContain(`${name}/p2p/${holder.nodeId}`)
    expect(
      holder.addresses.filter((address) => /^\/ip4\/127.0.0.1\/tcp\/\d+\/ws\/p2p\/\w+$/.test(address)),
    ).toEqual([])
    expect(await pathTo(holder)).toBe('direct')
  })

  it('is reached through the relay by those who cannot use it', async () => {
    const name = `/dns4/localhost/tcp/${await freePort()}/ws`
    const holder = await join({ announce: [name] })
    await until(() => bridge.reservations().includes(holder.nodeId), 20_000)
    expect(holder.addresses).toContain(`${bridge.address}/p2p-circuit/p2p/${holder.nodeId}`)
    expect(await pathTo(holder)).toBe('relayed')
  })

  it.each(['https://node.example', 'node.example', '/dns4/node.example/tcp/443/https'])(
    'is told what to write instead of %s',
    async (text) => {
      await expect(join({ announce: [text] })).rejects.toMatchObject({
        code: 'MALFORMED',
        message: expect.stringContaining('/dns4/node.example/tcp/443/wss'),
      })
    },
  )
})
