import { build, type Plugin } from 'vite'

/** One file of javascript from an entry, minified as for a page, written nowhere. */
export async function bundle(entry: string, plugins: Plugin[] = []): Promise<string> {
  const built = await build({
    configFile: false,
    logLevel: 'error',
    mode: 'production',
    root: new URL('../..', import.meta.url).pathname,
    plugins,
    build: {
      write: false,
      target: 'es2023',
      minify: true,
      modulePreload: false,
      rolldownOptions: { input: entry, output: { codeSplitting: false }, preserveEntrySignatures: 'strict' },
    },
  })
  for (const { output } of [built].flat() as { output: { type: string; code?: string }[] }[])
    for (const { type, code } of output) if (type === 'chunk' && code !== undefined) return code
  throw new Error(`nothing was built from ${entry}`)
}
