import type { X509Certificate } from 'node:crypto'
import { keyPinOf } from '../pin/spki.js'
import { pinPlace } from '../policy/policy.js'
import type { Policy } from '../policy/policy.js'
import type { TrustAnchors } from './anchors.js'
import { buildChain } from './chain.js'

/**
 * The pinned CAs' own certificates, where a policy pins nothing but CAs and the certificate of each is known: given as
 * PEM, or one of the trust anchors. With these as its only trust anchors OpenSSL itself decides whether a chain goes
 * through a pinned CA, name constraints and policies included, which is stronger than looking at a chain afterwards.
 *
 * Pins add to PKI: a CA given as PEM must itself lead to one of `anchors`.
 *
 * @returns `undefined` where the verified chain has to be looked at instead
 */
export function restrictAnchors(policy: Policy, anchors: TrustAnchors, now: number): readonly X509Certificate[] | undefined {
  if (policy.trust !== 'pki' || policy.rejected.size > 0) return undefined
  if (![...policy.pins.values()].every((place) => place === pinPlace.issuer)) return undefined
  const given = new Map<string, X509Certificate[]>()
  for (const certificate of policy.authorities) {
    if (!isAnchored(certificate, policy.authorities, anchors, now)) return undefined
    const pin = keyPinOf(certificate)
    given.set(pin, [...(given.get(pin) ?? []), certificate])
  }
  const found: X509Certificate[] = []
  for (const pin of policy.pins.keys()) {
    const certificates = [...(given.get(pin) ?? []), ...anchors.findPinned(pin)]
    if (certificates.length === 0) return undefined
    found.push(...certificates)
  }
  return found
}

function isAnchored(certificate: X509Certificate, given: readonly X509Certificate[], anchors: TrustAnchors, now: number): boolean {
  return anchors.has(certificate) || buildChain(certificate, given.filter((other) => other !== certificate), anchors, now) !== undefined
}
