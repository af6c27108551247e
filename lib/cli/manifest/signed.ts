import { UpdateRejectedError } from '../../errors.js'
import { readUnverifiedManifest } from '../../update/manifest.js'
import type { UnverifiedManifest } from '../../update/manifest.js'
import { CommandError, exitCode } from '../exit.js'
import { firstLine, showText } from '../format.js'

/**
 * What a signed set in a file says, unverified.
 * @throws {CommandError} exit code 1 for what is no signed set; pins that are not signed yet are named as such
 */
export async function readSigned(text: string, file: string): Promise<UnverifiedManifest> {
  const name = file === '-' ? 'standard input' : showText(file)
  if (isUnsigned(text)) throw new CommandError(`${name} is not signed; "manifest sign ${file === '-' ? 'FILE' : name} --key KEY --out FILE" makes a signed set of it`, exitCode.refused, 'ERR_PIN_UPDATE_REJECTED')
  return naming(file, () => readUnverifiedManifest(text))
}

/** A refusal in the words of a client, which keeps the set that it has; a command has none. */
export async function naming<T>(file: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (cause) {
    if (!(cause instanceof UpdateRejectedError)) throw cause
    throw new CommandError(`${file === '-' ? 'standard input' : showText(file)}: ${whyOf(cause)}`, exitCode.refused, cause.code, { cause })
  }
}

/** Why a set is refused, without what happens to the one that a client has. */
export function whyOf({ message }: Error): string {
  return firstLine(message).replace(/^The pin set was rejected: /, '').replace(/\. (?:What was in force stays|Version \d+ is kept)\.$/, '')
}

function isUnsigned(text: string): boolean {
  try {
    const value = JSON.parse(text) as unknown
    return typeof value === 'object' && value !== null && 'pins' in value && !('payload' in value)
  } catch {
    return false
  }
}
