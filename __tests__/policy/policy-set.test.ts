import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { PinInvalidError, PolicyInvalidError, isPinningError } from '../../lib/errors.js'
import { PolicySet } from '../../lib/policy/policy-set.js'
import type { PolicyOptions } from '../../lib/policy/policy-set.js'

const digest = (name: string): Buffer => createHash('sha256').update(name).digest()
const keyPin = (name: string): string => `sha256/${digest(name).toString('base64')}`
const fingerprint = (name: string): string => (digest(name).toString('hex').toUpperCase().match(/../g) as string[]).join(':')

function setOf(pins: PolicyOptions['pins'], rest: Partial<PolicyOptions> = {}): PolicySet {
  return new PolicySet({ ...(pins && { pins }), ...rest }, 1)
}

/** A set in which every pattern has a pin of its own. */
function patterns(...texts: string[]): PolicySet {
  return setOf(Object.fromEntries(texts.map((text) => [text, [keyPin(text)]])))
}

function found(set: PolicySet, host: string, port = 443): string | undefined {
  return set.find(host, port)?.pattern
}

function refusalOf(make: () => unknown): PolicyInvalidError {
  try {
    make()
  } catch (error) {
    if (error instanceof PolicyInvalidError) return error
    throw error
  }
  throw new Error('it was not refused')
}

