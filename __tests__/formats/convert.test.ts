import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { PinsFileInvalidError } from '../../lib/index.js'
import { convertPins, formats } from '../../lib/formats/convert.js'
import type { Format } from '../../lib/formats/convert.js'
import { createPinning } from '../../lib/index.js'
import type { HostPolicy, PolicyOptions } from '../../lib/index.js'
import { PolicySet } from '../../lib/policy/policy-set.js'
import { createAuthority } from '../support/pki.js'
import { runCommand } from '../support/terminal.js'

const digest = (): string => randomBytes(32).toString('base64')
const [a, b, c, d] = [digest(), digest(), digest(), digest()] as [string, string, string, string]
const now = Date.parse('2026-11-26T12:00:00Z')

function convert(text: string, from: Format, to: Format, host?: string): { text: string; notes: readonly string[] } {
  return convertPins(text, { from, to, name: `pins.${from === 'yaml' ? 'yaml' : from === 'json' ? 'json' : 'txt'}`, host, now })
}

/** Our policy of a foreign text, and what was noted apart from what is noted of every such file. */
function read(text: string, from: Format, host?: string): { policy: PolicyOptions; notes: string[] } {
  const { text: json, notes } = convert(text, from, 'json', host)
  return { policy: JSON.parse(json) as PolicyOptions, notes: notes.filter((note) => !/^hosts without pins/.test(note)) }
}

function write(policy: PolicyOptions, to: Format, host?: string): { text: string; notes: string[] } {
  const { text, notes } = convert(JSON.stringify({ unpinnedHosts: 'allow', ...policy }), 'json', to, host)
  return { text, notes: [...notes] }
}

function problem(text: string, from: Format, host?: string): string {
  try {
    convert(text, from, 'json', host)
    return 'none'
  } catch (error) {
    return (error as Error).message
  }
}

const plist = (content: string): string => `<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">\n<plist version="1.0">\n${content}\n</plist>\n`

const ending = (name: string, date: string): string => `${name}: pinning ends at ${date}, and every peer that PKI accepts passes then (onExpiry: 'allow'); 'refuse' would stop every request instead`

describe('Android', () => {
  test('the documentation’s structures: pins with expiration, nested configs, cleartext and trust anchors', () => {
    const { policy, notes } = read(`<?xml version="1.0" encoding="utf-8"?>
<network-security-config>
    <base-config cleartextTrafficPermitted="false"><trust-anchors><certificates src="system"/></trust-anchors></base-config>
    <domain-config>
        <domain includeSubdomains="true">example.com</domain>
        <domain>Other.Example.NET</domain>
        <pin-set expiration="2028-01-01">
            <pin digest="SHA-256">${a}</pin>
            <!-- backup pin -->
            <pin digest="SHA-256">
              ${b}
            </pin>
        </pin-set>
        <domain-config cleartextTrafficPermitted="false">
            <domain includeSubdomains="true">secure.example.com</domain>
        </domain-config>
        <domain-config>
            <domain>own.example.com</domain>
            <pin-set><pin digest="SHA-256">${c}</pin></pin-set>
            <trustkit-config enforcePinning="true"/>
        </domain-config>
    </domain-config>
    <domain-config><domain>free.example.org</domain></domain-config>
    <debug-overrides><trust-anchors><certificates src="@raw/debug_cas"/></trust-anchors></debug-overrides>
</network-security-config>`, 'android')
    const both = { pins: [`sha256/${a}`, `sha256/${b}`], expires: '2028-01-01', onExpiry: 'allow' }
    expect(policy).toEqual({ pins: { 'example.com': { ...both, includeSubDomains: true }, 'other.example.net': both, 'secure.example.com': { ...both, includeSubDomains: true }, 'own.example.com': [`sha256/${c}`] } })
    expect(notes).toEqual([
      'line 3: <base-config> is not about pins; left out',
      'line 14: cleartextTrafficPermitted of <domain-config> is not about pins; left out',
      'line 20: <trustkit-config> is not about pins; left out',
      'line 24: <debug-overrides> is not about pins; left out',
      'free.example.org: it has no pins; left out',
      ...['example.com', 'other.example.net', 'secure.example.com'].map((name) => ending(name, '2028-01-01'))
    ])
    expect(createPinning(policy).policyFor('deep.in.example.com')?.onExpiry).toBe('allow')
  })

  test('there and back, all that it can say', () => {
    const policy = { pins: { 'example.com': { pins: [`sha256/${a}`, `sha256/${b}`], expires: '2028-01-01', onExpiry: 'allow' as const, includeSubDomains: true }, 'a.example.com': [`sha256/${c}`], '10.0.0.1': [`sha256/${d}`] } }
    const written = write(policy, 'android')
    expect(written.notes).toEqual([])
    expect(read(written.text, 'android')).toEqual({ policy, notes: [ending('example.com', '2028-01-01')] })
    expect(convert(written.text, 'android', 'trustkit').notes).not.toContain(ending('example.com', '2028-01-01'))
    expect(convert(written.text, 'android', 'android').text).toBe(written.text)
  })

  test.each([
    ['another top element', '<resources/>', '1:1: the top element is <resources>'],
    ['SHA-1', '<network-security-config><domain-config><domain>a.com</domain>\n<pin-set><pin digest="SHA-1">x</pin></pin-set></domain-config></network-security-config>', '2:10: the digest of a pin must be "SHA-256"'],
    ['no base64', '<network-security-config><domain-config><domain>a.com</domain>\n<pin-set>\n<pin digest="SHA-256">x</pin></pin-set></domain-config></network-security-config>', '3:1: Not a pin: "sha256/x"'],
    ['a date that is none', `<network-security-config><domain-config><domain>a.com</domain><pin-set expiration="2028-02-30"><pin digest="SHA-256">${'A'.repeat(43)}=</pin></pin-set></domain-config></network-security-config>`, 'does not exist in the calendar'],
    ['a host twice', `<network-security-config><domain-config><domain>a.com</domain><domain>A.com</domain><pin-set><pin digest="SHA-256">${'A'.repeat(43)}=</pin></pin-set></domain-config></network-security-config>`, 'a.com is there twice'],
    ['a URL for a host', `<network-security-config><domain-config><domain>https://a.com</domain><pin-set><pin digest="SHA-256">${'A'.repeat(43)}=</pin></pin-set></domain-config></network-security-config>`, 'a host pattern is not a URL'],
    ['no domain', '<network-security-config><domain-config/></network-security-config>', 'a domain-config without a domain'],
    ['no pins at all', '<network-security-config/>', 'there are no pins']
  ])('refused: %s', (_, text, message) => expect(problem(text, 'android')).toContain(message))
})

