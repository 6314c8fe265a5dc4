import { type ChildProcess, spawn } from 'node:child_process'
import { constants, setPriority } from 'node:os'
import { ALL_BUT_COMPUTING, ONLY_COMPUTING } from './projects.ts'

/**
 * npm test [-- FILE…]. Most tests wait for processes, pages and clocks, and need the machine when these speak; those in
 * virtual time wait for nothing but the processor. So they run beside the others in the time that is left over, and what
 * they say is shown at the end.
 */

const running = new Set<ChildProcess>()

/** Resolves with its exit code. */
function vitest(args: string[], options: { isBeside?: boolean } = {}): Promise<number> {
  const { isBeside = false } = options
  const child = spawn('vitest', ['run', ...args], {
    stdio: ['ignore', isBeside ? 'pipe' : 'inherit', 'pipe'],
  })
  running.add(child)
  if (isBeside && child.pid !== undefined) setPriority(child.pid, constants.priority.PRIORITY_LOW)
  const said: Buffer[] = []
  const hear = (chunk: Buffer) => (isBeside ? said.push(chunk) : process.stderr.write(chunk))
  child.stdout?.on('data', hear)
  child.stderr?.on('data', hear)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => {
      running.delete(child)
      process.stdout.write(Buffer.concat(said))
      resolve(code ?? 1)
    })
  })
}

async function run(files: string[]): Promise<number> {
  if (files.length > 0) return vitest(files)
  const beside = vitest([ONLY_COMPUTING], { isBeside: true })
  const code = await vitest([ALL_BUT_COMPUTING])
  if (running.size > 0) console.log('Those that only compute go on:')
  return code || (await beside)
}

for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    for (const child of running) child.kill(signal)
  })

process.exitCode = await run(process.argv.slice(2))
