import type { Browser, Page } from 'playwright-core'

/**
 * Pages with one script on the origin of a bridge, each in a context and so with an identity and a disk of its own. The
 * browser gets them from the test: they can be opened while the bridge is down.
 */
export async function openTab(browser: Browser, origin: string, script: string): Promise<Page> {
  const context = await browser.newContext({
    // a page that came from nowhere counts as a public one, which may not ask this machine
    permissions: ['local-network-access'],
  })
  await context.route(`${origin}/tab`, (route) =>
    route.fulfill({
      contentType: 'text/html',
      body: '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/tab.js"></script>',
    }),
  )
  await context.route(`${origin}/tab.js`, (route) =>
    route.fulfill({ contentType: 'text/javascript', body: script }),
  )
  const page = await context.newPage()
  await page.goto(`${origin}/tab`)
  await page.waitForFunction(() => 'fixture' in globalThis)
  return page
}

/** Stops a page's scripts in their tracks, its timers and network events too. Gives the function that lets them go on. */
export async function freeze(page: Page): Promise<() => Promise<void>> {
  const session = await page.context().newCDPSession(page)
  const paused = new Promise((resolve) => session.once('Debugger.paused', resolve))
  await session.send('Debugger.enable')
  await session.send('Debugger.pause')
  session.send('Runtime.evaluate', { expression: '0' }).catch(() => undefined)
  await paused // at the next thing it does: that, where it does nothing
  return async () => {
    await session.send('Debugger.resume')
    await session.send('Debugger.disable')
    await session.detach()
  }
}

/** Ends the process of a page: it says goodbye to nobody. */
export async function crash(page: Page): Promise<void> {
  const crashed = page.waitForEvent('crash')
  page.goto('chrome://crash').catch(() => undefined) // never answered
  await crashed
}
