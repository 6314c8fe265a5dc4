import type { ACCEPTANCE } from './acceptance-check.ts'
import type { SCHEDULES } from './schedules.ts'

/**
 * Mechanisms switched off one at a time, each by an edit of the source that ships, and a run in which the checker must
 * then find what the mechanism is there to prevent. The edits fail when the source no longer has the line.
 */

export interface Edit {
  file: string
  from: string
  to: string
}

export interface Control {
  mechanism: string
  edits: Edit[]
  /** One of its first seeds breaks; all of them pass with the mechanism. */
  schedule: keyof typeof SCHEDULES | keyof typeof ACCEPTANCE
  /** The one that is tried first: it broke when this was written. */
  seed: number
  /** The invariant that breaks without it. */
  breaks: string
  /** Also in `npm test`; the others by `npm run test:controls`. */
  inEveryRun?: true
}

const UNION = 'src/pubsub/collection-union.ts'

export const CONTROLS: Control[] = [
  {
    mechanism: 'a merge stamps anew what one side lacked',
    edits: [
      {
        file: UNION,
        from: 'if (other === undefined) return mergedVersion',
        to: 'if (other === undefined) return mine.addedInVersion',
      },
      {
        file: UNION,
        from: 'if (!a.has(id)) merged.push({ ...entry, addedInVersion: mergedVersion })',
        to: 'if (!a.has(id)) merged.push(entry)',
      },
      {
        file: UNION,
        from: 'if (!other.entries.has(id) && entry.addedInVersion <= otherSide.version) return false',
        to: '',
      },
    ],
    schedule: 'S2',
    seed: 1,
    breaks: 'I1',
    inEveryRun: true,
  },
  {
    mechanism: 'a publish is acknowledged at a majority',
    edits: [
      {
        file: 'src/dht/replicas.ts',
        from: 'const needed = Math.floor(set.length / 2) + 1',
        to: 'const needed = 1',
      },
    ],
    schedule: 'S1e',
    seed: 1,
    breaks: 'I3',
    inEveryRun: true,
  },
  {
    mechanism: 'an acknowledgement comes after the disk',
    edits: [
      {
        file: 'src/dht/record.ts',
        from: 'await this.#ports.storage.write(operations)\n    this.#logNext += 1',
        to: 'void this.#ports.storage.write(operations)\n    this.#logNext += 1',
      },
      // and the operating system takes its time
      {
        file: 'test/simulation/disk.ts',
        from: 'minWriteMs: 0.5, maxWriteMs: 4',
        to: 'minWriteMs: 3_000, maxWriteMs: 5_000',
      },
    ],
    schedule: 'S1d',
    seed: 1,
    breaks: 'I7',
    inEveryRun: true,
  },
  {
    mechanism: 'a head that diverged is joined, not replaced by the newer one',
    edits: [
      {
        file: 'src/pubsub/coordinator.ts',
        from: 'other.version > own.version &&\n  isAncestor(own.messages, other.messages, other.messageHistory) &&\n  isAncestor(own.subscribers, other.subscribers, other.subscriberHistory)',
        to: 'other.version > own.version',
      },
      {
        file: 'src/pubsub/merge.ts',
        from: '  const nowMs = Math.max(first.lastModified, second.lastModified)',
        to: '  if (first.version !== second.version)\n    return { head: first.version > second.version ? firstBytes : secondBytes, blocks: [] }\n  const nowMs = Math.max(first.lastModified, second.lastModified)',
      },
    ],
    schedule: 'S2',
    seed: 1,
    breaks: 'I3',
    inEveryRun: true,
  },
  {
    mechanism: 'a subscription drops what it has delivered',
    edits: [
      {
        file: 'src/pubsub/gaps.ts',
        from: '?.includes(message.id) ?? this.#wasDeliveredBefore(message)',
        to: '=== undefined && false',
      },
    ],
    schedule: 'S1b',
    seed: 1,
    breaks: 'I2',
    inEveryRun: true,
  },
  {
    mechanism: 'a position knows what each writer has given, and not only a version',
    edits: [
      {
        file: 'src/pubsub/arrivals.ts',
        from: 'writers: from.writers,',
        to: 'writers: [],',
      },
    ],
    schedule: 'S2',
    seed: 1,
    breaks: 'I2',
  },
  {
    mechanism: 'an initiator skips what is stored already',
    edits: [
      {
        file: 'src/pubsub/stored-ids.ts',
        from: 'for (const id of lacking.keys()) if (ids.has(id)) lacking.delete(id)',
        to: 'void ids',
      },
    ],
    schedule: 'A2',
    seed: 4,
    breaks: 'I2',
  },
  {
    mechanism: 'holes in the numbers are waited for and told',
    edits: [
      {
        file: 'src/pubsub/gaps.ts',
        from: 'return this.#hold(writer, message, nowMs)',
        to: 'writer.next = sequence\n    return { deliver: this.#advance(writer, [message]), gaps: [], duplicate: false }',
      },
    ],
    schedule: 'S2',
    seed: 6,
    breaks: 'I23',
  },
  {
    mechanism: 'a crash begins a new numbering',
    edits: [{ file: 'src/pubsub/sequence.ts', from: 'saved.clean && ', to: '' }],
    schedule: 'S1b',
    seed: 1,
    breaks: 'I14',
  },
  {
    mechanism: 'nothing expired is delivered',
    edits: [
      {
        file: 'src/pubsub/arrivals.ts',
        from: 'view.expiresAt <= this.#init.dht.runtime.now()',
        to: 'false',
      },
    ],
    schedule: 'S1b',
    seed: 1,
    breaks: 'I6',
  },
  {
    mechanism: 'the latest statement of a subscriber wins',
    edits: [
      {
        file: 'src/pubsub/subscription-statement.ts',
        from: 'a.body.issuedAt - b.body.issuedAt ||',
        to: 'b.body.issuedAt - a.body.issuedAt ||',
      },
    ],
    schedule: 'S1b',
    seed: 1,
    breaks: 'I17',
  },
  {
    mechanism: 'a sweep forgets what has expired',
    edits: [
      {
        file: 'src/dht/record-store.ts',
        from: 'if (await this.#isExpired(kind, record))',
        to: 'if (false)',
      },
    ],
    schedule: 'expiry',
    seed: 1,
    breaks: 'I10',
  },
  {
    mechanism: 'nobody is given back what has expired',
    edits: [
      {
        file: 'src/dht/sync.ts',
        from: 'if (record.head === undefined && expiresAtMs < store.runtime.now())',
        to: 'if (false)',
      },
    ],
    schedule: 'expiry',
    seed: 1,
    breaks: 'I10',
  },
  {
    mechanism: 'a block is compared with its name when it is read',
    edits: [
      {
        file: 'src/dht/record.ts',
        from: '(await this.#ports.blockKinds.get(ref.kind)?.matches(ref.id, bytes))',
        to: 'this.#ports.blockKinds.has(ref.kind)',
      },
    ],
    schedule: 'S6',
    seed: 1,
    breaks: 'I11',
  },
  {
    mechanism: 'a publisher forgets a caller who has heard',
    edits: [{ file: 'src/pubsub/publish-waits.ts', from: 'open.delete(wait)', to: '' }],
    schedule: 'S3b',
    seed: 1,
    breaks: 'I21',
  },
  {
    mechanism: 'a request is counted once when it times out during a dial that then fails',
    edits: [{ file: 'src/dht/rpc.ts', from: '        if (isOver) return\n', to: '' }],
    schedule: 'S2',
    seed: 1,
    breaks: 'I26',
  },
  {
    mechanism: 'a message is its publisher’s by its signature',
    edits: [
      {
        file: 'src/pubsub/message.ts',
        from: "if (!(await (stages === undefined ? check() : stages.watch('verify', check)))) {",
        to: 'if (signature.byteLength === 0) {',
      },
    ],
    schedule: 'S7b',
    seed: 1,
    breaks: 'I5',
  },
  {
    mechanism: 'no version is beyond the clock, or stands where it is beyond the others',
    edits: [
      {
        file: 'src/pubsub/kinds.ts',
        from: ' || version > newestMs() - LIMITS.versionEpochMs',
        to: '',
      },
      {
        file: 'src/pubsub/merge.ts',
        from: 'numberIgnored: own.version > other.version + LIMITS.maxVersionJump',
        to: 'numberIgnored: false',
      },
      {
        file: 'src/pubsub/merge.ts',
        from: 'high > low + LIMITS.maxVersionJump ? low : high',
        to: 'high',
      },
    ],
    schedule: 'S7b',
    seed: 1,
    breaks: 'I1',
  },
  {
    mechanism: 'a publisher hears from the replicas themselves',
    edits: [
      {
        file: 'src/pubsub/publish.ts',
        from: 'initiator === this.#dht.self ? answer :',
        to: 'initiator !== undefined ? answer :',
      },
    ],
    schedule: 'S8',
    seed: 1,
    breaks: 'I1',
  },
]
