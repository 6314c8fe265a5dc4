import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'

const src = resolve(import.meta.dirname, '../../../src')

/** A program that is told to stop, and then ends like this. */
async function stopped(ending: string) {
  const script = `
    import { StickyError } from '${src}/dht/errors.ts'
    import { run } from '${src}/node/run.ts'
    await run(false, async (output, signal) => {
      output.result({}, 'ready')
      await new Promise((resolve) => {
        const waiting = setInterval(() => undefined, 1_000)
        signal.addEventListener('abort', () => resolve(clearInterval(waiting)))
      })
      ${ending}
    })`
  const child = spawn(process.execPath, ['--input-type=module-typescript', '--eval', script])
  const said = text(child.stderr)
  await once(child.stdout, 'data')
  child.kill('SIGTERM')
  const [code] = await once(child, 'exit')
  const lines = (await said).split('\n').filter((line) => line.startsWith('sticky:'))
  return { code, lines }
}

describe('a command that is interrupted', () => {
  it('ends with 0 when it has closed cleanly', async () => {
    expect(await stopped('')).toEqual({ code: 0, lines: [] })
  })

  it.each([
    `throw new StickyError('ABORTED', 'The start was aborted.')`,
    `throw new StickyError('CLOSED', 'This node is closed.')`,
    `throw signal.reason`,
    `throw new StickyError('UNREACHABLE', 'Not dialled.', { cause: signal.reason })`,
  ])('ends with 130 and without a word where that is all: %s', async (ending) => {
    expect(await stopped(ending)).toEqual({ code: 130, lines: [] })
  })

  it('says what went wrong while it closed', async () => {
    expect(await stopped(`throw new StickyError('STORAGE_FULL', 'The disk is full.')`)).toEqual({
      code: 1,
      lines: ['sticky: The disk is full. [STORAGE_FULL]'],
    })
  })
})
