import '../../../web/chat-app.ts'
import type { ChatApp } from '../../../web/chat-app.ts'
import type { NodeStatus } from '../../../web/chat-node.ts'
import { applyTheme, loadTheme } from '../../../web/settings.ts'
import { FakeNode } from './fake-node.ts'
import { coded, type FakeRoom } from './fake-room.ts'

/**
 * The shipped components over a node in memory. `?messages=2000` sets how much was said before; with `?failing` it starts
 * at the second attempt.
 */

declare global {
  interface Window {
    fixture: {
      node: FakeNode
      room(topic: string): FakeRoom
      setStatus(status: NodeStatus): void
      /** The last publication that failed turns out to have been stored. */
      arriveLate(topic: string): void
    }
  }
}

const query = new URLSearchParams(location.search)
const messages = Number(query.get('messages') ?? '2000')
const node = new FakeNode(messages)
window.fixture = {
  node,
  room: (topic) => node.room(topic),
  setStatus: (status) => node.setStatus(status),
  arriveLate: (topic) => node.room(topic).arriveLate(),
}

applyTheme(loadTheme())
const app = document.createElement('chat-app') as ChatApp
let isFailing = query.has('failing')
app.connect = async () => {
  if (!isFailing) return node
  isFailing = false
  throw coded('UNREACHABLE')
}
document.body.append(app)
