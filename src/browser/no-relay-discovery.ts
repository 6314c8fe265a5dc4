/**
 * Stands in for what the relay transport looks for relays with, and for the random walk through the DHT which that alone
 * would take: a tab listens on the relays that it is told by name.
 */
export class RelayDiscovery {
  addEventListener(): void {}
  startDiscovery(): void {}
  stopDiscovery(): void {}
}

export class RandomWalk {}
