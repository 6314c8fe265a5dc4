/** How many things are open, in all and for each client address. Addresses with none are forgotten. */
export class AddressCounter {
  readonly #byAddress = new Map<string, number>()
  #total = 0

  /** Counts one; the function that is given back uncounts it, once. */
  add(address: string): () => void {
    this.#total += 1
    this.#byAddress.set(address, this.of(address) + 1)
    let isOpen = true
    return () => {
      if (!isOpen) return
      isOpen = false
      this.#total -= 1
      const left = this.of(address) - 1
      if (left > 0) this.#byAddress.set(address, left)
      else this.#byAddress.delete(address)
    }
  }

  of(address: string): number {
    return this.#byAddress.get(address) ?? 0
  }

  get total(): number {
    return this.#total
  }
}
