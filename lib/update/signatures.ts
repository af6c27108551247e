import type { KeyObject } from 'node:crypto'
import { loadJose } from './jose.js'
import type { Jose } from './jose.js'
import { StrictJsonError, parseStrictJson } from './json.js'
import type { Pause } from './json.js'
import { readPrivateKey } from './keys.js'
import type { SigningTrust } from './trust.js'

/** Why a signed text was refused. */
export class SignatureError extends Error {
  constructor(readonly reason: 'malformed' | 'duplicate-key' | 'too-deep' | 'signature' | 'unknown-key' | 'algorithm' | 'threshold', message: string) {
    super(message)
  }
}

/** The `typ` of the protected header: a signature made with the same key for another purpose is none for a pin set. */
export const pinSetType = 'pin-set+jws'

/**
 * The payload of a JWS (RFC 7515: compact, flattened or general JSON), once enough trusted keys have signed it, and the thumbprints of these.
 * Signatures of keys that are not known are passed over: they are there for other clients. A wrong one of a known key is not.
 *
 * @throws {SignatureError}
 */
export async function verifySignatures(text: string, trust: SigningTrust, pause: Pause): Promise<{ readonly bytes: Buffer; readonly signers: readonly string[] }> {
  const { payload, signatures } = await readJws(text, pause)
  const bytes = decode(payload, 'payload')
  const signers = new Set<string>()
  const strangers: string[] = []
  const jose = await loadJose()
  for (const [index, { protected: header, signature }] of signatures.entries()) {
    const { alg, kid } = await readHeader(header, pause)
    const key = trust.keys.get(kid)
    if (/^(?:none|HS\d+)$/i.test(alg)) throw new SignatureError('algorithm', `signature ${index + 1} is of the algorithm ${quote(alg)}, which proves nothing of who signed`)
    if (key === undefined) {
      strangers.push(trust.revoked.has(kid) ? `${kid} (revoked)` : kid)
      continue
    }
    if (!key.algorithms.includes(alg)) throw new SignatureError('algorithm', `signature ${index + 1} claims the algorithm ${quote(alg)}, and its key ${kid} is for ${key.algorithm}`)
    await verifyOne(jose, { payload, protected: header, signature }, key.key, key.algorithms, `signature ${index + 1}, of key ${kid}, is wrong`)
    signers.add(kid)
  }
  if (signers.size === 0) throw new SignatureError('unknown-key', `it is signed by ${strangers.slice(0, 3).join(', ')}, and trusted are ${[...trust.keys.keys()].slice(0, 5).join(', ')}`)
  if (signers.size < trust.threshold) throw new SignatureError('threshold', `${signers.size} of ${trust.threshold} trusted signatures are there`)
  return { bytes, signers: [...signers] }
}

/**
 * Signs a payload with one or more keys, as general JSON.
 *
 * @param payload the very bytes to sign
 * @param earlier signatures that are there already
 * @throws {PolicyInvalidError} when a key cannot sign
 */
export async function signPayload(payload: Uint8Array, privateKeys: readonly KeyObject[], earlier: readonly Signature[] = []): Promise<string> {
  const jose = await loadJose()
  const keys = privateKeys.map((key, index) => readPrivateKey(key, `keys[${index}]`))
  const signed = await Promise.all(keys.map(({ privateKey, id, algorithm }) => new jose.FlattenedSign(payload).setProtectedHeader({ alg: algorithm, kid: id, typ: pinSetType }).sign(privateKey)))
  const signatures = [...earlier, ...signed].map(({ protected: header, signature }) => ({ protected: header, signature }))
  return JSON.stringify({ payload: Buffer.from(payload).toString('base64url'), signatures })
}

/** One signature of a set, as it says itself. */
export interface Signature {
  /** The header, base64url. */
  readonly protected: string
  readonly signature: string
  readonly alg: string
  /** Thumbprint of the signing key. */
  readonly kid: string
}

/**
 * The payload of a JWS and who claims to have signed it; no signature is verified.
 * @throws {SignatureError} when it has not the form of a signed pin set
 */
