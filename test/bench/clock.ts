/** Milliseconds of the machine's monotonic clock: the same in all of its processes, so that they can be subtracted. */
export function machineMs(): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1_000 + nanoseconds / 1e6
}
