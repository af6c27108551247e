import type { X509Certificate } from 'node:crypto'
import { nameKey } from './anchors.js'
import type { TrustAnchors } from './anchors.js'
import { constraintsOf } from './constraints.js'
import { rememberedKeyPin } from './key-pins.js'
import { meetsNameConstraints } from './name-constraints.js'

/** A path from the leaf to a trust anchor, every link of which was checked by {@link buildChain}. */
export interface VerifiedChain {
  /** Leaf first, trust anchor last. */
  readonly certificates: readonly X509Certificate[]
  readonly fingerprints: readonly string[]
  readonly pins: readonly string[]
  /** The whole chain is in date between these, in milliseconds since the epoch. */
  readonly validFrom: number
  readonly validTo: number
}

/**
 * Builds the verified chain as OpenSSL does (trusted first): at each link the trust anchors, then the served
 * certificates. A link holds when the issuer's name and key id fit and it may sign certificates (`checkIssued`), its key
 * verifies the signature, it is a CA, both are in date, key and hash are strong, and path length, extended key usage,
 * name constraints and critical extensions allow it.
 *
 * Node has no call for this: `getPeerCertificate(true)` links by name only and prefers what the server sent.
 *
 * @param served what the server sent after the leaf, in its order; nothing in it is believed
 * @param now milliseconds since the epoch
 * @returns `undefined` when there is no such path within 10 certificates and 32 signature checks
 */
export function buildChain(leaf: X509Certificate, served: readonly X509Certificate[], anchors: TrustAnchors, now: number): VerifiedChain | undefined {
  const search: Search = { served: served.slice(0, maxServed), anchors, now, signaturesLeft: maxSignatureChecks, stepsLeft: maxSteps }
  if (!isInDate(leaf, now)) return undefined
  const path = extend([leaf], search)
  return path && describePath(path)
}

/**
 * Whether OpenSSL would accept a chain too that it has accepted with some of the trust anchors only, were it given all. It
 * takes the first anchor that bears the issuer's name, and nothing else should that one not hold.
 *
 * @param chain as built with the few; without it every certificate that was served may have been in it
 * @param all the trust anchors that the few were taken from
 */
export function holdsWithAll(chain: VerifiedChain | undefined, leaf: X509Certificate, few: TrustAnchors, all: TrustAnchors, now: number): boolean {
  const search: Search = { served: [], anchors: all, now, signaturesLeft: maxSignatureChecks, stepsLeft: 0 }
  const certificates = chain ? chain.certificates.slice(0, -1) : [leaf, ...servedAfter(leaf)]
  return certificates.every((tip, depth) => {
    // One that may not sign is taken too, and refused in the end: checkIssued() is stricter than what OpenSSL takes it by.
    const others = all.issuersOf(tip).filter((issuer) => !few.has(issuer) && (!issuer.ca || tip.checkIssued(issuer)))
    return others.every((issuer) => chain !== undefined && isLink(certificates.slice(0, depth + 1) as unknown as Path, issuer, search))
  })
}

/** The certificates that the server sent after the leaf, in wire order, unchecked. */
export function servedAfter(leaf: X509Certificate): X509Certificate[] {
  const served: X509Certificate[] = []
  let issuer = leaf.issuerCertificate
  for (let i = 0; issuer !== undefined && i < maxServed; i++) {
    served.push(issuer)
    issuer = issuer.issuerCertificate
  }
  return served
}

export function isInDate(certificate: X509Certificate, now: number): boolean {
  return Date.parse(certificate.validFrom) <= now && now <= Date.parse(certificate.validTo)
}

const minModulusBits = 2_048
const minCurveBits = 224
const maxLength = 10
const maxServed = 32
// A depth-first search over certificates that share a name and a key grows exponentially; both budgets end in a refusal.
const maxSignatureChecks = 32
const maxSteps = 256

interface Search {
  readonly served: readonly X509Certificate[]
  readonly anchors: TrustAnchors
  readonly now: number
  signaturesLeft: number
  stepsLeft: number
}

