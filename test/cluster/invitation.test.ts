import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import { LocalNetwork, type Program } from '../support/local-network.ts'

/** A bridge that is invite-only, as its operator and its guests use it: programs, files, and standard input. */

let network: LocalNetwork
afterEach(() => network.stop())

const isReady = ({ event }: Record<string, unknown>) => event === 'ready'

it('who was invited comes in and comes back after the bridge was killed; nobody else does', async () => {
  network = await LocalNetwork.start({ nodes: 0, bridgeFlags: ['--invite-only'] })
  const folder = (name: string) => join(network.directory, name)
  const invite = network.run('bridge', 'invite', '--json', '--ttl', '1h', '--data', folder('bridge'))
  expect(await invite.exited).toBe(0)
  const [{ invitation, uses }] = invite.events as [{ invitation: string; uses: number }]
  expect(uses).toBe(1)
  const file = folder('invitation')
  writeFileSync(file, `${invitation}\n`)

  const node = (name: string, source: string): Program =>
    network.run('node', '--json', '--data', folder(name), '--bridge', network.url, '--invitation', source)
  const guest = node('guest', '-')
  guest.child.stdin?.end(invitation)
  await guest.event(isReady)

  const uninvited = network.run('node', '--json', '--data', folder('uninvited'), '--bridge', network.url)
  const second = node('second', file)
  expect(await Promise.all([uninvited.exited, second.exited])).toEqual([1, 1])
  expect(uninvited.stderr).toMatch(/"error":"ADMISSION_REFUSED".+INVITATION_REQUIRED/)
  expect(second.stderr).toMatch(/"error":"ADMISSION_REFUSED".+INVITATION_USED/)
  expect(`${uninvited.stderr}${second.stderr}${guest.stderr}`).not.toContain(invitation.slice(0, 60))

  const port = Number(new URL(network.url).port)
  await network.killBridge()
  await network.startBridge(port)
  const connections = async () =>
    ((await (await fetch(`${network.url}/health`)).json()) as { connections: number }).connections
  await expect.poll(connections, { timeout: 40_000 }).toBe(1)
  const again = node('second', file)
  expect(await again.exited).toBe(1)
}, 120_000)

it('another bridge in the folder of one that runs ends with a code; it may invite meanwhile', async () => {
  network = await LocalNetwork.start({ nodes: 0, bridgeFlags: ['--invite-only'] })
  const data = join(network.directory, 'bridge')
  const second = network.run('bridge', '--invite-only', '--json', '--port', '0', '--data', data)
  expect(await second.exited).toBe(1)
  expect(second.events).toEqual([])
  expect(JSON.parse(second.stderr)).toMatchObject({ error: 'STORAGE_LOCKED' })
  const invite = network.run('bridge', 'invite', '--json', '--data', data)
  expect(await invite.exited).toBe(0)
  await network.killBridge()
  await network.startBridge(0)
}, 60_000)
