import type { X509Certificate } from 'node:crypto'
import { derTag, readDer, readDerChildren, readOid } from '../pin/der.js'
import type { DerValue } from '../pin/der.js'

/** What a certificate says about its use as a link of a chain and Node does not show. */
export interface Constraints {
  /** How many intermediates may follow (RFC 5280 §4.2.1.9); `Infinity` when it does not say. */
  readonly pathLength: number
  /** Extended key usage is absent or has serverAuth; OpenSSL demands this of intermediates too. */
  readonly servesTls: boolean
  /** It limits the names below it (RFC 5280 §4.2.1.10): see name-constraints.ts. */
  readonly nameConstraints: boolean
  /** A critical extension that OpenSSL would refuse too. */
  readonly unknownCritical: boolean
  /** Signed over MD5, SHA-1 or another hash that collides. */
  readonly weakSignature: boolean
}

/**
 * Reads the constraints from the certificate's own bytes.
 * @returns `undefined` when they are not strict DER or an extension stands twice: then it is no link
 */
export function constraintsOf(certificate: X509Certificate): Constraints | undefined {
  try {
    return readConstraints(certificate.raw)
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

/** The content of one extension. @throws {RangeError} when the certificate is not strict DER */
export function extensionOf(certificate: X509Certificate, id: string): Buffer | undefined {
  return readExtensions(readFields(certificate.raw).extensions).get(id)?.value
}

/** The subject as it stands in the certificate. @throws {RangeError} when the certificate is not strict DER */
export function subjectOf(certificate: X509Certificate): DerValue {
  const { subject } = readFields(certificate.raw)
  if (subject === undefined) throw new RangeError('no certificate')
  return subject
}

/** Certificate (RFC 5280 §4.1): SEQUENCE { TBSCertificate { version [0], serial, signature, issuer, validity, subject, key, …, extensions [3] }, algorithm, signature }. */
function readFields(der: Buffer): { subject: DerValue | undefined; extensions: DerValue | undefined; algorithm: DerValue } {
  const [toBeSigned, algorithm] = readDerChildren(readDer(der))
  if (toBeSigned === undefined || algorithm === undefined) throw new RangeError('no certificate')
  const fields = readDerChildren(toBeSigned)
  return { subject: fields[fields[0]?.tag === versionTag ? 5 : 4], extensions: fields.find(({ tag }) => tag === extensionsTag), algorithm }
}

function readConstraints(der: Buffer): Constraints {
  const { algorithm, ...fields } = readFields(der)
  const extensions = readExtensions(fields.extensions)
  return {
    pathLength: readPathLength(extensions.get(oid.basicConstraints)),
    servesTls: readServesTls(extensions.get(oid.extendedKeyUsage)),
    nameConstraints: extensions.has(oid.nameConstraints),
    unknownCritical: [...extensions].some(([id, { critical }]) => critical && !knownExtensions.has(id)),
    weakSignature: readWeakSignature(algorithm)
  }
}

/** AlgorithmIdentifier (RFC 5280 §4.1.1.2); RSASSA-PSS names its hash in the parameters, SHA-1 being the default (RFC 4055 §3.1). */
function readWeakSignature(algorithm: DerValue): boolean {
  const [id, parameters] = readDerChildren(algorithm)
  if (id === undefined) throw new RangeError('no signature algorithm')
  const name = readOid(id)
  if (name !== oid.rsaPss) return weakSignatures.has(name)
  const hash = parameters && readDerChildren(parameters).find(({ tag }) => tag === pssHashTag)
  const hashAlgorithm = hash && readDerChildren(hash)[0]
  const hashName = hashAlgorithm && readDerChildren(hashAlgorithm)[0]
  return hashName === undefined || !readOid(hashName).startsWith(sha2And3)
}

interface Extension {
  readonly critical: boolean
  readonly value: Buffer
}

const versionTag = 0xa0
const extensionsTag = 0xa3
const pssHashTag = 0xa0

function readExtensions(field: DerValue | undefined): Map<string, Extension> {
  const extensions = new Map<string, Extension>()
  const [list] = field === undefined ? [] : readDerChildren(field)
  for (const extension of list === undefined ? [] : readDerChildren(list)) {
    const [id, ...rest] = readDerChildren(extension)
    const value = rest.at(-1)
    if (id === undefined || value?.tag !== derTag.octetString) throw new RangeError('no extension')
    const name = readOid(id)
    if (extensions.has(name)) throw new RangeError('an extension stands twice')
    extensions.set(name, { critical: rest.length > 1 && rest[0]?.content[0] !== 0, value: value.content })
  }
  return extensions
}

function readPathLength(extension: Extension | undefined): number {
  if (extension === undefined) return Infinity
  const length = readDerChildren(readDer(extension.value)).find(({ tag }) => tag === derTag.integer)
  if (length === undefined) return Infinity
  if (length.content.length === 0 || length.content.length > 4 || (length.content[0] as number) & 0x80) throw new RangeError('no path length')
  return length.content.readUIntBE(0, length.content.length)
}

function readServesTls(extension: Extension | undefined): boolean {
  return extension === undefined || readDerChildren(readDer(extension.value)).some((usage) => serverUsages.has(readOid(usage)))
}

const oid = { basicConstraints: '2.5.29.19', nameConstraints: '2.5.29.30', extendedKeyUsage: '2.5.29.37', rsaPss: '1.2.840.113549.1.1.10' } as const

// serverAuth, and the two "server gated crypto" usages that OpenSSL takes for it (crypto/x509/v3_purp.c, check_purpose_ssl_server).
const serverUsages = new Set(['1.3.6.1.5.5.7.3.1', '2.16.840.1.113730.4.1', '1.3.6.1.4.1.311.10.3.3'])

// The critical extensions that OpenSSL evaluates or knowingly ignores (crypto/x509/v3_purp.c, X509_supported_extension).
const knownExtensions = new Set([
  '2.16.840.1.113730.1.1', '2.5.29.15', '2.5.29.17', '2.5.29.19', '2.5.29.30', '2.5.29.31', '2.5.29.32', '2.5.29.33', '2.5.29.36', '2.5.29.37', '2.5.29.54'
])

// md2, md4, md5, sha1 with RSA; mdc2 with RSA; DSA and ECDSA with SHA-1; the OIW's names of the same.
const weakSignatures = new Set([
  '1.2.840.113549.1.1.2', '1.2.840.113549.1.1.3', '1.2.840.113549.1.1.4', '1.2.840.113549.1.1.5', '2.5.8.3.100', '1.2.840.10040.4.3', '1.2.840.10045.4.1', '1.3.14.3.2.3', '1.3.14.3.2.13', '1.3.14.3.2.27', '1.3.14.3.2.29'
])

// NIST's arc of hash functions: the SHA-2 and SHA-3 families.
const sha2And3 = '2.16.840.1.101.3.4.2.'
