import { spawn, spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { delimiter, join } from 'node:path'
import { endProcess, remember, requireNotOver } from './children.ts'

/** Servers of others, where they are installed. */

/** Daemons are often outside of a user's path. */
const MORE_FOLDERS = ['/usr/sbin', '/usr/local/sbin', '/usr/bin', '/usr/local/bin', '/opt/homebrew/bin']

/** The program's path: the one that `variable` names, else the one on the path. */
export function findProgram(name: string, variable: string): string | undefined {
  const named = process.env[variable]
  if (named) return isExecutable(named) ? named : undefined
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...MORE_FOLDERS]
  return folders.map((folder) => join(folder, name)).find(isExecutable)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

export const howToInstall = (name: string, variable: string): string =>
  `${name} is not installed: apt-get install ${name}, or name the program in ${variable}`

/** What a program says of its version: the first number with dots in it. */
export const versionOf = (program: string): string =>
  /\d+\.\d+[.\d]*/.exec(spawnSync(program, ['--version'], { encoding: 'utf8' }).stdout ?? '')?.[0] ??
  'of unknown version'

export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

export interface Server {
  readonly pid: number
  stop(): Promise<void>
}

/** Starts a server and waits until `isUp` no longer rejects. */
export async function startServer(
  program: string,
  args: string[],
  isUp: () => Promise<unknown>,
): Promise<Server> {
  requireNotOver()
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  remember(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-2_000)
    })
  const spawned = new Promise<never>((_, reject) => child.once('error', reject))
  const deadline = performance.now() + 20_000
  for (;;) {
    const error = await Promise.race([isUp().then(() => undefined, String), spawned])
    if (error === undefined) break
    if (child.exitCode !== null || performance.now() > deadline) {
      await endProcess(child)
      throw new Error(`${program} did not start (${error}): ${output}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return { pid: child.pid as number, stop: () => endProcess(child) }
}
