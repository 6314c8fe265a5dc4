import { type Dht, holdRecords } from '../dht/index.ts'
import { Committer } from './commit.ts'
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
  recovery: Recovery
  options: PubSubOptions
  verified: VerifiedMessages
}

export interface Holding {
  committer: Committer
  initiator: Initiator
  witness: Witness
  delivery: Delivery
  presenceHolder: PresenceHolder
}

function hold({ dht, recovery, options, verified }: HoldingInit): Holding {
  const committer = new Committer(dht, recovery, options)
  const storedIds = new StoredIds(dht.runtime)
  const initiator = new Initiator(dht, committer, recovery, options, verified, storedIds)
  const witness = new Witness(dht, options, storedIds)
  const delivery = new Delivery(dht, options)
  new DeliveredAnswers(dht, delivery, storedIds)
  return {
    committer,
    initiator,
    witness,
    delivery,
    presenceHolder: new PresenceHolder(dht, delivery, options),
  }
}

/** What storing takes, of both rooms. */
export const STORING = { holdRecords, hold }
