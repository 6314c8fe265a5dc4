import { EventEmitter } from 'node:events'
import { readdir, readFile } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import { sha256 } from '@noble/hashes/sha2.js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import prefixes, { numberNear } from '../../../src/browser/kad-prefixes.ts'
import * as noRecords from '../../../src/browser/no-dht-records.ts'
import * as noDns from '../../../src/browser/no-dns.ts'
import * as noEmoji from '../../../src/browser/no-emoji.ts'
import * as noLog from '../../../src/browser/no-libp2p-log.ts'
import * as noOtherKeys from '../../../src/browser/no-other-keys.ts'
import { RelayDiscovery } from '../../../src/browser/no-relay-discovery.ts'
import { ReservationStore } from '../../../src/browser/no-reservations.ts'
import { secp256k1 } from '../../../src/browser/no-secp256k1.ts'
import { pEvent } from '../../../src/browser/small-event.ts'
import createLock from '../../../src/browser/small-lock.ts'
import { Netmask } from '../../../src/browser/small-netmask.ts'
import retry from '../../../src/browser/small-retry.ts'
import { smallLibp2p } from '../../../src/browser/vite.ts'
import { kilobytes, LIGHT_NODE, sizeLines, WHOLE_NODE } from '../../bench/size/measure.ts'

/** Where kad-dht puts the peer id that it makes of a number: the first 16 bits. */
function placeOf(number: number): number {
  const multihash = new Uint8Array(34)
  multihash.set([0x12, 32])
  new DataView(multihash.buffer).setUint32(2, number)
  const [high = 0, low = 0] = sha256(multihash)
  return (high << 8) | low
}

async function sourcesOf(name: string): Promise<string[]> {
  const root = new URL(`../../../node_modules/${name}/dist/src/`, import.meta.url)
  const files = (await readdir(root, { recursive: true })).filter((file) => file.endsWith('.js'))
  return Promise.all(files.map((file) => readFile(new URL(file, root), 'utf8')))
}

const sharedBits = (a: number, b: number): number => Math.clz32(a ^ b) - 16

function limitOf(what: string): number {
  const none = { wholeNode: 0, wholeNodeAsItComes: 0, lightNode: 0, libp2pBase: 0, overBase: 0 }
  return sizeLines(none).find((line) => line.what === what)?.limit as number
}

describe('the size of a page with a node', () => {
  it('is within its limit, which it would be over with all that libp2p brings', async () => {
    const limit = limitOf('whole node')
    const small = await kilobytes(WHOLE_NODE)
    expect(small).toBeLessThan(limit)
    expect(await kilobytes(WHOLE_NODE, { small: false })).toBeGreaterThan(small + 40)
  })

  it('is within a smaller one with the light entry', async () => {
    const limit = limitOf('light node')
    expect(limit).toBe(150)
    expect(await kilobytes(LIGHT_NODE)).toBeLessThan(limit)
  })
})

describe('what stands in for the curve of other keys', () => {
  it('has all that libp2p uses of it, and refuses', async () => {
    expect(() => secp256k1.Point.fromBytes()).toThrow(/Ed25519/)
    const uses = await Promise.all(
      ['index.js', 'index.browser.js', 'utils.js'].map((file) =>
        readFile(
          new URL(`../../../node_modules/@libp2p/crypto/dist/src/keys/secp256k1/${file}`, import.meta.url),
          'utf8',
        ),
      ),
    )
    const names = new Set(uses.join().match(/(?<=\bsecp\.)\w+/g))
    expect([...names].sort()).toEqual(Object.keys(secp256k1).sort())
  })
})

describe('what stands in for the base of emoji', () => {
  it('is enough for its only use, in the list of all bases', async () => {
    const file = new URL('../../../node_modules/multiformats/dist/src/basics.js', import.meta.url)
    const uses = (await readFile(file, 'utf8')).split('\n').filter((line) => line.includes('base256emoji'))
    expect(uses).toEqual([
      expect.stringMatching(/^import \* as base256emoji from /),
      expect.stringMatching(/^export const bases = \{.*\.\.\.base256emoji \};$/),
    ])
    expect(Object.keys(noEmoji)).toEqual([])
  })
})

