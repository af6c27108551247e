import { createPinningAgent } from '../../lib/index.js'
import { ask, authorityForms, expectNothing, testAttack } from '../support/attack.js'
import { send } from '../support/clients.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startServer } from '../support/servers.js'
import type { TestServer } from '../support/servers.js'

/*
 * `authorities` means an issuing CA in the verified chain and never the leaf: whoever has a CA's key in a server, or a
 * server's certificate among the trusted ones, has not thereby been vouched for.
 */

const pinned = createAuthority({ name: 'Pinned Root' })
const attacker = createAuthority({ name: 'Attacker Root' })

/*
 *  Attacker Root
 *    └─ [leaf that is a CA certificate]     [Pinned Root]
 */
testAttack('the leaf is itself a CA certificate', {
  pinned,
  attacker,
  leaf: attacker.issueAuthority({ names: ['localhost'] }),
  served: [pinned],
  fools: ['issuerCertificate']
})

describe('a server that presents', () => {
  const issuing = pinned.issueAuthority({ name: 'Issuing CA', names: ['localhost'] })
  const selfSigned = createAuthority({ name: 'localhost', names: ['localhost'] })
  const appliance = createSelfSigned()
  const backup = createSelfSigned()
  const trusted = [pinned, attacker, selfSigned, appliance]

  /*
   *  Pinned Root (trusted)                   what is pinned
   *    └─ [Issuing CA, as the leaf]          Issuing CA
   */
  const cases = {
    'the pinned CA\'s own certificate': { leaf: issuing, pinned: issuing },
    /*
     *  Attacker Root (trusted)               what is pinned
     *    └─ [leaf with Issuing CA's key]     Issuing CA
     */
    "the pinned CA's own key, certified by another CA": { leaf: attacker.issue({ key: issuing.key }), pinned: issuing },
    /*
     *  [localhost, a self-signed CA certificate, trusted and pinned, as the leaf]
     */
    'the pinned root itself': { leaf: selfSigned, pinned: selfSigned }
  }

  describe.each(Object.entries(cases))('%s', (_name, { leaf, pinned: authority }) => {
    let server: TestServer
    beforeAll(async () => {
      server = await startServer({ certificate: leaf, chain: [] })
    })
    afterAll(() => server.close())

    test.each(Object.entries(authorityForms(authority)))('is refused: %s', async (_form, policy) => {
      expect(await ask(server, policy, trusted)).toBe('ERR_PIN_MISMATCH')
      expect(await ask(server, { ...policy, publicKeys: [backup.pin] }, trusted)).toBe('ERR_PIN_MISMATCH')
      await expectNothing(server)
    })
  })

  test.each(Object.entries(cases))('%s is accepted where the pin may be any certificate of the chain, the leaf included', async (_name, { leaf, pinned: authority }) => {
    const server = await startServer({ certificate: leaf, chain: [] })
    expect(await ask(server, { pins: [authority.pin] }, trusted)).toBe('200')
    await server.close()
  })

  test('a certificate that is trusted, pinned as an authority, and no CA is refused', async () => {
    const server = await startServer({ certificate: appliance, chain: [] })
    for (const authorities of [[appliance.fingerprint], [appliance.pin]]) expect(await ask(server, { authorities }, trusted)).toBe('ERR_PIN_MISMATCH')
    await expectNothing(server)
    expect(await ask(server, { certificates: [appliance.fingerprint] }, trusted)).toBe('200')
    await server.close()
  })

  test('the PEM of what is no CA is refused as an option', () => {
    expect(() => createPinningAgent({ pins: { localhost: { authorities: [appliance.pem] } } })).toThrow(/not a CA/)
  })
})

test('a CA certificate that the pinned CA has issued may be the leaf', async () => {
  const server = await startServer({ certificate: pinned.issueAuthority({ names: ['localhost'] }), chain: [] })
  for (const policy of Object.values(authorityForms(pinned))) {
    const agent = createPinningAgent({ pins: { localhost: policy }, tls: { ca: pinned.pem } })
    expect(await send(agent, server.port)).toMatchObject({ status: 200 })
    agent.destroy()
  }
  await server.close()
})
