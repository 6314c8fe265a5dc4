import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))

it('the program that `npm start` names for a terminal runs from a clone, as `npm ci` has made it', async () => {
  const { stdout } = await promisify(execFile)('npx', ['--no', '--', 'sticky', '--help'], { cwd: root })
  expect(stdout).toContain('Usage: sticky')
})
