/** Which requests to an HTTP port are from this machine: what an operator may see, and nobody else. */

type Headers = Readonly<Record<string, string | string[] | undefined>>

/** From this machine, not by way of a proxy on it, and not by a page that gave this machine a name of its own. */
export function isLocalRequest(address: string | undefined, headers: Headers): boolean {
  const isForwarded = headers['x-forwarded-for'] !== undefined || headers.forwarded !== undefined
  const host = `http://${headers.host ?? ''}`
  return (
    isLoopbackAddress(address) && !isForwarded && URL.canParse(host) && isLoopbackName(new URL(host).hostname)
  )
}

export const isLoopbackName = (hostname: string): boolean =>
  hostname === 'localhost' || isLoopbackAddress(hostname.replace(/^\[|\]$/g, ''))

const isLoopbackAddress = (address: string | undefined): boolean =>
  address !== undefined && /^(::1|(::ffff:)?127\.\d{1,3}\.\d{1,3}\.\d{1,3})$/.test(address)
