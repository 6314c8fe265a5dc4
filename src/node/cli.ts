import { Command, InvalidArgumentError } from 'commander'
import type { HistoryRequest } from '../pubsub/index.ts'
import { history, inspect, publish, runNode, showIdentity, subscribe } from './commands.ts'
import { createOutput, EXIT, type Output, report } from './output.ts'

/** The arguments of `sticky`. src/bridge/cli.ts adds `bridge` and `start` and is the program that is installed. */

export type Action = (output: Output, signal: AbortSignal) => Promise<void>

/** Runs one command: the first Ctrl-C or SIGTERM shuts down cleanly, a second one at once. */
export async function run(json: boolean, action: Action): Promise<void> {
  const interrupted = new AbortController()
  const onSignal = () => {
    if (interrupted.signal.aborted) process.exit(EXIT.interrupted)
    interrupted.abort(new Error('interrupted'))
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  try {
    await action(createOutput(json), interrupted.signal)
    process.exitCode = EXIT.ok
  } catch (error) {
    process.exitCode = interrupted.signal.aborted ? EXIT.interrupted : report(error, json)
  } finally {
    process.off('SIGINT', onSignal)
    process.off('SIGTERM', onSignal)
  }
}

export const wholeNumber = (text: string): number => {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0)
    throw new InvalidArgumentError('Expected a whole number, 0 or more.')
  return value
}

function historyRequest(text: string): HistoryRequest {
  if (text === 'all' || text === 'none') return text
  return { last: wholeNumber(text) }
}

const DEFAULT_BRIDGE = 'http://127.0.0.1:8080'

/** Options every command has. */
export const common = (command: Command): Command =>
  command
    .option('--bridge <url>', 'the bridge to join through', process.env.STICKY_BRIDGE ?? DEFAULT_BRIDGE)
    .option('--data <dir>', 'data folder: identity and, for a node, records')
    .option(
      '--passphrase-file <file>',
      'file with the identity passphrase (else $STICKY_PASSPHRASE, else one is kept in the data folder)',
    )
    .option('--json', 'one JSON object a line', false)

export function createProgram(version: string): Command {
  const program = new Command('sticky')
    .description('Publish/subscribe topics with memory, without a server that owns them.')
    .version(version)
    .showHelpAfterError()
  common(program.command('node'))
    .description('hold topics for others: a durable node, until it is interrupted')
    .option('--listen <multiaddr>', 'libp2p address to listen on (default: a free loopback port)')
    .option(
      '--await-holders <n>',
      'be ready only when so many holders are known, itself included',
      wholeNumber,
      1,
    )
    .action((options) => run(options.json, (output, signal) => runNode(options, output, signal)))
  common(program.command('pub'))
    .description('publish a text, or each line of standard input')
    .argument('<topic>')
    .argument('[text]', 'the text, or - for the lines of standard input')
    .option('--as <name>', 'publish as a chat message of this name')
    .option('--from-json', 'each text is JSON', false)
    .option('--ttl <seconds>', 'time to live', wholeNumber)
    .action((topic, text, options) =>
      run(options.json, (output, signal) => publish(topic, text, options, output, signal)),
    )
  common(program.command('sub'))
    .description('print history and then live messages, until it is interrupted')
    .argument('<topic>')
    .option(
      '--history <all|none|n>',
      'what from before is printed: all, none, or the last n',
      historyRequest,
      'all',
    )
    .option('--count <n>', 'end after so many messages', wholeNumber)
    .option('--since <version>', 'only what was added after this version', wholeNumber)
    .option('--info <text>', 'a name that others see among the subscribers')
    .action((topic, options) =>
      run(options.json, (output, signal) => subscribe(topic, options, output, signal)),
    )
  common(program.command('history'))
    .description('print what is stored, oldest first')
    .argument('<topic>')
    .option('--last <n>', 'only the last n', wholeNumber)
    .action((topic, options) =>
      run(options.json, (output, signal) => history(topic, options, output, signal)),
    )
  common(program.command('inspect'))
    .description('coordinator, lineage, replicas and collections of a topic')
    .argument('<topic>')
    .action((topic, options) =>
      run(options.json, (output, signal) => inspect(topic, options, output, signal)),
    )
  common(program.command('identity'))
    .description('show the node id of a data folder; creates it on first use')
    .action((options) => run(options.json, (output) => showIdentity(options, output)))
  return program
}
