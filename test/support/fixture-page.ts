import type { AddressInfo } from 'node:net'
import type { BrowserContext, Page } from 'playwright-core'
import { createServer, type ViteDevServer } from 'vite'

/** Serves this tree to a browser: pages of test/browser/pages with the sources as they are. */
export async function serveFixture(path: string): Promise<{ server: ViteDevServer; port: number }> {
  const server = await createServer({
    configFile: false,
    root: new URL('../..', import.meta.url).pathname,
    // its own, so that another server of the same tree does not rewrite it meanwhile
    cacheDir: `node_modules/.vite-${path.replace(/\W+/g, '-')}`,
    appType: 'mpa',
    logLevel: 'error',
    // all dependencies are found before the first page, also those that were added since the last run, or Vite would
    // reload it under the test
    optimizeDeps: { entries: [path.slice(1)], force: true },
    // without its socket: a page that was frozen would find it closed, and reload
    server: { host: '127.0.0.1', port: 0, hmr: false, ws: false, watch: null, allowedHosts: true },
  })
  await server.listen()
  const { port } = server.httpServer!.address() as AddressInfo
  return { server, port }
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
