import { X509Certificate } from 'node:crypto'
import { BypassError, ChainUnverifiedError, HostUnpinnedError, IntegrityError, PinMismatchError, PolicyExpiredError } from '../../lib/errors.js'
import type { HostPolicy } from '../../lib/policy/policy.js'
import { PolicySet } from '../../lib/policy/policy-set.js'
import type { PolicyOptions } from '../../lib/policy/policy-set.js'
import { TrustAnchors } from '../../lib/verify/anchors.js'
import { PeerRecord } from '../../lib/verify/records.js'
import { findMismatch, resultOf, verifyPeer } from '../../lib/verify/verify.js'
import type { Peer, PinnedPeer } from '../../lib/verify/verify.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import type { IssuedCertificate } from '../support/pki.js'

const now = Date.parse('2030-06-15T12:00:00Z')
const decade = { notBefore: new Date('2025-01-01T00:00:00Z'), notAfter: new Date('2035-01-01T00:00:00Z') }

const root = createAuthority({ name: 'Root', ...decade })
const issuing = root.issueAuthority({ name: 'Issuing CA', ...decade, notAfter: new Date('2031-02-01T00:00:00Z') })
const leaf = issuing.issue({ name: 'leaf', ...decade, notAfter: new Date('2031-01-01T00:00:00Z') })
const other = createSelfSigned({ name: 'other', ...decade })
const anchors = anchorsOf([root])

function anchorsOf(trusted: readonly IssuedCertificate[], partial = false): TrustAnchors {
  return new TrustAnchors(trusted.map(({ pem }) => pem), partial)
}

/** A certificate as read from a handshake: it knows what was served after it. */
function served(...chain: IssuedCertificate[]): X509Certificate {
  const certificates = chain.map(({ der }) => new X509Certificate(der))
  certificates.forEach((certificate, i) => Object.defineProperty(certificate, 'issuerCertificate', { value: certificates[i + 1] }))
  return certificates[0] as X509Certificate
}

function peerOf(policy: HostPolicy | readonly string[], changes: Partial<Peer> = {}, options: PolicyOptions = {}): Peer {
  const policies = new PolicySet({ pins: { 'api.test': policy }, ...options }, 1)
  const seen = changes.leaf ?? served(leaf, issuing)
  const host = changes.host ?? 'api.test'
  return {
    host,
    port: 443,
    serverName: 'api.test',
    policies,
    policy: policies.find(host, 443),
    record: new PeerRecord(seen, changes.anchors ?? anchors),
    leaf: seen,
    untrusted: undefined,
    anchors,
    restricted: false,
    ...changes
  }
}

/** What was found, as `pin at depth`, or the error's code. */
function verdictOf(peer: Peer, at = now): string {
  let verified: PinnedPeer
  try {
    verified = verifyPeer(peer, at)
  } catch (error) {
    return (error as { code: string }).code
  }
  const { match, result } = verified
  return match ? `${match.pin} at ${match.depth}` : result
}

