import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { promisify } from 'node:util'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import { DEFAULT_BRIDGE_LIMITS } from '../../src/bridge/options.ts'
import { MAX_CHALLENGE_SKEW_MS } from '../../src/dht/challenge.ts'
import { isErrorCode } from '../../src/dht/errors.ts'
import { PROGRAM, roomFile } from '../support/program.ts'

/** The documentation against the code: codes, paths, links, commands, and every example run. */

const root = resolve(import.meta.dirname, '../..')
const exec = promisify(execFile)
const textOf = (file: string) => readFileSync(join(root, file), 'utf8')

const documents = [
  'README.md',
  'CHANGELOG.md',
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join('docs', name)),
]

/** As GitHub names the anchor of a heading. */
const anchorOf = (heading: string) =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-')

const anchorsOf = (markdown: string) =>
  new Set([...markdown.matchAll(/^#{1,6} (.+)$/gm)].map(([, heading]) => anchorOf(heading as string)))

interface Example {
  name: string
  code: string
}

const examples = documents.flatMap((file): Example[] =>
  [...textOf(file).matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code], i) => ({
    name: `${file} example ${i + 1}`,
    code: code as string,
  })),
)
const isForBrowsers = ({ code }: Example) => /'sticky-pubsub\/(browser|light)'/.test(code)

/** The package by files of this tree, so that the examples are not checked against the last build. */
const importing = (code: string, fileOf: (room?: string) => string) =>
  code.replaceAll(/'sticky-pubsub(?:\/(\w+))?'/g, (_all, room?: string) => `'${fileOf(room)}'`)
const againstSources = (code: string) =>
  importing(code, (room = 'pubsub') =>
    join(root, room === 'light' ? 'src/browser/light.ts' : `src/${room}/index.ts`),
  )

async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'sticky-docs-'))
  try {
    return await work(folder)
  } finally {
    await rm(folder, { recursive: true })
  }
}

