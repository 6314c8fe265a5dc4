import { isIP } from 'node:net'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { MAX_INVITATION_USES, publicKeyOf } from '../dht/index.ts'
import { collect, DAY_MS, duration, passphraseFlag, portNumber, wholeNumber } from '../node/program.ts'
import { type BridgeLimits, DEFAULT_BRIDGE_LIMITS } from './options.ts'
import { DEFAULT_RELAY_LIMITS, type RelayLimits } from './transports.ts'

/** The options of `sticky bridge` and `sticky start` that are more than a text. */

const DEFAULT_PORT = 8080
/** An empty PORT is none. */
const publicPort = (text: string): number => (text === '' ? DEFAULT_PORT : portNumber(text))

/** Options that both commands have. */
export const listenFlags = (command: Command): Command =>
  passphraseFlag(
    command
      .addOption(
        new Option('--port <n>', 'port to listen on').env('PORT').argParser(publicPort).default(DEFAULT_PORT),
      )
      .option('--host <address>', 'address to listen on; 0.0.0.0 or :: for all of this machine', '127.0.0.1'),
  )

function originOf(text: string, previous?: string[]): string[] {
  const isOrigin = URL.canParse(text) && new URL(text).origin === text && text !== 'null'
  if (text !== '*' && !isOrigin)
    throw new InvalidArgumentError('Expected an origin such as https://chat.example, with no path, or *.')
  return collect(text, previous)
}

function publicUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (
    url === undefined ||
    !/^https?:$/.test(url.protocol) ||
    url.pathname !== '/' ||
    url.search + url.hash !== ''
  )
    throw new InvalidArgumentError('Expected an address such as https://bridge.example, with no path.')
  return url.origin
}

function ipAddress(text: string, previous?: string[]): string[] {
  if (isIP(text) === 0) throw new InvalidArgumentError('Expected an IP address such as 10.0.0.2.')
  return collect(text, previous)
}

export function nodeId(text: string): string {
  try {
    publicKeyOf(text)
    return text
  } catch {
    throw new InvalidArgumentError('Expected a node id such as 12D3Koo….')
  }
}

function useCount(text: string): number {
  const uses = wholeNumber(text)
  if (uses > MAX_INVITATION_USES)
    throw new InvalidArgumentError(`Expected at most ${MAX_INVITATION_USES} uses, or 0 for any number.`)
  return uses
}

/** The options of `sticky bridge invite`. */
export const inviteFlags = (command: Command): Command =>
  passphraseFlag(
    command
      .option('--ttl <time>', 'until when it opens the door, e.g. 90m, 12h, 7d', duration(366), 7 * DAY_MS)
      .option('--uses <n>', 'how many nodes may come in by it; 0: any number', useCount, 1)
      .option(
        '--for <node id>',
        'the bridge it is for, where that is not the one of the data folder',
        nodeId,
      ),
  )

export interface Limits {
  limits: Partial<BridgeLimits>
  relay: Partial<RelayLimits>
}

function limit(text: string, previous: Limits): Limits {
  const [name = '', value = ''] = text.split('=', 2)
  const set = { [name]: wholeNumber(value) }
  if (Object.hasOwn(DEFAULT_BRIDGE_LIMITS, name))
    return { ...previous, limits: { ...previous.limits, ...set } }
  if (Object.hasOwn(DEFAULT_RELAY_LIMITS, name)) return { ...previous, relay: { ...previous.relay, ...set } }
  throw new InvalidArgumentError(`There is no limit ${name}. There are: ${LIMIT_NAMES.join(', ')}.`)
}

const LIMIT_NAMES = [...Object.keys(DEFAULT_BRIDGE_LIMITS), ...Object.keys(DEFAULT_RELAY_LIMITS)]

/** What only an operator of a bridge for others sets. */
export const operatorFlags = (command: Command): Command =>
  command
    .option(
      '--public-url <url>',
      'how clients reach it, e.g. https://bridge.example behind a TLS proxy',
      publicUrl,
    )
    .option('--allow-origin <origin>', 'a foreign page may use it too; repeatable, * for any', originOf)
    .option(
      '--invite-only',
      'admit only who shows an invitation (sticky bridge invite --ttl 7d --uses 1)',
      false,
    )
    .option(
      '--invite-issuer <node id>',
      'invitations of this node count too; repeatable',
      (text, previous?: string[]) => collect(nodeId(text), previous),
    )
    .option(
      '--trust-proxy <address>',
      'a proxy whose X-Forwarded-For tells the client’s address; repeatable',
      ipAddress,
    )
    .option('--public-metrics', '/metrics and /diagnostics for everybody, not for this machine only', false)
    .addOption(
      new Option('--limit <name=number>', `change a limit; repeatable: ${LIMIT_NAMES.join(', ')}`)
        .argParser(limit)
        .default({ limits: {}, relay: {} } satisfies Limits, 'see docs/operating.md'),
    )