describe('a pin counts only in its place', () => {
  test.each<[string, HostPolicy, string]>([
    ["the leaf's fingerprint under certificates", { certificates: [leaf.fingerprint] }, `${leaf.fingerprint} at 0`],
    ["the leaf's key under publicKeys", { publicKeys: [leaf.pin] }, `${leaf.pin} at 0`],
    ["the leaf's fingerprint in the short form", { pins: [leaf.fingerprint] }, `${leaf.fingerprint} at 0`],
    ["the leaf's key in the short form", { pins: [leaf.pin] }, `${leaf.pin} at 0`],
    ["a CA's key under authorities", { authorities: [issuing.pin] }, `${issuing.pin} at 1`],
    ["a CA's fingerprint under authorities", { authorities: [issuing.fingerprint] }, `${issuing.fingerprint} at 1`],
    ["a CA's PEM under authorities", { authorities: [issuing.pem] }, `${issuing.pin} at 1`],
    ["the root's key under authorities", { authorities: [root.pin] }, `${root.pin} at 2`],
    ["a CA's key in the short form", { pins: [root.pin] }, `${root.pin} at 2`],
    ["a CA's key under publicKeys", { publicKeys: [issuing.pin] }, 'ERR_PIN_MISMATCH'],
    ["a CA's fingerprint under certificates", { certificates: [issuing.fingerprint] }, 'ERR_PIN_MISMATCH'],
    ["a CA's fingerprint in the short form, where it means the leaf", { pins: [issuing.fingerprint] }, 'ERR_PIN_MISMATCH'],
    ["a CA's fingerprint in the short form, beside a key", { pins: [issuing.fingerprint, other.pin] }, 'ERR_PIN_MISMATCH'],
    ["the leaf's key under authorities", { authorities: [leaf.pin] }, 'ERR_PIN_MISMATCH'],
    ["the leaf's fingerprint under authorities", { authorities: [leaf.fingerprint] }, 'ERR_PIN_MISMATCH'],
    ['nothing that is in the chain', { authorities: [other.pin], publicKeys: [other.pin], certificates: [other.fingerprint] }, 'ERR_PIN_MISMATCH']
  ])('%s', (_name, policy, verdict) => {
    expect(verdictOf(peerOf(policy))).toBe(verdict)
  })

  test('the leaf comes first, then the CAs from the leaf upwards', () => {
    expect(verdictOf(peerOf({ pins: [root.pin, issuing.pin, leaf.pin, leaf.fingerprint] }))).toBe(`${leaf.fingerprint} at 0`)
    expect(verdictOf(peerOf({ pins: [root.pin, issuing.pin, leaf.pin] }))).toBe(`${leaf.pin} at 0`)
    expect(verdictOf(peerOf({ pins: [root.pin, issuing.pin] }))).toBe(`${issuing.pin} at 1`)
  })
})

describe('the verified chain', () => {
  test('is not built for a leaf pin, and need not exist', () => {
    const stranger = served(other)
    const record = new PeerRecord(stranger, anchors)
    expect(verdictOf(peerOf([other.pin], { leaf: stranger, record }))).toBe(`${other.pin} at 0`)
    expect(record.knownChain).toBeUndefined()
    expect(verdictOf(peerOf([leaf.fingerprint, leaf.pin], { leaf: stranger, record }))).toBe('ERR_PIN_CHAIN_UNVERIFIED')
    expect(verdictOf(peerOf([leaf.fingerprint], { leaf: stranger, record }))).toBe('ERR_PIN_MISMATCH')
  })

  test('must exist where a CA is pinned or something is rejected', () => {
    const bare = served(leaf)
    expect(verdictOf(peerOf({ authorities: [root.pin] }, { leaf: bare }))).toBe('ERR_PIN_CHAIN_UNVERIFIED')
    expect(verdictOf(peerOf({ publicKeys: [leaf.pin], rejected: [other.pin] }, { leaf: bare }))).toBe('ERR_PIN_CHAIN_UNVERIFIED')
    expect(verdictOf(peerOf({ publicKeys: [leaf.pin], rejected: [other.pin] }))).toBe(`${leaf.pin} at 0`)
  })

  test('is refused anywhere with a rejected key or certificate in it', () => {
    for (const rejected of [leaf.fingerprint, issuing.pin, issuing.fingerprint, root.pin, root.fingerprint]) expect(verdictOf(peerOf({ publicKeys: [leaf.pin], rejected: [rejected] }))).toBe('ERR_PIN_MISMATCH')
    expect(verdictOf(peerOf({ authorities: [root.pin], rejected: [leaf.pin] }))).toBe('ERR_PIN_MISMATCH')
  })

  test('is refused once one of its certificates has expired, though it was built before', () => {
    const peer = peerOf({ authorities: [root.pin] }, {})
    expect(verdictOf(peer)).toBe(`${root.pin} at 2`)
    expect(verdictOf(peer, Date.parse('2031-01-01T00:00:01Z'))).toBe('ERR_PIN_CHAIN_UNVERIFIED')
  })
})