type Path = readonly [X509Certificate, ...X509Certificate[]]

function extend(path: Path, search: Search): Path | undefined {
  const tip = path.at(-1) as X509Certificate
  if (endsAt(tip, search)) return path
  if (path.length >= maxLength) return undefined
  const issuerKey = nameKey(tip.issuer)
  const candidates = [...search.anchors.issuersOf(tip), ...search.served.filter(({ subject }) => nameKey(subject) === issuerKey)]
  for (const issuer of candidates) {
    if (search.stepsLeft-- <= 0) return undefined
    if (path.some(({ fingerprint256 }) => fingerprint256 === issuer.fingerprint256)) continue
    // Nothing is above a self-signed certificate; where it is no anchor, OpenSSL stops there as well.
    if (issuer.checkIssued(issuer) && !search.anchors.has(issuer)) continue
    if (!isLink(path, issuer, search)) continue
    const whole = extend([...path, issuer], search)
    if (whole) return whole
  }
  return undefined
}

/** OpenSSL ends a chain at a self-signed anchor; at any other one only with X509_V_FLAG_PARTIAL_CHAIN. */
function endsAt(tip: X509Certificate, search: Search): boolean {
  if (!search.anchors.has(tip)) return false
  return search.anchors.partial || isSelfSigned(tip, search)
}

/** @param budget how many signatures may still be checked */
export function isSelfSigned(certificate: X509Certificate, budget: Pick<Search, 'signaturesLeft'> = { signaturesLeft: 1 }): boolean {
  return isSelfIssued(certificate) && hasSigned(certificate, certificate, budget)
}

function isLink(path: Path, issuer: X509Certificate, search: Search): boolean {
  const tip = path.at(-1) as X509Certificate
  if (!issuer.ca || !tip.checkIssued(issuer) || !isInDate(issuer, search.now)) return false
  const limits = constraintsOf(issuer)
  if (limits === undefined || limits.unknownCritical || !limits.servesTls) return false
  // RFC 5280 §4.2.1.9: self-issued intermediates do not count.
  if (path.slice(1).filter((certificate) => !isSelfIssued(certificate)).length > limits.pathLength) return false
  if (limits.nameConstraints && !meetsNameConstraints(issuer, path)) return false
  return !signedWeakly(tip) && hasStrongKey(issuer) && hasSigned(issuer, tip, search)
}

function isSelfIssued({ subject, issuer }: X509Certificate): boolean {
  return subject === issuer
}

/** As OpenSSL's security level 2 has it, the default from Node 24: whoever can work a CA's key out has its pin. */
function hasStrongKey(issuer: X509Certificate): boolean {
  try {
    const { asymmetricKeyType, asymmetricKeyDetails: { modulusLength, namedCurve = '' } = {} } = issuer.publicKey
    if (asymmetricKeyType === 'ec') return Number(/\d{3}/.exec(namedCurve)?.[0]) >= minCurveBits
    return modulusLength === undefined || modulusLength >= minModulusBits
  } catch {
    return false
  }
}

function signedWeakly(certificate: X509Certificate): boolean {
  return constraintsOf(certificate)?.weakSignature !== false
}

function hasSigned(issuer: X509Certificate, certificate: X509Certificate, search: Pick<Search, 'signaturesLeft'>): boolean {
  if (search.signaturesLeft-- <= 0) return false
  try {
    return certificate.verify(issuer.publicKey)
  } catch {
    // A key OpenSSL cannot read verifies nothing.
    return false
  }
}

function describePath(path: Path): VerifiedChain {
  return {
    certificates: path,
    fingerprints: path.map(({ fingerprint256 }) => fingerprint256),
    pins: path.map(rememberedKeyPin),
    validFrom: Math.max(...path.map(({ validFrom }) => Date.parse(validFrom))),
    validTo: Math.min(...path.map(({ validTo }) => Date.parse(validTo)))
  }
}
