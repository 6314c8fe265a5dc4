import { multiaddr } from '@multiformats/multiaddr'
import { describe, expect, it } from 'vitest'
import { DEFAULT_BOOK_OPTIONS, LightBook } from '../../../src/browser/light-book.ts'
import { systemRuntime } from '../../../src/dht/index.ts'

/** What others say where somebody can be dialled. */

const PORT = 'tcp/6379/ws'
const OWN_MACHINE = [
  '/ip4/127.0.0.1',
  '/ip4/127.9.9.9',
  '/ip4/0.0.0.0',
  '/ip6/::1',
  '/ip6/::',
  '/ip6/::ffff:7f00:1',
  '/dns4/localhost',
  '/dns4/LOCALHOST',
  '/dns4/localhost.',
  '/dns4/any.localhost',
]

const usable = (bridge: string, address: string): string[] => {
  const book = new LightBook(DEFAULT_BOOK_OPTIONS, systemRuntime)
  book.setBridge(bridge)
  book.noteAddresses('peer', [multiaddr(`${address}/${PORT}`).bytes])
  return book.urisOf('peer')
}

describe('addresses that others name', () => {
  it('never push out the one at which the peer has answered', () => {
    const book = new LightBook(DEFAULT_BOOK_OPTIONS, systemRuntime)
    const named = (hosts: number[]) =>
      book.noteAddresses(
        'peer',
        hosts.map((host) => multiaddr(`/ip4/10.0.0.${host}/${PORT}`).bytes),
      )
    named([1, 2])
    const [, second] = book.urisOf('peer') as [string, string]
    named([3, 4, 5, 6, 7])
    expect(book.urisOf('peer')).not.toContain(second)
    named([2])
    book.noteProven('peer', second)
    named([3, 4, 5, 6, 7])
    expect(book.urisOf('peer')).toHaveLength(DEFAULT_BOOK_OPTIONS.maxAddresses)
    expect(book.urisOf('peer')[0]).toBe(second)
  })

  it.each(OWN_MACHINE)('%s is this machine, which nobody has a page of another one dial', (address) => {
    expect(usable('wss://bridge.example/', address)).toEqual([])
    expect(usable('ws://127.0.0.1:4001/', address)).toHaveLength(1)
  })

  it.each(['/ip4/128.0.0.1', '/ip4/10.0.0.1', '/ip6/2001:db8::1', '/dns4/localhost.example'])(
    '%s is another one',
    (address) => expect(usable('wss://bridge.example/', address)).toHaveLength(1),
  )
})