describe('where OpenSSL knew the pinned CAs only', () => {
  const pinnedOnly = anchorsOf([issuing], true)
  const policy: HostPolicy = { authorities: [issuing.pem] }

  test('the match is looked for in the chain to the pinned CA', () => {
    expect(verdictOf(peerOf(policy, { anchors: pinnedOnly, restricted: true }))).toBe(`${issuing.pin} at 1`)
  })

  test('its word is enough where no chain can be built here', () => {
    const peer = peerOf(policy, { anchors: pinnedOnly, restricted: true, leaf: served(createSelfSigned({ ...decade })) })
    expect(verdictOf(peer)).toBe(`${issuing.pin} at undefined`)
  })

  test('its refusal counts', () => {
    const untrusted = Object.assign(new Error('no'), { code: 'CERT_REVOKED' })
    expect(verdictOf(peerOf(policy, { anchors: pinnedOnly, restricted: true, untrusted }))).toBe('CERT_REVOKED')
  })

  test('its word is none of a leaf that is itself the anchor', () => {
    expect(verdictOf(peerOf(policy, { anchors: pinnedOnly, restricted: true, leaf: served(issuing, root) }))).toBe('ERR_PIN_MISMATCH')
  })

  test('its word is none where the session was made under other anchors: then only the chain counts', () => {
    const otherPinned = anchorsOf([other], true)
    const earlier = new PeerRecord(served(leaf, issuing), pinnedOnly)
    expect(earlier.chain(served(leaf, issuing), pinnedOnly, now)).toBeDefined()
    expect(verdictOf(peerOf({ authorities: [other.pin] }, { anchors: otherPinned, restricted: true, record: earlier }))).toBe('ERR_PIN_MISMATCH')
    expect(verdictOf(peerOf({ authorities: [root.pin] }, { anchors: anchorsOf([root], true), restricted: true, record: earlier }))).toBe(`${root.pin} at 2`)
  })
})

describe('findMismatch, where OpenSSL knew the pinned CAs only and refused', () => {
  test('says so when another CA vouches for the peer', () => {
    const error = findMismatch(peerOf({ authorities: [other.pin] }), now)
    expect(error).toBeInstanceOf(PinMismatchError)
    expect(error?.verified.map(({ subject }) => subject)).toEqual(['CN=leaf', 'CN=Issuing CA', 'CN=Root'])
  })

  test("leaves OpenSSL's own reason standing when nobody does, when a pinned CA does, and when there are no pins", () => {
    expect(findMismatch(peerOf({ authorities: [other.pin] }, { leaf: served(leaf) }), now)).toBeUndefined()
    expect(findMismatch(peerOf({ authorities: [root.pin] }), now)).toBeUndefined()
    expect(findMismatch(peerOf({ authorities: [other.pin] }, { policy: undefined }), now)).toBeUndefined()
  })
})

describe('the proof holds until', () => {
  const goodUntil = (policy: HostPolicy, changes: Partial<Peer> = {}): string => new Date(verifyPeer(peerOf(policy, changes), now).goodUntil).toISOString().slice(0, 10)

  test('the leaf, the chain or the pins expire, whichever is first', () => {
    expect(goodUntil({ publicKeys: [leaf.pin] })).toBe('2031-01-01')
    expect(goodUntil({ authorities: [root.pin] })).toBe('2031-01-01')
    expect(goodUntil({ publicKeys: [leaf.pin], expires: '2030-07-01' })).toBe('2030-07-01')
    const brief = root.issueAuthority({ name: 'Brief', ...decade, notAfter: new Date('2030-08-01T00:00:00Z') })
    expect(goodUntil({ authorities: [root.pin] }, { leaf: served(brief.issue({ ...decade }), brief) })).toBe('2030-08-01')
  })

  test('the leaf expires, where the pins have expired already and that is allowed', () => {
    expect(goodUntil({ publicKeys: [leaf.pin], expires: '2029-01-01', onExpiry: 'allow' })).toBe('2031-01-01')
    expect(goodUntil({ publicKeys: [leaf.pin], expires: '2029-01-01', onExpiry: 'report-only' })).toBe('2031-01-01')
  })

  test('pins expire at the very instant that they say', () => {
    const peer = peerOf({ publicKeys: [leaf.pin], expires: new Date(now) })
    expect(verdictOf(peer, now - 1)).toBe(`${leaf.pin} at 0`)
    expect(verdictOf(peer, now)).toBe('ERR_PIN_EXPIRED')
  })
})

