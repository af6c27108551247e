import type { X509Certificate } from 'node:crypto'
import { keyPinOf } from '../pin/spki.js'
import { pinPlace } from '../policy/policy.js'
import type { Policy } from '../policy/policy.js'
import type { TrustAnchors } from './anchors.js'
import { buildChain, isInDate } from './chain.js'
import { constraintsOf } from './constraints.js'

/** The pinned CAs as trust anchors. */
export interface Restriction {
  readonly certificates: readonly X509Certificate[]
  /** Milliseconds since the epoch; after it, it has to be worked out anew. */
  readonly validTo: number
}

/**
 * The pinned CAs' own certificates, where a policy pins nothing but CAs and the certificate of each is known: given as
 * PEM, or one of the trust anchors. With these as its only trust anchors OpenSSL itself decides whether a chain goes
 * through a pinned CA, name constraints and policies included, which is stronger than looking at a chain afterwards.
 *
 * Pins add to PKI: a CA given as PEM must itself lead to one of `anchors`.
 *
 * @returns `undefined` where the verified chain has to be looked at instead: a pinned key may occur in it that no
 *   certificate in date is known of
 */
export function restrictAnchors(policy: Policy, anchors: TrustAnchors, now: number): Restriction | undefined {
  if (policy.trust !== 'pki' || policy.rejected.size > 0) return undefined
  if (![...policy.pins.values()].every((place) => place === pinPlace.issuer)) return undefined
  const given = new Map<string, X509Certificate[]>()
  let validTo = Infinity
  for (const certificate of policy.authorities) {
    const anchoredTo = findAnchoredTo(certificate, policy.authorities, anchors, now)
    if (anchoredTo === undefined) return undefined
    validTo = Math.min(validTo, anchoredTo)
    const pin = keyPinOf(certificate)
    given.set(pin, [...(given.get(pin) ?? []), certificate])
  }
  const found: X509Certificate[] = []
  for (const pin of policy.pins.keys()) {
    const certificates = [...(given.get(pin) ?? []), ...anchors.findPinned(pin)].filter((certificate) => isInDate(certificate, now))
    if (certificates.length === 0) return undefined
    found.push(...certificates)
  }
  // OpenSSL would not know these, and a path may need them.
  if (anchors.intermediates.some((certificate) => !found.includes(certificate))) return undefined
  return { certificates: found, validTo: Math.min(validTo, ...found.map((certificate) => Date.parse(certificate.validTo))) }
}

/**
 * Until when a given CA leads to a trust anchor. OpenSSL will not look above it, so what is above must not limit what is
 * below it any further than the CA does itself.
 */
function findAnchoredTo(certificate: X509Certificate, given: readonly X509Certificate[], anchors: TrustAnchors, now: number): number | undefined {
  if (anchors.has(certificate)) return Date.parse(certificate.validTo)
  const chain = buildChain(certificate, given.filter((other) => other !== certificate), anchors, now)
  const own = constraintsOf(certificate)?.pathLength ?? Infinity
  const limited = chain?.certificates.slice(1).some((above, depth) => {
    const limits = constraintsOf(above)
    return limits === undefined || limits.nameConstraints || limits.pathLength < own + depth + 1
  })
  return limited ? undefined : chain?.validTo
}
