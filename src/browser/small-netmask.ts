/**
 * Stands in for `netmask` where @libp2p/utils imports it, to tell private IPv4 addresses from public ones. That is all that
 * is here of it; the rest, IPv6 above all, is 2 kB of the page after compression.
 */
export class Netmask {
  readonly #size: number
  /** How many ranges of this size lie before it. */
  readonly #place: number

  /** As `10.0.0.0/8`. */
  constructor(range: string) {
    const [address = '', bits] = range.split('/')
    this.#size = 2 ** (32 - Number(bits))
    this.#place = Math.floor(numberOf(address) / this.#size)
  }

  contains(address: string): boolean {
    return Math.floor(numberOf(address) / this.#size) === this.#place
  }
}

const numberOf = (address: string): number =>
  address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
