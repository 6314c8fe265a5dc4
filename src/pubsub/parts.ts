/**
 * What a subscription is made of, for the one that a tab builds over another tab's. Nothing of it is the package's: that is
 * index.ts.
 */
export { tellClosing } from './closing.ts'
export { Emitter } from './emitter.ts'
export { GivenPosition } from './given.ts'
export { ToldReader } from './told-reader.ts'
