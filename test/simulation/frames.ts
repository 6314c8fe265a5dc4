import { crc32 } from 'node:zlib'
import * as dagCbor from '@ipld/dag-cbor'

/** A frame in one line: its size and checksum, and for a reader what it says. */
export function describeFrame(frame: Uint8Array, readable: boolean): string {
  const sum = `${frame.byteLength} bytes ${crc32(frame).toString(16)}`
  return readable ? `${sum} ${contentOf(frame)}` : sum
}

function contentOf(frame: Uint8Array): string {
  try {
    const parts = dagCbor.decode(frame) as unknown[]
    return parts.map((part) => summary(part, 0)).join(' ')
  } catch {
    return 'undecodable'
  }
}

const MAX_DEPTH = 3

function summary(value: unknown, depth: number): string {
  if (value instanceof Uint8Array)
    return value.byteLength > 400
      ? headOrSize(value)
      : value.byteLength === 32
        ? hex(value)
        : headOrSize(value)
  if (Array.isArray(value)) {
    if (depth >= MAX_DEPTH || value.length > 6) return `[${value.length}]`
    return `[${value.map((part) => summary(part, depth + 1)).join(' ')}]`
  }
  if (value !== null && typeof value === 'object') {
    const parts = Object.entries(value).map(([name, part]) => `${name}=${summary(part, depth + 1)}`)
    return `{${parts.join(' ')}}`
  }
  return String(value)
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex').slice(0, 8)

/** A coordinator shows its version; other bytes only how many they are. */
function headOrSize(bytes: Uint8Array): string {
  try {
    const value = dagCbor.decode(bytes) as { version?: unknown; messageHistory?: unknown }
    if (value.messageHistory !== undefined) return `v${value.version}/${crc32(bytes).toString(16)}`
  } catch {
    // not an object of its own
  }
  return `${bytes.byteLength}B`
}
