import type { ReleasedGap } from './gaps.ts'
import { type WriterPlace, writerName } from './known-writers.ts'

/** What came too late to be delivered, told as one gap where a writer's numbers follow on one another. */
export class ExpiredGaps {
  readonly #tell: (gap: ReleasedGap) => void
  /** Not told yet, by writer. */
  readonly #open = new Map<string, ReleasedGap>()

  constructor(tell: (gap: ReleasedGap) => void) {
    this.#tell = tell
  }

  add(place: WriterPlace): void {
    const { publisher, writer, sequence } = place
    const name = writerName(place)
    const known = this.#open.get(name)
    if (known !== undefined && sequence === known.toSequence + 1) {
      known.toSequence = sequence
      return
    }
    this.tell(place)
    this.#open.set(name, {
      publisher,
      writer,
      fromSequence: sequence,
      toSequence: sequence,
      reason: 'expired',
    })
  }

  /** Of one writer, before what it said next; of all, once what was read is over. */
  tell(of?: WriterPlace): void {
    const only = of && writerName(of)
    for (const [name, gap] of this.#open) {
      if (only !== undefined && name !== only) continue
      this.#open.delete(name)
      this.#tell(gap)
    }
  }
}
