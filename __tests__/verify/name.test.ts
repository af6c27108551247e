import { X509Certificate } from 'node:crypto'
import { checkServerIdentity } from 'node:tls'
import type { PeerCertificate } from 'node:tls'
import fc from 'fast-check'
import { checkName } from '../../lib/verify/name.js'
import { createSelfSigned, der, generalNames, generateKey } from '../support/pki.js'
import type { CertificateOptions, GeneralNameKind, NameAttribute } from '../support/pki.js'

type StringType = NonNullable<NameAttribute[2]>

// Node 24 and 26 crash in toLegacyObject() for keys on curves without a NIST name; this one has it.
const key = generateKey('p256')
const nodeMajor = Number(process.versions.node.split('.')[0])

const hosts = [
  'a.test', 'b.test', 'x.a.test', 'x.y.a.test', 'A.TEST', 'a.test.', 'X.A.Test.', 'a.test..', '.a.test', 'test', 'a', '', '.', '*', '*.a.test', '*.test', ' a.test', 'a.test ', 'a\0.test', 'a.test\0',
  'xn--bcher-kva.test', 'XN--BCHER-KVA.test', 'bücher.test', 'x.bücher.test', 'a_b.test', 'a,b', 'a"b', 'a\\b', 'a\nb', 'a+b', 'CN=a.test', 'a.test, DNS:b.test', 'DNS:a.test', '愮瑥獴',
  '127.0.0.1', '127.0.0.1.', '127.1', '127.0.0.2', '0127.0.0.1', '::1', '[::1]', '0:0:0:0:0:0:0:1', '::0001', '::ffff:127.0.0.1', '::FFFF:7f00:1', '2001:db8::1', '2001:DB8:0:0::1', 'fe80::1', 'fe80::1%eth0'
]

interface Verdict { code: unknown; message: string; reason: unknown; host: unknown }

function verdictOf(check: () => Error | undefined): Verdict | 'accepted' {
  let error
  try {
    error = check() as (Error & Partial<Verdict>) | undefined
  } catch (thrown) {
    error = thrown as Error & Partial<Verdict>
  }
  return error === undefined ? 'accepted' : { code: error.code, message: error.message, reason: error.reason, host: error.host }
}

function grow(options: CertificateOptions): X509Certificate | undefined {
  try {
    return new X509Certificate(createSelfSigned({ key, ...options }).der)
  } catch {
    // OpenSSL does not read it, so it never gets as far as a check of its name.
    return undefined
  }
}

/** Every host on which the two differ, with both verdicts. */
function differences(certificate: X509Certificate, asked: readonly string[] = hosts): unknown[] {
  const legacy = certificate.toLegacyObject() as PeerCertificate
  return asked.flatMap((host) => {
    const ours = verdictOf(() => checkName(host, certificate))
    const nodes = verdictOf(() => checkServerIdentity(host, legacy))
    return JSON.stringify(ours) === JSON.stringify(nodes) ? [] : [{ host, ours, nodes }]
  })
}

function accepted(options: CertificateOptions, asked: readonly string[] = hosts): string[] {
  const certificate = grow(options)
  if (certificate === undefined) throw new Error('OpenSSL does not read it')
  expect(differences(certificate)).toEqual([])
  return asked.filter((host) => checkName(host, certificate) === undefined)
}

type Attribute = readonly [oid: string, tag: number, value: Buffer | string]
const CN = '2.5.4.3'
const O = '2.5.4.10'

/** A Name; each part is a relative name of one or more attributes. */
function nameOf(...parts: Attribute[][]): Buffer {
  return der.sequence(...parts.map((attributes) => der.tlv(0x31, ...attributes.map(([oid, tag, value]) => der.sequence(der.oid(oid), der.tlv(tag, Buffer.from(value)))))))
}

// What Node makes of these, it does not promise.
const plainHosts = hosts.filter((host) => !['a.test..', '.a.test', '*.a.test', 'bücher.test', '127.1'].includes(host))
// Node 22.23.3 takes no IPv6 address for one.
const nodeKnowsIpv6 = checkServerIdentity('::1', { subjectaltname: 'IP Address:0:0:0:0:0:0:0:1' } as PeerCertificate) === undefined

