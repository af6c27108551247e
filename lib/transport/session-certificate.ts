import { derTag, readDer, readDerChildren } from '../pin/der.js'

/**
 * A TLS 1.3 session without the copy of the server's certificate that OpenSSL puts into it. For every connection that
 * resumes one OpenSSL would parse that copy again, a tenth of the whole connection's time; nobody asks for it, since Node
 * shows no certificate on a resumed connection. Only for sessions of connections whose chain Node has accepted: without the
 * certificate Node does not look at OpenSSL's verdict that stands in the session.
 *
 * A TLS 1.2 session stays as it is (Node demands the certificate there), and so does what is not understood.
 *
 * @param session as the `'session'` event gave it: OpenSSL's `SSL_SESSION` in DER, which newer versions of Node put behind a
 *   mark and the server's name
 */
export function withoutCertificate(session: Buffer): Buffer {
  try {
    const start = startOfDer(session)
    const der = readDer(session.subarray(start))
    const fields = readDerChildren(der)
    const [format, version] = fields
    if (der.tag !== derTag.sequence || format?.tag !== derTag.integer || !format.content.equals(formatOne) || version?.tag !== derTag.integer || !version.content.equals(tls13)) return session
    const kept = fields.filter(({ tag }) => tag !== certificateTag)
    if (kept.length === fields.length) return session
    const content = Buffer.concat(kept.map(({ raw }) => raw))
    return Buffer.concat([session.subarray(0, start), headOfSequence(content.length), content])
  } catch {
    // Another format than the ones known: as good as before, only slower.
    return session
  }
}

const mark = Buffer.from('\0nodejs:tls:session:1\0', 'latin1')
const formatOne = Buffer.of(1)
const tls13 = Buffer.of(0x03, 0x04)
/** `peer [3] EXPLICIT X509 OPTIONAL`, in OpenSSL's ssl/ssl_asn1.c. */
const certificateTag = 0xa3

function startOfDer(session: Buffer): number {
  if (!session.subarray(0, mark.length).equals(mark)) return 0
  return mark.length + 2 + session.readUInt16BE(mark.length)
}

function headOfSequence(length: number): Buffer {
  if (length < 0x80) return Buffer.of(derTag.sequence, length)
  if (length < 0x100) return Buffer.of(derTag.sequence, 0x81, length)
  if (length < 0x10000) return Buffer.of(derTag.sequence, 0x82, length >> 8, length & 0xff)
  throw new RangeError('a session of 64 KiB and more')
}
