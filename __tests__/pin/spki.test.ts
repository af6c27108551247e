import { execFileSync, spawnSync } from 'node:child_process'
import { X509Certificate, createHash, createPublicKey, createSecretKey, generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { types } from 'node:util'
import fc from 'fast-check'
import { PinInvalidError } from '../../lib/errors.js'
import { parsePin } from '../../lib/pin/pin.js'
import { fingerprintOf, keyPinOf, parseCertificate, pinOf } from '../../lib/pin/spki.js'
import type { PinSource } from '../../lib/pin/spki.js'
import { certificateRequest, createAuthority, createSelfSigned, der, generateKey, indefiniteLength, paddedLength } from '../support/pki.js'
import type { KeyKind, KeyPair } from '../support/pki.js'

const hasOpenssl = spawnSync('openssl', ['version']).status === 0
const describeWithOpenssl = hasOpenssl ? describe : describe.skip

const kinds: KeyKind[] = ['rsa', 'rsa-pss', 'p256', 'p384', 'p521', 'ed25519', 'ed448', 'secp256k1', 'brainpoolP256r1']
const keys = new Map(kinds.map((kind) => [String(kind), generateKey(kind)]))
const key = keys.get('p256') as KeyPair
const certificate = createSelfSigned({ key })
const request = certificateRequest(key, ['api.test'])
const pin = `sha256/${createHash('sha256').update(certificate.spki).digest('base64')}`

function openssl(args: string[], input?: string | Buffer): Buffer {
  return execFileSync('openssl', args, { input: input ?? '', stdio: ['pipe', 'pipe', 'pipe'] })
}

/** The documented pipeline: `… -pubkey -noout | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary | base64`. */
function opensslPin(publicPem: string | Buffer): string {
  return `sha256/${openssl(['dgst', '-sha256', '-binary'], openssl(['pkey', '-pubin', '-outform', 'DER'], publicPem)).toString('base64')}`
}

function pemOf(label: string, bytes: Buffer): string {
  return `-----BEGIN ${label}-----\n${(bytes.toString('base64').match(/.{1,64}/g) ?? []).join('\n')}\n-----END ${label}-----\n`
}

function nameOfError(work: () => unknown): string | undefined {
  try {
    work()
    return undefined
  } catch (error) {
    return (error as Error).name
  }
}

function refusalOf(work: () => unknown): PinInvalidError {
  try {
    work()
  } catch (error) {
    if (error instanceof PinInvalidError) return error
    throw error
  }
  throw new Error('it was not refused')
}

describeWithOpenssl.each([...keys])('what openssl says of a key of type %s is said', (_, pair) => {
  const made = createSelfSigned({ key: pair })
  const csr = certificateRequest(pair, ['api.test'])
  const expected = opensslPin(openssl(['x509', '-pubkey', '-noout'], made.pem))

  test('of its certificate by pinOf, in PEM, DER and as an X509Certificate', () => {
    expect(expected).toBe(made.pin)
    for (const source of [made.pem, Buffer.from(made.pem), made.der, Uint8Array.from(made.der), made.x509]) expect(pinOf(source)).toBe(expected)
    expect(keyPinOf(made.x509)).toBe(expected)
  })

  test('of its certificate by fingerprintOf, in PEM, DER and as an X509Certificate', () => {
    const line = openssl(['x509', '-noout', '-fingerprint', '-sha256'], made.pem).toString()
    const fingerprint = line.slice(line.indexOf('=') + 1).trim()
    for (const source of [made.pem, Buffer.from(made.pem), made.der, Uint8Array.from(made.der), made.x509]) expect(fingerprintOf(source)).toBe(fingerprint)
    // What openssl prints can be pasted as it is.
    expect(parsePin(line)).toEqual({ kind: 'certificate', text: fingerprint })
  })

  test('of its certificate request, in PEM and DER', () => {
    expect(opensslPin(openssl(['req', '-pubkey', '-noout'], csr.pem))).toBe(expected)
    for (const source of [csr.pem, Buffer.from(csr.pem), csr.der]) expect(pinOf(source)).toBe(expected)
  })

  test('of its private key, in PEM, DER and as a KeyObject', () => {
    const pem = pair.privateKey.export({ type: 'pkcs8', format: 'pem' })
    expect(opensslPin(openssl(['pkey', '-pubout'], pem as string))).toBe(expected)
    for (const source of [pem, Buffer.from(pem), pair.privateKey.export({ type: 'pkcs8', format: 'der' }), pair.privateKey]) expect(pinOf(source)).toBe(expected)
  })

  test('of its public key, in PEM, DER and as a KeyObject', () => {
    const pem = pair.publicKey.export({ type: 'spki', format: 'pem' })
    expect(opensslPin(pem as string)).toBe(expected)
    for (const source of [pem, Buffer.from(pem), pair.publicKey.export({ type: 'spki', format: 'der' }), pair.publicKey]) expect(pinOf(source)).toBe(expected)
  })
})

describeWithOpenssl('pinOf reads what openssl itself writes', () => {
  const folder = mkdtempSync(join(tmpdir(), 'spki-'))
  afterAll(() => { rmSync(folder, { recursive: true }) })

  test.each(['prime256v1', 'secp384r1', 'secp521r1'])('an EC key file on %s that begins with EC PARAMETERS', (curve) => {
    const file = openssl(['ecparam', '-name', curve, '-genkey']).toString()
    expect(file).toMatch(/^-----BEGIN EC PARAMETERS-----[^]*-----BEGIN EC PRIVATE KEY-----/)
    const expected = opensslPin(openssl(['pkey', '-pubout'], file))
    expect(pinOf(file)).toBe(expected)
    expect(pinOf(Buffer.from(file))).toBe(expected)
    expect(pinOf(openssl(['ec', '-outform', 'DER'], file))).toBe(expected)
  })

  test.each([
    ['a compressed point', ['-conv_form', 'compressed']],
    ['explicit parameters', ['-param_enc', 'explicit']]
  ])('an EC key with %s', (_, options) => {
    const file = openssl(['ecparam', '-name', 'prime256v1', '-genkey', ...options])
    const publicPem = openssl(['pkey', '-pubout'], file)
    expect(pinOf(file)).toBe(opensslPin(publicPem))
    expect(pinOf(publicPem)).toBe(opensslPin(publicPem))
    expect(pinOf(openssl(['pkey', '-pubin', '-outform', 'DER'], publicPem))).toBe(opensslPin(publicPem))
  })

  test('an RSA-PSS key with parameters, which belong to the SubjectPublicKeyInfo', () => {
    const { publicKey } = generateKeyPairSync('rsa-pss', { modulusLength: 1024, hashAlgorithm: 'sha256', mgf1HashAlgorithm: 'sha256' })
    const file = publicKey.export({ type: 'spki', format: 'pem' }).toString()
    expect(pinOf(file)).toBe(opensslPin(file))
    // The same numbers as a plain RSA key are another key.
    const modulus = openssl(['rsa', '-pubin', '-noout', '-modulus'], file).toString().trim().replace('Modulus=', '')
    expect(pinOf(createPublicKey({ key: { kty: 'RSA', n: Buffer.from(modulus, 'hex').toString('base64url'), e: 'AQAB' }, format: 'jwk' }))).not.toBe(pinOf(file))
  })

  test('PKCS#1, of a private and of a public key', () => {
    const { privateKey, publicKey } = keys.get('rsa') as KeyPair
    const expected = pinOf(publicKey)
    const privatePem = openssl(['rsa', '-traditional'], privateKey.export({ type: 'pkcs8', format: 'pem' }) as string).toString()
    const publicPem = openssl(['rsa', '-RSAPublicKey_out'], privatePem).toString()
    expect([privatePem.slice(0, 31), publicPem.slice(0, 30)]).toEqual(['-----BEGIN RSA PRIVATE KEY-----', '-----BEGIN RSA PUBLIC KEY-----'])
    for (const source of [privatePem, publicPem, privateKey.export({ type: 'pkcs1', format: 'der' }), publicKey.export({ type: 'pkcs1', format: 'der' })]) expect(pinOf(source)).toBe(expected)
  })

  test('a TRUSTED CERTIFICATE, without what openssl added to it', () => {
    const trusted = openssl(['x509', '-trustout', '-addtrust', 'serverAuth', '-setalias', 'mine'], certificate.pem).toString()
    expect(trusted).toContain('BEGIN TRUSTED CERTIFICATE')
    expect([pinOf(trusted), fingerprintOf(trusted)]).toEqual([pin, certificate.fingerprint])
  })

  test('the text that x509 -text puts in front of a certificate', () => {
    const text = openssl(['x509', '-text'], certificate.pem).toString()
    expect(text.indexOf('-----BEGIN')).toBeGreaterThan(100)
    expect([pinOf(text), fingerprintOf(text)]).toEqual([pin, certificate.fingerprint])
  })

  test('a request made by openssl, whose attributes are its own', () => {
    const file = join(folder, 'key.pem')
    openssl(['genpkey', '-algorithm', 'ED25519', '-out', file])
    const csr = openssl(['req', '-new', '-key', file, '-subj', '/CN=api.test/O=A, B', '-addext', 'subjectAltName=DNS:api.test'])
    expect(pinOf(csr)).toBe(opensslPin(openssl(['pkey', '-in', file, '-pubout'])))
    expect(pinOf(openssl(['req', '-outform', 'DER'], csr))).toBe(pinOf(csr))
    expect(pinOf(csr.toString().replaceAll('CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST'))).toBe(pinOf(csr))
  })

  test.each([
    ['PKCS#8', ['pkcs8', '-topk8', '-passout', 'pass:secret']],
    ['the traditional form, whose DEK-Info has a dash', ['ec', '-aes-256-cbc', '-passout', 'pass:secret']]
  ])('a key encrypted in %s, as far as to say so', (_, command) => {
    const encrypted = openssl(command, key.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string).toString()
    expect(refusalOf(() => pinOf(encrypted)).reason).toContain('it is encrypted; decrypt it first')
  })

  test('a certificate whose key is in BER: the key is the one that OpenSSL uses', () => {
    for (const spki of [indefiniteLength, paddedLength]) {
      const lenient = createSelfSigned({ key, spki })
      const expected = opensslPin(openssl(['x509', '-pubkey', '-noout'], lenient.pem))
      expect(lenient.spki.equals(certificate.spki)).toBe(false)
      expect([pinOf(lenient.pem), pinOf(lenient.der)]).toEqual([expected, expected])
      expect(expected).toBe(pin)
    }
  })
})

describe('pinOf', () => {
  test('takes the first certificate of a chain file, the leaf', () => {
    const ca = createAuthority({ key: keys.get('p384') as KeyPair })
    const leaf = ca.issueAuthority().issue({ key })
    expect(leaf.chain.length).toBe(2)
    expect([pinOf(leaf.chainPem), fingerprintOf(leaf.chainPem)]).toEqual([pin, leaf.fingerprint])
  })

  test('takes the first certificate, request or key of a file, whatever comes first', () => {
    const other = createSelfSigned({ key: keys.get('p384') as KeyPair })
    expect(pinOf(certificate.keyPem + other.pem)).toBe(pin)
    expect(pinOf(other.pem + certificate.keyPem)).toBe(other.pin)
    expect(pinOf(request.pem + other.pem)).toBe(pin)
    expect(pinOf(pemOf('DH PARAMETERS', Buffer.from([0x30, 0])) + pemOf('X509 CRL', Buffer.from([0x30, 0])) + certificate.pem)).toBe(pin)
  })

  test('finds a certificate behind a part that was not closed', () => {
    expect(pinOf(`-----BEGIN CERTIFICATE-----\nMIIB\n${certificate.pem}`)).toBe(pin)
    expect(pinOf(`-----END CERTIFICATE-----\n${certificate.pem}`)).toBe(pin)
  })

  test('reads PEM whatever its line ends, and with text around it', () => {
    for (const pem of [certificate.pem, request.pem, certificate.keyPem]) {
      expect(pinOf(pem.replaceAll('\n', '\r\n'))).toBe(pin)
      expect(pinOf(`Bag Attributes\n    friendlyName: größe - 1\nsubject=CN = x\n${pem}\ntrailing`)).toBe(pin)
      expect(pinOf(Buffer.from(`\ufeffBag Attributes: größe\n${pem}`))).toBe(pin)
    }
  })

  test('reads bytes of any view, from its start to its end', () => {
    const padded = Buffer.concat([Buffer.alloc(8, 0x30), certificate.der, Buffer.alloc(8, 0x30)])
    const at = padded.byteOffset + 8
    for (const view of [new Uint8Array(padded.buffer, at, certificate.der.length), new DataView(padded.buffer, at, certificate.der.length)]) {
      expect(pinOf(view as Uint8Array)).toBe(pin)
      expect(fingerprintOf(view as Uint8Array)).toBe(certificate.fingerprint)
    }
  })

  test.each([
    ['nothing', ''],
    ['a word', 'hello'],
    ['a pin', pin],
    ['base64 without PEM lines', certificate.der.toString('base64')],
    ['PEM of something else', pemOf('X509 CRL', Buffer.from([0x30, 0]))],
    ['PEM whose end has another name', certificate.pem.replace('END CERTIFICATE', 'END CERTIFICATE REQUEST')],
    ['PEM without an end', certificate.pem.slice(0, -30)],
    ['PEM in lower case', certificate.pem.replaceAll('CERTIFICATE', 'certificate')],
    ['parameters alone', pemOf('EC PARAMETERS', der.oid('1.2.840.10045.3.1.7'))]
  ])('refuses %s, saying what would be right', (_, text) => {
    for (const source of [text, Buffer.from(text)]) expect(refusalOf(() => pinOf(source)).code).toBe('ERR_PIN_INVALID')
    expect(refusalOf(() => pinOf(text)).reason).toContain('right would be a certificate, a public or private key, or a certificate request')
  })

  test.each([
    ['no bytes', Buffer.alloc(0)],
    ['a lone SEQUENCE', Buffer.from('3000', 'hex')],
    ['a certificate cut short', certificate.der.subarray(0, -1)],
    ['a request in BER', indefiniteLength(request.der)],
    ['a request with bytes after it', Buffer.concat([request.der, Buffer.from([0])])],
    ['zeros', Buffer.alloc(64)]
  ])('refuses %s', (_, bytes) => {
    expect(refusalOf(() => pinOf(bytes)).message).toBe(`Not a pin: (${bytes.length} bytes): it is neither a certificate, a key nor a certificate request in DER`)
  })

  test('does not take a certificate for a request, nor a request for a certificate', () => {
    expect(refusalOf(() => pinOf(pemOf('CERTIFICATE REQUEST', certificate.der))).reason).toContain('it is not a certificate request')
    expect(refusalOf(() => pinOf(pemOf('CERTIFICATE', request.der))).reason).toContain('it is not a certificate')
    const version1 = createSelfSigned({ key, version: 1 })
    expect(refusalOf(() => pinOf(pemOf('CERTIFICATE REQUEST', version1.der))).reason).toContain('it is not a certificate request')
  })

  test('says that the key of a certificate cannot be read, in PEM as in DER, and not that it is no certificate', () => {
    const unknownKey = createSelfSigned({ key, spki: () => der.sequence(der.sequence(der.oid('1.3.6.1.4.1.55555.1')), der.bitString(Buffer.alloc(32, 7))) })
    expect(unknownKey.x509).toBeInstanceOf(X509Certificate)
    for (const source of [unknownKey.pem, unknownKey.der, unknownKey.x509]) {
      const error = refusalOf(() => pinOf(source))
      expect(error.message).toMatch(/^Not a pin: \(a certificate\): its public key cannot be read/)
      expect(types.isNativeError(error.cause)).toBe(true)
    }
    expect(fingerprintOf(unknownKey.der)).toBe(unknownKey.fingerprint)
  })

  test('refuses a symmetric key, which has no public half', () => {
    expect(refusalOf(() => pinOf(createSecretKey(Buffer.alloc(32)))).reason).toContain('no SubjectPublicKeyInfo')
  })

  const unsuitable: Array<[unknown, string]> = [[undefined, 'undefined'], [null, 'null'], [5, 'a number'], [{}, 'an object'], [[1, 2], 'an array'], [new ArrayBuffer(8), 'an object'], [() => pin, 'a function'], [Symbol('x'), 'a symbol'], [Object.create(null), 'an object'], [{ raw: certificate.der }, 'an object']]
  test.each(unsuitable)('refuses %p with a TypeError, as fingerprintOf does', (source, name) => {
    expect(() => pinOf(source as PinSource)).toThrow(new TypeError(`pinOf() takes PEM text, DER bytes, an X509Certificate or a KeyObject, not ${name}`))
    expect(() => fingerprintOf(source as string)).toThrow(new TypeError(`fingerprintOf() takes PEM text, DER bytes, an X509Certificate, not ${name}`))
  })

  test('is not fooled into reading objects that only inherit from the right class', () => {
    const empty = Object.create(X509Certificate.prototype) as X509Certificate
    expect(() => pinOf(empty)).toThrow(PinInvalidError)
    // Node's own TypeError, of another realm than jest's.
    expect(nameOfError(() => fingerprintOf(empty))).toBe('TypeError')
    expect(nameOfError(() => pinOf(Object.create(Object.getPrototypeOf(key.publicKey) as object) as KeyObject))).toBe('TypeError')
  })
})

describe('fingerprintOf and parseCertificate', () => {
  test('find the certificate in a file that begins with its key', () => {
    expect(fingerprintOf(certificate.keyPem + certificate.pem)).toBe(certificate.fingerprint)
  })

  test.each([
    ['nothing', '', 'it is not a PEM certificate'],
    ['base64 without PEM lines', certificate.der.toString('base64'), 'it is not a PEM certificate'],
    ['a public key', key.publicKey.export({ type: 'spki', format: 'pem' }).toString(), 'it is not a certificate ('],
    ['a private key', certificate.keyPem, 'it is not a certificate ('],
    ['a request', request.pem, 'it is not a certificate (']
  ])('refuse %s', (_, text, reason) => {
    for (const read of [fingerprintOf, parseCertificate]) expect(refusalOf(() => read(text)).message).toContain(`Not a pin: (a text of ${text.length} characters): ${reason}`)
    for (const read of [fingerprintOf, parseCertificate]) expect(refusalOf(() => read(Buffer.from(text))).message).toContain(`Not a pin: (${text.length} bytes): it is not a certificate (`)
  })

  test('keep what OpenSSL said as the cause', () => {
    expect(refusalOf(() => parseCertificate(request.der)).cause).toMatchObject({ code: expect.stringMatching(/^ERR_OSSL_/) as string })
  })
})

describe('whatever is given to pinOf and fingerprintOf', () => {
  const forms = [certificate.der, request.der, key.publicKey.export({ type: 'spki', format: 'der' }), key.privateKey.export({ type: 'sec1', format: 'der' }), Buffer.from(certificate.pem), Buffer.from(request.pem), Buffer.from(certificate.keyPem)]
  const damaged = fc.tuple(fc.constantFrom(...forms), fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 }), fc.nat(5)).map(([bytes, changes, missing]) => {
    const copy = Buffer.from(bytes.subarray(0, bytes.length - missing))
    for (const [at, byte] of changes) copy[at % copy.length] = byte
    return copy
  })
  const labels = fc.constantFrom('CERTIFICATE', 'TRUSTED CERTIFICATE', 'CERTIFICATE REQUEST', 'PUBLIC KEY', 'RSA PUBLIC KEY', 'PRIVATE KEY', 'EC PRIVATE KEY', 'ENCRYPTED PRIVATE KEY', 'X')
  const pem = fc.tuple(labels, fc.uint8Array({ maxLength: 80 })).map(([label, bytes]) => pemOf(label, Buffer.from(bytes)))
  const anything = fc.oneof(damaged, pem, fc.uint8Array(), fc.string({ unit: 'binary' }), fc.anything({ withNullPrototype: true, withTypedArray: true, withBigInt: true }))

  test('comes back as a canonical pin, or as PinInvalidError or TypeError', () => {
    fc.assert(fc.property(anything, (given) => {
      for (const [read, kind] of [[pinOf, 'key'], [fingerprintOf, 'certificate']] as const) {
        let text: string
        try {
          text = read(given as string)
        } catch (error) {
          const suitable = typeof given === 'string' || ArrayBuffer.isView(given)
          if (suitable ? error instanceof PinInvalidError && error.code === 'ERR_PIN_INVALID' : error instanceof TypeError) continue
          throw error
        }
        expect(parsePin(text)).toEqual({ kind, text })
      }
    }), { numRuns: 400 })
  })

  test('is answered also when it has a million PEM lines', () => {
    for (const text of ['-----BEGIN CERTIFICATE-----\n'.repeat(50_000), '-----BEGIN A-----'.repeat(50_000), `-----BEGIN ${'A'.repeat(1_000_000)}`, '-'.repeat(1_000_000), `-----BEGIN X-----${'a'.repeat(1_000_000)}`]) {
      expect(refusalOf(() => pinOf(text)).message.length).toBeLessThan(300)
      expect(refusalOf(() => fingerprintOf(text)).message.length).toBeLessThan(300)
    }
  })
})
