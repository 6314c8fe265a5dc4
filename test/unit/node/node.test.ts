import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Bridge, startBridge } from '../../../src/bridge/index.ts'
import { createNode, type StickyNode } from '../../../src/node/index.ts'
import { openLevelStorage } from '../../../src/node/object-store.ts'

let folder: string
const open: AsyncDisposable[] = []
const keep = <T extends AsyncDisposable>(opened: T): T => {
  open.push(opened)
  return opened
}
const lanIpv4 = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .filter(({ internal, family }) => !internal && family === 'IPv4')
  .map(({ address }) => address)

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sticky-node-'))
})
afterEach(async () => {
  for (const each of open.splice(0).reverse()) await each[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

const bridgeOn = async (host = '127.0.0.1'): Promise<Bridge> =>
  keep(await startBridge({ seed: new Uint8Array(32).fill(9), port: 0, host }))
const nodeWith = async (options: Parameters<typeof createNode>[0]): Promise<StickyNode> =>
  keep(await createNode(options))

describe('a node', () => {
  it('counts as durable with a data folder, and not in memory', async () => {
    const bridgeUrl = (await bridgeOn()).url
    const inMemory = await nodeWith({ bridgeUrl })
    const onDisk = await nodeWith({ bridgeUrl, directory: join(folder, 'data'), passphrase: 'of this test' })
    const client = await nodeWith({ bridgeUrl, role: 'client' })
    const seen = async () =>
      (await client.pubsub.replicas('topic')).map(({ nodeId, durable }) => [nodeId, durable] as const)
    await expect.poll(seen, { timeout: 15_000 }).toHaveLength(2)
    expect(new Map(await seen())).toEqual(
      new Map([
        [inMemory.nodeId, false],
        [onDisk.nodeId, true],
      ]),
    )
  })

  it('alone in memory stores, and promises no disk', async () => {
    const node = await nodeWith({})
    expect(await node.pubsub.publish('topic', 'text')).toMatchObject({ replicas: 1, durableReplicas: 0 })
  })

  it('lets go of its folder when it cannot start', async () => {
    const directory = join(folder, 'data')
    const failed = createNode({ bridgeUrl: 'http://127.0.0.1:1', directory, passphrase: 'of this test' })
    await expect(failed).rejects.toMatchObject({ code: 'UNREACHABLE' })
    await (await openLevelStorage(join(directory, 'records'))).close()
  })

  it('ends a start that is aborted, with a code, and lets go of its folder', async () => {
    const silent = createServer(() => undefined).listen(0, '127.0.0.1')
    await new Promise((resolve) => silent.once('listening', resolve))
    const directory = join(folder, 'data')
    const abort = new AbortController()
    const starting = createNode({
      bridgeUrl: `http://127.0.0.1:${(silent.address() as AddressInfo).port}`,
      directory,
      passphrase: 'of this test',
      signal: abort.signal,
    })
    silent.once('request', () => abort.abort())
    await expect(starting).rejects.toMatchObject({ name: 'StickyError' })
    await (await openLevelStorage(join(directory, 'records'))).close()
    silent.closeAllConnections()
    silent.close()
  })

  it('ends a start that is aborted while the relay says nothing', async () => {
    const relay = createTcpServer().listen(0, '127.0.0.1')
    await once(relay, 'listening')
    const publicUrl = `http://127.0.0.1:${(relay.address() as AddressInfo).port}`
    const { port } = keep(await startBridge({ seed: new Uint8Array(32).fill(9), port: 0, publicUrl }))
    for (const role of ['fleeting', 'client'] as const) {
      const abort = new AbortController()
      relay.once('connection', () => abort.abort())
      const starting = createNode({ bridgeUrl: `http://127.0.0.1:${port}`, role, signal: abort.signal })
      await expect(starting).rejects.toMatchObject({ code: 'ABORTED' })
      expect(abort.signal.aborted).toBe(true)
    }
    relay.close()
  }, 30_000)

  it('says where it cannot listen, and lets go of its folder', async () => {
    const directory = join(folder, 'data')
    const taken = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => taken.once('listening', resolve))
    const address = `/ip4/127.0.0.1/tcp/${(taken.address() as AddressInfo).port}/ws`
    const listenOn = (listen: string) =>
      createNode({ directory, passphrase: 'of this test', listen: [listen] })
    await expect(listenOn(address)).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: `Something listens on ${address} already. Choose another port.`,
    })
    taken.close()
    for (const none of ['nonsense', '/ip4/127.0.0.1/udp/4001', '/ip4/127.0.0.1/tcp/4001'])
      await expect(listenOn(none)).rejects.toMatchObject({ code: 'MALFORMED' })
    await expect(listenOn('/ip4/192.0.2.1/tcp/4001/ws')).rejects.toMatchObject({ code: 'UNREACHABLE' })
    await (await openLevelStorage(join(directory, 'records'))).close()
  })

  it('listens on this machine alone beside a bridge that is on it', async () => {
    const { addresses } = await nodeWith({ bridgeUrl: (await bridgeOn()).url })
    expect(addresses.join()).toContain('/ip4/127.0.0.1/')
    for (const lan of lanIpv4) expect(addresses.join()).not.toContain(`/ip4/${lan}/`)
  })

  it.skipIf(lanIpv4.length === 0)(
    'is reached from other machines where the bridge is on another one, and a client is not',
    async () => {
      const bridge = await bridgeOn('0.0.0.0')
      const bridgeUrl = bridge.lanUrls[0] as string
      const holder = await nodeWith({ bridgeUrl })
      const direct = holder.addresses.filter((address) => !address.includes('/p2p-circuit'))
      expect(direct.join()).toContain(`/ip4/${lanIpv4[0]}/tcp/`)
      expect((await nodeWith({ bridgeUrl, role: 'client' })).addresses).toEqual([])
    },
  )

  it('is closed once, however often it is asked to', async () => {
    const node = await createNode({ directory: join(folder, 'data'), passphrase: 'of this test' })
    await Promise.all([node.close(), node.close()])
    await (await openLevelStorage(join(folder, 'data', 'records'))).close()
  })
})
