import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { build } from 'vite'
import { BUILT_FOLDERS } from './program.ts'

/** Before the first test: the program, and the rooms that examples import, from this tree (`program.ts` says why). */

const ROOT = join(import.meta.dirname, '../..')
const ROOMS = ['pubsub', 'node', 'bridge']
/** Of this run, by its process. */
export const BUILT_FOLDER = join(BUILT_FOLDERS, String(process.pid))

export async function setup(): Promise<void> {
  await removeAbandoned()
  await build({
    configFile: false,
    logLevel: 'error',
    root: ROOT,
    publicDir: false,
    // a package with a part for this platform finds that beside itself
    ssr: { target: 'node', noExternal: true, external: ['classic-level'] },
    build: {
      ssr: true,
      target: 'node22',
      minify: false,
      outDir: BUILT_FOLDER,
      rolldownOptions: {
        input: {
          sticky: join(ROOT, 'src/bridge/cli.ts'),
          ...Object.fromEntries(ROOMS.map((room) => [room, join(ROOT, `src/${room}/index.ts`)])),
        },
        output: { entryFileNames: '[name].js' },
      },
    },
  })
}

export const teardown = (): Promise<void> =>
  rm(BUILT_FOLDER, { recursive: true, force: true, maxRetries: 10 })

/** Of runs that were killed. */
async function removeAbandoned(): Promise<void> {
  const names = await readdir(BUILT_FOLDERS).catch(() => [])
  for (const name of names)
    if (!isRunning(Number(name))) await rm(join(BUILT_FOLDERS, name), { recursive: true, force: true })
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
