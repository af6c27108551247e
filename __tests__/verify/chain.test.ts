import { X509Certificate, generateKeyPairSync } from 'node:crypto'
import { TrustAnchors } from '../../lib/verify/anchors.js'
import { buildChain, isInDate } from '../../lib/verify/chain.js'
import type { VerifiedChain } from '../../lib/verify/chain.js'
import { PeerRecord, PeerRecords } from '../../lib/verify/records.js'
import { createAuthority, createSelfSigned, der, generateKey, impersonate, indefiniteLength, issueWith } from '../support/pki.js'
import type { Authority, CertificateOptions, IssuedCertificate } from '../support/pki.js'

const now = Date.parse('2030-06-15T12:00:00Z')
const year = { notBefore: new Date('2030-01-01T00:00:00Z'), notAfter: new Date('2031-01-01T00:00:00Z') }
const decade = { notBefore: new Date('2025-01-01T00:00:00Z'), notAfter: new Date('2035-01-01T00:00:00Z') }

const root = createAuthority({ name: 'Root', ...decade })
const rsaKey = generateKey('rsa')

function anchorsOf(trusted: readonly IssuedCertificate[], partial = false): TrustAnchors {
  return new TrustAnchors(trusted.map(({ pem }) => pem), partial)
}

function build(leaf: IssuedCertificate, served: readonly IssuedCertificate[], trusted: readonly IssuedCertificate[] = [root], options: { partial?: boolean, now?: number } = {}): VerifiedChain | undefined {
  return buildChain(leaf.x509, served.map(({ x509 }) => x509), anchorsOf(trusted, options.partial), options.now ?? now)
}

/** The common names along the path that is found, or `none`. */
function pathOf(...args: Parameters<typeof build>): string {
  return build(...args)?.certificates.map(({ subject }) => subject.replace('CN=', '')).join(' < ') ?? 'none'
}

function sub(options: CertificateOptions = {}, issuer: Authority = root): Authority {
  return issuer.issueAuthority({ name: 'Sub', ...decade, ...options })
}

function leafOf(issuer: Authority, options: CertificateOptions = {}): IssuedCertificate {
  return issuer.issue({ name: 'leaf', ...year, ...options })
}

