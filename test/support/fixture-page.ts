import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { BrowserContext, Page } from 'playwright-core'
import { build, type Plugin, preview } from 'vite'

export interface FixtureServer {
  port: number
  close(): Promise<void>
}

/** package.json says that modules have no side effects; those of pages have, and the chat’s define elements. */
const keepPages: Plugin = {
  name: 'keep-pages',
  transform: {
    filter: { id: /\/(test\/browser\/pages|web)\// },
    handler: () => ({ moduleSideEffects: true }),
  },
}

/**
 * Serves a page of test/browser/pages to a browser, bundled from this tree: as sources each visit would load some 400
 * modules one by one.
 */
export async function serveFixture(path: string, plugins: Plugin[] = []): Promise<FixtureServer> {
  const root = new URL('../..', import.meta.url).pathname
  const outDir = await mkdtemp(join(tmpdir(), 'sticky-page-'))
  await build({
    configFile: false,
    root,
    logLevel: 'error',
    publicDir: false,
    plugins: [keepPages, ...plugins],
    build: {
      outDir,
      emptyOutDir: true,
      target: 'es2023',
      minify: false,
      reportCompressedSize: false,
      modulePreload: { polyfill: false },
      rolldownOptions: { input: join(root, path) },
    },
  })
  const server = await preview({
    configFile: false,
    root,
    logLevel: 'error',
    appType: 'mpa',
    build: { outDir },
    preview: { host: '127.0.0.1', port: 0, allowedHosts: true },
  })
  const close = async () => {
    await server.close()
    await rm(outDir, { recursive: true, force: true })
  }
  const { port } = server.httpServer.address() as AddressInfo
  return { port, close }
}

/** Opens a page and waits until its `fixture` is there. */
export async function openFixture(context: BrowserContext, url: string): Promise<Page> {
  const opened = await context.newPage()
  const problems: string[] = []
  opened.on('pageerror', (error) => problems.push(String(error)))
  opened.on('console', (entry) => entry.type() === 'error' && problems.push(entry.text()))
  await opened.goto(url)
  await opened
    .waitForFunction(() => 'fixture' in globalThis, undefined, { timeout: 10_000 })
    .catch((error) => {
      throw new Error(`the page did not load: ${problems.join('; ')}`, { cause: error })
    })
  return opened
}
