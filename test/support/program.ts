import { join } from 'node:path'

/**
 * The program that tests start as processes. A run of the tests starts it some 150 times, and from the sources more than
 * half of a start is finding, stripping and compiling 900 modules: so `npm test` builds it once, into a few files.
 */

const ROOT = join(import.meta.dirname, '../..')
export const PROGRAM_SOURCE = join(ROOT, 'src/bridge/cli.ts')
/** One below for each run of the tests, so that no other run changes it meanwhile. */
export const BUILT_FOLDERS = join(ROOT, 'test-results/program')

/** For the workers of a run that builds into `folder`. */
export const builtEnv = (folder: string) => ({
  STICKY_BUILT: folder,
  // what a start has compiled, for the next ones
  NODE_COMPILE_CACHE: join(folder, 'compiled'),
})

const built = process.env.STICKY_BUILT

/** The built one where a run of the tests has built it, else the sources. */
export const PROGRAM = built === undefined ? PROGRAM_SOURCE : join(built, 'sticky.js')

/** What `sticky-pubsub`, `sticky-pubsub/node` and `sticky-pubsub/bridge` are. */
export const roomFile = (room = 'pubsub'): string =>
  built === undefined ? join(ROOT, `src/${room}/index.ts`) : join(built, `${room}.js`)