describe('Android: below a host with its sub-domains', () => {
  const domain = (name: string, includes: boolean, pin?: string): string => `<domain-config><domain includeSubdomains="${includes}">${name}</domain>${pin === undefined ? '' : `<pin-set><pin digest="SHA-256">${pin}</pin></pin-set>`}</domain-config>`
  const config = (...domains: string[]): string => `<network-security-config>${domains.join('')}</network-security-config>`

  test('an entry without pins is not pinned by the one above, before or after it', () => {
    const { policy, notes } = read(config(domain('open.example.com', true), domain('example.com', true, a), '<domain-config><domain>free.example.com</domain><pin-set/></domain-config>', domain('own.open.example.com', false, b), domain('open.example.org', false)), 'android')
    expect(policy.pins).toEqual({
      'example.com': { pins: [`sha256/${a}`], includeSubDomains: true },
      'open.example.com': { pins: [`sha256/${a}`], mode: 'off', includeSubDomains: true },
      'free.example.com': { pins: [`sha256/${a}`], mode: 'off' },
      'own.open.example.com': [`sha256/${b}`]
    })
    expect(notes).toEqual(['open.example.org: it has no pins; left out'])
    const written = write(policy, 'android')
    expect(written.notes).toEqual([])
    expect(read(written.text, 'android')).toEqual({ policy, notes: [] })
  })

  test('a name of the prototype is a name like any other', () => {
    expect(Object.entries(read(config(domain('__proto__', false, a), domain('example.com', false, b)), 'android').policy.pins ?? {})).toEqual([['__proto__', [`sha256/${a}`]], ['example.com', [`sha256/${b}`]]])
    expect(Object.keys(read(plist(`<dict><key>TSKPinnedDomains</key><dict><key>__proto__</key><dict><key>TSKPublicKeyHashes</key><array><string>${a}</string></array></dict></dict></dict>`), 'trustkit').policy.pins ?? {})).toEqual(['__proto__'])
  })
})

describe.each(['android', 'trustkit'] as const)('%s: what are two entries here and one there', (format) => {
  const system = format === 'android' ? 'Android' : 'TrustKit'
  const both = [`sha256/${a}`, `sha256/${b}`]
  const back = (pins: NonNullable<PolicyOptions['pins']>) => {
    const { text, notes } = write({ pins }, format)
    return { pins: read(text, format).policy.pins, notes }
  }

  test('with the same pins they become one, and nothing is lost', () => {
    for (const pins of [{ '**.sub.example.com': both, 'sub.example.com': both.toReversed() }, { 'sub.example.com': both, '**.sub.example.com': both }]) {
      expect(back(pins)).toEqual({ pins: { 'sub.example.com': { pins: expect.arrayContaining(both), includeSubDomains: true } }, notes: [] })
    }
  })

  test('with others, those of both count, and it is noted', () => {
    expect(back({ '**.sub.example.com': both, 'sub.example.com': [`sha256/${b}`, `sha256/${c}`] })).toEqual({
      pins: { 'sub.example.com': { pins: [`sha256/${b}`, `sha256/${c}`, `sha256/${a}`], includeSubDomains: true } },
      notes: [`sub.example.com: ${system} accepts the pins of **.sub.example.com for it as well`, `**.sub.example.com: ${system} accepts the pins of sub.example.com for it as well`]
    })
  })

  test('with another date one is left out, and it is noted', () => {
    expect(back({ '**.sub.example.com': { pins: both, expires: '2028-01-01', onExpiry: 'allow' }, 'sub.example.com': both })).toEqual({
      pins: { 'sub.example.com': both },
      notes: [`**.sub.example.com: ${system} has one entry for sub.example.com and its sub-domains, and their modes or expiry dates differ; left out`]
    })
  })

  test('mode off: only below a host that includes it, and its pins are noted', () => {
    expect(back({ 'example.com': { pins: both, includeSubDomains: true }, 'same.example.com': { pins: both, mode: 'off' }, 'other.example.com': { pins: [`sha256/${c}`], mode: 'off' }, 'lone.test': { pins: both, mode: 'off' } })).toEqual({
      pins: { 'example.com': { pins: both, includeSubDomains: true }, 'same.example.com': { pins: both, mode: 'off' }, 'other.example.com': { pins: both, mode: 'off' } },
      notes: [`other.example.com: ${system} has no pins for a host that is not pinned; its pins are left out`, `lone.test: mode 'off' cannot be said to ${system} but below a pinned host that includes its sub-domains; the host is left out`]
    })
  })

  test('what is left out falls under the host above', () => {
    expect(back({ 'example.com': { pins: both, includeSubDomains: true }, '*.example.com': both, 'a.example.com:8443': both }).notes).toEqual([
      `*.example.com: ${system} has no pattern for exactly one label; the host is left out`, `a.example.com:8443: ${system} knows no ports; the host is left out`,
      `*.example.com: left out, it falls under example.com in ${system}`, `a.example.com:8443: left out, it falls under example.com in ${system}`
    ])
  })
})

