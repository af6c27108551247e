import type { X509Certificate } from 'node:crypto'
import type { LookupOptions } from 'node:dns'
import { isIP } from 'node:net'
import type { LookupFunction } from 'node:net'
import { TLSSocket, connect } from 'node:tls'
import type { ConnectionOptions, SecureContext } from 'node:tls'
import { ChainUnverifiedError, isPinningError } from '../errors.js'
import type { Policy } from '../policy/policy.js'
import type { PolicySet } from '../policy/policy-set.js'
import type { Verdict } from '../report/report.js'
import type { PeerRecord } from '../verify/records.js'
import { findMismatch, verifyPeer } from '../verify/verify.js'
import type { PinnedPeer } from '../verify/verify.js'
import type { Connector, Target } from './connector.js'
import { holdBytes } from './gate.js'
import { asError, asWriteError, isHandshakeFailure, isUntrusted, untrustedError } from './handshake-errors.js'
import { keyExchangeOf } from './key-exchange.js'
import { putMethod, restoreMethods } from './own-methods.js'
import { peerCertificate } from './peer-certificate.js'
import { withoutCertificate } from './session-certificate.js'

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

  const socket = connect(connectionOptions(target, connector, context, offered && (offered.authorized ? withoutCertificate(offered.session) : offered.session), !pinOnly, onServerIdentity, newer && connector.findUnpinned?.(host, port, target.servername) ? lookupOnceAllowed : target.lookup))
  const gate = holdBytes(socket)
  // tls makes the legacy object of the whole chain only to hand it to checkServerIdentity, which here reads the X509
  // object instead: cheaper, and it cannot crash on a junk certificate (Node 24 and 26; see peer-certificate.ts).
  putMethod(socket, 'getPeerCertificate', () => ({}) as never)
  // Reading the X509 object empties Node's own copy (Node 20 to 24), so it is read once.
  putMethod(socket, 'getPeerX509Certificate', readLeaf)
  // Every end of the handshake comes through destroy, so this is where a refusal is told, before its error is emitted.
  putMethod(socket, 'destroy', (reason?: Error) => {
    let error = reason
    try {
      error = reason && explain(reason)
      settle()
      // Whoever is told may end the connection as well (a logger that closes the pinning): for this reason, then.
      socket.destroy = () => socket
      if (pending && !socket.destroyed) tell(undefined, pending)
      if (error && (refusal !== undefined || isUntrusted(socket)) && !socket.destroyed) tell(undefined, error)
    } catch {
      // Whatever fails in explaining, the connection ends, and for its first reason.
    }
    restoreMethods(socket, 'destroy')
    return socket.destroy(error)
  })
  // Of a peer that is refused nobody hears 'secureConnect': http2 takes over its socket's handle then, and Node ends the process
  // where there is none any more. Before Node's own listener of 'secure', which emits it.
  socket.prependOnceListener('secure', () => {
    const { emit } = socket
    putMethod(socket, 'emit', (...args: [event: string | symbol, ...unknown[]]) => {
      if (args[0] !== 'secureConnect') return Reflect.apply(emit, socket, args) as boolean
      restoreMethods(socket, 'emit')
      onSecureConnect()
      const heard = !socket.destroyed && socket.emit(...(args as ['secureConnect']))
      socket.once('secureConnect', () => socket.destroy(unverified('TLS renegotiation is refused: the peer could change after its verdict')))
      return heard
    })
  })
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
      if (seen === undefined) return (refusal = unverified('The server sent no certificate'))
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
      trust.records.accept(judged.record)
      verificationMs += performance.now() - from
      settle()
      connector.onVerified(socket, judged, verifyUnasked)
      gate.open(judged)
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
      if (offered === undefined) throw unverified('A TLS session was resumed that this agent did not offer')
      record = offered.record
      leaf = offered.leaf
      evidenceUntil = offered.evidenceUntil
      return verify(leaf, serverName, untrusted)
    }
    const seen = readLeaf()
    if (!(pinOnly || nodeAgreed) || seen === undefined) throw unverified(seen === undefined ? 'The server sent no certificate' : 'The TLS handshake ended without a verdict')
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
    const verified = verifyPeer({ host, port, serverName, ...at, record, leaf: seen, untrusted, anchors, restricted, evidenceUntil: Math.min(evidenceUntil, validTo) }, now)
    // A CA vouches for many names: which one was meant is said by the URL, and a Host header may be a stranger's. A pinned leaf is who it is.
    if (target.namedByHeader && serverName !== host && !isIP(host) && at.policy && at.policies.find(host, port) === at.policy && verified.match && verified.match.depth !== 0 && at.policies.modeOf(at.policy) === 'enforce') {
      const nameError = record.checkName(host)
      if (nameError) throw Object.assign(nameError, { cert: peerCertificate(seen, trusts.general.anchors, true) })
    }
    return verified
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
      const error = connector.findUnpinned?.(host, port, target.servername)
      if (error) reporter.blocked(host, port, error)
      if (error) done(error, '')
      else (target.lookup ?? (process.getBuiltinModule('node:dns').lookup))(name, options, done)
    }
    void (newer?.first() ?? Promise.resolve())
      .then(() => (connector.findUnpinned?.(host, port, target.servername) ? newer?.beforeRefusal() : undefined))
      .then(proceed)
      .catch((error: unknown) => socket.destroy(asError(error)))
  }

  function policyNow(): { policies: PolicySet; policy: Policy | undefined } {
    const policies = connector.policies()
    return { policies, policy: policies.find(host, port, target.servername) }
  }

  function unverified(reason: string): ChainUnverifiedError {
    const { policy } = policyNow()
    return new ChainUnverifiedError(`${reason} (${host}:${port})`, { host, port, policy: policy?.pattern ?? 'none', served: [], verified: [], knownPins: [...(policy?.pins.keys() ?? [])] })
  }

  function readLeaf(): X509Certificate | undefined {
    return (leaf ??= readPeerX509.call(socket))
  }

  /** The handshake is over: the socket's own methods are its own again, and answer as usual. */
  function settle(): void {
    if (settled) return
    settled = true
    if (leaf === undefined && isUntrusted(socket)) readLeaf()
    restoreMethods(socket, 'destroy')
    const seen = leaf
    if (seen === undefined || seen === offered?.leaf) return restoreMethods(socket, 'getPeerCertificate', 'getPeerX509Certificate')
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
  const { host, port, socketPath, servername, timeout, highWaterMark, signal, keepAlive, keepAliveInitialDelay, noDelay, family, hints, localAddress, localPort, autoSelectFamily, autoSelectFamilyAttemptTimeout } = target
  const options = {
    __proto__: null,
    host, port, path: socketPath, servername, timeout, highWaterMark, signal, keepAlive, keepAliveInitialDelay, noDelay, lookup, family, hints, localAddress, localPort, autoSelectFamily, autoSelectFamilyAttemptTimeout,
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
