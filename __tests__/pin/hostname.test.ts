import fc from 'fast-check'
import { PolicyInvalidError } from '../../lib/errors.js'
import { canonicalHost, parseHostPattern } from '../../lib/pin/hostname.js'

function refusalOf(text: string): PolicyInvalidError {
  try {
    parseHostPattern(text, 'pins')
  } catch (error) {
    if (error instanceof PolicyInvalidError) return error
    throw error
  }
  throw new Error(`${text} was taken for a host pattern`)
}

const label = fc.string({ unit: fc.constantFrom(...'abcxyz0189-_'), minLength: 1, maxLength: 12 }).filter((text) => /^[a-z0-9_](?:.*[a-z0-9_])?$/.test(text) && !text.startsWith('xn--'))
const topLabel = label.filter((text) => /^[a-z]/.test(text))
const plainHost = fc.tuple(fc.array(label, { maxLength: 4 }), topLabel).map(([labels, top]) => [...labels, top].join('.'))
const strangeCharacters = fc.string({ unit: fc.oneof(fc.constantFrom(...'aZ0.-_*%[]:@/\\?#, \t\0;\'"', '。', 'ü', 'ß', 'K', '\u00ad', '\u200b', '١', '💩', '\ud800'), fc.string({ unit: 'binary', minLength: 1, maxLength: 1 })), maxLength: 20 })

