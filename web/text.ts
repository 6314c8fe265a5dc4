/** Splits a message into plain text and links. Only http and https become links; everything else stays text. */

export type Piece = { text: string } | { text: string; href: string }

// Bidirectional controls end a link: they could show another address than the one that opens.
const LINK = /https?:\/\/[^\s<>"'`\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]+/giu
const PUNCTUATION = '.,;:!?…'
/** Far beyond any honest message; keeps one message from becoming a thousand elements. */
const MAX_LINKS = 50

export function splitLinks(text: string): Piece[] {
  const pieces: Piece[] = []
  let end = 0
  let links = 0
  for (const match of text.matchAll(LINK)) {
    const shown = trimLink(match[0])
    const href = links < MAX_LINKS ? safeHref(shown) : undefined
    if (href === undefined) continue
    if (match.index > end) pieces.push({ text: text.slice(end, match.index) })
    pieces.push({ text: shown, href })
    end = match.index + shown.length
    links += 1
  }
  if (end < text.length) pieces.push({ text: text.slice(end) })
  return pieces
}

/**
 * Punctuation after an address, and a closing bracket that the address does not open, belong to the sentence. Each
 * character is looked at twice at most: a regular expression at the end of a text tries again from each of its characters.
 */
function trimLink(found: string): string {
  let unopened = 0
  for (const character of found) unopened += character === ')' ? 1 : character === '(' ? -1 : 0
  let end = found.length
  for (; end > 0; end -= 1) {
    const last = found.charAt(end - 1)
    if (last === ')' && unopened > 0) unopened -= 1
    else if (!PUNCTUATION.includes(last)) break
  }
  return found.slice(0, end)
}

function safeHref(link: string): string | undefined {
  if (!URL.canParse(link)) return undefined
  const url = new URL(link)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return undefined
  // `https://bank.example@evil.example` reads like one place and opens another.
  if (url.username !== '' || url.password !== '') return undefined
  return url.href
}
