import { X509Certificate, createHash, createPrivateKey, createPublicKey, KeyObject } from 'node:crypto'
import { types } from 'node:util'
import { PinInvalidError } from '../errors.js'
import { derTag, readDer, readDerChildren } from './der.js'
import { describeType, formatKeyPin, looksLikePath } from './pin.js'

/** What a pin can be made of: PEM text or bytes, DER bytes, or Node's own objects. */
export type PinSource = string | Uint8Array | X509Certificate | KeyObject

/**
 * The pin of a public key: `sha256/<base64>` of its DER SubjectPublicKeyInfo (RFC 7469 §2.4), byte-equal to
 * `openssl x509 -pubkey -noout | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary | base64`.
 *
 * Takes a certificate, a public or private key, or a certificate request (PKCS#10), as PEM, DER or Node object.
 * Of a PEM file with several parts the first certificate, request or key counts. A request's own signature is not
 * checked.
 *
 * @throws {TypeError} for a source of another type
 * @throws {PinInvalidError} `ERR_PIN_INVALID` when no key can be read from it, with the reason; the source is never echoed
 */
export function pinOf(source: PinSource): string {
  if (source instanceof X509Certificate) return keyPinOf(source)
  if (source instanceof KeyObject) return hashKey(source)
  if (typeof source === 'string') return pinOfPem(source)
  if (!ArrayBuffer.isView(source)) throw unsuitable('pinOf', source)
  const bytes = Buffer.from(source.buffer, source.byteOffset, source.byteLength)
  return looksLikePem(bytes) ? pinOfPem(bytes.toString('latin1')) : pinOfDer(bytes)
}

/**
 * The SHA-256 of a whole certificate, as `openssl x509 -noout -fingerprint -sha256` prints it: `AB:CD:…`.
 * Of a PEM file with several certificates the first counts: the leaf, in a chain file.
 *
 * @throws {TypeError} for a source of another type
 * @throws {PinInvalidError} `ERR_PIN_INVALID` when it is not a certificate
 */
export function fingerprintOf(source: string | Uint8Array | X509Certificate): string {
  if (source instanceof X509Certificate) return source.fingerprint256
  if (typeof source !== 'string' && !ArrayBuffer.isView(source)) throw unsuitable('fingerprintOf', source)
  return parseCertificate(source).fingerprint256
}

/**
 * Reads one certificate, PEM or DER.
 * @throws {PinInvalidError} `ERR_PIN_INVALID`; the source is never echoed
 */
export function parseCertificate(source: string | Uint8Array): X509Certificate {
  const text = typeof source === 'string' ? source : undefined
  if (text !== undefined && !looksLikePem(Buffer.from(text, 'latin1'))) throw new PinInvalidError(describeSource(source), looksLikePath(text) ? pathGiven : 'it is not a PEM certificate (-----BEGIN CERTIFICATE-----)')
  try {
    return new X509Certificate(text ?? (source))
  } catch (cause) {
    throw new PinInvalidError(describeSource(source), `it is not a certificate (${reasonOf(cause)})`, { cause })
  }
}

/**
 * The pin of a certificate's key. The key is the one OpenSSL uses, exported anew: slicing it out of the certificate's
 * bytes could read another key than OpenSSL does, and `getPeerCertificate().pubkey` is a SubjectPublicKeyInfo for RSA only.
 */
export function keyPinOf(certificate: X509Certificate): string {
  let key: KeyObject
  try {
    key = certificate.publicKey
  } catch (cause) {
    throw new PinInvalidError('(a certificate)', `its public key cannot be read (${reasonOf(cause)})`, { cause })
  }
  return hashKey(key)
}

function hashKey(key: KeyObject): string {
  if (key.type === 'secret') throw new PinInvalidError('(a secret key)', 'a symmetric key has no SubjectPublicKeyInfo; right would be a public key')
  try {
    const spki = (key.type === 'private' ? createPublicKey(key) : key).export({ type: 'spki', format: 'der' })
    return formatKeyPin(createHash('sha256').update(spki).digest())
  } catch (cause) {
    throw new PinInvalidError(`(a ${key.asymmetricKeyType ?? 'public'} key)`, `it cannot be exported as SubjectPublicKeyInfo (${reasonOf(cause)})`, { cause })
  }
}

function pinOfPem(text: string): string {
  for (const { block, label } of pemBlocks(text)) {
    const pin = pinOfBlock(block, label)
    if (pin !== undefined) return pin
  }
  throw new PinInvalidError(describeSource(text), looksLikePath(text) ? pathGiven : 'it has no PEM part that holds a key; right would be a certificate, a public or private key, or a certificate request')
}

