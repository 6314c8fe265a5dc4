/** Stands in for the package `ms` in libp2p's log, where it says how long after the last line one comes. */
export const ms = (value: number): string => `${value}ms`
