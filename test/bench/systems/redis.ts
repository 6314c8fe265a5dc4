import { removeFolder, temporaryFolder } from '../children.ts'
import { type Reply, RespClient } from '../resp.ts'
import { findProgram, freePort, howToInstall, startServer, versionOf } from '../servers.ts'
import { type Client, type History, type Missing, type System, usageOf } from '../system.ts'

const PROGRAM = 'redis-server'
const VARIABLE = 'REDIS_SERVER'
/** Entries that one read may bring. */
const READ_COUNT = 1_000

export function redis(): System | Missing {
  const program = findProgram(PROGRAM, VARIABLE)
  if (program === undefined) return { name: 'redis', missing: howToInstall(PROGRAM, VARIABLE) }
  return {
    name: 'redis',
    title: 'Redis Streams',
    hasHistory: true,
    losesNothing: true,
    note: `redis-server ${versionOf(program)}, one server: appendonly yes, appendfsync always`,
    start: () => start(program),
  }
}

async function start(program: string) {
  const folder = await temporaryFolder()
  const port = await freePort()
  const options = { bind: '127.0.0.1', port, dir: folder, appendonly: 'yes', appendfsync: 'always', save: '' }
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])
  const server = await startServer(program, args, async () => (await RespClient.connect(port)).close())
  return {
    place: port,
    replicas: 1,
    // all its connections end in processes of clients: what they received is what it sent
    usage: async ({ sentBytes, receivedBytes }: { sentBytes: number; receivedBytes: number }) =>
      usageOf([server.pid], { wireBytes: sentBytes + receivedBytes, storageSentBytes: receivedBytes }),
    stop: async () => {
      await server.stop()
      await removeFolder(folder)
    },
  }
}

export async function connect(place: unknown): Promise<Client> {
  const commands = await RespClient.connect(place as number)
  let reader: StreamReader | undefined
  return {
    async publish(topic, line) {
      await commands.command('XADD', topic, '*', 'line', line)
    },
    async subscribe(topic, history, onLine) {
      const from = await startOf(commands, topic, history)
      reader ??= await StreamReader.open(place as number, commands)
      await reader.add(topic, from, onLine)
    },
    async close() {
      reader?.close()
      commands.close()
    },
  }
}

type Entry = [id: string, fields: string[]]

/** The entry after which to read. */
async function startOf(commands: RespClient, topic: string, history: History): Promise<string> {
  if (history === 'all') return '0-0'
  const before = history === 'none' ? 0 : history.last
  const entries = (await commands.command('XREVRANGE', topic, '+', '-', 'COUNT', before + 1)) as Entry[]
  return entries[before]?.[0] ?? '0-0'
}

/** One connection that waits for the next entries of all the streams of a client. */
class StreamReader {
  readonly #connection: RespClient
  readonly #commands: RespClient
  readonly #id: Reply
  readonly #streams = new Map<string, { after: string; onLine: (line: string) => void }>()
  /** Streams that the read under way waits for. */
  #waitingFor = 0
  #closed = false

  private constructor(connection: RespClient, commands: RespClient, id: Reply) {
    this.#connection = connection
    this.#commands = commands
    this.#id = id
  }

  static async open(port: number, commands: RespClient): Promise<StreamReader> {
    const connection = await RespClient.connect(port)
    return new StreamReader(connection, commands, await connection.command('CLIENT', 'ID'))
  }

  async add(topic: string, after: string, onLine: (line: string) => void): Promise<void> {
    this.#streams.set(topic, { after, onLine })
    if (this.#streams.size === 1) void this.#run()
    // a read under way does not know of it: it is ended, and again where it had not reached the server yet
    while (!this.#closed && this.#waitingFor < this.#streams.size)
      await this.#commands.command('CLIENT', 'UNBLOCK', this.#id as number)
  }

  close(): void {
    this.#closed = true
    this.#connection.close()
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      const topics = [...this.#streams.keys()]
      const after = topics.map((topic) => this.#streams.get(topic)?.after as string)
      this.#waitingFor = topics.length
      const reply = await this.#connection
        .command('XREAD', 'COUNT', READ_COUNT, 'BLOCK', 0, 'STREAMS', ...topics, ...after)
        .catch((error: unknown) => {
          if (this.#closed) return null
          throw error
        })
      for (const [topic, entries] of (reply ?? []) as [string, Entry[]][]) this.#deliver(topic, entries)
    }
  }

  #deliver(topic: string, entries: Entry[]): void {
    const stream = this.#streams.get(topic)
    if (stream === undefined) return
    for (const [id, [, line]] of entries) {
      stream.after = id
      stream.onLine(line as string)
    }
  }
}