test('a refusal tells both sides, ready to paste', () => {
  const error = ((): unknown => {
    try {
      return verifyPeer(peerOf({ authorities: [other.pin], publicKeys: [other.pin] }), now)
    } catch (thrown) {
      return thrown
    }
  })() as PinMismatchError
  expect(error).toMatchObject({ host: 'api.test', port: 443, policy: 'api.test', knownPins: [other.pin] })
  expect(error.served.map(({ fingerprint }) => fingerprint)).toEqual([leaf.fingerprint, issuing.fingerprint])
  expect(error.verified.map(({ pin }) => pin)).toEqual([leaf.pin, issuing.pin, root.pin])
  for (const text of [leaf.pin, issuing.pin, root.pin, other.pin]) expect(error.message).toContain(text)
})

test('a host without pins is refused, tolerated or left to PKI, as the mode says', () => {
  const unpinned = (options: PolicyOptions, untrusted?: Error): string => verdictOf(peerOf([leaf.pin], { host: 'other.test', ...(untrusted && { untrusted }) }, options))
  const refused = Object.assign(new Error('no'), { code: 'CERT_REVOKED' })
  expect(unpinned({})).toBe('ERR_PIN_HOST_UNPINNED')
  for (const options of [{ unpinnedHosts: 'allow' }, { mode: 'report-only' }, { mode: 'off' }] as const) {
    expect(unpinned(options)).toBe('unpinned')
    expect(unpinned(options, refused)).toBe('CERT_REVOKED')
  }
  const tolerated = verifyPeer(peerOf([leaf.pin], { host: 'other.test' }, { mode: 'report-only' }), now)
  expect(tolerated).toMatchObject({ decision: 'tolerated', error: { code: 'ERR_PIN_HOST_UNPINNED' } })
})

test('a check that itself breaks is a refusal, in report-only too', () => {
  const peer = peerOf({ publicKeys: [leaf.pin] }, {}, { mode: 'report-only' })
  Object.defineProperty(peer.record, 'pin', { get: () => { throw new TypeError('broken') } })
  expect(() => verifyPeer(peer, now)).toThrow(TypeError)
})

test('the result that a refusal stands for', () => {
  const facts = { host: 'h', port: 1, policy: 'h', served: [], verified: [], knownPins: [] }
  const results = [new PinMismatchError('', facts), new ChainUnverifiedError('', facts), new PolicyExpiredError('h', 'h', new Date(now)), new HostUnpinnedError('h', 1, []), new BypassError('o', ''), new Error('PKI'), undefined].map(resultOf)
  expect(results).toEqual(['mismatch', 'chain-unverified', 'expired', 'unpinned', 'mismatch', 'untrusted', 'untrusted'])
})

test('what is refused whoever answers is refused in the verdict too, for a connection that was under way', () => {
  const peer = peerOf([leaf.pin, other.pin])
  expect(verifyPeer(peer, now).decision).toBe('accepted')
  const locked = peer.policies.under({ lockdowns: new Map([['api.test', { until: now + 1, reason: 'it looked like an attack' }]]) }, 2)
  expect(() => verifyPeer({ ...peer, policies: locked }, now)).toThrow(expect.objectContaining({ code: 'ERR_PIN_LOCKDOWN' }))
  expect(verifyPeer({ ...peer, policies: locked }, now + 1).decision).toBe('accepted')
  const refusing = peer.policies.under({ refusal: new IntegrityError([{ name: 'inspector', detail: 'it is open' }]) }, 2)
  expect(() => verifyPeer({ ...peer, policies: refusing }, now)).toThrow(expect.objectContaining({ code: 'ERR_PIN_INTEGRITY' }))
  expect(verifyPeer({ ...peer, policies: refusing.under({ mode: 'off' }, 3) }, now).result).toBe('unchecked')
})
