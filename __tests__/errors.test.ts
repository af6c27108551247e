import { inspect } from 'node:util'
import { AxiosError } from 'axios'
import fc from 'fast-check'
import { BypassError, ChainUnverifiedError, HostUnpinnedError, PinInvalidError, PinMismatchError, PinningError, PolicyExpiredError, PolicyInvalidError, findPinningError, isPinningError } from '../lib/errors.js'
import type { CertificateSummary, PeerFacts } from '../lib/errors.js'

const certificate: CertificateSummary = {
  subject: 'CN=api.test, O=Example',
  issuer: 'CN=Example CA',
  validFrom: new Date('2026-01-01T12:00:00Z'),
  validTo: new Date('2026-04-01T12:00:00Z'),
  fingerprint: 'AB:CD',
  pin: 'sha256/leaf='
}
const issuer: CertificateSummary = { ...certificate, subject: '', validTo: new Date(Number.NaN), fingerprint: 'EF:01', pin: undefined }
const facts: PeerFacts = { host: 'api.test', port: 8443, policy: '*.test', served: [certificate, issuer], verified: [certificate], knownPins: ['sha256/known=', 'AA:BB'] }

const samples: Array<[string, PinningError, string]> = [
  ['PinInvalidError', new PinInvalidError('"x"', 'it is none'), 'ERR_PIN_INVALID'],
  ['PolicyInvalidError', new PolicyInvalidError('pins["a"]', 'it is wrong'), 'ERR_PIN_POLICY_INVALID'],
  ['PinMismatchError', new PinMismatchError('Not pinned', facts), 'ERR_PIN_MISMATCH'],
  ['ChainUnverifiedError', new ChainUnverifiedError('No chain', facts), 'ERR_PIN_CHAIN_UNVERIFIED'],
  ['HostUnpinnedError', new HostUnpinnedError('a.test', 443, []), 'ERR_PIN_HOST_UNPINNED'],
  ['BypassError', new BypassError('httpVersion', 'HTTP/2 has its own sessions'), 'ERR_PIN_BYPASS'],
  ['PolicyExpiredError', new PolicyExpiredError('a.test', '**.test', new Date(0)), 'ERR_PIN_EXPIRED'],
  ['PinningError', new PinningError('ERR_PIN_INTEGRITY', 'it was patched'), 'ERR_PIN_INTEGRITY']
]

describe.each(samples)('%s', (name, error, code) => {
  test('has its code and name, and is an Error and a PinningError', () => {
    expect([error.name, error.code, error.constructor.name]).toEqual([name, code, name])
    expect([error instanceof Error, error instanceof PinningError, isPinningError(error)]).toEqual([true, true, true])
    expect(inspect(error).startsWith(`${name}: ${error.message}`)).toBe(true)
  })

  test('arrives through axios with message, code and itself as the cause', () => {
    const wrapped = AxiosError.from(error)
    expect([wrapped.message, wrapped.code, wrapped.cause === error]).toEqual([error.message, code, true])
    expect(findPinningError(wrapped)).toBe(error)
    // The mark by which another copy of the package knows it stays with it: the wrapper is no PinningError.
    expect(isPinningError(wrapped)).toBe(false)
  })

  test('keeps its code when it is copied property by property, spread or made JSON of', () => {
    expect((JSON.parse(JSON.stringify(error)) as { code: string }).code).toBe(code)
    expect({ ...error }.code).toBe(code)
    expect(isPinningError({ ...error })).toBe(false)
  })

  test('is known to another copy of the package in the process', async () => {
    let other: typeof import('../lib/errors.js') | undefined
    await jest.isolateModulesAsync(async () => {
      other = await import('../lib/errors.js')
    })
    if (other === undefined) throw new Error('there is no other copy')
    expect(error instanceof other.PinningError).toBe(false)
    expect(other.isPinningError(error)).toBe(true)
    expect(other.findPinningError(new Error('outer', { cause: error }))).toBe(error)
  })
})

