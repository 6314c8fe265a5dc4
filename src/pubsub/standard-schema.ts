import { asStickyError, StickyError } from '../dht/index.ts'

/**
 * What this library asks of a validator: the interface of https://standardschema.dev, version 1, which valibot, zod,
 * arktype and others fulfil. Only its shape is here, so that nobody needs a package for it.
 */
export interface StandardSchemaV1<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
  }
}

export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] }

export interface StandardIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** What the schema makes of the value. Throws INVALID_DATA, also when the validator itself throws. */
export async function validated<T>(schema: StandardSchemaV1<unknown, T>, value: unknown): Promise<T> {
  let result: StandardResult<T>
  try {
    result = await schema['~standard'].validate(value)
  } catch (error) {
    throw asStickyError(error, 'INVALID_DATA')
  }
  if (result.issues === undefined) return result.value
  const [first] = result.issues
  const place = (first?.path ?? [])
    .slice(0, MAX_SHOWN_DEPTH)
    .map((part) => String(typeof part === 'object' ? part.key : part).slice(0, MAX_SHOWN_CHARACTERS))
  const reason = (first?.message ?? 'it does not fit the schema').slice(0, MAX_SHOWN_CHARACTERS)
  throw new StickyError('INVALID_DATA', [...(place.length > 0 ? [place.join('.')] : []), reason].join(': '))
}

/** Names and texts in an error may be a stranger's. */
const MAX_SHOWN_DEPTH = 8
const MAX_SHOWN_CHARACTERS = 200
