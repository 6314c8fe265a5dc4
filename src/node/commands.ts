import { createInterface } from 'node:readline'
import { asStickyError, atMost, StickyError, systemRuntime } from '../dht/index.ts'
import type { Data, HistoryRequest, Message, Subscription } from '../pubsub/index.ts'
import { type DiagnosticsServer, serveDiagnostics } from './diagnostics-server.ts'
import { HealthLog } from './health-log.ts'
import { type HealthOptions, HealthWatch, healthSource } from './health-watch.ts'
import { loadOrCreateIdentity } from './identity-store.ts'
import { resolveInvitation } from './invitation.ts'
import { createNode, type StickyNode } from './node.ts'
import { type CommonOptions, type DataOptions, dataFolder } from './options.ts'
import { messageLine, type Output, oneLine, printable } from './output.ts'
import { resolvePassphrase } from './passphrase.ts'

/** One function per command; cli.ts reads the arguments. Each resolves when it is done and rejects with a StickyError. */

const passphraseFor = (directory: string, options: DataOptions): Promise<string> =>
  resolvePassphrase({
    directory,
    ...(options.passphraseFile ? { passphraseFile: options.passphraseFile } : {}),
  })

async function openNode(
  options: CommonOptions,
  role: 'durable' | 'client',
  directory: string | undefined,
  output: Output,
  signal: AbortSignal,
  addresses: { listen?: string[]; announce?: string[] } = {},
): Promise<StickyNode> {
  const invitation = await resolveInvitation(options.invitation, signal)
  const node = await createNode({
    role,
    signal,
    ...(invitation === undefined ? {} : { invitation }),
    ...(options.bridge === '' ? {} : { bridgeUrl: options.bridge }),
    ...(directory === undefined ? {} : { directory, passphrase: await passphraseFor(directory, options) }),
    ...addresses,
  })
  if (node.bridgeProblem !== undefined)
    output.note(
      `-- ${node.bridgeProblem.message} Joined through nodes known from before; it is asked again. --`,
    )
  return node
}

/** Between looks for the holders that a node waits for. */
const AWAIT_HOLDERS_MS = 100

export const untilAborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })

/** Judges the node all the time, and tells who runs it. */
function watchHealth(
  { pubsub }: StickyNode,
  output: Output,
  { betweenLinesMs, ...options }: Partial<HealthOptions> & { betweenLinesMs?: number },
): HealthWatch {
  const log = new HealthLog(output, betweenLinesMs)
  return new HealthWatch(healthSource(pubsub), options, (reading) =>
    log.see(reading, systemRuntime.monotonicNow()),
  )
}

/** A holder of topics, until it is interrupted. */
export async function runNode(
  options: CommonOptions & {
    listen?: string[]
    announce?: string[]
    awaitHolders: number
    metricsPort?: number
  },
  output: Output,
  signal: AbortSignal,
  health: Parameters<typeof watchHealth>[2] = {},
): Promise<void> {
  const directory = dataFolder(options, 'node')
  const { listen, announce, metricsPort: port } = options
  const node = await openNode(options, 'durable', directory, output, signal, {
    ...(listen ? { listen } : {}),
    ...(announce ? { announce } : {}),
  })
  const watch = watchHealth(node, output, health)
  let metrics: DiagnosticsServer | undefined
  try {
    const served = { read: () => node.pubsub.diagnostics(), health: () => watch.reading }
    if (port !== undefined) metrics = await serveDiagnostics({ port, ...served })
    for (;;) {
      // a look-up that took too long found too few
      const holders = await node.knownHolders().catch(() => 0)
      if (signal.aborted) return
      if (holders >= options.awaitHolders) break
      output.progress(`${holders} of ${options.awaitHolders} holders known …`)
      await new Promise((resolve) => setTimeout(resolve, AWAIT_HOLDERS_MS))
    }
    tellReady(node, directory, metrics, output)
    await untilAborted(signal)
    const counters = node.pubsub.counters()
    const told = `stopped after ${counters.commits?.commits ?? 0} commits and ${counters.merges} merges`
    output.result({ event: 'stopped', counters }, told)
  } finally {
    watch.close()
    await metrics?.close()
    await node.close()
  }
}

function tellReady(
  { nodeId, addresses, bridgeProblem }: StickyNode,
  data: string,
  metrics: DiagnosticsServer | undefined,
  output: Output,
): void {
  output.result(
    {
      ...{ event: 'ready', nodeId, addresses, data },
      ...(metrics ? { metrics: metrics.url } : {}),
      ...(bridgeProblem ? { bridgeProblem: bridgeProblem.code } : {}),
    },
    [
      ...[`node ${nodeId}`, `data ${data}`, ...addresses.map((one) => `address ${one}`)],
      ...(metrics ? [`metrics ${metrics.url}/metrics`] : []),
      'ready',
    ].join('\n'),
  )
}

