import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { generatedTexts, Lines } from '../../bench/lines.ts'
import { percentile } from '../../bench/statistics.ts'

describe('payload lines', () => {
  it('are known again by their number, and only as they were sent', () => {
    const lines = new Lines(['first', 'second'], 'two')
    expect(lines.line(0)).toBe('0 first')
    expect(lines.line(3)).toBe('3 second')
    for (const number of [0, 1, 2, 17]) expect(lines.numberOf(lines.line(number))).toBe(number)
    for (const other of ['3 first', '3 second ', 'second', '', '-1 second'])
      expect(lines.numberOf(other)).toBeUndefined()
    expect(() => new Lines([], 'nothing')).toThrow('nothing')
  })

  it('come from a log, zipped or not', () => {
    const folder = mkdtempSync(join(tmpdir(), 'sticky-lines-'))
    const text =
      '{"t":0,"room":"a","from":"b","text":"héllo"}\n\n{"t":1,"room":"a","from":"b","text":"again"}\n'
    writeFileSync(join(folder, 'log.ndjson'), text)
    writeFileSync(join(folder, 'log.ndjson.gz'), gzipSync(text))
    for (const name of ['log.ndjson', 'log.ndjson.gz']) {
      const lines = Lines.load(join(folder, name))
      expect([lines.line(0), lines.line(1)]).toEqual(['0 héllo', '1 again'])
    }
    rmSync(folder, { recursive: true })
  })

  it('are otherwise generated: the same for a seed, of the lengths of a chat', () => {
    expect(generatedTexts(7, 50)).toEqual(generatedTexts(7, 50))
    expect(generatedTexts(7, 50)).not.toEqual(generatedTexts(8, 50))
    const lengths = generatedTexts(1, 20_000).map((text) => text.length)
    const at = (percent: number) => percentile(lengths, percent)
    expect([at(50), at(90), at(99), Math.max(...lengths)].map(Math.round)).toEqual([
      expect.toSatisfy((value: number) => value >= 40 && value <= 50),
      expect.toSatisfy((value: number) => value >= 112 && value <= 132),
      expect.toSatisfy((value: number) => value >= 220 && value <= 260),
      expect.toSatisfy((value: number) => value > 300 && value <= 448),
    ])
  })
})
