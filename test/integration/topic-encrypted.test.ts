import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Data } from '../../src/pubsub/index.ts'
import { inviteTo, openTopic, readInvite, type Topic } from '../../src/pubsub/index.ts'
import { createTopicCipher } from '../../src/pubsub/secret.ts'
import { MemoryNet, type MemoryNode, until } from '../support/memory-nodes.ts'

let net: MemoryNet
let holders: MemoryNode[]
beforeEach(async () => {
  net = new MemoryNet()
  holders = []
  for (let i = 0; i < 3; i++) holders.push(await net.add())
})
afterEach(() => net.close())

const client = () => net.add({ stores: false, durable: false })
const secret = { key: Uint8Array.from({ length: 32 }, (_, index) => index) }
const name = 'conspirators'

async function take<T>(topic: Topic<T>, count: number): Promise<T[]> {
  const taken: T[] = []
  for await (const { data } of topic) {
    taken.push(data)
    if (taken.length === count) break
  }
  return taken
}

/** Everything on a node's disk, as one text in which bytes that are letters stay letters. */
async function diskOf({ storage }: MemoryNode): Promise<string> {
  let text = ''
  for await (const [key, value] of storage.entries(''))
    text += `${key} ${Buffer.from(value).toString('latin1')}\n`
  return text
}

