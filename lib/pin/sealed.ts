import { X509Certificate, createPrivateKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import { PinInvalidError } from '../errors.js'
import { derTag, readDer, readDerChildren } from './der.js'

/**
 * What a passphrase may protect: a key store (PKCS#12: a key, its certificate, and others) or a private key alone.
 * `undefined` for everything else.
 */
export function sealOf(source: Buffer): 'key store' | 'private key' | undefined {
  if (keyStoreStart.test(source.subarray(0, 16).toString('latin1'))) return 'key store'
  const text = source.toString('latin1')
  // The first key counts, as in pinOf(): one that follows a certificate does not matter.
  const first = /-----BEGIN ((?:TRUSTED |X509 |NEW )?CERTIFICATE(?: REQUEST)?|[A-Z0-9 ]*(?:PRIVATE|PUBLIC) KEY)-----([^]{0,100})/.exec(text)
  if (first) return first[1]?.startsWith('ENCRYPTED') || /^\s*Proc-Type: *4, *ENCRYPTED/.test(first[2] as string) ? 'private key' : undefined
  return isEncryptedKey(source) ? 'private key' : undefined
}

/**
 * Opens a key store or an encrypted private key, PEM or DER. Of a key store the certificate that belongs to its key.
 *
 * @param passphrase `undefined` where there is none; a key store may have an empty one
 * @throws {PinInvalidError} `ERR_PIN_INVALID` with the reason; neither source nor passphrase is ever echoed
 */
export function openSealed(source: Buffer, passphrase: Buffer | undefined): X509Certificate | KeyObject {
  return sealOf(source) === 'key store' ? openKeyStore(source, passphrase) : openKey(source, passphrase)
}

// PFX (RFC 7292 §4): SEQUENCE { INTEGER 3, … }; Windows and Java write BER, whose length may be indefinite.
const keyStoreStart = /^\x30(?:[\x00-\x80]|\x81[^]|\x82[^]{2}|\x83[^]{3}|\x84[^]{4})\x02\x01\x03/

/** EncryptedPrivateKeyInfo (RFC 5958 §3): SEQUENCE { SEQUENCE { an OID of PKCS#5 or #12, … }, OCTET STRING }. */
function isEncryptedKey(der: Buffer): boolean {
  try {
    const [algorithm, data, ...rest] = readDerChildren(readDer(der))
    const [oid] = algorithm?.tag === derTag.sequence ? readDerChildren(algorithm) : []
    return rest.length === 0 && data?.tag === derTag.octetString && oid?.tag === derTag.oid && passwordBased.test(oid.content.toString('hex'))
  } catch {
    return false
  }
}

// 1.2.840.113549.1.5 and 1.2.840.113549.1.12
const passwordBased = /^2a864886f70d01(?:05|0c)/

function openKeyStore(pfx: Buffer, passphrase: Buffer | undefined): X509Certificate {
  try {
    // Only read here, so neither a small key nor an old hash matters. The certificate that a context presents is shown
    // by its native half, on Node 20 to 26, undocumented; node:crypto has no reader for PKCS#12.
    const context = createSecureContext({ pfx, ...(passphrase && { passphrase: passphrase.toString() }), ciphers: 'ALL@SECLEVEL=0' }).context as { getCertificate(): Buffer }
    return new X509Certificate(context.getCertificate())
  } catch (cause) {
    throw new PinInvalidError('(a key store)', explainKeyStore((cause as Error).message, passphrase !== undefined), { cause })
  }
}

function explainKeyStore(message: string, hadPassphrase: boolean): string {
  if (/mac verify failure/i.test(message)) return hadPassphrase ? 'its passphrase is another one, or it is damaged' : 'it is encrypted, and no passphrase was given'
  if (/unsupported/i.test(message)) return 'it is encrypted with an algorithm that OpenSSL 3 no longer reads (RC2, 3DES); right would be its certificate: openssl pkcs12 -legacy -nokeys -clcerts -in FILE'
  if (/private key/i.test(message)) return 'it has no private key, and so no certificate of its own; right would be the certificate itself'
  if (/certificate/i.test(message)) return 'it has no certificate that belongs to its key; right would be the key itself: openssl pkcs12 -nocerts -in FILE'
  return `it cannot be read (${message})`
}

function openKey(source: Buffer, passphrase: Buffer | undefined): KeyObject {
  if (passphrase === undefined) throw new PinInvalidError('(a private key)', 'it is encrypted, and no passphrase was given')
  try {
    return source.includes('-----BEGIN ') ? createPrivateKey({ key: source, passphrase }) : createPrivateKey({ key: source, format: 'der', type: 'pkcs8', passphrase })
  } catch (cause) {
    // One wrong passphrase in 256 ends in padding that happens to fit; then OpenSSL complains of what it has decrypted.
    throw new PinInvalidError('(a private key)', 'its passphrase is another one, or it is damaged', { cause })
  }
}
