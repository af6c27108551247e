import type { CertificateOptions } from './pki.js'

/**
 * Options for certificates that every client must refuse, by what is wrong with them; a test says which one it wants:
 * `root.issue(faults.expired)`, `root.issue({ ...faults.wrongName, key })`.
 */
export const faults = {
  /** `CERT_HAS_EXPIRED` */
  expired: { notBefore: daysFromNow(-90), notAfter: daysFromNow(-1) },
  /** `CERT_NOT_YET_VALID` */
  notYetValid: { notBefore: daysFromNow(1), notAfter: daysFromNow(90) },
  /** For another host: `ERR_TLS_CERT_ALTNAME_INVALID` */
  wrongName: { names: ['somebody-else.test'] },
  /** `CERT_SIGNATURE_FAILURE` */
  badSignature: { corruptSignature: true },
  /** For TLS clients only: `INVALID_PURPOSE` */
  wrongPurpose: { extendedKeyUsage: ['clientAuth'] }
} as const satisfies Record<string, CertificateOptions>

function daysFromNow(days: number): Date {
  return new Date(Date.now() + days * 86_400_000)
}
