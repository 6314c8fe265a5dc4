import { defineConfig } from 'vitest/config'
import { BUILT_FOLDER } from './test/support/build-program.ts'
import { LongestFirst } from './test/support/longest-first.ts'
import { builtEnv } from './test/support/program.ts'
import { ONLY_COMPUTING, PROJECTS } from './test/support/projects.ts'

const shared = {
  pool: 'forks',
  // what takes a second here may take many where others use the machine
  testTimeout: 60_000,
  hookTimeout: 60_000,
  expect: { poll: { timeout: 20_000 } },
} as const
const env = builtEnv(BUILT_FOLDER)

/** They start programs and pages too, but one or two at a time, and mostly wait for them. */
const SMALL_PROCESSES = [
  'test/cluster/{cli,start,invitation,bridge-restart,slow-peers}.test.ts',
  'test/browser/{admission,chat-build,chat-tabs,chat-ui,chat-use,import,light,storage,tab-trouble,tabs,wake}.test.ts',
]

/** Put other modules in the place of some, for which they have to be loaded anew. */
const REPLACE_MODULES = ['test/unit/browser/node.test.ts', 'test/unit/bridge/connection-bounds.test.ts']

/** Has many peers met within seconds, which takes longer beside others. */
const WANTS_THE_MACHINE = 'test/hostile/light-node.test.ts'

/** Of the others those that take seconds of nothing but computing: it does not matter to them how long these are. */
const VIRTUAL_TIME = [
  'test/unit/pubsub/{collection,collection-union,history,history-merge,keyed-publish,outbox,replicas-watch,resync,retention}.test.ts',
  'test/integration/{fan-out,subscription-retry,unpushed}.test.ts',
  'test/{hostile/lying-push,unit/dht/look-ups}.test.ts',
]

/**
 * Files that share their processes: to load libp2p and what is made of it for each takes longer than most tests. What one
 * of them had the whole process use is taken back after it.
 */
const SHARING = {
  isolate: false,
  setupFiles: ['test/support/seed.ts', 'test/support/own-platform.ts'],
}

/** What only computes needs nothing that is built. */
const BUILDS = process.argv.includes(ONLY_COMPUTING)
  ? []
  : ['test/support/build-web.ts', 'test/support/build-program.ts']

export default defineConfig({
  test: {
    globalSetup: [...BUILDS, 'test/support/seed.ts'],
    reporters: ['default'],
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          ...shared,
          env,
          name: PROJECTS.inOneProcess,
          include: ['test/{unit,contract,integration,hostile}/**/*.test.ts', ...SMALL_PROCESSES],
          exclude: [...REPLACE_MODULES, WANTS_THE_MACHINE, ...VIRTUAL_TIME],
          ...SHARING,
          maxWorkers: 4, // many of them mostly wait
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          ...shared,
          env,
          // each of these starts many programs and pages of its own, which want the machine for themselves
          name: PROJECTS.processes,
          include: ['test/{cluster,browser}/**/*.test.ts', ...REPLACE_MODULES, WANTS_THE_MACHINE],
          exclude: SMALL_PROCESSES,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...shared,
          // nothing but computing, at virtual times: `npm test` runs these beside the others, at the lowest priority
          name: PROJECTS.computing,
          testTimeout: 600_000,
          // decoding leaves much behind: less time in the collector, and none of it on the core that others are using
          execArgv: ['--max-semi-space-size=32', '--single-threaded-gc'],
          include: ['test/{laws,simulation}/**/*.test.ts', ...VIRTUAL_TIME],
          ...SHARING,
          maxWorkers: 2,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
})
