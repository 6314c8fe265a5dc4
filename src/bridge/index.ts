export { type Bridge, type BridgeOptions, startBridge } from './bridge.ts'
export { type BridgeLimits, DEFAULT_BRIDGE_LIMITS } from './options.ts'
export { DEFAULT_RELAY_LIMITS, type RelayLimits } from './transports.ts'
