import { X509Certificate, createPrivateKey } from 'node:crypto'
import { readFileSync, statSync, watch } from 'node:fs'
import type { FSWatcher } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { createSecureContext } from 'node:tls'
import { PolicyInvalidError } from '../errors.js'
import { describeType } from '../pin/pin.js'
import { readOptions } from '../policy/options.js'

/** A client certificate that is shown to hosts that ask for one, read from files that may change. */
export interface ClientCertificateOptions {
  /** PEM: the certificate, then its intermediates. */
  certFile: string
  /** PEM: the private key. May be the same file. */
  keyFile: string
  /** Of the key, where it is encrypted; it holds for later keys too. */
  passphrase?: string
}

/** What is shown, of one reading of the files. */
export interface ClientIdentity {
  readonly cert: string
  readonly key: string
  readonly passphrase?: string
}

/** JSON-safe; no key material. */
export interface ClientCertificateStatus {
  readonly subject: string
  readonly fingerprint: string
  /** ISO instants. */
  readonly validTo: string
  readonly loaded: string
  /** Why a later state of the files is not in use. */
  readonly problem?: string
}

/** Whom to tell of the files. */
export interface ClientCertificateListener {
  /** A new certificate is in use from now on. */
  changed(): void
  /** What the files hold now cannot be used, so the former certificate stays. No secret is in the text. */
  failed(problem: string): void
}

/** @throws {PolicyInvalidError | TypeError} naming the option */
export function readClientCertificate(given: unknown, option: string): ClientCertificateOptions | undefined {
  if (given === undefined) return undefined
  const options = readOptions(given as ClientCertificateOptions, ['certFile', 'keyFile', 'passphrase'], option)
  for (const name of ['certFile', 'keyFile'] as const) {
    if (typeof options[name] !== 'string' || options[name] === '') throw new PolicyInvalidError(`${option}.${name}`, `must be the path of a PEM file, not ${describeType(options[name])}`)
  }
  if (options.passphrase !== undefined && typeof options.passphrase !== 'string') throw new PolicyInvalidError(`${option}.passphrase`, `must be a string, not ${describeType(options.passphrase)}`)
  return { ...options, certFile: resolve(options.certFile), keyFile: resolve(options.keyFile) }
}

/**
 * The certificate in the files, always as one fitting pair. Changes are noticed by watching the folders (renames and
 * swapped symbolic links), and by looking once a second, from the first use until `close()`; neither keeps the process
 * alive. Files that are half-written, or do not fit each other, leave the former pair in use.
 */
export class ClientCertificateFiles {
  readonly #options: ClientCertificateOptions
  readonly #listener: ClientCertificateListener
  #loaded: Loaded
  /** The state of the files at the last look; `undefined` makes the next look read them, whatever their dates. */
  #seen: string | undefined
  #problem: string | undefined
  #watchers: FSWatcher[] | undefined
  #poll: NodeJS.Timeout | undefined
  #soon: NodeJS.Timeout | undefined

  /** @throws {PolicyInvalidError} when the files cannot be used; no secret is in the text */
  constructor(options: ClientCertificateOptions, listener: ClientCertificateListener) {
    this.#options = options
    this.#listener = listener
    this.#seen = stateOf(options)
    this.#loaded = load(options)
  }

  /** Another object after each change. Asking for it begins the watch. */
  get identity(): ClientIdentity {
    if (this.#watchers === undefined) {
      this.#watch()
      this.#look()
    }
    return this.#loaded.identity
  }

