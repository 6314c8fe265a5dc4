import { ed25519 } from '@noble/curves/ed25519.js'
import { base58btc } from 'multiformats/bases/base58'
import { concatBytes, equalBytes, fromHex, toHex } from './codec.ts'
import { StickyError } from './errors.ts'

/**
 * A node is its Ed25519 key. The node id is the libp2p peer id text (`12D3Koo…`), which contains the public key, so any
 * signature can be checked without a look-up. On the wire and in objects a node is its 32-byte public key.
 */

export type NodeId = string

export interface Identity {
  readonly nodeId: NodeId
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  /** 64-byte Ed25519 signature. */
  sign(bytes: Uint8Array): Promise<Uint8Array>
}

// identity multihash (0x00, 36 bytes) of protobuf { type: Ed25519, data: 32 bytes }
const PEER_ID_PREFIX = Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20)

export const nodeIdOf = (publicKey: Uint8Array): NodeId =>
  base58btc.encode(concatBytes(PEER_ID_PREFIX, publicKey)).slice(1)

/** The id as libp2p writes it in its messages. Throws WRONG_IDENTITY. */
export const peerIdBytesOf = (nodeId: NodeId): Uint8Array => concatBytes(PEER_ID_PREFIX, publicKeyOf(nodeId))

/** Undefined for the id of another kind of key. */
export function nodeIdOfPeerId(bytes: Uint8Array): NodeId | undefined {
  const isOurs =
    bytes.byteLength === PEER_ID_PREFIX.length + 32 &&
    equalBytes(bytes.subarray(0, PEER_ID_PREFIX.length), PEER_ID_PREFIX)
  return isOurs ? nodeIdOf(bytes.subarray(PEER_ID_PREFIX.length)) : undefined
}

/** Throws WRONG_IDENTITY when the text is not the id of an Ed25519 key in its one encoding. */
export function publicKeyOf(nodeId: NodeId): Uint8Array {
  let bytes: Uint8Array
  try {
    bytes = base58btc.decode(`z${nodeId}`)
  } catch (error) {
    throw new StickyError('WRONG_IDENTITY', 'Not a node id.', { cause: error })
  }
  const publicKey = bytes.subarray(PEER_ID_PREFIX.length)
  if (publicKey.byteLength !== 32 || !equalBytes(bytes.subarray(0, PEER_ID_PREFIX.length), PEER_ID_PREFIX)) {
    throw new StickyError('WRONG_IDENTITY', 'Not the node id of an Ed25519 key.')
  }
  return publicKey
}

// RFC 8032 key prefix for PKCS#8, so that the platform can sign with a raw 32-byte seed.
const PKCS8_PREFIX = fromHex('302e020100300506032b657004220420')

/** Ed25519 in the thread that asks. Undefined where WebCrypto, which works on others, is to do it this time. Never throws. */
export interface Ed25519Here {
  /** `seed`: 32 bytes. */
  signer(seed: Uint8Array): (bytes: Uint8Array) => Uint8Array | undefined
  verify(publicKey: Uint8Array, bytes: Uint8Array, signature: Uint8Array): boolean | undefined
}

let here: Ed25519Here | undefined

/** For the whole program: browsers have nothing of the kind (undefined), Node has (src/node/ed25519.ts). */
export function useEd25519Here(platform: Ed25519Here | undefined): void {
  here = platform
}

/** An identity that signs with the platform's Ed25519. `seed`: 32 bytes. */
export async function identityFromSeed(seed: Uint8Array): Promise<Identity> {
  if (seed.byteLength !== 32) throw new StickyError('BAD_KEY', 'An Ed25519 seed is 32 bytes.')
  const publicKey = ed25519.getPublicKey(seed)
  const sign = await platformSigner(seed)
  return {
    nodeId: nodeIdOf(publicKey),
    publicKey,
    sign: sign ?? (async (bytes) => ed25519.sign(bytes, seed)),
  }
}

async function platformSigner(seed: Uint8Array): Promise<Identity['sign'] | undefined> {
  try {
    const pkcs8 = concatBytes(PKCS8_PREFIX, seed) as Uint8Array<ArrayBuffer>
    const key = await crypto.subtle.importKey('pkcs8', pkcs8, 'Ed25519', false, ['sign'])
    const signHere = here?.signer(seed)
    return async (bytes) =>
      signHere?.(bytes) ??
      new Uint8Array(await crypto.subtle.sign('Ed25519', key, bytes as Uint8Array<ArrayBuffer>))
  } catch {
    return undefined // a platform without Ed25519: the caller falls back to @noble/curves
  }
}

/**
 * y-coordinates of the small-order points and their non-canonical twins (sign bit cleared). A key among them makes
 * one signature valid for any message in every implementation that does not look.
 */
const SMALL_ORDER = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
])

export function isSmallOrderKey(publicKey: Uint8Array): boolean {
  const y = new Uint8Array(publicKey) // a copy: a Buffer would slice to a view
  y[31] = (y[31] as number) & 0x7f
  return SMALL_ORDER.has(toHex(y))
}

const MAX_CACHED_KEYS = 1_024
const importedKeys = new Map<string, Promise<CryptoKey | undefined>>()

function importedKey(publicKey: Uint8Array): Promise<CryptoKey | undefined> {
  const name = toHex(publicKey)
  let key = importedKeys.get(name)
  if (key === undefined) {
    if (importedKeys.size >= MAX_CACHED_KEYS) importedKeys.delete(importedKeys.keys().next().value as string)
    key = crypto.subtle
      .importKey('raw', publicKey as Uint8Array<ArrayBuffer>, 'Ed25519', false, ['verify'])
      .catch(() => undefined)
    importedKeys.set(name, key)
  }
  return key
}

/** True when `signature` is the key's over `bytes`. Never throws; refuses small-order keys. */
export async function verifySignature(
  publicKey: Uint8Array,
  bytes: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  if (publicKey.byteLength !== 32 || signature.byteLength !== 64 || isSmallOrderKey(publicKey)) return false
  const isRight = here?.verify(publicKey, bytes, signature)
  if (isRight !== undefined) return isRight
  const key = await importedKey(publicKey)
  if (key !== undefined) {
    return crypto.subtle.verify(
      'Ed25519',
      key,
      signature as Uint8Array<ArrayBuffer>,
      bytes as Uint8Array<ArrayBuffer>,
    )
  }
  return verifyWithoutPlatform(publicKey, bytes, signature)
}

/** noble multiplies by the cofactor and the platforms do not; a signature that only it takes would divide the nodes. */
async function verifyWithoutPlatform(
  publicKey: Uint8Array,
  bytes: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  try {
    if (!ed25519.verify(signature, bytes, publicKey, { zip215: false })) return false
    const { Point } = ed25519
    const R = signature.subarray(0, 32)
    const hash = concatBytes(R, publicKey, bytes) as Uint8Array<ArrayBuffer>
    const k = Point.Fn.create(littleEndian(new Uint8Array(await crypto.subtle.digest('SHA-512', hash))))
    const left = Point.BASE.multiplyUnsafe(littleEndian(signature.subarray(32)))
    return left.equals(Point.fromBytes(R).add(Point.fromBytes(publicKey).multiplyUnsafe(k)))
  } catch {
    return false
  }
}

const littleEndian = (bytes: Uint8Array): bigint => BigInt(`0x${toHex(bytes.toReversed())}`)
