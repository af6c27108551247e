import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import type { HostPolicy } from '../../lib/index.js'
import { ask, plainAgent } from '../support/attack.js'
import { send } from '../support/clients.js'
import { hasOpenssl } from '../support/openssl.js'
import { createAuthority, createSelfSigned, generateKey } from '../support/pki.js'
import type { Authority, CertificateOptions, IssuedCertificate, KeyPair } from '../support/pki.js'
import { startServer } from '../support/servers.js'

/*
 * Pins add to Node's verification: whatever is pinned, a peer that a client without pins refuses is refused. On random
 * small PKIs over real connections: cross-signatures, limits on roots and intermediates, intermediates that are trusted or
 * pinned or neither, and served or not.
 */

const day = 86_400_000
const limits: Record<string, CertificateOptions> = {
  none: {},
  expired: { notBefore: new Date(Date.now() - 90 * day), notAfter: new Date(Date.now() - day) },
  'path length 0': { pathLength: 0 },
  'other names': { nameConstraints: { permitted: ['example.org'] } },
  'e-mail': { extendedKeyUsage: ['emailProtection'] },
  'may not sign': { keyUsage: ['digitalSignature'] },
  'no CA': { ca: false },
  'nothing said': { basicConstraints: false, keyUsage: null },
  'version 1': { version: 1 },
  'signed over SHA-1': { signatureHash: 'sha1' },
  'an unknown critical extension': { extensions: [{ oid: '1.2.3.4', critical: true, value: Buffer.from('0500', 'hex') }] },
  'weak key': { key: generateKey({ rsa: 1_024 }) },
  'no key ids': { subjectKeyId: null, authorityKeyId: null },
  'made-up signature': { corruptSignature: true }
}

const keys = Array.from({ length: 5 }, () => generateKey('p256'))
/** The last two are CAs without a certificate of their own making. */
const names = ['Root 0', 'Root 1', 'Root 2', 'CA 3', 'CA 4']
const roots = Object.fromEntries(Object.entries(limits).map(([limit, options]) => [limit, names.map((name, i) => createAuthority({ name, key: keys[i] as KeyPair, ...options }))]))
const voucher = (i: number): Authority => (roots['none'] as Authority[])[i] as Authority
const backup = createSelfSigned()

/** Issuer and subject. */
const pairs = [[0, 1], [0, 2], [1, 2], [3, 4], ...[0, 1, 2].flatMap((root) => [[root, 3], [root, 3], [root, 4]])] as Array<[number, number]>

interface Case {
  roots: string[]
  vouchings: Array<{ pair: [number, number], limit: string, trusted: boolean, served: boolean }>
  leaf: number
  trusted: boolean[]
  pinned: number[]
  form: number
  partial: boolean
}

