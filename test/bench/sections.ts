/** What `--only` names of a benchmark's sections. Ends the program, with its help, for `--help` or an unknown one. */
export function chosenSections(
  { only, help }: { only: string; help: boolean },
  sections: string[],
  text: string,
): Set<string> {
  const chosen = new Set(only.split(','))
  const unknown = [...chosen].find((name) => !sections.includes(name))
  if (!help && unknown === undefined) return chosen
  if (unknown !== undefined) process.stderr.write(`There is no section ${unknown}.\n\n`)
  process.stdout.write(text)
  process.exit(unknown === undefined ? 0 : 2)
}