test('TrustKit cannot exclude sub-domains of a sub-domain', () => {
  const pins = [`sha256/${a}`, `sha256/${b}`]
  expect(write({ pins: { 'example.com': { pins, includeSubDomains: true }, '**.open.example.com': { pins, mode: 'off' } } }, 'trustkit').notes).toEqual(['**.open.example.com: TrustKit cannot exclude its sub-domains; they fall under the host above'])
})

describe('TrustKit', () => {
  const configuration = (prefix: string): string => `<dict>
	<key>${prefix}TSKSwizzleNetworkDelegates</key><false/>
	<key>${prefix}TSKPinnedDomains</key>
	<dict>
		<key>www.example.com</key>
		<dict>
			<key>${prefix}TSKExpirationDate</key><string>2027-12-01</string>
			<key>${prefix}TSKPublicKeyHashes</key>
			<array><string>${a}</string><string>${b}</string></array>
			<key>${prefix}TSKEnforcePinning</key><false/>
			<key>${prefix}TSKReportUris</key><array><string>https://reports.example.com/log</string></array>
		</dict>
		<key>example.org</key>
		<dict>
			<key>${prefix}TSKPublicKeyHashes</key>
			<array><string>${c}</string><string>${d}</string></array>
			<key>${prefix}TSKIncludeSubdomains</key><true/>
		</dict>
		<key>free.example.org</key>
		<dict><key>${prefix}TSKExcludeSubdomainFromParentPolicy</key><true/></dict>
	</dict>
</dict>`

  test.each([
    ['an Info.plist', plist(`<dict><key>CFBundleName</key><string>App &amp; Co</string><key>UIRequiredDeviceCapabilities</key><array><string>armv7</string></array><key>TSKConfiguration</key>${configuration('')}</dict>`)],
    ['the dictionary that a Swift program passes', plist(configuration('k'))],
    ['without a DOCTYPE', `<plist version="1.0">${configuration('')}</plist>`]
  ])('reads %s', (_, text) => {
    const { policy, notes } = read(text, 'trustkit')
    expect(policy).toEqual({ pins: {
      'www.example.com': { pins: [`sha256/${a}`, `sha256/${b}`], mode: 'report-only', expires: '2027-12-01', onExpiry: 'allow' },
      'example.org': { pins: [`sha256/${c}`, `sha256/${d}`], includeSubDomains: true },
      'free.example.org': { pins: [`sha256/${c}`, `sha256/${d}`], mode: 'off' }
    } })
    expect(notes).toEqual(['TSKSwizzleNetworkDelegates is not about pins; left out', 'www.example.com: TSKReportUris is not about pins; left out', ending('www.example.com', '2027-12-01')])
  })

  test('there and back, all that it can say', () => {
    const { policy } = read(plist(configuration('')), 'trustkit')
    const written = write(policy, 'trustkit')
    expect(written.notes).toEqual([])
    expect(read(written.text, 'trustkit').policy).toEqual(policy)
    expect(convert(written.text, 'trustkit', 'trustkit').text).toBe(written.text)
  })

  test.each([
    ['a binary one', 'bplist00\u0001', 'it is a binary property list'],
    ['no pinned domains', plist('<dict><key>CFBundleName</key><string>x</string></dict>'), 'there is no TSKPinnedDomains'],
    ['a key without a value', plist('<dict><key>TSKPinnedDomains</key></dict>'), '4:1: the key "TSKPinnedDomains" has no value'],
    ['a key twice', plist('<dict><key>a</key><true/>\n<key>a</key><true/></dict>'), '5:1: the key "a" is there twice'],
    ['a hash that is none', plist('<dict><key>TSKPinnedDomains</key><dict><key>a.com</key><dict><key>TSKPublicKeyHashes</key><array>\n<string>x</string></array></dict></dict></dict>'), '5:1: Not a pin: "sha256/x"'],
    ['a string for a list', plist('<dict><key>TSKPinnedDomains</key><dict><key>a.com</key><dict><key>TSKPublicKeyHashes</key><string>x</string></dict></dict></dict>'), 'has no array TSKPublicKeyHashes'],
    ['a key twice, once with its k', plist(`<dict><key>TSKPinnedDomains</key><dict><key>a.com</key><dict><key>TSKPublicKeyHashes</key><array><string>${a}</string></array>\n<key>kTSKPublicKeyHashes</key><array/></dict></dict></dict>`), '5:31: TSKPublicKeyHashes is there twice, with and without the k'],
    ['another element', plist('<object/>'), '<object> is no value of a property list']
  ])('refused: %s', (_, text, message) => expect(problem(text, 'trustkit')).toContain(message))
})

