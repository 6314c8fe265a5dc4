import { StickyError } from '../../src/dht/errors.ts'
import { openLevelStorage } from '../../src/node/object-store.ts'

/** A process of its own with a LevelDB folder, to be locked out, watched, failed and killed. */

const [, , mode, directory] = process.argv as [string, string, string, string]
const say = (line: unknown) => process.stdout.write(`${JSON.stringify(line)}\n`)
const value = (text: string) => new TextEncoder().encode(text)
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'ok',
    (error: unknown) => (error instanceof StickyError ? error.code : String(error)),
  )

const modes: Record<string, () => Promise<void>> = {
  /** Says what came of opening. */
  async open() {
    const outcome = await openLevelStorage(directory).then(
      () => ({ code: 'ok', message: '' }),
      ({ code, message }: StickyError) => ({ code, message }),
    )
    say(outcome)
  },

  /** Keeps it open until its input ends. */
  async hold() {
    await openLevelStorage(directory)
    say('held')
    process.stdin.resume()
  },

  /** Writes for ever, several at a time, and says each key once its write has resolved. */
  async pour() {
    const storage = await openLevelStorage(directory)
    for (let round = 0; ; round++) {
      const keys = Array.from({ length: 8 }, (_, index) => `${round}/${index}`)
      await Promise.all(
        keys.map((key) =>
          storage.write([
            { type: 'put', key, value: value(key) },
            { type: 'put', key: `twin/${key}`, value: new Uint8Array(2_000) },
          ]),
        ),
      )
      for (const key of keys) say(key)
    }
  },

  /** 5 writes one after the other, then 200 at once. */
  async groups() {
    const storage = await openLevelStorage(directory)
    const write = (key: string) => storage.write([{ type: 'put', key, value: value(key) }])
    for (let index = 0; index < 5; index++) await write(`one/${index}`)
    await Promise.all(Array.from({ length: 200 }, (_, index) => write(`many/${index}`)))
    await storage.close()
  },

  /** Meets a disk that fails at its third flush. */
  async failing() {
    const storage = await openLevelStorage(directory)
    const write = (key: string, text: string) =>
      codeOf(storage.write([{ type: 'put', key, value: value(text) }]))
    const read = async () => {
      const held: Record<string, string> = {}
      for await (const [key, bytes] of storage.entries('')) held[key] = new TextDecoder().decode(bytes)
      return held
    }
    const writes = [await write('a', 'first'), await write('b', 'kept')]
    writes.push(await write('a', 'rejected'))
    const afterFailure = await read()
    writes.push(await write('c', 'later'))
    const afterRecovery = await read()
    await storage.close()
    say({ writes, afterFailure, afterRecovery })
  },
}

await modes[mode]?.()
