import fc from 'fast-check'
import { TrustAnchors } from '../../lib/verify/anchors.js'
import { buildChain } from '../../lib/verify/chain.js'
import { hasOpenssl, verifyWithOpenssl } from '../support/openssl.js'
import { createAuthority, der, distinguishedName, generalNames, indefiniteLength } from '../support/pki.js'
import type { Authority, CertificateOptions, IssuedCertificate, NameAttribute } from '../support/pki.js'

const root = createAuthority({ name: 'Root' })
const anchors = new TrustAnchors(root.pem, false)

type NameLimits = NonNullable<CertificateOptions['nameConstraints']>

function accepts(leaf: IssuedCertificate, ...served: IssuedCertificate[]): boolean {
  return buildChain(leaf.x509, served.map(({ x509 }) => x509), anchors, Date.now()) !== undefined
}

/** Whether a CA with these limits may issue a leaf with these names; OpenSSL must agree. */
function allows(nameConstraints: NameLimits, leaf: CertificateOptions): boolean {
  const issuing = root.issueAuthority({ name: 'Issuing CA', nameConstraints })
  const certificate = issuing.issue({ name: 'leaf', ...leaf })
  const accepted = accepts(certificate, issuing)
  if (hasOpenssl) expect(accepted).toBe(verifyWithOpenssl({ leaf: certificate, untrusted: [issuing], trusted: [root] }) === 'ok')
  return accepted
}

describe('DNS names', () => {
  test.each<[string[], string, boolean]>([
    [['example.com'], 'example.com', true],
    [['example.com'], 'api.example.com', true],
    [['example.com'], 'a.b.example.com', true],
    [['example.com'], 'EXAMPLE.com', true],
    [['Example.COM'], 'api.example.com', true],
    [['example.com'], '*.example.com', true],
    [['example.com'], 'badexample.com', false],
    [['example.com'], 'example.com.evil.test', false],
    [['example.com'], 'com', false],
    [['example.com'], 'example.com.', false],
    [['.example.com'], 'api.example.com', true],
    [['.example.com'], 'example.com', false],
    [['com'], 'example.com', true],
    [[''], 'anything.test', true],
    [['dns:'], 'anything.test', true],
    [['other.test', 'example.com'], 'example.com', true],
    [['other.test'], 'example.com', false]
  ])('permitted %j: %s', (permitted, name, allowed) => {
    expect(allows({ permitted }, { names: [name] })).toBe(allowed)
    // With an excluded subtree of the same base it is the other way round.
    expect(allows({ excluded: permitted }, { names: [name] })).toBe(!allowed)
  })

  test('each one must be permitted, and none excluded', () => {
    expect(allows({ permitted: ['example.com'] }, { names: ['a.example.com', 'b.example.com'] })).toBe(true)
    expect(allows({ permitted: ['example.com'] }, { names: ['a.example.com', 'other.test'] })).toBe(false)
    expect(allows({ excluded: ['other.test'] }, { names: ['a.example.com', 'other.test'] })).toBe(false)
    expect(allows({ permitted: ['example.com'], excluded: ['secret.example.com'] }, { names: ['api.example.com'] })).toBe(true)
    expect(allows({ permitted: ['example.com'], excluded: ['secret.example.com'] }, { names: ['x.secret.example.com'] })).toBe(false)
  })

  test('other forms of names are not concerned', () => {
    expect(allows({ permitted: ['example.com'] }, { names: ['127.0.0.1', 'email:a@b.test', 'uri:https://other.test/'] })).toBe(true)
    expect(allows({ permitted: ['10.0.0.0/8'] }, { names: ['example.com'] })).toBe(true)
  })
})

describe('IP addresses', () => {
  test.each<[string[], string, boolean]>([
    [['10.0.0.0/8'], '10.1.2.3', true],
    [['10.0.0.0/8'], '11.1.2.3', false],
    [['192.168.4.0/22'], '192.168.7.255', true],
    [['192.168.4.0/22'], '192.168.8.0', false],
    [['127.0.0.1/32'], '127.0.0.1', true],
    [['127.0.0.1/32'], '127.0.0.2', false],
    [['0.0.0.0/0'], '8.8.8.8', true],
    [['0.0.0.0/0'], '2001:db8::1', false],
    [['2001:db8::/32'], '2001:db8:1::1', true],
    [['2001:db8::/32'], '2001:db9::1', false],
    [['::/0'], '127.0.0.1', false],
    [['::/0', '127.0.0.0/8'], '127.0.0.1', true]
  ])('permitted %j: %s', (permitted, name, allowed) => {
    expect(allows({ permitted }, { names: [name] })).toBe(allowed)
    expect(allows({ excluded: permitted }, { names: [name] })).toBe(!allowed)
  })

  test('of no proper length are refused', () => {
    const issuing = root.issueAuthority({ nameConstraints: { excluded: ['10.0.0.0/8'] } })
    expect(accepts(issuing.issue({ rawSan: generalNames(['ip', Buffer.from([10, 0, 0, 1, 0])]) }), issuing)).toBe(false)
    const odd = root.issueAuthority({ extensions: [{ oid: '2.5.29.30', critical: true, value: der.sequence(der.tagged(0, der.sequence(der.tlv(0x87, Buffer.from([10, 0, 0, 0, 255]))))) }] })
    expect(accepts(odd.issue(), odd)).toBe(false)
  })
})

