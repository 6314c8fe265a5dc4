import * as v from 'valibot'
import { passChallenge } from './challenge.ts'
import { AdmissionRefusedError, asStickyError, StickyError } from './errors.ts'
import type { Identity } from './identity.ts'
import { isTimeout } from './runtime.ts'

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

/** Twenty times what a bridge says. */
const MAX_BOOTSTRAP_BYTES = 16 * 1024

/** The question and the challenge together; a bridge that works needs a few round trips. */
const ENTER_TIMEOUT_MS = 10_000

export interface EnterOptions {
  /** The text of an invitation, for a bridge that admits no strangers. */
  invitation?: string
  timeoutMs?: number
}

/**
 * Asks the bridge where to dial, and passes its challenge: only then does it accept a libp2p connection. Rejects with
 * UNREACHABLE, MALFORMED (not a bridge), ADMISSION_REFUSED, or ABORTED.
 */
export async function enterBridge(
  bridgeUrl: string,
  identity: Identity,
  signal?: AbortSignal,
  { invitation, timeoutMs = ENTER_TIMEOUT_MS }: EnterOptions = {},
): Promise<Bootstrap> {
  const deadline = AbortSignal.timeout(timeoutMs)
  const either = signal ? AbortSignal.any([signal, deadline]) : deadline
  const bootstrap = await fetchBootstrap(bridgeUrl, either)
  const url = new URL(bootstrap.challenge, bridgeUrl)
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  await passChallenge({
    url: url.toString(),
    identity,
    expectedServerId: bootstrap.serverId,
    signal: either,
    ...(invitation === undefined ? {} : { invitation }),
  })
  return bootstrap
}

/**
 * The pause before a bridge is asked again after an attempt failed with `error`: twice the last one, up to the maximum,
 * and the maximum at once where the bridge has a rule against this node. No failure ends the attempts.
 */
export function rejoinPauseMs(error: unknown, lastMs: number, maxMs: number): number {
  if (error instanceof AdmissionRefusedError && !error.isPassing) return maxMs
  return Math.min(lastMs * 2, maxMs)
}

async function fetchBootstrap(bridgeUrl: string, signal: AbortSignal): Promise<Bootstrap> {
  let answer: unknown
  try {
    const response = await fetch(new URL('/bootstrap', bridgeUrl), { signal })
    if (!response.ok)
      throw new StickyError(
        'UNREACHABLE',
        `${bridgeUrl} answered ${response.status} instead of saying where to join. Check that the address is a bridge's, and that a proxy in between passes /bootstrap on.`,
      )
    answer = JSON.parse(await boundedText(response))
  } catch (error) {
    if (error instanceof StickyError) throw error
    if (error instanceof SyntaxError) throw notABridge(bridgeUrl, error)
    if (signal.aborted) throw unanswered(bridgeUrl, signal)
    throw new StickyError(
      'UNREACHABLE',
      `No bridge answers at ${bridgeUrl}. Is it running, and is the address right?`,
      { cause: error },
    )
  }
  const result = v.safeParse(bootstrapSchema, answer)
  if (!result.success) throw notABridge(bridgeUrl)
  return result.output
}

/** Rejects with SyntaxError when there is more than a bridge would say: whoever answers decides how much it sends. */
async function boundedText({ body }: Response): Promise<string> {
  const reader = body?.getReader() // Safari cannot iterate over a stream
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  for (let part = await reader?.read(); part?.value !== undefined; part = await reader?.read()) {
    bytes += part.value.byteLength
    if (bytes > MAX_BOOTSTRAP_BYTES) {
      await reader?.cancel()
      throw new SyntaxError(`More than ${MAX_BOOTSTRAP_BYTES} bytes.`)
    }
    text += decoder.decode(part.value, { stream: true })
  }
  return text
}

const notABridge = (bridgeUrl: string, cause?: Error): StickyError =>
  new StickyError('MALFORMED', `${bridgeUrl} is not a sticky-pubsub bridge. Check the address.`, { cause })

/** Why `signal` ended the question: its time was over, or the caller wanted no more. */
function unanswered(bridgeUrl: string, signal: AbortSignal): StickyError {
  if (!isTimeout(signal)) return asStickyError(signal.reason, 'ABORTED')
  return new StickyError(
    'UNREACHABLE',
    `The bridge at ${bridgeUrl} did not answer in time. Check the address and that no firewall is in between; if both are right, restart the bridge.`,
    { cause: signal.reason },
  )
}
