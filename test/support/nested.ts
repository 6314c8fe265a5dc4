import type { Data } from '../../src/pubsub/index.ts'

/** So many lists inside each other, the innermost one empty. */
export function nested(depth: number): Data {
  let list: Data[] = []
  for (let level = 1; level < depth; level++) list = [list]
  return list
}
