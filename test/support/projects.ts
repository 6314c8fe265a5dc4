/** What the tests are divided into (vitest.config.ts). */
export const PROJECTS = {
  inOneProcess: 'in one process',
  processes: 'processes',
  computing: 'computing',
} as const

export const ONLY_COMPUTING = `--project=${PROJECTS.computing}`
export const ALL_BUT_COMPUTING = `--project=!${PROJECTS.computing}`
