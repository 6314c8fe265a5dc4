import { COORDINATOR } from '../../../src/pubsub/options.ts'
import type { Answer, LinkAttacker, RawLink } from '../../support/link-attacker.ts'
import type { ServingNode } from '../../support/serving-node.ts'

/** What an attack is given: its own key, a topic with one honest message in it, and the node that holds it. */
export interface Stage {
  target: ServingNode
  attacker: LinkAttacker
  topic: string
  topicKey: Uint8Array
  /** A link that has said hello. */
  link: RawLink
}

export interface Attack {
  name: string
  /** A code of src/dht/errors.ts, `closed` for the link, or what a harmless request is answered with. */
  expected: string
  act(stage: Stage): Promise<Answer | string>
  /** It is a proper request, if an idle one: it may leave something on disk. */
  mayStore?: true
}

/** One word for what came back. */
export function outcomeOf(answer: Answer | string): string {
  if (typeof answer === 'string') return answer
  if ('error' in answer) return answer.error
  const { results, outcome } = (answer.reply ?? {}) as { results?: (string | null)[]; outcome?: string }
  return results?.find((code) => code !== null) ?? outcome ?? 'reply'
}

export const outcomesOf = (answers: Answer[]): string =>
  [...new Set(answers.map(outcomeOf))].sort().join(', ')

export const headOf = async ({ target, topicKey }: Stage): Promise<Uint8Array> => {
  const { head } = await target.pubsub.dht.store.record(COORDINATOR, topicKey)
  if (head === undefined) throw new Error('The topic has no head.')
  return head
}
