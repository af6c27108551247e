import { X509Certificate } from 'node:crypto'
import type { Command } from 'commander'
import { PinInvalidError } from '../errors.js'
import { openSealed, sealOf } from '../pin/sealed.js'
import { parseCertificate, pinOf } from '../pin/spki.js'
import { summarise } from '../verify/records.js'
import { action, createCommand } from './command.js'
import type { Run } from './command.js'
import { CommandError, exitCode } from './exit.js'
import { showText } from './format.js'
import { readInput } from './input.js'
import { passphraseHelp, readPassphrase } from './passphrase.js'

/** `pin <file…>`: the pins of certificates, keys and certificate requests. */
export function pinCommand(run: Run): Command {
  return createCommand('pin', 'Print the pin of a certificate, a public or private key, a certificate request (PEM or DER), or a key store (PKCS#12).')
    .argument('<file...>', 'files, or - for standard input')
    .option('--passphrase-from <source>', passphraseHelp)
    .action(
      action(run, async (output, files: string[], options: { passphraseFrom?: string }) => {
        if (options.passphraseFrom === 'stdin' && files.includes('-')) throw new CommandError('standard input cannot be both the file and the passphrase', exitCode.usage)
        const passphrase = await readPassphrase(options.passphraseFrom, run.terminal)
        const pins: FilePin[] = []
        for (const file of files) pins.push(pinOfFile(file, await readInput(file, run.terminal), passphrase))
        output.result(pins, () => pins.map(({ file, pin }) => (pins.length > 1 ? `${pin}  ${showText(file)}` : pin)).join('\n'))
        for (const { file, certificates, subject } of pins) {
          if (!output.json && certificates !== undefined && certificates > 1) output.note(`${showText(file)} holds ${certificates} certificates; this is the pin of the first: ${showText(subject ?? '')}`)
        }
        return exitCode.ok
      })
    )
}

interface FilePin {
  readonly file: string
  readonly pin: string
  /** SHA-256 of the whole certificate, where the pin is of one's key. */
  readonly fingerprint?: string
  readonly subject?: string
  /** How many there are in the file, where there are more than one. */
  readonly certificates?: number
}

function pinOfFile(file: string, bytes: Buffer, passphrase: Buffer | undefined): FilePin {
  try {
    const source = sealOf(bytes) === undefined ? (findCertificate(bytes) ?? bytes) : openSealed(bytes, passphrase)
    const pin = { file, pin: pinOf(source) }
    if (!(source instanceof X509Certificate)) return pin
    const { fingerprint, subject } = summarise(source)
    const certificates = bytes.toString('latin1').split('-----BEGIN CERTIFICATE-----').length - 1
    return { ...pin, fingerprint, subject, ...(certificates > 1 && { certificates }) }
  } catch (error) {
    if (!(error instanceof PinInvalidError)) throw error
    const hint = sealOf(bytes) && passphrase === undefined && /passphrase/.test(error.reason) ? '; right would be --passphrase-from env:NAME, file:PATH or stdin' : ''
    throw new CommandError(`${showText(file)}: ${error.reason}${hint}`, exitCode.usage, error.code, { cause: error })
  }
}

/** The certificate that a file begins with; pinOf() looks for everything else. */
function findCertificate(bytes: Buffer): X509Certificate | undefined {
  const first = /-----BEGIN ([A-Z0-9 ]+)-----/.exec(bytes.toString('latin1'))
  if (first && !first[1]?.endsWith('CERTIFICATE')) return undefined
  try {
    return parseCertificate(bytes)
  } catch {
    return undefined
  }
}