  get status(): ClientCertificateStatus {
    const { certificate, time } = this.#loaded
    return {
      subject: certificate.subject?.split('\n').reverse().join(', ') ?? '',
      fingerprint: certificate.fingerprint256,
      validTo: new Date(certificate.validTo).toISOString(),
      loaded: time.toISOString(),
      ...(this.#problem !== undefined && { problem: this.#problem })
    }
  }

  /** Ends the watch. The certificate stays; the next use of it begins the watch again. */
  close(): void {
    for (const watcher of this.#watchers ?? []) watcher.close()
    this.#watchers = undefined
    clearInterval(this.#poll)
    clearTimeout(this.#soon)
    this.#poll = this.#soon = undefined
  }

  #watch(): void {
    const folders = new Set([dirname(this.#options.certFile), dirname(this.#options.keyFile)])
    this.#watchers = [...folders].flatMap((folder) => {
      try {
        const watcher = watch(folder, { persistent: false }, () => this.#lookSoon(settleMs))
        // A folder that is removed, or too many watchers in the system: looking once a second is enough.
        watcher.on('error', () => watcher.close())
        return [watcher]
      } catch {
        return []
      }
    })
    this.#poll = setInterval(() => this.#look(), pollMs).unref()
  }

  /** Several events in a row are one look. */
  #lookSoon(delayMs: number): void {
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined
      this.#look()
    }, delayMs).unref()
  }

  #look(): void {
    const state = stateOf(this.#options)
    if (state !== undefined && state === this.#seen) return
    try {
      const next = load(this.#options)
      // Written while they were read: the next look reads them again.
      this.#seen = state === stateOf(this.#options) ? state : undefined
      this.#problem = undefined
      if (next.identity.cert === this.#loaded.identity.cert && next.identity.key === this.#loaded.identity.key) return
      this.#loaded = next
      this.#listener.changed()
    } catch (error) {
      this.#fail(error as PolicyInvalidError)
    }
  }

  /** What is found twice in a row is no longer a file being written. */
  #fail({ option, reason }: PolicyInvalidError): void {
    const problem = `${option}: ${reason}; the former certificate stays in use (valid to ${this.status.validTo})`
    const again = this.#seen === undefined && this.#problem === problem
    this.#seen = undefined
    if (!again) {
      this.#problem = problem
      this.#lookSoon(secondLookMs)
      return
    }
    this.#listener.failed(problem)
  }
}

interface Loaded {
  readonly identity: ClientIdentity
  readonly certificate: X509Certificate
  readonly time: Date
}

const settleMs = 50
const secondLookMs = 300
const pollMs = 1_000
const maxFileSize = 1_000_000

function load({ certFile, keyFile, passphrase }: ClientCertificateOptions): Loaded {
  const cert = readFile(certFile, 'tls.clientCertificate.certFile')
  const key = readFile(keyFile, 'tls.clientCertificate.keyFile')
  const certificate = parse('tls.clientCertificate.certFile', 'holds no PEM certificate', () => new X509Certificate(cert.slice(Math.max(0, cert.indexOf('-----BEGIN CERTIFICATE-----')))))
  const hint = passphrase === undefined ? ' that can be read without a passphrase' : ' that can be read with the passphrase given'
  const privateKey = parse('tls.clientCertificate.keyFile', `holds no PEM private key${hint}`, () => createPrivateKey({ key, passphrase }))
  if (!certificate.checkPrivateKey(privateKey)) throw new PolicyInvalidError('tls.clientCertificate', 'the private key does not belong to the certificate')
  const identity = { cert, key, ...(passphrase !== undefined && { passphrase }) }
  parse('tls.clientCertificate', 'OpenSSL refuses the certificate or its key (too weak?)', () => createSecureContext(identity))
  return { identity, certificate, time: new Date() }
}

function readFile(path: string, option: string): string {
  try {
    const stat = statSync(path)
    // Reading a pipe would wait for its writer.
    if (!stat.isFile()) throw new Error('it is no file')
    if (stat.size > maxFileSize) throw new Error(`it is larger than ${maxFileSize} bytes`)
    return readFileSync(path, 'latin1')
  } catch (cause) {
    throw new PolicyInvalidError(option, `cannot be read: ${(cause as Error).message}`, { cause })
  }
}

/** OpenSSL's own errors say little, and might say too much. */
function parse<T>(option: string, problem: string, make: () => T): T {
  try {
    return make()
  } catch {
    throw new PolicyInvalidError(option, problem)
  }
}

/** Tells one state of the files from another; `undefined` when one of them is missing. */
function stateOf({ certFile, keyFile }: ClientCertificateOptions): string | undefined {
  try {
    return [certFile, keyFile].map((path) => {
      const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true })
      return [dev, ino, size, mtimeNs, ctimeNs].join()
    }).join(' ')
  } catch {
    return undefined
  }
}