describe('XML', () => {
  const lol = `<!DOCTYPE lolz [\n <!ENTITY lol "lol">\n ${[...'123456789'].map((n, i) => `<!ENTITY lol${n} "${`&lol${i === 0 ? '' : i};`.repeat(10)}">`).join('\n ')}\n]>\n`
  test.each<[string, string, RegExp]>([
    ['billion laughs', `${lol}<network-security-config>&lol9;</network-security-config>`, /a DOCTYPE is refused/],
    ['an external entity', '<!DOCTYPE x [<!ENTITY xxe SYSTEM "file:///etc/passwd">]><network-security-config>&xxe;</network-security-config>', /a DOCTYPE is refused/],
    ['an external DTD', '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><network-security-config/>', /a DOCTYPE is refused/],
    ['Apple’s DOCTYPE with definitions', `<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd" [<!ENTITY a "b">]><plist><dict/></plist>`, /a DOCTYPE is refused/],
    ['an undefined entity', '<network-security-config>&lol;</network-security-config>', /this is not XML: undefined entity/],
    ['an element left open', '<network-security-config><domain-config>', /this is not XML: unclosed tag/],
    ['elements that cross', '<network-security-config><domain-config></network-security-config></domain-config>', /this is not XML: unexpected close tag/],
    ['an attribute twice', '<network-security-config a="1" a="2"/>', /this is not XML: duplicate attribute/],
    ['two top elements', '<network-security-config/><network-security-config/>', /this is not XML: document must contain a single root|this is not XML/],
    ['text around it', 'x<network-security-config/>', /this is not XML/],
    ['a thousand levels', `${'<a>'.repeat(1_000)}${'</a>'.repeat(1_000)}`, /nested too deeply/],
    ['a NUL', '<network-security-config>\u0000</network-security-config>', /this is not XML/],
    ['nothing', '<!-- -->', /this is not XML: document must contain a root element/]
  ])('refused: %s', (_, text, message) => {
    for (const from of ['android', 'trustkit'] as const) expect(problem(text, from)).toMatch(message)
  })
})

describe('OkHttp', () => {
  test('Kotlin and Java, with comments, over several lines, on a variable', () => {
    const { policy, notes } = read(`
      // .add("commented.example.com", "sha256/${d}")
      val pinner = CertificatePinner.Builder()
        .add("publicobject.com", "sha256/${a}", "sha256/${b}")
        .add("*.example.com" /* one label */,
             "sha256/${c}"
        )
        .add("**.example.net", "sha256/${c}").build()
      builder.add("publicobject.com", "sha256/${c}", "sha1/afwiKY3RxoMmLkuRW1l7QsPZTJPwDS2pdDROQjXw8ig=");
      builder.add("$host.example.com", "sha256/${d}")
      builder.add("x.example.org", PIN)
      builder.add("y.example.org", "sha256/" + PIN)
      names.add("just a list")
      headers.add("Accept", "text/plain")`, 'okhttp')
    expect(policy).toEqual({ pins: { 'publicobject.com': [`sha256/${a}`, `sha256/${b}`, `sha256/${c}`], '*.example.com': [`sha256/${c}`], '**.example.net': [`sha256/${c}`] } })
    expect(notes).toEqual([
      'line 9: publicobject.com: a sha1/ pin is of no use here; left out',
      'line 10: .add(…, …) has arguments that are no literal strings; left out',
      'line 11: .add("x.example.org", …) has arguments that are no literal strings; left out',
      'line 12: .add("y.example.org", …) has arguments that are no literal strings; left out'
    ])
  })

  test('patterns that overlap: there the pins of all count', () => {
    const { policy } = read(`.add("**.example.com", "sha256/${a}").add("*.example.com", "sha256/${b}").add("api.example.com", "sha256/${c}")`, 'okhttp')
    expect(policy.pins).toEqual({ '**.example.com': [`sha256/${a}`], '*.example.com': [`sha256/${b}`, `sha256/${a}`], 'api.example.com': [`sha256/${c}`, `sha256/${b}`, `sha256/${a}`] })
    expect(write({ pins: { '*.example.com': [`sha256/${b}`], 'api.example.com': [`sha256/${c}`] } }, 'okhttp').notes).toEqual(['api.example.com: OkHttp accepts the pins of *.example.com for it as well'])
  })

  test('includeSubDomains is a wide pattern there too', () => {
    const [one, two] = [[`sha256/${a}`], [`sha256/${b}`]]
    expect(write({ pins: { 'example.com': { pins: one, includeSubDomains: true }, '*.example.com': two } }, 'okhttp').notes).toEqual(['*.example.com: OkHttp accepts the pins of example.com for it as well'])
    expect(write({ pins: { '*.example.com': one, 'a.example.com': { pins: two, includeSubDomains: true } } }, 'okhttp').notes).toEqual(['a.example.com: OkHttp accepts the pins of *.example.com for it as well'])
    expect(write({ pins: { '**.example.com': one, 'example.com': one, 'a.example.com': two, '**.b.example.com': two } }, 'okhttp').notes).toEqual(['a.example.com: OkHttp accepts the pins of **.example.com for it as well', '**.b.example.com: OkHttp accepts the pins of **.example.com for it as well'])
    // One name, for which two patterns fit of which neither covers the other.
    expect(write({ pins: { '*.example.com': one, '**.a.example.com': two } }, 'okhttp').notes).toEqual(['*.example.com: OkHttp accepts the pins of **.a.example.com for a.example.com as well'])
    expect(read(`.add("*.example.com", "sha256/${a}").add("**.a.example.com", "sha256/${b}")`, 'okhttp').policy.pins).toEqual({ '*.example.com': one, '**.a.example.com': two, 'a.example.com': [...one, ...two] })
  })

  test('a string that is never closed is none, and ends with its line', () => {
    const { policy, notes } = read(`.add("a.example.com, "sha256/${a}")\n.add("b.example.com", "sha256/${b}") // don't\nval c = '"'\n.add("c.example.com", "sha256/${c}")`, 'okhttp')
    expect(Object.keys(policy.pins ?? {})).toEqual(['b.example.com', 'c.example.com'])
    expect(notes).toEqual([])
  })

  test.each(['okhttp', 'okhttp-java'] as const)('%s there and back', (format) => {
    const policy = { pins: { 'example.com': [`sha256/${a}`, `sha256/${b}`], '*.example.net': [`sha256/${c}`], '**.example.org': [`sha256/${d}`] } }
    const written = write(policy, format)
    expect(written.notes).toEqual([])
    expect(read(written.text, format)).toEqual({ policy, notes: [] })
    expect(convert(written.text, format, format).text).toBe(written.text)
  })

  test.each([
    ['no call', 'fun main() {}', 'there is no call .add('],
    ['a pin that is none', '\n  .add("a.com", "sha256/x")', '2:4: Not a pin: "sha256/x"'],
    ['a pattern that is none', '.add("a..com", "sha256/x")', 'this is not a host name'],
    ['sha1 only', '.add("a.com", "sha1/afwiKY3RxoMmLkuRW1l7QsPZTJPwDS2pdDROQjXw8ig=")', 'is of no use here']
  ])('refused: %s', (_, text, message) => expect(problem(text, 'okhttp')).toContain(message))
})

