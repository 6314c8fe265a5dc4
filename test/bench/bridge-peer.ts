import { startBridge } from '../../src/bridge/index.ts'
import { serve } from './children.ts'

/** A bridge in a process of its own that lets a hundred clients of one address in at once. */
const bridge = await startBridge({
  seed: crypto.getRandomValues(new Uint8Array(32)),
  port: 0,
  limits: {
    challengeBurst: 10_000,
    challengesPerSecond: 1_000,
    maxPendingPerAddress: 500,
    maxChallengeSocketsPerAddress: 1_000,
    maxPipesPerAddress: 5_000,
  },
})
serve({ url: () => bridge.url }, () => bridge.close())
