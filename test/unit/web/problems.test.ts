import { expect, it } from 'vitest'
import { StickyError } from '../../../src/dht/index.ts'
import { describeProblem, describeStart } from '../../../web/problems.ts'

it('a page without a node is open in too many tabs, and a message without an answer met busy nodes', () => {
  const error = new StickyError('BUSY', 'Too many.')
  expect(describeStart(error)).toContain('Close one')
  expect(describeProblem(error)).toContain('nodes')
  const full = new StickyError('STORAGE_FULL', 'No space.')
  expect(describeStart(full)).toBe(describeProblem(full))
})
