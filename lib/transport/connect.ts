import type { X509Certificate } from 'node:crypto'
import type { LookupOptions } from 'node:dns'
import type { LookupFunction } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket, connect } from 'node:tls'
import type { ConnectionOptions, SecureContext } from 'node:tls'
import { getSystemErrorMap } from 'node:util'
import { isPinningError } from '../errors.js'
import type { Policy } from '../policy/policy.js'
import type { PolicySet } from '../policy/policy-set.js'
import type { Verdict } from '../report/report.js'
import type { Reporter } from '../report/reporter.js'
import type { PeerRecord } from '../verify/records.js'
import { findMismatch, verifyPeer } from '../verify/verify.js'
import type { PinnedPeer } from '../verify/verify.js'
import { holdBytes } from './gate.js'
import { keyExchangeOf } from './key-exchange.js'
import { peerCertificate } from './peer-certificate.js'
import { withoutCertificate } from './session-certificate.js'
import type { Sessions } from './sessions.js'
import type { Trusts } from './trust.js'

/** Where to connect, in Node's words; the fields of a request's options that concern the connection. */
export interface Target {
  readonly host: string
  readonly port: number
  /** The pool this connection will belong to; also the key of its session. */
  readonly pool: string
  readonly servername: string | undefined
  /** The protocols to offer (ALPN), best first. Default none. */
  readonly alpn?: string[] | undefined
  readonly socketPath: string | undefined
  readonly timeout: number | undefined
  readonly keepAlive: boolean | undefined
  readonly keepAliveInitialDelay: number | undefined
  readonly noDelay: boolean | undefined
  readonly lookup: LookupFunction | undefined
  readonly family: number | undefined
  readonly hints: number | undefined
  readonly localAddress: string | undefined
  readonly localPort: number | undefined
  readonly autoSelectFamily: boolean | undefined
  readonly autoSelectFamilyAttemptTimeout: number | undefined
  /** Through a proxy: the stream that leads to the host. */
  readonly tunnel: Duplex | undefined
}

