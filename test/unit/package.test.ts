import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const run = promisify(execFile)

it('the program that `npm start` names for a terminal runs from a clone, as `npm ci` has made it', async () => {
  const { stdout } = await run('npx', ['--no', '--', 'sticky', '--help'], { cwd: root })
  expect(stdout).toContain('Usage: sticky')
})

it('the package has all that it exports, and nothing of its tests', async () => {
  const { stdout } = await run('npm', ['pack', '--dry-run', '--ignore-scripts', '--json'], { cwd: root })
  const packed: string = JSON.stringify(JSON.parse(stdout))
  const { bin, exports, scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  const targets = [bin, ...Object.values(exports)].flatMap((entry) => Object.values(entry as object))
  expect(targets.length).toBeGreaterThan(10)
  for (const target of targets) expect(packed).toContain(`"${normalize(target as string)}"`)
  expect(packed).not.toContain('test/')
  expect(scripts.prepack).toContain('vite build') // the chat, which the bridge serves
})

it('exports what applications use, and no more of the programs', async () => {
  const shared = [
    'AdmissionRefusedError',
    'ChannelFailedError',
    'StickyError',
    'UnexpectedVersionError',
    'asStickyError',
    'cursorOf',
    'historyOf',
    'inviteTo',
    'newTopicSecret',
    'openTopic',
    'readInvite',
  ]
  const limits = ['DEFAULT_BRIDGE_LIMITS', 'DEFAULT_RELAY_LIMITS']
  const namesOf = async (module: string) => Object.keys(await import(join(root, module))).sort()
  expect(await namesOf('src/node/index.ts')).toEqual([...shared, 'createNode'].sort())
  expect(await namesOf('src/bridge/index.ts')).toEqual([...limits, 'startBridge'])
})
