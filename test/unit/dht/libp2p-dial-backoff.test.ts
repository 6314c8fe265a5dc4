import { describe, expect, it } from 'vitest'
import { DialBackoff } from '../../../src/dht/libp2p-dial-backoff.ts'
import { ManualRuntime } from '../../support/manual-runtime.ts'

const DEAD = '/ip4/127.0.0.1/tcp/1/ws/p2p/dead'
const RELAY = '/ip4/127.0.0.1/tcp/2/ws/p2p/relay'

function prepare() {
  const runtime = new ManualRuntime()
  const backoff = new DialBackoff({ runtime, maxAddresses: 3 })
  backoff.exempt(RELAY)
  const answers = { isUp: false, tookMs: 0 }
  const transport = backoff.noting(() => ({
    async dial(_address: string, _options: { signal?: AbortSignal }): Promise<string> {
      runtime.advance(answers.tookMs)
      if (!answers.isUp) throw new Error('refused')
      return 'connected'
    },
  }))({})
  /** Whether somebody dialled: libp2p asks first. */
  const dial = async (address: string, signal?: AbortSignal): Promise<boolean> => {
    if (backoff.isResting(address)) return false
    await transport.dial(address, signal ? { signal } : {}).catch(() => undefined)
    return true
  }
  return { runtime, backoff, answers, dial }
}

describe('an address that does not answer', () => {
  it('rests for a second, then for twice as long, up to 15 s', async () => {
    const { runtime, dial } = prepare()
    for (const restMs of [1_000, 2_000, 4_000, 8_000, 15_000, 15_000]) {
      expect(await dial(DEAD)).toBe(true)
      runtime.advance(restMs - 1)
      expect(await dial(DEAD)).toBe(false)
      runtime.advance(1)
    }
  })

  it('is as good as new once it has answered', async () => {
    const { runtime, answers, dial } = prepare()
    await dial(DEAD)
    runtime.advance(1_000)
    await dial(DEAD)
    runtime.advance(2_000)
    answers.isUp = true
    await dial(DEAD)
    answers.isUp = false
    expect(await dial(DEAD)).toBe(true)
    runtime.advance(1_000)
    expect(await dial(DEAD)).toBe(true)
  })

  it('rests alone: others are dialled, a relay always, and all of them when the network is another one', async () => {
    const { backoff, dial } = prepare()
    await dial(DEAD)
    expect(await dial(`${DEAD}er`)).toBe(true)
    for (let i = 0; i < 3; i++) expect(await dial(RELAY)).toBe(true)
    expect(await dial(DEAD)).toBe(false)
    backoff.clear()
    expect(await dial(DEAD)).toBe(true)
  })

  it('does not rest because a caller lost patience, but does after five seconds', async () => {
    const { answers, dial } = prepare()
    const aborted = AbortSignal.abort()
    await dial(DEAD, aborted)
    expect(await dial(DEAD, aborted)).toBe(true)
    answers.tookMs = 5_000
    expect(await dial(DEAD, aborted)).toBe(true)
    expect(await dial(DEAD, aborted)).toBe(false)
  })

  it('is forgotten when there are too many', async () => {
    const { dial } = prepare()
    for (const address of [DEAD, 'b', 'c', 'd']) await dial(address)
    expect(await dial('d')).toBe(false)
    expect(await dial(DEAD)).toBe(true)
  })
})
