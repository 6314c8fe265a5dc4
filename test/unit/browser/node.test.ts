import { beforeEach, describe, expect, it, vi } from 'vitest'
import { createBrowserNode } from '../../../src/browser/node.ts'
import { memoryStorage, StickyError } from '../../../src/dht/index.ts'

/** What a tab holds while it runs, opened and let go of: the browser's own parts are stood in for. */

const { events, failing } = vi.hoisted(() => ({
  events: [] as string[],
  failing: { step: undefined as string | undefined },
}))
const step = (name: string) => {
  if (failing.step === name) throw new StickyError('UNREACHABLE', `${name} failed`)
  events.push(name)
}

vi.mock('../../../src/browser/tab-slot.ts', () => ({
  takeTabSlot: async () => {
    step('take slot')
    return { index: 0, release: () => events.push('release slot') }
  },
}))
vi.mock('../../../src/browser/identity-store.ts', () => ({
  loadOrCreateIdentity: async () => {
    step('load identity')
    return { seed: new Uint8Array(32).fill(7), created: false }
  },
}))
vi.mock('../../../src/browser/object-store.ts', () => ({
  openIdbStorage: async () => {
    step('open storage')
    const storage = memoryStorage()
    let isClosed = false
    return {
      ...storage,
      get: storage.get.bind(storage),
      entries: storage.entries.bind(storage),
      keys: storage.keys.bind(storage),
      write: storage.write.bind(storage),
      close: async () => {
        if (!isClosed) events.push('close storage')
        isClosed = true
      },
    }
  },
}))
vi.mock('../../../src/browser/transports.ts', () => ({
  createBrowserLibp2p: async () => {
    step('start libp2p')
    const libp2p = new EventTarget()
    return Object.assign(libp2p, {
      getConnections: () => [],
      stop: async () => {
        events.push('stop libp2p')
      },
    })
  },
}))
vi.mock('../../../src/dht/index.ts', async (original) => ({
  ...(await original<typeof import('../../../src/dht/index.ts')>()),
  enterBridge: async () => {
    step('enter bridge')
    return { serverId: 'bridge', relay: '/ip4/127.0.0.1/tcp/1/ws/p2p/bridge', challenge: '/auth' }
  },
  createLibp2pNetwork: async () => {
    step('make network')
    return {
      self: 'self',
      stores: false,
      onInboundLink: () => undefined,
      onTopologyChange: () => undefined,
      close: async () => {
        events.push('close network')
      },
    }
  },
  joinDht: async () => step('join'),
}))

beforeEach(() => {
  events.length = 0
  failing.step = undefined
})

describe('a tab that cannot start lets go of all it took', () => {
  it.each([
    ['load identity', ['release slot']],
    ['open storage', ['release slot']],
    ['enter bridge', ['close storage', 'release slot']],
    ['start libp2p', ['close storage', 'release slot']],
    ['make network', ['stop libp2p', 'close storage', 'release slot']],
  ])('when it fails to %s', async (name, released) => {
    failing.step = name
    await expect(createBrowserNode({ bridgeUrl: 'http://127.0.0.1:1' })).rejects.toMatchObject({
      code: 'UNREACHABLE',
      message: `${name} failed`,
    })
    expect(events.slice(-released.length)).toEqual(released)
    expect(events.filter((event) => /release|close|stop/.test(event))).toEqual(released)
  })
})

describe('a tab that started', () => {
  it('holds its slot until it is closed, and lets go of everything once', async () => {
    const node = await createBrowserNode({ bridgeUrl: 'http://127.0.0.1:1' })
    expect(events).not.toContain('release slot')
    await Promise.all([node.close(), node.close()])
    expect(events.filter((event) => /release|close|stop/.test(event))).toEqual([
      'close storage',
      'close network',
      'stop libp2p',
      'release slot',
    ])
  })
})
