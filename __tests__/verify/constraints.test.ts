import { spawnSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { readDer, readDerChildren } from '../../lib/pin/der.js'
import { constraintsOf } from '../../lib/verify/constraints.js'
import type { Constraints } from '../../lib/verify/constraints.js'
import { createAuthority, createSelfSigned, der, generateKey, indefiniteLength, paddedLength } from '../support/pki.js'
import type { CertificateOptions, Extension, IssuedCertificate } from '../support/pki.js'

const key = generateKey('p256')
const rsa = generateKey('rsa')
const root = createAuthority({ name: 'Root', key })
const unlimited: Constraints = { pathLength: Infinity, servesTls: true, nameConstraints: false, unknownCritical: false, weakSignature: false }

function of(options: CertificateOptions): Constraints | undefined {
  return constraintsOf(root.issueAuthority({ key, ...options }).x509)
}

const extension = (oid: string, value: Buffer, critical = false): Extension => ({ oid, value, critical })

/** The same certificate with another algorithm outside its signed part; the signature then verifies no more. */
function withAlgorithm(certificate: IssuedCertificate, algorithm: Buffer): X509Certificate {
  const [signed, , signature] = readDerChildren(readDer(certificate.der)).map(({ raw }) => raw) as [Buffer, Buffer, Buffer]
  return new X509Certificate(der.sequence(signed, algorithm, signature))
}

describe('constraintsOf reads', () => {
  test('a plain CA as unlimited, a plain leaf too', () => {
    expect(of({})).toEqual(unlimited)
    expect(constraintsOf(createSelfSigned({ key }).x509)).toEqual(unlimited)
    expect(constraintsOf(createSelfSigned({ key, version: 1 }).x509)).toEqual(unlimited)
    expect(of({ basicConstraints: false })).toEqual(unlimited)
  })

  test.each([0, 1, 2, 127, 128, 255, 256, 32_767, 32_768, 2 ** 31 - 1])('the path length %d', (pathLength) => {
    expect(of({ pathLength })).toEqual({ ...unlimited, pathLength })
  })

  test.each<[string[] | null, boolean]>([
    [null, true],
    [['serverAuth'], true],
    [['clientAuth', 'serverAuth'], true],
    [['codeSigning', 'emailProtection', 'serverAuth'], true],
    [['2.16.840.1.113730.4.1'], true],
    [['1.3.6.1.4.1.311.10.3.3'], true],
    [['clientAuth'], false],
    [['emailProtection', 'codeSigning', 'timeStamping', 'ocspSigning'], false],
    [['1.3.6.1.5.5.7.3.1.1'], false],
    [['1.3.6.1.5.5.7.3.11'], false],
    // OpenSSL does not take "any" for serverAuth.
    [['any'], false],
    [[], false]
  ])('the extended key usage %j as good for a server: %p', (extendedKeyUsage, servesTls) => {
    expect(of({ extendedKeyUsage })).toEqual({ ...unlimited, servesTls })
  })

  test('name constraints, critical or not', () => {
    for (const critical of [true, false]) expect(of({ nameConstraints: { permitted: ['example.com'], critical } })).toEqual({ ...unlimited, nameConstraints: true })
  })

  test('critical extensions that nobody knows', () => {
    expect(of({ extensions: [extension('1.2.3.4', der.none(), true)] })).toEqual({ ...unlimited, unknownCritical: true })
    expect(of({ extensions: [extension('1.2.3.4', der.none())] })).toEqual(unlimited)
    expect(of({ extensions: [extension('1.2.3.4', der.none()), extension('1.2.3.5', der.none(), true)] })).toEqual({ ...unlimited, unknownCritical: true })
  })

  test.each<[string, CertificateOptions, boolean]>([
    ['ECDSA with SHA-256', {}, false],
    ['ECDSA with SHA-384', { signatureHash: 'sha384' }, false],
    ['ECDSA with SHA-512', { signatureHash: 'sha512' }, false],
    ['ECDSA with SHA-1', { signatureHash: 'sha1' }, true],
    ['RSA with SHA-256', { key: rsa }, false],
    ['RSA with SHA-1', { key: rsa, signatureHash: 'sha1' }, true],
    ['RSA-PSS with SHA-256', { key: rsa, pssSignature: true }, false],
    ['RSA-PSS with SHA-512', { key: rsa, pssSignature: true, signatureHash: 'sha512' }, false],
    ['RSA-PSS with SHA-1, its default', { key: rsa, pssSignature: true, signatureHash: 'sha1' }, true],
    ['Ed25519', { key: 'ed25519' }, false],
    ['Ed448', { key: 'ed448' }, false]
  ])('a signature with %s as weak: %p', (_, options, weakSignature) => {
    const certificate = createSelfSigned({ key, ...options })
    expect(certificate.x509.verify(certificate.x509.publicKey)).toBe(true)
    expect(constraintsOf(certificate.x509)).toEqual({ ...unlimited, weakSignature })
  })

  test.each([
    ['MD2 with RSA', '1.2.840.113549.1.1.2', true],
    ['MD4 with RSA', '1.2.840.113549.1.1.3', true],
    ['MD5 with RSA', '1.2.840.113549.1.1.4', true],
    ['SHA-1 with RSA', '1.2.840.113549.1.1.5', true],
    ['SHA-1 with RSA, of the OIW', '1.3.14.3.2.29', true],
    ['MD5 with RSA, of the OIW', '1.3.14.3.2.3', true],
    ['SHA-1 with DSA', '1.2.840.10040.4.3', true],
    ['SHA-1 with DSA, of the OIW', '1.3.14.3.2.27', true],
    ['SHA-1 with ECDSA', '1.2.840.10045.4.1', true],
    ['SHA-224 with RSA', '1.2.840.113549.1.1.14', false],
    ['SHA-512 with RSA', '1.2.840.113549.1.1.13', false],
    ['SHA-256 with DSA', '2.16.840.1.101.3.4.3.2', false],
    ['ML-DSA-65', '2.16.840.1.101.3.4.3.18', false]
  ])('the algorithm %s (%s) as weak: %p', (_, oid, weakSignature) => {
    expect(constraintsOf(withAlgorithm(root, der.sequence(der.oid(oid), der.none())))).toEqual({ ...unlimited, weakSignature })
    expect(constraintsOf(withAlgorithm(root, der.sequence(der.oid(oid))))).toEqual({ ...unlimited, weakSignature })
  })

  const hashField = (...content: Buffer[]): Buffer => der.sequence(der.tagged(0, ...content))
  test.each<[string, Buffer[], boolean]>([
    ['no parameters', [], true],
    ['empty parameters', [der.sequence()], true],
    ['parameters without a hash', [der.sequence(der.tagged(2, der.integer(32)))], true],
    ['SHA-1 by name', [hashField(der.sequence(der.oid('1.3.14.3.2.26'), der.none()))], true],
    ['MD5', [hashField(der.sequence(der.oid('1.2.840.113549.2.5')))], true],
    ['SHA-256', [hashField(der.sequence(der.oid('2.16.840.1.101.3.4.2.1'), der.none()))], false],
    ['SHA3-256', [hashField(der.sequence(der.oid('2.16.840.1.101.3.4.2.8')))], false],
    ['an empty hash field', [hashField()], true],
    ['a hash field with an empty algorithm', [hashField(der.sequence())], true],
    ['a hash field that is no algorithm', [hashField(der.none())], true],
    ['a hash that is no OID', [hashField(der.sequence(der.integer(5)))], true],
    ['parameters that are no SEQUENCE', [der.none()], true]
  ])('RSA-PSS with %s', (_, parameters, weakSignature) => {
    const certificate = withAlgorithm(root, der.sequence(der.oid('1.2.840.113549.1.1.10'), ...parameters))
    const limits = constraintsOf(certificate)
    // Weak, or not a link at all: chain.ts refuses both.
    if (weakSignature === false) expect(limits).toEqual(unlimited)
    else expect([true, undefined]).toContain(limits?.weakSignature)
  })
})

describe('constraintsOf finds no constraints, so that the certificate is no link,', () => {
  const cases: Array<[string, CertificateOptions]> = [
    ['where an extension stands twice', { extensions: [extension('2.5.29.37', der.sequence(der.oid('1.3.6.1.5.5.7.3.1'))), extension('2.5.29.37', der.sequence(der.oid('1.3.6.1.5.5.7.3.2')))] }],
    ['where an unknown extension stands twice', { extensions: [extension('1.2.3.4', der.none()), extension('1.2.3.4', der.none())] }],
    ['where the basic constraints stand twice, the second without a limit', { pathLength: 0, extensions: [extension('2.5.29.19', der.sequence(der.boolean(true)), true)] }],
    ['where the path length is negative', { basicConstraints: false, extensions: [extension('2.5.29.19', der.sequence(der.boolean(true), der.tlv(2, Buffer.from([0xff]))), true)] }],
    ['where the path length is enormous', { basicConstraints: false, extensions: [extension('2.5.29.19', der.sequence(der.boolean(true), der.tlv(2, Buffer.alloc(9, 1))), true)] }],
    ['where the path length is empty', { basicConstraints: false, extensions: [extension('2.5.29.19', der.sequence(der.boolean(true), der.tlv(2)), true)] }],
    ['where the basic constraints are in BER', { basicConstraints: false, extensions: [extension('2.5.29.19', indefiniteLength(der.sequence(der.boolean(true), der.integer(0))), true)] }],
    ['where the basic constraints have a padded length', { basicConstraints: false, extensions: [extension('2.5.29.19', paddedLength(der.sequence(der.boolean(true), der.integer(0))), true)] }],
    ['where something follows the basic constraints', { basicConstraints: false, extensions: [extension('2.5.29.19', Buffer.concat([der.sequence(der.boolean(true)), der.none()]), true)] }],
    ['where the basic constraints are no SEQUENCE', { basicConstraints: false, extensions: [extension('2.5.29.19', der.none(), true)] }],
    ['where the extended key usage is in BER', { extendedKeyUsage: null, extensions: [extension('2.5.29.37', indefiniteLength(der.sequence(der.oid('1.3.6.1.5.5.7.3.1'))))] }],
    ['where the extended key usage has something else than OIDs', { extendedKeyUsage: null, extensions: [extension('2.5.29.37', der.sequence(der.integer(1)))] }],
    ['where the extended key usage has an OID with leading zeros', { extendedKeyUsage: null, extensions: [extension('2.5.29.37', der.sequence(der.tlv(6, Buffer.from('802b06010505070301', 'hex'))))] }],
    ['where the extensions are in BER', { tbs: (fields) => fields.map((field, i) => (i === fields.length - 1 ? indefiniteLength(field) : field)) }],
    ['where the subject\'s key is in a padded length', { tbs: (fields) => fields.map((field, i) => (i === 6 ? paddedLength(field) : field)) }]
  ]

  test.each(cases)('%s', (_, options) => {
    const grown = root.issueAuthority({ key, ...options })
    const certificate = parsed(grown.der)
    // What OpenSSL does not even parse never comes this far.
    if (certificate) expect(constraintsOf(certificate)).toBeUndefined()
  })

  test('which OpenSSL parses in most of these cases', () => {
    expect(cases.filter(([, options]) => parsed(root.issueAuthority({ key, ...options }).der)).length).toBeGreaterThan(10)
  })

  test('at a cost in proportion to its size, be it made to be slow', () => {
    const long = (bytes: number): X509Certificate => new X509Certificate(root.issueAuthority({ key, extensions: [extension('2.5.29.99', der.none())], extendedKeyUsage: null, tbs: (fields) => fields.map((field, i) => (i === fields.length - 1 ? der.tagged(3, der.sequence(der.sequence(der.tlv(6, Buffer.alloc(bytes, 0x81), Buffer.from([1])), der.octetString(der.none())))) : field)) }).der)
    const [short, huge] = [long(1_000), long(50_000)]
    const cost = (certificate: X509Certificate): number => {
      const start = process.hrtime.bigint()
      constraintsOf(certificate)
      return Number(process.hrtime.bigint() - start)
    }
    const best = { short: Infinity, huge: Infinity }
    for (let round = 0; round < 15; round++) {
      best.short = Math.min(best.short, cost(short))
      best.huge = Math.min(best.huge, cost(huge))
    }
    expect(constraintsOf(huge)).toBeUndefined()
    expect(best.huge / best.short).toBeLessThan(300)
  })
})

test('constraintsOf throws nothing for any certificate that OpenSSL parses, however damaged', () => {
  const whole = root.issueAuthority({ key, pathLength: 3, extendedKeyUsage: ['serverAuth'], nameConstraints: { permitted: ['example.com'] }, extensions: [extension('1.2.3.4', der.none(), true)] })
  const pss = createSelfSigned({ key: rsa, pssSignature: true })
  let read = 0
  fc.assert(fc.property(fc.constantFrom(whole.der, pss.der), fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 }), (bytes, changes) => {
    const damaged = Buffer.from(bytes)
    for (const [at, byte] of changes) damaged[at % damaged.length] = byte
    const certificate = parsed(damaged)
    if (certificate === undefined) return
    read++
    const limits = constraintsOf(certificate)
    expect(limits === undefined || limits.pathLength >= 0).toBe(true)
  }), { numRuns: 1_000 })
  expect(read).toBeGreaterThan(100)
})

