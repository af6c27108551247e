import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
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
   * @throws {PolicyInvalidError} for a `ca` without a certificate in it
   */
  constructor(ca: CertificateAuthorities | undefined, readonly partial: boolean) {
    this.given = ca !== undefined
    if (ca === undefined) {
      this.#read = readDefaultAnchors
      return
    }
    const certificates = parseCertificates(ca)
    this.#read = () => certificates
  }

  get certificates(): readonly X509Certificate[] {
    return (this.#certificates ??= this.#read())
  }

  /** The anchors that bear the name of a certificate's issuer. Signatures are not checked here. */
  issuersOf(certificate: X509Certificate): readonly X509Certificate[] {
    this.#bySubject ??= groupBySubject(this.certificates)
    return this.#bySubject.get(nameKey(certificate.issuer)) ?? []
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

function parseCertificates(ca: CertificateAuthorities): X509Certificate[] {
  const sources = Array.isArray(ca) ? (ca as ReadonlyArray<string | Buffer>) : [ca as string | Buffer]
  return sources.flatMap((source) => {
    if (typeof source !== 'string' && !ArrayBuffer.isView(source)) throw new PolicyInvalidError('tls.ca', `must be PEM text or bytes, or an array of them, not ${describeType(source)}`)
    const blocks = splitPem(typeof source === 'string' ? source : Buffer.from(source).toString('latin1'))
    if (blocks.length === 0) throw new PolicyInvalidError('tls.ca', 'has no PEM certificate in it (-----BEGIN CERTIFICATE-----)')
    return blocks.map((block) => {
      try {
        return new X509Certificate(block)
      } catch (cause) {
        throw new PolicyInvalidError('tls.ca', 'has a PEM part that is not a certificate', { cause })
      }
    })
  })
}

/** What Node trusts without a `ca` option. */
function readDefaultAnchors(): X509Certificate[] {
  // tls.getCACertificates came with Node 22.15 and 23.10; it knows of the command line's switches too.
  const all = typeof tls.getCACertificates === 'function' ? tls.getCACertificates('default') : [...tls.rootCertificates, ...readExtraAnchors()]
  return [...new Set(all)].flatMap(parseQuietly)
}

/** Node reads this file at its start and only warns when it cannot. */
function readExtraAnchors(): string[] {
  const path = readVariable('NODE_EXTRA_CA_CERTS')
  if (!path) return []
  try {
    return splitPem(readFileSync(path, 'latin1'))
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

function splitPem(text: string): string[] {
  return text.match(/-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[^-]+-----END (?:X509 |TRUSTED )?CERTIFICATE-----/g) ?? []
}