/** Publishes `text`, or every line of standard input when it is absent or '-'. */
export async function publish(
  topic: string,
  text: string | undefined,
  options: CommonOptions & { as?: string; ttl?: number; fromJson: boolean },
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  if (options.invitation === '-' && (text === undefined || text === '-'))
    throw new StickyError(
      'INVALID_DATA',
      'Standard input cannot be both the invitation and the lines to publish. Put the invitation in a file.',
    )
  const directory = dataFolder(options, 'client')
  const toData = (line: string): Data => {
    if (options.fromJson) return parseJson(line)
    return options.as === undefined ? line : { kind: 'chat', name: options.as, text: line }
  }
  const publishOptions = { signal, ...(options.ttl === undefined ? {} : { ttlMs: options.ttl }) }
  const node = await openNode(options, 'client', directory, output, signal)
  try {
    const send = async (line: string) => {
      const data = toData(line)
      const receipt = await node.pubsub.publish(topic, data, publishOptions)
      const { sequence, replicas, durableReplicas } = receipt
      output.result(
        { ...receipt, publisher: node.nodeId, topic, data },
        `stored ${receipt.id} as ${sequence} at ${replicas} replicas (${durableReplicas} on disk)`,
      )
    }
    if (text !== undefined && text !== '-') return await send(text)
    await sendLines(send, output, signal)
  } finally {
    await node.close()
  }
}

/** Lines under way at once from standard input: enough for group commits, little enough to bound memory. */
const MAX_LINES_IN_FLIGHT = 256

async function sendLines(
  send: (line: string) => Promise<void>,
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  throwIfAborted(signal)
  const inFlight = new Set<Promise<void>>()
  let sent = 0
  let failure: unknown
  const lines = createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })
  signal.addEventListener('abort', () => lines.close(), { once: true })
  for await (const line of lines) {
    if (line.length === 0) continue
    if (failure !== undefined || signal.aborted) break
    const sending = send(line)
      .catch((error: unknown) => {
        failure ??= error
        lines.close() // the next line may be long in coming
      })
      .finally(() => inFlight.delete(sending))
    inFlight.add(sending)
    sent += 1
    output.progress(`${sent} lines sent, ${inFlight.size} under way`)
    if (inFlight.size >= MAX_LINES_IN_FLIGHT) await Promise.race(inFlight)
  }
  await Promise.all(inFlight)
  if (failure !== undefined) throw failure
  throwIfAborted(signal) // there may be lines that were not sent
}

function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted)
    throw new StickyError('ABORTED', 'Interrupted before the end.', { cause: signal.reason })
}

/** What replicas that answer need to hear that somebody leaves, many times over. */
const LEAVE_MS = 1_500

/** Prints history, then live messages, until it is interrupted or `count` messages came. */
export async function subscribe(
  topic: string,
  options: CommonOptions & {
    history: HistoryRequest
    /** In ms since 1970; instead of `history`. */
    since?: number
    lastSeenVersion?: number
    count?: number
    info?: string
  },
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  const { since, lastSeenVersion, info } = options
  const node = await openNode(options, 'client', undefined, output, signal)
  try {
    const done = Promise.withResolvers<void>()
    let seen = 0
    const onMessage = (message: Message) => {
      seen += 1
      if (options.count !== undefined && seen > options.count) return
      output.result(message, messageLine(message))
      if (seen === options.count) done.resolve()
    }
    const subscribing = node.pubsub.subscribe(topic, {
      history: since === undefined ? options.history : { since },
      onMessage,
      ...(info === undefined ? {} : { info }),
      ...(lastSeenVersion === undefined ? {} : { lastSeenVersion }),
    })
    subscribing.catch(() => undefined) // where it is interrupted before it begins
    const subscription = await Promise.race([subscribing, untilAborted(signal)])
    if (!subscription) return
    tellEvents(subscription, output)
    await Promise.race([done.promise, untilAborted(signal)])
    // leaving is a courtesy: the subscription expires by itself
    await atMost(systemRuntime, LEAVE_MS, subscription.unsubscribe()).catch(() => undefined)
  } finally {
    await node.close()
  }
}

/** Machines are told of every gap, people only of losses: that older messages have expired is how a topic works. */
export function tellEvents(subscription: Pick<Subscription, 'on'>, output: Output): void {
  subscription.on('history-end', ({ version, count }) => {
    if (output.json) output.result({ event: 'history-end', version, count }, '')
    else output.note(`-- ${count} earlier messages; live from here --`)
  })
  subscription.on('gap', (gap) => {
    const { publisher, fromSequence, toSequence, reason } = gap
    if (output.json) output.result({ event: 'gap', ...gap }, '')
    else if (reason !== 'expired') {
      const why = reason === 'trimmed' ? 'the topic keeps no more' : 'no replica has them'
      output.note(`-- missing: ${publisher.slice(-8)} ${fromSequence}..${toSequence}, ${why} --`)
    }
  })
  let told = ''
  subscription.on('sync', (status) => {
    if (status === 'synced') told = ''
    if (status === 'degraded' || status === 'offline') output.note('-- no replica reachable, retrying --')
  })
  // the same one comes with each attempt
  subscription.on('error', (error) => {
    const { code, message } = asStickyError(error, 'UNREACHABLE')
    if (told === code) return
    told = code
    if (output.json) output.result({ event: 'error', error: code, message }, '')
    else output.note(`-- ${code}: ${message} --`)
  })
}

