import { createHash, createPrivateKey } from 'node:crypto'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { PinInvalidError, PolicyInvalidError, isPinningError } from '../../lib/errors.js'
import { parseHostPattern } from '../../lib/pin/hostname.js'
import { createPinning, httpsSource, staticSource } from '../../lib/index.js'
import { describeType, formatFingerprint, formatKeyPin, holdsPrivateKey, parsePin, quoteInput } from '../../lib/pin/pin.js'
import { fingerprintOf, pinOf } from '../../lib/pin/spki.js'
import { PolicySet } from '../../lib/policy/policy-set.js'
import type { PolicyOptions } from '../../lib/policy/policy-set.js'
import { der, generateKey } from '../support/pki.js'

const digest = createHash('sha256').update('a certificate').digest()
const hex = digest.toString('hex')
const fingerprint = (hex.toUpperCase().match(/../g) as string[]).join(':')
const base64 = digest.toString('base64')

const anyDigest = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes))
/** Digests whose base64 begins with one slash, two, or three: next to `sha256/` they look like curl's spelling. */
const slashedDigest = fc.tuple(fc.constantFrom([0xfc, 0], [0xff, 0x3f], [0xff, 0xf0], [0xff, 0xff]), anyDigest).map(([start, bytes]) => Buffer.concat([Buffer.from(start), bytes.subarray(2)]))

function refusalOf(text: unknown): PinInvalidError {
  try {
    parsePin(text)
  } catch (error) {
    if (error instanceof PinInvalidError) return error
    throw error
  }
  throw new Error(`${String(text)} was taken for a pin`)
}

describe('parsePin reads a certificate\'s fingerprint', () => {
  test.each([
    ['as openssl 3 prints it', `sha256 Fingerprint=${fingerprint}`],
    ['as openssl 1 prints it', `SHA256 Fingerprint=${fingerprint}`],
    ['as LibreSSL and browsers name it', `SHA-256 Fingerprint=${fingerprint}`],
    ['with colons', fingerprint],
    ['with colons in lower case', fingerprint.toLowerCase()],
    ['without colons', hex],
    ['without colons in upper case', hex.toUpperCase()],
    ['in mixed case', hex.slice(0, 32) + hex.slice(32).toUpperCase()],
    ['with the line end of a pasted command', `${fingerprint}\r\n`],
    ['with spaces around it', `  ${fingerprint}\t`],
    ['with a space between the bytes', fingerprint.replaceAll(':', ' ')],
    ['with a space between the bytes, in lower case', fingerprint.replaceAll(':', ' ').toLowerCase()]
  ])('%s', (_, text) => {
    expect(parsePin(text)).toEqual({ kind: 'certificate', text: fingerprint })
  })

  test('in every spelling of any digest alike', () => {
    fc.assert(fc.property(anyDigest, (bytes) => {
      const plain = bytes.toString('hex')
      const colons = (plain.match(/../g) as string[]).join(':')
      const expected = { kind: 'certificate', text: colons.toUpperCase() }
      for (const text of [plain, plain.toUpperCase(), colons, colons.toUpperCase(), `sha256 Fingerprint=${colons}`, `SHA256 FINGERPRINT=${plain}`]) expect(parsePin(text)).toEqual(expected)
      expect(formatFingerprint(bytes)).toBe(expected.text)
    }))
  })
})

