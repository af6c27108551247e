import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { PinInvalidError, PolicyInvalidError, isPinningError } from '../../lib/errors.js'
import { parsePolicy, pinPlace } from '../../lib/policy/policy.js'
import type { HostPolicy, Policy } from '../../lib/policy/policy.js'
import { createAuthority, createSelfSigned, generateKey } from '../support/pki.js'

const digest = (name: string): Buffer => createHash('sha256').update(name).digest()
const keyPin = (name: string): string => `sha256/${digest(name).toString('base64')}`
const fingerprint = (name: string): string => (digest(name).toString('hex').toUpperCase().match(/../g) as string[]).join(':')

const { leaf, issuer } = pinPlace
const pair = generateKey('p256')
const authority = createAuthority({ name: 'A CA', key: pair })
const entity = createSelfSigned({ name: 'no CA', key: pair })

function parse(given: readonly string[] | HostPolicy): Policy {
  return parsePolicy('a.test', given, 'pins["a.test"]')
}

function refusalOf<T extends Error = PolicyInvalidError>(given: unknown, kind: abstract new (...rest: never[]) => T = PolicyInvalidError as never): T {
  try {
    parse(given as HostPolicy)
  } catch (error) {
    if (error instanceof kind) return error
    throw error
  }
  throw new Error('it was not refused')
}

describe('parsePolicy decides where a pin counts', () => {
  test.each<[string, HostPolicy | string[], Array<[string, number]>]>([
    ['an array is the short form', [fingerprint('a'), keyPin('a')], [[fingerprint('a'), leaf], [keyPin('a'), leaf | issuer]]],
    ['a fingerprint under pins is the leaf\'s', { pins: [fingerprint('a')] }, [[fingerprint('a'), leaf]]],
    ['a key under pins is anyone\'s in the chain', { pins: [keyPin('a')] }, [[keyPin('a'), leaf | issuer]]],
    ['certificates are leaves', { certificates: [fingerprint('a')] }, [[fingerprint('a'), leaf]]],
    ['publicKeys are leaves\'', { publicKeys: [keyPin('a')] }, [[keyPin('a'), leaf]]],
    ['authorities are issuers\' keys', { authorities: [keyPin('a')] }, [[keyPin('a'), issuer]]],
    ['authorities are issuers\' certificates', { authorities: [fingerprint('a')] }, [[fingerprint('a'), issuer]]],
    ['a CA given as PEM stands for its key', { authorities: [authority.pem] }, [[authority.pin, issuer]]],
    ['the places of one pin add up', { publicKeys: [keyPin('a')], authorities: [keyPin('a')] }, [[keyPin('a'), leaf | issuer]]],
    ['a pin given twice is one pin', [keyPin('a'), `sha256//${keyPin('a').slice(7)}`, ` ${keyPin('a')}\n`], [[keyPin('a'), leaf | issuer]]]
  ])('%s', (_, given, pins) => {
    expect([...parse(given).pins]).toEqual(pins)
  })

  test('and looks at the chain only where some pin needs it', () => {
    expect(parse([fingerprint('a')]).usesChain).toBe(false)
    expect(parse({ certificates: [fingerprint('a')], publicKeys: [keyPin('b')] }).usesChain).toBe(false)
    expect(parse([keyPin('a')]).usesChain).toBe(true)
    expect(parse({ authorities: [fingerprint('a')] }).usesChain).toBe(true)
    expect(parse({ certificates: [fingerprint('a')], rejected: [keyPin('b')] }).usesChain).toBe(true)
  })
})