/** Prints what is stored, oldest first, and ends. */
export async function history(
  topic: string,
  options: CommonOptions & { last?: number },
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  const node = await openNode(options, 'client', undefined, output, signal)
  try {
    const pages: Message[][] = []
    let wanted = options.last ?? Number.POSITIVE_INFINITY
    let before: string | undefined
    do {
      const limit = Math.min(wanted, 256)
      const page = await node.pubsub.history(topic, {
        limit,
        signal,
        ...(before === undefined ? {} : { before }),
      })
      pages.push(page.messages)
      wanted -= page.messages.length
      before = page.before
      output.progress(`${pages.reduce((sum, messages) => sum + messages.length, 0)} messages read …`)
      throwIfAborted(signal)
    } while (before !== undefined && wanted > 0)
    const seen = new Set<string>()
    for (const message of pages.reverse().flat()) {
      if (seen.has(message.id)) continue
      seen.add(message.id)
      output.result(message, messageLine(message))
    }
  } finally {
    await node.close()
  }
}

/** Coordinator, lineage, replicas and collections of a topic. */
export async function inspect(
  topic: string,
  options: CommonOptions,
  output: Output,
  signal: AbortSignal,
): Promise<void> {
  const node = await openNode(options, 'client', undefined, output, signal)
  try {
    await Promise.race([lookInto(topic, node, output), untilAborted(signal)])
    throwIfAborted(signal)
  } finally {
    await node.close()
  }
}

export async function lookInto(
  topic: string,
  { pubsub }: Pick<StickyNode, 'pubsub'>,
  output: Output,
): Promise<void> {
  const coordinator = await pubsub.loadCoordinator(topic)
  if (coordinator === undefined)
    throw new StickyError('NOT_FOUND', `No replica holds a topic named "${printable(topic)}".`)
  // a node that has just joined knows no replicas for a moment, and reads the coordinator only when it does
  const [replicas, messages, subscribers, lineage] = await Promise.all([
    pubsub.replicas(topic),
    pubsub.loadMessageCollection(topic),
    pubsub.loadSubscriberCollection(topic),
    pubsub.loadFullHistory(topic),
  ])
  output.result(
    { topic, coordinator, replicas, messages, subscribers, lineage },
    describe(topic, coordinator, replicas, messages, subscribers, lineage),
  )
}

function describe(
  topic: string,
  coordinator: NonNullable<Awaited<ReturnType<StickyNode['pubsub']['loadCoordinator']>>>,
  replicas: Awaited<ReturnType<StickyNode['pubsub']['replicas']>>,
  messages: Awaited<ReturnType<StickyNode['pubsub']['loadMessageCollection']>>,
  subscribers: Awaited<ReturnType<StickyNode['pubsub']['subscribers']>>,
  lineage: Awaited<ReturnType<StickyNode['pubsub']['loadFullHistory']>>,
): string {
  const lines = [
    `topic        ${printable(topic)}`,
    `coordinator  ${coordinator.id}`,
    `             version ${coordinator.version}, ${coordinator.bytes} bytes, ${coordinator.state}, changed ${new Date(coordinator.lastModified).toISOString()}`,
    `lineage      ${lineage.messages.length} message and ${lineage.subscribers.length} subscriber collections, ${lineage.snapshots.length} snapshots, ${lineage.missing} missing`,
    `messages     ${messages?.count ?? 0} in ${messages?.pages.length ?? 0} pages and a tail of ${messages?.tail.length ?? 0}`,
    `subscribers  ${subscribers.length}`,
    ...subscribers.map((subscriber) => `             ${subscriber.nodeId} ${oneLine(subscriber.info)}`),
    `replicas     ${replicas.length}`,
    ...replicas.map(({ nodeId, durable, version, error }) => {
      const state = error ?? (version === undefined ? 'empty' : `version ${version}`)
      return `             ${nodeId} ${durable ? 'durable ' : 'fleeting'} ${state}`
    }),
  ]
  return lines.join('\n')
}

/** Shows, and creates on first use, the identity of a data folder. */
export async function showIdentity(options: DataOptions, output: Output): Promise<void> {
  const directory = dataFolder(options, 'client')
  const { identity } = await loadOrCreateIdentity({
    directory,
    passphrase: await passphraseFor(directory, options),
  })
  output.result({ nodeId: identity.nodeId, data: directory }, `${identity.nodeId}\n${directory}`)
}

function parseJson(line: string): Data {
  try {
    return JSON.parse(line) as Data
  } catch (error) {
    throw new StickyError('INVALID_DATA', 'Not JSON. Without --from-json a line is published as text.', {
      cause: error,
    })
  }
}
