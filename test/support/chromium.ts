import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import { type Browser, type BrowserContext, chromium } from 'playwright-core'

/** The machine's Chromium, headless. Nothing that the browser would fetch by itself. */

const PATHS = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
]

/** $CHROMIUM_PATH, a system Chromium, or the one Playwright has downloaded. */
export function findChromium(): string | undefined {
  return [process.env.CHROMIUM_PATH, ...PATHS, chromium.executablePath()].find(
    (path) => path !== undefined && existsSync(path),
  )
}

export function launchChromium(...more: string[]): Promise<Browser> {
  const executablePath = findChromium()
  return chromium.launch({
    ...(executablePath === undefined ? {} : { executablePath }),
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      ...more,
    ],
  })
}

/**
 * A profile whose pages are hidden when another one is in front, and can be frozen then: Playwright lets those of its own
 * contexts pretend that they are always seen.
 */
export async function launchWithVisibility(): Promise<{ browser: Browser; profile: BrowserContext }> {
  const port = await freePort()
  const browser = await launchChromium(`--remote-debugging-port=${port}`)
  const connected = await chromium.connectOverCDP(`http://127.0.0.1:${port}`, { noDefaults: true })
  return { browser, profile: connected.contexts()[0] as BrowserContext }
}

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })
