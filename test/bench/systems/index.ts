import type { Connect, Missing, System, SystemName } from '../system.ts'

/** All systems, ours first. Those whose server is missing say so. */
export async function allSystems(): Promise<(System | Missing)[]> {
  const [ours, gossipsub, jetstream, redis] = await Promise.all([
    import('./ours.ts'),
    import('./gossipsub.ts'),
    import('./jetstream.ts'),
    import('./redis.ts'),
  ])
  return [ours.system, gossipsub.system, jetstream.nats(), redis.redis()]
}

/** Only that system's packages are loaded into a process of its clients. */
export async function connectOf(name: SystemName): Promise<Connect> {
  const files = {
    ours: () => import('./ours.ts'),
    gossipsub: () => import('./gossipsub.ts'),
    jetstream: () => import('./jetstream.ts'),
    redis: () => import('./redis.ts'),
  }
  return (await files[name]()).connect
}