describe('an encrypted topic', () => {
  it('is shared by a passphrase and by an invite, and shows holders neither name nor words', async () => {
    const passphrase = { passphrase: 'the night is dark' }
    const [ada, bob, eve] = [await client(), await client(), await client()]
    const first = await openTopic<string>(ada.pubsub, name, {
      secret: passphrase,
      presence: { alias: 'nightingale' },
    })
    const second = await openTopic<string>(bob.pubsub, name, { secret: passphrase })
    await first.publish('we meet at midnight')
    await second.publish('bring a lantern')
    const invite = await readInvite(await inviteTo(name, passphrase, { page: 'https://chat.example/' }))
    const third = await openTopic<string>(eve.pubsub, invite.name, { secret: invite.secret })
    for (const topic of [first, second, third])
      expect((await take(topic, 2)).toSorted()).toEqual(['bring a lantern', 'we meet at midnight'])
    await until(() => third.present.length === 1)
    expect(third.present).toMatchObject([{ nodeId: ada.pubsub.nodeId, state: { alias: 'nightingale' } }])
    await Promise.all([first, second, third].map((topic) => topic.close()))
    const { hiddenName } = await createTopicCipher(name, passphrase)
    expect([first, second, third].map(({ networkName }) => networkName)).toEqual(Array(3).fill(hiddenName))
    expect((await bob.pubsub.history(hiddenName)).messages).toHaveLength(2)
    for (const node of [...holders, ada, bob]) {
      const disk = await diskOf(node)
      for (const word of [name, 'midnight', 'lantern', 'nightingale', 'dark'])
        expect(disk).not.toContain(word)
    }
    // the search would find them: in the clear they are there
    const open = await openTopic<string>(ada.pubsub, name)
    await open.publish('in the clear')
    await take(open, 1)
    const disks = await Promise.all(holders.map(diskOf))
    expect(disks.some((disk) => disk.includes('in the clear'))).toBe(true)
  })

  it('is another, empty one for a wrong secret', async () => {
    const [ada, bob] = [await client(), await client()]
    const topic = await openTopic<string>(ada.pubsub, name, { secret })
    await topic.publish('hello')
    await take(topic, 1)
    for (const options of [{ secret: { key: secret.key.toReversed() } }, {}]) {
      const other = await openTopic<string>(bob.pubsub, name, options)
      const seen: unknown[] = []
      other.on('message', (message) => seen.push(message))
      other.on('invalid', (message) => seen.push(message))
      await new Promise((resolve) => other.on('history-end', resolve))
      expect(seen).toEqual([])
    }
  })

  it('shows nothing of what does not open, and goes on', async () => {
    const [ada, mallory, reader] = [await client(), await client(), await client()]
    const topic = await openTopic<string>(ada.pubsub, name, { secret })
    await topic.publish('hello')
    await take(topic, 1)
    // somebody who found out under which name it is kept, and has no secret
    const { hiddenName } = await createTopicCipher(name, secret)
    const [sealed] = (await mallory.pubsub.history(hiddenName)).messages
    const wrong = await createTopicCipher(name, { key: secret.key.toReversed() })
    const forgeries: Data[] = [
      'hello',
      { v: 1, n: new Uint8Array(12), c: new Uint8Array(80) },
      sealed?.data as Data, // again, as mallory's
      await wrong.seal('hello', mallory.pubsub.nodeId, 'message'),
    ]
    for (const data of forgeries) await mallory.pubsub.publish(hiddenName, data)
    await topic.publish('still here')
    const other = await openTopic<string>(reader.pubsub, name, { secret })
    const invalid: [publisher: string, code: string][] = []
    other.on('invalid', ({ publisher, error, topic }) => {
      expect(topic).toBe(name)
      invalid.push([publisher, error.code])
    })
    expect(await take(other, 2)).toEqual(['hello', 'still here'])
    expect(invalid).toEqual(forgeries.map(() => [mallory.pubsub.nodeId, 'UNDECRYPTABLE']))
    expect(await Array.fromAsync(other.history(), ({ data }) => data)).toEqual(['hello', 'still here'])
  })

  it('seals presence, and does not show who has no secret', async () => {
    const [ada, bob, mallory] = [await client(), await client(), await client()]
    const { hiddenName } = await createTopicCipher(name, secret)
    const watched = await mallory.pubsub.subscribe(hiddenName, { presence: { alias: 'friend' } })
    const first = await openTopic(ada.pubsub, name, { secret, presence: 'x'.repeat(202) })
    const second = await openTopic(bob.pubsub, name, { secret, presence: { alias: 'owl' } })
    await until(() => second.present.length === 2 && watched.present.length === 3)
    expect(second.present.map(({ nodeId }) => nodeId).toSorted()).toEqual(
      [ada.pubsub.nodeId, bob.pubsub.nodeId].toSorted(),
    )
    const raw = watched.present.find(({ nodeId }) => nodeId === bob.pubsub.nodeId)
    expect(JSON.stringify(raw)).not.toContain('owl')
    // what ada showed, shown again by mallory
    const stolen = watched.present.find(({ nodeId }) => nodeId === ada.pubsub.nodeId)
    await watched.setPresence(stolen?.state)
    await first.close()
    await until(() => second.present.length === 1 && watched.present.length === 2)
    expect(second.present[0]?.state).toEqual({ alias: 'owl' })
    await expect(second.setPresence('x'.repeat(203))).rejects.toMatchObject({ code: 'TOO_LARGE' })
  })

  it('knows a publish again by its key, and takes its largest data', async () => {
    const ada = await client()
    const topic = await openTopic<Data>(ada.pubsub, name, { secret })
    await topic.publish('once', { key: 'order 1' })
    await topic.publish('once', { key: 'order 1' })
    await expect(topic.publish('twice', { key: 'order 1' })).rejects.toMatchObject({ code: 'KEY_CONFLICT' })
    const largest = new Uint8Array(126 * 1024 - 9).fill(5)
    await topic.publish(largest)
    expect(await take(topic, 2)).toEqual(['once', largest])
    await expect(topic.publish(new Uint8Array(126 * 1024 - 8))).rejects.toMatchObject({ code: 'TOO_LARGE' })
  })

  it('refuses what would stay in the clear, and a secret that is none', async () => {
    const { pubsub } = await client()
    await expect(openTopic(pubsub, name, { secret, info: 'Ada' })).rejects.toMatchObject({
      code: 'INVALID_DATA',
    })
    await expect(openTopic(pubsub, name, { secret: { key: new Uint8Array(5) } })).rejects.toMatchObject({
      code: 'BAD_KEY',
    })
    expect(pubsub.counters().subscriptions).toBe(0)
  })
})