const limit = fc.oneof({ weight: 6, arbitrary: fc.constant('none') }, { weight: 3, arbitrary: fc.constantFrom(...Object.keys(limits)) })
const anyCase: fc.Arbitrary<Case> = fc.record({
  roots: fc.array(limit, { minLength: 3, maxLength: 3 }),
  vouchings: fc.array(fc.record({
    // Never round in a circle: a client without pins runs out of memory there (Node 20).
    pair: fc.constantFrom(...pairs),
    limit,
    trusted: fc.oneof({ weight: 3, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
    served: fc.oneof({ weight: 1, arbitrary: fc.constant(false) }, { weight: 4, arbitrary: fc.constant(true) })
  }), { minLength: 1, maxLength: 5 }),
  leaf: fc.oneof({ weight: 1, arbitrary: fc.nat(2) }, { weight: 4, arbitrary: fc.integer({ min: 3, max: 4 }) }),
  trusted: fc.array(fc.integer({ min: 0, max: 3 }).map((n) => n > 0), { minLength: 3, maxLength: 3 }),
  pinned: fc.uniqueArray(fc.nat(7), { minLength: 1, maxLength: 2 }),
  form: fc.nat(3),
  partial: fc.oneof({ weight: 3, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) })
})

function policyFor(pinned: readonly IssuedCertificate[], form: number): HostPolicy {
  const authorities = pinned.map((certificate) => [certificate.pem, certificate.pin, certificate.fingerprint][form] ?? certificate.pem)
  return form === 3 ? { authorities, publicKeys: [backup.pin] } : { authorities }
}

/** What a client without pins answers, and those with pins. */
async function compare(leaf: IssuedCertificate, chain: readonly IssuedCertificate[], trusted: readonly IssuedCertificate[], policies: readonly HostPolicy[]): Promise<{ plain: string, pinned: string[], bytes: number }> {
  const server = await startServer({ certificate: leaf, chain })
  try {
    const { code, status } = await send(plainAgent(trusted.map(({ pem }) => pem)), server.port)
    const before = server.decryptedBytes
    const pinned: string[] = []
    for (const policy of policies) pinned.push(await ask(server, policy, trusted))
    return { plain: code ?? String(status), pinned, bytes: server.decryptedBytes - before }
  } finally {
    await server.close()
  }
}

/*
 *  Root (trusted, under a limit, or not trusted at all)
 *    └─ [Sub-CA] (trusted and pinned)
 *         └─ [leaf]
 */
describe('a trusted intermediate that is pinned is no trust anchor', () => {
  test.each<[string, CertificateOptions | undefined]>([
    ['names that are not the host\'s', { nameConstraints: { permitted: ['example.org'] } }],
    ['path length 0', { pathLength: 0 }],
    ['a date in the past', limits['expired']],
    ['e-mail', { extendedKeyUsage: ['emailProtection'] }],
    ['nothing: it is not trusted', undefined]
  ])('its root is for %s', async (_name, options) => {
    const root = createAuthority(options)
    const sub = root.issueAuthority()
    const trusted = options ? [root, sub] : [sub]
    const policies = [{ authorities: [sub.pem] }, { authorities: [sub.pin] }, { authorities: [sub.fingerprint] }, { authorities: [sub.pem, root.pem] }, { authorities: [sub.pin], publicKeys: [backup.pin] }, { pins: [sub.pin] }]
    const { plain, pinned, bytes } = await compare(sub.issue(), [sub], trusted, policies)
    expect(plain).not.toBe('200')
    expect(pinned).not.toContain('200')
    expect(bytes).toBe(0)
  })

  test('unless allowPartialTrustChain makes it one', async () => {
    const sub = createAuthority(limits['expired']).issueAuthority()
    const server = await startServer({ certificate: sub.issue() })
    for (const pin of [sub.pem, sub.pin, sub.fingerprint]) expect(await ask(server, { authorities: [pin] }, [sub], { allowPartialTrustChain: true })).toBe('200')
    await server.close()
  })
})

test('an intermediate that the server leaves out is missing, though its PEM is pinned', async () => {
  const root = createAuthority()
  const sub = root.issueAuthority()
  const leaf = sub.issue()
  const policies = [{ authorities: [sub.pem] }, { authorities: [sub.pem, root.pem] }, { publicKeys: [leaf.pin] }]
  expect(await compare(leaf, [], [root], policies)).toEqual({ plain: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', pinned: policies.map(() => 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'), bytes: 0 })
  expect(await compare(leaf, [sub], [root], policies)).toMatchObject({ plain: '200', pinned: policies.map(() => '200') })
})

/*
 *  Pinned Root (trusted)
 *    └─ [Other Root, cross-signed]      the name and key of      Other Root (trusted, under a limit)
 *         └─ [leaf]
 */
test.each(['expired', 'other names', 'e-mail', 'may not sign', 'no CA', 'an unknown critical extension'])('a root that is trusted, but not for this (%s), is not bypassed by what the pinned one says of it', async (limit) => {
  const pinned = createAuthority({ name: 'Pinned Root' })
  const other = createAuthority({ name: 'Other Root', ...limits[limit] })
  const leaf = other.issue()
  const policies = [{ authorities: [pinned.pem] }, { authorities: [pinned.pin] }]
  expect(await compare(leaf, [pinned.crossSign(other)], [pinned, other], policies)).toMatchObject({ plain: expect.not.stringMatching('200'), pinned: [expect.not.stringMatching('200'), expect.not.stringMatching('200')], bytes: 0 })
  const usual = createAuthority({ subjectNameOf: other, key: other.key })
  expect(await compare(leaf, [pinned.crossSign(other)], [pinned, usual], policies)).toMatchObject({ plain: '200', pinned: ['200', '200'] })
})