describe('canonicalHost', () => {
  test.each([
    ['api.example.com', 'api.example.com'],
    ['API.Example.COM', 'api.example.com'],
    ['api.example.com.', 'api.example.com'],
    ['API.EXAMPLE.COM.', 'api.example.com'],
    ['localhost', 'localhost'],
    ['a_b.example.com', 'a_b.example.com'],
    ['-a.example.com', '-a.example.com'],
    ['a-.Example.com', 'a-.example.com'],
    ['1.2.3.4.com', '1.2.3.4.com'],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['BÜCHER.example', 'xn--bcher-kva.example'],
    ['XN--BCHER-KVA.Example', 'xn--bcher-kva.example'],
    ['faß.de', 'xn--fa-hia.de'],
    ['日本語。jp', 'xn--wgv71a119e.jp'],
    ['exam\u00adple.com', 'example.com'],
    ['ｅｘａｍｐｌｅ.com', 'example.com'],
    ['ex%61mple.com', 'example.com'],
    ['api.example.com。', 'api.example.com'],
    // A Kelvin sign, whose lower case is k.
    ['\u212aelvin.example', 'kelvin.example']
  ])('writes the name %s as %s', (host, canonical) => {
    expect(canonicalHost(host)).toBe(canonical)
  })

  test.each([
    ['127.0.0.1', '127.0.0.1'],
    ['127.0.0.1.', '127.0.0.1'],
    ['127.1', '127.0.0.1'],
    ['2130706433', '127.0.0.1'],
    ['0x7f.1', '127.0.0.1'],
    ['0X7F000001', '127.0.0.1'],
    ['0177.0.0.1', '127.0.0.1'],
    ['010.0.0.1', '8.0.0.1'],
    ['１２７.0.0.1', '127.0.0.1'],
    ['0', '0.0.0.0']
  ])('writes the IPv4 address %s as %s, as WHATWG URL does', (host, canonical) => {
    expect(canonicalHost(host)).toBe(canonical)
  })

  test.each([
    ['::1', '::1'],
    ['[::1]', '::1'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['[0000::0001]', '::1'],
    ['2001:DB8::00A0', '2001:db8::a0'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['::ffff:1.2.3.4', '1.2.3.4'],
    ['::ffff:102:304', '1.2.3.4'],
    ['[::FFFF:1.2.3.4]', '1.2.3.4'],
    ['fe80::1%eth0', 'fe80::1'],
    ['[fe80::1%25eth0]', 'fe80::1']
  ])('writes the IPv6 address %s as %s, without brackets and zone', (host, canonical) => {
    expect(canonicalHost(host)).toBe(canonical)
  })

  test.each(['', '.', '..', 'a..b', '.example.com', 'example.com..', 'example.com.。', 'example.123', '256.256.256.256', '1.2.3.4.5', 'a b.com', 'a\tb.com', 'example.com\0', '\x01example.com', 'example.com\x1f', 'example.com/', 'example.com/path', 'example.com?', 'example.com#', 'user@example.com', 'a\\b', 'example.com:443', '127.0.0.1:443', '[::1]:443', '[::1]/path', '[::1]@evil.example', '[::1', '::1]', '[]', '[example.com]', '[127.0.0.1]', '[::1]x', ':::', '1::2::3', 'a%2fb.com', 'a%00b.com', 'a<b', 'a|b', 'a^b', 'a[b', '\ud800.com'])('finds no host in %j', (host) => {
    expect(canonicalHost(host)).toBeUndefined()
  })

  test('leaves no name out because of its case alone, not even where punycode does not decode', () => {
    // DNS resolves both, so both must meet the same policy.
    expect(canonicalHost('xn--a.example.com')).toBe('xn--a.example.com')
    expect(canonicalHost('XN--A.example.com')).toBe('xn--a.example.com')
  })

  test('is the same for every spelling of a name', () => {
    fc.assert(fc.property(plainHost, fc.array(fc.boolean()), (host, upper) => {
      const mixed = [...host].map((character, i) => (upper[i % upper.length] ? character.toUpperCase() : character)).join('')
      for (const spelling of [host, mixed, `${mixed}.`, host.toUpperCase()]) expect(canonicalHost(spelling)).toBe(host)
    }), { numRuns: 300 })
  })

  test('is a fixed point, and what WHATWG URL makes of the host', () => {
    const host = fc.oneof(plainHost, strangeCharacters, fc.domain(), fc.ipV4Extended(), fc.ipV6(), fc.ipV6().map((address) => `[${address}]`), fc.tuple(strangeCharacters, plainHost).map((parts) => parts.join('.')))
    fc.assert(fc.property(host, (text) => {
      const canonical = canonicalHost(text)
      if (canonical === undefined) return
      expect(canonicalHost(canonical)).toBe(canonical)
      expect(canonical).not.toMatch(/[A-Z\s/?#@\\[\]]|\.$|^\.|\.\./)
      const url = `https://${canonical.includes(':') ? `[${canonical}]` : canonical}/`
      // Invalid punycode is no URL.
      if (URL.canParse(url)) expect(new URL(url).host).toBe(url.slice(8, -1))
      else expect(canonical).toContain('xn--')
    }), { numRuns: 2_000 })
  })

  test('is the host that axios will connect to, for any URL it can parse', () => {
    const url = fc.oneof(fc.webUrl({ validSchemes: ['https'], withFragments: true, authoritySettings: { withIPv4Extended: true, withIPv6: true, withPort: true, withUserInfo: true } }), plainHost.map((host) => `https://${host}/`), strangeCharacters.map((host) => `https://${host}`)).filter((text) => URL.canParse(text))
    fc.assert(fc.property(url, (text) => {
      const { hostname } = new URL(text)
      fc.pre(hostname !== '' && !/^\.|\.\.|\.$/.test(hostname))
      expect(canonicalHost(hostname)).toBe(hostname.replace(/^\[(.*)\]$/, '$1'))
    }), { numRuns: 1_000 })
  })
})

describe('parseHostPattern', () => {
  test.each([
    ['api.example.com', { text: 'api.example.com', host: 'api.example.com', wildcard: 'exact', port: undefined }],
    ['*.example.com', { text: '*.example.com', host: 'example.com', wildcard: 'one', port: undefined }],
    ['**.example.com', { text: '**.example.com', host: 'example.com', wildcard: 'any', port: undefined }],
    ['api.example.com:8443', { text: 'api.example.com:8443', host: 'api.example.com', wildcard: 'exact', port: 8443 }],
    ['**.EXAMPLE.com.:443', { text: '**.example.com:443', host: 'example.com', wildcard: 'any', port: 443 }],
    ['API.Example.COM.', { text: 'api.example.com', host: 'api.example.com', wildcard: 'exact', port: undefined }],
    ['*.bücher.example', { text: '*.xn--bcher-kva.example', host: 'xn--bcher-kva.example', wildcard: 'one', port: undefined }],
    ['localhost:1', { text: 'localhost:1', host: 'localhost', wildcard: 'exact', port: 1 }],
    ['localhost:65535', { text: 'localhost:65535', host: 'localhost', wildcard: 'exact', port: 65535 }],
    ['localhost:00443', { text: 'localhost:443', host: 'localhost', wildcard: 'exact', port: 443 }],
    ['127.1:443', { text: '127.0.0.1:443', host: '127.0.0.1', wildcard: 'exact', port: 443 }],
    ['::1', { text: '::1', host: '::1', wildcard: 'exact', port: undefined }],
    ['[::1]', { text: '::1', host: '::1', wildcard: 'exact', port: undefined }],
    ['[0::1]:443', { text: '[::1]:443', host: '::1', wildcard: 'exact', port: 443 }],
    ['2001:DB8::1', { text: '2001:db8::1', host: '2001:db8::1', wildcard: 'exact', port: undefined }],
    ['fe80::1%eth0', { text: 'fe80::1', host: 'fe80::1', wildcard: 'exact', port: undefined }],
    ['fe80::1%eth0:443', { text: '[fe80::1]:443', host: 'fe80::1', wildcard: 'exact', port: 443 }],
    ['[fe80::1%eth0]:443', { text: '[fe80::1]:443', host: 'fe80::1', wildcard: 'exact', port: 443 }]
  ])('reads %s', (text, pattern) => {
    expect(parseHostPattern(text, 'pins')).toEqual(pattern)
  })

  test.each([
    ['nothing', '', /^the host pattern is empty; right would be "api\.example\.com"/],
    ['blanks', '  ', /^the host pattern is empty/],
    ['a URL', 'https://api.example.com', /^a host pattern is not a URL; right would be "api\.example\.com"$/],
    ['a URL with user and path', 'https://user:pass@api.example.com:8443/v1?a=b', /right would be "api\.example\.com:8443"$/],
    ['a URL of a strange scheme', 'git+ssh://api.example.com', /right would be "api\.example\.com"$/],
    ['a path', 'api.example.com/v1', /right would be "api\.example\.com"$/],
    ['a URL without a host', 'https://', /right would be "api\.example\.com"$/],
    ['a URL with backslashes', 'https:\\\\api.example.com', /is not a URL/],
    ['a port before a path', 'api.example.com:8443/x', /right would be "api\.example\.com:8443"$/],
    ['a query', 'api.example.com?x', /is not a URL/],
    ['user information', 'user@api.example.com', /right would be "api\.example\.com"$/],
    ['a space', 'api. example.com', /has no spaces/],
    ['a space at the end', 'api.example.com ', /has no spaces/],
    ['port 0', 'a.test:0', /the port "0" is not a number from 1 to 65535/],
    ['port 65536', 'a.test:65536', /the port "65536"/],
    ['a port of six digits', 'a.test:000443', /the port "000443"/],
    ['an empty port', 'a.test:', /the port ""/],
    ['a service name', 'a.test:https', /the port "https"/],
    ['a wildcard port', 'a.test:*', /the port "\*"/],
    ['a negative port', 'a.test:-1', /the port "-1"/],
    ['a port with an exponent', 'a.test:4e2', /the port "4e2"/],
    ['a port in other digits', 'a.test:٤٤٣', /the port/],
    ['an empty port after IPv6', '[::1]:', /the port ""/],
    ['something after brackets', '[::1]x', /the port/],
    ['a wildcard within a label', 'a*.example.com', /only for whole labels at the start/],
    ['a wildcard in the middle', 'api.*.example.com', /only for whole labels at the start/],
    ['a wildcard at the end', 'api.example.*', /only for whole labels at the start/],
    ['two wildcards', '*.*.example.com', /only for whole labels at the start/],
    ['three stars', '***.example.com', /only for whole labels at the start/],
    ['a lone star', '*', /only for whole labels at the start of a name; for every host right would be the option allowedSHAFingerprints/],
    ['a lone double star', '**', /for every host right would be the option allowedSHAFingerprints/],
    ['a wildcard in IPv4', '10.0.0.*', /no labels for a wildcard; right would be each address by itself, or the option allowedSHAFingerprints/],
    ['a star with a dot', '*.', /not a host name/],
    ['a wildcard under a top-level label', '*.com', /a wildcard directly under a top-level label covers the hosts of strangers/],
    ['any sub-domain of a top-level label', '**.com', /directly under a top-level label/],
    ['the same with a trailing dot', '*.com.', /directly under a top-level label/],
    ['the same in another script', '**.рф', /directly under a top-level label/],
    ['a wildcard of IPv4', '*.0.0.1', /an IP address has no labels/],
    ['a wildcard of IPv6', '*.[::1]', /an IP address has no labels/],
    ['an empty label', 'a..example.com', /not a host name/],
    ['a dot at the start', '.example.com', /not a host name/],
    ['two dots at the end', 'example.com..', /not a host name/],
    ['a NUL', 'example.com\0', /not a host name/],
    ['a number at the end', 'example.123', /not a host name/],
    ['a list of names', 'a.example.com,b.example.com', /not a host name.*right would be one name/],
    ['a list of names with a semicolon', 'a.example.com;b.example.com', /not a host name/],
    ['a name in quotes', '"example.com"', /not a host name/],
    ['a name in brackets', '(example.com)', /not a host name/],
    ['a shell variable', '$HOST', /not a host name/],
    ['a template', '${host}.example.com', /not a host name/],
    ['a mustache', '{{host}}', /not a host name/],
    ['a regular expression', '^api\\.example\\.com$', /not a URL|not a host name/],
    ['an exclamation', '!example.com', /not a host name/],
    ['a label of 64 characters', `${'a'.repeat(64)}.example.com`, /not a host name/],
    ['a name of 254 characters', `${'a.'.repeat(126)}aa`, /not a host name/],
    ['a name of a million characters', 'a'.repeat(1_000_000), /at most 253 characters/]
  ])('refuses %s', (_, text, reason) => {
    const error = refusalOf(text)
    expect(error.code).toBe('ERR_PIN_POLICY_INVALID')
    expect(error.reason).toMatch(reason)
    expect(error.message.length).toBeLessThan(500)
  })

  test('accepts names as long as DNS has them', () => {
    const longest = `${'a.'.repeat(126)}a`
    expect(longest.length).toBe(253)
    expect(parseHostPattern(longest, 'pins').host).toBe(longest)
    expect(parseHostPattern(`${'a'.repeat(63)}.example.com`, 'pins').host).toBe(`${'a'.repeat(63)}.example.com`)
  })

  test('says where the pattern stands, without control characters', () => {
    expect(refusalOf('a\x1b[31m\x9b.test').option).toBe('pins["a\\u001b[31m\\u009b.test"]')
    expect(refusalOf('x:\x9b').message).not.toContain('\x9b')
  })

  test('does not show a URL\'s host where it is not fit to be shown', () => {
    expect(refusalOf(`https://${'a'.repeat(900)}/`).reason).toBe('a host pattern is not a URL; right would be "api.example.com"')
  })

  test('has a canonical text that is a fixed point', () => {
    const host = fc.oneof(plainHost, fc.ipV4(), fc.ipV6(), fc.ipV6().map((address) => `[${address}]`), fc.constantFrom('bücher.example', 'XN--BCHER-KVA.example.'))
    const pattern = fc.tuple(fc.constantFrom('', '*.', '**.'), host, fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined })).map(([wildcard, name, port]) => {
      const bracketed = name.includes(':') && !name.startsWith('[') && port !== undefined ? `[${name}]` : name
      return wildcard + bracketed + (port === undefined ? '' : `:${port}`)
    })
    let read = 0
    fc.assert(fc.property(pattern, (text) => {
      let parsed
      try {
        parsed = parseHostPattern(text, 'pins')
      } catch (error) {
        // A wildcard of an address or of a top-level label.
        if (error instanceof PolicyInvalidError && text.startsWith('*')) return
        throw error
      }
      read++
      expect(parseHostPattern(parsed.text, 'pins')).toEqual(parsed)
      expect(canonicalHost(parsed.host)).toBe(parsed.host)
    }), { numRuns: 1_000 })
    expect(read).toBeGreaterThan(300)
  })

  test('throws nothing but PolicyInvalidError, and returns nothing but names and addresses', () => {
    fc.assert(fc.property(fc.oneof(strangeCharacters, fc.string({ unit: 'binary' }), fc.tuple(fc.constantFrom('*.', '**.', 'https://', '[', ''), strangeCharacters, fc.constantFrom('', ':443', ']:1', '.')).map((parts) => parts.join(''))), (text) => {
      try {
        const { host, text: canonical } = parseHostPattern(text, 'pins')
        expect(host).toMatch(/^[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*$|^[0-9a-f:]+$/)
        expect(canonical).toMatch(/^[a-z0-9_.:[\]*-]+$/)
      } catch (error) {
        if (!(error instanceof PolicyInvalidError)) throw error
        expect(error.code).toBe('ERR_PIN_POLICY_INVALID')
      }
    }), { numRuns: 2_000 })
  })
})
