import { ask, authorityForms } from '../support/attack.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import type { Authority, IssuedCertificate } from '../support/pki.js'
import type { HostPolicy } from '../../lib/index.js'
import { startServer } from '../support/servers.js'
import type { TestServer } from '../support/servers.js'

/*
 * The other half of the attacks: genuine chains, however clumsily they are served, must be accepted.
 */

const backup = createSelfSigned()

function everyForm(pinned: IssuedCertificate): Array<[form: string, policy: HostPolicy]> {
  return Object.entries({
    ...authorityForms(pinned),
    'the CA as an SPKI pin in the short form': { pins: [pinned.pin] },
    'the CA as PEM, and a leaf pin for backup': { authorities: [pinned.pem], publicKeys: [backup.pin] },
    'the CA as SPKI pin, and a leaf pin for backup': { authorities: [pinned.pin], publicKeys: [backup.pin] },
    'the CA as fingerprint, and a rejected key that does not occur': { authorities: [pinned.fingerprint], rejected: [backup.pin] }
  })
}

let server: TestServer

async function serve(certificate: IssuedCertificate, chain: readonly IssuedCertificate[]): Promise<void> {
  server = await startServer({ certificate, chain })
}

afterEach(() => server.close())

/*
 *  Root (trusted) └─ [Policy CA] └─ [Issuing CA] └─ [leaf]
 */
describe('a chain of four', () => {
  const root = createAuthority({ name: 'Root', pathLength: 2 })
  const upper = root.issueAuthority({ name: 'Policy CA', pathLength: 1 })
  const issuing = upper.issueAuthority({ name: 'Issuing CA', pathLength: 0, extendedKeyUsage: ['serverAuth', 'clientAuth'] })
  const leaf = issuing.issue()
  const stranger = createAuthority({ name: 'Stranger' })
  const others = [stranger, stranger.issueAuthority(), stranger.issue(), createSelfSigned({ key: 'secp256k1' })]
  const servings: Record<string, IssuedCertificate[]> = {
    'in order': [issuing, upper],
    'with the root': [issuing, upper, root],
    'in the wrong order': [root, upper, issuing],
    'with superfluous certificates between': [...others, issuing, ...others, upper],
    'each one twice': [issuing, issuing, upper, upper],
    'with the leaf again': [leaf, issuing, upper],
    'with expired issuers of the same name and key first': [
      root.crossSign(upper, { notBefore: new Date('2020-01-01'), notAfter: new Date('2021-01-01') }),
      upper.crossSign(issuing, { notBefore: new Date('2020-01-01'), notAfter: new Date('2021-01-01') }),
      issuing,
      upper
    ]
  }

  describe.each(Object.entries(servings))('served %s', (_order, chain) => {
    test.each([['root', root], ['upper', upper], ['issuing', issuing]] as const)('is accepted with its %s CA pinned, in every form', async (_name, pinned) => {
      await serve(leaf, chain)
      for (const [form, policy] of everyForm(pinned)) expect([form, await ask(server, policy, [root])]).toEqual([form, '200'])
    })
  })

  test('is accepted where an intermediate is itself the trust anchor', async () => {
    await serve(leaf, [issuing])
    for (const [form, policy] of everyForm(upper)) expect([form, await ask(server, policy, [upper], { allowPartialTrustChain: true })]).toEqual([form, '200'])
    expect(await ask(server, { pins: [upper.pin] }, [upper])).toBe('UNABLE_TO_GET_ISSUER_CERT')
  })

  test('is refused with an intermediate left out, unless it is among the trusted ones', async () => {
    await serve(leaf, [issuing])
    expect(await ask(server, { pins: [root.pin] }, [root])).toMatch(/^UNABLE_TO_GET_ISSUER_CERT/)
    for (const [form, policy] of everyForm(root)) expect([form, await ask(server, policy, [root, upper])]).toEqual([form, '200'])
    for (const [form, policy] of everyForm(upper)) expect([form, await ask(server, policy, [root, upper])]).toEqual([form, '200'])
  })
})

/*
 *  Old Root (trusted)     New Root (trusted)
 *    └─ [Issuing CA]        └─ [Issuing CA, cross-signed]      the same name and key
 *         └─ [leaf] ─────────────┘
 */
