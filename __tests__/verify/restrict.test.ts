import { parsePolicy } from '../../lib/policy/policy.js'
import type { HostPolicy } from '../../lib/policy/policy.js'
import { PolicySet } from '../../lib/policy/policy-set.js'
import type { PolicyOptions } from '../../lib/policy/policy-set.js'
import { Trusts } from '../../lib/transport/trust.js'
import { readTlsOptions } from '../../lib/transport/tls-options.js'
import type { TlsOptions } from '../../lib/transport/tls-options.js'
import { TrustAnchors } from '../../lib/verify/anchors.js'
import { restrictAnchors } from '../../lib/verify/restrict.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import type { IssuedCertificate } from '../support/pki.js'
import { revocationList } from '../support/crl.js'

const now = Date.parse('2030-06-15T12:00:00Z')
const century = { notBefore: new Date('2001-01-01T00:00:00Z'), notAfter: new Date('2101-01-01T00:00:00Z') }
const year = { notBefore: new Date('2030-01-01T00:00:00Z'), notAfter: new Date('2031-01-01T00:00:00Z') }

const root = createAuthority({ name: 'Root', ...century })
const other = createAuthority({ name: 'Other Root', ...century })
const issuing = root.issueAuthority({ name: 'Issuing CA', ...year })
const stranger = createAuthority({ name: 'Stranger', ...century })
const leaf = createSelfSigned()

/** The names of the anchors that OpenSSL would be given, or `all` for an unrestricted set. */
function restrict(policy: HostPolicy, trusted: readonly IssuedCertificate[] = [root, other], at = now, partial = false): string {
  const anchors = new TrustAnchors(trusted.map(({ pem }) => pem), partial)
  const restriction = restrictAnchors(parsePolicy('localhost', policy, 'pins'), anchors, at)
  return restriction?.certificates.map(({ subject }) => subject.replace('CN=', '')).join(', ') ?? 'all'
}

describe('OpenSSL is given the pinned CAs alone where', () => {
  test.each<[string, HostPolicy, string]>([
    ['a root is pinned as PEM', { authorities: [root.pem] }, 'Root'],
    ['a root is pinned by its key', { authorities: [root.pin] }, 'Root'],
    ['a root is pinned by its fingerprint', { authorities: [root.fingerprint] }, 'Root'],
    ['a root is pinned in every way', { authorities: [root.pem, root.pin, root.fingerprint] }, 'Root'],
    ['several are pinned', { authorities: [other.pem, root.pin] }, 'Other Root, Root'],
    ['the root expires', { authorities: [root.pin], expires: '2040-01-01' }, 'Root']
  ])('%s', (_name, policy, anchors) => {
    expect(restrict(policy)).toBe(anchors)
  })

  test('an intermediate is pinned, and trusted as an end of chains', () => {
    for (const pin of [issuing.pem, issuing.pin, issuing.fingerprint]) {
      expect(restrict({ authorities: [pin] }, [issuing], now, true)).toBe('Issuing CA')
      expect(restrict({ authorities: [pin] }, [root, issuing], now, true)).toBe('Issuing CA')
    }
  })

  test('it says until when: the first expiry of a pinned CA', () => {
    const brief = createAuthority({ name: 'Brief Root', notBefore: century.notBefore, notAfter: new Date('2030-09-01T00:00:00Z') })
    const anchors = new TrustAnchors([root.pem, brief.pem], false)
    const validTo = (authorities: string[]): string => new Date(restrictAnchors(parsePolicy('localhost', { authorities }, 'pins'), anchors, now)?.validTo ?? 0).toISOString().slice(0, 10)
    expect(validTo([root.pem])).toBe('2101-01-01')
    expect(validTo([root.pin])).toBe('2101-01-01')
    expect(validTo([brief.pem])).toBe('2030-09-01')
    expect(validTo([root.pin, brief.pem])).toBe('2030-09-01')
  })
})

