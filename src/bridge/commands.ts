import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { loadOrCreateIdentity, type Output, resolvePassphrase, untilAborted } from '../node/index.ts'
import { type Bridge, type BridgeOptions, startBridge } from './bridge.ts'
import type { Limits } from './flags.ts'

/** `sticky bridge`, and the bridge of `sticky start`. */

export interface BridgeIn extends Omit<BridgeOptions, 'seed' | 'webRoot'> {
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
    seed,
    ...(existsSync(join(webRoot, 'index.html')) ? { webRoot } : {}),
  })
}

export interface BridgeCommand {
  port: number
  host: string
  data: string
  webRoot: string
  passphraseFile?: string
  publicUrl?: string
  allowOrigin?: string[]
  publicMetrics: boolean
  limit: Limits
}

export async function runBridge(options: BridgeCommand, output: Output, signal: AbortSignal): Promise<void> {
  const { data, port, host, webRoot, passphraseFile, publicUrl, allowOrigin, publicMetrics, limit } = options
  const bridge = await startBridgeIn({
    directory: data,
    port,
    host,
    webRoot,
    publicMetrics,
    ...limit,
    ...(passphraseFile ? { passphraseFile } : {}),
    ...(publicUrl ? { publicUrl } : {}),
    ...(allowOrigin ? { allowedOrigins: allowOrigin } : {}),
  })
  try {
    tellOtherMachines(bridge, output)
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

export function tellOtherMachines({ lanUrls }: Bridge, output: Output): void {
  if (lanUrls.length > 0)
    output.note(
      `terminals on other machines join with --bridge ${lanUrls.join(' or ')}; browsers there need https, see docs/operating.md`,
    )
}
