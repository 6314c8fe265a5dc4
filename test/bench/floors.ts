import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { identityFromSeed, publicKeyOf, verifySignature } from '../../src/dht/index.ts'
import { echo } from './echo.ts'
import type { StickyPeers } from './peers.ts'
import type { Results } from './statistics.ts'

/** What nobody can be faster than here: one round trip, one flush, one signature check. */
export async function measureFloors(sticky: StickyPeers, results: Results, samples: number): Promise<void> {
  const section = 'floors of this machine'
  const client = await sticky.client()
  const { rpc } = client.pubsub.dht
  const data = '.'.repeat(200)
  const holder = sticky.nodeIds[0] as string
  const roundTripMs = await time(samples, () => rpc.request(holder, echo, { data }))
  results.durations(section, 'request and answer of 200 bytes over one stream', roundTripMs)
  await client.close()

  const directory = await mkdtemp(join(tmpdir(), 'sticky-bench-'))
  const file = await open(join(directory, 'floor'), 'a')
  const block = new Uint8Array(4_096)
  const flushMs = await time(samples, async () => {
    await file.write(block)
    await file.datasync()
  })
  results.durations(section, 'append 4 KiB and flush', flushMs)
  await file.close()
  await rm(directory, { recursive: true })

  const identity = await identityFromSeed(crypto.getRandomValues(new Uint8Array(32)))
  const bytes = crypto.getRandomValues(new Uint8Array(300))
  const signature = await identity.sign(bytes)
  const verifyMs = await time(samples, () => verifySignature(publicKeyOf(identity.nodeId), bytes, signature))
  results.add(section, 'signatures verified, one core', 1_000 / mean(verifyMs), '/s')
  results.ratio(
    'against the floor',
    'publish → stored p50 / round trip p50',
    '1: publish → stored (fsync at a majority of 8) p50',
    'request and answer of 200 bytes over one stream p50',
  )
}

async function time(samples: number, work: () => Promise<unknown>): Promise<number[]> {
  const ms: number[] = []
  for (let i = 0; i < samples; i++) {
    const startMs = performance.now()
    await work()
    ms.push(performance.now() - startMs)
  }
  return ms
}

const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
