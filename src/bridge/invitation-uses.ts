import { join } from 'node:path'
import * as v from 'valibot'
import { fromBase64url, type InvitationClaim, type NodeId, StickyError, toBase64url } from '../dht/index.ts'
import { createPrivateFile, readPrivateFile } from '../node/program.ts'

/**
 * Who came in by which invitation, for those that only so many may use. A node that came in once may come again, so that
 * a restart of either side costs no invitation. On disk before anybody is let in; forgotten a day after the invitation
 * has expired.
 */

const FILE = 'invitations.json'
const VERSION = 1
/** A clock that is ahead for a while, and then right again, makes no invitation unused: most are off by less. */
const KEPT_EXPIRED_MS = 24 * 3_600_000
/** About 150 bytes for a use, with room to spare. */
const bytesFor = (maxUses: number): number => 4_096 + maxUses * 256

const text = (max: number) => v.pipe(v.string(), v.maxLength(max))
const fileSchema = v.strictObject({
  version: v.literal(VERSION),
  used: v.array(
    v.strictObject({
      key: text(43),
      expiresAt: v.pipe(v.number(), v.safeInteger()),
      by: v.array(text(100)),
    }),
  ),
})

interface Use {
  expiresAt: number
  by: Set<NodeId>
}

export interface InvitationUsesOptions {
  /** The bridge's data folder. Without one the uses are forgotten when the process ends. */
  directory?: string
  /** Uses remembered at once; above it limited invitations are refused, never used twice. */
  maxUses: number
  now: () => number
}

export class InvitationUses {
  readonly #options: InvitationUsesOptions
  readonly #used: Map<string, Use>
  #writing: Promise<void> = Promise.resolve()
  #closed = false

  private constructor(options: InvitationUsesOptions, used: Map<string, Use>) {
    this.#options = options
    this.#used = used
  }

  /** Rejects with STORAGE_FAILED when the file is there and cannot be read: an invitation could then be used twice. */
  static async open(options: InvitationUsesOptions): Promise<InvitationUses> {
    const { directory, maxUses } = options
    const file = directory === undefined ? undefined : join(directory, FILE)
    const kept = file === undefined ? undefined : await readPrivateFile(file, bytesFor(maxUses))
    const used = new Map<string, Use>()
    if (kept !== undefined)
      for (const { key, expiresAt, by } of parse(kept, file as string).used)
        used.set(key, { expiresAt, by: new Set(by) })
    return new InvitationUses(options, used)
  }

  /** Uses remembered now. */
  get size(): number {
    let size = 0
    for (const { by } of this.#used.values()) size += by.size
    return size
  }

  /**
   * Counts `nodeId` for the invitation, unless it was counted before. Rejects with INVITATION_USED, with BUSY when too many
   * are remembered, or with STORAGE_FAILED, STORAGE_FULL or CLOSED; then nothing was counted.
   */
  async take({ key, uses, expiresAt }: InvitationClaim, nodeId: NodeId): Promise<void> {
    if (uses === 0) return
    if (this.#closed) throw new StickyError('CLOSED', 'This bridge is closed.')
    const name = toBase64url(key)
    const use = this.#used.get(name) ?? { expiresAt, by: new Set<NodeId>() }
    if (use.by.has(nodeId)) {
      await this.#writing.catch(() => undefined) // perhaps it is not on disk yet
      if (use.by.has(nodeId)) return
      throw new StickyError('STORAGE_FAILED', 'The use of the invitation could not be written down.')
    }
    if (use.by.size >= uses)
      throw new StickyError('INVITATION_USED', 'The invitation was used by as many as it was for.')
    this.#forgetExpired()
    if (this.size >= this.#options.maxUses)
      throw new StickyError('BUSY', 'This bridge remembers as many uses of invitations as it can.')
    use.by.add(nodeId)
    this.#used.set(name, use)
    try {
      await this.#write()
    } catch (error) {
      use.by.delete(nodeId)
      if (use.by.size === 0) this.#used.delete(name)
      throw error
    }
  }

  /** Nothing is written any more once this resolves: another bridge may have the folder. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#writing.catch(() => undefined)
  }

  #forgetExpired(): void {
    const latest = this.#options.now() - KEPT_EXPIRED_MS
    for (const [name, { expiresAt }] of this.#used) if (expiresAt <= latest) this.#used.delete(name)
  }

  /** One at a time, each with everything that is known when it starts. */
  #write(): Promise<void> {
    const { directory } = this.#options
    if (directory === undefined) return Promise.resolve()
    const write = async () => {
      const used = [...this.#used].map(([key, { expiresAt, by }]) => ({ key, expiresAt, by: [...by] }))
      await createPrivateFile(join(directory, FILE), `${JSON.stringify({ version: VERSION, used })}\n`, {
        replace: true,
      })
    }
    const written = this.#writing.then(write, write)
    this.#writing = written
    written.catch(() => undefined) // told to who asked for it
    return written
  }
}

function parse(kept: string, file: string): v.InferOutput<typeof fileSchema> {
  try {
    const parsed = v.parse(fileSchema, JSON.parse(kept))
    for (const { key } of parsed.used) if (fromBase64url(key).byteLength !== 32) throw new Error('not a key')
    return parsed
  } catch (error) {
    throw new StickyError(
      'STORAGE_FAILED',
      `${file} cannot be read, and says which invitations were used. Restore it; without it they count as unused.`,
      { cause: error },
    )
  }
}
