/**
 * Multiaddrs of websockets, as text from a bridge and as bytes from others, to what a page opens. Others are of no use to a
 * light node, so nothing else is decoded; the package for all kinds is 3 kB of a page.
 */

const WEBSOCKET = /^\/(ip4|ip6|dns|dns4|dns6)\/([\w.:-]+)\/tcp\/(\d+)\/(ws|wss|tls\/ws)(\/p2p\/\w+)?$/

/** Of a multiaddr's text; undefined where it is not that of a websocket. */
export function uriOfText(address: string): string | undefined {
  const parts = WEBSOCKET.exec(address)
  if (parts === null) return undefined
  const [, kind, host, port, socket] = parts
  const uri = `${socket === 'ws' ? 'ws' : 'wss'}://${kind === 'ip6' ? `[${host}]` : host}:${port}/`
  return URL.canParse(uri) ? new URL(uri).href : undefined
}

/** By code: the name, and how many bytes follow; null: their length comes first. */
const PARTS: Record<number, { name: string; bytes: number | null; text(bytes: Uint8Array): string }> = {
  4: { name: 'ip4', bytes: 4, text: (bytes) => bytes.join('.') },
  6: { name: 'tcp', bytes: 2, text: ([high, low]) => String((high as number) * 256 + (low as number)) },
  41: { name: 'ip6', bytes: 16, text: (bytes) => groupsOf(bytes).join(':') },
  53: { name: 'dns', bytes: null, text: utf8 },
  54: { name: 'dns4', bytes: null, text: utf8 },
  55: { name: 'dns6', bytes: null, text: utf8 },
  421: { name: 'p2p', bytes: null, text: () => 'x' }, // whoever it names, another one is not accepted
  448: { name: 'tls', bytes: 0, text: () => '' },
  477: { name: 'ws', bytes: 0, text: () => '' },
  478: { name: 'wss', bytes: 0, text: () => '' },
}

function utf8(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes)
}

const groupsOf = (bytes: Uint8Array): string[] =>
  Array.from({ length: 8 }, (_, i) => (((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)).toString(16))

/** Of a multiaddr's bytes; undefined where it is not that of a websocket, or none at all. */
export function uriOfBytes(address: Uint8Array): string | undefined {
  let text = ''
  let offset = 0
  /** Below 2^14: all that are known. */
  const varint = (): number => {
    const low = address[offset++] ?? 0
    return low < 128 ? low : (low & 127) + (address[offset++] ?? 0) * 128
  }
  while (offset < address.byteLength) {
    const part = PARTS[varint()]
    if (part === undefined) return undefined
    const length = part.bytes ?? varint()
    if (length > address.byteLength - offset) return undefined
    const value = part.text(address.subarray(offset, offset + length))
    text += length === 0 ? `/${part.name}` : `/${part.name}/${value}`
    offset += length
  }
  return uriOfText(text)
}
