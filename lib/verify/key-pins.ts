import type { X509Certificate } from 'node:crypto'
import { keyPinOf } from '../pin/spki.js'

/**
 * The pin of a certificate's key, {@link keyPinOf}; remembered by the certificate's fingerprint, which is worked out forty
 * times as quickly. For certificates that Node itself has read: of one that somebody hands over, neither is to be believed.
 * @throws {PinInvalidError} when OpenSSL cannot read the key
 */
export function rememberedKeyPin(certificate: X509Certificate): string {
  const { fingerprint256 } = certificate
  const known = pins.get(fingerprint256)
  if (known !== undefined) return known
  const pin = keyPinOf(certificate)
  if (pins.size >= limit) pins.delete(pins.keys().next().value as string)
  pins.set(fingerprint256, pin)
  return pin
}

/** Bounded, oldest first: servers choose what they show. */
const pins = new Map<string, string>()
const limit = 2_000
