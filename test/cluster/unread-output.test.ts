import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { LocalNetwork } from '../support/local-network.ts'
import { until } from '../support/memory-nodes.ts'
import { PROGRAM } from '../support/program.ts'
import { freePort } from '../support/proxied.ts'

/** Programs that serve others, with their output on a full disk. */

let network: LocalNetwork
const children: ChildProcess[] = []
beforeAll(async () => {
  network = await LocalNetwork.start({ nodes: 1 })
})
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL')
  await network.stop()
})

function intoFullDisk(...args: string[]): ChildProcess {
  const disk = openSync('/dev/full', 'w')
  const env = { ...process.env, STICKY_PASSPHRASE: '' }
  const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', disk, 'pipe'], env })
  closeSync(disk)
  children.push(child)
  return child
}

const answers = async (url: string): Promise<boolean> =>
  (await fetch(`${url}/health`).catch(() => undefined))?.ok === true

describe.runIf(existsSync('/dev/full'))('with its output on a full disk', () => {
  it.each(['node', 'bridge', 'start'])(
    'sticky %s serves until it is told to stop, and ends with 0',
    async (command) => {
      const port = await freePort()
      const data = join(network.directory, `full-${command}`)
      const args = {
        node: ['--bridge', network.url, '--metrics-port', String(port)],
        bridge: ['--port', String(port)],
        start: ['--port', String(port), '--nodes', '1'],
      }[command] as string[]
      const child = intoFullDisk(command, '--json', '--data', data, ...args)
      const ended = once(child, 'exit')
      const said = text(child.stderr as NodeJS.ReadableStream)
      await until(() => answers(`http://127.0.0.1:${port}`), 60_000)
      if (command === 'start') {
        const args = ['topic', 'text', '--bridge', `http://127.0.0.1:${port}`, '--data', `${data}-client`]
        const publish = () => network.run('pub', ...args).exited
        await expect.poll(publish, { timeout: 60_000 }).toBe(0)
      }
      child.kill('SIGTERM')
      expect([await ended, await said]).toEqual([[0, null], ''])
    },
    120_000,
  )

  it('sticky history, which is there for what it prints, ends with 1 and says so', async () => {
    await network.sticky('pub', 'topic', 'text')
    const child = intoFullDisk('history', 'topic', '--bridge', network.url)
    const ended = once(child, 'exit')
    const said = text(child.stderr as NodeJS.ReadableStream)
    expect(await ended).toEqual([1, null])
    expect(await said).toContain('[STORAGE_FULL]')
  }, 60_000)
})