/** Each block lasts until the next line of dashes; an encrypted key's `DEK-Info` has single ones. */
function* pemBlocks(text: string): Iterable<{ block: string; label: string }> {
  const boundaries = [...text.matchAll(/-----(BEGIN|END) ([A-Z0-9 ]+)-----/g)]
  for (const [i, begin] of boundaries.entries()) {
    const end = boundaries[i + 1]
    if (begin[1] !== 'BEGIN' || end?.[1] !== 'END' || end[2] !== begin[2]) continue
    yield { block: text.slice(begin.index, end.index + end[0].length), label: begin[2] as string }
  }
}

/** `undefined` for parts that come before the key, such as `EC PARAMETERS`. */
function pinOfBlock(block: string, label: string): string | undefined {
  if (/^(?:X509 |TRUSTED )?CERTIFICATE$/.test(label)) return keyPinOf(parseCertificate(block))
  if (/^(?:NEW )?CERTIFICATE REQUEST$/.test(label)) return pinOfRequest(Buffer.from(block.replaceAll(/-----[^-]+-----/g, ''), 'base64'), label)
  if (label.endsWith('PRIVATE KEY')) return hashKey(readKey(() => createPrivateKey(block), label))
  if (label.endsWith('PUBLIC KEY')) return hashKey(readKey(() => createPublicKey(block), label))
  return undefined
}

function readKey(read: () => KeyObject, label: string): KeyObject {
  try {
    return read()
  } catch (cause) {
    const reason = label.startsWith('ENCRYPTED') || /passphrase|interrupted or cancelled|password/i.test(reasonOf(cause)) ? 'it is encrypted; decrypt it first, or pin its public key or certificate' : reasonOf(cause)
    throw new PinInvalidError(`(PEM ${label})`, reason, { cause })
  }
}

/** DER does not say what it is, so each form is tried; all are told apart by their structure. */
function pinOfDer(der: Buffer): string {
  const certificate = findCertificate(der)
  if (certificate) return keyPinOf(certificate)
  const readers: Array<() => string> = [
    () => hashKey(createPublicKey({ key: der, format: 'der', type: 'spki' })),
    () => hashKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })),
    () => hashKey(createPrivateKey({ key: der, format: 'der', type: 'sec1' })),
    () => hashKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs1' })),
    () => hashKey(createPublicKey({ key: der, format: 'der', type: 'pkcs1' })),
    () => pinOfRequest(der, 'DER')
  ]
  for (const read of readers) {
    try {
      return read()
    } catch {
      // Not of this form; the next is tried.
    }
  }
  throw new PinInvalidError(describeSource(der), 'it is neither a certificate, a key nor a certificate request in DER')
}

function findCertificate(der: Buffer): X509Certificate | undefined {
  try {
    return new X509Certificate(der)
  } catch {
    return undefined
  }
}

/**
 * CertificationRequest (RFC 2986 §4.2): SEQUENCE { CertificationRequestInfo { version, subject, subjectPKInfo, … }, … }.
 * Node cannot read it, so the SubjectPublicKeyInfo is cut out of strict DER and given to OpenSSL.
 */
function pinOfRequest(der: Buffer, label: string): string {
  try {
    const [info] = readDerChildren(readDer(der))
    const [version, , spki] = info === undefined ? [] : readDerChildren(info)
    if (version?.tag !== derTag.integer || spki === undefined) throw new RangeError('it has no SubjectPublicKeyInfo')
    return hashKey(createPublicKey({ key: spki.raw, format: 'der', type: 'spki' }))
  } catch (cause) {
    throw new PinInvalidError(`(${label})`, `it is not a certificate request (${reasonOf(cause)})`, { cause })
  }
}

const pathGiven = 'this looks like a path; right would be what the file holds: readFileSync(path)'

function looksLikePem(bytes: Buffer): boolean {
  return bytes.includes('-----BEGIN ')
}

function describeSource(source: string | Uint8Array): string {
  return typeof source === 'string' ? `(a text of ${source.length} characters)` : `(${source.byteLength} bytes)`
}

function unsuitable(name: string, source: unknown): TypeError {
  return new TypeError(`${name}() takes PEM text, DER bytes, an X509Certificate${name === 'pinOf' ? ' or a KeyObject' : ''}, not ${describeType(source)}`)
}

function reasonOf(error: unknown): string {
  return types.isNativeError(error) ? error.message : String(error)
}
