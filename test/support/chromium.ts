import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'

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

export function launchChromium(): Promise<Browser> {
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
    ],
  })
}
