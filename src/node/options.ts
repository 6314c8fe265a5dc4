import { homedir } from 'node:os'
import { join } from 'node:path'

/** Options that several commands share. */

export interface DataOptions {
  /** Data folder; without one the command's own below `defaultDataFolder`. */
  data?: string
  passphraseFile?: string
}

export interface CommonOptions extends DataOptions {
  bridge: string
  /** File with an invitation to that bridge; `-` for standard input. */
  invitation?: string
}

/** $XDG_DATA_HOME/sticky-pubsub, or ~/.local/share/sticky-pubsub. */
export const defaultDataFolder = (): string =>
  join(process.env.XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'sticky-pubsub')

export const dataFolder = ({ data }: DataOptions, name: 'node' | 'client' | 'bridge'): string =>
  data || join(defaultDataFolder(), name)
