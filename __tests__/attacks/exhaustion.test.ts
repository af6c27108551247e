import { performance } from 'node:perf_hooks'
import type { HostPolicy } from '../../lib/index.js'
import { PeerRecords } from '../../lib/verify/records.js'
import { ask, expectNothing, pinForms, testAttack } from '../support/attack.js'
import { createAuthority } from '../support/pki.js'
import type { Authority, IssuedCertificate } from '../support/pki.js'
import { startServer } from '../support/servers.js'

/*
 * Chains that make a search for a path take long. The client must give up soon, and giving up must mean a refusal.
 */

const pinned = createAuthority({ name: 'Pinned Root' })
const attacker = createAuthority({ name: 'Attacker Root' })
const onlyOpenssl = { nameConstraints: { excluded: ['email:nobody.test'] } }

/*
 *  as OpenSSL sees it                   as a depth-first search sees it
 *  Attacker Root                        [Twin] ─ [Twin] ─ [Twin] ─ … each issued by every other one:
 *    └─ [Twin, by Attacker Root]        same name, same key, so every signature holds; 8! paths to try
 *         └─ [leaf]
 */
function twins(count: number): Served {
  const first = createAuthority({ name: 'Twin' })
  const others = Array.from({ length: count }, () => first.issueAuthority({ subjectNameOf: first, key: first.key }))
  return { leaf: first.issue(), served: [attacker.crossSign(first, onlyOpenssl), ...others] }
}

/*
 *  Attacker Root                        [Twin] ─ [Other Twin] ─ [Twin] ─ [Other Twin] ─ …
 *    └─ [Twin, by Attacker Root]        each certified by the other, again and again; (n/2)!² paths to try
 *         └─ [leaf]
 */
function loops(count: number): Served {
  const [first, second] = [createAuthority({ name: 'Twin' }), createAuthority({ name: 'Other Twin' })]
  const others = Array.from({ length: count }, (_, i) => i % 2 === 0 ? second.crossSign(first) : first.crossSign(second))
  return { leaf: first.issue(), served: [attacker.crossSign(first, onlyOpenssl), ...others] }
}

interface Served { leaf: IssuedCertificate, served: Authority[] }

test.each([
  ['8 certificates of the same name and key', twins(8)],
  ['30 certificates of the same name and key', twins(30)],
  ['12 certificates of two CAs that have certified each other', loops(12)],
  ['30 certificates of two CAs that have certified each other', loops(30)]
])('%s are refused about as quickly as a genuine chain is accepted', async (_name, { leaf, served }) => {
  const genuineServer = await startServer({ certificate: pinned.issueAuthority().issue() })
  const server = await startServer({ certificate: leaf, chain: served })
  for (const policy of Object.values(pinForms({ pinned, attacker, leaf }))) {
    const genuine = await time(async () => { expect(await ask(genuineServer, { pins: [pinned.pin] }, [pinned, attacker])).toBe('200') })
    const refused = await time(async () => { expect(await ask(server, policy, [pinned, attacker])).toMatch(/^(ERR_PIN_(MISMATCH|CHAIN_UNVERIFIED)|UNABLE_TO_GET_ISSUER_CERT(_LOCALLY)?)$/) })
    // Without a budget the search takes seconds at least, which is a ratio of several hundred.
    expect(refused / genuine).toBeLessThan(40)
  }
  await expectNothing(server)
  await Promise.all([server.close(), genuineServer.close()])
})

/*
 *  Attacker Root                        [Pinned Root]
 *    └─ [CA 1]
 *         └─ [CA 2] … [CA 11]           longer than our own builder follows a chain, so it cannot tell what is in it
 *              └─ [leaf]
 */
{
  const chain = [attacker]
  for (let i = 1; i <= 11; i++) chain.unshift((chain[0] as Authority).issueAuthority({ name: `CA ${i}` }))
  testAttack('a chain of 13 certificates', {
    pinned,
    attacker,
    leaf: (chain[0] as Authority).issue(),
    served: [...chain.slice(0, -1), pinned],
    fools: ['issuerCertificate'],
    refusal: /^(ERR_PIN_CHAIN_UNVERIFIED|UNABLE_TO_GET_ISSUER_CERT(_LOCALLY)?)$/
  })
}

test('a genuine chain of ten certificates is accepted, and one of eleven is refused where the client itself builds it', async () => {
  const chain: Authority[] = [pinned]
  for (let i = 0; i < 9; i++) chain.push((chain.at(-1) as Authority).issueAuthority())
  for (const [length, code] of [[10, '200'], [11, 'ERR_PIN_CHAIN_UNVERIFIED']] as const) {
    const server = await startServer({ certificate: (chain[length - 2] as Authority).issue() })
    expect(await ask(server, { pins: [pinned.pin] }, [pinned])).toBe(code)
    // OpenSSL decides here, and has no such limit.
    expect(await ask(server, { authorities: [pinned.pem] }, [pinned])).toBe('200')
    await server.close()
  }
})

test('a peer is remembered for long only once it is accepted: certificates of 50 kB cost nothing to make', async () => {
  const accept = jest.spyOn(PeerRecords.prototype, 'accept')
  for (const [certificate, policy, outcome, times] of [
    [attacker.issue({ subject: [['2.5.4.13', 'x'.repeat(50_000)]] }), { pins: [pinned.pin] }, 'ERR_PIN_MISMATCH', 0],
    [createAuthority().issue(), { authorities: [pinned.pem] }, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 0],
    [pinned.issue(), { authorities: [pinned.pem] }, '200', 1]
  ] as const) {
    const server = await startServer({ certificate })
    expect(await ask(server, policy as HostPolicy, [pinned, attacker])).toBe(outcome)
    expect(accept).toHaveBeenCalledTimes(times)
    await server.close()
  }
  accept.mockRestore()
})

/** The shortest of three runs, in milliseconds. */
async function time(run: () => Promise<unknown>): Promise<number> {
  const times: number[] = []
  for (let i = 0; i < 3; i++) {
    const start = performance.now()
    await run()
    times.push(performance.now() - start)
  }
  return Math.min(...times)
}
