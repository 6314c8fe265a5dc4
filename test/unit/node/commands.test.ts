import { describe, expect, it } from 'vitest'
import { tellEvents } from '../../../src/node/commands.ts'
import type { Output } from '../../../src/node/output.ts'
import { Emitter } from '../../../src/pubsub/emitter.ts'
import type { Gap, SubscriptionEvents } from '../../../src/pubsub/index.ts'

const expired: Gap = {
  publisher: '12D3KooA',
  writer: 'aa',
  fromSequence: 1,
  toSequence: 9,
  reason: 'expired',
}
const trimmed: Gap = { ...expired, fromSequence: 10, toSequence: 11, reason: 'trimmed' }
const withheld: Gap = { ...expired, fromSequence: 12, toSequence: 13, reason: 'withheld' }

/** What `sticky sub` says when its subscription tells of these gaps. */
function said(json: boolean, gaps: Gap[]) {
  const emitter = new Emitter<SubscriptionEvents>(16)
  const results: object[] = []
  const notes: string[] = []
  const output: Output = {
    json,
    result: (value) => results.push(value),
    note: (text) => notes.push(text),
    progress: () => undefined,
  }
  tellEvents(emitter, output)
  for (const gap of gaps) emitter.emit('gap', gap)
  return { results, notes }
}

describe('sticky sub', () => {
  it('tells people what is lost, and not what had expired before they came', () => {
    const { results, notes } = said(false, [expired, trimmed, withheld])
    expect(results).toEqual([])
    expect(notes).toEqual([
      expect.stringMatching(/10\.\.11.*keeps no more/),
      expect.stringMatching(/12\.\.13.*no replica/),
    ])
  })

  it('tells machines of both', () => {
    const { results, notes } = said(true, [expired, withheld])
    expect(results).toEqual([
      { event: 'gap', ...expired },
      { event: 'gap', ...withheld },
    ])
    expect(notes).toEqual([])
  })
})
