import { createHmac, createPublicKey, generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { UpdateRejectedError } from '../../lib/errors.js'
import { defaultMaxBytes, maxHosts, signManifest, verifyManifest } from '../../lib/update/manifest.js'
import type { Expectations, PinSet } from '../../lib/update/manifest.js'
import { pinSetSchema } from '../../lib/update/schema.js'
import { PolicySet } from '../../lib/policy/policy-set.js'
import { policiesOf } from '../../lib/update/set-policies.js'
import { pinSetType } from '../../lib/update/signatures.js'
import { SigningTrust } from '../../lib/update/trust.js'
import { by, compact, forge, fuzzPinSets, signedBy } from '../support/forged-pin-sets.js'
import { createSigner, iso, pinSet, sign, strayPin } from '../support/pin-sets.js'
import type { Signer } from '../support/pin-sets.js'

const now = Date.parse('2026-06-01T12:00:00Z')
const [alice, bob, mallory] = [createSigner(), createSigner('p256'), createSigner()]
const trust = SigningTrust.of([alice.publicKey, bob.publicKey])
const kept = { version: 7, hash: 'something else' }
const payload = pinSet({ version: 8 }, now)

async function verify(text: string, changes: Partial<Expectations> = {}): Promise<PinSet> {
  return await verifyManifest(text, { trust, audience: 'test', now, kept, ...changes })
}

async function refusal(text: string, changes: Partial<Expectations> = {}): Promise<UpdateRejectedError> {
  return await verify(text, changes).then(
    () => { throw new Error('it was accepted') },
    (error: UpdateRejectedError) => error
  )
}

/** The payload's text itself, signed by a trusted key. */
const signedText = (text: string | Buffer, signer: Signer = alice): string => signedBy(signer, text)

describe('a good set', () => {
  test('is accepted, and says what it holds', async () => {
    const set = await verify(await sign({ ...payload, refreshMs: 60_000, revoked: { pins: [strayPin] } }, alice))
    expect(set).toMatchObject({ version: 8, audience: 'test', refreshMs: 60_000, pins: payload.pins, revokedPins: [strayPin], changesTrust: false })
    expect([set.issued, set.expires]).toEqual([new Date(payload.issued), new Date(payload.expires)])
  })

  test.each([['Ed25519', alice], ['P-256', bob]])('signed with %s', async (_name, signer) => {
    expect((await verify(await sign(payload, signer))).version).toBe(8)
  })

  test.each(['ml-dsa-44', 'ml-dsa-65'] as const)('signed with %s, where this Node knows it', async (kind) => {
    const known = Number(process.versions.node.split('.')[0]) >= 24
    if (!known) {
      expect(() => createSigner(kind)).toThrow('key type')
      return
    }
    const signer = createSigner(kind)
    const only = SigningTrust.of([signer.jwk])
    expect((await verify(await sign(payload, signer), { trust: only })).version).toBe(8)
    expect((await refusal(await sign(payload, signer))).reason).toBe('unknown-key')
  })

  test('as compact, flattened or general JWS, and with white space around it', async () => {
    const forged = forge({ alg: 'EdDSA', kid: alice.id, typ: pinSetType }, JSON.stringify(payload), by(alice))
    const general = JSON.stringify({ payload: forged.payload, signatures: [{ protected: forged.protected, signature: forged.signature }] })
    for (const text of [compact(forged), JSON.stringify(forged), general, `\n ${general}\n`]) expect((await verify(text)).version).toBe(8)
  })

  test('with the name that RFC 9864 gives EdDSA', async () => {
    expect((await verify(compact(forge({ alg: 'Ed25519', kid: alice.id, typ: pinSetType }, JSON.stringify(payload), by(alice))))).version).toBe(8)
  })

  test('of the version that is kept, with the same content, however it is signed', async () => {
    const first = await verify(await sign(payload, alice))
    expect((await verify(await sign(payload, bob), { kept: first })).hash).toBe(first.hash)
  })

  test('issued a little in the future: the clocks of publisher and client may be five minutes apart', async () => {
    expect((await verify(await sign({ ...payload, issued: iso(now + 299_000) }, alice))).version).toBe(8)
  })

  test('with a signature of a stranger beside a trusted one: it is there for other clients', async () => {
    expect((await verify(await sign(payload, mallory, alice))).version).toBe(8)
  })
})

describe('an attack', () => {
  // Each of them by name, with its own reason, its own words, and the old set kept.
  const attacks: Array<[string, () => string | Promise<string>, string, RegExp, Partial<Expectations>?]> = [
    ['a changed byte in the payload', async () => {
      const jws = JSON.parse(await sign(payload, alice)) as { payload: string }
      return JSON.stringify({ ...jws, payload: Buffer.from(JSON.stringify({ ...payload, version: 9 })).toString('base64url') })
    }, 'signature', /signature 1, of key .* is wrong/],
    ["the signature of another set", async () => {
      const [a, b] = [JSON.parse(await sign(payload, alice)), JSON.parse(await sign({ ...payload, version: 9 }, alice))] as Array<{ payload: string; signatures: unknown }>
      return JSON.stringify({ payload: a?.payload, signatures: b?.signatures })
    }, 'signature', /is wrong/],
    ["the attacker's own key", () => sign(payload, mallory), 'unknown-key', new RegExp(`signed by ${mallory.id}, and trusted are`)],
    ["the attacker's key under a trusted key's name", () => compact(forge({ alg: 'EdDSA', kid: alice.id, typ: pinSetType }, JSON.stringify(payload), by(mallory))), 'signature', /is wrong/],
    ["the attacker's key brought along in the header (jwk)", () => compact(forge({ alg: 'EdDSA', kid: mallory.id, typ: pinSetType, jwk: mallory.jwk }, JSON.stringify(payload), by(mallory))), 'malformed', /other members/],
    ['a header that names where to fetch the key (jku)', () => compact(forge({ alg: 'EdDSA', kid: alice.id, typ: pinSetType, jku: 'https://evil.example' }, JSON.stringify(payload), by(mallory))), 'malformed', /other members/],
    ['a header without a key', () => compact(forge({ alg: 'EdDSA', typ: pinSetType }, JSON.stringify(payload), by(alice))), 'unknown-key', /names no key/],
    ['alg: none', () => compact(forge({ alg: 'none', kid: alice.id, typ: pinSetType }, JSON.stringify(payload), () => '')), 'algorithm', /"none", which proves nothing/],
    ['alg: NoNe, of an unknown key', () => compact(forge({ alg: 'NoNe', kid: 'x', typ: pinSetType }, JSON.stringify(payload), () => 'AA')), 'algorithm', /proves nothing/],
    ['HMAC with the public key as the secret (key confusion)', () => compact(forge({ alg: 'HS256', kid: alice.id, typ: pinSetType }, JSON.stringify(payload), (input) => createHmac('sha256', alice.publicKey.export({ type: 'spki', format: 'pem' })).update(input).digest('base64url'))), 'algorithm', /"HS256", which proves nothing/],
    ['another algorithm than the key is for', () => compact(forge({ alg: 'ES256', kid: alice.id, typ: pinSetType }, JSON.stringify(payload), by(alice))), 'algorithm', /claims the algorithm "ES256", and its key .* is for EdDSA/],
    ['no algorithm', () => compact(forge({ kid: alice.id, typ: pinSetType }, JSON.stringify(payload), by(alice))), 'algorithm', /names no algorithm/],
    ['a signature that the same key made for another purpose', () => compact(forge({ alg: 'EdDSA', kid: alice.id, typ: 'JWT' }, JSON.stringify(payload), by(alice))), 'malformed', /not for a pin set/],
    ['an unprotected header', () => {
      const { payload: body, protected: header, signature } = forge({ alg: 'EdDSA', kid: alice.id, typ: pinSetType }, JSON.stringify(payload), by(alice))
      return JSON.stringify({ payload: body, signatures: [{ protected: header, signature, header: { alg: 'none' } }] })
    }, 'malformed', /other members than protected and signature/],
    ['an unencoded payload (b64: false)', () => compact(forge({ alg: 'EdDSA', kid: alice.id, typ: pinSetType, b64: false, crit: ['b64'] }, JSON.stringify(payload), by(alice))), 'malformed', /other members/],
    ['one signature where two keys must have signed', () => sign(payload, alice), 'threshold', /1 of 2 trusted signatures/, { trust: SigningTrust.of([alice.publicKey, bob.publicKey], 2) }],
    ['the same signature twice where two keys must have signed', async () => {
      const jws = JSON.parse(await sign(payload, alice)) as { payload: string; signatures: unknown[] }
      return JSON.stringify({ payload: jws.payload, signatures: [...jws.signatures, ...jws.signatures] })
    }, 'threshold', /1 of 2/, { trust: SigningTrust.of([alice.publicKey, bob.publicKey], 2) }],
    ['a wrong signature of a trusted key beside a good one', async () => {
      const [a, b] = [JSON.parse(await sign(payload, alice)), JSON.parse(await sign({ ...payload, version: 9 }, bob))] as Array<{ payload: string; signatures: unknown[] }>
      return JSON.stringify({ payload: a?.payload, signatures: [...(a?.signatures ?? []), ...(b?.signatures ?? [])] })
    }, 'signature', /signature 2/],
    ['more signatures than anybody makes', async () => {
      const jws = JSON.parse(await sign(payload, alice)) as { payload: string; signatures: unknown[] }
      return JSON.stringify({ payload: jws.payload, signatures: Array.from({ length: 17 }, () => jws.signatures[0]) })
    }, 'malformed', /17 signatures/],
    ['an older set (rollback)', () => sign({ ...payload, version: 6 }, alice), 'rollback', /version 6 is lower than 7/],
    ['another set under the same version', () => sign({ ...payload, version: 7 }, alice), 'other-content', /version 7 has been seen with other content/],
    ['a set that has expired (freeze)', () => sign({ ...payload, issued: iso(now - 20_000), expires: iso(now) }, alice), 'expired', /it expired at/],
    ['a set from the future', () => sign({ ...payload, issued: iso(now + 301_000) }, alice), 'from-the-future', /it was issued at/],
    ['a set that expires before it is issued', () => sign({ ...payload, expires: payload.issued }, alice), 'malformed', /expires before it is issued/],
    ['a day that does not exist', () => sign({ ...payload, expires: '2027-02-30T00:00:00Z' }, alice), 'malformed', /calendar/],
    ['a set for other clients', () => sign({ ...payload, audience: 'tset' }, alice), 'audience', /it is for "tset", and this is "test"/],
    ['more than 1 MiB', async () => `${await sign(payload, alice)}${' '.repeat(defaultMaxBytes)}`, 'too-large', /larger than 1048576 bytes/],
    ['more than 1 MiB in few characters', () => '€'.repeat(defaultMaxBytes / 2), 'too-large', /larger/],
    ['more than 100,000 hosts', () => signedText(JSON.stringify({ ...payload, pins: Object.fromEntries(Array.from({ length: maxHosts + 1 }, (_, index) => [`h${index}`, []])) })), 'too-many-hosts', /more than 100000 hosts/, { maxBytes: 10_000_000 }],
    ['a JSON key twice: two readers, two documents', () => signedText(JSON.stringify(payload).replace('"version":8', '"version":9,"version":8')), 'duplicate-key', /"version" twice/],
    ['a JSON key twice, once in disguise', () => signedText(JSON.stringify(payload).replace('"version":8', '"versio\\u006e" : 9,"version":8')), 'duplicate-key', /"version" twice/],
    ['a host twice', () => signedText(JSON.stringify({ ...payload, pins: { a: [strayPin], b: [strayPin] } }).replace('"b":', '"a":')), 'duplicate-key', /"a" twice/],
    ['a JSON key twice in the envelope', async () => (await sign(payload, alice)).replace('{"payload"', '{"payload":"AAAA","payload"'), 'duplicate-key', /"payload" twice/],
    ['a JSON key twice in a header', () => compact(forge(`{"alg":"none","alg":"EdDSA","kid":"${alice.id}","typ":"${pinSetType}"}`, JSON.stringify(payload), by(alice))), 'duplicate-key', /"alg" twice/],
    ['deep nesting in the payload', () => signedText(`{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`), 'too-deep', /deeper than 6 levels/],
    ['deep nesting in the envelope, before anything is signed', () => `{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 'too-deep', /deeper than 4 levels/],
    ['a member that the schema does not have', () => signedText(JSON.stringify({ ...payload, mode: 'off' })), 'malformed', /not of the schema.*"mode"/],
    ["a host's member that would lower safety", () => signedText(JSON.stringify({ ...payload, pins: { 'api.example.com': { pins: [strayPin], mode: 'off' } } })), 'malformed', /pins\["api.example.com"\].*not of the schema/],
    ['__proto__ as a member', () => signedText(JSON.stringify(payload).replace('{', '{"__proto__":{"audience":"test"},')), 'malformed', /__proto__/],
    ['a version that is no whole number', () => signedText(JSON.stringify({ ...payload, version: 8.5 })), 'malformed', /\/version must be integer/],
    ['a version beyond what a number holds', () => signedText(JSON.stringify(payload).replace('"version":8', '"version":9007199254740993')), 'malformed', /\/version/],
    ['no hosts', () => signedText(JSON.stringify({ ...payload, pins: {} })), 'malformed', /not of the schema/],
    ['a payload that is no object', () => signedText('[]'), 'malformed', /not of the schema/],
    ['a payload that is no JSON', () => signedText('{"version":8,}'), 'malformed', /not JSON/],
    ['a payload that is not UTF-8', () => signedText(Buffer.from([0x22, 0xff, 0x22])), 'malformed', /not UTF-8/],
    ['base64 with characters that readers pass over', async () => {
      const jws = JSON.parse(await sign(payload, alice)) as { payload: string }
      return JSON.stringify({ ...jws, payload: `${jws.payload}!` })
    }, 'malformed', /payload is not base64url/],
    ['a text that is no JWS', () => '<html>404</html>', 'malformed', /not a JWS/],
    ['nothing', () => '', 'malformed', /not a JWS/],
    ['signing keys that leave too few', () => sign({ ...payload, revoked: { keys: [alice.id, bob.id] } }, alice), 'signing-keys', /would leave 0/],
    ['a signing key that is a secret', () => signedText(JSON.stringify({ ...payload, keys: [{ kty: 'oct', k: 'AAAA' }] })), 'malformed', /not of the schema/],
    ['a private key among the signing keys', () => signedText(JSON.stringify({ ...payload, keys: [mallory.privateKey.export({ format: 'jwk' })] })), 'malformed', /not of the schema/],
    ['a signing key that is none', () => signedText(JSON.stringify({ ...payload, keys: [{ kty: 'EC', crv: 'P-256', x: 'A'.repeat(43), y: 'A'.repeat(43) }] })), 'signing-keys', /cannot use the key/]
  ]

  test.each(attacks)('%s', async (_name, text, reason, message, changes = {}) => {
    const error = await refusal(await text(), changes)
    expect([error.code, error.reason, error.keptVersion]).toEqual(['ERR_PIN_UPDATE_REJECTED', reason, 7])
    expect(error.message).toMatch(message)
    expect(error.message).toMatch(/Version 7 is kept\.$/)
  })

  test('every refusal has words of its own', () => {
    const reasons = new Set(attacks.map(([, , reason]) => reason))
    expect(reasons.size).toBe(15)
  })

  test('on the bootstrap pins is refused in the same way', async () => {
    const error = await refusal(await sign(payload, mallory), { kept: undefined })
    expect([error.reason, error.keptVersion]).toEqual(['unknown-key', undefined])
    expect(error.message).toMatch(/What was in force stays\.$/)
  })

  test('a payload is not even read before its signature holds', async () => {
    // Where it were read first, the reason would be another one.
    const error = await refusal(compact(forge({ alg: 'EdDSA', kid: alice.id, typ: pinSetType }, '{"a":1,"a":2}', by(mallory))))
    expect(error.reason).toBe('signature')
  })
})

describe('signing keys rotate', () => {
  test('a set signed by the old key names the new one, and later sets may be signed by either', async () => {
    const only = SigningTrust.of([alice.publicKey])
    const set = await verify(await sign({ ...payload, keys: [bob.jwk] }, alice), { trust: only })
    expect(set.changesTrust).toBe(true)
    expect((await verify(await sign(payload, bob), { trust: set.trust })).version).toBe(8)
    expect((await verify(await sign(payload, alice), { trust: set.trust })).version).toBe(8)
    expect((await refusal(await sign(payload, bob), { trust: only })).reason).toBe('unknown-key')
  })

  test('a revoked key is trusted no more, not even when a later set names it again', async () => {
    const next = (await verify(await sign({ ...payload, revoked: { keys: [alice.id] } }, bob))).trust
    const error = await refusal(await sign(payload, alice), { trust: next })
    expect([error.reason, error.message]).toEqual(['unknown-key', expect.stringContaining(`${alice.id} (revoked)`)])
    const again = (await verify(await sign({ ...payload, keys: [alice.jwk] }, bob), { trust: next })).trust
    expect((await refusal(await sign(payload, alice), { trust: again })).reason).toBe('unknown-key')
  })

  test('a set that names the keys that are trusted anyway changes nothing', async () => {
    const set = await verify(await sign({ ...payload, keys: [alice.jwk, bob.jwk] }, alice))
    expect([set.changesTrust, set.trust === trust]).toEqual([false, true])
  })

  test('a key of an algorithm that this Node does not know is left out, not refused', async () => {
    const strange = { kty: 'AKP', alg: 'ML-DSA-44', pub: Buffer.alloc(1312).toString('base64url') }
    const set = await verify(await sign({ ...payload, keys: [strange, bob.jwk] }, alice))
    const known = Number(process.versions.node.split('.')[0]) >= 24
    expect(set.trust.keys.size).toBe(known ? 3 : 2)
  })

  test.each([
    ['a private key', () => mallory.privateKey, /private key, which must never be here/],
    ['the PEM of a private key', () => String(mallory.privateKey.export({ type: 'pkcs8', format: 'pem' })), /private key, which must never be here/],
    ['the JWK of a private key', () => mallory.privateKey.export({ format: 'jwk' }), /private key, which must never be here/],
    ['an RSA key', () => generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey, /for rsa; right would be Ed25519/],
    ['a P-384 key', () => generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey, /for secp384r1/],
    ['a text', () => 'MCowBQYDK2VwAyEA', /not a PEM public key/],
    ['a number', () => 3, /must be a key, not a number/]
  ])('%s is not taken for one', (_name, key, message) => {
    const thrown = (): unknown => SigningTrust.of([key() as KeyObject])
    expect(thrown).toThrow(message)
    const text = mallory.privateKey.export({ format: 'jwk' }).d as string
    expect(thrown).not.toThrow(text)
  })

  test('a threshold that can never be reached, and keys given twice, are errors', () => {
    expect(() => SigningTrust.of([alice.publicKey], 2)).toThrow(/threshold: must be a whole number from 1 to the number of trusted keys \(1\)/)
    expect(() => SigningTrust.of([alice.publicKey, alice.jwk], 2)).toThrow(/same key twice/)
    expect(() => SigningTrust.of([])).toThrow(/not an empty one/)
    expect(SigningTrust.of([String(alice.publicKey.export({ type: 'spki', format: 'pem' }))]).keys.has(alice.id)).toBe(true)
    expect(createPublicKey({ key: alice.jwk, format: 'jwk' }).equals(alice.publicKey)).toBe(true)
  })
})

describe('the pins of a set', () => {
  const requirements = { options: {}, url: new URL('https://pins.example.com/set'), keptVersion: 7, pause: () => Promise.resolve() }
  const policies = async (pins: Record<string, unknown>, changes: object = {}, more: object = {}) => await policiesOf(await verify(signedText(JSON.stringify({ ...payload, pins, ...more }))), { ...requirements, ...changes })

  test('become policies', async () => {
    const set = await policies({ 'pins.example.com': [strayPin], '*.example.com': { publicKeys: [strayPin], expires: '2027-01-01T00:00:00Z' } })
    expect([set.size, set.find('pins.example.com', 443)?.pattern, set.find('x.example.com', 443)?.expiresAt]).toEqual([2, 'pins.example.com', Date.parse('2027-01-01')])
  })

  test('are enforced as strictly as the program says', async () => {
    const options = { pins: { 'Self.example.com': { trust: 'pin-only' as const, mode: 'report-only' as const, certificates: ['irrelevant'] } } }
    const set = await policies({ 'pins.example.com': [strayPin], 'self.example.com': { publicKeys: [strayPin] } }, { options })
    const policy = set.find('self.example.com', 443)
    expect([policy?.trust, policy?.mode, [...(policy?.pins.keys() ?? [])]]).toEqual(['pin-only', 'report-only', [strayPin]])
    expect(set.find('pins.example.com', 443)?.mode).toBeUndefined()
  })

  test('are enforced no less where a set names a host by another pattern than the program does', async () => {
    const options = { pins: { '*.example.com': { pins: [strayPin], mode: 'report-only' as const, trust: 'pin-only' as const, onExpiry: 'allow' as const }, 'pay.example.com': { pins: [strayPin], mode: 'enforce' as const }, 'shop.example.com': [strayPin] } }
    const floor = new PolicySet({ ...options }, 1)
    const set = await policies({ '*.example.com': { publicKeys: [strayPin], expires: '2027-01-01T00:00:00Z' }, 'pins.example.com': [strayPin] }, { options, floor })
    const terms = (name: string, overall: 'enforce' | 'report-only'): unknown => {
      const now = set.under({ mode: overall }, 1)
      const policy = now.find(name, 443)
      // The same object each time.
      expect(now.find(name, 443)).toBe(policy)
      return [now.modeOf(policy), policy?.trust, policy?.onExpiry]
    }
    expect([terms('pay.example.com', 'report-only'), terms('pay.example.com', 'enforce')]).toEqual([['enforce', 'pki', 'refuse'], ['enforce', 'pki', 'refuse']])
    expect([terms('shop.example.com', 'report-only'), terms('shop.example.com', 'enforce')]).toEqual([['report-only', 'pki', 'refuse'], ['enforce', 'pki', 'refuse']])
    expect(terms('api.example.com', 'enforce')).toEqual(['report-only', 'pin-only', 'allow'])
    expect(set.under({ mode: 'report-only' }, 1).modes).toContain('enforce')
  })

  test.each([
    ['no pins for the host that the set is fetched from', { 'api.example.com': [strayPin] }, {}, {}, 'source-not-covered', /no pins for pins.example.com/],
    ['only revoked pins for it', { 'pins.example.com': [strayPin] }, {}, { revoked: { pins: [strayPin] } }, 'source-not-covered', /would be the last one/],
    ['a pin that is none', { 'pins.example.com': ['sha1/AAAA'] }, {}, {}, 'pins', /Not a pin/],
    ['a pattern over the hosts of strangers', { '*.com': [strayPin] }, {}, {}, 'pins', /wildcard/],
    ['a URL for a pattern', { 'https://pins.example.com': [strayPin] }, {}, {}, 'pins', /not a URL/],
    ['one host in two spellings', { 'pins.example.com': [strayPin], 'PINS.example.com': [strayPin] }, {}, {}, 'pins', /same hosts/],
    ['a revoked pin that is none', { 'pins.example.com': [strayPin] }, {}, { revoked: { pins: ['x'] } }, 'pins', /Not a pin/],
    ['a single pin where the program demands a backup', { 'pins.example.com': [strayPin] }, { options: { requireBackupPin: true } }, {}, 'pins', /no backup pin/]
  ])('are refused with %s', async (_name, pins, changes, more, reason, message) => {
    const error = await policies(pins, changes, more).catch((thrown: unknown) => thrown as UpdateRejectedError)
    expect([(error as UpdateRejectedError).reason, (error as UpdateRejectedError).keptVersion]).toEqual([reason, 7])
    expect((error as UpdateRejectedError).message).toMatch(message)
  })
})

test('nobody signs what is not of the schema', async () => {
  await expect(signManifest({ ...payload, version: 0 }, [alice.privateKey])).rejects.toThrow(/payload: it is not of the schema: \/version/)
  await expect(signManifest(payload, [])).rejects.toThrow(/no key to sign with/)
  await expect(signManifest(payload, [alice.publicKey])).rejects.toThrow(/must be a private KeyObject/)
})

test('the published schema is the one in use', () => {
  expect(JSON.parse(readFileSync(join(__dirname, '../../schemas/pin-set.schema.json'), 'utf8'))).toEqual(pinSetSchema)
})

// 100,000 inputs in manifest.slow.ts.
test('a signature has one spelling', async () => {
  const forged = forge({ alg: 'EdDSA', kid: alice.id, typ: pinSetType }, JSON.stringify(payload), by(alice))
  const { signature } = forged
  expect((await verify(compact(forged))).version).toBe(8)
  for (const other of [`\t${signature}`, `${signature.slice(0, 9)} ${signature.slice(9)}`, `${signature}=`, `${signature}==`, `!${signature}`]) {
    expect((await refusal(compact({ ...forged, signature: other }))).reason).toBe('signature')
  }
})

test('no input crashes the verification, and none is accepted that was not signed', async () => {
  await fuzzPinSets(300)
})