describe('an issuing CA that two roots have certified', () => {
  const oldRoot = createAuthority({ name: 'Old Root' })
  const newRoot = createAuthority({ name: 'New Root' })
  const issuing = oldRoot.issueAuthority({ name: 'Issuing CA' })
  const crossed = newRoot.crossSign(issuing)
  const leaf = issuing.issue()

  test.each([
    ['the old root, by serving its certificate alone', oldRoot, [issuing]],
    ['the new root, by serving its certificate alone', newRoot, [crossed]],
    ['the old root, by serving its certificate first', oldRoot, [issuing, crossed]],
    ['the new root, by serving its certificate first', newRoot, [crossed, issuing]]
  ] as Array<[string, Authority, Authority[]]>)('leads to %s', async (_name, root, chain) => {
    await serve(leaf, chain)
    for (const [form, policy] of everyForm(root)) expect([form, await ask(server, policy, [oldRoot, newRoot])]).toEqual([form, '200'])
    for (const [form, policy] of everyForm(chain[0] as Authority)) expect([form, await ask(server, policy, [oldRoot, newRoot])]).toEqual([form, '200'])
  })
})

/*
 *  Old Root (trusted)
 *    └─ [New Root, cross-signed]      the same name and key as      New Root (trusted or not yet)
 *         └─ [Issuing CA]                                             └─ …
 *              └─ [leaf]
 */
describe('a new root that an old one has certified', () => {
  const oldRoot = createAuthority({ name: 'Old Root' })
  const newRoot = createAuthority({ name: 'New Root' })
  const crossed = oldRoot.crossSign(newRoot)
  const issuing = newRoot.issueAuthority({ name: 'Issuing CA' })
  const leaf = issuing.issue()
  const chain = [issuing, crossed]

  test('is accepted by its own pin where both are trusted, the path ending at the trusted certificate', async () => {
    await serve(leaf, chain)
    for (const [form, policy] of everyForm(newRoot)) expect([form, await ask(server, policy, [oldRoot, newRoot])]).toEqual([form, '200'])
  })

  test('is accepted by the pin of the old root where only that one is trusted', async () => {
    await serve(leaf, chain)
    for (const [form, policy] of everyForm(oldRoot)) expect([form, await ask(server, policy, [oldRoot])]).toEqual([form, '200'])
  })

  test('is accepted by the pin of its key where only the old root is trusted, also where the pin is its self-signed PEM', async () => {
    await serve(leaf, chain)
    const forms = [{ authorities: [newRoot.pem] }, { authorities: [newRoot.pin] }, { pins: [newRoot.pin] }, { authorities: [newRoot.pem], publicKeys: [backup.pin] }]
    for (const policy of forms) expect(await ask(server, policy, [oldRoot])).toBe('200')
    expect(await ask(server, { authorities: [newRoot.fingerprint] }, [oldRoot])).toBe('ERR_PIN_MISMATCH')
    expect(await ask(server, { authorities: [crossed.fingerprint] }, [oldRoot])).toBe('200')
  })

  test('is refused where neither is trusted, though its PEM is pinned', async () => {
    await serve(leaf, chain)
    for (const [, policy] of everyForm(newRoot)) expect(await ask(server, policy, [createAuthority()])).toMatch(/^(SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_GET_ISSUER_CERT(_LOCALLY)?)$/)
    expect(server.requests).toEqual([])
  })
})

/*
 *  Root (trusted, for localhost, example.com and loopback addresses)
 *    └─ [Issuing CA, not for secret.localhost]
 *         └─ [leaf for localhost, 127.0.0.1 and ::1]
 */
test('a chain whose name constraints are met is accepted, in every form', async () => {
  const root = createAuthority({ name: 'Root', nameConstraints: { permitted: ['localhost', 'example.com', '127.0.0.0/8', '::1/128'] } })
  const issuing = root.issueAuthority({ name: 'Issuing CA', nameConstraints: { excluded: ['secret.localhost'], critical: false } })
  await serve(issuing.issue(), [issuing])
  for (const pinned of [root, issuing]) {
    for (const [form, policy] of everyForm(pinned)) expect([form, await ask(server, policy, [root])]).toEqual([form, '200'])
  }
})

test('names that differ in case, in white space or in how they are encoded are the same name', async () => {
  const spellings: Array<[string, 'utf8' | 'printable' | 'bmp' | 'teletex']> = [['ACME Root CA', 'utf8'], ['acme root ca', 'printable'], [' ACME  Root\tCA ', 'utf8'], ['ACME Root CA', 'bmp'], ['ACME\nRoot CA', 'teletex']]
  for (const [name, encoding] of spellings) {
    const root = createAuthority({ subject: [['CN', 'ACME Root CA', 'utf8']] })
    const alias = createAuthority({ subject: [['CN', name, encoding]] })
    const leaf = root.issue({ issuerNameOf: alias, authorityKeyId: root.subjectKeyId ?? null })
    server = await startServer({ certificate: leaf, chain: [] })
    for (const [form, policy] of everyForm(root)) expect([name, encoding, form, await ask(server, policy, [root])]).toEqual([name, encoding, form, '200'])
    await server.close()
  }
})
