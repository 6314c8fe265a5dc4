import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { CONTROLS, type Control, type Edit } from './controls.ts'

/** The checker finds what goes wrong without a mechanism, in a run that passes with it. */

const ROOT = join(import.meta.dirname, '../..')

const ALL = process.env.STICKY_CONTROLS === 'all'

/** The text of the file after it. Throws where there is nothing to edit. */
function afterEdit({ file, from, to }: Edit, directory: string): string {
  const source = readFileSync(join(directory, file), 'utf8')
  if (source.split(from).length !== 2) throw new Error(`${file} does not have this once: ${from}`)
  return source.replace(from, () => to)
}

/** A copy of the source with the edits. */
function edited(edits: Edit[]): string {
  const directory = mkdtempSync(join(tmpdir(), 'sticky-control-'))
  for (const part of ['src', 'test/simulation', 'package.json'])
    cpSync(join(ROOT, part), join(directory, part), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'))
  for (const edit of edits) writeFileSync(join(directory, edit.file), afterEdit(edit, directory))
  return directory
}

const isForHeap = (flag: string) => /^--(max-semi-space-size=|single-threaded-gc$)/.test(flag)

async function outputOf({ edits, schedule, seed, breaks }: Control): Promise<string> {
  const directory = edited(edits)
  try {
    const runs = ['--schedule', schedule, '--seeds', `${seed},1-8`, '--until', breaks]
    const args = [...process.execArgv.filter(isForHeap), 'test/simulation/run.ts', ...runs]
    const ended = promisify(execFile)(process.execPath, [...args, '--load', 'short', '--quiet'], {
      cwd: directory,
      // what is compiled of a copy is of no use to the next one
      env: { ...process.env, NODE_COMPILE_CACHE: undefined },
    })
    return (await ended.catch((error: { stdout: string }) => error)).stdout
  } finally {
    rmSync(directory, { recursive: true })
  }
}

describe('without the mechanism that', () => {
  for (const control of CONTROLS) {
    const { mechanism, schedule, breaks, edits, inEveryRun = false } = control
    if (!ALL && !inEveryRun)
      it(`${mechanism}: can be switched off`, () => {
        for (const edit of edits) expect(() => afterEdit(edit, ROOT)).not.toThrow()
      })
    else
      it(`${mechanism}: ${schedule} breaks ${breaks}`, async () => {
        expect(await outputOf(control)).toMatch(new RegExp(`^FAIL .*\\b${breaks} x`, 'm'))
      })
  }
})