test.each([[0, 1], [1, 0]])('of two roots of one name and key the one that is pinned is not taken for the other (%i, %i)', async (...order) => {
  const pinned = createAuthority({ name: 'Root' })
  const limited = createAuthority({ subjectNameOf: pinned, key: pinned.key, nameConstraints: { permitted: ['example.org'] } })
  const trusted = order.map((i) => [pinned, limited][i] as Authority)
  const { plain, pinned: [outcome] } = await compare(pinned.issue(), [], trusted, [{ authorities: [pinned.fingerprint] }])
  if (plain !== '200') expect(outcome).not.toBe('200')
})

/*
 *  Root (trusted by a TRUSTED CERTIFICATE, which says for what)
 *    └─ [leaf]
 */
;(hasOpenssl ? test.each : test.skip.each)([[['-addreject', 'serverAuth'], 'INVALID_PURPOSE'], [['-addtrust', 'emailProtection'], 'INVALID_PURPOSE'], [['-addtrust', 'serverAuth'], '200']])('what a root is trusted for is kept: %s', async (flags, expected) => {
  const root = createAuthority()
  const trusted = execFileSync('openssl', ['x509', '-trustout', ...flags], { input: root.pem, stdio: 'pipe' }).toString()
  expect(trusted).toContain('BEGIN TRUSTED CERTIFICATE')
  const leaf = root.issue()
  const { plain, pinned } = await compare(leaf, [], [{ pem: trusted } as IssuedCertificate], [{ authorities: [root.pem] }, { authorities: [root.pin] }, { pins: [root.pin] }, { publicKeys: [leaf.pin] }])
  expect([plain, ...pinned]).toEqual(Array.from({ length: 5 }, () => expected))
})

const runs = Number(process.env['PINS_ONLY_ADD_RUNS'] ?? 300)

test('a peer that a client without pins refuses is refused with every pin', async () => {
  const tally = { refused: 0, accepted: 0, pinned: 0 }
  await fc.assert(fc.asyncProperty(anyCase, async (given) => {
    const own = given.roots.map((name, i) => (roots[name] as Authority[])[i] as Authority)
    const vouchings = given.vouchings.map((vouching) => ({ ...vouching, certificate: voucher(vouching.pair[0]).crossSign(voucher(vouching.pair[1]), limits[vouching.limit]) }))
    const leaf = voucher(given.leaf).issue()
    const trusted = [...own.filter((_, i) => given.trusted[i]), ...vouchings.filter((each) => each.trusted).map(({ certificate }) => certificate)]
    const all = [...own, ...vouchings.map(({ certificate }) => certificate)]
    const pinned = given.pinned.map((i) => all[i % all.length] as IssuedCertificate).filter(({ x509 }) => x509.ca)
    if (pinned.length === 0) return
    const server = await startServer({ certificate: leaf, chain: vouchings.filter((each) => each.served).map(({ certificate }) => certificate), ciphers: 'DEFAULT:@SECLEVEL=0' })
    try {
      const tls = { allowPartialTrustChain: given.partial }
      const plain = await send(plainAgent(trusted.map(({ pem }) => pem)), server.port, tls)
      const before = server.decryptedBytes
      const outcome = await ask(server, policyFor(pinned, given.form), trusted, tls)
      if (plain.status === 200) tally.accepted++
      else tally.refused++
      if (outcome === '200') tally.pinned++
      if (plain.status !== 200) expect([plain.code, outcome, server.decryptedBytes - before]).not.toEqual([plain.code, '200', expect.anything()])
      if (outcome !== '200') expect(server.decryptedBytes).toBe(before)
    } finally {
      await server.close()
    }
  }), { numRuns: runs })
  // All has been tried.
  expect(Math.min(tally.refused, tally.accepted, tally.pinned)).toBeGreaterThan(runs / 20)
}, 600_000)
