import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, openSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'

const src = resolve(import.meta.dirname, '../../../src')

/** A program with one command that does this. */
const started = (action: string, stdout: 'pipe' | number = 'pipe', options = '{}') => {
  const script = `
    import { StickyError } from '${src}/dht/errors.ts'
    import { run } from '${src}/node/run.ts'
    await run(false, async (output, signal) => {
      ${action}
    }, ${options})`
  const args = ['--input-type=module-typescript', '--eval', script]
  return spawn(process.execPath, args, { stdio: ['ignore', stdout, 'pipe'] }) as ChildProcessByStdio<
    null,
    Readable,
    Readable
  >
}

/** A program that is told to stop, by each signal when it has heard the one before, and then ends like this. */
async function stopped(ending: string, ...signals: NodeJS.Signals[]) {
  const child = started(`
    output.result({}, 'ready')
    await new Promise((resolve) => {
      const waiting = setInterval(() => undefined, 1_000)
      signal.addEventListener('abort', () => resolve(clearInterval(waiting)))
    })
    output.result({}, 'stopping')
    ${ending}`)
  const said = text(child.stderr)
  const ended = once(child, 'exit')
  for (const signal of signals) {
    await once(child.stdout, 'data')
    child.kill(signal)
  }
  const [code] = await ended
  const lines = (await said).split('\n').filter((line) => line.startsWith('sticky:'))
  return { code, lines }
}

describe('a command that is interrupted', () => {
  it.each(['SIGTERM', 'SIGHUP', 'SIGINT'] as const)(
    'ends with 0 when it has closed cleanly: %s',
    async (signal) => {
      expect(await stopped('', signal)).toEqual({ code: 0, lines: [] })
    },
  )

  it.each([
    ['SIGTERM', 'SIGTERM'],
    ['SIGHUP', 'SIGHUP'],
    ['SIGINT', 'SIGHUP'],
  ] as const)('ends at once, with 130, where it is told so again: %s, %s', async (...signals) => {
    const closesForEver = 'await new Promise(() => setInterval(() => undefined, 1_000))'
    expect(await stopped(closesForEver, ...signals)).toEqual({ code: 130, lines: [] })
  })

  it.each([
    `throw new StickyError('ABORTED', 'The start was aborted.')`,
    `throw new StickyError('CLOSED', 'This node is closed.')`,
    `throw signal.reason`,
    `throw new StickyError('UNREACHABLE', 'Not dialled.', { cause: signal.reason })`,
  ])('ends with 130 and without a word where that is all: %s', async (ending) => {
    expect(await stopped(ending, 'SIGTERM')).toEqual({ code: 130, lines: [] })
  })

  it('says what went wrong while it closed', async () => {
    const ending = `throw new StickyError('STORAGE_FULL', 'The disk is full.')`
    expect(await stopped(ending, 'SIGTERM')).toEqual({
      code: 1,
      lines: ['sticky: The disk is full. [STORAGE_FULL]'],
    })
  })
})

describe('what a command prints', () => {
  const MUCH = 4_000_000
  const printMuch = `output.result({}, 'x'.repeat(${MUCH}))`

  it('waits for who reads it late, as somebody with `less` does', async () => {
    const child = started(printMuch)
    await new Promise((resolve) => setTimeout(resolve, 4_500))
    expect((await text(child.stdout)).length).toBe(MUCH + 1)
  })

  it('waits no longer than a moment once the command was interrupted', async () => {
    const child = started(`process.kill(process.pid, 'SIGTERM')
      await new Promise((resolve) => setTimeout(resolve, 100))
      ${printMuch}`)
    expect(await once(child, 'exit')).toEqual([0, null])
  })

  it.runIf(existsSync('/dev/full'))('is missed where it cannot be written', async () => {
    const child = started(`output.result({}, 'a line')`, openSync('/dev/full', 'w'))
    const said = text(child.stderr)
    expect(await once(child, 'exit')).toEqual([1, null])
    expect(await said).toMatch(/^sticky: What was printed could not be written: .* \[STORAGE_FULL\]\n$/)
  })

  /** Prints until that fails, once more, and then says whether it was to stop. */
  const printOn = `
    const printing = setInterval(() => output.result({}, 'a line'), 5)
    await new Promise((resolve) => process.stdout.once('error', resolve))
    clearInterval(printing)
    output.result({}, 'another')
    await new Promise((resolve) => setImmediate(resolve))
    output.note('stops: ' + signal.aborted)`

  it.each([
    ['stops a command that is there for it', '{}', 'stops: true\n'],
    ['is nothing to a command that serves', '{ serves: true }', 'stops: false\n'],
  ])('%s, where nobody reads it any more', async (_what, options, words) => {
    const child = started(printOn, 'pipe', options)
    const said = text(child.stderr)
    await once(child.stdout, 'data')
    child.stdout.destroy()
    expect(await once(child, 'exit')).toEqual([0, null])
    expect(await said).toBe(words)
  })

  it.runIf(existsSync('/dev/full'))('is nothing to a command that serves, on a full disk', async () => {
    const child = started(printOn, openSync('/dev/full', 'w'), '{ serves: true }')
    const said = text(child.stderr)
    expect(await once(child, 'exit')).toEqual([0, null])
    expect(await said).toBe('stops: false\n')
  })
})
