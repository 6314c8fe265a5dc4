import { createPrivateKey, createPublicKey, verify as verifySync } from 'node:crypto'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { identityFromSeed, publicKeyOf, verifySignature } from '../../../src/dht/index.ts'
import { createMessage } from '../../../src/pubsub/message.ts'
import { removeFolder, temporaryFolder } from '../children.ts'
import { Lines } from '../lines.ts'
import { percentile } from '../statistics.ts'
import { noter, type Workload, withCrowd } from '../workload.ts'

export const FLOORS = {
  id: 'floors',
  scenario: 'this machine',
  roundTrip: 'request and answer of 200 bytes over one stream p50',
  flush: 'append 4 KiB and flush p50',
  verify: 'signatures verified, one after the other',
  verifyMany: 'signatures verified, 64 at a time',
  verifySync: 'signatures verified, on the calling thread',
  envelope: 'signed message, mean',
} as const

const AT_ONCE = 64
/** Before the name of a 32-byte Ed25519 seed in PKCS#8 (RFC 8410). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')

/** What nobody can be faster than here: one round trip, one flush, one signature check. */
export const floors: Workload = {
  id: FLOORS.id,
  title: 'floors of this machine',
  onlyOurs: true,
  async run(bench) {
    const note = noter(bench, FLOORS.id, FLOORS.scenario)
    const samples = bench.sizes.floorSamples
    await withCrowd(bench, { publishers: 1, subscribers: 0 }, async (crowd) => {
      await crowd.roundTrips(Math.ceil(samples / 10)) // opens the link
      note(FLOORS.roundTrip, 'ms', percentile(await crowd.roundTrips(samples), 50))
    })
    note(FLOORS.flush, 'ms', percentile(await flushTimes(samples), 50))
    const rates = await verifyRates(samples)
    note(FLOORS.verify, '/s', rates.oneByOne)
    note(FLOORS.verifyMany, '/s', rates.manyAtOnce)
    note(FLOORS.verifySync, '/s', rates.synchronous)
    note(FLOORS.envelope, 'bytes', await meanEnvelopeBytes(samples))
  },
}

async function flushTimes(samples: number): Promise<number[]> {
  const folder = await temporaryFolder()
  const file = await open(join(folder, 'floor'), 'a')
  const block = new Uint8Array(4_096)
  const ms: number[] = []
  for (let i = 0; i < samples; i++) {
    const startMs = performance.now()
    await file.write(block)
    await file.datasync()
    ms.push(performance.now() - startMs)
  }
  await file.close()
  await removeFolder(folder)
  return ms
}

async function verifyRates(samples: number) {
  const seed = crypto.getRandomValues(new Uint8Array(32))
  const identity = await identityFromSeed(seed)
  const publicKey = publicKeyOf(identity.nodeId)
  const bytes = crypto.getRandomValues(new Uint8Array(300))
  const signature = await identity.sign(bytes)
  const rate = async (work: () => Promise<void> | void) => {
    const startMs = performance.now()
    await work()
    return (1_000 * samples) / (performance.now() - startMs)
  }
  const privateKey = createPrivateKey({
    key: Buffer.concat([PKCS8_PREFIX, seed]),
    format: 'der',
    type: 'pkcs8',
  })
  const platformKey = createPublicKey(privateKey)
  return {
    oneByOne: await rate(async () => {
      for (let i = 0; i < samples; i++) await verifySignature(publicKey, bytes, signature)
    }),
    manyAtOnce: await rate(async () => {
      for (let i = 0; i < samples; i += AT_ONCE)
        await Promise.all(
          Array.from({ length: Math.min(AT_ONCE, samples - i) }, () =>
            verifySignature(publicKey, bytes, signature),
          ),
        )
    }),
    synchronous: await rate(() => {
      for (let i = 0; i < samples; i++) verifySync(null, bytes, platformKey, signature)
    }),
  }
}

async function meanEnvelopeBytes(samples: number): Promise<number> {
  const lines = Lines.load()
  const identity = await identityFromSeed(crypto.getRandomValues(new Uint8Array(32)))
  let sum = 0
  for (let i = 1; i <= samples; i++) {
    const message = await createMessage({
      topicKey: new Uint8Array(32),
      identity,
      writer: new Uint8Array(8),
      sequence: i,
      publishedAt: Date.now(),
      ttlMs: 86_400_000,
      data: new TextEncoder().encode(lines.line(i)),
    })
    sum += message.envelope.byteLength
  }
  return sum / samples
}
