import * as v from 'valibot'
import { passChallenge } from './challenge.ts'
import { asStickyError, StickyError } from './errors.ts'
import type { Identity } from './identity.ts'

/** What a bridge tells everybody at /bootstrap. */
const bootstrapSchema = v.object({
  /** Node id of the bridge. */
  serverId: v.pipe(v.string(), v.maxLength(100)),
  /** Multiaddr of its relay, with its node id. */
  relay: v.pipe(v.string(), v.maxLength(300)),
  /** Path of its challenge socket. */
  challenge: v.pipe(v.string(), v.maxLength(100)),
})
export type Bootstrap = v.InferOutput<typeof bootstrapSchema>

const ENTER_TIMEOUT_MS = 10_000

/**
 * Asks the bridge where to dial, and passes its challenge: only then does it accept a libp2p connection. Rejects with
 * UNREACHABLE, MALFORMED (not a bridge) or ADMISSION_REFUSED.
 */
export async function enterBridge(
  bridgeUrl: string,
  identity: Identity,
  signal?: AbortSignal,
): Promise<Bootstrap> {
  const deadline = AbortSignal.timeout(ENTER_TIMEOUT_MS)
  const either = signal ? AbortSignal.any([signal, deadline]) : deadline
  const bootstrap = await fetchBootstrap(bridgeUrl, either)
  const url = new URL(bootstrap.challenge, bridgeUrl)
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  await passChallenge({ url: url.toString(), identity, expectedServerId: bootstrap.serverId, signal: either })
  return bootstrap
}

async function fetchBootstrap(bridgeUrl: string, signal: AbortSignal): Promise<Bootstrap> {
  let answer: unknown
  try {
    const response = await fetch(new URL('/bootstrap', bridgeUrl), { signal })
    if (!response.ok)
      throw new StickyError(
        'UNREACHABLE',
        `${bridgeUrl} answered ${response.status} instead of bootstrap information.`,
      )
    answer = await response.json()
  } catch (error) {
    if (error instanceof StickyError) throw error
    if (error instanceof SyntaxError)
      throw new StickyError('MALFORMED', `${bridgeUrl} is not a sticky-pubsub bridge.`, { cause: error })
    if (signal.aborted) throw asStickyError(error, 'UNREACHABLE')
    throw new StickyError(
      'UNREACHABLE',
      `No bridge answers at ${bridgeUrl}. Is it running, and is the address right?`,
      { cause: error },
    )
  }
  const result = v.safeParse(bootstrapSchema, answer)
  if (!result.success) throw new StickyError('MALFORMED', `${bridgeUrl} is not a sticky-pubsub bridge.`)
  return result.output
}
