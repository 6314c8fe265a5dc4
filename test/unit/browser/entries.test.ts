import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'

/** A page that is rendered on a server imports the entry there too. */

const exec = promisify(execFile)

it.each(['index', 'light'])('importing the %s entry outside of a page does nothing', async (entry) => {
  const file = new URL(`../../../src/browser/${entry}.ts`, import.meta.url).href
  const script = `
    const before = Object.getOwnPropertyNames(globalThis)
    const entry = await import(${JSON.stringify(file)})
    const added = Object.getOwnPropertyNames(globalThis).filter((name) => !before.includes(name))
    const busy = process.getActiveResourcesInfo().filter((name) => !/^(Pipe|TTY)Wrap$/.test(name))
    console.log(JSON.stringify({ added, busy, exports: Object.keys(entry).length > 5 }))
  `
  // it ends by itself: nothing was left running
  const { stdout } = await exec(process.execPath, ['--input-type=module', '-e', script], { timeout: 25_000 })
  expect(JSON.parse(stdout)).toEqual({ added: [], busy: [], exports: true })
})
