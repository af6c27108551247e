import { constants } from 'node:crypto'
import * as tls from 'node:tls'
import type { SecureContextOptions, TLSSocket } from 'node:tls'
import { PolicyInvalidError } from '../errors.js'
import { readChoice } from '../policy/options.js'

/** Which groups are offered for the key exchange. */
export type KeyExchange = 'prefer-post-quantum' | 'require-post-quantum' | 'classical'

/**
 * What of OpenSSL's options a {@link KeyExchange} stands for. X25519MLKEM768 joins X25519 with ML-KEM-768, so it is at
 * least as strong as X25519 alone; OpenSSL has it since 3.5.
 *
 * @param given `undefined` leaves the groups to Node, which prefers X25519MLKEM768 wherever its OpenSSL has it
 * @throws {PolicyInvalidError} where the runtime lacks what is required, and beside `ecdhCurve` or a version below TLS 1.3
 */
export function readKeyExchange(given: unknown, { ecdhCurve, maxVersion, secureOptions = 0 }: Pick<SecureContextOptions, 'ecdhCurve' | 'maxVersion' | 'secureOptions'>, where: string): SecureContextOptions {
  const choice = readChoice<KeyExchange, undefined>(given, ['prefer-post-quantum', 'require-post-quantum', 'classical'], undefined, `${where}.keyExchange`)
  if (choice === undefined) return {}
  if (ecdhCurve !== undefined) throw new PolicyInvalidError(`${where}.keyExchange`, `${where}.ecdhCurve says the groups already; right would be one of the two`)
  if (choice === 'classical') return { ecdhCurve: classical }
  if (choice === 'prefer-post-quantum') return hasPostQuantum() ? { ecdhCurve: `${postQuantum}:${classical}` } : {}
  if (!hasPostQuantum()) throw new PolicyInvalidError(`${where}.keyExchange`, `'require-post-quantum' is not possible: Node ${process.version} with OpenSSL ${process.versions.openssl} has no ${postQuantum}; right would be a Node with OpenSSL 3.5 or later (22, 24 or 26 of today), or 'prefer-post-quantum'`)
  if (maxVersion === 'TLSv1.2') throw new PolicyInvalidError(`${where}.keyExchange`, `'require-post-quantum' needs TLS 1.3, and ${where}.maxVersion is 'TLSv1.2'; right would be to leave maxVersion out`)
  if (secureOptions & constants.SSL_OP_ALLOW_NO_DHE_KEX) throw new PolicyInvalidError(`${where}.secureOptions`, "SSL_OP_ALLOW_NO_DHE_KEX lets resumed connections do without a key exchange, which 'require-post-quantum' rules out; right would be to leave it out")
  return { ecdhCurve: postQuantum, minVersion: 'TLSv1.3' }
}

/**
 * The group of a connection's key exchange: `X25519MLKEM768`, `X25519`, …; `DH` with its size. `undefined` where Node does
 * not tell (22 of all post-quantum groups), and where no keys were exchanged (a resumed TLS 1.2 session).
 */
export function keyExchangeOf(socket: TLSSocket): string | undefined {
  if (socket.isSessionReused() && socket.getProtocol() !== 'TLSv1.3') return undefined
  const { type, name, size } = (socket.getEphemeralKeyInfo() ?? {}) as { type?: string; name?: string; size?: number }
  return name ?? (type === 'DH' ? `DH (${size} bits)` : undefined)
}

const postQuantum = 'X25519MLKEM768'
const classical = 'X25519:prime256v1:X448:secp521r1:secp384r1'

let known: boolean | undefined

function hasPostQuantum(): boolean {
  if (known !== undefined) return known
  try {
    tls.createSecureContext({ ecdhCurve: postQuantum })
    return (known = true)
  } catch {
    return (known = false)
  }
}