describe('HPKP', () => {
  test('RFC 7469’s forms, with and without the header’s name, folded, quoted pairs, in any case', () => {
    expect(read(`Public-Key-Pins: max-age=3000;\r\n  pin-sha256="${a}"; pin-sha256="${b}";\r\n  includeSubDomains; report-uri="https://r.example.com/a;b"; odd`, 'hpkp', 'example.com')).toEqual({
      policy: { pins: { 'example.com': { pins: [`sha256/${a}`, `sha256/${b}`], includeSubDomains: true } } },
      notes: [expect.stringContaining('max-age=3000 counts from when a browser gets the header'), 'report-uri is not about pins; left out', 'odd is not about pins; left out']
    })
    expect(read(`pin-sha1="x"; pin-sha256="${a}"; max-age=5`, 'hpkp', 'example.com').notes).toContain('a pin-sha1 is of no use here; left out')
    expect(read(`PIN-SHA256="${a}";PIN-SHA256=${b};MAX-AGE="5"`, 'hpkp', 'example.com').policy).toEqual({ pins: { 'example.com': [`sha256/${a}`, `sha256/${b}`] } })
    expect(read(`HTTP/1.1 200 OK\r\nServer: x\r\npublic-key-pins-report-only: pin-sha256="${a}"\r\n`, 'hpkp', 'example.com').policy).toEqual({ pins: { 'example.com': { pins: [`sha256/${a}`], mode: 'report-only' } } })
  })

  test('there and back, the time aside', () => {
    const policy = { pins: { 'example.com': { pins: [`sha256/${a}`, `sha256/${b}`], includeSubDomains: true, mode: 'report-only' as const } } }
    const { text, notes } = write(policy, 'hpkp')
    expect(text).toBe(`Public-Key-Pins-Report-Only: pin-sha256="${a}"; pin-sha256="${b}"; max-age=5184000; includeSubDomains\n`)
    expect(notes).toEqual(['example.com: max-age must be given there, and is 5184000 (60 days)'])
    expect(read(text, 'hpkp', 'example.com').policy).toEqual(policy)
    expect(write({ pins: { 'a.com': { pins: [`sha256/${a}`], expires: '2026-11-27T12:00:00Z', onExpiry: 'allow' } } }, 'hpkp')).toEqual({ text: `Public-Key-Pins: pin-sha256="${a}"; max-age=86400\n`, notes: [expect.stringContaining('without a backup pin')] })
  })

  test.each([
    ['no host given', `max-age=1; pin-sha256="${a}"`, undefined, 'right would be --host'],
    ['no header', 'Server: x', 'a.com', 'there is no Public-Key-Pins header'],
    ['two headers', `Public-Key-Pins: x\nPublic-Key-Pins: y`, 'a.com', 'more than one'],
    ['no max-age', `pin-sha256="${a}"`, 'a.com', 'max-age is missing'],
    ['max-age=0', `max-age=0; pin-sha256="${a}"`, 'a.com', 'asks to forget'],
    ['a directive twice', `max-age=1; max-age=2; pin-sha256="${a}"`, 'a.com', 'max-age is there twice'],
    ['a pin that is none', 'max-age=1; pin-sha256="x"', 'a.com', 'Not a pin'],
    ['garbage', `max-age=1; pin-sha256="${a}" "`, 'a.com', 'this is no directive']
  ])('refused: %s', (_, text, host, message) => expect(problem(text, 'hpkp', host)).toContain(message))
})

