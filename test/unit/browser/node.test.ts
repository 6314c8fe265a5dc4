import { beforeEach, describe, expect, it, vi } from 'vitest'
import { createBrowserNode } from '../../../src/browser/node.ts'
import { memoryStorage, StickyError } from '../../../src/dht/index.ts'
import { PATIENCE } from '../../support/patience.ts'

/** What a tab holds while it runs, opened and let go of: the browser's own parts are stood in for. */

const { events, failing } = vi.hoisted(() => ({
  events: [] as string[],
  failing: { step: undefined as string | undefined },
}))
const step = (name: string) => {
  if (failing.step === name) throw new StickyError('UNREACHABLE', `${name} failed`)
  events.push(name)
}

vi.mock('../../../src/browser/locks.ts', () => ({
  hasLocks: () => true,
  takeLock: async (name: string) => {
    const what = name.includes('leader') ? 'the lead' : 'the tab'
    step(`take ${what}`)
    return { release: () => events.push(`release ${what}`), stolen: new Promise(() => undefined) }
  },
  onReleased: () => () => undefined,
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
  useRelay: async () => step('listen'),
  createBrowserLibp2p: async () => {
    step('start libp2p')
    const libp2p = new EventTarget()
    return Object.assign(libp2p, {
      services: {},
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

const BRIDGE = { bridgeUrl: 'http://127.0.0.1:1' }
const lettingGo = () => events.filter((event) => /release|close|stop/.test(event))
const LOCKS = ['release the lead', 'release the tab']

describe('a tab that cannot start lets go of all it took', () => {
  it.each([
    ['load identity', LOCKS],
    ['open storage', LOCKS],
    ['start libp2p', ['close storage', ...LOCKS]],
    ['make network', ['stop libp2p', 'close storage', ...LOCKS]],
  ])('when it fails to %s', async (name, released) => {
    failing.step = name
    await expect(createBrowserNode(BRIDGE)).rejects.toMatchObject({
      code: 'UNREACHABLE',
      message: `${name} failed`,
    })
    expect([...new Set(lettingGo())]).toEqual(released)
  })

  it('when it is told to stop before it has started', async () => {
    const stop = new AbortController()
    const starting = createBrowserNode({ ...BRIDGE, signal: stop.signal })
    stop.abort()
    await expect(starting).rejects.toMatchObject({ code: 'ABORTED' })
    expect(lettingGo().slice(-1)).toEqual(['release the tab'])
    const never = createBrowserNode({ ...BRIDGE, signal: stop.signal })
    await expect(never).rejects.toMatchObject({ code: 'ABORTED' })
  })
})

describe('a tab that started', () => {
  it.each(['enter bridge', 'listen', 'join'])('tells why it is offline when it fails to %s', async (name) => {
    failing.step = name
    const node = await createBrowserNode(BRIDGE)
    await vi.waitFor(() => expect(node.status().state).toBe('offline'), PATIENCE)
    expect(node.status().problem).toEqual({ code: 'UNREACHABLE', message: `${name} failed` })
    failing.step = undefined
    await node.resync('the test')
    await vi.waitFor(() => expect(node.status().problem).toBeUndefined(), PATIENCE)
    expect(node.status().lastResync?.reason).toBe('the test')
    await node.close()
  })

  it('holds its locks until it is closed, and lets go of everything once', async () => {
    const node = await createBrowserNode(BRIDGE)
    expect(node.role).toBe('leader')
    expect(lettingGo()).toEqual([])
    await Promise.all([node.close(), node.close()])
    expect(lettingGo()).toEqual(['close storage', 'close network', 'stop libp2p', ...LOCKS])
    await expect(node.pubsub.publish('room', 'late')).rejects.toMatchObject({ code: 'CLOSED' })
  })
})
