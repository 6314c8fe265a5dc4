import { describe, expect, it } from 'vitest'
import { selfTimes } from '../../bench/profile.ts'

const frame = (id: number, functionName: string, url = '') => ({
  id,
  callFrame: { functionName, url, lineNumber: 4 },
})

describe('a processor profile', () => {
  it('is summed up by function and by package, without idle time', () => {
    const { busyMs, functions, packages } = selfTimes({
      nodes: [
        frame(1, '(idle)'),
        frame(2, 'work', 'file:///x/src/dht/codec.ts'),
        frame(3, '(garbage collector)'),
        frame(4, 'work', 'file:///x/src/dht/codec.ts'),
        frame(5, 'seal', 'file:///x/node_modules/@libp2p/noise/dist/src/encoder.js'),
        frame(6, 'encode', 'file:///x/node_modules/cborg/lib/encode.js'),
        frame(7, 'post', 'node:inspector'),
      ],
      samples: [1, 2, 4, 3, 5, 6, 7],
      timeDeltas: [9_000, 2_000, 3_000, 1_000, 2_500, 1_500, 8_000],
    })
    expect(busyMs).toBe(10)
    expect(functions).toEqual([
      { name: 'work src/dht/codec.ts:5', ms: 5 },
      { name: 'seal @libp2p/noise/dist/src/encoder.js:5', ms: 2.5 },
      { name: 'encode cborg/lib/encode.js:5', ms: 1.5 },
      { name: '(garbage collector)', ms: 1 },
    ])
    expect(packages.map(({ name, ms }) => `${name} ${ms}`)).toEqual([
      'src/dht 5',
      '@libp2p/noise 2.5',
      'cborg 1.5',
      'built in 1',
    ])
  })
})