describe('find', () => {
  const set = patterns('example.com', 'api.example.com', 'api.example.com:8443', '*.example.com', '*.example.com:8443', '**.example.com', '**.deep.example.com', '**.deep.example.com:8443', '127.0.0.1', '[::1]:8443', '2001:db8::1', 'localhost', 'bücher.example', '*.bücher.example', '**.other.test')

  test.each([
    ['an exact name before every wildcard', 'api.example.com', 443, 'api.example.com'],
    ['an exact name with its port before the same without', 'api.example.com', 8443, 'api.example.com:8443'],
    ['an exact name without port before a wildcard with the port', 'example.com', 8443, 'example.com'],
    ['one label before any number', 'www.example.com', 443, '*.example.com'],
    ['one label with its port before the same without', 'www.example.com', 8443, '*.example.com:8443'],
    ['one label before the nearer any that covers its own name', 'deep.example.com', 443, '*.example.com'],
    ['any number where there are two labels', 'a.b.example.com', 443, '**.example.com'],
    ['the longest any', 'a.deep.example.com', 443, '**.deep.example.com'],
    ['the longest any, at any depth', 'a.b.c.deep.example.com', 443, '**.deep.example.com'],
    ['the longest any with its port', 'a.b.deep.example.com', 8443, '**.deep.example.com:8443'],
    ['any where no label stands in front', 'other.test', 443, '**.other.test'],
    ['IPv4', '127.0.0.1', 443, '127.0.0.1'],
    ['IPv6 with its port', '::1', 8443, '[::1]:8443'],
    ['IPv6', '2001:db8::1', 1, '2001:db8::1'],
    ['a name without dots', 'localhost', 3000, 'localhost']
  ])('prefers %s', (_, host, port, pattern) => {
    expect(found(set, host, port)).toBe(pattern)
  })

  test.each([
    ['upper case', 'API.EXAMPLE.COM', 'api.example.com'],
    ['a trailing dot', 'api.example.com.', 'api.example.com'],
    ['both', 'WWW.Example.Com.', '*.example.com'],
    ['punycode', 'xn--bcher-kva.example', 'xn--bcher-kva.example'],
    ['punycode in upper case', 'XN--BCHER-KVA.example', 'xn--bcher-kva.example'],
    ['Unicode', 'Bücher.example', 'xn--bcher-kva.example'],
    ['Unicode under a wildcard', 'größe.BÜCHER.example', '*.xn--bcher-kva.example'],
    ['brackets', '[2001:db8::1]', '2001:db8::1'],
    ['a long IPv6 address', '2001:0DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['a short IPv4 address', '127.1', '127.0.0.1'],
    ['an IPv4 address as one number', '2130706433', '127.0.0.1'],
    ['an IPv4 address in hex', '0x7f000001', '127.0.0.1'],
    ['an IPv4 address with a dot', '127.0.0.1.', '127.0.0.1']
  ])('meets the same policy with a host in %s', (_, host, pattern) => {
    expect(found(set, host)).toBe(pattern)
  })

  test.each(['com', 'notexample.com', 'api.example.com.evil.test', 'example.comm', 'xexample.com', '127.0.0.2', '::1', '::2', 'local.localhost', 'a.b.bücher.example', 'example', '', '.', 'api..example.com', '.example.com', 'x y.example.com', 'toString', '__proto__', 'constructor'])('leaves %j unpinned', (host) => {
    expect(found(set, host)).toBeUndefined()
  })

  test('takes `*.` for exactly one label', () => {
    const one = patterns('*.example.com')
    expect(['a.example.com', 'a.b.example.com', 'example.com', '.example.com', '*.example.com'].map((host) => found(one, host))).toEqual(['*.example.com', undefined, undefined, undefined, '*.example.com'])
  })

  test('takes `**.` for any number of labels, none included', () => {
    const any = patterns('**.example.com')
    expect(['a.example.com', 'a.b.example.com', 'example.com', 'xexample.com', 'com'].map((host) => found(any, host))).toEqual(['**.example.com', '**.example.com', '**.example.com', undefined, undefined])
  })

  test('narrows to a port, and to nothing else', () => {
    const narrow = patterns('a.test:8443', '*.b.test:8443', '**.c.test:8443', '[::1]:8443')
    for (const host of ['a.test', 'x.b.test', 'x.y.c.test', '::1']) expect([found(narrow, host, 8443) !== undefined, found(narrow, host, 443), found(narrow, host, 84430)]).toEqual([true, undefined, undefined])
  })

  test('lets includeSubDomains cover the name and everything below, the name itself as an exact one', () => {
    const set = setOf({ 'example.com': { pins: [keyPin('a')], includeSubDomains: true }, '*.example.com': [keyPin('b')], 'x.example.com': [keyPin('c')] })
    expect(['example.com', 'x.example.com', 'y.example.com', 'a.y.example.com', 'a.x.example.com', 'xexample.com'].map((host) => found(set, host))).toEqual(['example.com', 'x.example.com', '*.example.com', 'example.com', 'example.com', undefined])
    const narrow = setOf({ 'example.com:8443': { pins: [keyPin('a')], includeSubDomains: true } })
    expect([found(narrow, 'a.b.example.com', 8443), found(narrow, 'a.b.example.com', 443)]).toEqual(['example.com:8443', undefined])
  })

  test('asks allowedSHAFingerprints of every host that no pattern covers, however it is written', () => {
    const set = setOf({ 'a.test': [keyPin('a')] }, { allowedSHAFingerprints: [fingerprint('x')] })
    expect(found(set, 'a.test')).toBe('a.test')
    // The last ones are no host names; were they unpinned, `unpinnedHosts: 'allow'` would let them pass.
    for (const host of ['b.test', 'x.a.test', '127.0.0.1', '::1', 'XN--A.test', 'a..b', 'a b', '']) expect(found(set, host)).toBe('allowedSHAFingerprints')
  })

  test('decides as a naive look-up through all patterns does', () => {
    const host = fc.oneof(
      fc.array(fc.constantFrom('a', 'b', 'xn--bcher-kva'), { minLength: 1, maxLength: 4 }).map((labels) => [...labels, 'test'].join('.')),
      fc.constantFrom('127.0.0.1', '10.0.0.1', '::1', '2001:db8::1')
    )
    const port = fc.constantFrom(undefined, 443, 8443)
    const rule = fc.record({ kind: fc.constantFrom('exact' as const, 'one' as const, 'any' as const), host, port, includeSubDomains: fc.boolean() })
      .map((given): Rule => (given.host.endsWith('test') ? given : { ...given, kind: 'exact', includeSubDomains: false }))
      .map((given): Rule => ({ ...given, includeSubDomains: given.kind === 'exact' && given.includeSubDomains }))
    const rules = fc.uniqueArray(rule, { maxLength: 12, minLength: 1, selector: textOf })
    const questions = fc.array(fc.tuple(host, fc.constantFrom(443, 8443, 80)), { minLength: 20, maxLength: 20 })
    const spelling = fc.constantFrom((text: string) => text, (text: string) => text.toUpperCase(), (text: string) => (text.includes(':') || /\d$/.test(text) ? text : text.replace(/$/, '.')), (text: string) => text.replace('xn--bcher-kva', 'Bücher'))
    let answered = 0
    fc.assert(fc.property(rules, questions, spelling, (given, asked, spell) => {
      const keys = given.flatMap(keysOf)
      const make = (): PolicySet => setOf(Object.fromEntries(given.map((each) => [textOf({ ...each, host: spell(each.host) }), { pins: [keyPin(textOf(each))], includeSubDomains: each.includeSubDomains }])))
      if (new Set(keys).size < keys.length) {
        expect(refusalOf(make).reason).toMatch(/^it covers the same hosts as /)
        return
      }
      const set = make()
      for (const [name, number] of asked) {
        const expected = naiveFind(given, name, number)
        if (expected !== undefined) answered++
        expect([name, number, found(set, spell(name), number)]).toEqual([name, number, expected])
      }
    }), { numRuns: 150 })
    expect(answered).toBeGreaterThan(200)
  })

  test('costs no more with 100,000 hosts than with 100', () => {
    const hosts = (count: number): Record<string, string[]> => {
      const pins = [keyPin('a')]
      const names = Array.from({ length: count }, (_, i) => [`host-${i}.example.com`, `*.zone-${i}.example.net`, `**.tree-${i}.example.org`][i % 3] as string)
      return Object.fromEntries(names.map((name) => [name, pins]))
    }
    const few = setOf(hosts(100))
    const many = setOf(hosts(100_000))
    expect([few.size, many.size]).toEqual([100, 100_000])
    const questions = Array.from({ length: 60 }, (_, i) => [`host-${i}.example.com`, `a.zone-${i}.example.net`, `a.b.tree-${i}.example.org`, `no-${i}.example.com`, `a.b.c.d.no-${i}.test`]).flat()
    const cost = (set: PolicySet): number => {
      const start = process.hrtime.bigint()
      for (let i = 0; i < 5; i++) for (const host of questions) set.find(host, 443)
      return Number(process.hrtime.bigint() - start)
    }
    const best = { few: Infinity, many: Infinity }
    for (let round = 0; round < 20; round++) {
      best.few = Math.min(best.few, cost(few))
      best.many = Math.min(best.many, cost(many))
    }
    // A look-up that walks the hosts would cost 1,000 times as much.
    expect(best.many / best.few).toBeLessThan(10)
    expect(questions.filter((host) => many.find(host, 443) !== undefined)).toHaveLength(60)
  })
})

interface Rule {
  readonly kind: 'exact' | 'one' | 'any'
  readonly host: string
  readonly port: number | undefined
  readonly includeSubDomains: boolean
}

function textOf({ kind, host, port }: Rule): string {
  const name = host.includes(':') && port !== undefined ? `[${host}]` : host
  return { exact: '', one: '*.', any: '**.' }[kind] + name + (port === undefined ? '' : `:${port}`)
}

/** What a rule stands for; no two rules may stand for the same. */
function keysOf({ kind, host, port, includeSubDomains }: Rule): string[] {
  return [kind, ...(includeSubDomains ? ['any'] : [])].map((each) => `${each} ${host} ${port}`)
}

/** Every rule that covers the host, ranked; straight from the documented grammar. */
function naiveFind(rules: readonly Rule[], host: string, port: number): string | undefined {
  const ranked = rules.flatMap((rule) => {
    if (rule.port !== undefined && rule.port !== port) return []
    const narrow = rule.port === undefined ? 0 : 1
    const depth = rule.host.split('.').length
    const labels = host.split('.').length - depth
    const below = host.endsWith(`.${rule.host}`)
    const ranks = []
    if (rule.kind === 'exact' && host === rule.host) ranks.push([3, 0, narrow])
    if (rule.kind === 'one' && below && labels === 1) ranks.push([2, 0, narrow])
    if ((rule.kind === 'any' || rule.includeSubDomains) && (below || host === rule.host)) ranks.push([1, depth, narrow])
    return ranks.map((rank) => ({ rank: (rank[0] as number) * 10_000 + (rank[1] as number) * 10 + (rank[2] as number), text: textOf(rule) }))
  })
  return ranked.sort((a, b) => b.rank - a.rank)[0]?.text
}

describe('PolicySet', () => {
  test('is strict by default', () => {
    const set = patterns('a.test')
    expect([set.mode, set.unpinnedHosts, set.revision, set.size, [...set.modes]]).toEqual(['enforce', 'refuse', 1, 1, ['enforce']])
  })

  test('takes a policy\'s own mode before the overall one', () => {
    const set = setOf({ 'a.test': { pins: [keyPin('a')], mode: 'off' }, 'b.test': [keyPin('b')] }, { mode: 'report-only' })
    expect([set.modeOf(set.find('a.test', 443)), set.modeOf(set.find('b.test', 443)), set.modeOf(undefined)]).toEqual(['off', 'report-only', 'report-only'])
  })

  test('knows every mode that occurs', () => {
    expect([...setOf({ 'a.test': [keyPin('a')] }, { mode: 'off' }).modes]).toEqual(['off'])
    expect([...setOf({ 'a.test': { pins: [keyPin('a')], mode: 'off' } }, { mode: 'off' }).modes]).toEqual(['off'])
    expect([...setOf({ 'a.test': { pins: [keyPin('a')], mode: 'enforce' } }, { mode: 'off' }).modes]).toEqual(['off', 'enforce'])
    expect([...setOf({ 'a.test': { pins: [keyPin('a')], mode: 'off' } }).modes]).toEqual(['enforce', 'off'])
  })

  test('lists every policy once, also those that cover sub-domains', () => {
    const set = setOf({ 'a.test': { pins: [keyPin('a')], includeSubDomains: true }, '*.b.test:8443': [keyPin('b')], '**.c.test': [keyPin('c')] }, { allowedSHAFingerprints: [fingerprint('d')] })
    expect([...set.policies()].map(({ pattern }) => pattern).sort()).toEqual(['**.c.test', '*.b.test:8443', 'a.test', 'allowedSHAFingerprints'])
    expect(set.size).toBe(3)
  })

  test('summarises a policy in plain, JSON-safe values', () => {
    const set = setOf({ 'A.test.:0443': { pins: [keyPin('a')], rejected: [keyPin('b')], expires: '2030-01-01', onExpiry: 'allow' }, 'b.test': { certificates: [fingerprint('b')], trust: 'pin-only' } }, { mode: 'report-only' })
    const [a, b] = [set.find('a.test', 443), set.find('b.test', 443)].map((policy) => policy && set.summarise(policy))
    expect(a).toEqual({ pattern: 'a.test:443', mode: 'report-only', trust: 'pki', pins: [keyPin('a')], rejected: [keyPin('b')], expires: '2030-01-01T00:00:00.000Z', onExpiry: 'allow' })
    expect(b).toEqual({ pattern: 'b.test', mode: 'report-only', trust: 'pin-only', pins: [fingerprint('b')], rejected: [], onExpiry: 'refuse' })
    expect(JSON.parse(JSON.stringify([a, b]))).toEqual([a, b])
  })

  test('warns of policies without a backup pin, or refuses them', () => {
    const pins = { 'a.test': [keyPin('a')], 'b.test': [keyPin('a'), keyPin('b')], 'c.test': [keyPin('a'), `sha256//${keyPin('a').slice(7)}`] }
    expect(setOf(pins).warnings).toEqual(['no backup pin for a.test, c.test: when that certificate or key is replaced, every request is refused until new pins arrive'])
    expect(setOf({ 'b.test': pins['b.test'] }).warnings).toEqual([])
    expect(refusalOf(() => setOf(pins, { requireBackupPin: true })).option).toBe('requireBackupPin')
    expect(setOf({ 'b.test': pins['b.test'] }, { requireBackupPin: true }).warnings).toEqual([])
    expect(setOf(Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`h${i}.test`, [keyPin('a')]]))).warnings[0]).toMatch(/^no backup pin for h0\.test, h1\.test, h2\.test and 997 more: /)
  })

  test.each<[string, unknown, string, RegExp]>([
    ['no pins at all', {}, 'options', /^there are no pins; right would be/],
    ['an empty table', { pins: {} }, 'options', /^there are no pins/],
    ['an empty list for a host', { pins: { 'a.test': [] } }, 'pins["a.test"]', /^it has no pins/],
    ['an empty list for every host', { allowedSHAFingerprints: [] }, 'allowedSHAFingerprints', /^it has no pins/],
    ['an unknown mode', { pins: { 'a.test': [keyPin('a')] }, mode: 'on' }, 'mode', /'enforce' or 'report-only' or 'off'/],
    ['an unknown way with unpinned hosts', { pins: { 'a.test': [keyPin('a')] }, unpinnedHosts: 'deny' }, 'unpinnedHosts', /'refuse' or 'allow'/],
    ['a text for requireBackupPin', { pins: { 'a.test': [keyPin('a')] }, requireBackupPin: 'no' }, 'requireBackupPin', /true or false/],
    ['a URL as a pattern', { pins: { 'https://a.test': [keyPin('a')] } }, 'pins["https://a.test"]', /not a URL; right would be "a\.test"/],
    ['the same host in two spellings', { pins: { 'a.test': [keyPin('a')], 'A.TEST.': [keyPin('b')] } }, 'pins["A.TEST."]', /^it covers the same hosts as "a\.test"; write their pins in one place$/],
    ['the same address in two spellings', { pins: { '::1': [keyPin('a')], '[0:0::1]': [keyPin('b')] } }, 'pins["[0:0::1]"]', /same hosts as "::1"/],
    ['the same port in two spellings', { pins: { 'a.test:443': [keyPin('a')], 'a.test:0443': [keyPin('b')] } }, 'pins["a.test:0443"]', /same hosts as "a\.test:443"/],
    ['the same sub-domains twice', { pins: { '**.a.test': [keyPin('a')], 'a.test': { pins: [keyPin('b')], includeSubDomains: true } } }, 'pins["a.test"]', /same hosts as "\*\*\.a\.test"/],
    ['includeSubDomains of a wildcard', { pins: { '*.a.test': { pins: [keyPin('b')], includeSubDomains: true } } }, 'pins["*.a.test"].includeSubDomains', /right would be "\*\*\.a\.test"/],
    ['includeSubDomains of a top-level label, as **.com is refused', { pins: { com: { pins: [keyPin('b')], includeSubDomains: true } } }, 'pins["com"].includeSubDomains', /top-level label/],
    ['includeSubDomains of an IPv4 address', { pins: { '10.0.0.1': { pins: [keyPin('b')], includeSubDomains: true } } }, 'pins["10.0.0.1"].includeSubDomains', /an IP address/],
    ['includeSubDomains of an IPv6 address', { pins: { '[::1]:443': { pins: [keyPin('b')], includeSubDomains: true } } }, 'pins["[::1]:443"].includeSubDomains', /an IP address/]
  ])('refuses %s', (_, options, option, reason) => {
    const error = refusalOf(() => new PolicySet(options as PolicyOptions, 1))
    expect([error.code, error.option]).toEqual(['ERR_PIN_POLICY_INVALID', option])
    expect(error.reason).toMatch(reason)
  })

  test.each<[unknown, RegExp]>([
    [undefined, /^options must be an object, not undefined/],
    [null, /^options must be an object, not null/],
    ['a.test', /^options must be an object, not a string/],
    [{ pins: null }, /^pins must be an object of host patterns, not null; for one list for every host use allowedSHAFingerprints/],
    [{ pins: [keyPin('a')] }, /^pins must be an object of host patterns, not an array/],
    [{ pins: 'a.test' }, /^pins must be an object of host patterns, not a string/],
    [{ pins: { 'a.test': keyPin('a') } }, /^pins\["a\.test"\] must be an array of pins or an object, not a string/],
    [{ pins: { 'a.test': null } }, /^pins\["a\.test"\] must be an array of pins or an object, not null/],
    [{ pins: { 'a.test': undefined } }, /^pins\["a\.test"\] must be an array of pins or an object, not undefined/],
    [{ pins: { 'a.test': [undefined] } }, /^pins\["a\.test"\]: A pin is a string, not undefined/],
    [{ pins: { 'a.test': Array(1) } }, /^pins\["a\.test"\]: A pin is a string, not undefined/],
    [{ allowedSHAFingerprints: fingerprint('a') }, /^allowedSHAFingerprints must be an array of strings, not a string/],
    [{ allowedSHAFingerprints: null }, /^allowedSHAFingerprints must be an array of strings, not null/],
    [{ allowedSHAFingerprints: { 0: fingerprint('a') } }, /^allowedSHAFingerprints must be an array of strings, not an object/]
  ])('refuses options of the wrong type: %j', (options, message) => {
    expect(() => new PolicySet(options as PolicyOptions, 1)).toThrow(TypeError)
    expect(() => new PolicySet(options as PolicyOptions, 1)).toThrow(message)
  })

  test('says which of many hosts has a text that is no pin', () => {
    const make = (): PolicySet => setOf({ 'a.test': [keyPin('a')], 'b.test': { pins: [keyPin('a'), 'sha256/short'] } })
    expect(make).toThrow(PinInvalidError)
    expect(make).toThrow(/^Not a pin: "sha256\/short": .*\(in pins\["b\.test"\]\.pins\)$/)
  })

  test('is not changed by later changes of the options', () => {
    const options = { pins: { 'a.test': [keyPin('a')] } as Record<string, string[]>, mode: 'enforce' as PolicyOptions['mode'] & string }
    const set = new PolicySet(options, 1)
    options.pins['a.test']?.push(keyPin('b'))
    options.pins['b.test'] = [keyPin('b')]
    options.mode = 'off'
    expect([set.mode, set.find('a.test', 443)?.pins.size, found(set, 'b.test')]).toEqual(['enforce', 1, undefined])
  })

  test('reads nothing from a polluted Object.prototype', () => {
    const polluted = Object.prototype as Record<string, unknown>
    const pollution = { mode: 'off', unpinnedHosts: 'allow', allowedSHAFingerprints: [fingerprint('evil')], requireBackupPin: true, 'evil.test': [keyPin('evil')], onExpiry: 'allow', trust: 'pin-only', certificates: [fingerprint('evil')] }
    Object.assign(polluted, pollution)
    let set: PolicySet
    try {
      set = new PolicySet({ pins: { 'a.test': [keyPin('a')], 'b.test': { certificates: [fingerprint('b')] } } }, 1)
    } finally {
      for (const name of Object.keys(pollution)) delete polluted[name]
    }
    expect([set.mode, set.unpinnedHosts, set.size, found(set, 'evil.test'), found(set, 'other.test')]).toEqual(['enforce', 'refuse', 2, undefined, undefined])
    for (const host of ['a.test', 'b.test']) expect(set.find(host, 443)).toMatchObject({ mode: undefined, onExpiry: 'refuse', trust: 'pki' })
    expect([...set.find('a.test', 443)?.pins.keys() ?? []]).toEqual([keyPin('a')])
  })

  test('takes names of Object.prototype for hosts like any other', () => {
    const pins = JSON.parse(`{"__proto__": ["${keyPin('a')}"], "constructor": ["${keyPin('b')}"]}`) as Record<string, string[]>
    const set = setOf(pins)
    expect([found(set, '__proto__'), found(set, 'constructor'), found(set, 'tostring'), found(set, 'hasownproperty')]).toEqual(['__proto__', 'constructor', undefined, undefined])
    expect(({} as { mode?: string }).mode).toBeUndefined()
  })

  test('takes options without a prototype', () => {
    const bare = (value: object): object => Object.assign(Object.create(null) as object, value)
    const options = bare({ pins: bare({ 'a.test': bare({ pins: [keyPin('a')] }) }) }) as PolicyOptions
    expect(found(new PolicySet(options, 1), 'a.test')).toBe('a.test')
  })

  test('lets the error of a getter pass as it is, and reads each option once', () => {
    const error = new Error('from the getter')
    expect(() => new PolicySet({ get pins(): never { throw error } }, 1)).toThrow(error)
    expect(() => setOf({ 'a.test': { get pins(): never { throw error } } })).toThrow(error)
    let reads = 0
    const set = new PolicySet({ get mode() { return ++reads === 1 ? 'enforce' as const : 'off' as const }, pins: { 'a.test': [keyPin('a')] } }, 1)
    expect([set.mode, reads]).toEqual(['enforce', 1])
  })

  test('throws nothing but PinningError and TypeError for anything that is given', () => {
    const pins = fc.constantFrom<unknown>([keyPin('a')], [fingerprint('b'), keyPin('c')], { pins: [keyPin('a')], includeSubDomains: true }, { pins: [], mode: 'off' }, [], null, 'x')
    const host = fc.oneof(fc.constantFrom('a.test', '*.a.test', '**.a.test', 'A.test:443', '__proto__', 'https://a.test', '[::1]:1', '*.com'), fc.string({ unit: 'binary' }))
    const options = fc.record({ pins: fc.oneof(fc.dictionary(host, fc.oneof(pins, fc.anything())), fc.anything()), allowedSHAFingerprints: fc.oneof(pins, fc.anything()), mode: fc.oneof(fc.constantFrom('enforce', 'off'), fc.anything()), unpinnedHosts: fc.oneof(fc.constant('allow'), fc.anything()), requireBackupPin: fc.oneof(fc.boolean(), fc.anything()) }, { requiredKeys: [], noNullPrototype: false })
    const good = fc.tuple(fc.constantFrom('a.test', '*.a.test', 'B.test:1'), fc.constantFrom<string[] | object>([keyPin('a')], { authorities: [keyPin('b')] })).map(([name, given]) => ({ pins: { [name]: given } }))
    fc.assert(fc.property(fc.oneof({ weight: 5, arbitrary: options }, { weight: 1, arbitrary: good }, { weight: 1, arbitrary: fc.anything({ withNullPrototype: true }) }), (given) => {
      let set: PolicySet
      try {
        set = new PolicySet(given as PolicyOptions, 1)
      } catch (error) {
        if (!isPinningError(error) && !(error instanceof TypeError)) throw error
        return
      }
      // Whatever was accepted asks something of somebody.
      expect([...set.policies()].length).toBeGreaterThan(0)
      for (const policy of set.policies()) expect(policy.pins.size).toBeGreaterThan(0)
    }), { numRuns: 300 })
  })

  test('throws nothing when it is asked for any host at all', () => {
    const set = setOf({ '**.a.test': [keyPin('a')], '*.b.test:1': [keyPin('b')], '::1': [keyPin('c')] })
    fc.assert(fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.webAuthority()), fc.nat(70_000), (host, port) => {
      const policy = set.find(host, port)
      expect(policy === undefined || [...set.policies()].includes(policy)).toBe(true)
      expect(set.nearestPatterns(host).length).toBeLessThanOrEqual(3)
    }), { numRuns: 300 })
  })
})

