/** What the tests are divided into (vitest.config.ts). */
export const PROJECTS = { inOneProcess: 'in one process', processes: 'processes', seeded: 'seeded' } as const

export const ONLY_SEEDED = `--project=${PROJECTS.seeded}`
export const ALL_BUT_SEEDED = `--project=!${PROJECTS.seeded}`
