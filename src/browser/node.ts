import { startNetworkNode } from './network-node.ts'
import { type BrowserNode, createTabNode, type TabNodeOptions } from './tab-node.ts'

export type { BrowserNode } from './tab-node.ts'

export interface BrowserNodeOptions extends TabNodeOptions {
  /** Default: the browser's own. Tests pass { iceServers: [] }. */
  rtcConfiguration?: RTCConfiguration
}

/**
 * Resolves when the node is open, in this tab or another one, whether or not the network can be reached. Rejects with
 * what no retry cures: UNSUPPORTED_PLATFORM, STORAGE_FAILED, IDENTITY_UNREADABLE, UNKNOWN_VERSION, ABORTED; or with BUSY, where
 * the page is open in too many tabs.
 */
export const createBrowserNode = ({
  rtcConfiguration,
  ...options
}: BrowserNodeOptions): Promise<BrowserNode> =>
  createTabNode(options, (init) =>
    startNetworkNode({ ...init, ...(rtcConfiguration ? { rtcConfiguration } : {}) }),
  )
