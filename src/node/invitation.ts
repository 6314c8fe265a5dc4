import { addAbortSignal } from 'node:stream'
import { MAX_INVITATION_CHARACTERS, StickyError } from '../dht/index.ts'
import { readSmallFile } from './private-file.ts'

/**
 * The invitation of a command: the named file, `-` for standard input, else $STICKY_INVITATION. Never an argument itself,
 * where every user of the machine could read it. Undefined when there is none. The signal ends the wait for standard input.
 */
export async function resolveInvitation(
  source: string | undefined,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (source === undefined) return process.env.STICKY_INVITATION?.trim() || undefined
  const text = source === '-' ? await readStandardInput(signal) : await readSmallFile(source)
  const invitation = text?.trim()
  if (!invitation)
    throw new StickyError(
      'INVITATION_INVALID',
      source === '-' ? 'There is no invitation on standard input.' : `There is no invitation in ${source}.`,
    )
  if (invitation.length > MAX_INVITATION_CHARACTERS)
    throw new StickyError('INVITATION_INVALID', `That is too long to be an invitation.`)
  return invitation
}

async function readStandardInput(signal: AbortSignal): Promise<string> {
  let text = ''
  process.stdin.setEncoding('utf8')
  for await (const chunk of addAbortSignal(signal, process.stdin)) {
    text += chunk
    if (text.length > 2 * MAX_INVITATION_CHARACTERS) break // said by the caller
  }
  return text
}