describe('what stands in for RSA and ECDSA keys', () => {
  it('has all that libp2p imports of them, and refuses', async () => {
    const index = await readFile(
      new URL('../../../node_modules/@libp2p/crypto/dist/src/keys/index.js', import.meta.url),
      'utf8',
    )
    const imports = [...index.matchAll(/^import \{(.+)\} from "\.\/(?:rsa|ecdsa)\/utils\.js";$/gm)]
    expect(imports).toHaveLength(2)
    const names = imports.flatMap(([, list]) => (list as string).split(',').map((name) => name.trim()))
    expect(names.sort()).toEqual(Object.keys(noOtherKeys).sort())
    for (const refuse of Object.values(noOtherKeys)) expect(() => refuse()).toThrow(/Ed25519/)
  })
})

it('what stands in for the DHT’s records has all that kad-dht and libp2p import of them', async () => {
  const plugin = smallLibp2p()
  const replaced: (string | undefined)[] = []
  for (const by of ['@libp2p/kad-dht', 'libp2p'])
    for (const source of await sourcesOf(by))
      for (const [, name, from = ''] of source.matchAll(/^import \{ (\w+).* \} from ["'](.+)["'];$/gm))
        if (plugin.resolveId(from, `/node_modules/${by}/dist/src/any.js`)?.includes('no-dht-records'))
          replaced.push(name)
  expect([...new Set(replaced)].sort()).toEqual(Object.keys(noRecords).sort())
})

it('what stands in for reservations, and for the search for relays, has all that the relays call of it', async () => {
  for (const [of, file, calls] of [
    [ReservationStore, 'server', /(?<=\bthis\.reservationStore\.)\w+(?=\()/g],
    [RelayDiscovery, 'transport', /(?<=\bthis\.discovery\??\.)\w+(?=\()/g],
  ] as const) {
    const index = `../../../node_modules/@libp2p/circuit-relay-v2/dist/src/${file}/index.js`
    const called = new Set((await readFile(new URL(index, import.meta.url), 'utf8')).match(calls))
    expect(called.size).toBeGreaterThan(2)
    for (const name of called) expect([name, name in of.prototype]).toEqual([name, true])
  }
})

it('what stands in for libp2p’s log has what libp2p takes of it, and says nothing', async () => {
  const imports = (await sourcesOf('libp2p')).flatMap(
    (source) => source.match(/import \{.+\} from '@libp2p\/logger'/g) ?? [],
  )
  expect(new Set(imports)).toEqual(new Set([`import { defaultLogger } from '@libp2p/logger'`]))
  const log = noLog.defaultLogger().forComponent()
  for (const one of [log, log.error, log.trace, log.newScope(), log.newScope().error])
    expect([one(), one.enabled]).toEqual([undefined, false])
})

it('what stands in for DNS has what libp2p takes of it, and refuses', async () => {
  const imports = (await sourcesOf('libp2p')).flatMap(
    (source) => source.match(/import \{.+\} from '@multiformats\/dns'/g) ?? [],
  )
  expect(imports).toEqual([`import { dns, RecordType } from '@multiformats/dns'`])
  const dns = new URL('../../../node_modules/@multiformats/dns/dist/src/index.js', import.meta.url)
  expect(noDns.RecordType.TXT).toBe((await import(dns.href)).RecordType.TXT)
  await expect(noDns.dns().query()).rejects.toMatchObject({ code: 'UNREACHABLE' })
})

describe('what stands in for netmask', () => {
  it('knows the private addresses of libp2p, and no others', async () => {
    const utils = new URL('../../../node_modules/@libp2p/utils/dist/src/private-ip.js', import.meta.url)
    const { isPrivateIp }: { isPrivateIp(ip: string): boolean | undefined } = await import(utils.href)
    const source = await readFile(utils, 'utf8')
    expect(new Set(source.match(/(?<=\br)\.\w+(?=\()/g))).toEqual(new Set(['.contains']))
    const ranges = source.match(/(?<=')[\d.]+\/\d+(?=')/g) ?? []
    expect(ranges.length).toBeGreaterThan(20)
    const masks = ranges.map((range) => new Netmask(range))
    const textOf = (address: number) => [24, 16, 8, 0].map((bits) => (address >>> bits) & 255).join('.')
    const edges = ranges.flatMap((range) => {
      const [address = '', bits] = range.split('/')
      const first = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
      return [first - 1, first, first + 2 ** (32 - Number(bits)) - 1, first + 2 ** (32 - Number(bits))]
    })
    for (const address of [...edges, 0x01010101, 0x08080808].filter((one) => one >= 0 && one < 2 ** 32)) {
      const text = textOf(address)
      expect([text, masks.some((mask) => mask.contains(text))]).toEqual([text, isPrivateIp(text)])
    }
  })
})

describe('what stands in for p-event', () => {
  /** That can tell who listens. */
  const asTarget = (emitter: EventEmitter): EventTarget =>
    Object.assign(emitter, {
      addEventListener: emitter.on,
      removeEventListener: emitter.off,
      dispatchEvent: () => true,
    })
  const noteOf = (promise: Promise<unknown>) =>
    promise.then(
      (event) => ['resolved', event],
      (reason) => ['rejected', reason],
    )

  it('is asked for what it has', async () => {
    const page = await Promise.all(['@libp2p/utils', '@libp2p/webrtc', '@libp2p/kad-dht'].map(sourcesOf))
    const calls = page.flat().flatMap((source) => [...source.matchAll(/pEvent\(([^()]|\([^()]*\))*\)/g)])
    expect(calls.length).toBeGreaterThan(10)
    const options = calls.flatMap(([call]) => call.match(/\b\w+(?=: )/g) ?? [])
    expect(new Set(options)).toEqual(new Set(['signal', 'rejectionEvents', 'filter']))
  })

  it.each([
    ['drain', 'resolved', undefined, 0],
    ['error', 'rejected', undefined, 1],
    ['drain', 'resolved', ['close'], 0],
    ['close', 'rejected', ['close'], 1],
    ['drain', 'resolved', ['drain'], 0],
  ])('settles as p-event does, and listens no longer: %s is %s', async (name, how, others, skipped) => {
    const original = new URL('../../../node_modules/p-event/index.js', import.meta.url)
    for (const wait of [pEvent, (await import(original.href)).pEvent as typeof pEvent]) {
      const target = new EventEmitter()
      let seen = 0
      const options = { ...(others && { rejectionEvents: others }), filter: () => seen++ >= skipped }
      const waiting = noteOf(wait(asTarget(target), 'drain', options))
      for (const event of ['drain', 'other', 'close', 'error'])
        if (target.listenerCount(event) > 0) {
          target.emit(event, event)
          await setImmediate()
        }
      expect(await waiting).toEqual([how, name])
      expect(target.eventNames()).toEqual([])
    }
  })

  it('ends with its signal, at once where that is over', async () => {
    const over = new AbortController()
    const reason = new Error('over')
    const waiting = noteOf(pEvent(new EventTarget(), 'drain', { signal: over.signal }))
    over.abort(reason)
    expect(await waiting).toEqual(['rejected', reason])
    expect(await noteOf(pEvent(new EventTarget(), 'drain', { signal: over.signal }))).toEqual([
      'rejected',
      reason,
    ])
  })
})

describe('what stands in for p-retry', () => {
  const refused = new Error('refused')

  it('is imported by libp2p in one place, with what it knows of', async () => {
    const uses = (await sourcesOf('libp2p')).filter((source) => source.includes(`from 'p-retry'`))
    expect(uses).toHaveLength(1)
    const [, options = ''] = uses[0]?.match(/pRetry\(.+?\}, \{(.+?)\}/s) ?? []
    expect(options.match(/\w+(?=:)/g)).toEqual(['signal', 'retries', 'factor', 'minTimeout'])
  })

  it('tries until it succeeds, and so many times more at most', async () => {
    const attempts: number[] = []
    const failing = (times: number) => async (attempt: number) => {
      attempts.push(attempt)
      if (attempt <= times) throw refused
      return 'done'
    }
    expect(await retry(failing(2), { retries: 2, minTimeout: 1 })).toBe('done')
    await expect(retry(failing(9), { retries: 1, minTimeout: 1 })).rejects.toBe(refused)
    expect(attempts).toEqual([1, 2, 3, 1, 2])
  })

  it('ends with its signal, in a pause too', async () => {
    const ended = new AbortController()
    const work = async () => {
      setImmediate().then(() => ended.abort(refused))
      throw new Error('not yet')
    }
    await expect(retry(work, { retries: 5, signal: ended.signal })).rejects.toBe(refused)
    await expect(retry(() => Promise.resolve(1), { retries: 5, signal: ended.signal })).rejects.toBe(refused)
  })
})

describe('what stands in for mortice', () => {
  it('is imported by the peer store in one place, with what it knows of', async () => {
    const uses = (await sourcesOf('@libp2p/peer-store')).filter((source) => source.includes(`from 'mortice'`))
    expect(uses).toHaveLength(1)
    expect(uses[0]).toContain('singleProcess: true')
    expect(new Set(uses[0]?.match(/lock\.lock\.\w+/g))).toEqual(
      new Set(['lock.lock.readLock', 'lock.lock.writeLock', 'lock.lock.finalize']),
    )
  })

  /** Who holds it, of those that have come and have neither let go nor given up: many readers, or one writer. */
  const inAtOnce = (came: string[]) => {
    const firstWriter = came.findIndex((name) => name.startsWith('w'))
    return came.slice(0, firstWriter === -1 ? came.length : Math.max(firstWriter, 1))
  }

  it('lets readers in together and writers alone, in the order in which they came', async () => {
    const steps = fc.array(fc.constantFrom('r', 'r', 'w', 'w', 'give up', 'let go', 'let go'), {
      maxLength: 60,
    })
    const follows = async (all: string[]) => {
      const lock = createLock()
      const came: string[] = []
      const waiting = new Map<string, AbortController>()
      const held = new Map<string, () => void>()
      const come = async (name: string) => {
        const over = new AbortController()
        came.push(name)
        waiting.set(name, over)
        const options = { signal: over.signal }
        const release = await (name.startsWith('w') ? lock.writeLock(options) : lock.readLock(options))
        waiting.delete(name)
        held.set(name, release)
      }
      for (const [n, step] of all.entries()) {
        // the last of those that wait, or the first of those that are in
        const name = step === 'give up' ? [...waiting.keys()].at(-1) : [...held.keys()][0]
        if (step === 'r' || step === 'w') come(`${step}${n}`).catch(() => undefined)
        else if (name !== undefined) {
          came.splice(came.indexOf(name), 1)
          if (step === 'give up') waiting.get(name)?.abort()
          else held.get(name)?.()
          waiting.delete(name)
          held.delete(name)
        }
        await setImmediate()
        expect([...held.keys()].toSorted()).toEqual(inAtOnce(came).toSorted())
      }
    }
    await fc.assert(fc.asyncProperty(steps, follows))
  })

  it('refuses who has given up before, and goes on', async () => {
    const lock = createLock()
    const reason = new Error('over')
    const signal = AbortSignal.abort(reason)
    await expect(lock.writeLock({ signal })).rejects.toBe(reason)
    await expect(lock.readLock({ signal })).rejects.toBe(reason)
    const release = await lock.writeLock()
    release()
    await lock.readLock()
  })
})

describe('computed prefixes', () => {
  it('lie near every place that is asked for, also where the list of the browser has none', () => {
    for (const place of [0, 1, 16_383, 16_384, 40_000, 65_535])
      expect(sharedBits(placeOf(prefixes[place] as number), place)).toBeGreaterThanOrEqual(8)
  })

  it('are others each time, as the list was not: what is looked for there is spread', () => {
    expect(new Set(Array.from({ length: 4 }, () => numberNear(7))).size).toBeGreaterThan(1)
  })
})
