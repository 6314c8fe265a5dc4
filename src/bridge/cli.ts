#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { nodeVersionProblem } from '../node/node-version.ts'

/** The program `sticky`: the node's commands, and those that need a bridge. */

const problem = nodeVersionProblem()
if (problem !== undefined) {
  process.stderr.write(
    `sticky: ${problem} Install a current Node, or run it with npx inside the project. [UNSUPPORTED_PLATFORM]\n`,
  )
  process.exit(2)
}

// Loaded only now: libp2p does not run on older versions.
const { createProgram, dataFolder, jsonFlag, MAX_PORT, portNumber, positiveNumber, readOnly, run } =
  await import('../node/program.ts')
const { runLocalNetwork } = await import('./local-network.ts')
const { invite, runBridge } = await import('./commands.ts')
const { inviteFlags, listenFlags, operatorFlags } = await import('./flags.ts')
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
// `bridge` and `bridge invite` have options of one name: each belongs to the command it stands behind
const program = createProgram(version).enablePositionalOptions()

const bridge = program.command('bridge').enablePositionalOptions()
jsonFlag(operatorFlags(listenFlags(bridge)))
  .description('help peers find each other: relay, admission and the web chat on one port')
  .option('--data <dir>', 'folder for the bridge’s identity', dataFolder({}, 'bridge'))
  .action((options) =>
    run(options.json, (output, signal) => runBridge({ ...options, webRoot }, output, signal), {
      serves: true,
    }),
  )

jsonFlag(inviteFlags(bridge.command('invite')))
  .description('print an invitation to a bridge that is --invite-only')
  .option('--data <dir>', 'data folder of the bridge, or of another issuer', dataFolder({}, 'bridge'))
  .action((options) => run(options.json, (output) => invite(options, output)))

jsonFlag(listenFlags(program.command('start')))
  .description('a local network: a bridge with the web chat, and nodes with data on disk')
  .option('--nodes <n>', 'how many nodes', positiveNumber, 4)
  .option('--data <dir>', 'data folder (else $STICKY_DATA)', process.env.STICKY_DATA || './data')
  .option(
    '--metrics-port <n>',
    'of the first node, see `sticky node`; the others have the next ones',
    portNumber,
  )
  .action((options, command: Command) => {
    const lastPort = (options.metricsPort || 0) + options.nodes - 1
    if (lastPort > MAX_PORT)
      command.error(
        `error: --metrics-port is too high for ${options.nodes} nodes: the last would have ${lastPort}`,
      )
    return run(
      options.json,
      (output, signal) =>
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
      { serves: true },
    )
  })

readOnly(program.command('demo-import'))
  .description('replay a chat log into one topic per room, from several publishing nodes')
  .argument('[file]', 'lines of { t, room, from, text }, may be gzipped; without one, generated lines')
  .option('--publishers <n>', 'publishing nodes', positiveNumber, 4)
  .option('--limit <n>', 'only the first n lines', positiveNumber)
  .action((file, options) => run(options.json, (output, signal) => demoImport(file, options, output, signal)))

await program.parseAsync()
