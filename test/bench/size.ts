import { measureSizes, sizeLines } from './size/measure.ts'

/** `npm run size`: what a page downloads. Ends with 1 when it is more than the limit. */

const lines = sizeLines(await measureSizes())
if (process.argv.includes('--json')) console.log(JSON.stringify(lines))
else
  for (const { what, kilobytes, target, limit } of lines) {
    const wanted = target === undefined ? '' : `target ${target}${kilobytes > target ? ', missed' : ''}`
    const bound = limit === undefined ? '' : `limit ${limit}`
    console.log(
      [what.padEnd(42), `${kilobytes.toFixed(1)} kB`.padStart(10), wanted, bound].join('  ').trimEnd(),
    )
  }
if (lines.some(({ kilobytes, limit = Number.POSITIVE_INFINITY }) => kilobytes > limit)) process.exitCode = 1
