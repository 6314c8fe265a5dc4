import './chat-app.ts'
import type { ChatApp } from './chat-app.ts'
import { type ChatNode, connectChatNode } from './chat-node.ts'
import { drawInsecureNotice } from './insecure.ts'
import { applyTheme, loadTheme } from './settings.ts'

declare global {
  interface Window {
    /** For tests, and only where the address asks for it with `?debug`. */
    stickyChat?: { node: ChatNode }
  }
}

applyTheme(loadTheme())

// Outside a secure context there is no WebCrypto, and without it no identity.
if (globalThis.crypto?.subtle === undefined) {
  document.body.append(drawInsecureNotice())
} else {
  const app: ChatApp = document.createElement('chat-app') as ChatApp
  app.connect = (onStatus) => connectChatNode(location.origin, onStatus)
  if (new URLSearchParams(location.search).has('debug')) {
    app.addEventListener('node-ready', (event) => {
      window.stickyChat = { node: (event as CustomEvent<ChatNode>).detail }
    })
  }
  document.body.append(app)
}
