import type { HealthReading } from './health.ts'
import type { Output } from './output.ts'

/** Tells who runs a node when it becomes strained, in another way strained, or well again: seldom, and nothing twice. */

/** However often findings come and go. */
export const BETWEEN_LINES_MS = 30_000

const NOTHING = namesOf({ findings: [], notices: [] })

export class HealthLog {
  readonly #output: Output
  readonly #betweenLinesMs: number
  /** What was told last: nothing is what everybody expects. */
  #told = NOTHING
  #toldAtMs = Number.NEGATIVE_INFINITY

  constructor(output: Output, betweenLinesMs = BETWEEN_LINES_MS) {
    this.#output = output
    this.#betweenLinesMs = betweenLinesMs
  }

  /** `nowMs`: of a clock that does not go back. */
  see(reading: HealthReading, nowMs: number): void {
    if (reading.status === 'unknown' && reading.findings.length === 0) return // says neither
    const names = namesOf(reading)
    // what came too soon is told later, if it is still so
    if (names === this.#told || nowMs - this.#toldAtMs < this.#betweenLinesMs) return
    this.#told = names
    this.#toldAtMs = nowMs
    if (this.#output.json) this.#output.result({ event: 'health', ...reading }, '')
    else this.#output.note(healthLine(reading))
  }
}

function namesOf({ findings, notices }: Pick<HealthReading, 'findings' | 'notices'>): string {
  return [findings, notices].map((list) => list.map(({ finding }) => finding).join()).join('; ')
}

/** For people. */
export function healthLine({ status, findings, notices }: HealthReading): string {
  const words = (list: HealthReading['findings']) => list.map(({ text }) => text).join('; ')
  const filling = notices.length > 0 ? [`filling: ${words(notices)}`] : []
  if (status === 'ok') return filling[0] ?? 'well again'
  return [`${status === 'strained' ? 'strained' : 'health unknown'}: ${words(findings)}`, ...filling].join(
    '; ',
  )
}
