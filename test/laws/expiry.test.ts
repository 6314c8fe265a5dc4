import fc from 'fast-check'
import { describe, it } from 'vitest'
import { edgeProgram, playEdges } from '../support/lineage-edges.ts'
import { expectLaws } from '../support/lineage-line.ts'

describe('join of heads where something ends at the very moment that decides', () => {
  it('obeys the laws, keeps what is not gone and builds nothing with what is', {
    timeout: 120_000,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(edgeProgram, async (program) => expectLaws(await playEdges(program))),
      { numRuns: 20, endOnFailure: false },
    )
  })
})
