import { sign } from 'node:crypto'
import { der } from './pki.js'
import type { IssuedCertificate } from './pki.js'

/** A certificate revocation list (RFC 5280 §5.1) of a CA with a P-256 key, as PEM. */
export function revocationList(issuer: IssuedCertificate, revoked: readonly IssuedCertificate[] = []): string {
  const hour = 60 * 60 * 1_000
  const algorithm = der.sequence(der.oid('1.2.840.10045.4.3.2'))
  const entries = revoked.map(({ x509 }) => der.sequence(der.tlv(0x02, Buffer.from(x509.serialNumber, 'hex')), der.time(new Date(Date.now() - hour))))
  const number = der.sequence(der.oid('2.5.29.20'), der.octetString(der.integer(1)))
  const list = der.sequence(
    der.integer(1),
    algorithm,
    issuer.subjectName,
    der.time(new Date(Date.now() - hour)),
    der.time(new Date(Date.now() + hour)),
    ...(entries.length > 0 ? [der.sequence(...entries)] : []),
    der.tagged(0, der.sequence(number))
  )
  const signed = der.sequence(list, algorithm, der.bitString(sign('sha256', list, issuer.key.privateKey)))
  return ['-----BEGIN X509 CRL-----', ...(signed.toString('base64').match(/.{1,64}/g) ?? []), '-----END X509 CRL-----', ''].join('\n')
}
