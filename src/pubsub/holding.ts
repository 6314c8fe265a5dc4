import type { Dht } from '../dht/index.ts'
import type { Committer } from './commit.ts'
import { DeliveredAnswers } from './delivered.ts'
import { Delivery } from './delivery.ts'
import type { VerifiedMessages } from './delta.ts'
import { Initiator } from './initiator.ts'
import type { PubSubOptions } from './options.ts'
import { PresenceHolder } from './presence-holder.ts'
import type { Recovery } from './recovery.ts'
import { StoredIds } from './stored-ids.ts'
import { Witness } from './witness.ts'

/** What a node that stores does for the topics that it holds. A page whose node stores nothing does not load it. */

export interface HoldingInit {
  dht: Dht
  committer: Committer
  recovery: Recovery
  options: PubSubOptions
  verified: VerifiedMessages
}

export interface Holding {
  initiator: Initiator
  witness: Witness
  delivery: Delivery
  presenceHolder: PresenceHolder
}

export function hold({ dht, committer, recovery, options, verified }: HoldingInit): Holding {
  const storedIds = new StoredIds()
  const initiator = new Initiator(dht, committer, recovery, options, verified, storedIds)
  const witness = new Witness(dht, options, storedIds)
  const delivery = new Delivery(dht, options)
  new DeliveredAnswers(dht, delivery, storedIds)
  return { initiator, witness, delivery, presenceHolder: new PresenceHolder(dht, delivery, options) }
}
