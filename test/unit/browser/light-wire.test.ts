import { multiaddr } from '@multiformats/multiaddr'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { uriOfBytes, uriOfText } from '../../../src/browser/light-address.ts'
import { DEFAULT_BOOK_OPTIONS, LightBook } from '../../../src/browser/light-book.ts'
import {
  findNodeRequest,
  hopConnect,
  identifyAnswer,
  readFindNode,
  readProfile,
  requireHopOk,
} from '../../../src/browser/light-messages.ts'
import { encodeFields, fieldsOf } from '../../../src/browser/light-protobuf.ts'
import { nodeIdOf, peerIdBytesOf } from '../../../src/dht/identity.ts'
import { LINK_PROTOCOL } from '../../../src/dht/libp2p.ts'
import { KAD_DURABLE_PROTOCOL, KAD_PROTOCOL } from '../../../src/dht/libp2p-services.ts'
import { systemRuntime } from '../../../src/dht/runtime.ts'

/** What a light node reads and writes by itself, against the codecs of libp2p that everybody else uses. */

const packages = new URL('../../../node_modules/', import.meta.url)
const codec = (path: string) => import(new URL(path, packages).href)
const { Message, MessageType } = await codec('@libp2p/kad-dht/dist/src/message/dht.js')
const { HopMessage, Status } = await codec('@libp2p/circuit-relay-v2/dist/src/pb/index.js')
const { Identify } = await codec('@libp2p/identify/dist/src/pb/message.js')

const peer = (value: number) => nodeIdOf(new Uint8Array(32).fill(value))
const bytesOfText = (text: string) => multiaddr(text).bytes

describe('FIND_NODE', () => {
  it('asks as kad-dht does', () => {
    const key = new Uint8Array(32).fill(9)
    const { type, key: asked, closer } = Message.decode(findNodeRequest(key))
    expect({ type, key: asked, closer }).toEqual({ type: MessageType.FIND_NODE, key, closer: [] })
  })

  it('reads what kad-dht answers, and nobody whose id does not contain an Ed25519 key', () => {
    const addresses = ['/ip4/1.2.3.4/tcp/1/ws', '/dns4/a.example/tcp/443/tls/ws'].map(bytesOfText)
    const answer = Message.encode({
      type: MessageType.FIND_NODE,
      clusterLevel: 0,
      closer: [
        { id: peerIdBytesOf(peer(1)), multiaddrs: addresses, connection: 1 },
        { id: new Uint8Array(34).fill(1), multiaddrs: addresses },
        { id: new Uint8Array(38).fill(1), multiaddrs: addresses },
        { id: new Uint8Array(0), multiaddrs: [] },
        { id: peerIdBytesOf(peer(2)), multiaddrs: [] },
      ],
      providers: [],
    })
    expect(readFindNode(answer)).toEqual([
      { nodeId: peer(1), addresses },
      { nodeId: peer(2), addresses: [] },
    ])
  })

  it('takes no more of an answer than anybody would say', () => {
    const closer = Array.from({ length: 1_000 }, (_, i) => ({
      id: peerIdBytesOf(nodeIdOf(new Uint8Array(32).fill(i % 251).fill(i >> 8, 1, 2))),
      multiaddrs: Array.from({ length: 20 }, () => bytesOfText('/ip4/1.2.3.4/tcp/1/ws')),
    }))
    const read = readFindNode(Message.encode({ type: MessageType.FIND_NODE, closer, providers: [] }))
    expect(read).toHaveLength(20)
    expect(read.every(({ addresses }) => addresses.length === 16)).toBe(true)
    const long = { id: peerIdBytesOf(peer(1)), multiaddrs: [new Uint8Array(401)] }
    const one = Message.encode({ type: MessageType.FIND_NODE, closer: [long], providers: [] })
    expect(readFindNode(one)).toEqual([{ nodeId: peer(1), addresses: [] }])
  })

  it('refuses an answer to another question', () => {
    const answer = Message.encode({ type: MessageType.PING, closer: [], providers: [] })
    expect(() => readFindNode(answer)).toThrow(/another question/)
  })
})

describe('the relay', () => {
  it('is asked as circuit relay v2 asks', () => {
    const { type, peer: to } = HopMessage.decode(hopConnect(peer(3)))
    expect([type, to.id]).toEqual([HopMessage.Type.CONNECT, peerIdBytesOf(peer(3))])
  })

  it('has connected only where it says so', () => {
    const said = (message: object) => () => requireHopOk(HopMessage.encode(message))
    expect(
      said({ type: HopMessage.Type.STATUS, status: Status.OK, limit: { duration: 60, data: 2n ** 40n } }),
    ).not.toThrow()
    expect(said({ type: HopMessage.Type.STATUS, status: Status.NO_RESERVATION })).toThrow(
      /no way to that peer/,
    )
    expect(said({ type: HopMessage.Type.CONNECT, status: Status.OK })).toThrow()
    expect(said({})).toThrow()
  })
})

describe('identify', () => {
  it('is answered as libp2p reads it', () => {
    const { publicKey, protocols, listenAddrs } = Identify.decode(
      identifyAnswer(Uint8Array.of(1, 2), ['/a', '/b']),
    )
    expect({ publicKey, protocols, listenAddrs }).toEqual({
      publicKey: Uint8Array.of(1, 2),
      protocols: ['/a', '/b'],
      listenAddrs: [],
    })
  })

  it('tells the role of a peer', () => {
    const profile = (...protocols: string[]) => readProfile(Identify.encode({ listenAddrs: [], protocols }))
    expect(profile(LINK_PROTOCOL, KAD_PROTOCOL)).toEqual({ stores: true, durable: false })
    expect(profile(LINK_PROTOCOL, KAD_PROTOCOL, KAD_DURABLE_PROTOCOL)).toEqual({
      stores: true,
      durable: true,
    })
    expect(profile(KAD_PROTOCOL, KAD_DURABLE_PROTOCOL)).toEqual({ stores: false, durable: false })
    expect(profile()).toEqual({ stores: false, durable: false })
  })
})

