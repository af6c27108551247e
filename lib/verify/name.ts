import type { X509Certificate } from 'node:crypto'
import { checkServerIdentity } from 'node:tls'
import type { PeerCertificate } from 'node:tls'

/**
 * Node's own decision on the host's name, `tls.checkServerIdentity`, on the two fields it reads.
 *
 * Node hands that function the legacy certificate object, which costs more than the rest of the check and crashes
 * Node 24 and 26 on keys of curves without a NIST name; `subjectAltName` is the same text there and here.
 *
 * @returns Node's `ERR_TLS_CERT_ALTNAME_INVALID`, or `undefined` when the name fits
 */
export function checkName(hostname: string, leaf: X509Certificate): Error | undefined {
  const certificate = {
    subjectaltname: leaf.subjectAltName,
    // Read only when there is no usable subjectAltName.
    get subject() {
      return { CN: commonNamesOf(leaf.subject) }
    }
  }
  return checkServerIdentity(hostname, certificate as unknown as PeerCertificate)
}

/**
 * The common names of a subject as Node prints it: one relative name a line, multi-valued ones joined by ` + `, values
 * escaped as in RFC 2253, control characters as `\0A`. One as text, several as an array, as in the legacy object.
 */
function commonNamesOf(subject: string | undefined): string | string[] | undefined {
  const names = (subject ?? '')
    .split('\n')
    .flatMap((line) => line.split(' + '))
    .filter((part) => part.startsWith('CN='))
    .map((part) => unescape2253(part.slice(3)))
  return names.length > 1 ? names : names[0]
}

function unescape2253(text: string): string {
  return text.replaceAll(/\\([0-9A-Fa-f]{2})|\\(.)/gs, (_, hex: string | undefined, plain: string | undefined) => (hex === undefined ? (plain as string) : String.fromCharCode(parseInt(hex, 16))))
}