describe('parsePin reads the pin of a key', () => {
  test.each([
    ['as OkHttp writes it', `sha256/${base64}`],
    ['as curl writes it', `sha256//${base64}`],
    ['as RFC 7469 writes it', `pin-sha256="${base64}"`],
    ['as RFC 7469 without quotes', `pin-sha256=${base64}`],
    ['with its prefix in upper case', `SHA256/${base64}`],
    ['with space around it', `\n sha256/${base64} \n`]
  ])('%s', (_, text) => {
    expect(parsePin(text)).toEqual({ kind: 'key', text: `sha256/${base64}` })
  })

  test('in every spelling of any digest alike, also where the base64 itself begins with slashes', () => {
    fc.assert(fc.property(fc.oneof(anyDigest, slashedDigest), (bytes) => {
      const text = bytes.toString('base64')
      const expected = { kind: 'key', text: `sha256/${text}` }
      for (const spelling of [`sha256/${text}`, `sha256//${text}`, `pin-sha256="${text}"`, `pin-sha256=${text}`]) expect(parsePin(spelling)).toEqual(expected)
      expect(formatKeyPin(bytes)).toBe(expected.text)
    }), { numRuns: 500 })
  })

  test('that begins with a slash in both spellings, and not as the pin of another key', () => {
    const slashed = Buffer.from('ff'.repeat(32), 'hex').toString('base64')
    expect(slashed.startsWith('///')).toBe(true)
    expect(parsePin(`sha256/${slashed}`).text).toBe(`sha256/${slashed}`)
    expect(parsePin(`sha256//${slashed}`).text).toBe(`sha256/${slashed}`)
    expect(() => parsePin(`sha256///${slashed}`)).toThrow(PinInvalidError)
  })
})

describe('parsePin says what is given instead:', () => {
  test.each([
    ['the placeholder of a fingerprint', 'AB:CD:…', /placeholder of the documentation/],
    ['the placeholder of a key pin', 'sha256/…', /placeholder of the documentation/],
    ['three dots', 'sha256/...', /placeholder of the documentation/],
    ['a file', 'cert.pem', /looks like a path; right would be what the file holds: fingerprintOf\(readFileSync\(path\)\)/],
    ['a path', '/etc/tls/server', /looks like a path/],
    ['a path of Windows', 'C:\\tls\\server.crt', /looks like a path/],
    ['spaces at the wrong places', `${fingerprint.slice(0, 5)} ${fingerprint.slice(6)}`.replace(':', ' :'), /its spaces do not separate single bytes/],
    ['a SHA-1 with spaces', fingerprint.slice(0, 59).replaceAll(':', ' '), /20 bytes long, the length of SHA-1/]
  ])('%s', (_, text, reason) => {
    expect(refusalOf(text).reason).toMatch(reason)
  })

  test('a key pin whose base64 begins with a slash is no path', () => {
    const slashed = Buffer.concat([Buffer.from([0xff, 0xff]), digest.subarray(2)]).toString('base64')
    expect(refusalOf(slashed).reason).toBe(`a key pin needs its prefix: sha256/${slashed}`)
  })
})

describe('paths in place of contents', () => {
  test.each<[string, () => unknown, RegExp]>([
    ['pinOf', () => pinOf('backup-key.pem'), /^Not a pin: \(a text of 14 characters\): this looks like a path; right would be what the file holds: readFileSync\(path\)$/],
    ['fingerprintOf', () => fingerprintOf('./cert.crt'), /looks like a path/],
    ['authorities', () => createPinning({ pins: { 'a.test': { authorities: ['./ca.pem'] } } }), /looks like a path.*or the PEM of a CA: readFileSync\(path, 'utf8'\)/],
    ['authorities, something else', () => createPinning({ pins: { 'a.test': { authorities: ['My CA'] } } }), /or the PEM of a CA \(-----BEGIN CERTIFICATE-----\)/],
    ['tls.ca', () => createPinning({ allowedSHAFingerprints: [fingerprint], tls: { ca: '/etc/ca.pem' } }), /^tls\.ca: this looks like a path; right would be what the file holds: readFileSync\(path\)$/],
    ['tls.cert', () => createPinning({ allowedSHAFingerprints: [fingerprint], tls: { cert: 'client.crt' } }), /^tls\.cert: this looks like a path/],
    ['trustedKeys', () => createPinning({ allowedSHAFingerprints: [fingerprint], updates: { source: staticSource(''), audience: 'a', trustedKeys: ['signing-key.pem.pub'] } as never }), /trustedKeys.*looks like a path/]
  ])('%s', (_, make, message) => {
    expect(make).toThrow(message)
  })
})

