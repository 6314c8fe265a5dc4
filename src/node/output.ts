import { StickyError } from '../dht/index.ts'
import type { Message } from '../pubsub/index.ts'

/** What the command line prints: sentences for people on a terminal, one JSON object a line for machines. */

export interface Output {
  json: boolean
  /** One result. */
  result(value: object, text: string): void
  /** Something that happens, for people; machines do not see it. */
  note(text: string): void
  /** A line that replaces itself, on a terminal only. */
  progress(text: string): void
}

export function createOutput(json: boolean): Output {
  const isTerminal = process.stderr.isTTY === true
  let progressShown = false
  const clearProgress = () => {
    if (progressShown) process.stderr.write('\r\u001b[2K')
    progressShown = false
  }
  return {
    json,
    result(value, text) {
      clearProgress()
      process.stdout.write(`${json ? toJson(value) : text}\n`)
    },
    note(text) {
      clearProgress()
      if (!json) process.stderr.write(`${oneMessage(text)}\n`)
    },
    progress(text) {
      if (!isTerminal || json) return
      process.stderr.write(`\r\u001b[2K${text}`)
      progressShown = true
    },
  }
}

/** Bytes are shown as { "base64": "…" }, and characters that a terminal obeys by their numbers, which JSON leaves as they are. */
export const toJson = (value: object): string =>
  JSON.stringify(value, (_key, inner: unknown) =>
    inner instanceof Uint8Array ? { base64: Buffer.from(inner).toString('base64') } : inner,
  ).replaceAll(CONTROL, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`)

// Control characters of a hostile message must not reach a terminal.
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is removed
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g
export const printable = (text: string): string => text.replaceAll(CONTROL, '\ufffd')

export function messageLine({ data, publisher, publishedAt }: Message): string {
  const time = new Date(publishedAt).toISOString().slice(0, 19).replace('T', ' ')
  if (data !== null && typeof data === 'object' && !Array.isArray(data) && !(data instanceof Uint8Array)) {
    const { name, text } = data
    if (typeof name === 'string' && typeof text === 'string') return oneMessage(`${time}  ${name}: ${text}`)
  }
  const shown = typeof data === 'string' ? data : toJson({ data }).slice(8, -1)
  return oneMessage(`${time}  ${publisher.slice(-8)}: ${shown}`)
}

const BREAK = /[\n\u2028\u2029]/g
/** Further lines are set in, so that no message can pass for two. */
const oneMessage = (text: string): string => printable(text).replaceAll(BREAK, '\n    ')
/** Of a text in a table. */
export const oneLine = (text: string): string => printable(text).replaceAll(BREAK, ' ')

export const EXIT = { ok: 0, failed: 1, usage: 2, unknown: 3, interrupted: 130 } as const

/** Prints why, and what to do; gives the exit code. */
export function report(error: unknown, json: boolean): number {
  const sticky = error instanceof StickyError ? error : undefined
  const message = error instanceof Error ? error.message : String(error)
  const code = sticky?.code ?? 'FAILED'
  process.stderr.write(
    json ? `${toJson({ error: code, message })}\n` : `sticky: ${oneMessage(message)} [${code}]\n`,
  )
  return code === 'OUTCOME_UNKNOWN' ? EXIT.unknown : EXIT.failed
}