describe('checkName accepts', () => {
  test.each<[string, CertificateOptions, string[]]>([
    ['the DNS name, in any case, with or without its final dot', { names: ['a.test'] }, ['a.test', 'A.TEST', 'a.test.']],
    ['one label under a wildcard', { names: ['*.a.test'] }, ['x.a.test', 'X.A.Test.']],
    ['IPv4', { names: ['127.0.0.1'] }, ['127.0.0.1', '127.0.0.1.']],
    ['IPv6 in every spelling', { names: ['::1'] }, ['::1', '0:0:0:0:0:0:0:1', '::0001']],
    ['IPv4 within IPv6', { names: ['::ffff:127.0.0.1'] }, ['::ffff:127.0.0.1', '::FFFF:7f00:1']],
    ['punycode in any case', { names: ['xn--bcher-kva.test'] }, ['xn--bcher-kva.test', 'XN--BCHER-KVA.test']],
    ['any of several names', { names: ['b.test', 'a.test', '127.0.0.1'] }, ['a.test', 'b.test', 'A.TEST', 'a.test.', '127.0.0.1', '127.0.0.1.']],
    ['the common name where there is no other', { name: 'a.test', names: null }, ['a.test', 'A.TEST', 'a.test.']],
    ['any of several common names', { subject: [['CN', 'a.test'], ['O', 'x'], ['CN', 'b.test']], names: null }, ['a.test', 'b.test', 'A.TEST', 'a.test.']],
    ['the common name where the others are of other kinds', { name: 'a.test', names: ['uri:https://b.test/', 'email:x@b.test'] }, ['a.test', 'A.TEST', 'a.test.']]
  ])('%s', (_, options, expected) => {
    expect(accepted(options, plainHosts).sort()).toEqual(expected.filter((host) => nodeKnowsIpv6 || !host.includes(':')).sort())
  })
})

describe('checkName refuses', () => {
  test.each<[string, CertificateOptions]>([
    ['the common name where there is a DNS name', { name: 'a.test', names: ['other.example'] }],
    ['a name with a NUL in it, whatever stands before', { name: 'a.test', rawSan: generalNames(['dns', 'a.test\0.evil.example']) }],
    ['a common name with a NUL in it', { subject: [['CN', 'a.test\0.evil.example']], names: null }],
    ['one name that looks like two', { rawSan: generalNames(['dns', 'evil.example, DNS:a.test']) }],
    ['a URI that looks like a DNS name', { rawSan: generalNames(['uri', 'http://x/, DNS:a.test'], ['dns', 'evil.example']) }],
    ['a directory name that looks like a DNS name', { rawSan: generalNames(['directory', 'x, DNS:a.test'], ['dns', 'evil.example']) }],
    ['an e-mail address that looks like a DNS name', { rawSan: generalNames(['email', 'x@y, DNS:a.test'], ['dns', 'evil.example']) }],
    ['an IP address as a DNS name', { rawSan: generalNames(['dns', '127.0.0.1']) }],
    ['an organisation that looks like a common name', { subject: [['O', 'x\nCN=a.test'], ['CN', 'evil.example']], names: null }],
    ['an organisation that looks like a second attribute', { subject: [['O', 'x + CN=a.test'], ['CN', 'evil.example']], names: null }],
    ['an organisation that begins like a common name', { subject: [['O', 'CN=a.test'], ['CN', 'evil.example']], names: null }],
    ['no name at all', { subject: [], names: null }],
    ['a CN of a CA in a chain of names', { subject: [['OU', 'a.test']], names: null }]
  ])('%s', (_, options) => {
    expect(accepted(options, ['a.test', 'A.TEST', '127.0.0.1', '::1', 'b.test'])).toEqual([])
  })
})

