import type { X509Certificate } from 'node:crypto'
import { TLSSocket, connect } from 'node:tls'
import type { ConnectionOptions } from 'node:tls'
import { isIP } from 'node:net'
import type { Policy } from '../policy/policy.js'
import type { PolicySet } from '../policy/policy-set.js'
import { checkName } from '../verify/name.js'
import { findMismatch, verifyPeer } from '../verify/verify.js'
import type { PinnedPeer } from '../verify/verify.js'
import { findProxy } from './proxy.js'
import type { ProxyRule } from './proxy.js'
import type { Trust, Trusts } from './trust.js'
import { Tunnel, joinTunnel } from './tunnel.js'
import type { ProxyConnector } from './tunnel.js'

/** What to look at. */
export interface InspectTarget {
  readonly host: string
  readonly port: number
  /** The name sent to the server (SNI) and looked for in its certificate. Default: the host. */
  readonly servername: string | undefined
  /** For everything until the handshake has ended, in milliseconds. */
  readonly timeoutMs: number
  /** How to get there. */
  readonly proxies: ProxyRoute
}

/** Which proxy a connection takes, and what the connection to the proxy is made with. */
export interface ProxyRoute {
  readonly rule: ProxyRule
  readonly connector: ProxyConnector
}

/** What a server has shown of itself. */
export interface Inspection {
  readonly host: string
  readonly port: number
  readonly serverName: string
  /** It knows what was served after it, unchecked: `servedAfter(leaf)`. */
  readonly leaf: X509Certificate
  /** Why Node's own verification refuses the chain; `undefined` when it accepts it. */
  readonly chainError: Error | undefined
  /** Why it refuses the name. */
  readonly nameError: Error | undefined
  /** `TLSv1.3`, … */
  readonly tlsVersion: string | undefined
  /** OpenSSL's name of the cipher suite. */
  readonly cipher: string | undefined
  /** The group of the key exchange, `X25519`; `undefined` where Node does not say (hybrid groups before Node 24). */
  readonly keyExchange: string | undefined
  /** The proxy whose tunnel it was made in, without credentials. */
  readonly proxy: string | undefined
}

/**
 * Makes a TLS connection only to look at it: the handshake is ended whatever the server's certificate is, what Node's
 * verification says of it is told, and the connection is closed. Nothing is ever sent in it, and nobody gets its socket.
 *
 * Rejects with Node's own error when there is no connection or the handshake fails, and with `ETIMEDOUT` when it takes
 * too long; with `ERR_PIN_PROXY` or `ERR_PIN_BYPASS` when a proxy is in the way.
 */
export function inspectServer(target: InspectTarget, trust: Trust): Promise<Inspection> {
  const { host, port, servername, timeoutMs, proxies } = target
  const serverName = servername ?? host
  return new Promise((resolve, reject) => {
    const proxy = findProxy(proxies.rule, 'https:', host, port)
    const tunnel = proxy && new Tunnel(proxy, host, port, { ...proxies.connector, timeoutMs })
    const socket = connect(connectionOptions(target, trust, tunnel))
    if (tunnel) joinTunnel(socket, tunnel, undefined)
    // As in connect.ts: the legacy object of the chain is not needed, and making it crashes Node 24 and 26 on some certificates.
    socket.getPeerCertificate = () => ({}) as never
    let stage = tunnel ? `no tunnel through the proxy ${tunnel.proxy}` : 'no connection'
    ;(tunnel ?? socket).once(tunnel ? 'open' : 'connect', () => (stage = `a ${tunnel ? 'tunnel' : 'connection'}, but no TLS handshake`))
    const late = setTimeout(() => socket.destroy(Object.assign(new Error(`${stage} within ${timeoutMs} ms`), { code: 'ETIMEDOUT' })), timeoutMs)
    socket.on('error', reject)
    socket.once('close', () => {
      clearTimeout(late)
      reject(Object.assign(new Error('the connection was closed during the handshake'), { code: 'ECONNRESET' }))
    })
    socket.once('secureConnect', () => {
      try {
        const leaf = TLSSocket.prototype.getPeerX509Certificate.call(socket)
        if (leaf === undefined) throw new Error('the server sent no certificate')
        const { name } = socket.getEphemeralKeyInfo() as { name?: string }
        resolve({ host, port, serverName, leaf, chainError: chainErrorOf(socket), nameError: checkName(serverName, leaf), tlsVersion: socket.getProtocol() ?? undefined, cipher: socket.getCipher()?.name, keyExchange: name || undefined, proxy: proxy?.shown })
      } catch (error) {
        reject(error)
      } finally {
        // Nothing has been written, so nothing leaves but the end of the handshake and of the connection: the server's log has no failure.
        socket.end(() => socket.destroy())
      }
    })
  })
}

