import { createPrivateKey } from 'node:crypto'
import type { JsonWebKey, KeyObject } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { PinInvalidError, PolicyInvalidError } from '../../errors.js'
import { holdsPrivateKey } from '../../pin/pin.js'
import { openSealed, sealOf } from '../../pin/sealed.js'
import { readPrivateKey } from '../../update/keys.js'
import type { SigningKey } from '../../update/keys.js'
import { SigningTrust } from '../../update/trust.js'
import { CommandError, exitCode } from '../exit.js'
import { showText } from '../format.js'
import { readInput } from '../input.js'
import type { Output, Terminal } from '../output.js'
import { noVariable, readPassphrase } from '../passphrase.js'

export const keyHelp = 'a private signing key: a file, - for standard input, or env:NAME; never the key itself; can be given again'

export type PrivateSigningKey = ReturnType<typeof readPrivateKey>

/**
 * Reads private signing keys: PEM or DER, encrypted or not, or a JWK.
 *
 * @param sources files, `-`, or `env:NAME`
 * @throws {CommandError} exit code 64; neither key nor passphrase is echoed
 */
export async function readSigningKeys(sources: readonly string[], passphraseFrom: string | undefined, output: Output): Promise<PrivateSigningKey[]> {
  const { terminal } = output
  if (sources.some(holdsPrivateKey)) throw new CommandError('--key: this is a private key itself, which everybody on this machine can see now; right would be a file, - or env:NAME, and a new key', exitCode.usage)
  if ([...sources.filter((each) => each === '-'), ...(passphraseFrom === 'stdin' ? ['-'] : [])].length > 1) throw new CommandError('standard input can be only one of the keys, or the passphrase', exitCode.usage)
  const passphrase = await readPassphrase(passphraseFrom, terminal)
  const keys: PrivateSigningKey[] = []
  for (const source of sources) keys.push(readOne(source, await readSource(source, output), passphrase))
  if (new Set(keys.map(({ id }) => id)).size < keys.length) throw new CommandError('--key: the same key was given twice', exitCode.usage)
  return keys
}

/** Public keys from files, PEM or JWK. */
export async function readTrust(files: readonly string[], threshold: number, terminal: Terminal): Promise<SigningTrust> {
  const sources: Array<string | JsonWebKey> = []
  for (const file of files) sources.push(readPublic(file, await readInput(file, terminal)))
  return usable(() => SigningTrust.of(sources, threshold, '--key'))
}

/** A public key as it stands in a set's `keys`. */
export async function readPublicJwk(file: string, terminal: Terminal): Promise<JsonWebKey> {
  const source = readPublic(file, await readInput(file, terminal))
  const [key] = usable(() => SigningTrust.of([source], 1, showText(file))).keys.values()
  return (key as SigningKey).key.export({ format: 'jwk' })
}

async function readSource(source: string, output: Output): Promise<Buffer> {
  const { terminal } = output
  const [, name] = /^env:(.+)$/s.exec(source) ?? []
  if (name === undefined) {
    const mode = source === '-' ? 0 : await stat(source).then((stats) => (stats.isFile() ? stats.mode : 0), () => 0)
    if (process.platform !== 'win32' && (mode & 0o077) !== 0) output.note(`others can read ${showText(source)}; right would be: chmod 600`)
    return readInput(source, terminal)
  }
  const value = terminal.env[name]
  if (value === undefined) throw noVariable('--key', name)
  return Buffer.from(value)
}

function readOne(source: string, bytes: Buffer, passphrase: Buffer | undefined): PrivateSigningKey {
  const name = showText(source)
  try {
    return usable(() => readPrivateKey(parseKey(bytes, passphrase), name))
  } catch (error) {
    if (!(error instanceof PinInvalidError)) throw error
    const hint = passphrase === undefined ? '; right would be --passphrase-from env:NAME, file:PATH or stdin' : ''
    throw new CommandError(`${name}: ${error.reason}${hint}`, exitCode.usage, error.code, { cause: error })
  }
}

function parseKey(bytes: Buffer, passphrase: Buffer | undefined): KeyObject {
  const seal = sealOf(bytes)
  if (seal === 'private key') return openSealed(bytes, passphrase) as KeyObject
  try {
    if (bytes.toString('latin1').trimStart().startsWith('{')) return createPrivateKey({ key: JSON.parse(bytes.toString()) as JsonWebKey, format: 'jwk' })
    return bytes.includes('-----BEGIN ') ? createPrivateKey(bytes) : createPrivateKey({ key: bytes, format: 'der', type: 'pkcs8' })
  } catch (cause) {
    throw new PolicyInvalidError('the key', 'this is no private key that this Node can use; "axios-ssl-pinning manifest keygen" makes one', { cause })
  }
}

function readPublic(file: string, bytes: Buffer): string | JsonWebKey {
  const text = bytes.toString()
  if (!text.trimStart().startsWith('{')) return text
  try {
    return JSON.parse(text) as JsonWebKey
  } catch {
    // Its message would quote the file.
    throw new CommandError(`${showText(file)} is neither PEM nor a JWK`, exitCode.usage)
  }
}

/** A key that cannot be used is wrong usage, and its error names the file. */
function usable<T>(act: () => T): T {
  try {
    return act()
  } catch (error) {
    if (!(error instanceof PolicyInvalidError)) throw error
    throw new CommandError(`${error.option}: ${error.reason}`, exitCode.usage, error.code, { cause: error })
  }
}
