import type { IncomingHttpHeaders } from 'node:http'
import { isIP } from 'node:net'
import { isLoopbackName } from '../dht/index.ts'

/**
 * Which web pages may use this bridge. It guards browsers only: other programs send whatever headers they like, and are
 * judged by their key.
 */
export interface OriginRules {
  /** Origins beside the bridge's own, such as `https://chat.example`; `*` allows any page. */
  allowedOrigins: string[]
  publicUrl?: string
  /** Listening on loopback only: then no name but this machine's own can be meant by the Host header. */
  isLoopbackOnly: boolean
}

/** Its own pages, those of the public address, and the listed ones; and whatever is no browser. */
export function isAllowedOrigin(
  { origin, host }: IncomingHttpHeaders,
  { allowedOrigins, publicUrl, isLoopbackOnly }: OriginRules,
): boolean {
  if (origin === undefined || allowedOrigins.includes(origin) || allowedOrigins.includes('*')) return true
  const page = parse(origin)
  if (page === undefined) return false
  if (publicUrl !== undefined && parse(publicUrl)?.origin === page.origin) return true
  if (host === undefined || parse(`${page.protocol}//${host}`)?.host !== page.host) return false
  // a foreign name that resolves to this machine is an attack (DNS rebinding): page and Host agree on it
  return !isLoopbackOnly || isLoopbackName(page.hostname)
}

/**
 * Whether the Host that was dialled is a name of this bridge, as far as it can know: somebody who relays a challenge from a
 * name of his own is told apart by it. Listening on other addresses without a publicUrl, it does not know its names.
 */
export function isOwnHost(host: string, { publicUrl, isLoopbackOnly }: OriginRules): boolean {
  const name = parse(`http://${host}`)?.hostname
  if (name === undefined) return false
  if (isLoopbackName(name)) return true
  if (publicUrl !== undefined) return name === parse(publicUrl)?.hostname || isIP(bare(name)) !== 0
  return !isLoopbackOnly
}

const bare = (hostname: string): string => hostname.replace(/^\[|\]$/g, '')

function parse(url: string): URL | undefined {
  return URL.canParse(url) ? new URL(url) : undefined
}
