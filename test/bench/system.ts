import { type Resources, resourcesOf, type Traffic } from './usage.ts'

/** What the workloads know of a system: one adapter file each in `systems/`. */

export const SYSTEM_NAMES = ['ours', 'gossipsub', 'jetstream', 'redis'] as const
export type SystemName = (typeof SYSTEM_NAMES)[number]

export type History = 'none' | 'all' | { last: number }

/** One publisher or subscriber, in a process of clients. */
export interface Client {
  /** Where others may reach it, for systems without servers. */
  readonly address?: string
  /** Resolves with what the system promises of a publish. Topics are `space/name`, of a-z, 0-9 and hyphens. */
  publish(topic: string, line: string): Promise<void>
  /** Resolves once everything that is published from then on will come. */
  subscribe(topic: string, history: History, onLine: (line: string) => void): Promise<void>
  /** Before the first publish: resolves once it can reach so many subscribers, where subscribing does not promise that. */
  ready?(topic: string, subscribers: number): Promise<void>
  /** A request and its answer of 200 bytes over an open stream. */
  roundTrip?(): Promise<void>
  close(): Promise<void>
}

/** `place`: what `Network.place` says. `peers`: addresses of subscribers that are open already. */
export type Connect = (place: unknown, peers: readonly string[]) => Promise<Client>

export interface Usage {
  /** Sent over TCP by all processes, clients included. */
  wireBytes: number
  /** Written to files by all storing processes; undefined where the machine does not tell. */
  fileBytes?: number
  /** Pages of those that went to the disk. */
  diskBytes?: number
  /** Of each storing process. */
  memoryBytes: number[]
  cpuMs: number[]
}

/** A started system: its servers or nodes, in processes of their own. */
export interface Network {
  /** What a client's process needs to connect; can be sent between processes. */
  readonly place: unknown
  /** How many hold each message. */
  readonly replicas: number
  usage(clients: Traffic): Promise<Usage>
  /** Numbers that only this system has, by name. */
  counters?(): Promise<Record<string, number>>
  /** Writes a processor profile of each storing process while it works. `name`: how the files' paths begin. */
  profiled?<T>(name: string, work: () => Promise<T>): Promise<T>
  stop(): Promise<void>
}

export interface System {
  readonly name: SystemName
  readonly title: string
  readonly hasHistory: boolean
  /** A publish that resolved is lost by nobody: what is missing then is a defect. */
  readonly losesNothing: boolean
  /** What it promises here, and its version. */
  readonly note: string
  start(nodes: number): Promise<Network>
}

/** A system whose server is not installed: what to do about it. */
export interface Missing {
  readonly name: SystemName
  readonly missing: string
}

/** The part of it that the machine tells. `storageSentBytes`: what the storing processes wrote to sockets, not to files. */
export function usageOf(
  pids: readonly number[],
  { wireBytes, storageSentBytes }: { wireBytes: number; storageSentBytes: number },
): Usage {
  const all = pids.map(resourcesOf).filter((resources) => resources !== undefined)
  const usage: Usage = {
    wireBytes,
    memoryBytes: all.map(({ memoryBytes }) => memoryBytes),
    cpuMs: all.map(({ cpuMs }) => cpuMs),
  }
  if (all.length === 0 || all.length < pids.length) return usage
  const sum = (of: (resources: Resources) => number) => all.reduce((total, one) => total + of(one), 0)
  return {
    ...usage,
    fileBytes: sum(({ writtenBytes }) => writtenBytes) - storageSentBytes,
    diskBytes: sum(({ diskBytes }) => diskBytes),
  }
}
