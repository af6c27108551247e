import type { X509Certificate } from 'node:crypto'
import { pinPlace } from '../policy/policy.js'
import type { Policy } from '../policy/policy.js'
import type { TrustAnchors } from './anchors.js'
import { isInDate, isSelfSigned } from './chain.js'

/** The pinned CAs as trust anchors. */
export interface Restriction {
  readonly certificates: readonly X509Certificate[]
  /** Milliseconds since the epoch; after it, it has to be worked out anew. */
  readonly validTo: number
}

/**
 * The pinned CAs' own certificates, where a policy pins nothing but CAs at which a chain may end anyway. With these as its
 * only trust anchors OpenSSL itself decides whether a chain goes through a pinned CA, name constraints and policies included,
 * which is stronger than looking at a chain afterwards.
 *
 * Pins add to PKI: they are some of `anchors`, and end a chain under the same conditions. For a CA below them OpenSSL would
 * look neither at what is above it, nor whether the server has sent it.
 *
 * @returns `undefined` where the verified chain has to be looked at instead: a pinned key may occur in it elsewhere than at
 *   its end, or OpenSSL would not come to the same chain with fewer anchors
 */
export function restrictAnchors(policy: Policy, anchors: TrustAnchors, now: number): Restriction | undefined {
  if (policy.trust !== 'pki' || policy.rejected.size > 0 || !anchors.areComplete) return undefined
  if (![...policy.pins.values()].every((place) => place === pinPlace.issuer)) return undefined
  const found: X509Certificate[] = []
  for (const pin of policy.pins.keys()) {
    const certificates = anchors.findPinned(pin).filter((certificate) => isInDate(certificate, now) && (anchors.partial || isSelfSigned(certificate)))
    if (certificates.length === 0) return undefined
    found.push(...certificates.filter((certificate) => !found.includes(certificate)))
  }
  // OpenSSL would not know these, and a path may need them.
  if (anchors.intermediates.some((certificate) => !found.includes(certificate))) return undefined
  // Of several anchors of one name it takes the first that fits, whatever comes of it.
  if (found.some(({ subject }) => anchors.named(subject).some((other) => !found.includes(other)))) return undefined
  return { certificates: found, validTo: Math.min(...found.map((certificate) => Date.parse(certificate.validTo))) }
}
