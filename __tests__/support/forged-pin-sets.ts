import { sign as signBytes } from 'node:crypto'
import fc from 'fast-check'
import type { UpdateRejectedError } from '../../lib/errors.js'
import { verifyManifest } from '../../lib/update/manifest.js'
import { pinSetType } from '../../lib/update/signatures.js'
import { SigningTrust } from '../../lib/update/trust.js'
import { createSigner, pinSet, sign } from './pin-sets.js'
import type { Signer } from './pin-sets.js'

/** Pin sets that no honest publisher would make. */

/** A JWS as an attacker would build it, with whatever header and signature. */
export function forge(header: object | string, body: string | Buffer, signature: (input: string) => string): { payload: string; protected: string; signature: string } {
  const encoded = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header)).toString('base64url')
  const bytes = Buffer.from(body).toString('base64url')
  return { payload: bytes, protected: encoded, signature: signature(`${encoded}.${bytes}`) }
}

export function by({ privateKey }: Signer): (input: string) => string {
  return (input) => signBytes(null, Buffer.from(input), privateKey).toString('base64url')
}

export function compact({ payload: body, protected: header, signature }: ReturnType<typeof forge>): string {
  return `${header}.${body}.${signature}`
}

/** The payload's text itself, signed by a trusted key: for what no honest publisher would write. */
export function signedBy(signer: Signer, text: string | Buffer): string {
  return JSON.stringify(forge({ alg: 'EdDSA', kid: signer.id, typ: pinSetType }, text, by(signer)))
}

/** Shows any number of broken, forged and senseless sets to the verification: none crashes it, and none is accepted. */
export async function fuzzPinSets(runs: number): Promise<void> {
  const now = Date.parse('2026-06-01T12:00:00Z')
  const alice = createSigner()
  const trust = SigningTrust.of([alice.publicKey])
  const payload = pinSet({ version: 8 }, now)
  const good = await sign(payload, alice)
  const forged = forge({ alg: 'EdDSA', kid: alice.id, typ: pinSetType }, JSON.stringify(payload), by(alice))
  const attempt = async (text: string): Promise<void> => {
    const error = await verifyManifest(text, { trust, audience: 'test', now, kept: { version: 7, hash: '' } }).then(
      () => { throw new Error('it was accepted') },
      (reason: UpdateRejectedError) => reason
    )
    expect([error.code, error.keptVersion]).toEqual(['ERR_PIN_UPDATE_REJECTED', 7])
  }
  const mutated = fc.tuple(fc.constantFrom(good, compact(forged), JSON.stringify(forged)), fc.nat(), fc.constantFrom('delete', 'insert', 'replace', 'cut', 'double'), fc.string({ unit: 'binary', minLength: 1, maxLength: 3 })).map(([text, at, how, junk]) => {
    const place = at % text.length
    if (how === 'delete') return text.slice(0, place) + text.slice(place + 1)
    if (how === 'insert') return text.slice(0, place) + junk + text.slice(place)
    if (how === 'replace') return text.slice(0, place) + junk + text.slice(place + junk.length)
    return how === 'cut' ? text.slice(0, place) : text + text
  }).filter((text) => ![good, compact(forged), JSON.stringify(forged)].includes(text.trim()) && !isSpelling(text, [good, JSON.stringify(forged)]))
  const structured = fc.tuple(fc.jsonValue(), fc.jsonValue(), fc.jsonValue()).map(([header, body, rest]) => compact(forge(JSON.stringify(header), JSON.stringify(body), () => Buffer.from(JSON.stringify(rest)).toString('base64url'))))
  // Signed by a trusted key, and junk all the same: whatever is behind the signature must stand it too.
  const signed = fc.oneof(fc.jsonValue(), fc.record({ version: fc.oneof(fc.integer({ max: 6 }), fc.double()), issued: fc.oneof(fc.constant(payload.issued), fc.string()), expires: fc.oneof(fc.constant(payload.expires), fc.string()), audience: fc.constant('test'), pins: fc.dictionary(fc.string(), fc.jsonValue()) })).map((body) => signedBy(alice, JSON.stringify(body)))
  await fc.assert(fc.asyncProperty(fc.oneof(fc.string({ unit: 'binary', maxLength: 200 }), fc.json(), mutated, structured, signed), attempt), { numRuns: runs })
}

/** White space between the members of a JSON object changes nothing. */
function isSpelling(text: string, sets: string[]): boolean {
  try {
    const bare = JSON.stringify(JSON.parse(text))
    return sets.some((each) => JSON.stringify(JSON.parse(each)) === bare)
  } catch {
    return false
  }
}
