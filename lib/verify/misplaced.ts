import type { X509Certificate } from 'node:crypto'
import { pinPlace } from '../policy/policy.js'
import type { Policy } from '../policy/policy.js'
import { summarise } from './records.js'

/** A pin of the policy that names a certificate of the chain, and counts in another place of it only. */
export interface MisplacedPin {
  readonly pin: string
  readonly kind: 'key' | 'certificate'
  /** Of the chain it was looked for in; 0 is the leaf. */
  readonly depth: number
  readonly certificate: X509Certificate
}

/** Tells what went wrong, and never decides: what is found here does not count. */
export function findMisplaced(policy: Policy, certificates: readonly X509Certificate[]): MisplacedPin | undefined {
  for (const [depth, certificate] of certificates.entries()) {
    const counts = depth === 0 ? pinPlace.leaf : pinPlace.issuer
    const { pin, fingerprint } = summarise(certificate)
    if (pin !== undefined && isElsewhere(policy, pin, counts)) return { pin, kind: 'key', depth, certificate }
    if (isElsewhere(policy, fingerprint, counts)) return { pin: fingerprint, kind: 'certificate', depth, certificate }
  }
  return undefined
}

function isElsewhere({ pins }: Policy, pin: string, counts: number): boolean {
  const places = pins.get(pin)
  return places !== undefined && (places & counts) === 0
}
