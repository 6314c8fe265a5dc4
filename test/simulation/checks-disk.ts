import { LIMITS } from '../../src/pubsub/options.ts'
import type { Case } from './checker.ts'
import { ofType } from './history.ts'

/** I10, I11, I18: what is on the disks. */

export function checkDisks(history: Case): void {
  for (const { node, bad, atMs } of history.of('disk'))
    for (const { name, isIntact, refusal } of bad) {
      if (!isIntact) history.violate('I11', atMs, `${node} has something else under ${name}`)
      if (refusal !== undefined) history.violate('I18', atMs, `${node} stored ${name}, which is ${refusal}`)
    }
}

/** A run takes minutes, so that only the schedule in which time passes can break the first of these by itself. */
export function checkKept(history: Case): void {
  for (const { node, names, head, atMs } of ofType(history.afterwards, 'kept'))
    if (names.length > 0 || head !== '')
      history.violate(
        'I10',
        atMs,
        `${node} still has ${names.length} entries of an expired record, such as ${names[0]}${head && `, and the head ${head.slice(0, 8)}`}`,
      )
  const { skewMs, sweepMs } = history.settings
  const keptMs = LIMITS.graceMs + 2 * sweepMs + 2 * skewMs
  for (const event of [...history.of('replica'), ...history.of('fresh')])
    for (const { token, expiresAtMs } of event.messages)
      if (expiresAtMs + keptMs < event.atMs)
        history.violate(
          'I10',
          event.atMs,
          `${event.type === 'replica' ? event.node : 'a fresh node'} finds ${token} ${Math.round(event.atMs - expiresAtMs)} ms after it expired`,
        )
}
