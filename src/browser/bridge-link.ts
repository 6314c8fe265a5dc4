import {
  type Bootstrap,
  enterBridge,
  type Identity,
  jittered,
  type Runtime,
  rejoinPauseMs,
  type Timer,
} from '../dht/index.ts'

/** The way to the others: joins through the bridge, and again whenever it was lost. One failed attempt never ends it. */

/** The bridge is asked again after 1.5, 3 and 6 s, then every 10 s until it answers. */
export const REJOIN_MS = 1_500
export const MAX_REJOIN_MS = 10_000
const JOIN_TIMEOUT_MS = 30_000
/** A connection that does not answer for so long, when asked on purpose, is cut. */
const ALIVE_TIMEOUT_MS = 3_000

/** The connections of a node, of whichever kind. */
export interface BridgeWay {
  isConnected(bridgeId: string): boolean
  /** To a bridge that has admitted this node. */
  join(bridge: Bootstrap, signal: AbortSignal): Promise<void>
  /**
   * Cuts what gives no sign of life before the signal's time is over, and nothing where it was aborted otherwise. True
   * where some of that was left, for want of a bridge.
   */
  dropDead(signal: AbortSignal): Promise<boolean>
}

export interface BridgeLinkInit {
  bridgeUrl: string
  invitation?: string
  identity: Identity
  way: BridgeWay
  runtime: Runtime
  /** After each attempt. `bridgeId`: of the bridge, as far as it is known. */
  onAttempt(outcome: { bridgeId: string | undefined; error: unknown }): void
}

export interface BridgeLink {
  /** Now: what does not answer is cut, and the bridge is asked without waiting. Resolves after that attempt; never rejects. */
  reconnect(): Promise<void>
  stop(): Promise<void>
}

export function keepBridge({
  bridgeUrl,
  invitation,
  identity,
  way,
  runtime,
  onAttempt,
}: BridgeLinkInit): BridgeLink {
  const stopped = new AbortController()
  let bridgeId: string | undefined
  let timer: Timer | undefined
  const shown = invitation === undefined ? {} : { invitation }
  let pauseMs = REJOIN_MS / 2 // doubled before each pause
  let attempting: Promise<void> | undefined

  const isConnected = () => bridgeId !== undefined && way.isConnected(bridgeId)
  const join = async () => {
    const bridge = await enterBridge(bridgeUrl, identity, stopped.signal, shown)
    bridgeId = bridge.serverId
    await way.join(bridge, AbortSignal.any([stopped.signal, AbortSignal.timeout(JOIN_TIMEOUT_MS)]))
  }
  const attempt = async () => {
    timer?.clear()
    let waitMs = REJOIN_MS
    try {
      if (!isConnected()) {
        await join()
        if (!stopped.signal.aborted) onAttempt({ bridgeId, error: undefined })
      }
      pauseMs = REJOIN_MS / 2
    } catch (error) {
      pauseMs = rejoinPauseMs(error, pauseMs, MAX_REJOIN_MS)
      waitMs = pauseMs
      if (!stopped.signal.aborted) onAttempt({ bridgeId, error })
    }
    if (!stopped.signal.aborted) timer = runtime.setTimer(() => void start(), jittered(runtime, waitMs))
  }
  const start = () => {
    attempting ??= attempt().finally(() => {
      attempting = undefined
    })
    return attempting
  }
  const dropDead = () =>
    way.dropDead(AbortSignal.any([stopped.signal, AbortSignal.timeout(ALIVE_TIMEOUT_MS)]))
  void start()
  return {
    async reconnect() {
      if (stopped.signal.aborted) return
      const areLeft = await dropDead()
      await start()
      if (areLeft && isConnected()) await dropDead()
    },
    async stop() {
      stopped.abort()
      timer?.clear()
      await attempting
    },
  }
}
