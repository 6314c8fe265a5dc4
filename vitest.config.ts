import { defineConfig } from 'vitest/config'

const shared = { pool: 'forks', testTimeout: 30_000, hookTimeout: 30_000 } as const

export default defineConfig({
  test: {
    globalSetup: ['test/support/build-web.ts', 'test/support/seed.ts'],
    reporters: ['default'],
    projects: [
      {
        test: {
          ...shared,
          name: 'in one process',
          testTimeout: 60_000, // a seeded run takes up to ten seconds of a core that others may be using
          execArgv: ['--max-semi-space-size=32'], // decoding leaves much behind: a fifth less time in the collector
          include: ['test/{unit,laws,contract,simulation,integration,hostile}/**/*.test.ts'],
          setupFiles: ['test/support/seed.ts'],
          maxWorkers: 3, // some of them mostly wait
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...shared,
          // each of these starts programs of its own, which want the machine for themselves
          name: 'processes',
          include: ['test/{cluster,browser}/**/*.test.ts'],
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
})
