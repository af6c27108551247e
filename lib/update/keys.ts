import { KeyObject, createHash, createPublicKey } from 'node:crypto'
import type { JsonWebKey } from 'node:crypto'
import { PolicyInvalidError } from '../errors.js'
import { describeType, holdsPrivateKey, looksLikePath } from '../pin/pin.js'

/** A public key that pin sets are signed with: PEM (`BEGIN PUBLIC KEY`), JWK, or Node's object. */
export type SigningKeySource = string | JsonWebKey | KeyObject

/** A public key, and what it may be used for: the key decides the algorithm, never the signature's header. */
export interface SigningKey {
  /** RFC 7638 thumbprint (SHA-256, base64url); the `kid` in a signature's header. */
  readonly id: string
  readonly key: KeyObject
  /** The `alg` to sign with. */
  readonly algorithm: SigningAlgorithm
  /** The names of that algorithm: RFC 9864 gave EdDSA another one. */
  readonly algorithms: readonly string[]
}

export type SigningAlgorithm = 'EdDSA' | 'ES256' | 'ML-DSA-44' | 'ML-DSA-65'

/**
 * @param option where the key stands, for error texts
 * @throws {PolicyInvalidError} for a private or a symmetric key, an algorithm that is not offered, and what is no key; without showing it
 */
export function readSigningKey(source: unknown, option: string): SigningKey {
  return describeKey(importKey(source, option), option)
}

/**
 * A private key to sign with, and what its public half is called.
 * @throws {PolicyInvalidError}
 */
export function readPrivateKey(key: KeyObject, option: string): SigningKey & { readonly privateKey: KeyObject } {
  if (!(key instanceof KeyObject) || key.type !== 'private') throw new PolicyInvalidError(option, 'must be a private KeyObject')
  return { ...describeKey(createPublicKey(key), option), privateKey: key }
}

/** Whether this is a public key of an algorithm that only later versions of Node know: to be left out, not refused. */
export function isBeyondThisNode(jwk: JsonWebKey): boolean {
  if (jwk.kty !== 'AKP' || !['ML-DSA-44', 'ML-DSA-65'].includes(String(jwk['alg'])) || 'priv' in jwk) return false
  try {
    createPublicKey({ key: jwk, format: 'jwk' })
    return false
  } catch (error) {
    // Node 20 and 22 do not know the kind of key; where it is known, but the key is broken, the code is another.
    return (error as { code?: string }).code === 'ERR_INVALID_ARG_VALUE'
  }
}

function importKey(source: unknown, option: string): KeyObject {
  const right = 'right would be a public key of Ed25519, P-256 or ML-DSA: PEM ("-----BEGIN PUBLIC KEY-----"), JWK or a KeyObject'
  if (source instanceof KeyObject) {
    if (source.type !== 'public') throw new PolicyInvalidError(option, `is a ${source.type} key, which must never be here; ${right}`)
    return source
  }
  if (typeof source === 'string' ? holdsPrivateKey(source) : hasPrivatePart(source)) throw new PolicyInvalidError(option, `is a private key, which must never be here; ${right}`)
  if (typeof source !== 'string' && (typeof source !== 'object' || source === null || Array.isArray(source))) throw new PolicyInvalidError(option, `must be a key, not ${describeType(source)}; ${right}`)
  if (typeof source === 'string' && looksLikePath(source)) throw new PolicyInvalidError(option, "looks like a path; right would be what the file holds: readFileSync(path, 'utf8')")
  if (typeof source === 'string' && !source.includes('-----BEGIN PUBLIC KEY-----')) throw new PolicyInvalidError(option, `is not a PEM public key; ${right}`)
  try {
    return typeof source === 'string' ? createPublicKey(source) : createPublicKey({ key: source as JsonWebKey, format: 'jwk' })
  } catch (cause) {
    throw new PolicyInvalidError(option, `this Node cannot use the key; ${right}`, { cause })
  }
}

function hasPrivatePart(source: unknown): boolean {
  return typeof source === 'object' && source !== null && ['d', 'priv', 'k'].some((name) => name in source)
}

function describeKey(key: KeyObject, option: string): SigningKey {
  const type = key.asymmetricKeyType as string | undefined
  if (type === 'ed25519') return { id: thumbprint(key, ['crv', 'kty', 'x']), key, algorithm: 'EdDSA', algorithms: ['EdDSA', 'Ed25519'] }
  if (type === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return { id: thumbprint(key, ['crv', 'kty', 'x', 'y']), key, algorithm: 'ES256', algorithms: ['ES256'] }
  if (type === 'ml-dsa-44' || type === 'ml-dsa-65') {
    const algorithm = type === 'ml-dsa-44' ? 'ML-DSA-44' : 'ML-DSA-65'
    return { id: thumbprint(key, ['alg', 'kty', 'pub']), key, algorithm, algorithms: [algorithm] }
  }
  throw new PolicyInvalidError(option, `is a key for ${key.asymmetricKeyDetails?.namedCurve ?? type ?? 'something else'}; right would be Ed25519 (EdDSA), P-256 (ES256), ML-DSA-44 or ML-DSA-65`)
}

/** RFC 7638: the members that make the key, in the order of their names. */
function thumbprint(key: KeyObject, members: readonly string[]): string {
  const jwk = key.export({ format: 'jwk' })
  const text = JSON.stringify(Object.fromEntries(members.map((name) => [name, jwk[name]])))
  return createHash('sha256').update(text).digest('base64url')
}
