import { constants } from 'node:crypto'
import { isIP } from 'node:net'
import * as tls from 'node:tls'
import type { SecureContext, SecureContextOptions } from 'node:tls'
import type { AgentOptions } from 'node:https'
import { PolicyInvalidError } from '../errors.js'
import { looksLikePath } from '../pin/pin.js'
import { readOptions } from '../policy/options.js'
import type { CertificateAuthorities } from '../verify/anchors.js'
import { readClientCertificate } from './client-certificate.js'
import type { ClientCertificateOptions } from './client-certificate.js'
import { readKeyExchange } from './key-exchange.js'
import type { KeyExchange } from './key-exchange.js'

/**
 * Node's own options for the TLS connection to a pinned host, as `tls.connect` and `tls.createSecureContext` take them.
 * What would weaken the promise (`rejectUnauthorized: false`, `checkServerIdentity`, `secureContext`, `secureProtocol`,
 * a version below TLS 1.2, …) is refused by name.
 */
export interface TlsOptions extends Pick<SecureContextOptions, Exclude<(typeof contextOptions)[number], 'ca'>> {
  /** Trust anchors in place of Node's own: PEM. Needed for a private CA. */
  ca?: CertificateAuthorities
  /** The name sent to the server (SNI) and looked for in its certificate. Default: the host. */
  servername?: string
  /** Smallest Diffie-Hellman group accepted, in bits. Default 1024, as in Node. */
  minDHSize?: number
  /**
   * A client certificate (mTLS) from files, read again when they change: new connections show the new one, and neither
   * connections nor TLS sessions made with the former are used again. In place of `cert` and `key`.
   */
  clientCertificate?: ClientCertificateOptions
  /**
   * Which groups are offered for the key exchange: `'prefer-post-quantum'` (X25519MLKEM768 first; the default wherever the
   * runtime has it), `'require-post-quantum'` (that and nothing else; TLS 1.3 only), `'classical'`. In place of `ecdhCurve`.
   */
  keyExchange?: KeyExchange
  /** Always on; only `true` is accepted. */
  rejectUnauthorized?: true
}

/**
 * Pooling and socket options of Node's `https.Agent`. As in Node's global agent, `keepAlive` is on by default, and an idle
 * socket is closed after 5 s, or a second before the time that the server has told; `timeout` (in milliseconds) says
 * otherwise. `keepAliveMsecs` is 60,000 by default, which axios sets on the socket for every request: Node's 1,000 would be
 * set to and fro.
 */
export type PoolOptions = Pick<AgentOptions & { agentKeepAliveTimeoutBuffer?: number; noDelay?: boolean }, (typeof poolOptions)[number]>

/** The TLS options after reading. */
export interface TlsSettings {
  readonly context: SecureContextOptions
  readonly ca: CertificateAuthorities | undefined
  readonly servername: string | undefined
  readonly minDHSize: number | undefined
  readonly clientCertificate: ClientCertificateOptions | undefined
}

/**
 * @param where the option's name: `tls`, or `proxyTls`
 * @throws {PolicyInvalidError | TypeError} naming the option
 */
export function readTlsOptions(given: TlsOptions | undefined, where = 'tls'): TlsSettings {
  const refused = Object.keys(given ?? {}).find((name) => name in refusals && !(name === 'rejectUnauthorized' && given?.rejectUnauthorized === true))
  if (refused !== undefined) throw new PolicyInvalidError(`${where}.${refused}`, refusals[refused] as string)
  const options = readOptions(given ?? {}, [...contextOptions, 'servername', 'minDHSize', 'clientCertificate', 'keyExchange', 'rejectUnauthorized'], where)
  if (options.servername !== undefined && (typeof options.servername !== 'string' || isIP(options.servername))) throw new PolicyInvalidError(`${where}.servername`, 'must be a host name; TLS has no server name for an IP address')
  for (const name of ['ca', 'cert', 'key', 'pfx', 'crl'] as const) {
    const given: unknown = options[name]
    if ((Array.isArray(given) ? (given as unknown[]) : [given]).some((each) => typeof each === 'string' && looksLikePath(each))) throw new PolicyInvalidError(`${where}.${name}`, 'this looks like a path; right would be what the file holds: readFileSync(path)')
  }
  const open = (typeof options.ciphers === 'string' ? options.ciphers : '').split(/[:, ]+/).find((cipher) => withoutSecrecy.test(cipher))
  if (open !== undefined) throw new PolicyInvalidError(`${where}.ciphers`, `${open} lets ciphers in that do not encrypt, or take no certificate; right would be to leave it out`)
  const { servername, minDHSize, clientCertificate, keyExchange, rejectUnauthorized: _, ...context } = options
  const doubled = clientCertificate && (['cert', 'key', 'pfx', 'passphrase'] as const).find((name) => options[name] !== undefined)
  if (doubled) throw new PolicyInvalidError(`${where}.clientCertificate`, `${where}.${doubled} says the certificate already; right would be one of the two`)
  const groups = readKeyExchange(keyExchange, options, where)
  const minVersion = groups.minVersion ?? readVersion(options.minVersion, `${where}.minVersion`) ?? raised(tls.DEFAULT_MIN_VERSION)
  const maxVersion = readVersion(options.maxVersion, `${where}.maxVersion`)
  if (maxVersion !== undefined && maxVersion < minVersion) throw new PolicyInvalidError(`${where}.maxVersion`, `${maxVersion} is below the minimum, ${minVersion}; right would be '${minVersion}'`)
  return {
    context: {
      ...(context as SecureContextOptions),
      ...groups,
      ...(typeof options.ciphers === 'string' && { ciphers: withSecrecyOnly(options.ciphers) }),
      minVersion,
      ...(maxVersion !== undefined && { maxVersion }),
      // A renegotiation could change the peer after its verdict (TLS 1.2; 1.3 has none).
      secureOptions: (options.secureOptions ?? 0) | constants.SSL_OP_NO_RENEGOTIATION
    },
    ca: options.ca,
    servername,
    minDHSize,
    clientCertificate: readClientCertificate(clientCertificate, 'tls.clientCertificate')
  }
}

