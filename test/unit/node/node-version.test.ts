import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { startBridge } from '../../../src/bridge/index.ts'
import { createNode } from '../../../src/node/index.ts'
import { nodeVersionProblem } from '../../../src/node/node-version.ts'

/** A Node that is too old is told so, and not that some port cannot be opened. */

describe('the version of Node', () => {
  it.each(['22.12.0', '22.23.3', '23.0.0', '100.1.0'])('%s will do', (version) => {
    expect(nodeVersionProblem(version)).toBeUndefined()
  })

  it.each(['20.20.2', '22.11.9', '8.0.0'])('%s will not, and the words say what would', (version) => {
    expect(nodeVersionProblem(version)).toBe(`This needs Node 22.12 or later, and runs on ${version}.`)
  })

  it('is the one that the package asks for', () => {
    const file = new URL('../../../package.json', import.meta.url)
    const { engines } = JSON.parse(readFileSync(file, 'utf8')) as { engines: { node: string } }
    expect(nodeVersionProblem(`${engines.node.replace('>=', '')}.0`)).toBeUndefined()
    expect(nodeVersionProblem('22.11.0')).toContain(`Node ${engines.node.replace('>=', '')} or later`)
  })
})

describe('on a Node that is too old', () => {
  const shipped = Object.getOwnPropertyDescriptor(process.versions, 'node') as PropertyDescriptor
  const pretend = () => Object.defineProperty(process.versions, 'node', { ...shipped, value: '20.20.2' })
  afterEach(() => void Object.defineProperty(process.versions, 'node', shipped))

  it('neither a node nor a bridge starts', async () => {
    pretend()
    const problem = { code: 'UNSUPPORTED_PLATFORM', message: expect.stringContaining('22.12') }
    await expect(createNode()).rejects.toMatchObject(problem)
    await expect(startBridge({ seed: new Uint8Array(32), port: 0 })).rejects.toMatchObject(problem)
  })
})
