import { networkInterfaces } from 'node:os'
import { expect, it } from 'vitest'
import { announcedBy, reachOf } from '../../../src/bridge/addresses.ts'
import { startBridge } from '../../../src/bridge/index.ts'

const lanIpv4 = Object.values(networkInterfaces())
  .flatMap((addresses) => addresses ?? [])
  .filter(({ internal, family }) => !internal && family === 'IPv4')
  .map(({ address }) => address)

it('is reached where it listens, or where it says it is', () => {
  expect(reachOf('127.0.0.1', 80, undefined)).toEqual({ url: 'http://127.0.0.1:80', lanUrls: [] })
  expect(reachOf('::1', 80, undefined)).toEqual({ url: 'http://[::1]:80', lanUrls: [] })
  expect(reachOf('0.0.0.0', 80, 'https://a.example')).toEqual({ url: 'https://a.example', lanUrls: [] })
})

it('is reached at the addresses of this machine when it listens on all of them', () => {
  const reach = reachOf('0.0.0.0', 8080, undefined)
  expect(reach.url).toBe('http://127.0.0.1:8080')
  expect(reach.lanUrls).toEqual(lanIpv4.map((address) => `http://${address}:8080`))
  expect(announcedBy(reach)).toEqual(
    [...lanIpv4, '127.0.0.1'].map((address) => `/ip4/${address}/tcp/8080/ws`),
  )
  expect(reachOf('::', 8080, undefined).url).toBe('http://[::1]:8080')
})

it('never tells the wildcard address to anybody', async () => {
  await using bridge = await startBridge({ seed: new Uint8Array(32).fill(3), port: 0, host: '0.0.0.0' })
  expect(JSON.stringify([bridge.url, bridge.lanUrls, bridge.address])).not.toContain('0.0.0.0')
  expect(bridge.address).toMatch(/^\/ip4\/127\.0\.0\.1\/tcp\/\d+\/ws\/p2p\//)
  for (const url of [bridge.url, ...bridge.lanUrls]) {
    const { relay } = (await (await fetch(`${url}/bootstrap`)).json()) as { relay: string }
    expect(relay).toContain(new URL(url).hostname)
  }
})
