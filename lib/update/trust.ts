import type { JsonWebKey } from 'node:crypto'
import { PolicyInvalidError } from '../errors.js'
import { describeType } from '../pin/pin.js'
import { isBeyondThisNode, readSigningKey } from './keys.js'
import type { SigningKey, SigningKeySource } from './keys.js'

/**
 * Whose signatures make a pin set: the keys given in the code and those that accepted sets have named since, without
 * those that sets have revoked. Immutable.
 */
export class SigningTrust {
  private constructor(
    /** By thumbprint. */
    readonly keys: ReadonlyMap<string, SigningKey>,
    /** Thumbprints that are never trusted again, whoever names them. */
    readonly revoked: ReadonlySet<string>,
    /** How many of the keys must have signed. */
    readonly threshold: number
  ) {}

  /** @throws {PolicyInvalidError} naming the option */
  static of(trustedKeys: readonly SigningKeySource[], threshold = 1, where = 'updates'): SigningTrust {
    if (!Array.isArray(trustedKeys) || trustedKeys.length === 0) throw new PolicyInvalidError(`${where}.trustedKeys`, `must be a list of public keys, not ${Array.isArray(trustedKeys) ? 'an empty one' : describeType(trustedKeys)}`)
    const keys = Array.from(trustedKeys as readonly unknown[], (source, index) => readSigningKey(source, `${where}.trustedKeys[${index}]`))
    const byId = new Map(keys.map((key) => [key.id, key]))
    if (byId.size < keys.length) throw new PolicyInvalidError(`${where}.trustedKeys`, 'holds the same key twice; each counts once')
    if (!Number.isSafeInteger(threshold) || threshold < 1 || threshold > byId.size) throw new PolicyInvalidError(`${where}.threshold`, `must be a whole number from 1 to the number of trusted keys (${byId.size})`)
    return new SigningTrust(byId, new Set(), threshold)
  }

  /**
   * What is trusted once a set has been accepted; this very object when the set changes nothing.
   *
   * @throws {PolicyInvalidError} when a key cannot be used, too few are left, or there are too many to remember
   */
  after(named: readonly JsonWebKey[], revoked: readonly string[]): SigningTrust {
    const added = named.filter((jwk) => !isBeyondThisNode(jwk)).map((jwk, index) => readSigningKey(jwk, `keys[${index}]`))
    const gone = new Set([...this.revoked, ...revoked])
    const keys = new Map([...this.keys, ...added.map((key) => [key.id, key] as const)].filter(([id]) => !gone.has(id)))
    if (keys.size < this.threshold) throw new PolicyInvalidError('revoked.keys', `would leave ${keys.size} of the ${this.threshold} signing keys that are needed, and no set could be accepted any more`)
    if (keys.size > Math.max(maxKeys, this.keys.size)) throw new PolicyInvalidError('keys', `would make ${keys.size} signing keys; at most ${maxKeys} are trusted at once: those that are retired are to be revoked`)
    if (gone.size > maxRevoked) throw new PolicyInvalidError('revoked.keys', `would make ${gone.size} revoked signing keys; at most ${maxRevoked} are remembered`)
    const same = gone.size === this.revoked.size && keys.size === this.keys.size && [...keys.keys()].every((id) => this.keys.has(id))
    return same ? this : new SigningTrust(keys, gone, this.threshold)
  }
}

const maxKeys = 64
const maxRevoked = 10_000