describe('parsePolicy', () => {
  test('gives everything that was not said its strict default', () => {
    expect(parse([fingerprint('a')])).toEqual({
      pattern: 'a.test', pins: new Map([[fingerprint('a'), leaf]]), rejected: new Set(), authorities: [], mode: undefined,
      expiresAt: Infinity, onExpiry: 'refuse', trust: 'pki', includeSubDomains: false, usesChain: false
    })
  })

  test('reads everything that was said', () => {
    const given: HostPolicy = { pins: [keyPin('a')], rejected: [keyPin('b'), fingerprint('c').toLowerCase()], mode: 'report-only', expires: '2030-01-01', onExpiry: 'allow', trust: 'pki', includeSubDomains: true }
    expect(parse(given)).toMatchObject({ rejected: new Set([keyPin('b'), fingerprint('c')]), mode: 'report-only', expiresAt: Date.UTC(2030, 0, 1), onExpiry: 'allow', includeSubDomains: true })
  })

  test('keeps the certificates of CAs given as PEM', () => {
    expect(parse({ authorities: [authority.pem, keyPin('a')] }).authorities.map(({ fingerprint256 }) => fingerprint256)).toEqual([authority.fingerprint])
  })

  test('is not changed by later changes of what was given', () => {
    const pins = [keyPin('a')]
    const policy = parse({ pins })
    pins[0] = keyPin('b')
    expect([...policy.pins.keys()]).toEqual([keyPin('a')])
  })

  test('reads no option from a polluted Object.prototype, in the short form and in the long', () => {
    const polluted = Object.prototype as Record<string, unknown>
    const strict = [parse([keyPin('a')]), parse({ pins: [keyPin('a')] })]
    const pollution: HostPolicy = { mode: 'off', onExpiry: 'allow', expires: '2000-01-01', certificates: [fingerprint('evil')], publicKeys: [keyPin('evil')], authorities: [keyPin('evil')], includeSubDomains: true, trust: 'pin-only' }
    Object.assign(polluted, pollution)
    let read: Policy[]
    try {
      read = [parse([keyPin('a')]), parse({ pins: [keyPin('a')] })]
    } finally {
      for (const name of Object.keys(pollution)) delete polluted[name]
    }
    expect(read).toEqual(strict)
  })

  test.each<[string, unknown, string, RegExp]>([
    ['an empty list', [], 'pins["a.test"]', /^it has no pins; right would be at least one of/],
    ['an empty object', {}, 'pins["a.test"]', /^it has no pins/],
    ['empty lists', { pins: [], certificates: [] }, 'pins["a.test"]', /^it has no pins/],
    ['rejections alone', { rejected: [keyPin('a')] }, 'pins["a.test"]', /^it has no pins/],
    ['a text where a list should be', { pins: keyPin('a') }, 'pins["a.test"].pins', /^must be an array of strings, not a string/],
    ['null where a list should be', { certificates: null }, 'pins["a.test"].certificates', /^must be an array of strings, not null/],
    ['a key among certificates', { certificates: [keyPin('a')] }, 'pins["a.test"].certificates', /is the pin of a key; right would be .* under publicKeys$/],
    ['a fingerprint among keys', { publicKeys: [fingerprint('a')] }, 'pins["a.test"].publicKeys', /is the fingerprint of a certificate; right would be .* under certificates$/],
    ['a pin that is also rejected', { pins: [keyPin('a')], rejected: [`sha256//${keyPin('a').slice(7)}`] }, 'pins["a.test"].rejected', /is both pinned and rejected/],
    ['a CA that is also rejected', { authorities: [authority.pem], rejected: [authority.pin] }, 'pins["a.test"].rejected', /is both pinned and rejected/],
    ['an unknown option', { pin: [keyPin('a')] }, 'pins["a.test"].pin', /did you mean "pins"/],
    ['an unknown mode', { pins: [keyPin('a')], mode: 'enforced' }, 'pins["a.test"].mode', /'enforce' or 'report-only' or 'off'/],
    ['an unknown onExpiry', { pins: [keyPin('a')], onExpiry: 'warn' }, 'pins["a.test"].onExpiry', /'refuse' or 'report-only' or 'allow'/],
    ['an unknown trust', { pins: [keyPin('a')], trust: 'none' }, 'pins["a.test"].trust', /'pki' or 'pin-only'/],
    ['a date that is none', { pins: [keyPin('a')], expires: '2027-02-30' }, 'pins["a.test"].expires', /does not exist/],
    ['a text for includeSubDomains', { pins: [keyPin('a')], includeSubDomains: 'false' }, 'pins["a.test"].includeSubDomains', /must be true or false/],
    ['an authority under pin-only', { authorities: [keyPin('a')], trust: 'pin-only' }, 'pins["a.test"].trust', /'pin-only' has no chain to find an authority in/],
    ['a CA\'s certificate under pin-only', { publicKeys: [authority.pin], authorities: [authority.pem], trust: 'pin-only' }, 'pins["a.test"].trust', /'pin-only' has no chain/],
    ['an authority that is no CA', { authorities: [entity.pem] }, 'pins["a.test"].authorities', /^the certificate of CN=no CA is not a CA; right would be its issuer/],
    ['an authority that is no CA and has no name', { authorities: [createSelfSigned({ subject: [], key: pair }).pem] }, 'pins["a.test"].authorities', /^the certificate of \(no subject\) is not a CA/],
    ['several CAs in one text, of which all but one would be forgotten', { authorities: [authority.pem + createAuthority({ key: pair }).pem] }, 'pins["a.test"].authorities', /one entry for each CA/]
  ])('refuses %s', (_, given, option, reason) => {
    const error = refusalOf(given)
    expect([error.code, error.option]).toEqual(['ERR_PIN_POLICY_INVALID', option])
    expect(error.reason).toMatch(reason)
  })

  test.each(['certificates', 'publicKeys', 'authorities', 'pins', 'rejected'])('says where a text stands that is no pin: %s', (name) => {
    const error = refusalOf({ pins: [keyPin('b')], [name]: [keyPin('a').slice(0, -1)] }, PinInvalidError)
    expect(error.message).toMatch(new RegExp(`^Not a pin: ".*": its padding "=" is missing; .* \\(in pins\\["a\\.test"\\]\\.${name}\\)$`))
  })

  test('says where in the short form a text stands that is no pin', () => {
    expect(refusalOf(['sha1/x'], PinInvalidError).message).toMatch(/^Not a pin: "sha1\/x": SHA1 is broken; .* \(in pins\["a\.test"\]\)$/)
  })

  test.each([['pins', [undefined]], ['pins', [5]], ['pins', Array(1)], ['certificates', [null]], ['authorities', [Buffer.from(authority.pem)]], ['rejected', [[keyPin('a')]]]])('refuses elements of %s that are no texts, with a TypeError that says where', (name, list) => {
    const error = refusalOf({ pins: [keyPin('b')], [name]: list }, TypeError)
    expect(error.message).toMatch(new RegExp(`^pins\\["a\\.test"\\]\\.${name}`))
    expect(error.message).toMatch(/, not (?:undefined|a number|null|an object|an array)$/)
  })

  test('refuses a PEM among authorities that is no certificate', () => {
    expect(refusalOf({ authorities: ['-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----'] }, PinInvalidError).reason).toContain('it is not a certificate')
    expect(refusalOf({ authorities: [pair.publicKey.export({ type: 'spki', format: 'pem' }).toString()] }, PinInvalidError).reason).toContain('it is not a certificate')
  })

  test('takes pin-only with pins of the leaf, in every form', () => {
    for (const given of [{ certificates: [fingerprint('a')] }, { publicKeys: [keyPin('a')] }, { pins: [fingerprint('a'), keyPin('a')] }]) expect(parse({ ...given, trust: 'pin-only' }).trust).toBe('pin-only')
  })

  test('throws nothing but PinningError and TypeError for anything that is given', () => {
    const value = fc.oneof(fc.constantFrom<unknown>(keyPin('a'), fingerprint('a'), [keyPin('a')], [fingerprint('b')], [authority.pem], 'off', 'allow', 'pin-only', '2030-01-01', true), fc.anything({ withNullPrototype: true, withDate: true, withSparseArray: true }))
    const names = fc.constantFrom('certificates', 'publicKeys', 'authorities', 'pins', 'rejected', 'mode', 'expires', 'onExpiry', 'trust', 'includeSubDomains')
    const options = fc.dictionary(fc.oneof({ weight: 9, arbitrary: names }, { weight: 1, arbitrary: fc.constantFrom('__proto__', 'constructor', 'toString', 'x') }), value, { noNullPrototype: false })
    let read = 0
    fc.assert(fc.property(fc.oneof({ weight: 5, arbitrary: options }, { weight: 2, arbitrary: options.map((given) => ({ ...given, pins: [keyPin('c')], rejected: [] })) }, { weight: 1, arbitrary: fc.anything({ withNullPrototype: true }) }), (given) => {
      try {
        const policy = parse(given as HostPolicy)
        read++
        expect(policy.pins.size).toBeGreaterThan(0)
        for (const pin of policy.rejected) expect(policy.pins.has(pin)).toBe(false)
      } catch (error) {
        if (!isPinningError(error) && !(error instanceof TypeError)) throw error
      }
    }), { numRuns: 1_000 })
    expect(read).toBeGreaterThan(10)
  })
})