describe('parsePin', () => {
  test('has canonical forms that are fixed points and differ for different digests', () => {
    fc.assert(fc.property(fc.oneof(anyDigest, slashedDigest), fc.oneof(anyDigest, slashedDigest), (one, other) => {
      for (const text of [formatFingerprint(one), formatKeyPin(one)]) expect(parsePin(text).text).toBe(text)
      expect(formatKeyPin(one) === formatKeyPin(other)).toBe(one.equals(other))
      expect(formatFingerprint(one) === formatFingerprint(other)).toBe(one.equals(other))
    }))
  })

  test('never takes the digest of a certificate for that of a key', () => {
    expect(parsePin(fingerprint).kind).toBe('certificate')
    expect(parsePin(`sha256/${base64}`).kind).toBe('key')
    expect(refusalOf(`sha256/${hex}`).reason).toContain('hex after a base64 prefix')
    expect(refusalOf(`sha256/${fingerprint}`).reason).toContain('hex after a base64 prefix')
  })

  test.each<[string, string, RegExp]>([
    ['nothing', '', /^it is empty; right would be AB:CD:/],
    ['blanks', ' \t ', /^it is empty/],
    ['colons only', ':::', /^it is empty/],
    ['a prefix only', 'SHA256 Fingerprint=', /^it is empty/],
    ["SHA-1's length", 'a1'.repeat(20), /20 bytes long, the length of SHA-1, which is broken/],
    ["SHA-1's length with colons", Array(20).fill('A1').join(':'), /SHA-1, which is broken/],
    ["MD5's length", 'a1'.repeat(16), /16 bytes long, the length of MD5, which is broken/],
    ["SHA-384's length", 'a1'.repeat(48), /SHA-384/],
    ["SHA-512's length", 'a1'.repeat(64), /SHA-512/],
    ['one byte too few', hex.slice(2), /31 bytes long; right would be the 32 bytes/],
    ['one byte too many', `${hex}00`, /33 bytes long/],
    ['half a byte too few', hex.slice(1), /63 hex digits, half a byte too few/],
    ['half a byte too many', `${hex}0`, /65 hex digits, half a byte too many/],
    ['colons at odd places', `${hex.slice(0, 3)}:${hex.slice(3)}`, /colons do not separate single bytes/],
    ['a trailing colon', `${fingerprint}:`, /colons do not separate single bytes/],
    ['a leading colon', `:${fingerprint}`, /colons do not separate single bytes/],
    ['only some colons', `${fingerprint.slice(0, 5)}:${hex.slice(4)}`, /colons do not separate single bytes/],
    ['an SHA-1 prefix', 'SHA1 Fingerprint=AA:BB', /^SHA1 is broken/],
    ['an MD5 prefix', 'MD5 Fingerprint=AA:BB', /^MD5 is broken/],
    ["OkHttp's old SHA-1 pins", 'sha1/BOGUS', /^SHA1 is broken/],
    ['a SHA-512 pin', `sha512/${base64}`, /^sha512 is not used/],
    ['a SHA-384 pin', `pin-sha384="${base64}"`, /^sha384 is not used/],
    ['base64 without a prefix', base64, new RegExp(`^a key pin needs its prefix: sha256/${base64.replaceAll(/[+/=]/g, '\\$&')}$`)],
    ['base64 without its padding', `sha256/${base64.slice(0, -1)}`, /padding "=" is missing/],
    ['base64url', `sha256/${Buffer.alloc(32, 0xfb).toString('base64').replaceAll('+', '-').replaceAll('/', '_')}`, /base64url; write \+ for -/],
    ['two prefixes', `sha256/sha256/${base64}`, /bytes long/],
    ['quotes after a slash, which no system writes', `sha256/"${base64}"`, /character that base64 does not have/],
    ["curl's slash within RFC 7469's form", `pin-sha256="/${base64}"`, /bytes long|not canonical/],
    ['a quote that is not closed', `pin-sha256="${base64}`, /character that base64 does not have/],
    ['nothing after the prefix', 'sha256/', /^nothing follows the prefix/],
    ["nothing after curl's prefix", 'sha256//', /^nothing follows the prefix/],
    ['nothing between quotes', 'pin-sha256=""', /^nothing follows the prefix/],
    ["SHA-1's length in base64", `sha256/${Buffer.alloc(20).toString('base64')}`, /20 bytes long, the length of SHA-1/],
    ['a blank within the base64', `sha256/${base64.slice(0, 20)} ${base64.slice(20)}`, /character that base64 does not have/],
    ['a line end within the base64', `sha256/${base64.slice(0, 20)}\n${base64.slice(20)}`, /character that base64 does not have/],
    ['several pins in one text, as curl takes them', `sha256//${base64};sha256//${base64}`, /character that base64 does not have/],
    ['a header of RFC 7469', `pin-sha256="${base64}"; max-age=5184000`, /character that base64 does not have/],
    ['two lines of fingerprints', `${fingerprint}\n${fingerprint}`, /right would be/],
    ['a certificate', '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----', /it is PEM; pinOf\(pem\)/],
    ['a URL', 'https://api.example.com', /it is a URL/],
    ['a word', 'hello', /^right would be AB:CD:/],
    ['full-width digits', '１'.repeat(64), /^right would be/]
  ])('refuses %s', (_, text, reason) => {
    const error = refusalOf(text)
    expect(error.code).toBe('ERR_PIN_INVALID')
    expect(error.reason).toMatch(reason)
    expect(error.message).toBe(`Not a pin: ${error.input}: ${error.reason}`)
  })

  test('refuses base64 whose spare bits are set, which decodes to the same digest: a pin has one spelling', () => {
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
    const last = alphabet.indexOf(base64.at(-2) as string)
    for (const spare of [1, 2, 3]) {
      const text = `${base64.slice(0, -2)}${alphabet[last + spare] as string}=`
      expect(Buffer.from(text, 'base64')).toEqual(digest)
      expect(refusalOf(`sha256/${text}`).reason).toContain(`not canonical base64, ${JSON.stringify(base64)} would be`)
    }
  })

  test.each([[undefined, 'undefined'], [null, 'null'], [1, 'a number'], [1n, 'a bigint'], [true, 'a boolean'], [Symbol('x'), 'a symbol'], [{}, 'an object'], [[fingerprint], 'an array'], [() => fingerprint, 'a function'], [digest, 'an object'], [Object(fingerprint), 'an object']])('refuses %p with a TypeError that names its type', (value, name) => {
    expect(() => parsePin(value)).toThrow(new TypeError(`A pin is a string, not ${name}`))
    expect(describeType(value)).toBe(name)
  })

  test('throws nothing but PinInvalidError and TypeError for anything, and returns nothing but canonical pins', () => {
    const alike = fc.tuple(
      fc.constantFrom('', 'sha256/', 'sha256//', 'pin-sha256="', 'SHA256 Fingerprint=', 'sha1/', 'MD5 Fingerprint='),
      fc.oneof(fc.string({ unit: fc.constantFrom(...'0123456789abcdefABCDEF:'), maxLength: 100 }), fc.base64String({ maxLength: 60 }), fc.string({ unit: 'binary', maxLength: 60 })),
      fc.constantFrom('', '"', '=', '==')
    ).map((parts) => parts.join(''))
    fc.assert(fc.property(fc.oneof(alike, fc.string({ unit: 'binary' }), fc.anything({ withNullPrototype: true, withBigInt: true, withTypedArray: true, withSparseArray: true })), (given) => {
      try {
        expect(parsePin(given).text).toMatch(/^(?:[0-9A-F]{2}(?::[0-9A-F]{2}){31}|sha256\/[A-Za-z0-9+/]{43}=)$/)
      } catch (error) {
        expect(error instanceof PinInvalidError ? typeof given : error instanceof TypeError && typeof given !== 'string' && 'other').toBe(typeof given === 'string' ? 'string' : 'other')
      }
    }), { numRuns: 500 })
  })

  test('accepts nothing that a digit or a letter was put into or taken from', () => {
    fc.assert(fc.property(fc.constantFrom(fingerprint, hex, `sha256/${base64}`, `sha256//${base64}`, `pin-sha256="${base64}"`), fc.nat(80), fc.constantFrom('a', '0', 'Z', '+', '=', ':', ' x'), (text, at, more) => {
      const start = text.search(/[=/]/) + 1
      const place = Math.min(start + at, text.length - 1)
      const changed = text.slice(0, place) + more + text.slice(place)
      fc.pre(changed.trim() !== text)
      // curl's extra slash is one that may be missing: `sha256/…` with one character more is nothing else.
      expect(() => parsePin(changed)).toThrow(PinInvalidError)
    }))
  })

  test('answers a text of a million characters, whatever it consists of, without showing it', () => {
    for (const start of ['', 'sha256/', 'pin-sha256="', 'SHA256 Fingerprint=', '-----BEGIN X-----', 'z']) {
      for (const filler of ['a', ':', ' ', '/']) expect(refusalOf(`${start}${filler.repeat(1_000_000)}z`).message.length).toBeLessThan(500)
    }
  })
})

