import { fileURLToPath } from 'node:url'
import { defineConfig, type Plugin } from 'vite'
import { smallLibp2p } from './src/browser/vite.ts'

/** package.json says that the library's modules have no side effects; the page's modules define its elements. */
const keepElements: Plugin = {
  name: 'keep-elements',
  transform: { filter: { id: /\/web\/[^/]+\.ts$/ }, handler: () => ({ moduleSideEffects: true }) },
}

/** The demo chat. Everything is a file of its own, so that `script-src 'self'; style-src 'self'` holds. */
export default defineConfig({
  root: fileURLToPath(new URL('web', import.meta.url)),
  base: './',
  plugins: [smallLibp2p(), keepElements],
  build: {
    outDir: fileURLToPath(new URL('web/dist', import.meta.url)),
    emptyOutDir: true,
    target: 'es2023',
    cssTarget: ['chrome123', 'safari17.5', 'firefox120'],
    // An inlined asset is a data: address, which `img-src 'self'` refuses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
})