/** @throws {PolicyInvalidError | TypeError} naming the option */
export function readPoolOptions(given: PoolOptions | undefined): PoolOptions {
  for (const name of Object.keys(given ?? {})) {
    if (name in refusals || (contextOptions as readonly string[]).includes(name)) throw new PolicyInvalidError(`agent.${name}`, refusals[name] ?? `is an option of TLS; right would be tls.${name}`)
    if (name === 'proxyEnv') throw new PolicyInvalidError('agent.proxyEnv', 'would take requests past the pinned connection')
  }
  return { keepAlive: true, keepAliveMsecs: 60_000, scheduling: 'lifo', ...readOptions(given ?? {}, poolOptions, 'agent') }
}

/**
 * Made once and shared by every connection: making one parses the `ca` option anew, which Node does for each connection.
 * @throws {PolicyInvalidError} when OpenSSL cannot use an option
 */
export function createContext(options: SecureContextOptions): SecureContext {
  try {
    // Without a prototype, so that nothing put on Object.prototype is taken for an option; nor for tls's own mark of a
    // context that ends with its first connection.
    return Object.assign(tls.createSecureContext({ __proto__: null, ...options } as SecureContextOptions), { singleUse: false })
  } catch (cause) {
    throw new PolicyInvalidError('tls', `OpenSSL cannot use these options (${(cause as Error).message}); see ca, cert, key, pfx, passphrase, ciphers, ecdhCurve, sigalgs`, { cause })
  }
}

/** The first TLS option that a request brings along. */
export function findTlsOption(options: object): string | undefined {
  // A loop over these is quicker than one over the keys of the options. Node's own check of the name says nothing (got passes it).
  return perRequestTlsOptions.find((name) => {
    const value = (options as Record<string, unknown>)[name]
    return value !== undefined && value !== tls.checkServerIdentity && Object.hasOwn(options, name)
  })
}

const contextOptions = [
  'ca', 'cert', 'key', 'pfx', 'passphrase', 'minVersion', 'maxVersion', 'ciphers', 'ecdhCurve', 'sigalgs', 'crl', 'dhparam', 'honorCipherOrder', 'secureOptions', 'sessionTimeout', 'allowPartialTrustChain', 'privateKeyEngine', 'privateKeyIdentifier', 'clientCertEngine'
] as const

const poolOptions = [
  'keepAlive', 'keepAliveMsecs', 'maxSockets', 'maxTotalSockets', 'maxFreeSockets', 'scheduling', 'timeout', 'maxCachedSessions', 'family', 'hints', 'lookup', 'localAddress', 'localPort', 'noDelay', 'autoSelectFamily', 'autoSelectFamilyAttemptTimeout', 'agentKeepAliveTimeoutBuffer'
] as const

const refusals: Record<string, string> = {
  __proto__: null as unknown as string,
  rejectUnauthorized: "cannot be switched off: pins add to Node's verification; for a private CA use tls.ca, for a self-signed leaf trust: 'pin-only'",
  checkServerIdentity: "cannot be replaced: Node's own name check and the pins are both needed; pins and onValidCertificate are the place for more",
  secureContext: 'is made by the agent, once; right would be its parts: ca, cert, key, …',
  secureProtocol: 'is obsolete and would allow old versions; right would be minVersion and maxVersion',
  pskCallback: 'would replace certificates by a shared key, and there would be nothing to pin',
  session: 'is kept by the agent, together with what was verified when it was made',
  socket: 'is made by the agent'
}

/** The TLS options a request may not bring along: the agent's own are set when it is made. Its `rejectUnauthorized` is overruled. */
const perRequestTlsOptions = [...new Set([...contextOptions, ...Object.keys(refusals), 'minDHSize', 'clientCertificate', 'keyExchange'])].filter((name) => name !== 'rejectUnauthorized')

// OpenSSL's names for ciphers that do not encrypt or take no certificate, and for what includes them; `!` and `-` take out.
const withoutSecrecy = /^(?![!-]).*(?:NULL|COMPLEMENTOF)|^A(?:EC)?DH/i

/**
 * Broader words (`ALL`, `AES`, `kEDH`) mean such ciphers too, some of them only with `@SECLEVEL=0`. Where the list has no cipher
 * of TLS 1.2 at all, there is nothing to take out, and Node wants it so.
 */
function withSecrecyOnly(ciphers: string): string {
  return ciphers.split(/[:;, ]+/).some((cipher) => /^(?!TLS_)\w/.test(cipher)) ? `${ciphers}:!aNULL:!eNULL` : ciphers
}

const acceptedVersions = ['TLSv1.2', 'TLSv1.3'] as const

function readVersion(version: unknown, option: string): 'TLSv1.2' | 'TLSv1.3' | undefined {
  if (version === undefined) return undefined
  if ((acceptedVersions as readonly unknown[]).includes(version)) return version as 'TLSv1.2' | 'TLSv1.3'
  throw new PolicyInvalidError(option, `${JSON.stringify(version)} is not possible; right would be 'TLSv1.2' (the minimum) or 'TLSv1.3'`)
}

/** `--tls-min-v1.3` raises the minimum, `--tls-min-v1.0` does not lower it. */
function raised(version: string): 'TLSv1.2' | 'TLSv1.3' {
  return version === 'TLSv1.3' ? 'TLSv1.3' : 'TLSv1.2'
}
