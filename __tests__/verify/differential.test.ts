import fc from 'fast-check'
import { TrustAnchors } from '../../lib/verify/anchors.js'
import { buildChain } from '../../lib/verify/chain.js'
import { hasOpenssl, verifyWithOpenssl } from '../support/openssl.js'
import { createAuthority, der, generateKey } from '../support/pki.js'
import type { Authority, CertificateOptions, IssuedCertificate } from '../support/pki.js'

/*
 * Random small PKIs, and OpenSSL's own opinion of them. Roots and CAs have a name and a key each; a certificate says
 * that one of them vouches for another (itself included), under some limit. So there are cross-signatures, loops, dead
 * ends, limits that only one of several paths is under, and look-alikes, served in any order.
 */

const at = Date.parse('2030-06-15T12:00:00Z')
const dates = { notBefore: new Date('2030-01-01T00:00:00Z'), notAfter: new Date('2031-01-01T00:00:00Z') }
const roots = ['Root 0', 'Root 1', 'Root 2'].map((name, i) => createAuthority({ name, ...dates, key: (['p256', 'rsa', 'ed25519'] as const)[i] ?? 'p256', ...(i === 1 && { pathLength: 1 }) }))
const cas = ['CA 0', 'CA 1', 'CA 2', 'CA 3'].map((name) => createAuthority({ name, ...dates }))
const vouchers = [...roots, ...cas]
const strangerKey = generateKey('p256')

const limits: Record<string, CertificateOptions> = {
  none: {},
  expired: { notBefore: new Date('2029-01-01T00:00:00Z'), notAfter: new Date('2030-06-15T11:59:59Z') },
  future: { notBefore: new Date('2030-06-15T12:00:01Z') },
  'path length 0': { pathLength: 0 },
  'path length 1': { pathLength: 1 },
  'no CA': { ca: false, keyUsage: null },
  'may not sign': { keyUsage: ['digitalSignature'] },
  'TLS servers': { extendedKeyUsage: ['serverAuth'] },
  'any purpose': { extendedKeyUsage: ['any'] },
  'code signing': { extendedKeyUsage: ['codeSigning'] },
  'SHA-1': { signatureHash: 'sha1' },
  'made-up signature': { corruptSignature: true },
  'unknown critical extension': { extensions: [{ oid: '1.2.3.4', critical: true, value: der.none() }] },
  'known critical extension': { extensions: [{ oid: '2.5.29.36', critical: true, value: der.sequence(der.tlv(0x80, Buffer.from([0]))) }] },
  'another key': { key: strangerKey },
  'another key id': { subjectKeyId: Buffer.alloc(20, 9) },
  'weak key': { key: generateKey({ rsa: 1_024 }) },
  'no key ids': { subjectKeyId: null, authorityKeyId: null }
}

interface Vouching { issuer: number, subject: number, limit: string }

interface Case { vouchings: Vouching[], leaf: { issuer: number, hash: 'sha256' | 'sha1' }, trusted: number[], partial: boolean, trustedVouchings: number[], order: number[] }

const limit = fc.oneof({ weight: 3, arbitrary: fc.constant('none') }, { weight: 2, arbitrary: fc.constantFrom(...Object.keys(limits)) })
const vouching = fc.record({ issuer: fc.nat(vouchers.length - 1), subject: fc.oneof({ weight: 6, arbitrary: fc.integer({ min: roots.length, max: vouchers.length - 1 }) }, { weight: 1, arbitrary: fc.nat(roots.length - 1) }), limit })

const anyCase: fc.Arbitrary<Case> = fc.record({
  vouchings: fc.array(vouching, { minLength: 1, maxLength: 9 }),
  leaf: fc.record({ issuer: fc.integer({ min: 0, max: vouchers.length - 1 }), hash: fc.constantFrom('sha256' as const, 'sha256' as const, 'sha256' as const, 'sha1' as const) }),
  trusted: fc.uniqueArray(fc.nat(roots.length - 1), { minLength: 1, maxLength: 3 }),
  partial: fc.boolean(),
  trustedVouchings: fc.oneof({ weight: 3, arbitrary: fc.constant<number[]>([]) }, { weight: 1, arbitrary: fc.array(fc.nat(8), { maxLength: 2 }) }),
  order: fc.array(fc.nat(100), { minLength: 9, maxLength: 9 })
})

function grow({ vouchings, leaf, trusted, trustedVouchings, order }: Case): { leaf: IssuedCertificate, served: Authority[], anchors: Authority[] } {
  const certificates = vouchings.map(({ issuer, subject, limit: name }) => (vouchers[issuer] as Authority).crossSign(vouchers[subject] as Authority, { ...dates, ...limits[name] }))
  return {
    leaf: (vouchers[leaf.issuer] as Authority).issue({ name: 'leaf', ...dates, signatureHash: leaf.hash }),
    served: certificates.map((certificate, i) => ({ certificate, rank: order[i] ?? 0 })).sort((a, b) => a.rank - b.rank).map(({ certificate }) => certificate),
    anchors: [...trusted.map((i) => roots[i] as Authority), ...trustedVouchings.flatMap((i) => certificates[i] ?? [])]
  }
}

const runs = Number(process.env['DIFFERENTIAL_RUNS'] ?? 150)
const tally = { found: 0, notFound: 0 }

;(hasOpenssl ? test : test.skip)('whatever path is found, OpenSSL accepts with that anchor and these intermediates alone; whatever OpenSSL accepts, a path is found for', () => {
  fc.assert(fc.property(anyCase, (given) => {
    const { leaf, served, anchors } = grow(given)
    const chain = buildChain(leaf.x509, served.map(({ x509 }) => x509), new TrustAnchors(anchors.map(({ pem }) => pem), given.partial), at)
    if (chain === undefined) {
      tally.notFound++
      expect(verifyWithOpenssl({ leaf, untrusted: served, trusted: anchors, partial: given.partial, at })).not.toBe('ok')
    } else {
      tally.found++
      const path = chain.certificates.map((certificate) => ({ pem: certificate.toString() }))
      const anchor = path.at(-1) as { pem: string }
      expect(anchors.map(({ fingerprint }) => fingerprint)).toContain(chain.fingerprints.at(-1))
      expect(verifyWithOpenssl({ leaf, untrusted: path.slice(1, -1), trusted: [anchor], partial: given.partial, at })).toBe('ok')
    }
  }), { numRuns: runs })
  // Both halves have been tried.
  expect(Math.min(tally.found, tally.notFound)).toBeGreaterThan(runs / 10)
}, 600_000)
