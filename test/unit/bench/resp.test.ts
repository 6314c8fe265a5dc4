import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { encodeCommand, RedisError, RespClient, readReply } from '../../bench/resp.ts'
import { findProgram, freePort, howToInstall, type Server, startServer } from '../../bench/servers.ts'

const read = (text: string, at = 0) => readReply(Buffer.from(text), at)

describe('replies of Redis', () => {
  it('are read in every kind', () => {
    expect(read('+OK\r\n')).toEqual({ value: 'OK', end: 5 })
    expect(read(':-12\r\n')).toEqual({ value: -12, end: 6 })
    expect(read('$-1\r\n')).toEqual({ value: null, end: 5 })
    expect(read('*-1\r\n')).toEqual({ value: null, end: 5 })
    expect(read('$6\r\nh\r\nllo\r\n')).toEqual({ value: 'h\r\nllo', end: 12 })
    expect(read('$0\r\n\r\n')).toEqual({ value: '', end: 6 })
    expect(read('*2\r\n*1\r\n$2\r\né\r\n:7\r\n+rest\r\n')).toEqual({ value: [['é'], 7], end: 20 })
    expect(read('-ERR no\r\n')?.value).toEqual(new RedisError('ERR no'))
    expect(read('+a\r\n+b\r\n', 4)).toEqual({ value: 'b', end: 8 })
  })

  it('are waited for until they are whole, wherever they are cut', () => {
    const whole = '*3\r\n$5\r\nhello\r\n*1\r\n:1\r\n$-1\r\n'
    for (let length = 0; length < whole.length; length++) expect(read(whole.slice(0, length))).toBeUndefined()
    expect(read(whole)).toEqual({ value: ['hello', [1], null], end: whole.length })
  })

  it('are refused where they are none', () => {
    expect(() => read('HTTP/1.1 400\r\n')).toThrow(RedisError)
  })

  it('answer commands whose words are counted in bytes', () => {
    expect(encodeCommand(['XADD', 'é', 5])).toBe('*3\r\n$4\r\nXADD\r\n$2\r\né\r\n$1\r\n5\r\n')
  })
})

const program = findProgram('redis-server', 'REDIS_SERVER')

describe(`the client, at a real server${program ? '' : ` (skipped: ${howToInstall('redis-server', 'REDIS_SERVER')})`}`, () => {
  let folder: string
  let port: number
  let server: Server | undefined

  beforeAll(async () => {
    if (program === undefined) return
    folder = await mkdtemp(join(tmpdir(), 'sticky-resp-'))
    port = await freePort()
    const args = ['--bind', '127.0.0.1', '--port', String(port), '--dir', folder, '--save', '']
    server = await startServer(program, args, async () => (await RespClient.connect(port)).close())
  })

  afterAll(async () => {
    await server?.stop()
    if (folder) await rm(folder, { recursive: true })
  })

  it.skipIf(program === undefined)('gets the answers in the order of its commands', async () => {
    const client = await RespClient.connect(port)
    const answers = await Promise.allSettled([
      client.command('SET', 'key', 'wörd'),
      client.command('NO-SUCH-COMMAND'),
      client.command('GET', 'key'),
      client.command('GET', 'none'),
      client.command('INCR', 'count'),
    ])
    expect(answers.map((answer) => (answer.status === 'fulfilled' ? answer.value : 'rejected'))).toEqual([
      'OK',
      'rejected',
      'wörd',
      null,
      1,
    ])
    expect(answers[1]).toMatchObject({ reason: expect.any(RedisError) })
    client.close()
    await expect(client.command('GET', 'key')).rejects.toThrow('closed')
  })

  it.skipIf(program === undefined)('reads a stream in answers larger than one packet', async () => {
    const client = await RespClient.connect(port)
    const lines = Array.from({ length: 1_000 }, (_, i) => `${i} ${'é'.repeat(200)}`)
    await Promise.all(lines.map((line) => client.command('XADD', 'stream', '*', 'line', line)))
    const reply = await client.command('XREAD', 'COUNT', 2_000, 'STREAMS', 'stream', '0-0')
    const [[name, entries]] = reply as [[string, [string, string[]][]]]
    expect(name).toBe('stream')
    expect(entries.map(([, fields]) => fields[1])).toEqual(lines)
    client.close()
  })

  it.skipIf(program === undefined)('rejects what waits when the connection ends', async () => {
    const waiting = await RespClient.connect(port)
    const other = await RespClient.connect(port)
    const id = (await waiting.command('CLIENT', 'ID')) as number
    const blocked = waiting.command('XREAD', 'BLOCK', 0, 'STREAMS', 'nothing', '$')
    const rejected = expect(blocked).rejects.toThrow('closed')
    await other.command('CLIENT', 'KILL', 'ID', id)
    await rejected
    other.close()
  })
})

describe('a server', () => {
  it('that does not exist is said to be missing, with what to do', () => {
    process.env.BENCH_TEST_SERVER = '/no/such/program'
    expect(findProgram('redis-server', 'BENCH_TEST_SERVER')).toBeUndefined()
    delete process.env.BENCH_TEST_SERVER
    expect(findProgram('sh', 'BENCH_TEST_SERVER')).toMatch(/\/sh$/)
    expect(findProgram('no-such-program-anywhere', 'BENCH_TEST_SERVER')).toBeUndefined()
    expect(howToInstall('redis-server', 'REDIS_SERVER')).toMatch(/apt-get install redis-server.*REDIS_SERVER/)
  })
})
