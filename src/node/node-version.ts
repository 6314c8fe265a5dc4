/** The oldest Node that libp2p runs on. It imports nothing, so that it can be asked before libp2p is loaded. */
const MINIMUM: readonly [major: number, minor: number] = [22, 12]

/** What is wrong with a version of Node, undefined where nothing is. */
export function nodeVersionProblem(version = process.versions.node): string | undefined {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major > MINIMUM[0] || (major === MINIMUM[0] && minor >= MINIMUM[1])) return
  return `This needs Node ${MINIMUM.join('.')} or later, and runs on ${version}.`
}