describe('quoteInput', () => {
  test.each([
    ['https://user:S3CRET@host/path', '"https://…@host/path"'],
    ['http://user:S3CRET@host/pins?token=S3CRET', '"http://…@host/pins?…"'],
    ['https://host/pins?token=S3CRET#S3CRET', '"https://host/pins?…"'],
    ['https://host/#access_token=S3CRET', '"https://host/#…"'],
    ['user:S3CRET@host', '"…@host"'],
    ['//user:S3CRET@host', '"//…@host"'],
    ['htp//user:S3CRET@host', '"…@host"'],
    ['https:\\\\user:S3CRET@host', '"…@host"'],
    ['https://user:S3/CR?ET@host', '"https://…@host"'],
    ['https://user:S3CRET@S3CRET@host', '"https://…@host"'],
    ['host/pins?token=S3CRET', '"host/pins?…"'],
    ['https://host:8443/pins', '"https://host:8443/pins"'],
    ['sha256/ab?cd=', '"sha256/ab?cd="']
  ])('%s: nothing that may be secret in a URL', (text, shown) => expect(quoteInput(text)).toBe(shown))

  test('nor in the errors of pins and patterns', () => {
    for (const text of ['https://user:S3CRET@host/', 'https://user:S3/CRET@host/', 'https://u:S3CRET@S3CRET@host/?S3CRET=S3CRET', 'S3CRET@host']) {
      for (const read of [() => parsePin(text), () => parseHostPattern(text, 'pins'), () => httpsSource(text.replace(/^https/, 'http')), () => createPinning({ pins: { [text]: [] } }), () => createPinning({ pins: { 'a.example.com': [text] } })]) {
        let error: unknown
        try {
          read()
        } catch (thrown) {
          error = thrown
        }
        expect(error).toBeInstanceOf(Error)
        expect(`${(error as Error).stack} ${JSON.stringify(error)}`).not.toMatch(/S3|CRET/)
      }
    }
  })

  test('shows a short text in quotes', () => {
    expect(quoteInput('AB:CD')).toBe('"AB:CD"')
    expect(quoteInput('a "quoted" \\ text')).toBe('"a \\"quoted\\" \\\\ text"')
  })

  test('shows no text over 120 characters, but tells its length', () => {
    expect(quoteInput('z'.repeat(120))).toBe(`"${'z'.repeat(120)}"`)
    expect(quoteInput('z'.repeat(121))).toBe('(121 characters, not shown)')
  })

  test.each([
    ['line ends', 'a\r\nb', '"a\\r\\nb"'],
    ['a NUL', 'a\0b', '"a\\u0000b"'],
    ['an escape sequence of terminals', '\x1b[31mred', '"\\u001b[31mred"'],
    ['its one-character form', '\x9b31mred', '"\\u009b31mred"'],
    ['DEL', 'a\x7f', '"a\\u007f"'],
    ['a line separator', 'a\u2028b\u2029', '"a\\u2028b\\u2029"'],
    ['a change of the direction of writing', 'a\u202eb', '"a\\u202eb"'],
    ['a space of no width, as web pages have in what is copied from them', 'AB\u200b:CD', '"AB\\u200b:CD"'],
    ['a byte order mark', '\ufeffAB', '"\\ufeffAB"'],
    ['half a surrogate pair', 'a\ud800', '"a\\ud800"'],
    ['an invisible character outside the BMP', 'a\u{e0041}', '"a\\u{e0041}"']
  ])('makes %s visible', (_, text, shown) => {
    expect(quoteInput(text)).toBe(shown)
  })

  test('gives nothing that a terminal or a log file could take for more than text', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
      expect(quoteInput(text)).not.toMatch(/[\x00-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/)
    }))
  })
})