describe('docs/errors.md', () => {
  const [, ...texts] = textOf('docs/errors.md').split(/^### /m)
  /** Paragraphs of each section, by its code. */
  const partsOf = new Map(
    texts.map((text) => {
      const [code = '', ...parts] = (text.split(/^## /m)[0] as string).trim().split(/\n{2,}/)
      return [code, parts]
    }),
  )
  const sections = [...partsOf.keys()]

  it('has a section for each code that exists, and no other', () => {
    const inCode = [...textOf('src/dht/errors.ts').matchAll(/^ {2}([A-Z_]+): \{/gm)].map(([, code]) => code)
    expect(inCode.length).toBeGreaterThan(20)
    expect(inCode.every((code) => isErrorCode(code as string))).toBe(true)
    expect(sections.toSorted()).toEqual(inCode.toSorted())
  })

  it.each(sections)('says of %s what happened, why, and what to do', (code) => {
    const parts = partsOf.get(code) as string[]
    const kinds = parts.map((part) => /^(Why|What to do): \S/.exec(part)?.[1] ?? 'what happened')
    expect([...new Set(kinds)]).toEqual(['what happened', 'Why', 'What to do'])
    expect(kinds.filter((kind) => kind !== 'what happened')).toEqual(['Why', 'What to do'])
  })

  it('names the times that a challenge has', () => {
    const expired = partsOf.get('EXPIRED')?.join(' ')
    expect(expired).toContain(` ${DEFAULT_BRIDGE_LIMITS.challengeMs / 1_000} s after its challenge`)
    expect(MAX_CHALLENGE_SKEW_MS).toBe(5 * 60_000)
    expect(expired).toContain('five minutes behind its own clock')
  })
})

describe.each(documents)('%s', (file) => {
  const markdown = textOf(file)

  it('mentions only files that exist', () => {
    const paths = markdown.match(/(?<![\w./])(?:src|test|web|docs)\/[\w./-]*\w/g) ?? []
    expect([...new Set(paths)].filter((path) => !existsSync(join(root, path)))).toEqual([])
  })

  it('links only to files and headings that exist', () => {
    const links = [...markdown.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)]
    const broken = links.filter(([, path, anchor]) => {
      const target = path === '' ? file : relative(root, resolve(root, dirname(file), path as string))
      if (!existsSync(join(root, target))) return true
      return anchor !== undefined && !anchorsOf(textOf(target)).has(anchor)
    })
    expect(broken.map(([link]) => link)).toEqual([])
  })
})

/** What `--help` says of each command of the program, also of `bridge invite`. */
async function commandsOfProgram(): Promise<Map<string, string>> {
  const helps = new Map<string, string>()
  const look = async (names: string[]) => {
    const { stdout } = await exec(process.execPath, [PROGRAM, ...names, '--help'])
    helps.set(names.join(' '), stdout)
    const [, commands = ''] = stdout.split('\nCommands:\n')
    for (const [, name] of commands.matchAll(/^ {2}([a-z][\w-]*)/gm))
      if (name !== 'help') await look([...names, name as string])
  }
  await look([])
  return helps
}

describe('commands', () => {
  it('in the documents exist in the program, with their options', async () => {
    const commands = await commandsOfProgram()
    expect([...commands.keys()]).toEqual(
      expect.arrayContaining(['bridge', 'bridge invite', 'identity export', 'node', 'pub', 'start', 'sub']),
    )
    const uses = documents.flatMap((file) => [
      ...textOf(file).matchAll(/npx sticky ([a-z][\w-]*)( [a-z]+)?([^\n`#|]*)/g),
    ])
    expect(uses.length).toBeGreaterThan(10)
    const wrong = uses.filter(([, name, next, rest]) => {
      const help = commands.get(`${name}${next}`) ?? commands.get(name as string)
      const options = (rest as string).match(/--[a-z][\w-]*/g) ?? []
      return help === undefined || options.some((option) => !help.includes(option))
    })
    expect(wrong.map(([use]) => use)).toEqual([])
  }, 60_000)

  it('are called as npm installs them, where somebody would type them', () => {
    const typed = documents.flatMap((file) => [
      ...textOf(file).matchAll(/^(?: {4}|\$ )sticky .*$|`sticky [a-z]+ [^`]*[<-][^`]*`/gm),
    ])
    expect(typed.map(([line]) => line)).toEqual([])
  })
})

describe('examples', () => {
  it('are there, in the README and the guide', () => {
    expect(examples.filter(({ name }) => name.startsWith('README.md'))).toHaveLength(1)
    expect(examples.length).toBeGreaterThan(5)
  })

  it.each(examples.filter((example) => !isForBrowsers(example)))(
    '$name runs and prints what it says',
    async ({ code }) => {
      await inFolder(async (folder) => {
        const file = join(folder, 'example.mts')
        await writeFile(file, importing(code, roomFile))
        const { stdout } = await exec(process.execPath, [file], { timeout: 25_000 })
        const printed = stdout.trim().split('\n')
        const promised = [...code.matchAll(/console\.log\(.*\) \/\/ (.+)$/gm)].map(
          ([, text]) => text as string,
        )
        expect(printed).toEqual(expect.arrayContaining(promised.filter((text) => !/^[a-z]+ it: /.test(text))))
      })
    },
  )

  it('pass the type check', async () => {
    await inFolder(async (folder) => {
      const files = examples.map((_, i) => join(folder, `example-${i}.mts`))
      await Promise.all(files.map((file, i) => writeFile(file, againstSources(examples[i]?.code as string))))
      const own = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile).config as object
      const { options } = ts.parseJsonConfigFileContent(own, ts.sys, root)
      const typeRoots = [join(root, 'node_modules/@types')]
      const program = ts.createProgram(files, {
        ...options,
        typeRoots,
        rewriteRelativeImportExtensions: false,
      })
      // of these files only: `npm run lint` checks the sources that they import
      const problems = files.flatMap((file) => {
        const source = program.getSourceFile(file)
        return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)]
      })
      expect(program.getOptionsDiagnostics()).toEqual([])
      expect(files.filter((file) => program.getSourceFile(file) === undefined)).toEqual([])
      expect(
        problems.map(({ file, messageText }) => [
          examples[files.indexOf(file?.fileName ?? '')]?.name,
          ts.flattenDiagnosticMessageText(messageText, ' '),
        ]),
      ).toEqual([])
    })
  }, 60_000)
})
