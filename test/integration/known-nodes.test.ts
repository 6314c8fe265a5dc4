import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type Bridge, type BridgeOptions, startBridge } from '../../src/bridge/index.ts'
import { encode, StickyError } from '../../src/dht/index.ts'
import { runNode } from '../../src/node/commands.ts'
import { createNode, type NodeOptions, type StickyNode } from '../../src/node/index.ts'
import { openLevelStorage } from '../../src/node/object-store.ts'
import type { Output } from '../../src/node/output.ts'
import { PATIENCE } from '../support/patience.ts'
import { freePort } from '../support/proxied.ts'

/** A node whose bridge is away when it starts joins through the nodes that it knew. */

let folder: string
let bridge: Bridge
let neighbour: StickyNode
let url: string
const open: AsyncDisposable[] = []

const keep = <T extends AsyncDisposable>(opened: T): T => {
  open.push(opened)
  return opened
}
const inFolder = (name: string) => join(folder, name)
const start = async (name: string, options: NodeOptions = {}): Promise<StickyNode> =>
  keep(
    await createNode({ bridgeUrl: url, directory: inFolder(name), passphrase: 'of this test', ...options }),
  )
const startAgain = (options: Partial<BridgeOptions> = {}) =>
  startBridge({ seed: new Uint8Array(32).fill(52), port: Number(new URL(url).port), ...options })
const knows = (node: StickyNode, holders: number) =>
  vi.waitFor(async () => expect(await node.knownHolders()).toBe(holders), PATIENCE)

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sticky-known-'))
  bridge = keep(await startBridge({ seed: new Uint8Array(32).fill(51), port: 0 }))
  url = bridge.url
  neighbour = await start('neighbour')
})
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

/** One that has run beside the neighbour. */
async function acquainted(name: string, options: NodeOptions = {}): Promise<void> {
  const node = await start(name, options)
  await knows(node, options.role === 'client' ? 1 : 2)
  await node.close()
}

describe('a node whose bridge is away', () => {
  it('holds and reads its topics with those that it knew, and is back at the bridge when that is', async () => {
    await acquainted('holder')
    await neighbour.pubsub.publish('topic', 'before')
    await bridge.close()
    const holder = await start('holder')
    expect(holder.bridgeProblem).toMatchObject({ code: 'UNREACHABLE' })
    await knows(neighbour, 2)
    const page = await holder.pubsub.history('topic')
    expect(page.messages.map(({ data }) => data)).toEqual(['before'])
    expect(await holder.pubsub.publish('topic', 'after')).toMatchObject({ replicas: 2, durableReplicas: 2 })

    // another bridge at the same address, so that nobody has a place at its relay from before
    const next = keep(await startAgain())
    await vi.waitFor(() => expect(holder.bridgeProblem).toBeUndefined(), PATIENCE)
    const reached = () => holder.addresses.some((address) => address.includes(`${next.nodeId}/p2p-circuit`))
    await vi.waitFor(() => expect(reached()).toBe(true), PATIENCE)
    const reader = keep(await createNode({ bridgeUrl: url, role: 'client' }))
    await knows(reader, 2)
  }, 60_000)

  it('publishes as a client with a folder too', async () => {
    await acquainted('client', { role: 'client' })
    await bridge.close()
    const client = await start('client', { role: 'client' })
    expect(await client.pubsub.publish('topic', 'text')).toMatchObject({ replicas: 1 })
  }, 60_000)

  it('starts where nobody is left running, as soon as one that it knew does so too', async () => {
    await neighbour.pubsub.publish('topic', 'before')
    const at = async () => ({ listen: [`/ip4/127.0.0.1/tcp/${await freePort()}/ws`] })
    const [first, second] = [await at(), await at()]
    await neighbour.close()
    neighbour = await start('neighbour', first)
    await acquainted('holder', second)
    await neighbour.close()
    await bridge.close()
    const nodes = await Promise.all([start('neighbour', first), start('holder', second)])
    for (const node of nodes) {
      await knows(node, 2)
      const page = await node.pubsub.history('topic')
      expect(page.messages.map(({ data }) => data)).toEqual(['before'])
    }
  }, 60_000)

  it('does not start where nobody answers that it knew, says that of the bridge, and lets go of its folder', async () => {
    await acquainted('holder')
    await bridge.close()
    await neighbour.close()
    await expect(start('holder')).rejects.toThrow(`No bridge answers at ${url}`)
    await (await openLevelStorage(join(inFolder('holder'), 'records'))).close()
  }, 60_000)

  it('joins none that it knew by another bridge', async () => {
    await acquainted('holder')
    const other = keep(await startBridge({ seed: new Uint8Array(32).fill(53), port: 0 }))
    await other.close()
    const options = { bridgeUrl: other.url }
    await expect(start('holder', options)).rejects.toThrow(`No bridge answers at ${other.url}`)
  }, 60_000)

  it('knows nobody where what it has kept cannot be read', async () => {
    await acquainted('holder')
    await bridge.close()
    const storage = await openLevelStorage(join(inFolder('holder'), 'records'))
    await storage.write([
      { type: 'put', key: 'known-nodes', value: encode({ v: 1, bridge: url, nodes: 'all' }) },
    ])
    await storage.close()
    await expect(start('holder')).rejects.toMatchObject({ code: 'UNREACHABLE' })
  }, 60_000)
})

it('`sticky node` says that its bridge is away, and is ready', async () => {
  const passphraseFile = join(folder, 'passphrase')
  writeFileSync(passphraseFile, 'of this test\n', { mode: 0o600 })
  const options = { bridge: url, data: inFolder('holder'), passphraseFile, json: false, awaitHolders: 2 }
  const run = async (): Promise<string[]> => {
    const notes: string[] = []
    const interrupt = new AbortController()
    const output: Output = {
      json: false,
      result: () => interrupt.abort(),
      note: (text) => void notes.push(text),
      progress: () => undefined,
    }
    await runNode(options, output, interrupt.signal)
    return notes
  }
  expect(await run()).toEqual([])
  await bridge.close()
  expect(await run()).toEqual([expect.stringMatching(`No bridge answers at ${url}.*known from before`)])
}, 60_000)

it('a bridge that is there and admits no such node is not gone around', async () => {
  await acquainted('holder')
  await bridge.close()
  keep(await startAgain({ inviteOnly: true }))
  const refused = await start('holder').catch((error: unknown) => error)
  expect(refused).toBeInstanceOf(StickyError)
  expect(refused).toMatchObject({ code: 'ADMISSION_REFUSED' })
}, 60_000)

it('a node keeps in mind whom it knew before beside whom it meets', async () => {
  await acquainted('holder')
  await neighbour.close()
  const other = await start('other')
  await acquainted('holder') // with the other one
  const storage = await openLevelStorage(join(inFolder('holder'), 'records'))
  const kept = new TextDecoder().decode(await storage.get('known-nodes'))
  await storage.close()
  expect(kept).toContain(other.nodeId)
  expect(kept).toContain(neighbour.nodeId)
}, 60_000)
