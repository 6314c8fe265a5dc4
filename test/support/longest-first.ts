import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** By the seconds that they take. Where one of these comes last, the other workers have nothing to do meanwhile. */
const LONGEST = [
  'simulation/simulation.test.ts',
  'simulation/controls.test.ts',
  'hostile/node.test.ts',
  'cluster/slow-peers.test.ts',
  'contract/network.test.ts',
  'unit/docs.test.ts',
  'browser/chat-network.test.ts',
  'browser/tabs.test.ts',
  'cluster/cluster.test.ts',
  'cluster/acceptance.test.ts',
]

const placeOf = ({ moduleId }: TestSpecification): number => {
  const place = LONGEST.findIndex((name) => moduleId.endsWith(name))
  return place < 0 ? LONGEST.length : place
}

/** The order of the files: a machine that has never run them does not know it. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return (await super.sort(files)).toSorted((a, b) => placeOf(a) - placeOf(b))
  }
}