describe('common names', () => {
  test.each<[string, string, boolean]>([
    ['one that could be a DNS name must be permitted', 'api.other.test', false],
    ['one that is permitted is', 'api.example.com', true],
    ['one of a single label is none', 'localhost', true],
    ['one with a space is none', 'My Server v1.0', true],
    ['one with an underscore could be one', 'my_server.other.test', false],
    ['one below what is permitted is', 'x.y.EXAMPLE.com', true]
  ])('where there is no DNS name: %s', (_name, name, allowed) => {
    expect(allows({ permitted: ['example.com'] }, { name, names: ['127.0.0.1'] })).toBe(allowed)
    expect(allows({ permitted: ['example.com'] }, { name, names: null })).toBe(allowed)
  })

  test('do not matter where there is a DNS name', () => {
    expect(allows({ permitted: ['example.com'] }, { name: 'api.other.test', names: ['api.example.com'] })).toBe(true)
  })

  test('all of them count', () => {
    const subject: NameAttribute[] = [['CN', 'api.example.com'], ['O', 'api.other.test'], ['CN', 'api.other.test']]
    expect(allows({ permitted: ['example.com'] }, { subject, names: null })).toBe(false)
    expect(allows({ permitted: ['example.com'] }, { subject: subject.slice(0, 2), names: null })).toBe(true)
    expect(allows({ excluded: ['other.test'] }, { subject, names: null })).toBe(false)
  })

  test('with NUL or in an encoding that would have to be converted are refused', () => {
    for (const subject of [[['CN', 'api.example.com\0.other.test']], [['CN', 'api.other.test', 'bmp']], [['CN', 'api.other.test', 'universal']], [['CN', 'api.other.test\0', 'utf8']]] as NameAttribute[][]) {
      const issuing = root.issueAuthority({ nameConstraints: { permitted: ['example.com'] } })
      expect(accepts(issuing.issue({ subject, names: null }), issuing)).toBe(false)
    }
  })
})

