import axe, { type AxeResults } from 'axe-core'
import type { Page } from 'playwright-core'

/** What axe finds serious or critical on a page as it is shown now, as `rule: selector of the element`. */
export async function seriousProblems(page: Page): Promise<string[]> {
  await page.evaluate(axe.source) // by the debugger: the page's own policy allows no script of ours
  const { violations } = (await page.evaluate('axe.run()')) as AxeResults
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.flat().join(' ')}`))
}