export async function readUnverified(text: string, pause: Pause): Promise<{ readonly bytes: Buffer; readonly signatures: readonly Signature[] }> {
  const { payload, signatures } = await readJws(text, pause)
  const bytes = decode(payload, 'payload')
  const claimed: Signature[] = []
  for (const each of signatures) claimed.push({ ...each, ...(await readHeader(each.protected, pause)) })
  return { bytes, signatures: claimed }
}

interface Jws {
  readonly payload: string
  readonly signatures: ReadonlyArray<{ readonly protected: string; readonly signature: string }>
}

async function readJws(text: string, pause: Pause): Promise<Jws> {
  const trimmed = text.trim()
  if (!trimmed.startsWith('{')) {
    const [header, payload, signature, ...more] = trimmed.split('.')
    if (header === undefined || payload === undefined || signature === undefined || more.length > 0) throw new SignatureError('malformed', 'it is not a JWS')
    return { payload, signatures: [{ protected: header, signature }] }
  }
  const jws = await readStrictly(trimmed, 4, pause)
  const flattened = isObject(jws) && 'signature' in jws
  const { payload, signatures } = (flattened ? { payload: jws['payload'], signatures: [{ protected: jws['protected'], signature: jws['signature'] }] } : jws) as Partial<Jws>
  const names = flattened ? ['payload', 'protected', 'signature'] : ['payload', 'signatures']
  if (!hasOnly(jws, names) || typeof payload !== 'string' || !Array.isArray(signatures)) throw new SignatureError('malformed', 'it is not a JWS')
  if (signatures.length === 0 || signatures.length > maxSignatures) throw new SignatureError('malformed', `it has ${signatures.length} signatures; there are 1 to ${maxSignatures}`)
  for (const each of signatures as unknown[]) {
    // An unprotected header could say anything.
    if (!hasOnly(each, ['protected', 'signature']) || typeof each['protected'] !== 'string' || typeof each['signature'] !== 'string') throw new SignatureError('malformed', 'a signature has other members than protected and signature')
  }
  return { payload, signatures: signatures as Jws['signatures'] }
}

const maxSignatures = 16

async function readHeader(encoded: string, pause: Pause): Promise<{ alg: string; kid: string }> {
  const header = await readStrictly(decode(encoded, 'header').toString('latin1'), 2, pause)
  // With keys or addresses of keys in it (jwk, jku, x5c, x5u), or extensions (crit, b64), it is not ours.
  if (!hasOnly(header, ['alg', 'kid', 'typ'])) throw new SignatureError('malformed', 'a signature header has other members than alg, kid and typ')
  const { alg, kid, typ } = header
  if (typeof alg !== 'string') throw new SignatureError('algorithm', 'a signature header names no algorithm (alg)')
  if (typ !== pinSetType) throw new SignatureError('malformed', `a signature is not for a pin set: its typ is not ${quote(pinSetType)}`)
  if (typeof kid !== 'string' || !/^[A-Za-z0-9_-]{1,100}$/.test(kid)) throw new SignatureError('unknown-key', 'a signature header names no key (kid)')
  return { alg, kid }
}

async function verifyOne(jose: Jose, jws: { payload: string; protected: string; signature: string }, key: KeyObject, algorithms: readonly string[], problem: string): Promise<void> {
  try {
    // Decoders skip what is not of the alphabet: one signature would have many spellings.
    decode(jws.signature, 'signature')
    await jose.flattenedVerify(jws, key, { algorithms: [...algorithms] })
  } catch (cause) {
    throw Object.assign(new SignatureError('signature', problem), { cause })
  }
}

async function readStrictly(text: string, maxDepth: number, pause: Pause): Promise<unknown> {
  try {
    return await parseStrictJson(text, maxDepth, pause)
  } catch (error) {
    throw error instanceof StrictJsonError ? new SignatureError(error.reason, error.message) : error
  }
}

function decode(text: string, what: string): Buffer {
  const bytes = Buffer.from(text, 'base64url')
  // Buffer passes over what is no base64url; a text has one meaning, and one spelling.
  if (text === '' || bytes.toString('base64url') !== text) throw new SignatureError('malformed', `its ${what} is not base64url`)
  return bytes
}

function hasOnly(value: unknown, names: readonly string[]): value is Record<string, unknown> {
  return isObject(value) && Object.keys(value).every((name) => names.includes(name))
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 40))
}
