import fc from 'fast-check'

/** Property tests generate from one seed: the same run every time, another one with STICKY_SEED. */
const seed = Number(process.env.STICKY_SEED ?? '1')

fc.configureGlobal({ seed })

/** Once per run. */
export function setup(): void {
  process.stdout.write(`Property tests generate from seed ${seed}. Another one: STICKY_SEED=2 npm test\n`)
}