describe('curl', () => {
  test.each([
    ['the value alone', `sha256//${a};sha256//${b}`, 'example.com'],
    ['a command line', `curl -s --pinnedpubkey "sha256//${a};sha256//${b}" -o x https://example.com/path`, undefined],
    ['with =', `curl --pinnedpubkey='sha256//${a};sha256//${b}' https://example.com`, undefined],
    ['a config file', `url = "https://example.com"\npinnedpubkey = "sha256//${a};sha256//${b}"\n`, undefined]
  ])('reads %s', (_, text, host) => {
    expect(read(text, 'curl', host)).toEqual({ policy: { pins: { 'example.com': { publicKeys: [`sha256/${a}`, `sha256/${b}`] } } }, notes: [] })
  })

  test('there and back, a digest that begins with a slash included', () => {
    const slashed = `/${a.slice(1)}`
    const policy = { pins: { 'example.com:8443': { publicKeys: [`sha256/${slashed}`, `sha256/${b}`] } } }
    const written = write(policy, 'curl')
    expect(written).toEqual({ text: `curl --pinnedpubkey 'sha256//${slashed};sha256//${b}' https://example.com:8443/\n`, notes: [] })
    expect(read(written.text, 'curl').policy).toEqual(policy)
  })

  test.each([
    ['a file', 'curl --pinnedpubkey key.pem https://a.com', undefined, 'names a file there'],
    ['none', 'curl https://a.com', undefined, 'there is no --pinnedpubkey'],
    ['no host', `sha256//${a}`, undefined, 'right would be --host'],
    ['a pin that is none', 'curl --pinnedpubkey sha256//x https://a.com', undefined, 'Not a pin'],
    ['URLs of two hosts', `curl --pinnedpubkey sha256//${a} https://a.com/ https://b.com/x https://a.com/y`, undefined, 'there are https: URLs of a.com and of b.com in it; right would be --host'],
    ['two', `--pinnedpubkey sha256//${a} --pinnedpubkey sha256//${b} https://a.com`, undefined, 'more than one']
  ])('refused: %s', (_, text, host, message) => expect(problem(text, 'curl', host)).toContain(message))
})

test('our own: JSON to YAML and back, every field', () => {
  const root = createAuthority()
  const policy: PolicyOptions = {
    mode: 'report-only', unpinnedHosts: 'allow', requireBackupPin: false, allowedSHAFingerprints: [`sha256/${a}`, root.fingerprint],
    pins: { '*.example.com:8443': { certificates: [root.fingerprint], publicKeys: [`sha256/${b}`], authorities: [root.pem], pins: [`sha256/${c}`], rejected: [`sha256/${d}`], mode: 'enforce', expires: '2028-01-01', onExpiry: 'refuse', trust: 'pki', includeSubDomains: false } }
  }
  const yaml = convert(JSON.stringify(policy), 'json', 'yaml')
  expect(yaml.notes).toEqual([])
  expect(read(yaml.text, 'yaml')).toEqual({ policy, notes: [] })
  expect(convert(JSON.stringify({ ...policy, refresh: { spreadMs: 5 } }), 'json', 'yaml')).toEqual({ text: yaml.text, notes: ['refresh is about this file, not about connections; left out'] })
})