describe('what an error tells', () => {
  test('is the text given and the reason, of a pin that is none', () => {
    const cause = new Error('inner')
    const error = new PinInvalidError('"x"', 'it is none', { cause })
    expect(error.message).toBe('Not a pin: "x": it is none')
    expect([error.input, error.reason, error.cause]).toEqual(['"x"', 'it is none', cause])
  })

  test('is the option and the reason, of a policy that cannot be used', () => {
    const error = new PolicyInvalidError('pins["a"].mode', 'it is wrong', { cause: 5 })
    expect([error.message, error.option, error.reason, error.cause]).toEqual(['pins["a"].mode: it is wrong', 'pins["a"].mode', 'it is wrong', 5])
  })

  test('is both sides of the comparison, ready to paste, of a peer that does not match', () => {
    const error = new PinMismatchError('The leaf certificate is not pinned for api.test:8443.', facts)
    expect(error.message).toBe([
      'The leaf certificate is not pinned for api.test:8443.',
      '  host: api.test:8443, policy: *.test',
      '  served chain:',
      '    CN=api.test, O=Example, valid 2026-01-01 to 2026-04-01',
      '      AB:CD',
      '      sha256/leaf=',
      '    (no subject), valid 2026-01-01 to ?',
      '      EF:01',
      '      (key cannot be read)',
      '  verified chain:',
      '    CN=api.test, O=Example, valid 2026-01-01 to 2026-04-01',
      '      AB:CD',
      '      sha256/leaf=',
      '  known pins:',
      '    sha256/known=',
      '    AA:BB'
    ].join('\n'))
    expect(error).toMatchObject({ ...facts })
  })

  test('has no heading for a chain that there is not', () => {
    const error = new PinMismatchError('Not pinned.', { ...facts, served: [], verified: [] })
    expect(error.message).not.toMatch(/chain/)
    expect(error.cause).toBeUndefined()
  })

  test('is no more than ten pins in the message, but all of them in the error', () => {
    const knownPins = Array.from({ length: 25 }, (_, i) => `sha256/${i}`)
    const error = new PinMismatchError('Not pinned.', { ...facts, knownPins })
    expect(error.message).toMatch(/ {4}sha256\/9\n {4}… and 15 more$/)
    expect(error.message).not.toContain('sha256/10')
    expect(error.knownPins).toEqual(knownPins)
    expect(new PinMismatchError('Not pinned.', { ...facts, knownPins: knownPins.slice(0, 10) }).message).not.toContain('more')
  })

  test('has no verified chain where none was found', () => {
    const error = new ChainUnverifiedError('No chain.', { ...facts, verified: [] })
    expect(error).toMatchObject({ host: 'api.test', port: 8443, policy: '*.test', served: facts.served, verified: [], knownPins: facts.knownPins })
  })

  test('is the nearest patterns, of a host without pins', () => {
    expect(new HostUnpinnedError('a.test', 443, ['b.test', 'c.test']).message).toBe("No pins are known for a.test:443; there are pins for b.test, c.test. Right would be a host that these cover, or pins for this one; only where PKI alone may decide for every host without pins, unpinnedHosts: 'allow'.")
    expect(new HostUnpinnedError('a.test', 443, []).message).toBe("No pins are known for a.test:443. Right would be pins for it; only where PKI alone may decide for every host without pins, unpinnedHosts: 'allow'.")
  })

  test('is the option that would leave the agent, of a bypass', () => {
    const error = new BypassError('HTTPS_PROXY', 'use the proxy option')
    expect([error.message, error.option]).toEqual(['HTTPS_PROXY would leave the pinned connection: use the proxy option', 'HTTPS_PROXY'])
  })

  test('is the date, of pins that expired', () => {
    const error = new PolicyExpiredError('a.test', '**.test', new Date('2026-01-01T00:00:00Z'))
    expect([error.host, error.date.toISOString()]).toEqual(['a.test', '2026-01-01T00:00:00.000Z'])
    expect(error.message).toMatch(/^The pins for \*\*\.test expired on 2026-01-01T00:00:00\.000Z; a\.test is refused\./)
  })
})

