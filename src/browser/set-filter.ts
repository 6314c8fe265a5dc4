/**
 * Stands in for the filters of @libp2p/utils, by which kad-dht knows whom a query has met and the relay transport which
 * relays were of no use: a set of them, which is exact. The filters save memory where there are many thousands.
 */
class SetFilter {
  readonly #items = new Set<string>()

  add(item: Uint8Array): boolean {
    this.#items.add(String(item))
    return true
  }

  has(item: Uint8Array): boolean {
    return this.#items.has(String(item))
  }
}

export const createScalableCuckooFilter = (): SetFilter => new SetFilter()