test('what a format cannot say is told, host by host, and nothing is dropped without a word', () => {
  const authority = createAuthority()
  const policy: PolicyOptions = {
    requireBackupPin: false, unpinnedHosts: 'refuse', allowedSHAFingerprints: [`sha256/${a}`],
    pins: {
      '*.one.com': [`sha256/${a}`], 'port.com:8443': [`sha256/${a}`],
      'finger.com': { certificates: [authority.fingerprint] },
      'mixed.com': { certificates: [authority.fingerprint], publicKeys: [`sha256/${a}`], authorities: [authority.pem], pins: [`sha256/${b}`], rejected: [`sha256/${c}`], expires: '2028-01-01T10:00:00Z', onExpiry: 'refuse' },
      'self.com': { publicKeys: [`sha256/${a}`], trust: 'pin-only' },
      'off.com': { pins: [`sha256/${a}`], mode: 'off' },
      'timed.com': { pins: [`sha256/${a}`], expires: '2028-01-01T10:00:00Z', onExpiry: 'allow' }
    }
  }
  const said = (to: Format, host?: string): string => write(policy, to, host).notes.join('\n')
  const android = said('android')
  for (const note of [
    'allowedSHAFingerprints: Android has no pins for every host; left out', 'unpinnedHosts: hosts without pins are refused here, and Android lets them pass',
    '*.one.com: Android has no pattern for exactly one label; the host is left out', 'port.com:8443: Android knows no ports; the host is left out',
    `finger.com: ${authority.fingerprint} is the fingerprint of a certificate, and Android pins keys only; left out`, 'finger.com: no pin of it can be said to Android; the host is left out',
    `mixed.com: ${authority.fingerprint} is the fingerprint of a certificate`, `mixed.com: sha256/${a} counts for the leaf only here, and anywhere in the chain in Android`, `mixed.com: ${authority.pin} counts for an authority only here`,
    'mixed.com: rejected pins cannot be said to Android; left out', "mixed.com: expires with onExpiry 'refuse' cannot be said to Android, which lets every peer pass afterwards; left out",
    "self.com: trust 'pin-only' cannot be said to Android", "off.com: mode 'off' cannot be said to Android but below a pinned host that includes its sub-domains; the host is left out", 'timed.com: expires is a date without a time there; 2028-01-01T10:00:00.000Z became 2028-01-01'
  ]) expect(android).toContain(note)
  // The date is not written where Android would do another thing after it.
  expect(write(policy, 'android').text.match(/expiration=/g)).toHaveLength(1)
  expect(said('trustkit')).toContain('timed.com: TrustKit refuses to start with a single pin; add a backup')
  expect(said('trustkit')).toContain("off.com: mode 'off' cannot be said to TrustKit but below")
  expect(said('okhttp')).toContain('timed.com: expires cannot be said to OkHttp; left out')
  expect(said('curl', 'mixed.com')).toContain(`mixed.com: ${authority.pin} is the pin of an authority, and curl looks at the leaf only; left out`)
  expect(said('curl', 'mixed.com')).toContain(`mixed.com: sha256/${b} counts anywhere in the chain here, and for the leaf only in curl`)
  expect(said('curl', 'mixed.com')).not.toContain('timed.com')
  expect(said('curl', '*.one.com')).toContain('*.one.com: curl pins one request at a time')
  expect(() => write(policy, 'curl')).toThrow(/curl knows one host at a time; right would be --host with one of: \*\.one\.com, port\.com:8443, mixed\.com, self\.com, timed\.com$/)
  expect(() => write({ allowedSHAFingerprints: [`sha256/${a}`] }, 'hpkp')).toThrow(/there is no host that could be said to HPKP/)
})

test.each(['android', 'trustkit', 'okhttp', 'okhttp-java', 'yaml'] as const)('%s there and back: whatever host is treated otherwise has a note', (format) => {
  const pin = (byte: number): string => `sha256/${Buffer.alloc(32, byte).toString('base64')}`
  const names = fc.constantFrom('example.com', 'a.example.com', 'b.a.example.com', 'other.test')
  const asked = ['example.com', 'a.example.com', 'c.example.com', 'b.a.example.com', 'x.b.a.example.com', 'x.a.example.com', 'd.c.example.com', 'other.test', 'y.other.test', '10.0.0.1']
  const settings = fc.record({ mode: fc.constantFrom('enforce' as const, 'report-only' as const, 'off' as const), expires: fc.constant('2030-01-01'), onExpiry: fc.constantFrom('allow' as const, 'refuse' as const), rejected: fc.constant([pin(40)]) }, { requiredKeys: [] })
  const entry = fc.tuple(fc.constantFrom('', '', '*.', '**.'), names, fc.uniqueArray(fc.integer({ min: 1, max: 6 }), { minLength: 2, maxLength: 3 }), settings, fc.boolean())
    .map(([wildcard, name, pins, settings, includes]): [string, HostPolicy] => [`${wildcard}${name}`, { pins: pins.map(pin), ...settings, ...(includes && wildcard === '' && { includeSubDomains: true }) }])
  const view = (policies: PolicySet, host: string): string => {
    const policy = policies.find(host, 443)
    const mode = policy ? policies.modeOf(policy) : 'off'
    return policy === undefined || mode === 'off' ? 'not pinned' : JSON.stringify([[...policy.pins.keys()].sort(), mode, Number.isFinite(policy.expiresAt) && [policy.expiresAt, policy.onExpiry]])
  }
  fc.assert(
    fc.property(fc.array(entry, { minLength: 1, maxLength: 5 }), (entries) => {
      const policy: PolicyOptions = { pins: Object.fromEntries(entries) }
      let before: PolicySet
      try {
        before = new PolicySet(policy, 1)
      } catch {
        return
      }
      const written = write(policy, format)
      let after: PolicySet | undefined
      try {
        after = new PolicySet(read(written.text, format).policy, 1)
      } catch (error) {
        // Nothing of it could be said, and then all of it has notes.
        expect((error as Error).message).toMatch(/no pins|there is no call/)
      }
      for (const host of asked) {
        if (view(before, host) === (after ? view(after, host) : 'not pinned')) continue
        const patterns = [before, after].flatMap((each) => each?.find(host, 443)?.pattern ?? [])
        expect([host, written.notes.filter((note) => patterns.some((pattern) => note.startsWith(`${pattern}:`)))]).not.toEqual([host, []])
      }
    }),
    { numRuns: 200 }
  )
})

test('every format into every other and back: the pins of a plain policy survive', () => {
  const policy = { pins: { 'api.example.com': [`sha256/${a}`, `sha256/${b}`] } }
  for (const via of formats) {
    for (const then of formats) {
      const first = convert(JSON.stringify(policy), 'json', via, 'api.example.com')
      const second = convert(first.text, via, then, 'api.example.com')
      const { pins } = read(second.text, then, 'api.example.com').policy
      const found = pins?.['api.example.com'] as string[] | { pins?: string[]; publicKeys?: string[] }
      expect([via, then, Array.isArray(found) ? found : (found.publicKeys ?? found.pins)]).toEqual([via, then, policy.pins['api.example.com']])
    }
  }
})

