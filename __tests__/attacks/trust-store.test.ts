import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createPinningAgent } from '../../lib/index.js'
import { ask, expectNothing, pinForms, plainAgent } from '../support/attack.js'
import { send } from '../support/clients.js'
import { revocationList } from '../support/crl.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startServer } from '../support/servers.js'

/*
 * Where the pinned CA's certificate is known, OpenSSL is given the pinned CAs as its only trust anchors. Here others get
 * into its store, or the pinned CA is under limits of a CA that OpenSSL then does not look at.
 */

const pinned = createAuthority({ name: 'Pinned Root' })
const attacker = createAuthority({ name: 'Attacker Root' })
const backup = createSelfSigned()

/*
 *  Pinned Root     Company CA (came along in the pfx with the client's certificate)
 *                    ├─ the client's certificate
 *                    └─ [leaf]
 */
test('the CA certificates of a pfx, which Node trusts, do not count as pinned', async () => {
  const company = createAuthority({ name: 'Company CA' })
  const client = company.issue({ extendedKeyUsage: ['clientAuth'] })
  const pfx = pfxOf(client.pem, client.keyPem, company.pem)
  const leaf = company.issue()
  const naiveServer = await startServer({ certificate: leaf })
  const server = await startServer({ certificate: leaf })

  const naive = plainAgent([pinned.pem])
  expect(await send(naive, naiveServer.port, { pfx, passphrase: 'x' })).toMatchObject({ status: 200 })

  for (const policy of Object.values(pinForms({ pinned, attacker: company, leaf }))) {
    const agent = createPinningAgent({ pins: { localhost: policy }, tls: { ca: [pinned.pem, attacker.pem], pfx, passphrase: 'x' } })
    expect((await send(agent, server.port)).code).toMatch(/^ERR_PIN_(MISMATCH|CHAIN_UNVERIFIED)$/)
    agent.destroy()
  }
  await expectNothing(server)

  const genuine = await startServer({ certificate: pinned.issue(), ca: company, requestCert: true })
  const agent = createPinningAgent({ pins: { localhost: { authorities: [pinned.pem] } }, tls: { ca: [pinned.pem, attacker.pem], pfx, passphrase: 'x' } })
  expect(await send(agent, genuine.port)).toMatchObject({ status: 200 })
  agent.destroy()
  await Promise.all([naiveServer.close(), server.close(), genuine.close()])
})

/*
 *  Root (trusted, path length 1)
 *    └─ [Pinned CA, itself without a path length]
 *         └─ [Second CA: the root forbids it]
 *              └─ [leaf]
 */
test("a pinned CA below a root's path length cannot have longer chains than the root allows", async () => {
  const root = createAuthority({ name: 'Root', pathLength: 1 })
  const issuing = root.issueAuthority({ name: 'Pinned CA' })
  const second = issuing.issueAuthority({ name: 'Second CA' })
  const server = await startServer({ certificate: second.issue() })
  for (const policy of [{ authorities: [issuing.pem] }, { authorities: [issuing.pin] }, { authorities: [issuing.pem], publicKeys: [backup.pin] }]) {
    expect(await ask(server, policy, [root])).toBe('PATH_LENGTH_EXCEEDED')
  }
  await expectNothing(server)
  await server.close()

  const allowed = await startServer({ certificate: issuing.issue() })
  expect(await ask(allowed, { authorities: [issuing.pem] }, [root])).toBe('200')
  await allowed.close()
})

/*
 *  Root (trusted, only for other.test)
 *    └─ [Pinned CA]
 *         └─ [leaf for localhost]
 */
test("a pinned CA below a root's name constraints cannot vouch for other names", async () => {
  const root = createAuthority({ name: 'Root', nameConstraints: { permitted: ['other.test'] } })
  const issuing = root.issueAuthority({ name: 'Pinned CA' })
  const server = await startServer({ certificate: issuing.issue() })
  for (const policy of [{ authorities: [issuing.pem] }, { authorities: [issuing.pem], publicKeys: [backup.pin] }]) {
    expect(await ask(server, policy, [root])).not.toBe('200')
  }
  await expectNothing(server)
  await server.close()
})

/*
 *  Root (not trusted)     Attacker Root (trusted)
 *    └─ [Pinned CA]
 *         └─ [leaf]
 */
test('a PEM pin does not make a CA trusted that PKI does not trust', async () => {
  const issuing = pinned.issueAuthority({ name: 'Pinned CA' })
  const server = await startServer({ certificate: issuing.issue() })
  for (const pem of [issuing.pem, pinned.pem]) expect(await ask(server, { authorities: [pem] }, [attacker])).toMatch(/^UNABLE_TO_/)
  await expectNothing(server)
  await server.close()
})

/*
 *  Pinned Root (trusted; its CRL lists the second leaf)
 *    └─ [Issuing CA]
 *         ├─ [leaf]
 *         └─ [leaf, revoked]
 */
test.each(['root', 'issuing'] as const)('with a CRL and the %s CA pinned, a revoked certificate is refused and another accepted', async (which) => {
  const issuing = pinned.issueAuthority({ name: 'Issuing CA' })
  const good = issuing.issue()
  const revoked = issuing.issue()
  const crl = [revocationList(pinned), revocationList(issuing, [revoked])]
  const authority = which === 'root' ? pinned : issuing
  const [goodServer, revokedServer] = await Promise.all([startServer({ certificate: good }), startServer({ certificate: revoked })])
  for (const policy of [{ authorities: [authority.pem] }, { authorities: [authority.pin] }, { pins: [authority.pin] }]) {
    expect(await ask(goodServer, policy, [pinned], { crl })).toBe('200')
    expect(await ask(revokedServer, policy, [pinned], { crl })).toBe('CERT_REVOKED')
  }
  await expectNothing(revokedServer)
  await Promise.all([goodServer.close(), revokedServer.close()])
})

function pfxOf(certificate: string, key: string, ca: string): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'pfx-'))
  try {
    const path = (name: string): string => join(folder, name)
    writeFileSync(path('certificate'), certificate)
    writeFileSync(path('key'), key)
    writeFileSync(path('ca'), ca)
    execFileSync('openssl', ['pkcs12', '-export', '-in', path('certificate'), '-inkey', path('key'), '-certfile', path('ca'), '-out', path('pfx'), '-passout', 'pass:x'])
    return readFileSync(path('pfx'))
  } finally {
    rmSync(folder, { recursive: true })
  }
}
