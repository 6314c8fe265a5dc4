import { networkInterfaces } from 'node:os'
import { StickyError } from '../dht/index.ts'

/** Where clients reach a bridge: what it listens on is not always an address that somebody else can dial. */

export interface Reach {
  /** What is pasted into a browser on this machine, or the public address. */
  url: string
  /** The same for other machines, where there are any that may connect. */
  lanUrls: string[]
}

/** An address that stands for all of this machine's. */
const isWildcard = (host: string): boolean => host === '' || host === '0.0.0.0' || host === '::'

export function reachOf(host: string, port: number, publicUrl: string | undefined): Reach {
  if (publicUrl !== undefined) return { url: publicUrl, lanUrls: [] }
  if (!isWildcard(host)) return { url: urlOf(host, port), lanUrls: [] }
  const lanUrls = lanAddresses(host === '::' || host === '').map((address) => urlOf(address, port))
  return { url: urlOf(host === '::' ? '::1' : '127.0.0.1', port), lanUrls }
}

/** What others are told, those who are not on this machine first. */
export const announcedBy = ({ url, lanUrls }: Reach): string[] => [...lanUrls, url].map(multiaddrOf)

const urlOf = (host: string, port: number): string =>
  `http://${host.includes(':') ? `[${host}]` : host}:${port}`

function lanAddresses(withIpv6: boolean): string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, family, scopeid }) => {
      if (internal) return false
      return family === 'IPv4' || (withIpv6 && !scopeid) // a link-local address needs a zone, which no URL carries
    })
    .map(({ address }) => address)
}

/** /ip4/127.0.0.1/tcp/8080/ws of http://127.0.0.1:8080; /dns/…/wss behind TLS. Throws MALFORMED. */
export function multiaddrOf(url: string): string {
  let parsed: URL
  try {
    parsed = new URL(url)
  } catch (error) {
    throw new StickyError('MALFORMED', `Not a URL: ${url}`, { cause: error })
  }
  const { hostname, protocol } = parsed
  if (!['http:', 'https:', 'ws:', 'wss:'].includes(protocol) || hostname === '')
    throw new StickyError('MALFORMED', `Not an http or https address: ${url}`)
  const isTls = protocol === 'https:' || protocol === 'wss:'
  const port = parsed.port || (isTls ? '443' : '80')
  const bare = hostname.replace(/^\[|\]$/g, '')
  const kind = /^\d+\.\d+\.\d+\.\d+$/.test(bare) ? 'ip4' : bare.includes(':') ? 'ip6' : 'dns'
  return `/${kind}/${bare}/tcp/${port}/${isTls ? 'wss' : 'ws'}`
}
