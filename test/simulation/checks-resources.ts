import { DEFAULT_DHT_OPTIONS } from '../../src/dht/index.ts'
import type { Case } from './checker.ts'
import { leaksOf } from './flows.ts'

/** I21: once nothing is asked of a node any more, nothing is left of what it did. */

const { maxLinksPerPeer } = DEFAULT_DHT_OPTIONS

export function checkResources(history: Case): void {
  const all = history.of('resources')
  const underLoad = all.filter(({ moment }) => moment === 'load')
  const busiest = Math.max(0, ...underLoad.map(({ timers }) => timers))
  const listening = subscribers(history)
  for (const event of all.filter(({ moment }) => moment === 'rest')) {
    const { node, atMs, waitingPublishes, queuedTopics, pendingRequests, waitingConfirms } = event
    const { attachedSubscribers, peers, links } = event
    const violate = (text: string) => history.violate('I21', atMs, `${node} ${text}`)
    if (waitingPublishes > 0) violate(`still has ${waitingPublishes} publishes waiting`)
    if (queuedTopics > 0) violate(`still has ${queuedTopics} queues`)
    if (pendingRequests > 0) violate(`still has ${pendingRequests} requests under way`)
    if (waitingConfirms > 0) violate(`still has ${waitingConfirms} questions of publishers waiting`)
    if (attachedSubscribers > listening)
      violate(`serves ${attachedSubscribers} subscribers of ${listening} that there are`)
    if (links > peers * maxLinksPerPeer) violate(`has ${links} links to ${peers} peers`)
    const before = underLoad.find((other) => other.node === node)?.timers ?? busiest
    if (event.timers > 1.5 * before + 50) violate(`has ${event.timers} timers, and had ${before} under load`)
  }
}

/** I26: what was begun has ended once, or is under way; at whatever moment one looks. */
export function checkFlows(history: Case): void {
  for (const { node, atMs, flows } of history.of('resources'))
    for (const leak of leaksOf(flows)) history.violate('I26', atMs, `${node}, ${leak}`)
}

/** Nodes that are subscribed, or may be for all that is known. */
function subscribers(history: Case): number {
  const open = new Map<string, string>()
  for (const event of history.events) {
    if (event.type === 'subscribed') open.set(event.subscription, event.node)
    if (event.type === 'left' && event.how !== 'unsure') open.delete(event.subscription)
  }
  return new Set(open.values()).size
}
