// Who may import whom (docs/architecture.md): dht <- pubsub <- node, browser; bridge -> node, dht; web -> browser.
const room = (name, allowed) => ({
  name: `${name}-imports-one-way`,
  severity: 'error',
  from: { path: `^src/${name}/` },
  to: { path: '^(src|web|test)/', pathNot: `^src/(${[name, ...allowed].join('|')})/` },
})
const throughIndex = (target, alsoThrough = []) => ({
  name: `${target}-through-its-index`,
  severity: 'error',
  from: { path: '^(src|web)/', pathNot: `^src/${target}/` },
  to: { path: `^src/${target}/`, pathNot: [`^src/${target}/index\\.ts$`, ...alsoThrough] },
})
const only = (name, packages, places) => ({
  name: `${name}-has-one-home`,
  severity: 'error',
  from: { path: '^(src|web)/', pathNot: places },
  to: { path: `node_modules/(${packages})(/|$)`, dependencyTypesNot: ['type-only'] },
})
module.exports = {
  forbidden: [
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } } },
    { name: 'no-own-index', severity: 'error', from: { path: '^src/([^/]+)/(?!index\\.ts)' }, to: { path: '^src/$1/index\\.ts$' } },
    room('dht', []),
    room('pubsub', ['dht']),
    room('browser', ['pubsub', 'dht']),
    room('node', ['pubsub', 'dht']),
    room('bridge', ['node', 'dht']),
    ...['dht', 'browser', 'bridge'].map((name) => throughIndex(name)),
    throughIndex('node', ['^src/node/program\\.ts$', '^src/node/node-version\\.ts$']), // the latter before all else is loaded
    { name: 'program-is-for-the-bridge', severity: 'error', from: { path: '^(src|web)/', pathNot: '^src/bridge/' }, to: { path: '^src/node/program\\.ts$' } },
    throughIndex('pubsub', ['^src/pubsub/parts\\.ts$']),
    { name: 'parts-are-for-tabs', severity: 'error', from: { path: '^(src|web)/', pathNot: '^src/browser/' }, to: { path: '^src/pubsub/parts\\.ts$' } },
    { name: 'web-uses-browser', severity: 'error', from: { path: '^web/' }, to: { path: '^src/', pathNot: '^src/browser/' } },
    only('libp2p', 'libp2p|@libp2p', '^src/(dht/libp2p[a-z-]*\\.ts|(node|browser|bridge)/transports\\.ts|browser/(alive|webrtc|light-[a-z-]+)\\.ts)'),
    only('idb', 'idb', '^src/browser/'),
    only('express', 'express|helmet', '^src/bridge/'),
    only('lit', 'lit', '^web/'),
  ],
  options: { exclude: { path: '^(web/)?dist/' }, doNotFollow: { path: 'node_modules' }, tsPreCompilationDeps: true, tsConfig: { fileName: 'tsconfig.json' }, enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'] } },
}
