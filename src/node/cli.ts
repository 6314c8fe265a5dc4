import { Command, InvalidArgumentError, Option } from 'commander'
import type { HistoryRequest } from '../pubsub/index.ts'
import { exportToFile, importFromFile } from './backup.ts'
import { history, inspect, publish, runNode, showIdentity, subscribe } from './commands.ts'
import { EXIT } from './output.ts'
import { run } from './run.ts'

/** The arguments of `sticky`. src/bridge/cli.ts adds `bridge` and `start` and is the program that is installed. */

export const wholeNumber = (text: string): number => {
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError('Expected a whole number, 0 or more.')
  return value
}

export const positiveNumber = (text: string): number => {
  const value = wholeNumber(text)
  if (value === 0) throw new InvalidArgumentError('Expected a whole number, 1 or more.')
  return value
}

export const DAY_MS = 86_400_000
const UNIT_MS = { s: 1_000, m: 60_000, h: 3_600_000, d: DAY_MS }

/** 90m, 12h, 7d: in milliseconds; 0 for what is none. */
function durationMs(text: string): number {
  const [, count = '', unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  return Number(count) * (UNIT_MS[unit as keyof typeof UNIT_MS] ?? 0)
}

export const duration =
  (maxDays: number) =>
  (text: string): number => {
    const ms = durationMs(text)
    if (ms === 0 || ms > maxDays * DAY_MS)
      throw new InvalidArgumentError(`Expected a time such as 90m, 12h or 7d, of at most ${maxDays}d.`)
    return ms
  }

const MOMENT = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?)(Z|[+-]\d\d:\d\d)?)?$/

/** A moment, or one so long ago, in ms since 1970. Without a zone it is UTC, as the times are that are printed. */
export function momentMs(text: string): number {
  const [, day, time = '00:00', zone = 'Z'] = MOMENT.exec(text) ?? []
  const agoMs = durationMs(text)
  if (agoMs > 0) return Date.now() - agoMs
  const ms = Date.parse(`${day}T${time}${zone}`)
  if (Number.isNaN(ms))
    throw new InvalidArgumentError(
      'Expected a time such as 2026-11-23, 2026-11-23T10:00Z, or how long ago: 10m, 2h, 7d.',
    )
  return ms
}

export const MAX_PORT = 65_535

export function portNumber(text: string): number {
  const port = wholeNumber(text)
  if (port > MAX_PORT)
    throw new InvalidArgumentError(`Expected a port, at most ${MAX_PORT}; 0 is any free one.`)
  return port
}

/** For an option that may be given several times. */
export const collect = (value: string, previous: string[] = []): string[] => [...previous, value]

function historyRequest(text: string): HistoryRequest {
  if (text === 'all' || text === 'none') return text
  return { last: positiveNumber(text) }
}

const DEFAULT_BRIDGE = 'http://127.0.0.1:8080'

export const jsonFlag = (command: Command): Command =>
  command.option('--json', 'one JSON object a line', false)

export const passphraseFlag = (command: Command): Command =>
  command.option(
    '--passphrase-file <file>',
    'file with the identity passphrase (else $STICKY_PASSPHRASE, else one is kept in the data folder)',
  )

const bridgeFlag = (command: Command): Command =>
  command
    .option('--bridge <url>', 'the bridge to join through', process.env.STICKY_BRIDGE || DEFAULT_BRIDGE)
    .option(
      '--invitation <file>',
      'file with an invitation to that bridge, - for standard input (else $STICKY_INVITATION)',
    )

const dataFlags = (command: Command): Command =>
  passphraseFlag(command.option('--data <dir>', 'data folder: identity and, for a node, records'))

/** Options of the commands that join with an identity of their own. */
const withFolder = (command: Command): Command => jsonFlag(dataFlags(bridgeFlag(command)))

/** Options of the commands that only read. They take those of a data folder too, so that all commands are typed alike. */
export const readOnly = (command: Command): Command =>
  jsonFlag(
    bridgeFlag(command)
      .option('--data <dir>', 'not used: this command is a new peer each time')
      .addOption(new Option('--passphrase-file <file>').hideHelp()),
  )

export function createProgram(version: string): Command {
  const program = new Command('sticky')
    .description('Publish/subscribe topics with memory, without a server that owns them.')
    .version(version)
    .showHelpAfterError('(--help lists what there is)')
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? EXIT.ok : EXIT.usage))
  addNode(program)
  addTopicCommands(program)
  addIdentity(program)
  return program
}

