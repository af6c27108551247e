import type { X509Certificate } from 'node:crypto'
import type { CertificateSummary } from '../errors.js'
import { readDer, readDerChildren, readOid } from '../pin/der.js'
import type { DerValue } from '../pin/der.js'
import { summarise } from './records.js'

/** Everything about a certificate that a person who pins it wants to see. JSON-safe but for the dates. */
export interface CertificateDetails extends CertificateSummary {
  /** Hex, without colons. */
  readonly serialNumber: string
  readonly ca: boolean
  /** Subject alternative names, each with its kind: `DNS:api.example.com`, `IP Address:127.0.0.1`. */
  readonly names: readonly string[]
  /** `RSA 2048`, `RSA-PSS 2048`, `EC P-256`, `Ed25519`; `unknown` where OpenSSL cannot read the key. */
  readonly key: string
  /** As openssl calls it: `ecdsa-with-SHA256`; the object identifier where it has no name here, `unknown` where it cannot be read. */
  readonly signature: string
}

export function detailsOf(certificate: X509Certificate): CertificateDetails {
  return {
    ...summarise(certificate),
    serialNumber: certificate.serialNumber,
    ca: certificate.ca,
    names: namesOf(certificate),
    key: keyOf(certificate),
    signature: signatureOf(certificate)
  }
}

/** Node separates the names by `, `, and quotes those that hold one. Where it cannot read them it has `undefined`, or `null` (Node 20). */
function namesOf(certificate: X509Certificate): string[] {
  const text = certificate.subjectAltName as string | null | undefined
  return ((text ?? '').match(/(?:[^,"]|"(?:[^"\\]|\\.)*")+/g) ?? []).map((name) => name.trim())
}

function keyOf(certificate: X509Certificate): string {
  try {
    const { asymmetricKeyType = 'unknown', asymmetricKeyDetails: { modulusLength, namedCurve } = {} } = certificate.publicKey
    if (asymmetricKeyType === 'ec') return `EC ${curveNames[namedCurve ?? ''] ?? namedCurve ?? 'unnamed'}`
    return `${keyNames[asymmetricKeyType] ?? asymmetricKeyType.toUpperCase()}${modulusLength === undefined ? '' : ` ${modulusLength}`}`
  } catch {
    return 'unknown'
  }
}

const keyNames: Record<string, string> = { ed25519: 'Ed25519', ed448: 'Ed448' }

const curveNames: Record<string, string> = { prime256v1: 'P-256', secp224r1: 'P-224', secp384r1: 'P-384', secp521r1: 'P-521' }

/** Node shows it since version 24 only. Certificate (RFC 5280 §4.1): SEQUENCE { TBSCertificate, AlgorithmIdentifier, … }. */
function signatureOf({ raw }: X509Certificate): string {
  try {
    const algorithm = readDerChildren(readDer(raw))[1]
    const [id, parameters] = algorithm === undefined ? [] : readDerChildren(algorithm)
    if (id === undefined) return 'unknown'
    const name = signatureNames[readOid(id)] ?? readOid(id)
    return name === pss ? `${pss} with ${readPssHash(parameters)}` : name
  } catch {
    return 'unknown'
  }
}

/** RSASSA-PSS-params (RFC 4055 §3.1): SEQUENCE { [0] hash AlgorithmIdentifier DEFAULT sha1, … }. */
function readPssHash(parameters: DerValue | undefined): string {
  const hash = parameters && readDerChildren(parameters).find(({ tag }) => tag === 0xa0)
  const [algorithm] = hash === undefined ? [] : readDerChildren(hash)
  const [id] = algorithm === undefined ? [] : readDerChildren(algorithm)
  return id === undefined ? 'sha1' : (hashNames[readOid(id)] ?? readOid(id))
}

const pss = 'rsassaPss'

const signatureNames: Record<string, string> = {
  '1.2.840.113549.1.1.4': 'md5WithRSAEncryption',
  '1.2.840.113549.1.1.5': 'sha1WithRSAEncryption',
  '1.2.840.113549.1.1.10': pss,
  '1.2.840.113549.1.1.11': 'sha256WithRSAEncryption',
  '1.2.840.113549.1.1.12': 'sha384WithRSAEncryption',
  '1.2.840.113549.1.1.13': 'sha512WithRSAEncryption',
  '1.2.840.10045.4.1': 'ecdsa-with-SHA1',
  '1.2.840.10045.4.3.1': 'ecdsa-with-SHA224',
  '1.2.840.10045.4.3.2': 'ecdsa-with-SHA256',
  '1.2.840.10045.4.3.3': 'ecdsa-with-SHA384',
  '1.2.840.10045.4.3.4': 'ecdsa-with-SHA512',
  '1.3.101.112': 'ED25519',
  '1.3.101.113': 'ED448',
  '2.16.840.1.101.3.4.3.17': 'ML-DSA-44',
  '2.16.840.1.101.3.4.3.18': 'ML-DSA-65',
  '2.16.840.1.101.3.4.3.19': 'ML-DSA-87'
}

const hashNames: Record<string, string> = {
  '1.3.14.3.2.26': 'sha1',
  '2.16.840.1.101.3.4.2.1': 'sha256',
  '2.16.840.1.101.3.4.2.2': 'sha384',
  '2.16.840.1.101.3.4.2.3': 'sha512'
}
