#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The program `sticky`: the node's commands, and those that need a bridge. */

const MINIMUM_NODE = [22, 12] as const
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < MINIMUM_NODE[0] || (major === MINIMUM_NODE[0] && minor < MINIMUM_NODE[1])) {
  process.stderr.write(
    `sticky needs Node ${MINIMUM_NODE.join('.')} or later; this is ${process.versions.node}. Install a current Node, or run it with npx inside the project.\n`,
  )
  process.exit(2)
}

// Loaded only now: libp2p does not run on older versions.
const { common, createProgram, defaultDataFolder, run, wholeNumber } = await import('../node/index.ts')
const { runLocalNetwork, startBridgeIn } = await import('./local-network.ts')
const { demoImport } = await import('./demo-import.ts')

/** The folder with package.json: two up from src/bridge, three from dist/src/bridge. */
function packageRoot(): string {
  for (let folder = fileURLToPath(new URL('.', import.meta.url)); ; folder = resolve(folder, '..')) {
    try {
      readFileSync(join(folder, 'package.json'))
      return folder
    } catch {
      if (folder === resolve(folder, '..')) return folder
    }
  }
}

const root = packageRoot()
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
const webRoot = join(root, 'web', 'dist')
const defaultPort = process.env.PORT === undefined ? 8080 : Number(process.env.PORT)
const program = createProgram(version)

program
  .command('bridge')
  .description('help peers find each other: relay, admission and the web chat on one port')
  .option('--port <n>', 'port to listen on', wholeNumber, defaultPort)
  .option('--host <address>', 'address to listen on', '127.0.0.1')
  .option('--public-url <url>', 'how clients reach it, e.g. https://bridge.example behind a TLS proxy')
  .option('--data <dir>', 'folder for the bridge’s identity', join(defaultDataFolder(), 'bridge'))
  .option('--json', 'one JSON object a line', false)
  .action((options) =>
    run(options.json, async (output, signal) => {
      const bridge = await startBridgeIn(options.data, { ...options, webRoot })
      output.result(
        { event: 'ready', url: bridge.url, relay: bridge.address, nodeId: bridge.nodeId },
        `relay ${bridge.address}\nready: ${bridge.url}`,
      )
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
      await bridge.close()
    }),
  )

program
  .command('start')
  .description('a local network: a bridge with the web chat, and nodes with data on disk')
  .option('--port <n>', 'port to listen on', wholeNumber, defaultPort)
  .option('--host <address>', 'address to listen on', '127.0.0.1')
  .option('--nodes <n>', 'how many nodes', wholeNumber, 4)
  .option('--data <dir>', 'data folder', process.env.STICKY_DATA ?? './data')
  .option('--json', 'one JSON object a line', false)
  .action((options) =>
    run(options.json, (output, signal) =>
      runLocalNetwork(
        {
          ...options,
          data: resolve(options.data),
          webRoot,
          program: [process.execPath, ...process.execArgv, process.argv[1] as string],
        },
        output,
        signal,
      ),
    ),
  )

common(program.command('demo-import'))
  .description('replay a chat log into one topic per room, from several publishing nodes')
  .argument('[file]', 'lines of { t, room, from, text }, may be gzipped; without one, generated lines')
  .option('--publishers <n>', 'publishing nodes', wholeNumber, 4)
  .option('--limit <n>', 'only the first n lines', wholeNumber)
  .action((file, options) => run(options.json, (output, signal) => demoImport(file, options, output, signal)))

await program.parseAsync()
