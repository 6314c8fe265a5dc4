import { connect, type Socket } from 'node:net'

/** A client of Redis: commands out, replies in the same order back. RESP 2, the part that streams need. */

export type Reply = string | number | null | Reply[]

/** A reply of the kind error. */
export class RedisError extends Error {}

interface Waiting {
  resolve: (reply: Reply) => void
  reject: (error: Error) => void
}

export class RespClient {
  readonly #socket: Socket
  readonly #waiting: Waiting[] = []
  #unread: Buffer = Buffer.alloc(0)
  #closed: Error | undefined

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setNoDelay(true)
    socket.on('data', (chunk) => this.#onData(chunk as Buffer))
    socket.on('error', (error) => this.#onClosed(error))
    socket.on('close', () => this.#onClosed(new Error('The connection to Redis is closed.')))
  }

  static connect(port: number, host = '127.0.0.1'): Promise<RespClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, host)
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.off('error', reject)
        resolve(new RespClient(socket))
      })
    })
  }

  command(...words: (string | number)[]): Promise<Reply> {
    if (this.#closed) return Promise.reject(this.#closed)
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.#socket.write(encodeCommand(words))
    })
  }

  close(): void {
    this.#onClosed(new Error('The connection to Redis is closed.'))
    this.#socket.destroy()
  }

  #onData(chunk: Buffer): void {
    this.#unread = this.#unread.byteLength === 0 ? chunk : Buffer.concat([this.#unread, chunk])
    let at = 0
    while (at < this.#unread.byteLength) {
      const read = readReply(this.#unread, at)
      if (read === undefined) break
      at = read.end
      const waiting = this.#waiting.shift()
      if (read.value instanceof RedisError) waiting?.reject(read.value)
      else waiting?.resolve(read.value)
    }
    this.#unread = this.#unread.subarray(at)
  }

  #onClosed(error: Error): void {
    this.#closed ??= error
    for (const { reject } of this.#waiting.splice(0)) reject(error)
  }
}

export function encodeCommand(words: readonly (string | number)[]): string {
  const parts = words.map((word) => `$${Buffer.byteLength(String(word))}\r\n${word}\r\n`)
  return `*${words.length}\r\n${parts.join('')}`
}

interface Read {
  value: Reply | RedisError
  end: number
}

/** The reply that begins at `at`, or undefined while it is not there whole. */
export function readReply(bytes: Buffer, at: number): Read | undefined {
  const lineEnd = bytes.indexOf('\r\n', at, 'latin1')
  if (lineEnd < 0) return undefined
  const line = bytes.toString('utf8', at + 1, lineEnd)
  const after = lineEnd + 2
  switch (String.fromCharCode(bytes[at] as number)) {
    case '+':
      return { value: line, end: after }
    case '-':
      return { value: new RedisError(line), end: after }
    case ':':
      return { value: Number(line), end: after }
    case '$':
      return readBulk(bytes, after, Number(line))
    case '*':
      return readArray(bytes, after, Number(line))
    default:
      throw new RedisError(`A reply that begins with byte ${bytes[at]}.`)
  }
}

function readBulk(bytes: Buffer, at: number, length: number): Read | undefined {
  if (length < 0) return { value: null, end: at }
  const end = at + length + 2
  return end > bytes.byteLength ? undefined : { value: bytes.toString('utf8', at, end - 2), end }
}

function readArray(bytes: Buffer, at: number, length: number): Read | undefined {
  if (length < 0) return { value: null, end: at }
  const value: Reply[] = []
  let end = at
  for (let i = 0; i < length; i++) {
    const read = readReply(bytes, end)
    if (read === undefined) return undefined
    if (read.value instanceof RedisError) throw read.value
    value.push(read.value)
    end = read.end
  }
  return { value, end }
}