describe('a path', () => {
  test('leads from the leaf over served certificates to a trust anchor, in whatever order they were served', () => {
    const upper = sub({ name: 'Upper' })
    const lower = sub({ name: 'Lower' }, upper)
    const leaf = leafOf(lower)
    for (const served of [[lower, upper], [upper, lower], [root, upper, leaf, lower], [createAuthority(), lower, createSelfSigned(), upper]]) {
      expect(pathOf(leaf, served)).toBe('leaf < Lower < Upper < Root')
    }
  })

  test('tells the fingerprints and the pins along it, and the time for which all of it is in date', () => {
    const intermediate = sub({ notAfter: new Date('2030-12-01T00:00:00Z') })
    const leaf = leafOf(intermediate)
    expect(build(leaf, [intermediate])).toEqual({
      certificates: [leaf, intermediate, root].map(({ x509 }) => expect.objectContaining({ fingerprint256: x509.fingerprint256 }) as X509Certificate),
      fingerprints: [leaf.fingerprint, intermediate.fingerprint, root.fingerprint],
      pins: [leaf.pin, intermediate.pin, root.pin],
      validFrom: Date.parse('2030-01-01T00:00:00Z'),
      validTo: Date.parse('2030-12-01T00:00:00Z')
    })
  })

  test('is not found where an issuer is missing', () => {
    const upper = sub({ name: 'Upper' })
    const lower = sub({ name: 'Lower' }, upper)
    expect(pathOf(leafOf(lower), [])).toBe('none')
    expect(pathOf(leafOf(lower), [lower])).toBe('none')
    expect(pathOf(leafOf(lower), [upper])).toBe('none')
    expect(pathOf(leafOf(lower), [lower, upper], [])).toBe('none')
    expect(pathOf(leafOf(lower), [lower, upper], [createAuthority()])).toBe('none')
  })

  test('ends at the first trust anchor: anchors are tried before served certificates', () => {
    const other = createAuthority({ name: 'Other Root', ...decade })
    const crossed = other.crossSign(root, decade)
    const leaf = leafOf(root)
    expect(pathOf(leaf, [crossed], [root, other])).toBe('leaf < Root')
    expect(pathOf(leaf, [crossed], [other])).toBe('leaf < Root < Other Root')
  })

  test('may begin and end with a leaf that is itself trusted', () => {
    const leaf = createSelfSigned({ name: 'leaf', ...year })
    expect(pathOf(leaf, [], [leaf])).toBe('leaf')
    expect(pathOf(leaf, [], [root])).toBe('none')
  })

  test('goes another way where one leads nowhere', () => {
    const gone = createAuthority({ name: 'Gone Root', ...decade })
    const intermediate = sub()
    const deadEnd = gone.crossSign(intermediate, decade)
    expect(pathOf(leafOf(intermediate), [deadEnd, intermediate])).toBe('leaf < Sub < Root')
  })

  test('ends at a trust anchor that another CA has issued only where partial chains are allowed', () => {
    const upper = sub({ name: 'Upper' })
    const lower = sub({ name: 'Lower' }, upper)
    const leaf = leafOf(lower)
    expect(pathOf(leaf, [lower], [upper])).toBe('none')
    expect(pathOf(leaf, [lower], [upper], { partial: true })).toBe('leaf < Lower < Upper')
    expect(pathOf(leaf, [lower, upper], [root, lower], { partial: true })).toBe('leaf < Lower')
    expect(pathOf(leaf, [lower, upper], [root, lower])).toBe('leaf < Lower < Upper < Root')
  })

  test('does not end at an anchor that only claims to be self-signed', () => {
    const claimed = createAuthority({ name: 'Claimed', ...decade, corruptSignature: true })
    expect(pathOf(leafOf(claimed), [], [claimed])).toBe('none')
    expect(pathOf(leafOf(claimed), [], [claimed], { partial: true })).toBe('leaf < Claimed')
  })

  test('goes through no certificate twice', () => {
    const [a, b] = [createAuthority({ name: 'A', ...decade }), createAuthority({ name: 'B', ...decade })]
    const loop = [b.crossSign(a, decade), a.crossSign(b, decade)]
    expect(pathOf(leafOf(a), loop)).toBe('none')
    expect(pathOf(leafOf(a), [...loop, root.crossSign(a, decade)])).toBe('leaf < A < B < A < Root')
  })

  test('makes no detour over a self-signed certificate of a CA that is not trusted', () => {
    const intermediate = sub()
    const selfSigned = createAuthority({ subjectNameOf: intermediate, key: intermediate.key, ...decade })
    expect(pathOf(leafOf(intermediate), [selfSigned, intermediate])).toBe('leaf < Sub < Root')
    expect(pathOf(leafOf(intermediate), [selfSigned, intermediate], [root, selfSigned])).toBe('leaf < Sub')
  })
})

