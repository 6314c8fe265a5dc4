import { spawnSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  DeliverPolicy,
  jetstream,
  jetstreamManager,
  type OrderedPushConsumerOptions,
} from '@nats-io/jetstream'
import { connect as connectNats } from '@nats-io/transport-node'
import { removeFolder, temporaryFolder } from '../children.ts'
import { findProgram, freePort, howToInstall, startServer, versionOf } from '../servers.ts'
import { type Client, type History, type Missing, type System, usageOf } from '../system.ts'

const PROGRAM = 'nats-server'
const VARIABLE = 'NATS_SERVER'

/** Servers before 2.10 refuse the setting and have no other for it. */
const configuration = (folder: string, flushesEach: boolean) =>
  `jetstream {\n  store_dir: "${folder}"\n${flushesEach ? '  sync_interval: always\n' : ''}}\n`

export function nats(): System | Missing {
  const program = findProgram(PROGRAM, VARIABLE)
  if (program === undefined) return { name: 'jetstream', missing: howToInstall(PROGRAM, VARIABLE) }
  const version = versionOf(program)
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const flushesEach = major > 2 || (major === 2 && minor >= 10)
  const disk = flushesEach ? 'sync_interval: always' : 'NOT flushed for each message, which needs 2.10'
  return {
    name: 'jetstream',
    title: 'NATS JetStream',
    hasHistory: true,
    losesNothing: true,
    note: `nats-server ${version}, one server: file storage, ${disk}`,
    start: () => start(program, flushesEach),
  }
}

async function start(program: string, flushesEach: boolean) {
  const folder = await temporaryFolder()
  const port = await freePort()
  const file = join(folder, 'nats.conf')
  await writeFile(file, configuration(join(folder, 'store'), flushesEach))
  const checked = spawnSync(program, ['-t', '-c', file], { encoding: 'utf8' })
  if (checked.status !== 0) throw new Error(`${program} refuses its settings: ${checked.stderr}`)
  const args = ['-c', file, '-a', '127.0.0.1', '-p', String(port)]
  const server = await startServer(program, args, async () => {
    const connection = await connectNats({ port, reconnect: false })
    await connection.close()
  })
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

const subjectOf = (topic: string): string => topic.replaceAll('/', '.')
/** One stream for the topics of a space, each topic a subject of it: how JetStream is meant to carry many topics. */
const spaceOf = (topic: string): string => topic.slice(0, topic.indexOf('/'))

export async function connect(place: unknown): Promise<Client> {
  const connection = await connectNats({ port: place as number, reconnect: false })
  const manager = await jetstreamManager(connection)
  const streams = jetstream(connection)
  const known = new Map<string, Promise<unknown>>()
  const open = async (space: string) => {
    const opened = known.get(space) ?? manager.streams.add({ name: space, subjects: [`${space}.>`] })
    known.set(space, opened)
    await opened
  }
  const optionsOf = async (topic: string, history: History): Promise<Partial<OrderedPushConsumerOptions>> => {
    const filter = { filter_subjects: subjectOf(topic) }
    if (history === 'all') return { ...filter, deliver_policy: DeliverPolicy.All }
    if (history === 'none') return { ...filter, deliver_policy: DeliverPolicy.New }
    const { state } = await manager.streams.info(spaceOf(topic))
    // right where the topic is the only one of its space, as it is wherever this is measured
    const opt_start_seq = Math.max(1, state.last_seq - history.last + 1)
    return { ...filter, deliver_policy: DeliverPolicy.StartSequence, opt_start_seq }
  }
  return {
    async publish(topic, line) {
      await open(spaceOf(topic))
      await streams.publish(subjectOf(topic), line, { timeout: 60_000 })
    },
    async subscribe(topic, history, onLine) {
      await open(spaceOf(topic))
      const consumer = await streams.consumers.getPushConsumer(
        spaceOf(topic),
        await optionsOf(topic, history),
      )
      await consumer.consume({ callback: (message) => onLine(message.string()) })
    },
    close: () => connection.close(),
  }
}