/** What all connections of one agent share. */
export interface Connector {
  /** The policies in force now; asked again at the verdict. */
  readonly policies: () => PolicySet
  readonly trusts: Trusts
  readonly sessions: Sessions
  /** Whether a session outlives a connection that has failed after its handshake. Default not, as in Node's own agent. */
  readonly keepsSessions?: boolean
  readonly minDHSize: number | undefined
  readonly reporter: Reporter
  /**
   * Called with every socket whose gate was opened, the proof that opened it, and what judges the peer again by the
   * policies of another time (throws where they do not accept it).
   */
  readonly onVerified: (socket: TLSSocket, peer: PinnedPeer, judgeAgain: () => PinnedPeer) => void
  /** How long a certificate that a host has shown may be relied on, in milliseconds; default for ever. */
  readonly maxAgeMs?: (host: string, port: number) => number
  /** Where the policies change while the program runs. */
  readonly newer?: NewerPolicies | undefined
  /** For transports whose verdict cannot wait: the first policies, while they are on their way. */
  readonly awaited?: () => Promise<unknown> | undefined
  /** Why a host that no policy covers is refused without a connection. */
  readonly findUnpinned?: (host: string, port: number) => Error | undefined
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/** Policies that may be on their way, where they change while the program runs. The promises end soon and never reject. */
export interface NewerPolicies {
  /** While it is not known yet which policies count. */
  first(): Promise<void> | undefined
  /** Whether {@link beforeRefusal} would look for newer ones. */
  readonly mayRetry: boolean
  /** A look for newer policies before a refusal is final; `undefined` when there was one not long ago. */
  beforeRefusal(): Promise<void> | undefined
}

/**
 * Opens a TLS connection whose writes are held back until its peer is verified. The socket is returned at once, as
 * Node's own agent does, so that pooling, time-outs and aborts see an ordinary connecting socket; it is destroyed with
 * the reason when the verdict is a refusal.
 */
export function connectPinned(target: Target, connector: Connector): TLSSocket {
  const started = performance.now()
  const { host, port } = target
  const { reporter, trusts } = connector
  const asked = policyNow()
  const pinOnly = asked.policy?.trust === 'pin-only'
  const { newer } = connector
  // Other policies may count by the time of the verdict, and OpenSSL cannot be asked again.
  const trust = newer?.first() || newer?.mayRetry ? trusts.general : trusts.for(asked.policies, asked.policy, connector.now())
  const { anchors } = trusts.general
  const known = connector.sessions.find(target.pool, connector.now())
  const context = trust.context()
  // A session made with other trust anchors proves nothing under these, nor one made with another client certificate.
  const offered = known?.record.anchors === trust.anchors && known.context === context ? known : undefined

  let leaf: X509Certificate | undefined
  let record: PeerRecord | undefined
  let peer: PinnedPeer | undefined
  let judgedBy: PolicySet | undefined
  let nodeAgreed = false
  let refusal: Error | undefined
  /** A refusal that is not final yet. */
  let pending: Error | undefined
  let settled = false
  let verificationMs = 0
  let evidenceUntil = Infinity

  const socket = connect(connectionOptions(target, connector, context, offered && (offered.authorized ? withoutCertificate(offered.session) : offered.session), !pinOnly, onServerIdentity, newer && connector.findUnpinned?.(host, port) ? lookupOnceAllowed : target.lookup))
  const gate = holdBytes(socket)
  // tls makes the legacy object of the whole chain only to hand it to checkServerIdentity, which here reads the X509
  // object instead: cheaper, and it cannot crash on a junk certificate (Node 24 and 26; see peer-certificate.ts).
  socket.getPeerCertificate = () => ({}) as never
  // Reading the X509 object empties Node's own copy (Node 20 to 24), so it is read once.
  socket.getPeerX509Certificate = readLeaf
  // Every end of the handshake comes through destroy, so this is where a refusal is told, before its error is emitted.
  socket.destroy = (reason?: Error) => {
    let error = reason
    try {
      error = reason && explain(reason)
      settle()
      if (pending && !socket.destroyed) tell(undefined, pending)
      if (error && (refusal !== undefined || isUntrusted(socket)) && !socket.destroyed) tell(undefined, error)
    } catch {
      // Whatever fails in explaining, the connection ends, and for its first reason.
    }
    delete (socket as Partial<TLSSocket>).destroy
    return socket.destroy(error)
  }
  socket.once('secureConnect', onSecureConnect)
  socket.on('session', (session: Buffer) => {
    if (peer && record && leaf && !socket.destroyed) connector.sessions.store(target.pool, { session, authorized: socket.authorized, record, leaf, context, goodUntil: peer.goodUntil, evidenceUntil })
  })
  socket.once('close', (failed: boolean) => {
    if (failed && !(peer && connector.keepsSessions)) connector.sessions.delete(target.pool)
  })
  return socket

  /** Node calls this for full handshakes whose chain OpenSSL accepted, and destroys the socket with what it returns. */
  function onServerIdentity(serverName: string): Error | undefined {
    const from = performance.now()
    try {
      const seen = readLeaf()
      if (seen === undefined) return (refusal = new Error('the server sent no certificate'))
      record ??= trust.records.of(seen)
      const nameError = record.checkName(serverName)
      if (nameError) return (refusal = Object.assign(nameError, { cert: peerCertificate(seen, anchors, true) }))
      nodeAgreed = !pinOnly
      if (!pinOnly && !newer?.first()) peer = verify(seen, serverName, undefined)
      return undefined
    } catch (error) {
      // Not final; said again in conclude().
      if (nodeAgreed && isPinningError(error) && newer?.mayRetry) return undefined
      return (refusal = asError(error))
    } finally {
      verificationMs += performance.now() - from
    }
  }

  /** The gate stays shut while newer policies are on their way. */
  function onSecureConnect(): void {
    const first = newer?.first()
    if (first) void first.then(conclude)
    else conclude()
  }

  function conclude(): void {
    if (socket.destroyed) return
    const from = performance.now()
    try {
      const judged = peer !== undefined && judgedBy === connector.policies() ? peer : verifyUnasked()
      peer = judged
      pending = undefined
      verificationMs += performance.now() - from
      settle()
      connector.onVerified(socket, judged, verifyUnasked)
      gate.open(judged)
      socket.once('secureConnect', () => socket.destroy(new Error('TLS renegotiation is refused: the peer could change after its verdict')))
      tell(judged, undefined)
    } catch (error) {
      peer = undefined
      const look = isPinningError(error) && pending === undefined ? newer?.beforeRefusal() : undefined
      pending = look && asError(error)
      if (look) return void look.then(conclude)
      refusal = asError(error)
      socket.destroy(refusal)
    }
  }

  /** Where Node has not asked for a verdict, or it was put off: resumed connections, those whose trust is in the pin only, and newer policies. */
  function verifyUnasked(): PinnedPeer {
    const serverName = target.servername || host
    const untrusted = socket.authorized ? undefined : untrustedError(socket)
    if (socket.isSessionReused()) {
      if (offered === undefined) throw new Error('a TLS session was resumed that this agent did not offer')
      record = offered.record
      leaf = offered.leaf
      evidenceUntil = offered.evidenceUntil
      return verify(leaf, serverName, untrusted)
    }
    const seen = readLeaf()
    if (!(pinOnly || nodeAgreed) || seen === undefined) throw new Error('the TLS handshake ended without a verdict')
    return verify(seen, serverName, untrusted)
  }

  function verify(seen: X509Certificate, serverName: string, untrusted: Error | undefined): PinnedPeer {
    record ??= trust.records.of(seen)
    const at = policyNow()
    judgedBy = at.policies
    // What OpenSSL has found under the pinned CAs says nothing of pins that have come since.
    const { anchors, restricted, validTo } = at.policy === asked.policy ? trust : trusts.general
    const now = connector.now()
    // A resumed session brings its own: no certificate was shown on it.
    evidenceUntil = Math.min(evidenceUntil, now + (connector.maxAgeMs?.(host, port) ?? Infinity))
    return verifyPeer({ host, port, serverName, ...at, record, leaf: seen, untrusted, anchors, restricted, evidenceUntil: Math.min(evidenceUntil, validTo) }, now)
  }

  /** OpenSSL, where it knew the pinned CAs only, says "unknown issuer" of a peer that another CA vouches for. */
  function explain(error: Error): Error {
    if (gate.holds && isHandshakeFailure(error)) return asWriteError(error)
    const seen = trust.restricted && refusal === undefined && isUntrusted(socket) ? readLeaf() : undefined
    if (seen === undefined) return error
    record = trusts.general.records.of(seen)
    return (refusal = findMismatch({ host, port, serverName: target.servername || host, ...policyNow(), record, leaf: seen, untrusted: undefined, anchors, restricted: false }, connector.now())) ?? error
  }

  /** For a host that no policy covers yet: nothing is opened before one does. */
  function lookupOnceAllowed(name: string, options: LookupOptions, done: Parameters<LookupFunction>[2]): void {
    const proceed = (): void => {
      const error = connector.findUnpinned?.(host, port)
      if (error) reporter.blocked(host, port, error)
      if (error) done(error, '')
      else (target.lookup ?? (process.getBuiltinModule('node:dns').lookup))(name, options, done)
    }
    void (newer?.first() ?? Promise.resolve())
      .then(() => (connector.findUnpinned?.(host, port) ? newer?.beforeRefusal() : undefined))
      .then(proceed)
      .catch((error: unknown) => socket.destroy(asError(error)))
  }

  function policyNow(): { policies: PolicySet; policy: Policy | undefined } {
    const policies = connector.policies()
    return { policies, policy: policies.find(host, port) }
  }

  function readLeaf(): X509Certificate | undefined {
    return (leaf ??= readPeerX509.call(socket))
  }

  /** The handshake is over: the socket's own methods are its own again, and answer as usual. */
  function settle(): void {
    if (settled) return
    settled = true
    if (leaf === undefined && isUntrusted(socket)) readLeaf()
    delete (socket as Partial<TLSSocket>).destroy
    const seen = leaf
    if (seen === undefined || seen === offered?.leaf) {
      delete (socket as Partial<TLSSocket>).getPeerCertificate
      delete (socket as Partial<TLSSocket>).getPeerX509Certificate
      return
    }
    socket.getPeerX509Certificate = () => (socket.destroyed ? undefined : seen)
    socket.getPeerCertificate = (detailed?: boolean) => (socket.destroyed ? (null as never) : peerCertificate(seen, anchors, detailed === true)) as never
  }

  /** What fails in telling changes nothing: the decision has been made. */
  function tell(accepted: PinnedPeer | undefined, error: Error | undefined): void {
    try {
      const { policies, policy } = policyNow()
      const verdict = {
        __proto__: negotiated,
        socket,
        host,
        port,
        policies,
        policy: accepted ? accepted.policy : policy,
        peer: accepted,
        error,
        record,
        leaf,
        resumed: socket.isSessionReused(),
        durationMs: performance.now() - started,
        verificationMs,
        time: new Date(connector.now()),
        serverName: target.servername || host,
        anchors
      }
      reporter.connection(verdict as unknown as Verdict)
    } catch (failure) {
      process.emitWarning(`axios-ssl-pinning: a connection could not be reported: ${String(failure)}`, { type: 'PinningWarning' })
    }
  }
}

/** Asked of OpenSSL only where a report is made. On a prototype, since accessors in a literal cost more than all the rest of it. */
const negotiated = {
  get tlsVersion() {
    return socketOf(this).getProtocol() ?? undefined
  },
  get cipher() {
    return socketOf(this).getCipher()?.name
  },
  get keyExchange() {
    return keyExchangeOf(socketOf(this))
  }
}

function socketOf(verdict: object): TLSSocket {
  return (verdict as { socket: TLSSocket }).socket
}

const readPeerX509 = TLSSocket.prototype.getPeerX509Certificate

/** Only what concerns the connection is passed on, and nothing comes from a prototype. */
function connectionOptions(target: Target, connector: Connector, secureContext: SecureContext, session: Buffer | undefined, rejectUnauthorized: boolean, checkServerIdentity: (serverName: string) => Error | undefined, lookup: LookupFunction | undefined): ConnectionOptions {
  const { host, port, socketPath, servername, timeout, keepAlive, keepAliveInitialDelay, noDelay, family, hints, localAddress, localPort, autoSelectFamily, autoSelectFamilyAttemptTimeout } = target
  const options = {
    __proto__: null,
    host, port, path: socketPath, servername, timeout, keepAlive, keepAliveInitialDelay, noDelay, lookup, family, hints, localAddress, localPort, autoSelectFamily, autoSelectFamilyAttemptTimeout,
    minDHSize: connector.minDHSize ?? 1024,
    secureContext,
    session,
    // Explicit, so that NODE_TLS_REJECT_UNAUTHORIZED=0 changes nothing. Without it (trust: 'pin-only') the verdict is made in onSecureConnect.
    rejectUnauthorized,
    checkServerIdentity,
    socket: target.tunnel,
    ALPNProtocols: target.alpn,
    // Own and undefined, so that no polluted prototype supplies them.
    pskCallback: undefined,
    enableTrace: undefined
  }
  return options
}

/** `null` before OpenSSL has judged, whatever Node's types say. */
function isUntrusted({ authorizationError }: TLSSocket): boolean {
  return (authorizationError ?? null) !== null
}

function untrustedError(socket: TLSSocket): Error {
  // Node's types say Error; it is the error's code.
  const code = String(socket.authorizationError)
  return Object.assign(new Error(`the server's certificate is not trusted (${code})`), { code })
}

function isHandshakeFailure({ code }: Error & { code?: string }): boolean {
  return code?.startsWith('ERR_SSL_') === true
}

/** Node reports a handshake that fails, where a write waits for it, as that write's: http requests have only ever seen EPROTO, and no cause. */
function asWriteError({ message }: Error): Error {
  return Object.assign(new Error(`write EPROTO ${message}`), { errno: errnoOf('EPROTO'), code: 'EPROTO', syscall: 'write' })
}

function errnoOf(code: string): number | undefined {
  return [...getSystemErrorMap()].find(([, [name]]) => name === code)?.[0]
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error || Object.prototype.toString.call(thrown) === '[object Error]' ? (thrown as Error) : new Error(`verification failed: ${String(thrown)}`)
}