describe('a link needs', () => {
  test("the issuer's name", () => {
    const namesake = createAuthority({ name: 'Somebody else', key: root.key, subjectKeyId: root.subjectKeyId ?? null, ...decade })
    expect(pathOf(leafOf(root), [], [namesake])).toBe('none')
  })

  test("the issuer's key id, where the certificate names one", () => {
    const rekeyed = createAuthority({ subjectNameOf: root, key: root.key, subjectKeyId: Buffer.alloc(20, 1), ...decade })
    expect(pathOf(leafOf(root), [], [rekeyed])).toBe('none')
    expect(pathOf(leafOf(root, { authorityKeyId: null }), [], [rekeyed])).toBe('leaf < Root')
  })

  test("a signature by the issuer's key", () => {
    const fake = impersonate(root, decade)
    expect(pathOf(leafOf(root), [], [fake])).toBe('none')
    expect(pathOf(leafOf(root), [], [fake, root])).toBe('leaf < Root')
    const fakeSub = createAuthority({ subjectNameOf: sub(), issuerNameOf: root, ...decade })
    expect(pathOf(leafOf(fakeSub), [fakeSub])).toBe('none')
    expect(pathOf(leafOf(root, { corruptSignature: true }), [])).toBe('none')
  })

  test.each<[string, CertificateOptions]>([
    ['says that it is none', { ca: false }],
    ['says that it is none and has no usages', { ca: false, keyUsage: null }],
    ['has no basicConstraints', { basicConstraints: false }],
    ['has neither basicConstraints nor usages', { basicConstraints: false, keyUsage: null }],
    ['is of version 1', { version: 1 }]
  ])('a CA as the issuer: not one that %s', (_name, options) => {
    const issuer = sub(options)
    expect(pathOf(leafOf(issuer, { authorityKeyId: null }), [issuer])).toBe('none')
  })

  test('a CA as the trust anchor too', () => {
    const appliance = createSelfSigned({ name: 'Appliance', ...decade, keyUsage: null })
    expect(pathOf(issueWith(appliance, { name: 'leaf', ...year }), [], [appliance])).toBe('none')
  })

  test('an issuer that may sign certificates', () => {
    const issuer = sub({ keyUsage: ['digitalSignature', 'cRLSign'] })
    expect(pathOf(leafOf(issuer), [issuer])).toBe('none')
    const silent = sub({ keyUsage: null })
    expect(pathOf(leafOf(silent), [silent])).toBe('leaf < Sub < Root')
  })

  test.each<[string, CertificateOptions]>([
    ['an expired intermediate', { notBefore: new Date('2020-01-01'), notAfter: new Date(now - 1_000) }],
    ['an intermediate of the future', { notBefore: new Date(now + 1_000), notAfter: new Date('2040-01-01') }]
  ])('dates that hold: not %s', (_name, dates) => {
    const issuer = sub(dates)
    expect(pathOf(leafOf(issuer), [issuer])).toBe('none')
    expect(pathOf(leafOf(issuer), [issuer, root.crossSign(issuer, decade)])).toBe('leaf < Sub < Root')
  })

  test('dates that hold, of the leaf and of the trust anchor as well', () => {
    const leaf = leafOf(root)
    const at = (time: string): string => pathOf(leaf, [], [root], { now: Date.parse(time) })
    expect(at('2029-12-31T23:59:59Z')).toBe('none')
    expect(at('2030-01-01T00:00:00Z')).toBe('leaf < Root')
    expect(at('2031-01-01T00:00:00Z')).toBe('leaf < Root')
    expect(at('2031-01-01T00:00:01Z')).toBe('none')
    const brief = createAuthority({ name: 'Brief', ...year })
    const long = leafOf(brief, decade)
    expect(pathOf(long, [], [brief], { now: Date.parse('2030-06-01') })).toBe('leaf < Brief')
    expect(pathOf(long, [], [brief], { now: Date.parse('2031-06-01') })).toBe('none')
    expect(pathOf(long, [], [brief], { now: Date.parse('2029-06-01') })).toBe('none')
  })

  test('no more intermediates below it than its path length', () => {
    for (const pathLength of [0, 1, 2]) {
      const top = sub({ name: 'Top', pathLength })
      const middle = sub({ name: 'Middle' }, top)
      const low = sub({ name: 'Low' }, middle)
      const allowed = [leafOf(top), leafOf(middle), leafOf(low)].map((leaf) => pathOf(leaf, [low, middle, top]) !== 'none')
      expect(allowed).toEqual([true, pathLength >= 1, pathLength >= 2])
    }
  })

  test("no more intermediates than the trust anchor's path length", () => {
    const strict = createAuthority({ name: 'Strict Root', pathLength: 0, ...decade })
    const below = sub({}, strict)
    expect(pathOf(leafOf(strict), [], [strict])).toBe('leaf < Strict Root')
    expect(pathOf(leafOf(below), [below], [strict])).toBe('none')
  })

  test('a path length, from which self-issued intermediates and the leaf are not counted (RFC 5280 §4.2.1.9)', () => {
    const old = sub({ pathLength: 0 })
    const rolledOver = old.issueAuthority({ subjectNameOf: old, ...decade })
    expect(pathOf(leafOf(rolledOver), [rolledOver, old])).toBe('leaf < Sub < Sub < Root')
    const caLeaf = old.issueAuthority({ name: 'leaf', ...year })
    expect(pathOf(caLeaf, [old])).toBe('leaf < Sub < Root')
  })

  test.each<[string, readonly string[], boolean]>([
    ['TLS servers', ['serverAuth'], true],
    ['TLS servers and clients', ['clientAuth', 'serverAuth'], true],
    ["Netscape's server-gated cryptography", ['2.16.840.1.113730.4.1'], true],
    ["Microsoft's server-gated cryptography", ['1.3.6.1.4.1.311.10.3.3'], true],
    ['any purpose, which OpenSSL does not take for TLS servers', ['any'], false],
    ['programs', ['codeSigning'], false],
    ['e-mail and TLS clients', ['emailProtection', 'clientAuth'], false],
    ['nothing', [], false]
  ])('an extended key usage that fits, if any: a CA for %s', (_name, extendedKeyUsage, fits) => {
    const issuer = sub({ extendedKeyUsage })
    expect(pathOf(leafOf(issuer), [issuer])).toBe(fits ? 'leaf < Sub < Root' : 'none')
    const anchor = createAuthority({ name: 'Anchor', extendedKeyUsage, ...decade })
    expect(pathOf(leafOf(anchor), [], [anchor])).toBe(fits ? 'leaf < Anchor' : 'none')
  })

  test('no critical extension that is unknown', () => {
    const unknown = { oid: '1.2.3.4', value: der.none() }
    const critical = sub({ extensions: [{ ...unknown, critical: true }] })
    expect(pathOf(leafOf(critical), [critical])).toBe('none')
    const harmless = sub({ extensions: [unknown] })
    expect(pathOf(leafOf(harmless), [harmless])).toBe('leaf < Sub < Root')
    const anchor = createAuthority({ name: 'Anchor', ...decade, extensions: [{ ...unknown, critical: true }] })
    expect(pathOf(leafOf(anchor), [], [anchor])).toBe('none')
  })

  test('no critical flag that is hidden: one octet other than zero means true', () => {
    const value = der.octetString(der.none())
    const flagged = (flag: Buffer): Authority => sub({ tbs: (fields) => fields.map((field) => field[0] === 0xa3 ? withExtension(field, der.sequence(der.oid('1.2.3.4'), flag, value)) : field) })
    const hidden = flagged(der.tlv(0x01, Buffer.from([0x01])))
    expect(pathOf(leafOf(hidden), [hidden])).toBe('none')
    const openly = flagged(der.boolean(false))
    expect(pathOf(leafOf(openly), [openly])).toBe('leaf < Sub < Root')
  })

  test('no extension that stands twice', () => {
    const twice = sub({ extensions: [{ oid: '1.2.3.4', value: der.none() }, { oid: '1.2.3.4', value: der.none() }] })
    expect(pathOf(leafOf(twice), [twice])).toBe('none')
  })

  test('strict DER', () => {
    const lenient = sub({ spki: indefiniteLength })
    expect(lenient.x509.verify(root.x509.publicKey)).toBe(true)
    expect(pathOf(leafOf(lenient), [lenient])).toBe('none')
    expect(pathOf(leafOf(root, { spki: indefiniteLength }), [])).toBe('none')
    const anchor = createAuthority({ name: 'Anchor', spki: indefiniteLength, ...decade })
    expect(pathOf(leafOf(anchor), [], [anchor])).toBe('none')
  })

  test.each<[string, CertificateOptions]>([
    ['SHA-1 with ECDSA', { signatureHash: 'sha1' }],
    ['SHA-1 with RSA', { signatureHash: 'sha1', key: rsaKey }],
    ['SHA-1 with RSA-PSS', { signatureHash: 'sha1', pssSignature: true, key: rsaKey }]
  ])('a strong signature: not one over %s, except of the trust anchor itself', (_name, { key = 'p256', ...weakly }) => {
    const anchor = createAuthority({ name: 'Anchor', key, ...decade })
    expect(pathOf(leafOf(anchor), [], [anchor])).toBe('leaf < Anchor')
    expect(pathOf(leafOf(anchor, weakly), [], [anchor])).toBe('none')
    const weakSub = sub(weakly, anchor)
    expect(pathOf(leafOf(weakSub), [weakSub], [anchor])).toBe('none')
    const old = createAuthority({ name: 'Old', key, ...weakly, ...decade })
    expect(pathOf(leafOf(old), [], [old])).toBe('leaf < Old')
  })

  test.each([{ signatureHash: 'sha256' }, { signatureHash: 'sha384' }, { signatureHash: 'sha512' }, { pssSignature: true }, { pssSignature: true, signatureHash: 'sha512' }] as const)('a strong signature: %j with RSA is one', (options) => {
    const anchor = createAuthority({ name: 'Anchor', key: rsaKey, ...decade, ...options })
    expect(pathOf(leafOf(anchor, options), [], [anchor])).toBe('leaf < Anchor')
  })

  test.each(['p256', 'p384', 'p521', 'ed25519', 'ed448', 'secp256k1', 'brainpoolP256r1', 'rsa', 'rsa-pss'] as const)('a strong key: %s is one', (key) => {
    const anchor = createAuthority({ name: 'Anchor', key, ...decade })
    expect(pathOf(leafOf(anchor), [], [anchor])).toBe('leaf < Anchor')
  })

  test('a strong key: one on a curve of 192 bits is none', () => {
    const anchor = createAuthority({ name: 'Anchor', key: generateKeyPairSync('ec', { namedCurve: 'prime192v1' }), ...decade })
    expect(anchor.x509.verify(anchor.x509.publicKey)).toBe(true)
    expect(pathOf(leafOf(anchor), [], [anchor])).toBe('none')
  })

  test.each([512, 1_024, 2_040])('a strong key: RSA of %i bits is none, of a sub-CA or of a trust anchor', (bits) => {
    const weak = sub({ key: { rsa: bits } })
    expect(pathOf(leafOf(weak), [weak])).toBe('none')
    const anchor = createAuthority({ name: 'Anchor', key: weak.key, ...decade })
    expect(pathOf(leafOf(anchor), [], [anchor])).toBe('none')
    expect(pathOf(leafOf(root, { key: weak.key }), [])).toBe('leaf < Root')
  })
})

