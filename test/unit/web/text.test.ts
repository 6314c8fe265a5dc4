import { describe, expect, it } from 'vitest'
import type { ChatEntry } from '../../../web/entries.ts'
import { drawRow } from '../../../web/message-row.ts'
import { splitLinks } from '../../../web/text.ts'

const linkIn = (text: string): string | undefined => splitLinks(text).find((piece) => 'href' in piece)?.text

/** What is given twice as much may not take forever: the old way took minutes where this one takes milliseconds. */
const MAX_LENGTH = 256_000
const GIVE_UP_MS = 10_000

describe('links in a text', () => {
  it.each([
    ['https://a.example/x.', 'https://a.example/x'],
    ['(see https://a.example/x)', 'https://a.example/x'],
    ['(see https://a.example/x?!…).', 'https://a.example/x'],
    ['https://a.example/x.).,)', 'https://a.example/x'],
    ['https://a.example/a_(b))', 'https://a.example/a_(b)'],
    ['https://a.example/a_(b)).', 'https://a.example/a_(b)'],
  ])('end before what belongs to the sentence: %s', (text, link) => {
    expect(linkIn(text)).toBe(link)
    expect(
      splitLinks(text)
        .map((piece) => piece.text)
        .join(''),
    ).toBe(text)
  })

  it.each([
    'https://a.example/a_(b)',
    'https://a.example/a_((b)c)',
    'https://a.example/a.b,c:d',
    'https://a.example/(',
    'https://a.example/)a',
  ])('keep what belongs to them: %s', (link) => {
    expect(linkIn(link)).toBe(link)
    expect(linkIn(`${link}.`)).toBe(link)
  })

  it.each([
    ['dots and brackets', (n: number) => `https://x.yz/${'…'.repeat(n)}${')'.repeat(n)}`],
    ['dots before a letter', (n: number) => `https://x.yz/${'.'.repeat(2 * n)}a`],
    ['pairs', (n: number) => `https://x.yz/${',)'.repeat(n)}`],
    ['beginnings of links', (n: number) => 'https://'.repeat(n / 4)],
    ['links that are none', (n: number) => 'http://@ '.repeat(n / 4)],
    ['no links', (n: number) => 'http:/'.repeat(n / 3)],
  ])('are found in time that grows as the text does: %s', (_, text) => {
    const begun = performance.now()
    let done = 0
    for (let n = 1_000; n <= MAX_LENGTH && performance.now() - begun < GIVE_UP_MS; n *= 2) {
      splitLinks(text(n))
      done = n
    }
    expect(done).toBe(MAX_LENGTH)
  })

  it('are looked for once in each message, however often it is drawn', () => {
    let looked = 0
    const entry = {
      kind: 'message',
      key: 'm',
      publisher: 'p',
      name: 'Bo',
      at: 0,
      own: false,
      imported: false,
      state: 'sent',
      get text() {
        looked += 1
        return 'https://a.example'
      },
    } satisfies ChatEntry
    const actions = { retry: () => undefined, discard: () => undefined }
    for (let drawn = 0; drawn < 3; drawn += 1)
      drawRow({ kind: 'message', key: 'm', entry, leads: true }, actions)
    expect(looked).toBe(1)
    drawRow({ kind: 'message', key: 'n', entry: { ...entry, key: 'n' }, leads: true }, actions)
    expect(looked).toBe(2)
  })
})