describe('the verified chain has to be looked at instead where', () => {
  test.each<[string, HostPolicy]>([
    ['there is a pin of a leaf key as well', { authorities: [root.pem], publicKeys: [leaf.pin] }],
    ['there is a pin of a leaf as well', { authorities: [root.pem], certificates: [leaf.fingerprint] }],
    ['a pin may be of any certificate', { pins: [root.pin] }],
    ['keys are rejected', { authorities: [root.pem], rejected: [leaf.pin] }],
    ['nothing is known of one of the pins but its key', { authorities: [root.pem, stranger.pin] }],
    ['one of the PEMs is no trust anchor', { authorities: [root.pem, stranger.pem] }],
    ['one of the PEMs is of an intermediate, which a server may leave out', { authorities: [root.pem, issuing.pem] }],
    ['the trust is in the leaf alone', { publicKeys: [leaf.pin], trust: 'pin-only' }]
  ])('%s', (_name, policy) => {
    expect(restrict(policy)).toBe('all')
  })

  test('a pinned CA is out of date: its key may be in a newer certificate', () => {
    const old = createAuthority({ name: 'Old Root', ...year })
    expect(restrict({ authorities: [old.pin] }, [root, old])).toBe('Old Root')
    expect(restrict({ authorities: [old.pin] }, [root, old], Date.parse('2031-01-02'))).toBe('all')
    expect(restrict({ authorities: [old.pin] }, [root, old], Date.parse('2029-12-31'))).toBe('all')
  })

  test('a trusted intermediate is pinned, at which no chain may end', () => {
    for (const pin of [issuing.pem, issuing.pin, issuing.fingerprint]) {
      expect(restrict({ authorities: [pin] }, [issuing])).toBe('all')
      expect(restrict({ authorities: [pin] }, [root, issuing])).toBe('all')
    }
    expect(restrict({ authorities: [root.pem, issuing.pin] }, [root, issuing])).toBe('all')
  })

  test('a certificate that only bears its own name as its issuer is pinned', () => {
    const unsigned = createAuthority({ name: 'Unsigned Root', corruptSignature: true, ...century })
    expect(restrict({ authorities: [unsigned.pem] }, [unsigned])).toBe('all')
  })

  test('an intermediate is among the trusted ones that is not pinned: a server may leave it out', () => {
    expect(restrict({ authorities: [root.pem] }, [root, issuing])).toBe('all')
  })

  test('another trust anchor has the name of a pinned one', () => {
    const again = createAuthority({ subjectNameOf: root, ...century })
    expect(restrict({ authorities: [root.pem] }, [root, again])).toBe('all')
    expect(restrict({ authorities: [root.pem, again.pem] }, [root, again])).toBe('Root, Root')
  })

  test('a trust anchor may have trust settings of its own', () => {
    const anchors = new TrustAnchors([root.pem, other.pem.replaceAll('CERTIFICATE', 'TRUSTED CERTIFICATE')], false)
    expect(restrictAnchors(parsePolicy('localhost', { authorities: [root.pem] }, 'pins'), anchors, now)).toBeUndefined()
  })
})

describe('the trust of an agent', () => {
  function trustOf(pins: HostPolicy, { at = now, options = {}, tls = {} }: { at?: number, options?: PolicyOptions, tls?: TlsOptions } = {}): { restricted: boolean, same: boolean } {
    const trusts = new Trusts(readTlsOptions({ ca: [root.pem, other.pem], ...tls }))
    const policies = new PolicySet({ pins: { localhost: pins }, ...options }, 1)
    const trust = trusts.for(policies, policies.find('localhost', 443), at)
    return { restricted: trust.restricted, same: trust === trusts.general }
  }

  test.each<[string, HostPolicy, PolicyOptions, boolean]>([
    ['enforce', { authorities: [root.pem] }, {}, true],
    ['report-only, of the policy', { authorities: [root.pem], mode: 'report-only' }, {}, false],
    ['report-only, of all', { authorities: [root.pem] }, { mode: 'report-only' }, false],
    ['enforce, though all others report only', { authorities: [root.pem], mode: 'enforce' }, { mode: 'report-only' }, true],
    ['off', { authorities: [root.pem], mode: 'off' }, {}, false],
    ["onExpiry: 'allow'", { authorities: [root.pem], expires: '2040-01-01', onExpiry: 'allow' }, {}, false],
    ["onExpiry: 'report-only'", { authorities: [root.pem], expires: '2040-01-01', onExpiry: 'report-only' }, {}, false],
    ["onExpiry: 'refuse'", { authorities: [root.pem], expires: '2040-01-01', onExpiry: 'refuse' }, {}, true]
  ])('is restricted only where nothing else could accept the peer: %s', (_name, pins, options, restricted) => {
    expect(trustOf(pins, { options })).toEqual({ restricted, same: !restricted })
  })

  test('is not restricted where Node would add the certificates of a pfx', () => {
    expect(trustOf({ authorities: [root.pem] }, { tls: { pfx: Buffer.from('pfx') } }).restricted).toBe(false)
  })

  test('is not restricted to a CA that another one has issued where there is a CRL', () => {
    const crl = revocationList(root)
    const partial = { ca: issuing.pem, allowPartialTrustChain: true }
    expect(trustOf({ authorities: [issuing.pem] }, { tls: partial }).restricted).toBe(true)
    expect(trustOf({ authorities: [issuing.pem] }, { tls: { crl, ...partial } }).restricted).toBe(false)
    expect(trustOf({ authorities: [root.pem] }, { tls: { crl } }).restricted).toBe(true)
  })

  test('is worked out once per policy, and again when a pinned CA has expired', () => {
    const brief = createAuthority({ name: 'Brief Root', ...year })
    const trusts = new Trusts(readTlsOptions({ ca: [root.pem, brief.pem] }))
    const policies = new PolicySet({ pins: { localhost: { authorities: [brief.pem] }, 'other.test': { authorities: [root.pem] } } }, 1)
    const trustAt = (time: string, host = 'localhost'): ReturnType<Trusts['for']> => trusts.for(policies, policies.find(host, 443), Date.parse(time))
    const first = trustAt('2030-02-01')
    expect(first.restricted).toBe(true)
    expect(first.anchors).not.toBe(trusts.general.anchors)
    expect(first.records.anchors).toBe(first.anchors)
    expect(trustAt('2030-12-31')).toBe(first)
    expect(trustAt('2030-02-01', 'other.test')).not.toBe(first)
    expect(trustAt('2031-01-02')).toBe(trusts.general)
    expect(trusts.for(policies, undefined, now)).toBe(trusts.general)
  })
})
