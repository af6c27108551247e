import type { X509Certificate } from 'node:crypto'
import { checkServerIdentity } from 'node:tls'
import type { PeerCertificate } from 'node:tls'
import { readDerChildren } from '../pin/der.js'
import { subjectOf } from './constraints.js'

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
    subject: {
      // Read only when there is no usable subjectAltName.
      get CN() {
        return hasTextSubject(leaf) ? commonNamesOf(leaf.subject) : undefined
      }
    }
  }
  return checkServerIdentity(hostname, certificate as unknown as PeerCertificate)
}

/**
 * Whether every part of the subject is a character string. Node prints a BIT STRING or a SEQUENCE as if it were text, but
 * takes no host's name from it (Node 20 then takes none from the other parts either).
 */
function hasTextSubject(leaf: X509Certificate): boolean {
  try {
    const values = readDerChildren(subjectOf(leaf)).flatMap(readDerChildren).map((attribute) => readDerChildren(attribute)[1] ?? noValue())
    return values.every(({ tag }) => textTags.has(tag))
  } catch (error) {
    if (error instanceof RangeError) return false
    throw error
  }
}

function noValue(): never {
  throw new RangeError('not a certificate')
}

// UTF8String, NumericString, PrintableString, TeletexString, IA5String, VisibleString, UniversalString, BMPString.
const textTags = new Set([0x0c, 0x12, 0x13, 0x14, 0x16, 0x1a, 0x1c, 0x1e])

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
