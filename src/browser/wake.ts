/**
 * Notices that the page may have been away: shown again, online again, out of the page cache, thawed, or its clock has
 * jumped because the machine slept. Says so once, with the reason; several signs at once are one. Between such moments
 * the back-off of bridge-link.ts is what brings the network back: every 10 s while the bridge does not answer.
 */

export interface WakeOptions {
  /** The clock is looked at this often. */
  clockMs: number
  /** Later than it should be by more than this: the machine slept, or the page was frozen. */
  driftMs: number
  /** Signs within this time count as one. */
  gatherMs: number
}

export const DEFAULT_WAKE_OPTIONS: WakeOptions = { clockMs: 5_000, driftMs: 10_000, gatherMs: 100 }

/** One `resync` at a time; signs that come meanwhile lead to one more after it. Gives the function that ends it. */
export function watchForWake(
  resync: (reason: string) => Promise<void>,
  options: WakeOptions = DEFAULT_WAKE_OPTIONS,
): () => void {
  const stop = new AbortController()
  if (typeof document === 'undefined') return () => undefined // a worker is not shown to anybody
  const { signal } = stop
  const wake = coalesced(resync, options.gatherMs, signal)
  const on = (target: EventTarget, event: string, reason: (event: Event) => string | undefined) =>
    target.addEventListener(
      event,
      (happened) => {
        const why = reason(happened)
        if (why !== undefined) wake(why)
      },
      { signal },
    )
  on(document, 'visibilitychange', () => (document.visibilityState === 'visible' ? 'visible' : undefined))
  on(document, 'resume', () => 'resume')
  on(globalThis, 'online', () => 'online')
  on(globalThis, 'pageshow', (event) => ((event as PageTransitionEvent).persisted ? 'pageshow' : undefined))
  let lastMs = Date.now()
  const clock = setInterval(() => {
    const nowMs = Date.now()
    // a hidden tab's timers are slowed down without its having been away
    const isLate =
      nowMs - lastMs > options.clockMs + options.driftMs && document.visibilityState === 'visible'
    lastMs = nowMs
    if (isLate) wake('clock')
  }, options.clockMs)
  signal.addEventListener('abort', () => clearInterval(clock), { once: true })
  return () => stop.abort()
}

function coalesced(
  resync: (reason: string) => Promise<void>,
  gatherMs: number,
  signal: AbortSignal,
): (reason: string) => void {
  let wanted: string | undefined
  let running = false
  const run = async () => {
    while (wanted !== undefined && !signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, gatherMs))
      const reason = wanted
      wanted = undefined
      if (!signal.aborted) await resync(reason).catch(() => undefined) // the next sign, or the back-off, tries again
    }
    running = false
  }
  return (reason) => {
    wanted ??= reason
    if (running) return
    running = true
    void run()
  }
}