/** A peer that was looked at, and what a policy says of it. */
export interface Judgement {
  readonly inspection: Inspection
  /** The proof, where the policy accepts the peer. */
  readonly peer: PinnedPeer | undefined
  /** Why not. */
  readonly error: Error | undefined
}

/**
 * {@link inspectServer}, and then the verdict that the agent would come to, by the same verification: on the trust anchors
 * that the policy leaves, whatever the policy's mode is.
 */
export async function judgeServer(target: InspectTarget, policies: PolicySet, trusts: Trusts, now: () => number): Promise<Judgement> {
  const { host, port } = target
  const found = policies.find(host, port)
  const policy: Policy | undefined = found && (found.mode === 'enforce' ? found : { ...found, mode: 'enforce' })
  const trust = trusts.for(policies, policy, now())
  const inspection = await inspectServer(target, trust)
  const { leaf, serverName, chainError, nameError } = inspection
  const untrusted = chainError ?? nameError
  const judged = { host, port, serverName, policies, policy, leaf }
  try {
    if (policy?.trust !== 'pin-only' && untrusted) {
      const { anchors, records } = trusts.general
      // Where OpenSSL knew the pinned CAs only, another one may vouch for the peer.
      const mismatch = trust.restricted && chainError ? findMismatch({ ...judged, record: records.of(leaf), untrusted: undefined, anchors, restricted: false }, now()) : undefined
      throw mismatch ?? untrusted
    }
    const { anchors, restricted } = trust
    return { inspection, peer: verifyPeer({ ...judged, record: trust.records.of(leaf), untrusted, anchors, restricted }, now()), error: undefined }
  } catch (error) {
    return { inspection, peer: undefined, error: error as Error }
  }
}

function connectionOptions({ host, port, servername = isIP(host) ? undefined : host }: InspectTarget, trust: Trust, tunnel: Tunnel | undefined): ConnectionOptions {
  const options = {
    __proto__: null,
    host,
    port,
    servername,
    secureContext: trust.context(),
    minDHSize: 1024,
    // The verdict is read from `authorized` and told; a connection on which nothing is sent has nothing to protect.
    rejectUnauthorized: false,
    // The name is looked at apart from the chain.
    checkServerIdentity: () => undefined,
    session: undefined,
    socket: tunnel,
    path: undefined,
    pskCallback: undefined,
    enableTrace: undefined
  }
  return options
}

function chainErrorOf(socket: TLSSocket): Error | undefined {
  if (socket.authorized) return undefined
  // Node's types say Error; it is the error's code.
  const code = String(socket.authorizationError)
  return Object.assign(new Error(reasons[code] ?? 'the certificate is not trusted'), { code })
}

// OpenSSL's reasons (crypto/x509/x509_txt.c) in the words of this library; Node names their codes.
const reasons: Record<string, string> = {
  CERT_HAS_EXPIRED: 'a certificate of the chain has expired',
  CERT_NOT_YET_VALID: 'a certificate of the chain is not valid yet',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'the leaf is self-signed, and no trust anchor',
  SELF_SIGNED_CERT_IN_CHAIN: 'the chain ends at a certificate that is no trust anchor',
  UNABLE_TO_GET_ISSUER_CERT: 'the issuer of a certificate was not sent, and is no trust anchor',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'the issuer of a certificate was not sent, and is no trust anchor',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'the issuer of the leaf was not sent, and is no trust anchor',
  CERT_SIGNATURE_FAILURE: 'a signature of the chain does not verify',
  INVALID_CA: 'an issuer in the chain is not a CA',
  INVALID_PURPOSE: 'a certificate of the chain is not for TLS servers',
  PATH_LENGTH_EXCEEDED: 'the chain is longer than one of its CAs allows',
  CERT_CHAIN_TOO_LONG: 'the chain is too long',
  CERT_REVOKED: 'a certificate of the chain was revoked',
  CERT_REJECTED: 'a CA is marked as not to be used for this'
}