describe('checkName decides as tls.checkServerIdentity does, with the same error', () => {
  const sans: Array<[string, ...Array<readonly [GeneralNameKind, string | Buffer]>]> = [
    ['a wildcard under a top-level label', ['dns', '*.test']],
    ['a wildcard alone', ['dns', '*']],
    ['a wildcard within a label', ['dns', 'x*.a.test']],
    ['a wildcard in the middle', ['dns', 'x.*.test']],
    ['a wildcard of punycode', ['dns', 'xn--*.test']],
    ['two wildcards', ['dns', '*.*.test']],
    ['upper case', ['dns', 'A.TEST']],
    ['a final dot', ['dns', 'a.test.']],
    ['an empty name', ['dns', '']],
    ['a lone dot', ['dns', '.']],
    ['Latin-1', ['dns', Buffer.from('b\xfccher.test', 'latin1')]],
    ['UTF-8', ['dns', 'bücher.test']],
    ['a byte that is no character', ['dns', Buffer.from([0xff])]],
    ['a line end', ['dns', 'a.test\nDNS:b.test']],
    ['a quote', ['dns', '"a.test']],
    ['a quoted comma', ['dns', 'a"b, DNS:b.test']],
    ['a backslash', ['dns', 'a\\b']],
    ['a comma', ['dns', 'a,b']],
    ['a space', ['dns', ' a.test']],
    ['a NUL at the end', ['dns', 'a.test\0']],
    ['a URI with quotes and a DNS name', ['uri', 'https://a,"b'], ['dns', 'a.test']],
    ['URIs alone', ['uri', 'https://a.test/']],
    ['an e-mail address alone', ['email', 'x@a.test']],
    ['a directory name alone', ['directory', 'a.test']],
    ['an OID alone', ['rid', '1.2.3']],
    ['an IP address of five bytes', ['ip', Buffer.alloc(5)]],
    ['an IP address of no bytes', ['ip', Buffer.alloc(0)]],
    ['an IP address with a mask', ['ip', Buffer.from([127, 0, 0, 1, 255, 0, 0, 0])]],
    ['everything at once', ['uri', 'x:y'], ['email', 'a@b'], ['ip', '2001:db8::1'], ['dns', '*.a.test'], ['rid', '1.2.3'], ['ip', '127.0.0.1'], ['directory', 'z']]
  ]

  test.each(sans)('for a subjectAltName with %s', (_, ...entries) => {
    for (const subject of [[['CN', 'a.test']], []] as const) {
      const certificate = grow({ subject, rawSan: generalNames(...entries) })
      if (certificate) expect(differences(certificate)).toEqual([])
    }
  })

  test('for an empty subjectAltName, and for one that is none', () => {
    for (const rawSan of [generalNames(), der.none(), Buffer.alloc(0), Buffer.from('30058203612e74', 'hex')]) {
      const certificate = grow({ name: 'a.test', rawSan })
      if (certificate) expect(differences(certificate)).toEqual([])
    }
  })

  const types: StringType[] = ['utf8', 'printable', 'teletex', 'ia5', 'bmp', 'universal']
  const texts = ['a.test', '*.a.test', 'A.TEST', 'bücher.test', 'a\0.test', 'a.test\0', 'a\nb', 'a\rb', 'a\nCN=b.test', 'a.test + CN=b.test', 'a+b', ' a.test', 'a.test ', '  ', '#a', 'a,b', 'a;b', 'a"b', 'a\\b', 'a\\0Ab', '\\', 'a<b>', 'a=b', '\x7f', '\x1f', '\u0080.test', '', '127.0.0.1', '::1', '愮瑥獴', 'CN=a.test']
  const octets = ['ff', 'c3', 'c3a4', 'eda080', 'c080', 'f0808080', '612e74657374ff', '00', '0000', '000000', '00610000', 'd800', '0061d800', 'd83ddca9', '00110000', '0001f600'].map((hex) => Buffer.from(hex, 'hex'))

  test.each(types)('for common names in %s strings, of every sort of character and of none', (type) => {
    const subjectsOf = (value: string | Buffer): NameAttribute[][] => [
      [['CN', value, type]],
      [['O', 'x'], ['CN', value, type], ['CN', 'b.test']],
      [['CN', 'a.test'], ['O', value, type], ['OU', 'CN=x.a.test']]
    ]
    const wrong = [...texts, ...octets].flatMap((value) => subjectsOf(value).flatMap((subject) => {
      const certificate = grow({ subject, names: null })
      const asked = typeof value === 'string' && value !== '' ? ['a.test', 'b.test', 'x.a.test', 'bücher.test', value] : ['a.test', 'b.test', '\0', 'a', 'ä', '💩', '😀']
      return certificate ? differences(certificate, asked).map((difference) => ({ value, ...difference as object })) : []
    }))
    expect(wrong).toEqual([])
  })

  test.each(Array.from({ length: 0x3f }, (_, tag) => [tag]))('for a common name of ASN.1 tag %d, be it text or not', (tag) => {
    for (const value of ['a.test', '\0a.test', '\0\0\0a', '']) {
      const certificate = grow({ rawSubject: nameOf([[CN, tag, value]]), names: null })
      if (certificate) expect(differences(certificate, ['a.test', 'a', '\0a.test', '0\x06a.test', ''])).toEqual([])
    }
  })

  test('for several attributes in one relative name', () => {
    const subjects = [
      nameOf([[CN, 0x0c, 'a.test'], [CN, 0x0c, 'b.test']]),
      nameOf([[O, 0x0c, 'x'], [CN, 0x0c, 'a.test']]),
      nameOf([[O, 0x0c, 'x + CN=a.test'], [CN, 0x0c, 'b.test']]),
      nameOf([[O, 0x0c, 'x +'], [CN, 0x0c, 'b.test']], [[CN, 0x13, 'a.test']]),
      nameOf([['1.2.3.4.5', 0x0c, 'CN=a.test']], [[CN, 0x0c, 'b.test']]),
      nameOf([['1.2.3.4.5', 0x0c, 'a.test'], [CN, 0x0c, 'b.test']]),
      nameOf([])
    ]
    for (const rawSubject of subjects) {
      const certificate = grow({ rawSubject, names: null })
      if (certificate) expect(differences(certificate)).toEqual([])
    }
  })

  test('and takes no name from a subject that has something else than text, which Node 20 does not either', () => {
    for (const [tag, value] of [[0x03, '\0a.test'], [0x30, '']] as const) {
      const certificate = grow({ rawSubject: nameOf([[CN, 0x0c, 'b.test']], [[O, tag, value]]), names: null })
      if (certificate === undefined) throw new Error('OpenSSL does not read it')
      expect(checkName('b.test', certificate)?.message).toContain('Cert does not contain a DNS name')
      expect(checkName('a.test', certificate)?.message).toContain('Cert does not contain a DNS name')
      if (nodeMajor < 22) expect(differences(certificate)).toEqual([])
    }
  })

  test('for a certificate of version 1, which has no extensions', () => {
    const certificate = grow({ name: 'a.test', version: 1 })
    if (certificate === undefined) throw new Error('OpenSSL does not read it')
    expect(differences(certificate)).toEqual([])
    expect(checkName('a.test', certificate)).toBeUndefined()
  })

  test('for any subject, any names and any host', () => {
    const pieces = ['a', 'b', 'test', '*', 'xn--bcher-kva', '.', '.', ',', ', ', '"', '\\', '\0', '\n', ' + ', '=', 'CN=', 'DNS:', 'IP Address:', '\\0A', '#', ' ', 'ü', 'ſ', '1', '127.0.0.1', '::1', '{', '\x7f']
    const text = fc.oneof(fc.constantFrom('a.test', '*.test', 'b.test'), fc.array(fc.constantFrom(...pieces), { maxLength: 6 }).map((parts) => parts.join('')))
    const attribute = fc.tuple(fc.constantFrom('CN', 'CN', 'O', 'OU', '1.2.3.4'), text, fc.constantFrom(...types))
    const entry = fc.oneof(
      fc.tuple(fc.constantFrom('dns' as const, 'dns' as const, 'uri' as const, 'email' as const, 'directory' as const), text),
      fc.tuple(fc.constant('ip' as const), fc.constantFrom('127.0.0.1', '::1', '2001:db8::1'))
    )
    const certificates = fc.tuple(fc.array(attribute, { maxLength: 3 }), fc.array(entry, { maxLength: 3 }))
    const asked = fc.array(fc.oneof(text, fc.constantFrom(...hosts)), { minLength: 4, maxLength: 4 })
    let acceptances = 0
    fc.assert(fc.property(certificates, asked, ([subject, names], questions) => {
      const certificate = grow({ subject, names: null, ...(names.length > 0 && { rawSan: generalNames(...names) }) })
      fc.pre(certificate !== undefined)
      // The names themselves are the hosts most likely to fit.
      const all = [...questions, ...subject.map(([, value]) => value), ...names.map(([, value]) => value)]
      expect(differences(certificate, all)).toEqual([])
      acceptances += all.filter((host) => verdictOf(() => checkName(host, certificate)) === 'accepted').length
    }), { numRuns: 300 })
    expect(acceptances).toBeGreaterThan(30)
  })
})

test('the subject is not read where a DNS name decides: most handshakes need no more than the names', () => {
  const certificate = createSelfSigned({ key, names: ['a.test'] }).x509
  const read: string[] = []
  const watched = new Proxy(certificate, {
    get(target, name) {
      read.push(String(name))
      return Reflect.get(target, name, target) as unknown
    }
  })
  expect(checkName('a.test', watched)).toBeUndefined()
  expect(read).toEqual(['subjectAltName'])
})
