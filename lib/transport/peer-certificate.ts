import type { X509Certificate } from 'node:crypto'
import type { PeerCertificate } from 'node:tls'
import { servedAfter } from '../verify/chain.js'
import type { TrustAnchors } from '../verify/anchors.js'

/**
 * The usual answer of `tlsSocket.getPeerCertificate(detailed)`, made from the certificates read during the handshake
 * (reading them empties what Node would answer from, on Node 20 to 24).
 *
 * Node 24 and 26 crash when they make this object of a key on a curve without a NIST name; such a certificate is
 * described by its names, dates, fingerprints and bytes only.
 */
export function peerCertificate(leaf: X509Certificate, anchors: TrustAnchors, detailed: boolean): PeerCertificate {
  const certificate = legacyObject(leaf)
  if (!detailed) return certificate
  let tip = leaf
  let object = certificate
  const link = (issuer: X509Certificate): void => {
    object = object.issuerCertificate = legacyObject(issuer)
    tip = issuer
  }
  // As Node links them: first what was served, by name and key id only; it stops looking after the last one in the list.
  const unused = servedAfter(leaf)
  for (let index = 0; index !== unused.length; ) {
    index = unused.findIndex((candidate) => tip.checkIssued(candidate))
    if (index === -1) break
    link(unused.splice(index, 1)[0] as X509Certificate)
  }
  // Then the trust anchors, which might have issued one another.
  for (let left = maxAnchors; !tip.checkIssued(tip) && left > 0; left--) {
    const anchor = anchors.issuersOf(tip).find((candidate) => tip.checkIssued(candidate))
    if (anchor === undefined) return certificate
    link(anchor)
  }
  if (tip.checkIssued(tip)) object.issuerCertificate = object
  return certificate
}

const maxAnchors = 10

type Legacy = PeerCertificate & { issuerCertificate?: Legacy }

function legacyObject(certificate: X509Certificate): Legacy {
  if (hasCrashingKey(certificate)) return describeByHand(certificate)
  const object = certificate.toLegacyObject() as Legacy & { infoAccess?: unknown }
  if (typeof object.infoAccess === 'string') object.infoAccess = parseInfoAccess(object.infoAccess)
  return object
}

function hasCrashingKey(certificate: X509Certificate): boolean {
  try {
    const { asymmetricKeyType, asymmetricKeyDetails } = certificate.publicKey
    return asymmetricKeyType === 'ec' && !curvesWithNistName.has(asymmetricKeyDetails?.namedCurve ?? '')
  } catch {
    return true
  }
}

const curvesWithNistName = new Set(['prime256v1', 'secp224r1', 'secp384r1', 'secp521r1'])

function describeByHand(certificate: X509Certificate): Legacy {
  const { ca, subject, issuer, subjectAltName, validFrom, validTo, fingerprint, fingerprint256, fingerprint512, serialNumber, raw } = certificate
  return { subject: parseName(subject), issuer: parseName(issuer), subjectaltname: subjectAltName, ca, valid_from: validFrom, valid_to: validTo, fingerprint, fingerprint256, fingerprint512, serialNumber, raw } as unknown as Legacy
}

function parseName(name: string | undefined): Record<string, string> {
  const parts = (name ?? '').split('\n').map((line) => line.split('=', 2) as [string, string])
  return Object.fromEntries(parts)
}

/** As Node's translatePeerCertificate does: lines of `key:value`, values with a quote in them being JSON strings. */
function parseInfoAccess(text: string): Record<string, string[]> {
  const access = Object.create(null) as Record<string, string[]>
  for (const [, key, value] of text.matchAll(/([^\n:]*):([^\n]*)(?:\n|$)/g) as Iterable<[string, string, string]>) {
    ;(access[key] ??= []).push(value.startsWith('"') ? (JSON.parse(value) as string) : value)
  }
  return access
}
