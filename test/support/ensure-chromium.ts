import { spawnSync } from 'node:child_process'
import { findChromium } from './chromium.ts'

/** `npm test` needs a Chromium: the system's, else Debian's package, else Playwright's own download. */

function run(command: string, args: string[]): boolean {
  process.stderr.write(`$ ${command} ${args.join(' ')}\n`)
  return spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'] }).status === 0
}

if (findChromium() === undefined) {
  const isDebianRoot = process.getuid?.() === 0 && spawnSync('apt-get', ['--version']).status === 0
  if (isDebianRoot) {
    run('apt-get', ['update'])
    run('apt-get', ['install', '-y', '--no-install-recommends', 'chromium'])
  }
  if (
    findChromium() === undefined &&
    !run('npx', ['--no-install', 'playwright-core', 'install', 'chromium'])
  ) {
    process.stderr.write('No Chromium for the browser tests. Install one, or name it in CHROMIUM_PATH.\n')
    process.exit(1)
  }
}
