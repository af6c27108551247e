import { X509Certificate } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import * as tls from 'node:tls'
import { PolicyInvalidError } from '../errors.js'
import { describeType } from '../pin/pin.js'
import { keyPinOf } from '../pin/spki.js'
import { readVariable } from '../policy/environment.js'

/** Node's `ca` option: PEM text or bytes, one or several, each of one or several certificates. */
export type CertificateAuthorities = string | Buffer | ReadonlyArray<string | Buffer>

/** The certificates that a verified chain may end at: the same ones that OpenSSL is given. */
export class TrustAnchors {
  /** They are the user's own choice, the `ca` option. */
  readonly given: boolean
  /** Those that these were taken from: OpenSSL was given only some. */
  readonly all: TrustAnchors
  /** They are what OpenSSL is given, and all that it is given with them: no trust settings of their own. */
  readonly areComplete: boolean
  readonly #read: () => X509Certificate[]
  #certificates: readonly X509Certificate[] | undefined
  #bySubject: Map<string, X509Certificate[]> | undefined
  #byPin: Map<string, X509Certificate[]> | undefined
  #fingerprints: Set<string> | undefined
  #intermediates: readonly X509Certificate[] | undefined

  /**
   * @param ca the `ca` option; without it Node's own: bundled roots and `NODE_EXTRA_CA_CERTS`, as `tls.getCACertificates`
   *   has them. Read when first asked for, since only pins on a CA need them (about 20 ms on Node 20).
   * @param partial `allowPartialTrustChain`: an anchor need not be self-signed
   * @param all where these are only some of others
   * @throws {PolicyInvalidError} for a `ca` without a certificate in it
   */
  constructor(ca: CertificateAuthorities | undefined, readonly partial: boolean, all?: TrustAnchors) {
    this.given = ca !== undefined
    this.all = all ?? this
    if (ca === undefined) {
      this.#read = readDefaultAnchors
      this.areComplete = !usesOpensslStore
      return
    }
    const { certificates, areTrusted } = parseCertificates(ca)
    this.#read = () => certificates
    this.areComplete = !areTrusted
  }