const describeWithOpenssl = spawnSync('openssl', ['version']).status === 0 ? describe : describe.skip

describeWithOpenssl('an intermediate that is taken for a link is one that openssl verify takes too:', () => {
  const folder = mkdtempSync(join(tmpdir(), 'constraints-'))
  afterAll(() => { rmSync(folder, { recursive: true }) })
  writeFileSync(join(folder, 'root.pem'), root.pem)

  const knownOids = ['2.5.29.9', '2.5.29.14', '2.5.29.16', '2.5.29.18', '2.5.29.31', '2.5.29.32', '2.5.29.33', '2.5.29.35', '2.5.29.36', '2.5.29.46', '2.5.29.54', '1.3.6.1.5.5.7.1.1', '1.3.6.1.5.5.7.48.1.5', '2.16.840.1.113730.1.1', '1.2.3.4']
  const keyId = der.octetString(Buffer.alloc(20, 7))
  const values: Record<string, Buffer> = {
    '2.5.29.14': keyId,
    '2.5.29.18': der.sequence(der.tlv(0x82, Buffer.from('ca.test'))),
    '2.5.29.31': der.sequence(der.sequence(der.tagged(0, der.tagged(0, der.tlv(0x86, Buffer.from('http://crl.test/')))))),
    '2.5.29.32': der.sequence(der.sequence(der.oid('2.5.29.32.0'))),
    '2.5.29.33': der.sequence(der.sequence(der.oid('1.2.3'), der.oid('1.2.4'))),
    '2.5.29.35': der.sequence(),
    '2.5.29.36': der.sequence(der.tlv(0x80, Buffer.from([9]))),
    '2.5.29.54': der.integer(9),
    '1.3.6.1.5.5.7.1.1': der.sequence(der.sequence(der.oid('1.3.6.1.5.5.7.48.1'), der.tlv(0x86, Buffer.from('http://ocsp.test/')))),
    // sslCA, emailCA and objCA.
    '2.16.840.1.113730.1.1': der.bitString(Buffer.from([0x07]))
  }

  const cases: Array<[string, CertificateOptions]> = [
    ['plain', {}],
    ['pathlen:0', { pathLength: 0 }],
    ['pathlen:5', { pathLength: 5 }],
    ...[['serverAuth'], ['clientAuth'], ['any'], ['clientAuth', 'serverAuth'], ['2.16.840.1.113730.4.1'], ['1.3.6.1.4.1.311.10.3.3'], ['ocspSigning']].map((extendedKeyUsage): [string, CertificateOptions] => [`extended key usage ${extendedKeyUsage.join(', ')}`, { extendedKeyUsage }]),
    ...knownOids.map((oid): [string, CertificateOptions] => [`critical ${oid}`, {
      ...(oid === '2.5.29.14' && { subjectKeyId: null }),
      ...(oid === '2.5.29.35' && { authorityKeyId: null }),
      extensions: [extension(oid, values[oid] ?? der.none(), true)]
    }]),
    ['twice the same extension', { extensions: [extension('1.2.3.4', der.none()), extension('1.2.3.4', der.none())] }],
    ['negative path length', { basicConstraints: false, extensions: [extension('2.5.29.19', der.sequence(der.boolean(true), der.tlv(2, Buffer.from([0xff]))), true)] }]
  ]

  test.each(cases)('%s', (name, options) => {
    const intermediate = root.issueAuthority({ key, name: 'Intermediate', ...options })
    const leaf = intermediate.issue({ key })
    const limits = constraintsOf(intermediate.x509)
    const isLink = limits !== undefined && limits.servesTls && !limits.unknownCritical && !limits.weakSignature && limits.pathLength >= 0
    writeFileSync(join(folder, 'intermediate.pem'), intermediate.pem)
    writeFileSync(join(folder, 'leaf.pem'), leaf.pem)
    const { status, stderr } = spawnSync('openssl', ['verify', '-purpose', 'sslserver', '-CAfile', join(folder, 'root.pem'), '-untrusted', join(folder, 'intermediate.pem'), join(folder, 'leaf.pem')], { encoding: 'utf8' })
    // Stricter is allowed, laxer is not.
    if (isLink) expect([name, status, stderr]).toEqual([name, 0, ''])
    else expect([name, isLink]).toEqual([name, false])
  })

  test('all of the usual ones are', () => {
    for (const options of [{}, { pathLength: 0 }, { extendedKeyUsage: ['serverAuth', 'clientAuth'] }, { extensions: [extension('2.5.29.31', values['2.5.29.31'] as Buffer, true), extension('2.5.29.32', values['2.5.29.32'] as Buffer, true)] }]) {
      expect(of(options)).toMatchObject({ servesTls: true, unknownCritical: false })
    }
  })
})

function parsed(bytes: Buffer): X509Certificate | undefined {
  try {
    return new X509Certificate(bytes)
  } catch {
    return undefined
  }
}
