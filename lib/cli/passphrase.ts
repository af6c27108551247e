import { CommandError, exitCode } from './exit.js'
import { readInput } from './input.js'
import type { Terminal } from './output.js'

export const passphraseHelp = 'where the passphrase is: env:NAME, file:PATH (its first line) or stdin; never the passphrase itself'

/**
 * A passphrase from a place that other users of the machine cannot look at: arguments are shown by `ps`, and kept by shells.
 *
 * @param source `env:NAME`, `file:PATH` or `stdin`
 * @throws {CommandError} exit code 64; what was given instead is not echoed, since it may be the passphrase
 */
export async function readPassphrase(source: string | undefined, terminal: Terminal): Promise<Buffer | undefined> {
  if (source === undefined) return undefined
  if (source === 'stdin') return firstLineOf(await readInput('-', terminal))
  const [, kind, name] = /^(env|file):(.+)$/s.exec(source) ?? []
  if (name === undefined) throw new CommandError('--passphrase-from takes env:NAME, file:PATH or stdin; a passphrase itself would be seen by everybody on this machine', exitCode.usage)
  if (kind === 'file') return firstLineOf(await readInput(name, terminal))
  const value = terminal.env[name]
  if (value === undefined) throw noVariable('--passphrase-from', name)
  return Buffer.from(value)
}

function firstLineOf(bytes: Buffer): Buffer {
  const end = bytes.findIndex((byte) => byte === 0x0a || byte === 0x0d)
  return end === -1 ? bytes : bytes.subarray(0, end)
}

/** Names it only where it is written as variables are: else it may be the secret itself. */
export function noVariable(option: string, name: string): CommandError {
  const shown = /^[A-Z][A-Z0-9_]{0,63}$/.test(name) ? ` ${name}` : ' of that name'
  return new CommandError(`${option}: there is no environment variable${shown}; right would be to set and export it first`, exitCode.usage)
}