describe('the search is bounded', () => {
  test('by ten certificates', () => {
    const cas = [root]
    for (let i = 1; i < 10; i++) cas.push(sub({ name: `CA ${i}` }, cas.at(-1) as Authority))
    expect(build(leafOf(cas[8] as Authority), cas)?.certificates.length).toBe(10)
    expect(pathOf(leafOf(cas[9] as Authority), cas)).toBe('none')
  })

  test('by 32 served certificates', () => {
    const intermediate = sub()
    const junk = Array.from({ length: 31 }, () => intermediate.issue())
    expect(pathOf(leafOf(intermediate), [...junk, intermediate])).toBe('leaf < Sub < Root')
    expect(pathOf(leafOf(intermediate), [...junk, junk[0] as IssuedCertificate, intermediate])).toBe('none')
  })

  /** Two CAs that have certified each other again and again. */
  function loops(count: number): { first: Authority, junk: Authority[] } {
    const [first, second] = [createAuthority({ name: 'Twin', ...decade }), createAuthority({ name: 'Other Twin', ...decade })]
    return { first, junk: Array.from({ length: count }, (_, i) => i % 2 === 0 ? second.crossSign(first, decade) : first.crossSign(second, decade)) }
  }

  test('by 32 signature checks, and ends without a path when they are used up', () => {
    const { first, junk } = loops(12)
    const verify = jest.spyOn(X509Certificate.prototype, 'verify')
    try {
      expect(pathOf(leafOf(first), junk)).toBe('none')
      expect(verify.mock.calls.length).toBeLessThanOrEqual(32)
      expect(verify.mock.calls.length).toBeGreaterThan(10)
      verify.mockClear()
      // The way out is there, but behind the junk.
      expect(pathOf(leafOf(first), [...junk, root.crossSign(first, decade)])).toBe('none')
      expect(verify.mock.calls.length).toBeLessThanOrEqual(32)
      // Before the junk it is found.
      expect(pathOf(leafOf(first), [root.crossSign(first, decade), ...junk])).toBe('leaf < Twin < Root')
    } finally {
      verify.mockRestore()
    }
  })

  test('by 256 steps, also where few signatures have to be checked', () => {
    const dead = createAuthority({ name: 'Dead', ...decade })
    const [upper, lower] = [dead.issueAuthority({ name: 'Upper', ...decade }), dead.issueAuthority({ name: 'Lower', ...decade })]
    const uppers = Array.from({ length: 11 }, () => dead.crossSign(upper, decade))
    const lowers = Array.from({ length: 10 }, () => upper.crossSign(lower, decade))
    const noCas = Array.from({ length: 11 }, () => dead.issue({ subjectNameOf: dead, subjectKeyId: dead.subjectKeyId ?? null, ...decade }))
    const checkIssued = jest.spyOn(X509Certificate.prototype, 'checkIssued')
    try {
      expect(pathOf(leafOf(lower), [...lowers, ...uppers, ...noCas])).toBe('none')
      // One for each step, one more for each of the 32 signatures.
      expect(checkIssued.mock.calls.length).toBeLessThanOrEqual(256 + 40)
      expect(checkIssued.mock.calls.length).toBeGreaterThan(256)
    } finally {
      checkIssued.mockRestore()
    }
  })
})