describe('findPinningError', () => {
  const error = new PinInvalidError('"x"', 'it is none')

  test('finds one whose place on an error of axios 1.12.0 to 1.13.2 its own cause has taken', () => {
    const cause = new Error('why')
    const error = new BypassError('adapter', 'it does', { cause })
    const flattened = Object.assign(new Error(error.message, { cause }), { code: error.code })
    expect(findPinningError(flattened)).toBe(error)
    expect(findPinningError(new Error('another that the same caused', { cause }))).toBeUndefined()
    expect(new BypassError('adapter', 'it does', { cause: Object.freeze(new Error('why')) }).message).toContain('it does')
    expect(Object.keys(cause)).toEqual([])
  })

  test('finds the error itself, behind causes and within an AggregateError', () => {
    expect(findPinningError(error)).toBe(error)
    expect(findPinningError(new Error('outer', { cause: new Error('middle', { cause: error }) }))).toBe(error)
    expect(findPinningError(new AggregateError([new Error('other'), new Error('outer', { cause: error })]))).toBe(error)
    expect(findPinningError({ cause: { errors: [null, undefined, 5, { cause: error }] } })).toBe(error)
  })

  test('finds the nearest of several', () => {
    const far = new PolicyInvalidError('a', 'b')
    expect(findPinningError(new Error('outer', { cause: new PinInvalidError('"y"', 'z', { cause: far }) }))).toMatchObject({ input: '"y"' })
    expect(findPinningError(new AggregateError([new Error('x', { cause: far }), error]))).toBe(error)
  })

  test.each([[undefined], [null], ['ERR_PIN_MISMATCH'], [5], [{}], [new Error('x')], [{ code: 'ERR_PIN_MISMATCH', name: 'PinMismatchError' }], [{ cause: null }], [{ errors: 'x' }], [{ errors: null }], [() => error], [Object.create(null)]])('finds none in %p', (value) => {
    expect(findPinningError(value)).toBeUndefined()
    expect(isPinningError(value)).toBe(false)
  })

  test('ends on causes in a circle, and still finds what hangs on it', () => {
    const a: { cause?: unknown; errors?: unknown[] } = {}
    const b = { cause: a, errors: [a] as unknown[] }
    a.cause = b
    expect(findPinningError(a)).toBeUndefined()
    b.errors.push(b, error)
    expect(findPinningError(a)).toBe(error)
  })

  test('ends on endless chains and on trees that never stop growing', () => {
    let looked = 0
    class Endless {
      get cause() { looked++; return new Endless() }
      get errors() { return Array.from({ length: 1_000 }, () => new Endless()) }
    }
    expect(findPinningError(new Endless())).toBeUndefined()
    expect(looked).toBeLessThanOrEqual(100)
    let chain: unknown = error
    for (let i = 0; i < 50; i++) chain = new Error('link', { cause: chain })
    expect(findPinningError(chain)).toBe(error)
    for (let i = 0; i < 100_000; i++) chain = { cause: chain }
    expect(findPinningError(chain)).toBeUndefined()
  })

  test('never throws, whatever the value does when it is looked at', () => {
    const refuse = (): never => { throw new Error('do not look') }
    const revoked = Proxy.revocable({}, {})
    revoked.revoke()
    const revokedList = Proxy.revocable([], {})
    revokedList.revoke()
    const hostile = [
      { get cause() { return refuse() } },
      { get errors() { return refuse() } },
      new Proxy({}, { get: refuse }),
      new Proxy({}, { get: refuse, has: refuse, getPrototypeOf: refuse, ownKeys: refuse }),
      revoked.proxy,
      { errors: revokedList.proxy },
      { errors: new Proxy([error], { get: refuse }) }
    ]
    for (const value of hostile) {
      expect(isPinningError(value)).toBe(false)
      expect(findPinningError(value)).toBeUndefined()
      expect(findPinningError({ cause: value })).toBeUndefined()
      // What stands beside it is found all the same.
      expect(findPinningError({ cause: value, errors: [error] })).toBe(error)
    }
    fc.assert(fc.property(fc.anything({ withNullPrototype: true, withSparseArray: true }), (value) => {
      expect([findPinningError(value), findPinningError({ cause: value }), findPinningError({ errors: value })]).toEqual([undefined, undefined, undefined])
    }))
  })

  test('leaves the mark out of what is printed of an error', () => {
    expect(inspect(error)).not.toContain('Symbol(')
    expect(Object.keys(error).sort()).toEqual(['code', 'input', 'name', 'reason'])
  })
})