describe('protocol buffers', () => {
  it('come back as they went', () => {
    const field = fc.record({
      number: fc.integer({ min: 1, max: 1_000 }),
      value: fc.oneof(fc.nat(), fc.uint8Array({ maxLength: 300 })),
    })
    fc.assert(
      fc.property(fc.array(field, { maxLength: 20 }), (fields) => {
        expect(fieldsOf(encodeFields(fields))).toEqual(fields)
      }),
    )
  })

  it('of any other bytes are refused as MALFORMED, or something bounded', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const read of [fieldsOf, readFindNode, readProfile, requireHopOk])
          try {
            read(bytes)
          } catch (error) {
            expect(error).toMatchObject({ code: expect.stringMatching(/^(MALFORMED|UNREACHABLE)$/) })
          }
      }),
      { numRuns: 500 },
    )
    expect(() => fieldsOf(new Uint8Array(4_000).fill(8))).toThrow(/no message/) // 2,000 fields
  })
})

describe('addresses', () => {
  it('of websockets are what the package for all addresses says', () => {
    for (const [text, uri] of [
      ['/ip4/127.0.0.1/tcp/80/ws', 'ws://127.0.0.1/'],
      ['/ip4/10.0.0.1/tcp/65535/ws', 'ws://10.0.0.1:65535/'],
      [`/ip4/10.0.0.1/tcp/4001/ws/p2p/${peer(1)}`, 'ws://10.0.0.1:4001/'],
      ['/ip6/2001:db8::1/tcp/4001/ws', 'ws://[2001:db8::1]:4001/'],
      ['/dns4/a.example/tcp/443/tls/ws', 'wss://a.example/'],
      ['/dns/a.example/tcp/8443/wss', 'wss://a.example:8443/'],
    ] as const)
      expect([uriOfText(text), uriOfBytes(bytesOfText(text))]).toEqual([uri, uri])
  })

  it('of others are of no use', () => {
    for (const text of [
      '/ip4/1.2.3.4/tcp/1',
      '/ip4/1.2.3.4/udp/1/quic-v1',
      '/ip4/1.2.3.4/tcp/1/http',
      `/ip4/1.2.3.4/tcp/1/ws/p2p/${peer(1)}/p2p-circuit/p2p/${peer(2)}`,
      `/ip4/1.2.3.4/tcp/1/ws/p2p/${peer(1)}/p2p-circuit/webrtc`,
      '/unix/%2Ftmp%2Fsocket',
    ])
      expect([uriOfText(text), uriOfBytes(bytesOfText(text))]).toEqual([undefined, undefined])
    for (const text of [
      '',
      '/',
      '/dns4/a@b/tcp/1/ws',
      '/dns4/a#/tcp/1/ws',
      '/ip4/a b/tcp/1/ws',
      '/ip4/1.2.3.4/tcp/99999/ws',
    ])
      expect(uriOfText(text)).toBeUndefined()
  })

  it('that are no addresses are of no use either, whatever their bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        const uri = uriOfBytes(bytes)
        expect(uri === undefined || URL.canParse(uri)).toBe(true)
      }),
      { numRuns: 1_000 },
    )
  })
})

describe('what a light node remembers of others', () => {
  const book = (options = {}) => new LightBook({ ...DEFAULT_BOOK_OPTIONS, ...options }, systemRuntime)

  it('is bounded: the longest untouched go first', () => {
    const small = book({ maxPeers: 3 })
    const address = [bytesOfText('/ip4/1.2.3.4/tcp/1/ws')]
    for (const value of [1, 2, 3, 1, 4]) small.noteAddresses(peer(value), address)
    expect([1, 2, 3, 4].map((value) => small.urisOf(peer(value)).length)).toEqual([1, 0, 1, 1])
    const many = Array.from({ length: 16 }, (_, i) => bytesOfText(`/ip4/1.2.3.4/tcp/${i + 1}/ws`))
    small.noteAddresses(peer(1), many)
    expect(small.urisOf(peer(1))).toHaveLength(4)
  })

  it('are only addresses that a secure page may open, where it is one', () => {
    const secure = book({ secureOnly: true })
    const texts = ['/ip4/1.2.3.4/tcp/1/ws', '/dns4/a.example/tcp/443/tls/ws']
    secure.noteAddresses(peer(1), texts.map(bytesOfText))
    expect(secure.urisOf(peer(1))).toEqual(['wss://a.example/'])
  })

  it('are no addresses of this machine, unless the bridge is on it', () => {
    const near = book()
    const texts = ['/ip4/127.0.0.1/tcp/1/ws', '/dns4/localhost/tcp/2/ws', '/ip6/::1/tcp/3/ws']
    near.setBridge('wss://bridge.example/')
    near.noteAddresses(peer(1), texts.map(bytesOfText))
    expect(near.urisOf(peer(1))).toEqual([])
    near.setBridge('ws://127.0.0.1:8080/')
    near.noteAddresses(peer(1), texts.map(bytesOfText))
    expect(near.urisOf(peer(1))).toHaveLength(3)
  })
})
