import type { IncomingHttpHeaders } from 'node:http'
import { isIP } from 'node:net'

/**
 * Which web pages may use this bridge, and which requests are from this machine. It guards browsers only: other programs
 * send whatever headers they like, and are judged by their key.
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

/** From this machine, not by way of a proxy on it, and not by a page that gave this machine a name of its own. */
export function isLocalRequest(address: string | undefined, headers: IncomingHttpHeaders): boolean {
  const isForwarded = headers['x-forwarded-for'] !== undefined || headers.forwarded !== undefined
  const name = parse(`http://${headers.host ?? ''}`)?.hostname
  return isLoopbackAddress(address) && !isForwarded && name !== undefined && isLoopbackName(name)
}

export const isLoopbackName = (hostname: string): boolean =>
  hostname === 'localhost' || isLoopbackAddress(bare(hostname))

const bare = (hostname: string): string => hostname.replace(/^\[|\]$/g, '')

const isLoopbackAddress = (address: string | undefined): boolean =>
  address !== undefined && /^(::1|(::ffff:)?127\.\d{1,3}\.\d{1,3}\.\d{1,3})$/.test(address)

function parse(url: string): URL | undefined {
  return URL.canParse(url) ? new URL(url) : undefined
}