describe('a peer record', () => {
  const intermediate = sub({ notBefore: new Date('2030-03-01T00:00:00Z'), notAfter: new Date('2030-09-01T00:00:00Z') })
  const leaf = leafOf(intermediate)
  const anchors = anchorsOf([root])

  /** A leaf as read from a handshake: it knows what was served after it. */
  function served(certificate: IssuedCertificate, chain: readonly IssuedCertificate[]): X509Certificate {
    const copy = new X509Certificate(certificate.der)
    let tip = copy
    for (const { der: bytes } of chain) {
      const next = new X509Certificate(bytes)
      Object.defineProperty(tip, 'issuerCertificate', { value: next })
      tip = next
    }
    return copy
  }

  test('builds its chain once for what is served, and anew when that is something else', () => {
    const record = new PeerRecord(leaf.x509, anchors)
    const verify = jest.spyOn(X509Certificate.prototype, 'verify')
    try {
      expect(record.knownChain).toBeUndefined()
      const chain = record.chain(served(leaf, [intermediate]), anchors, now)
      expect(chain?.fingerprints).toEqual([leaf.fingerprint, intermediate.fingerprint, root.fingerprint])
      const checks = verify.mock.calls.length
      expect(record.chain(served(leaf, [intermediate]), anchors, now)).toBe(chain)
      expect(record.knownChain).toBe(chain)
      expect(verify.mock.calls.length).toBe(checks)
      expect(record.chain(served(leaf, []), anchors, now)).toBeUndefined()
      expect(record.chainToTell(served(leaf, [intermediate]), anchors, now)?.fingerprints).toEqual(chain?.fingerprints)
    } finally {
      verify.mockRestore()
    }
  })

  test('builds it anew once a certificate in it is out of date', () => {
    const renewed = root.crossSign(intermediate, decade)
    const record = new PeerRecord(leaf.x509, anchors)
    const first = record.chain(served(leaf, [intermediate]), anchors, now)
    const later = Date.parse('2030-10-01T00:00:00Z')
    expect(record.chain(served(leaf, [intermediate]), anchors, later)).toBeUndefined()
    expect(record.knownChain).toBeUndefined()
    expect(record.chain(served(leaf, [intermediate, renewed]), anchors, later)?.fingerprints[1]).toBe(renewed.fingerprint)
    expect(first?.fingerprints[1]).toBe(intermediate.fingerprint)
    expect(new PeerRecord(leaf.x509, anchors).chain(served(leaf, [intermediate]), anchors, Date.parse('2030-02-01T00:00:00Z'))).toBeUndefined()
  })

  test('does not keep a chain of a clock that has gone back behind it', () => {
    const record = new PeerRecord(leaf.x509, anchors)
    expect(record.chain(served(leaf, [intermediate]), anchors, now)).toBeDefined()
    expect(record.chain(served(leaf, [intermediate]), anchors, Date.parse('2030-02-01T00:00:00Z'))).toBeUndefined()
  })

  test('does not remember that there is no chain', () => {
    const record = new PeerRecord(leaf.x509, anchors)
    expect(record.chain(served(leaf, []), anchors, now)).toBeUndefined()
    expect(record.chain(served(leaf, [intermediate]), anchors, now)).toBeDefined()
  })

  test('keeps its chain to itself: under other trust anchors it is built for those', () => {
    const record = new PeerRecord(leaf.x509, anchors)
    const chain = record.chain(served(leaf, [intermediate]), anchors, now)
    expect(record.chain(served(leaf, [intermediate]), anchorsOf([createAuthority()]), now)).toBeUndefined()
    expect(record.chain(served(leaf, [intermediate]), anchorsOf([intermediate], true), now)?.fingerprints).toEqual([leaf.fingerprint, intermediate.fingerprint])
    expect(record.knownChain).toBe(chain)
  })

  test('is kept for the accepted leaves seen last, up to a limit', () => {
    const records = new PeerRecords(anchors, 2)
    const [a, b, c] = [leaf.x509, intermediate.x509, root.x509]
    const recordOfA = records.of(a)
    expect(recordOfA).toMatchObject({ fingerprint: leaf.fingerprint, pin: leaf.pin, anchors })
    records.accept(recordOfA)
    records.accept(records.of(b))
    expect(records.of(new X509Certificate(a.raw))).toBe(recordOfA)
    records.accept(records.of(c))
    expect(records.of(a)).toBe(recordOfA)
    const recordOfB = records.of(b)
    records.accept(recordOfB)
    expect(records.of(b)).toBe(recordOfB)
    expect(records.of(a)).toBe(recordOfA)
  })

  test('is kept for few of the leaves that were not accepted, and puts no accepted one out', () => {
    const records = new PeerRecords(anchors, 2, 1)
    const accepted = records.of(leaf.x509)
    records.accept(accepted)
    const refused = records.of(intermediate.x509)
    expect(records.of(intermediate.x509)).toBe(refused)
    records.of(root.x509)
    expect(records.of(intermediate.x509)).not.toBe(refused)
    expect(records.of(leaf.x509)).toBe(accepted)
    records.accept(refused)
    expect(records.of(intermediate.x509)).toBe(refused)
  })

  test('is not kept before it is accepted where much was served', () => {
    const records = new PeerRecords(anchors)
    const large = createAuthority({ subject: [['CN', 'Large'], ['2.5.4.13', 'x'.repeat(20_000)]] })
    const record = records.of(large.x509)
    expect(records.of(large.x509)).not.toBe(record)
    records.accept(record)
    expect(records.of(large.x509)).toBe(record)
  })

  test('of other trust anchors is not kept', () => {
    const records = new PeerRecords(anchors)
    records.accept(new PeerRecord(leaf.x509, anchorsOf([root])))
    expect(records.of(leaf.x509).anchors).toBe(anchors)
  })
})

test('a date that cannot be read is never in date', () => {
  expect(isInDate({ validFrom: 'Jan  1 00:00:00 2000 GMT', validTo: 'Bad time value' } as X509Certificate, now)).toBe(false)
  expect(isInDate({ validFrom: 'Bad time value', validTo: 'Jan  1 00:00:00 2050 GMT' } as X509Certificate, now)).toBe(false)
})

/** A certificate's extensions field with one more in it. */
function withExtension(field: Buffer, extra: Buffer): Buffer {
  const inner = contentOf(contentOf(field))
  return der.tagged(3, der.sequence(inner, extra))
}

function contentOf(value: Buffer): Buffer {
  const first = value.readUInt8(1)
  return value.subarray(2 + (first > 0x80 ? first & 0x7f : 0))
}
