/**
 * After a repair an honest replica is level with most of the others, but for what is committed in that moment. A single
 * high version proves nothing: anybody may claim one.
 */
export function isLeftBehind(own: number, all: number[]): boolean {
  const ahead = all.filter((version) => version > own + MAX_LAG_VERSIONS).length
  return ahead * 2 > all.length
}

const MAX_LAG_VERSIONS = 8
