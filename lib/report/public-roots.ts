import { createHash } from 'node:crypto'
import type { X509Certificate } from 'node:crypto'
import { rootCertificates } from 'node:tls'

/** Whether a certificate is one of the public roots that are bundled with Node.js (Mozilla's list). */
export function isPublicRoot({ fingerprint256 }: X509Certificate): boolean {
  // About a millisecond, once.
  fingerprints ??= new Set(rootCertificates.map(fingerprintOfPem))
  return fingerprints.has(fingerprint256)
}

let fingerprints: Set<string> | undefined

function fingerprintOfPem(pem: string): string {
  const der = Buffer.from(pem.replaceAll(/-----[^-]+-----/g, ''), 'base64')
  return createHash('sha256').update(der).digest('hex').toUpperCase().replaceAll(/(..)(?!$)/g, '$1:')
}
