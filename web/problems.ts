/** Error codes in the words of someone who chats. */

const SENTENCES = new Map([
  ['OUTCOME_UNKNOWN', 'No answer came back. It may still appear; sending it again does not show it twice.'],
  ['EXPIRED', 'Nobody could be reached for too long.'],
  ['CLOSED', 'The connection was closed.'],
  ['INVALID_INVITE', 'This link is not a whole invitation: a part of it is missing or wrong.'],
  ['NO_REPLICAS', 'Nobody who keeps this room can be reached.'],
  ['QUORUM_FAILED', 'Too few of the nodes that keep this room answered.'],
  ['UNREACHABLE', 'The network cannot be reached.'],
  ['LINK_CLOSED', 'The connection closed on the way.'],
  ['TIMEOUT', 'The network did not answer in time.'],
  ['RATE_LIMITED', 'You are writing faster than the room allows. Wait a moment.'],
  ['BUSY', 'The nodes that keep this room are busy. Wait a moment.'],
  ['TOPIC_FULL', 'The room is full.'],
  ['TOO_LARGE', 'The message is too long for this room.'],
  ['CHANNEL_FAILED', 'The room’s records cannot be read at the moment.'],
  ['INVALID_TOPIC', 'That is not a room name the network accepts.'],
  ['STORAGE_FULL', 'There is no space left to store it.'],
  ['WRONG_PASSPHRASE', 'The passphrase does not open this backup.'],
  ['MALFORMED', 'This is not an identity backup.'],
  ['IDENTITY_UNREADABLE', 'The identity stored in this browser cannot be read.'],
  ['ADMISSION_REFUSED', 'The bridge did not admit this browser.'],
  ['UNSUPPORTED_PLATFORM', 'This browser lacks something that the chat needs.'],
])

export function codeOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

export const describeCode = ({ code, message }: { code: string; message: string }): string =>
  SENTENCES.get(code) ?? message

/** What was written is not kept: that, and what to do about it. */
export function describeStorage({ code }: { code: string }): string {
  const loss = 'What comes and what you write from now on may be gone once this page is closed.'
  return code === 'STORAGE_FULL'
    ? `This browser has no space left for the chat. ${loss} Free some space on this device, or delete the data of other pages in the browser’s settings.`
    : `This browser does not store what the chat gives it. ${loss} Reload the page; if that does not help, allow it to keep data in the browser’s settings.`
}

/** Why the page has no node. The nodes of others have no part in that yet. */
export const describeStart = (error: unknown): string =>
  codeOf(error) === 'BUSY' ? 'The chat is open in too many tabs. Close one of them.' : describeProblem(error)

export function describeProblem(error: unknown): string {
  const sentence = SENTENCES.get(codeOf(error) ?? '')
  if (sentence !== undefined) return sentence
  return error instanceof Error && error.message !== '' ? error.message : 'Something went wrong.'
}