describe('a host as long as a stranger likes', () => {
  const set = patterns('**.a.test', '*.b.test:1', '::1')

  test.each([['brackets', '['], ['dots', '.'], ['labels', 'a.'], ['letters', 'a'], ['escapes', '%61'], ['colons', ':'], ['Unicode', 'ü.'], ['invisible characters', '\u00ad']])('is answered, be it %s', (_, part) => {
    const host = part.repeat(100_000)
    expect(found(set, host)).toBeUndefined()
    expect(set.nearestPatterns(host).length).toBeLessThanOrEqual(3)
  })

  test('meets the policy of its end, however many labels stand in front', () => {
    expect(found(set, `${'b.'.repeat(100_000)}a.test`)).toBe('**.a.test')
    expect(found(set, `${'b'.repeat(100_000)}.a.test`)).toBe('**.a.test')
  })

  test('costs in proportion to its length, not to the square of it', () => {
    const cost = (labels: number): number => {
      const host = `${'b.'.repeat(labels)}c.test`
      const start = process.hrtime.bigint()
      set.find(host, 443)
      return Number(process.hrtime.bigint() - start)
    }
    const best = { short: Infinity, long: Infinity }
    for (let round = 0; round < 10; round++) {
      best.short = Math.min(best.short, cost(1_000))
      best.long = Math.min(best.long, cost(50_000))
    }
    // 50 times as long; looking every suffix up would cost some 2,500 times as much.
    expect(best.long / best.short).toBeLessThan(500)
  })
})

describe('nearestPatterns', () => {
  test('gives up to three patterns that look most like the host, nearest first', () => {
    const set = patterns('api.example.com', 'api2.example.com', '*.example.com', 'apis.example.com', 'something.else.altogether.test')
    expect(set.nearestPatterns('apj.example.com')[0]).toBe('api.example.com')
    expect(set.nearestPatterns('apj.example.com')).toHaveLength(3)
    expect(set.nearestPatterns('apj.example.com')).not.toContain('something.else.altogether.test')
  })

  test('gives the first three where none is alike, and none where there are none', () => {
    expect(patterns('localhost').nearestPatterns('127.0.0.1')).toEqual(['localhost'])
    expect(patterns('a.test', 'b.test', 'c.test', 'd.test').nearestPatterns('zzzzzzzzzzzzzzzzzzzzzzzzzz.example')).toEqual(['a.test', 'b.test', 'c.test'])
    expect(new PolicySet({ allowedSHAFingerprints: [keyPin('a')] }, 1).nearestPatterns('a b')).toEqual([])
  })
})