  get certificates(): readonly X509Certificate[] {
    return (this.#certificates ??= this.#read())
  }

  /** The anchors that bear the name of a certificate's issuer. Signatures are not checked here. */
  issuersOf(certificate: X509Certificate): readonly X509Certificate[] {
    return this.named(certificate.issuer)
  }

  /** The anchors that bear a distinguished name, as Node prints it. */
  named(name: string): readonly X509Certificate[] {
    this.#bySubject ??= groupBySubject(this.certificates)
    return this.#bySubject.get(nameKey(name)) ?? []
  }

  /** The anchors that a pin, of a key or of a certificate, stands for. */
  findPinned(pin: string): readonly X509Certificate[] {
    this.#byPin ??= groupByPin(this.certificates)
    return this.#byPin.get(pin) ?? []
  }

  /** Those that another CA has issued. A server may leave them out of what it sends. */
  get intermediates(): readonly X509Certificate[] {
    return (this.#intermediates ??= this.certificates.filter(({ subject, issuer }) => subject !== issuer))
  }

  has(certificate: X509Certificate): boolean {
    this.#fingerprints ??= new Set(this.certificates.map(({ fingerprint256 }) => fingerprint256))
    return this.#fingerprints.has(certificate.fingerprint256)
  }
}

/**
 * Distinguished names in a form that finds at least all those OpenSSL takes for equal: it ignores case, repeated white
 * space and white space at either end, which Node prints escaped (`\ `, `\09` to `\0D`).
 */
export function nameKey(name: string | undefined): string {
  return (name ?? '').toLowerCase().replaceAll(/\\0[9a-d]|[ \\]/g, '')
}

function groupBySubject(certificates: readonly X509Certificate[]): Map<string, X509Certificate[]> {
  return group(certificates, ({ subject }) => [nameKey(subject)])
}

function groupByPin(certificates: readonly X509Certificate[]): Map<string, X509Certificate[]> {
  return group(certificates, (certificate) => [certificate.fingerprint256, ...keyPinQuietly(certificate)])
}

function group(certificates: readonly X509Certificate[], keysOf: (certificate: X509Certificate) => string[]): Map<string, X509Certificate[]> {
  const groups = new Map<string, X509Certificate[]>()
  for (const certificate of certificates) {
    for (const key of keysOf(certificate)) groups.set(key, [...(groups.get(key) ?? []), certificate])
  }
  return groups
}

/** `areTrusted`: some are OpenSSL's TRUSTED CERTIFICATE, which may say for what they are trusted; Node does not show it. */
function parseCertificates(ca: CertificateAuthorities): { certificates: X509Certificate[]; areTrusted: boolean } {
  const sources = Array.isArray(ca) ? (ca as ReadonlyArray<string | Buffer>) : [ca as string | Buffer]
  let areTrusted = false
  const certificates = sources.flatMap((source) => {
    if (typeof source !== 'string' && !ArrayBuffer.isView(source)) throw new PolicyInvalidError('tls.ca', `must be PEM text or bytes, or an array of them, not ${describeType(source)}`)
    const blocks = splitPem(typeof source === 'string' ? source : Buffer.from(source).toString('latin1'))
    if (blocks.length === 0) throw new PolicyInvalidError('tls.ca', 'has no PEM certificate in it (-----BEGIN CERTIFICATE-----)')
    areTrusted ||= blocks.some((block) => block.startsWith('-----BEGIN TRUSTED'))
    return blocks.map((block) => {
      try {
        return new X509Certificate(block)
      } catch (cause) {
        throw new PolicyInvalidError('tls.ca', 'has a PEM part that is not a certificate', { cause })
      }
    })
  })
  return { certificates, areTrusted }
}

/**
 * Stands for what Node trusts without a `ca` option: another value after `tls.setDefaultCACertificates()`, else the same
 * (Node caches the list; asking takes 10 ns). `undefined` where that cannot be called (before Node 22.19 and 24.5).
 */
export function defaultAnchorsMark(): unknown {
  return typeof tls.setDefaultCACertificates === 'function' ? tls.getCACertificates('default') : undefined
}

/** What Node trusts without a `ca` option. */
function readDefaultAnchors(): X509Certificate[] {
  // tls.getCACertificates came with Node 22.15 and 23.10; it knows of the command line's switches too, but not what OpenSSL finds.
  const known = typeof tls.getCACertificates === 'function' ? tls.getCACertificates('default') : [...(usesOpensslStore ? [] : tls.rootCertificates), ...readExtraAnchors()]
  const all = usesOpensslStore ? [...known, ...readOpensslAnchors()] : known
  // Node's own texts and those of files have their lines broken elsewhere.
  return [...new Map(all.map((pem) => [pem.replaceAll(/-----.*-----|\s/g, ''), pem])).values()].flatMap(parseQuietly)
}

/** Node notes the file's name at its start, reads it once, and only warns when it cannot. */
function readExtraAnchors(): readonly string[] {
  return (extraAnchors ??= extraPath === undefined ? [] : readPem(extraPath).filter((block) => !block.startsWith('-----BEGIN TRUSTED')))
}

/** Where they are known: without these variables they are at a place that was chosen when OpenSSL was built. */
function readOpensslAnchors(): string[] {
  const { file, folders } = opensslStore
  const hashed = folders.flatMap((folder) => listQuietly(folder).filter((name) => /^[0-9a-f]{8}\.\d+$/.test(name)).map((name) => join(folder, name)))
  return [...(file === undefined ? [] : [file]), ...hashed].flatMap(readPem)
}

function readPem(path: string): string[] {
  try {
    return splitPem(readFileSync(path, 'latin1'))
  } catch {
    return []
  }
}

function listQuietly(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

/** An anchor that cannot be parsed is left out: fewer anchors never accept more. */
function parseQuietly(pem: string): X509Certificate[] {
  try {
    return [new X509Certificate(pem)]
  } catch {
    return []
  }
}

function keyPinQuietly(certificate: X509Certificate): string[] {
  try {
    return [keyPinOf(certificate)]
  } catch {
    return []
  }
}

// Node reads all of this at its start; the program, or a file that it loads into its environment, may change it later.
const extraPath = readVariable('NODE_EXTRA_CA_CERTS')
let extraAnchors: readonly string[] | undefined
const opensslStore = { file: readVariable('SSL_CERT_FILE'), folders: (readVariable('SSL_CERT_DIR') ?? '').split(delimiter).filter((folder) => folder !== '') }

/** The trust anchors are OpenSSL's own (`--use-openssl-ca`, or how Node was built), which Node does not show. */
const usesOpensslStore = readStoreSwitch([...(readVariable('NODE_OPTIONS') ?? '').split(/[\s"]+/), ...process.execArgv])

function readStoreSwitch(args: readonly string[]): boolean {
  const last = args.map((arg) => arg.replaceAll('_', '-')).filter((arg) => /^--(?:no-)?use-(?:openssl|bundled)-ca$/.test(arg)).at(-1)
  return last === undefined ? isOpensslStoreDefault() : last === '--use-openssl-ca'
}

/** Node was built to take OpenSSL's trust anchors, as some distributions do, without any switch. */
export function isOpensslStoreDefault(): boolean {
  const { defines } = (process.config.target_defaults ?? {}) as { defines?: readonly string[] }
  return defines?.includes('NODE_OPENSSL_CERT_STORE') === true
}

function splitPem(text: string): string[] {
  return text.match(/-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[^-]+-----END (?:X509 |TRUSTED )?CERTIFICATE-----/g) ?? []
}
