import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'

/** What is published: numbered lines of a real chat (`STICKY_CHAT_LOG`), or generated ones of the same lengths. */

const GENERATED = 20_000
const SEED = 1
/** Lengths in bytes below which that share of the lines of the chat log lies. */
const LENGTHS: readonly (readonly [share: number, bytes: number])[] = [
  [0, 1],
  [0.05, 3],
  [0.1, 7],
  [0.25, 20],
  [0.5, 45],
  [0.75, 79],
  [0.9, 122],
  [0.95, 153],
  [0.99, 240],
  [1, 448],
]
const WORDS =
  'yes no we they could should look at the build again tomorrow it works here but fails there because of timing'

export class Lines {
  readonly #texts: string[]
  /** Where they are from, in words. */
  readonly source: string

  constructor(texts: string[], source: string) {
    if (texts.length === 0) throw new Error(`There is no line in ${source}.`)
    this.#texts = texts
    this.source = source
  }

  static load(file = process.env.STICKY_CHAT_LOG): Lines {
    if (!file) return new Lines(generatedTexts(SEED, GENERATED), `${GENERATED} generated lines, seed ${SEED}`)
    const bytes = readFileSync(file)
    const text = (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString()
    const texts = text
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map((line) => (JSON.parse(line) as { text: string }).text)
    return new Lines(texts, `${texts.length} lines of a chat log`)
  }

  /** Known again by its number when it arrives. */
  line(number: number): string {
    return `${number} ${this.#texts[number % this.#texts.length]}`
  }

  /** The number, or undefined where something else arrived than what was sent under it. */
  numberOf(line: string): number | undefined {
    const number = Number.parseInt(line, 10)
    return line === this.line(number) ? number : undefined
  }
}

/** The same for the same seed. */
export function generatedTexts(seed: number, count: number): string[] {
  let state = seed >>> 0
  const next = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
  const words = WORDS.split(' ')
  return Array.from({ length: count }, () => {
    const length = lengthAt(next())
    let text = ''
    while (text.length < length) text += `${words[Math.floor(next() * words.length)]} `
    return text.slice(0, length)
  })
}

function lengthAt(share: number): number {
  const above = Math.max(
    1,
    LENGTHS.findIndex(([upTo]) => upTo >= share),
  )
  const [fromShare, from] = LENGTHS[above - 1] as readonly [number, number]
  const [toShare, to] = LENGTHS[above] as readonly [number, number]
  return Math.round(from + ((share - fromShare) / (toShare - fromShare)) * (to - from))
}
