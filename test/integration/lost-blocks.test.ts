import { afterEach, describe, expect, it, vi } from 'vitest'
import { decodeAny, memoryStorage, type Storage } from '../../src/dht/index.ts'
import { decodeCoordinator } from '../../src/pubsub/coordinator.ts'
import { COORDINATOR } from '../../src/pubsub/options.ts'
import { topicKeyOf } from '../../src/pubsub/topic-key.ts'
import { heal, separate } from '../support/memory-faults.ts'
import { MemoryNet, type MemoryNode } from '../support/memory-nodes.ts'

/** A holder comes back with a disk that has lost a block that its head needs; three others have it. */

const TOPIC = 'room'
const dhtOptions = { checkpointCommits: 4, antiEntropyMs: 60_000 }

const nets: MemoryNet[] = []
afterEach(async () => {
  await Promise.all(nets.splice(0).map((net) => net.close()))
})
const newNet = () => {
  const net = new MemoryNet()
  nets.push(net)
  return net
}

interface Lost {
  net: MemoryNet
  /** Was ended in the moment in which its disk was copied. */
  gone: MemoryNode
  version: number
  disk: Storage
}

async function lost(): Promise<Lost> {
  const net = newNet()
  const nodes: MemoryNode[] = []
  for (let i = 0; i < 4; i++) nodes.push(await net.add({ dhtOptions }))
  const [gone, publisher] = nodes as [MemoryNode, MemoryNode]
  const key = await topicKeyOf(TOPIC)
  let version = 0
  for (let i = 0; i < 6; i++) version = (await publisher.pubsub.publish(TOPIC, i)).version
  await expect
    .poll(async () => {
      const { head } = await gone.pubsub.dht.store.record(COORDINATOR, key)
      return head && decodeCoordinator(head).version
    })
    .toBe(version)
  const disk = { ...memoryStorage(), close: async () => undefined }
  for await (const [name, value] of gone.storage.entries(''))
    await disk.write([{ type: 'put', key: name, value }])
  const names = await Array.fromAsync(disk.keys('block/messages'))
  expect(names.length).toBeGreaterThan(0)
  await disk.write(names.map((name) => ({ type: 'delete', key: name })))
  await gone.pubsub.close()
  return { net, gone, version, disk }
}

const load = async ({ pubsub }: MemoryNode): Promise<number> => {
  const { head } = await pubsub.dht.store.record(COORDINATOR, await topicKeyOf(TOPIC))
  return head === undefined ? 0 : decodeCoordinator(head).version
}

/** The version of the checkpoint. */
async function onDisk(disk: Storage): Promise<number> {
  const [name] = await Array.fromAsync(disk.keys('head/'))
  const { head } = decodeAny((await disk.get(name as string)) as Uint8Array, 8_192) as { head: Uint8Array }
  return decodeCoordinator(head).version
}

describe('a head whose blocks the disk has lost', () => {
  it('is completed by the others', async () => {
    const { net, gone, version, disk } = await lost()
    const again = await net.add({ seed: gone.seed, storage: disk, dhtOptions })
    expect(await load(again)).toBe(version)
    expect(again.pubsub.counters().lostHeads).toBe(0)
  })

  it('is not let go of because the node is closed while it asks them', async () => {
    const { net, gone, disk } = await lost()
    const before = await onDisk(disk)
    const again = await net.add({ seed: gone.seed, storage: disk, dhtOptions })
    const loading = load(again)
    loading.catch(() => undefined)
    await again.pubsub.close()
    await expect(loading).rejects.toMatchObject({ code: 'CLOSED' })
    expect(await onDisk(disk)).toBe(before)
  })

  it('is not let go of because a node that has just started knows nobody yet', async () => {
    const { gone, disk } = await lost()
    const before = await onDisk(disk)
    const again = await newNet().add({ seed: gone.seed, storage: disk, dhtOptions })
    await expect(load(again)).rejects.toMatchObject({ code: 'UNREACHABLE' })
    await again.pubsub.close()
    expect(await onDisk(disk)).toBe(before)
  })

  it('is not let go of because none of the others can be reached, but is completed once they can', async () => {
    const { net, gone, version, disk } = await lost()
    const before = await onDisk(disk)
    const again = await net.add({ seed: gone.seed, storage: disk, dhtOptions: { ...dhtOptions, aloneMs: 0 } })
    const others = net.nodes.filter(({ pubsub }) => pubsub.nodeId !== gone.pubsub.nodeId)
    separate([again], others)
    // at first they are asked in vain, then left out
    for (let n = 0; n < 3; n++) await expect(load(again)).rejects.toMatchObject({ code: 'UNREACHABLE' })
    expect(await onDisk(disk)).toBe(before)
    heal([again, ...others])
    await vi.waitFor(async () => expect(await load(again)).toBe(version), { timeout: 20_000 })
    expect(again.pubsub.counters().lostHeads).toBe(0)
  })

  it('is let go of where the others have gone for good', async () => {
    const { net, gone, disk } = await lost()
    const left = { ...dhtOptions, aloneMs: 0, goneMs: 0 }
    const again = await net.add({ seed: gone.seed, storage: disk, dhtOptions: left })
    separate(
      [again],
      net.nodes.filter(({ pubsub }) => pubsub.nodeId !== gone.pubsub.nodeId),
    )
    await vi.waitFor(async () => expect(await load(again)).toBeGreaterThan(0), { timeout: 20_000 })
    expect(again.pubsub.counters().lostHeads).toBe(1)
    await again.pubsub.publish(TOPIC, 'goes on')
  })

  it('is let go of where there is nobody else, so that the topic goes on', async () => {
    const { gone, disk } = await lost()
    const alone = { ...dhtOptions, aloneMs: 0 }
    const again = await newNet().add({ seed: gone.seed, storage: disk, dhtOptions: alone })
    expect(await load(again)).toBeGreaterThan(0)
    expect(again.pubsub.counters().lostHeads).toBe(1)
    await again.pubsub.publish(TOPIC, 'goes on')
  })
})
