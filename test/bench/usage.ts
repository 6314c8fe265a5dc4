import { subscribe } from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'

/** What a process sent, wrote and used. */

export interface Traffic {
  sentBytes: number
  receivedBytes: number
}

/** Counts the bytes of all TCP sockets of this process from now on, whichever package opens them. */
export function countTraffic(): () => Traffic {
  const open = new Set<Socket>()
  const closed: Traffic = { sentBytes: 0, receivedBytes: 0 }
  const add = (sum: Traffic, socket: Socket) => {
    sum.sentBytes += socket.bytesWritten
    sum.receivedBytes += socket.bytesRead
  }
  const onSocket = (message: unknown) => {
    const { socket } = message as { socket: Socket }
    open.add(socket)
    socket.once('close', () => {
      open.delete(socket)
      add(closed, socket)
    })
  }
  subscribe('net.client.socket', onSocket)
  subscribe('net.server.socket', onSocket)
  return () => {
    const sum = { ...closed }
    for (const socket of open) add(sum, socket)
    return sum
  }
}

export interface Resources {
  /** Given to the system in `write` calls, sockets included. */
  writtenBytes: number
  /** Pages that the system handed to the disk. */
  diskBytes: number
  memoryBytes: number
  cpuMs: number
}

/** Linux tells; elsewhere undefined, and what depends on it is not measured. */
export function resourcesOf(pid: number): Resources | undefined {
  try {
    const io = readFileSync(`/proc/${pid}/io`, 'latin1')
    const status = readFileSync(`/proc/${pid}/status`, 'latin1')
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // after the name, which may hold spaces: state is field 3, utime and stime 14 and 15, in hundredths of a second
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return {
      writtenBytes: numberAfter(io, 'wchar:'),
      diskBytes: numberAfter(io, '\nwrite_bytes:'),
      memoryBytes: numberAfter(status, 'VmRSS:') * 1_024,
      cpuMs: (Number(fields[11]) + Number(fields[12])) * 10,
    }
  } catch {
    return undefined
  }
}

const numberAfter = (text: string, name: string): number =>
  Number.parseInt(text.slice(text.indexOf(name) + name.length), 10)
