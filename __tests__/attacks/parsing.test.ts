import { createHash } from 'node:crypto'
import { createPinningAgent } from '../../lib/index.js'
import { ask, expectNothing, testAttack } from '../support/attack.js'
import { createAuthority, distinguishedName, generateKey, indefiniteLength, paddedLength } from '../support/pki.js'
import type { IssuedCertificate } from '../support/pki.js'
import { send } from '../support/clients.js'
import { startServer } from '../support/servers.js'

/*
 * Certificates in which two parsers see two things. OpenSSL reads BER's indefinite lengths, and what it reads is what
 * the handshake uses; so a pin must never be taken from the bytes by another parser.
 */

const pinned = createAuthority({ name: 'Pinned Root' })
const attacker = createAuthority({ name: 'Attacker Root' })
/** Our own builder links strict DER only; where OpenSSL decides alone, its own reason comes up. */
const unverified = /^(ERR_PIN_(MISMATCH|CHAIN_UNVERIFIED)|UNABLE_TO_GET_ISSUER_CERT(_LOCALLY)?|UNABLE_TO_VERIFY_LEAF_SIGNATURE)$/

/*
 *  the bytes                          OpenSSL reads              a lenient walker reads
 *  subject: 30 80                     subject: CN=…              subject: CN=…
 *    … 14 nn                            one long string            ends at the first 00 00
 *      00 00                                                     …
 *      30 59 … the pinned key                                    key: the pinned one
 *    00 00
 *  key: 30 59 … the attacker's key    key: the attacker's        (extensions, ignored)
 */
const ambiguousName = indefiniteLength(distinguishedName([['CN', Buffer.concat([Buffer.from('x\0\0'), pinned.spki]), 'teletex']]))

test('a lenient walker takes the pinned key for that of the ambiguous certificate', () => {
  const leaf = attacker.issue({ rawSubject: ambiguousName })
  expect(pinByWalking(pinned)).toBe(pinned.pin)
  expect(pinByWalking(leaf)).toBe(pinned.pin)
  expect(leaf.pin).not.toBe(pinned.pin)
})

testAttack('the leaf shows the pinned key to a lenient parser', {
  pinned,
  attacker,
  leaf: attacker.issue({ rawSubject: ambiguousName }),
  served: [],
  fools: [],
  refusal: unverified
})

/*
 *  Attacker Root
 *    └─ [CA that shows the pinned key to a lenient parser]
 *         └─ [leaf]
 */
{
  const ambiguous = attacker.issueAuthority({ rawSubject: ambiguousName })
  testAttack('an intermediate shows the pinned key to a lenient parser', {
    pinned,
    attacker,
    leaf: ambiguous.issue(),
    served: [ambiguous],
    fools: [],
    refusal: unverified
  })
}

describe.each([['indefinite', indefiniteLength], ['longer than needed', paddedLength]] as const)('a key whose SubjectPublicKeyInfo has a length that is %s', (_name, rewrite) => {
  const leaf = attacker.issue({ spki: rewrite })

  test('has the pin of the key that OpenSSL uses, and no other', async () => {
    const server = await startServer({ certificate: leaf })
    const ofBytes = leaf.pin
    const ofKey = `sha256/${createHash('sha256').update(leaf.key.publicKey.export({ type: 'spki', format: 'der' })).digest('base64')}`
    expect(ofBytes).not.toBe(ofKey)
    expect(await ask(server, { publicKeys: [ofBytes] }, [attacker])).toBe('ERR_PIN_MISMATCH')
    await expectNothing(server)
    expect(await ask(server, { publicKeys: [ofKey] }, [attacker])).toBe('200')
    await server.close()
  })
})

/*
 *  Attacker Root     [Pinned Root]     [a certificate on secp256k1, on which Node 24 and 26 crash]
 *    └─ [leaf]
 *
 * (No naive client here: on those versions it would take the test process with it.)
 */
test.each(['secp256k1', 'brainpoolP256r1'] as const)('junk on %s neither crashes the client nor gets a request', async (curve) => {
  const junk = createAuthority({ subjectNameOf: attacker, subjectKeyId: attacker.subjectKeyId ?? null, issuerNameOf: pinned, key: generateKey(curve) })
  const server = await startServer({ certificate: attacker.issue(), chain: [junk, pinned] })
  for (const policy of [{ authorities: [pinned.pem] }, { pins: [pinned.pin] }]) {
    const agent = createPinningAgent({ pins: { localhost: policy }, tls: { ca: [pinned.pem, attacker.pem] } })
    expect((await send(agent, server.port)).code).toBe('ERR_PIN_MISMATCH')
    agent.destroy()
  }
  await expectNothing(server)
  await server.close()
})

/** The SPKI pin as a hand-written walker finds it: it takes an indefinite length to end at the first two zero octets. */
function pinByWalking(certificate: IssuedCertificate): string {
  const [toBeSigned] = walk(walk(certificate.der)[0]?.content ?? Buffer.alloc(0))
  const fields = walk(toBeSigned?.content ?? Buffer.alloc(0))
  return `sha256/${createHash('sha256').update(fields[6]?.raw ?? '').digest('base64')}`
}

function walk(bytes: Buffer): Array<{ content: Buffer, raw: Buffer }> {
  const values: Array<{ content: Buffer, raw: Buffer }> = []
  for (let offset = 0; offset + 2 <= bytes.length;) {
    const first = bytes.readUInt8(offset + 1)
    const count = first > 0x80 ? first & 0x7f : 0
    const start = offset + 2 + count
    const zeros = bytes.indexOf(Buffer.from([0, 0]), start)
    const length = first === 0x80 ? zeros - start : count ? bytes.readUIntBE(offset + 2, count) : first
    const end = start + length + (first === 0x80 ? 2 : 0)
    values.push({ content: bytes.subarray(start, start + length), raw: bytes.subarray(offset, end) })
    offset = end
  }
  return values
}
