import { defineConfig } from 'vitest/config'
import { BUILT_FOLDER } from './test/support/build-program.ts'
import { LongestFirst } from './test/support/longest-first.ts'
import { builtEnv } from './test/support/program.ts'

const shared = {
  pool: 'forks',
  testTimeout: 30_000,
  hookTimeout: 30_000,
  env: builtEnv(BUILT_FOLDER),
} as const

/** They start programs and pages too, but one or two at a time, and mostly wait for them. */
const SMALL_PROCESSES = [
  'test/cluster/{cli,start,invitation,bridge-restart}.test.ts',
  'test/browser/{admission,chat-build,storage}.test.ts',
]

export default defineConfig({
  test: {
    globalSetup: ['test/support/build-web.ts', 'test/support/build-program.ts', 'test/support/seed.ts'],
    reporters: ['default'],
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          ...shared,
          name: 'in one process',
          testTimeout: 60_000, // a seeded run takes up to ten seconds of a core that others may be using
          execArgv: ['--max-semi-space-size=32'], // decoding leaves much behind: a fifth less time in the collector
          include: [
            'test/{unit,laws,contract,simulation,integration,hostile}/**/*.test.ts',
            ...SMALL_PROCESSES,
          ],
          setupFiles: ['test/support/seed.ts'],
          maxWorkers: 3, // some of them mostly wait
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...shared,
          // each of these starts many programs and pages of its own, which want the machine for themselves
          name: 'processes',
          include: ['test/{cluster,browser}/**/*.test.ts'],
          exclude: SMALL_PROCESSES,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
})