describe('constraints', () => {
  test('are those of every CA above, the trust anchor included', () => {
    const constrained = createAuthority({ name: 'Constrained Root', nameConstraints: { permitted: ['example.com'] } })
    const issuing = constrained.issueAuthority({ nameConstraints: { permitted: ['api.example.com', 'other.test'] } })
    const found = (name: string): boolean => buildChain(issuing.issue({ names: [name] }).x509, [issuing.x509], new TrustAnchors(constrained.pem, false), Date.now()) !== undefined
    expect([found('api.example.com'), found('example.com'), found('other.test')]).toEqual([true, false, false])
  })

  test('hold for the names of intermediates too', () => {
    const upper = root.issueAuthority({ nameConstraints: { permitted: ['example.com'] } })
    for (const [names, allowed] of [[['ca.example.com'], true], [['ca.other.test'], false]] as const) {
      const lower = upper.issueAuthority({ names })
      const leaf = lower.issue({ names: ['www.example.com'] })
      expect(accepts(leaf, lower, upper)).toBe(allowed)
      if (hasOpenssl) expect(verifyWithOpenssl({ leaf, untrusted: [lower, upper], trusted: [root] }) === 'ok').toBe(allowed)
    }
  })

  test('do not hold for the common name of an intermediate', () => {
    const upper = root.issueAuthority({ nameConstraints: { permitted: ['example.com'] } })
    const lower = upper.issueAuthority({ name: 'ca.other.test' })
    expect(accepts(lower.issue({ names: ['www.example.com'] }), lower, upper)).toBe(true)
  })

  test('need not be critical', () => {
    expect(allows({ permitted: ['example.com'], critical: false }, { names: ['other.test'] })).toBe(false)
  })

  test.each(['email:example.com', 'uri:.example.com', 'rid:1.2.3'])('on other forms of names are not evaluated, so there is no link: %s', (base) => {
    for (const nameConstraints of [{ permitted: [base] }, { excluded: [base] }, { permitted: ['example.com', base] }]) {
      const issuing = root.issueAuthority({ nameConstraints })
      expect(accepts(issuing.issue({ names: ['example.com'] }), issuing)).toBe(false)
    }
  })

  test.each<[string, Buffer]>([
    ['with a minimum', der.sequence(der.tagged(0, der.sequence(der.tlv(0x82, Buffer.from('example.com')), der.tlv(0x80, Buffer.from([0])))))],
    ['with a maximum', der.sequence(der.tagged(0, der.sequence(der.tlv(0x82, Buffer.from('example.com')), der.tlv(0x81, Buffer.from([9])))))],
    ['on directory names', der.sequence(der.tagged(0, der.sequence(der.tagged(4, distinguishedName([['CN', 'x']])))))],
    ['of another shape', der.sequence(der.tagged(2, der.sequence(der.tlv(0x82, Buffer.from('example.com')))))],
    ['with an empty subtree', der.sequence(der.tagged(0, der.sequence()))],
    ['in BER', indefiniteLength(der.sequence(der.tagged(0, der.sequence(der.tlv(0x82, Buffer.from('example.com'))))))],
    ['that are no SEQUENCE', der.octetString(Buffer.from('example.com'))],
    ['that are nothing', Buffer.alloc(0)]
  ])('%s make no link', (_name, value) => {
    const issuing = root.issueAuthority({ extensions: [{ oid: '2.5.29.30', critical: true, value }] })
    expect(accepts(issuing.issue({ names: ['example.com'] }), issuing)).toBe(false)
  })

  test('and names that are too many to compare make no link', () => {
    const many = (count: number, name: string): string[] => Array.from({ length: count }, (_, i) => `${name}${i}.example.com`)
    const issuing = root.issueAuthority({ nameConstraints: { excluded: many(300, 'x') } })
    expect(accepts(issuing.issue({ names: many(200, 'y') }), issuing)).toBe(true)
    expect(accepts(issuing.issue({ names: many(300, 'y') }), issuing)).toBe(false)
  })
})

const label = fc.constantFrom('a', 'A', 'b', 'x', '*', 'a-b', 'a_b')
const host = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'))
const base = fc.oneof(host, host.map((name) => `.${name}`), fc.constant('dns:'))
const address = fc.oneof(fc.tuple(fc.constantFrom(10, 11), fc.constantFrom(0, 1), fc.constant(0), fc.constantFrom(1, 255)).map((octets) => octets.join('.')), fc.constantFrom('::1', 'fd00::1', 'fd00:1::', '::ffff:10.0.0.1'))
const range = fc.tuple(address, fc.integer({ min: 0, max: 32 })).map(([network, bits]) => `${network}/${bits}`)
const bases = fc.array(fc.oneof(base, range), { maxLength: 3 })
const limits = fc.option(fc.record({ permitted: bases, excluded: bases, critical: fc.boolean() }).filter(({ permitted, excluded }) => permitted.length + excluded.length > 0), { nil: undefined })
const names = fc.array(fc.oneof(host.map((name) => `dns:${name}`), address), { maxLength: 3 })
const runs = Number(process.env['DIFFERENTIAL_RUNS'] ?? 150)

;(hasOpenssl ? test : test.skip)('OpenSSL agrees on random constraints and names, over two CAs', () => {
  const tally = { accepted: 0, refused: 0 }
  const issue = (issuer: Authority, name: string, nameConstraints: NameLimits | undefined): Authority => issuer.issueAuthority({ name, ...(nameConstraints && { nameConstraints }) })
  fc.assert(fc.property(limits, limits, names, fc.oneof(host, fc.constantFrom('leaf', 'a leaf', '-a.b', 'a.b-', 'a..b', 'a.-b', 'a.b.')), (above, below, san, name) => {
    const upper = issue(root, 'Upper', above)
    const lower = issue(upper, 'Lower', below)
    const leaf = lower.issue({ name, names: san.length > 0 ? san : null })
    const accepted = accepts(leaf, lower, upper)
    tally[accepted ? 'accepted' : 'refused']++
    const theirs = verifyWithOpenssl({ leaf, untrusted: [lower, upper], trusted: [root] })
    if (accepted) expect(theirs).toBe('ok')
    // Ours takes some more common names for DNS names than OpenSSL does.
    else if (san.some((each) => each.startsWith('dns:')) || !/^-|-$|\.$|\.\.|\.-|-\./.test(name)) expect(theirs).not.toBe('ok')
  }), { numRuns: runs })
  expect(Math.min(tally.accepted, tally.refused)).toBeGreaterThan(runs / 20)
}, 600_000)
