import { describe, expect, it } from 'vitest'
import { installWebRtcRaceFix } from '../../../src/browser/webrtc-race.ts'

class FakeChannel extends EventTarget {
  readyState: RTCDataChannelState = 'connecting'
}

/** Stands in for the browser's class: tests set the states that a real one passes through. */
class FakeConnection {
  connectionState: RTCPeerConnectionState = 'connected'
  createDataChannel(_label: string): FakeChannel {
    return new FakeChannel()
  }
}

function wrapped() {
  const host = { RTCPeerConnection: FakeConnection as unknown as typeof RTCPeerConnection }
  installWebRtcRaceFix(host)
  return { host, connection: new host.RTCPeerConnection() as unknown as FakeConnection }
}

const isTold = async (channel: FakeChannel, type: string): Promise<boolean> => {
  let told = 0
  channel.addEventListener(type, () => {
    told += 1
  })
  await new Promise((resolve) => setImmediate(resolve))
  expect(told).toBeLessThanOrEqual(1)
  return told === 1
}

describe('WebRTC race work-around', () => {
  it('tells open, then close, to who asks after the responder has closed the init channel', async () => {
    const channel = wrapped().connection.createDataChannel('init')
    channel.readyState = 'closed'
    expect(await isTold(channel, 'open')).toBe(true)
    expect(await isTold(channel, 'close')).toBe(true)
  })

  it('tells nothing early: a channel that is connecting or open speaks for itself', async () => {
    const channel = wrapped().connection.createDataChannel('init')
    for (const state of ['connecting', 'open'] as const) {
      channel.readyState = state
      expect(await isTold(channel, 'open')).toBe(false)
      expect(await isTold(channel, 'close')).toBe(false)
    }
    channel.readyState = 'closing'
    expect(await isTold(channel, 'close')).toBe(false)
  })

  it('does not make a lost connection look open, nor touch other channels', async () => {
    const { connection } = wrapped()
    connection.connectionState = 'failed'
    const init = connection.createDataChannel('init')
    init.readyState = 'closed'
    expect(await isTold(init, 'open')).toBe(false)
    connection.connectionState = 'connected'
    const other = connection.createDataChannel('')
    other.readyState = 'closed'
    expect(await isTold(other, 'open')).toBe(false)
  })

  it('installs once, and does nothing where there is no WebRTC', () => {
    const { host } = wrapped()
    const first = host.RTCPeerConnection
    installWebRtcRaceFix(host)
    expect(host.RTCPeerConnection).toBe(first)
    expect(() => installWebRtcRaceFix({})).not.toThrow()
  })
})