describe('a private key given by mistake', () => {
  const keys = {
    rsa: generateKey('rsa').privateKey,
    p256: generateKey('p256').privateKey,
    p384: generateKey('p384').privateKey,
    ed25519: generateKey('ed25519').privateKey,
    ed448: generateKey('ed448').privateKey
  }

  const ders: Array<[string, Buffer]> = Object.entries(keys).filter(([name]) => name !== 'p384').flatMap(([name, key]) => {
    const forms = ['pkcs8', ...(name === 'rsa' ? ['pkcs1'] : name.startsWith('p') ? ['sec1'] : [])] as Array<'pkcs8' | 'pkcs1' | 'sec1'>
    return forms.map((type): [string, Buffer] => [`${name} ${type}`, key.export({ type, format: 'der' })])
  })
  const scalar = Buffer.from(keys.p256.export({ format: 'jwk' }).d as string, 'base64url')
  // RFC 5915 makes parameters and public key optional.
  ders.push(['p256 sec1 without its optional parts', der.sequence(der.integer(1), der.octetString(scalar))])
  ders.push(['p256 pkcs8 without its optional parts', der.sequence(
    der.integer(0),
    der.sequence(der.oid('1.2.840.10045.2.1'), der.oid('1.2.840.10045.3.1.7')),
    der.octetString(der.sequence(der.integer(1), der.octetString(scalar)))
  )])

  const spelled = ders.flatMap(([name, bytes]): Array<[string, string]> => {
    const text = bytes.toString('base64')
    const digits = bytes.toString('hex')
    const pairs = digits.match(/../g) as string[]
    const forms: Array<[string, string]> = [
      [`${name} base64`, text],
      [`${name} base64 in lines`, (text.match(/.{1,64}/g) as string[]).join('\r\n')],
      [`${name} base64url`, bytes.toString('base64url')],
      [`${name} base64 cut short`, text.slice(0, -6)],
      [`${name} base64 after a name`, `key: ${text}`],
      [`${name} base64 in quotes`, `"${text}"`],
      [`${name} base64 after sha256/`, `sha256/${text}`],
      [`${name} base64 after sha256//`, `sha256//${text}`],
      [`${name} base64 as pin-sha256`, `pin-sha256="${text}"`],
      [`${name} hex`, digits],
      [`${name} hex in upper case`, digits.toUpperCase()],
      [`${name} hex with colons`, pairs.join(':')],
      [`${name} hex with dashes`, pairs.join('-')],
      [`${name} hex with spaces`, pairs.join(' ')],
      [`${name} hex after 0x`, `0x${digits}`],
      [`${name} hex escapes`, pairs.map((pair) => `\\x${pair}`).join('')],
      [`${name} hex after a prefix`, `SHA256 Fingerprint=${digits}`],
      [`${name} hex after sha256/`, `sha256/${digits}`],
      [`${name} data URL`, `data:application/pkcs8;base64,${text}`]
    ]
    // A long text is never shown, whatever its form, so a few of them do.
    return bytes.length < 90 ? forms : forms.filter((_, i) => i % 4 === 0)
  })
  for (const [name, key] of Object.entries(keys)) {
    const pem = key.export({ type: 'pkcs8', format: 'pem' }).toString()
    const jwk = key.export({ format: 'jwk' })
    spelled.push(
      [`${name} PEM`, pem],
      [`${name} PEM with CRLF`, pem.replaceAll('\n', '\r\n')],
      [`${name} PEM in one line`, pem.replaceAll('\n', '\\n')],
      [`${name} PEM after sha256/`, `sha256/${pem}`],
      [`${name} PEM without its end`, pem.slice(0, pem.length / 2)],
      [`${name} PEM in lower case letters around`, pem.replaceAll('PRIVATE KEY', 'private key')],
      [`${name} JWK`, JSON.stringify(jwk)],
      [`${name} JWK indented`, JSON.stringify(jwk, null, 2)],
      [`${name} JWK in JSON in JSON`, JSON.stringify({ key: JSON.stringify(jwk) })],
      [`${name} JWK as JavaScript`, inspect(jwk, { breakLength: Infinity })],
      [`${name} JWK after sha256/`, `sha256/${JSON.stringify(jwk)}`],
      [`${name} JWK cut to its secret`, `{"d":"${jwk.d as string}"}`]
    )
  }
  for (const name of ['p256', 'p384'] as const) spelled.push([`${name} SEC 1 PEM`, keys[name].export({ type: 'sec1', format: 'pem' }).toString()])
  spelled.push(['rsa PKCS#1 PEM', keys.rsa.export({ type: 'pkcs1', format: 'pem' }).toString()])
  spelled.push(['p256 encrypted PEM', keys.p256.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' }).toString()])

  const good = [`sha256/${base64}`]
  /** Every place that takes a text from the user. */
  const entries: Array<[string, (text: string) => unknown]> = [
    ['parsePin', (text) => parsePin(text)],
    ['parseHostPattern', (text) => parseHostPattern(text, 'pins')],
    ['parseHostPattern with a wildcard', (text) => parseHostPattern(`*.${text}`, 'pins')],
    ['parseHostPattern as a port', (text) => parseHostPattern(`api.example.com:${text}`, 'pins')],
    ['parseHostPattern as a URL', (text) => parseHostPattern(`https://${text}`, 'pins')],
    ['fingerprintOf', (text) => fingerprintOf(text)],
    ['fingerprintOf bytes', (text) => fingerprintOf(Buffer.from(text))],
    ...([
      ['allowedSHAFingerprints', (text) => ({ allowedSHAFingerprints: [text] })],
      ['allowedSHAFingerprints without an array', (text) => ({ allowedSHAFingerprints: text })],
      ['a host pattern', (text) => ({ pins: { [text]: good } })],
      ['pins', (text) => ({ pins: text })],
      ['a host\'s policy', (text) => ({ pins: { 'a.test': text } })],
      ['a list of pins', (text) => ({ pins: { 'a.test': [...good, text] } })],
      ...['certificates', 'publicKeys', 'authorities', 'pins', 'rejected'].flatMap((name): Array<[string, (text: string) => unknown]> => [
        [name, (text) => ({ pins: { 'a.test': { pins: good, [name]: [text] } } })],
        [`${name} without an array`, (text) => ({ pins: { 'a.test': { pins: good, [name]: text } } })]
      ]),
      ...['mode', 'expires', 'onExpiry', 'trust', 'includeSubDomains'].map((name): [string, (text: string) => unknown] => [name, (text) => ({ pins: { 'a.test': { pins: good, [name]: text } } })]),
      ['the name of an option', (text) => ({ pins: { 'a.test': { pins: good, [text]: true } } })],
      ['the overall mode', (text) => ({ pins: { 'a.test': good }, mode: text })],
      ['unpinnedHosts', (text) => ({ pins: { 'a.test': good }, unpinnedHosts: text })],
      ['requireBackupPin', (text) => ({ pins: { 'a.test': good }, requireBackupPin: text })]
    ] satisfies Array<[string, (text: string) => unknown]>).map(([name, options]): [string, (text: string) => unknown] => [`PolicySet: ${name}`, (text) => new PolicySet(options(text) as PolicyOptions, 1)])
  ]

  test.each(entries)('is refused and never echoed by %s', (_, give) => {
    const wrong = spelled.flatMap(([form, text]) => {
      const error = errorOf(() => give(text))
      const leak = leakOf(error, text)
      if (!isPinningError(error) && !(error instanceof TypeError)) return [`${form}: ${String(error)}`]
      return leak === undefined ? [] : [`${form}: shows ${leak}`]
    })
    expect(wrong).toEqual([])
  })

  test('is not echoed by pinOf where it cannot be read, as text, as bytes or encrypted', () => {
    for (const [form, text] of spelled) {
      for (const source of [text, Buffer.from(text)]) {
        const error = errorOf(() => pinOf(source))
        if (error === undefined) continue
        expect(error).toBeInstanceOf(PinInvalidError)
        expect([form, leakOf(error, text)]).toEqual([form, undefined])
      }
    }
  })

  test('is not echoed by pinOf or fingerprintOf when its bytes are damaged', () => {
    for (const [form, bytes] of ders) {
      for (const damaged of [bytes.subarray(0, -3), Buffer.concat([Buffer.from([0]), bytes]), Buffer.from(bytes.map((byte, i) => (i === 1 ? byte ^ 3 : byte)))]) {
        for (const read of [pinOf, fingerprintOf]) {
          const error = errorOf(() => read(damaged))
          for (const text of [bytes.toString('base64'), bytes.toString('hex')]) expect([form, leakOf(error, text)]).toEqual([form, undefined])
        }
      }
    }
  })

  test('is told from other texts in every spelling', () => {
    for (const [form, text] of spelled) if (!form.includes('encrypted')) expect([form, holdsPrivateKey(text), quoteInput(text)]).toEqual([form, true, '(a private key, not shown)'])
  })

  test('is told from other texts whatever stands before it', () => {
    const [, bytes] = ders.find(([name]) => name === 'ed25519 pkcs8') as [string, Buffer]
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 20 }), fc.constantFrom('base64', 'hex', 'base64url'), (before, encoding) => {
      const text = bytes.toString(encoding as BufferEncoding)
      const errors = [errorOf(() => parsePin(`${before} ${text}`)), errorOf(() => parseHostPattern(`${before}:${text}`, 'pins'))]
      expect(errors.map((error) => leakOf(error, text))).toEqual([undefined, undefined])
    }), { numRuns: 300 })
  })

  test('is what a digest, a host or a certificate request is never mistaken for', () => {
    fc.assert(fc.property(anyDigest, (bytes) => {
      for (const text of [formatFingerprint(bytes), bytes.toString('hex'), formatKeyPin(bytes), `sha256//${bytes.toString('base64')}`]) if (holdsPrivateKey(text)) throw new Error(text)
    }), { numRuns: 2_000 })
    for (const text of ['**.a-rather-long-label-of-a-host.and-another-one.example.com:8443', 'd.example.com:443', 'private.key.example.com', '2001:db8::d:1']) expect([text, holdsPrivateKey(text)]).toEqual([text, false])
  })

  test('leads to advice on what to do instead', () => {
    const pem = keys.p256.export({ type: 'pkcs8', format: 'pem' }).toString()
    expect(refusalOf(pem).message).toMatch(/^Not a pin: \(a private key, not shown\): it is a private key: never put it here; pinOf\(key\) gives its pin/)
    expect(errorOf(() => parseHostPattern(pem, 'pins'))).toMatchObject({ option: 'pins[(a private key, not shown)]', reason: expect.stringContaining('it is a private key: never put it here') as string })
    expect(errorOf(() => parseHostPattern(pem, 'pins'))).toBeInstanceOf(PolicyInvalidError)
  })

  test('stands in these tests in forms that OpenSSL can read', () => {
    for (const name of Object.keys(keys)) {
      const [, pem] = spelled.find(([form]) => form === `${name} PEM`) as [string, string]
      expect(createPrivateKey(pem).equals(keys[name as keyof typeof keys])).toBe(true)
    }
  })
})

function errorOf(work: () => unknown): unknown {
  try {
    work()
    return undefined
  } catch (error) {
    return error
  }
}

/** A piece of the text that something about the error shows, however it is cut into lines or escaped. */
function leakOf(error: unknown, text: string): string | undefined {
  // All own properties, message, stack, input and cause included.
  const shown = lettersOf(inspect(error, { depth: 9, showHidden: true, maxStringLength: null }))
  return piecesOf(text).find((piece) => shown.includes(piece))
}

function lettersOf(text: string): string {
  return text.replaceAll(/\\+[nrtx]|[^A-Za-z0-9+/_-]/g, '').toLowerCase()
}

const pieces = new Map<string, string[]>()

/** Twelve characters each, overlapping, without the PEM lines and the public parts of a JWK. */
function piecesOf(text: string): string[] {
  const known = pieces.get(text)
  if (known) return known
  const secret = lettersOf(text.replaceAll(/-----[^-]*-----|sha256 fingerprint|pin-sha256|"(?:kty|crv|x|y|n|e)":"[^"]*"/gi, ''))
  const found = secret.match(/.{12}/g) ?? []
  const made = [...found, ...(secret.slice(6).match(/.{12}/g) ?? [])]
  pieces.set(text, made)
  return made
}