describe('the command', () => {
  const folder = mkdtempSync(join(tmpdir(), 'convert-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'pins.yaml')
  beforeAll(() => writeFileSync(file, `pins:\n  api.example.com: [sha256/${a}, sha256/${b}]\n`))

  test('text on stdout, what could not be said on stderr; --json has both; --strict fails', async () => {
    const ran = await runCommand(['convert', '--from', 'yaml', '--to', 'okhttp', file])
    expect(ran).toMatchObject({ code: 0, stdout: `val certificatePinner = CertificatePinner.Builder()\n    .add("api.example.com", "sha256/${a}", "sha256/${b}")\n    .build()\n`, stderr: 'note: unpinnedHosts: hosts without pins are refused here, and OkHttp lets them pass\n' })
    expect((await runCommand(['convert', '--from', 'yaml', '--to', 'android', '--json', '--strict', file]))).toMatchObject({ code: 1, stderr: '', json: { from: 'yaml', to: 'android', text: expect.stringContaining('<network-security-config>'), notes: [expect.any(String)] } })
    expect(await runCommand(['convert', '--from', 'okhttp', '--to', 'json', '-'], { stdin: ran.stdout })).toMatchObject({ code: 0, json: { pins: { 'api.example.com': [`sha256/${a}`, `sha256/${b}`] } } })
  })

  test.each([
    ['a format that is none', ['--from', 'xml', '--to', 'json', file], /'xml' is invalid\. Allowed choices are json, yaml, android/],
    ['no --to', ['--from', 'json', file], /required option '--to/],
    ['a missing file', ['--from', 'json', '--to', 'yaml', join(folder, 'none')], /cannot be read/],
    ['a wrong file', ['--from', 'android', '--to', 'yaml', file], /pins\.yaml:\d:\d+: this is not XML/],
    ['no text', ['--from', 'json', '--to', 'yaml', '-'], /standard input is not a UTF-8 text/]
  ])('one line for %s', async (_, args, message) => {
    const ran = await runCommand(['convert', ...args], { stdin: Buffer.from([0xff, 0xfe, 0x00]) })
    expect(ran).toMatchObject({ code: 64, stdout: '', stderr: expect.stringMatching(message) })
    expect(ran.stderr.trim()).not.toContain('\n')
  })
})

test.each(formats.filter((format) => !['json', 'yaml'].includes(format)))('%s: hostile input ends soon, and more is not read', (format) => {
  for (const part of ['.add("', '<a>', '<a/>', '"', "'", '/*', '"""', 'pin-sha256="', ';', 'pinnedpubkey ', '--pinnedpubkey=', ' ', '\n', '&a;', '(', '.add(']) {
    const started = performance.now()
    expect(problem(part.repeat(200_000 / part.length), format, 'a.com')).not.toBe('none')
    expect(performance.now() - started).toBeLessThan(15_000)
  }
  expect(problem('x'.repeat(1_000_001), format, 'a.com')).toContain('it has 1000001 characters; at most 1000000')
})

describe('what is ten times as long takes no more than some twenty times as long', () => {
  const hosts = (count: number): string => JSON.stringify({ pins: Object.fromEntries(Array.from({ length: count }, (_, i) => [`h${i}.example.com`, [`sha256/${a}`]])) })
  test.each<[string, (size: number) => void, number]>([
    ['XML of lines', (size) => problem(`<network-security-config>\n${'<a/>\n'.repeat(size)}</network-security-config>`, 'android'), 4_000],
    ['a string that is never closed', (size) => problem(`.add("${'\\"'.repeat(size)}`, 'okhttp'), 10_000],
    ['strings that are never closed', (size) => problem(`.add("a\n`.repeat(size), 'okhttp'), 900],
    ['OkHttp of wide patterns', (size) => convert(Array.from({ length: size }, (_, i) => `.add("*.h${i}.example.com", "sha256/${a}")`).join('\n'), 'okhttp', 'json'), 400],
    ['many hosts to OkHttp', (size) => convert(hosts(size), 'json', 'okhttp'), 2_000],
    ['many hosts to Android', (size) => convert(hosts(size), 'json', 'android'), 700],
    ['one of many hosts to curl', (size) => convert(hosts(size), 'json', 'curl', 'h1.example.com'), 2_000],
    ['one of many hosts to HPKP', (size) => convert(hosts(size), 'json', 'hpkp', 'h1.example.com'), 700],
    ['none of many hosts to curl', (size) => expect(() => convert(hosts(size), 'json', 'curl', 'x.example.com')).toThrow(/knows one host/), 700]
  ])('%s', (_, run, size) => {
    const time = (n: number): number => {
      const started = performance.now()
      run(n)
      return performance.now() - started
    }
    time(size)
    // What takes a few milliseconds only is not measured by them; and the machine may be doing something else, once.
    const ratio = (): number => time(10 * size) / Math.max(10, Math.min(time(size), time(size)))
    let least = ratio()
    for (let again = 0; again < 3 && least >= 25; again++) least = Math.min(least, ratio())
    expect(least).toBeLessThan(25)
  })
})

test('errors of foreign files are those of pins files', () => {
  expect(() => convert('<a/>', 'android', 'json')).toThrow(PinsFileInvalidError)
})
