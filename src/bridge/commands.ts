import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { issueInvitation, readInvitation, StickyError } from '../dht/index.ts'
import {
  hasIdentity,
  identityFileOf,
  loadOrCreateIdentity,
  type Output,
  resolvePassphrase,
  untilAborted,
} from '../node/program.ts'
import { type Bridge, type BridgeOptions, startBridge } from './bridge.ts'
import type { Limits } from './flags.ts'

/** `sticky bridge`, and the bridge of `sticky start`. */

export interface BridgeIn extends Omit<BridgeOptions, 'seed' | 'webRoot' | 'directory'> {
  directory: string
  passphraseFile?: string
  webRoot: string
}

/** A bridge whose identity is kept in `directory`. */
export async function startBridgeIn({
  directory,
  passphraseFile,
  webRoot,
  ...options
}: BridgeIn): Promise<Bridge> {
  const passphrase = await resolvePassphrase({ directory, ...(passphraseFile ? { passphraseFile } : {}) })
  const { seed } = await loadOrCreateIdentity({ directory, passphrase })
  return startBridge({
    ...options,
    directory,
    seed,
    ...(hasChat(webRoot) ? { webRoot } : {}),
  })
}

/** A package has it; in a clone it is there once it was built. */
export const hasChat = (webRoot: string): boolean => existsSync(join(webRoot, 'index.html'))

export function tellNoChat(webRoot: string, output: Output): void {
  if (!hasChat(webRoot))
    output.note('the chat is not built, so there is no page here: npm run build in a clone makes it')
}

export interface BridgeCommand {
  port: number
  host: string
  data: string
  webRoot: string
  passphraseFile?: string
  publicUrl?: string
  allowOrigin?: string[]
  trustProxy?: string[]
  inviteOnly: boolean
  inviteIssuer?: string[]
  publicMetrics: boolean
  limit: Limits
}

export async function runBridge(options: BridgeCommand, output: Output, signal: AbortSignal): Promise<void> {
  const { data, port, host, webRoot, passphraseFile, publicUrl, allowOrigin, publicMetrics, limit } = options
  const { inviteOnly, inviteIssuer, trustProxy } = options
  const bridge = await startBridgeIn({
    directory: data,
    port,
    host,
    webRoot,
    publicMetrics,
    inviteOnly,
    ...limit,
    ...(inviteIssuer ? { inviteIssuers: inviteIssuer } : {}),
    ...(trustProxy ? { trustedProxies: trustProxy } : {}),
    ...(passphraseFile ? { passphraseFile } : {}),
    ...(publicUrl ? { publicUrl } : {}),
    ...(allowOrigin ? { allowedOrigins: allowOrigin } : {}),
  })
  try {
    tellOtherMachines(bridge, output)
    tellNoChat(webRoot, output)
    output.result(
      {
        event: 'ready',
        url: bridge.url,
        lanUrls: bridge.lanUrls,
        relay: bridge.address,
        nodeId: bridge.nodeId,
      },
      `relay ${bridge.address}\nready: ${bridge.url}`,
    )
    await untilAborted(signal)
  } finally {
    await bridge.close()
  }
}

export interface InviteCommand {
  data: string
  passphraseFile?: string
  ttl: number
  uses: number
  for?: string
}

/** `sticky bridge invite`: the invitation on standard output, alone, and what it is on standard error. */
export async function invite(options: InviteCommand, output: Output): Promise<void> {
  const { data: directory, passphraseFile, ttl, uses } = options
  // an identity made here would be that of a bridge that nobody runs
  if (!hasIdentity(directory))
    throw new StickyError(
      'IDENTITY_UNREADABLE',
      `There is no ${identityFileOf(directory)}. Start the bridge once, or name its folder with --data.`,
    )
  const passphrase = await resolvePassphrase({ directory, ...(passphraseFile ? { passphraseFile } : {}) })
  const { identity } = await loadOrCreateIdentity({ directory, passphrase })
  const audience = options.for ?? identity.nodeId
  const invitation = await issueInvitation({ issuer: identity, audience, ttlMs: ttl, uses })
  const { expiresAt } = readInvitation(invitation)
  const until = new Date(expiresAt).toISOString()
  output.result(
    { event: 'invited', invitation, bridge: audience, issuer: identity.nodeId, expiresAt, uses },
    invitation,
  )
  output.note(
    `for ${uses === 0 ? 'any number of nodes' : uses === 1 ? 'one node' : `${uses} nodes`} at bridge ${audience}, until ${until}; whoever has this text can come in`,
  )
}

export function tellOtherMachines({ lanUrls }: Bridge, output: Output): void {
  if (lanUrls.length > 0)
    output.note(
      `terminals on other machines join with --bridge ${lanUrls.join(' or ')}; browsers there need https, see docs/operating.md`,
    )
}