function addNode(program: Command): void {
  withFolder(program.command('node'))
    .description('hold topics for others: a durable node, until it is interrupted')
    .option(
      '--listen <multiaddr>',
      'libp2p address to listen on, such as /ip4/0.0.0.0/tcp/4001/ws; repeatable (default: a free port, of this machine alone where the bridge is on it)',
      collect,
    )
    .option(
      '--announce <multiaddr>',
      'told to others instead of what it listens on, such as /dns4/node.example/tcp/443/wss; repeatable',
      collect,
    )
    .option(
      '--await-holders <n>',
      'be ready only when so many holders are known, itself included',
      wholeNumber,
      1,
    )
    .option(
      '--metrics-port <n>',
      'serve /metrics, /diagnostics and /health on this port of 127.0.0.1; 0 is any free one',
      portNumber,
    )
    .action((options) =>
      run(options.json, (output, signal) => runNode(options, output, signal), { serves: true }),
    )
}

function addTopicCommands(program: Command): void {
  withFolder(program.command('pub'))
    .description('publish a text, or each line of standard input')
    .argument('<topic>')
    .argument('[text]', 'the text, or - for the lines of standard input')
    .option('--as <name>', 'publish as a chat message of this name')
    .option('--from-json', 'each text is JSON', false)
    .option(
      '--ttl <time>',
      'how long it is kept, e.g. 90m, 12h, 7d; at most 30d (default: 24h)',
      duration(30),
    )
    .action((topic, text, options) =>
      run(options.json, (output, signal) => publish(topic, text, options, output, signal)),
    )
  readOnly(program.command('sub'))
    .description('print history and then live messages, until it is interrupted')
    .argument('<topic>')
    .option(
      '--history <all|none|n>',
      'what from before is printed: all, none, or the last n',
      historyRequest,
      'all',
    )
    .option('--count <n>', 'end after so many messages', positiveNumber)
    .addOption(
      new Option(
        '--since <time>',
        'only what was published at this time or later: 2026-11-23T10:00Z, or 10m, 2h, 7d ago',
      )
        .argParser(momentMs)
        .conflicts('history'),
    )
    .addOption(
      new Option('--last-seen-version <n>', 'only what was added after this version of the topic')
        .argParser(wholeNumber)
        .conflicts(['history', 'since']),
    )
    .option('--info <text>', 'a name that others see among the subscribers')
    .action((topic, options) =>
      run(options.json, (output, signal) => subscribe(topic, options, output, signal)),
    )
  readOnly(program.command('history'))
    .description('print what is stored, oldest first')
    .argument('<topic>')
    .option('--last <n>', 'only the last n', positiveNumber)
    .action((topic, options) =>
      run(options.json, (output, signal) => history(topic, options, output, signal)),
    )
  readOnly(program.command('inspect'))
    .description('coordinator, lineage, replicas and collections of a topic')
    .argument('<topic>')
    .action((topic, options) =>
      run(options.json, (output, signal) => inspect(topic, options, output, signal)),
    )
}

function addIdentity(program: Command): void {
  const identity = program
    .command('identity')
    .description('show the node id of a data folder, back it up, or bring one back')
  const own = (command: Command) => jsonFlag(dataFlags(command))
  const backup = (command: Command) =>
    own(command)
      .option(
        '--backup-passphrase-file <file>',
        'file with the passphrase of the backup (else $STICKY_BACKUP_PASSPHRASE)',
      )
      .option('--force', 'replace what is there', false)
  own(identity.command('show', { isDefault: true }))
    .description('show the node id of a data folder; creates it on first use')
    .addOption(new Option('--bridge <url>').hideHelp()) // needed for nothing here, but typed by habit
    .action((options) => run(options.json, (output) => showIdentity(options, output)))
  backup(identity.command('export'))
    .description('write the identity to a file that opens with a passphrase of its own')
    .argument('<file>')
    .action((file, options) => run(options.json, (output) => exportToFile(file, options, output)))
  backup(identity.command('import'))
    .description('put the identity of such a file, or of a browser’s backup, into a data folder')
    .argument('<file>')
    .action((file, options) => run(options.json, (output) => importFromFile(file, options, output)))
}
