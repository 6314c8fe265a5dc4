/** Of `vi.waitFor`, whose own second is short beside others that use the machine. */
export const PATIENCE = { timeout: 20_000, interval: 10 }
