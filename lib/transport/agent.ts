import type { ClientRequest, RequestOptions } from 'node:http'
import * as https from 'node:https'
import { isIP } from 'node:net'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { BypassError } from '../errors.js'
import type { PinningError } from '../errors.js'
import type { PolicySet } from '../policy/policy-set.js'
import type { Reporter } from '../report/reporter.js'
import type { PinnedPeer } from '../verify/verify.js'
import { findUnpinned } from './admission.js'
import { ClientCertificateFiles } from './client-certificate.js'
import type { ClientCertificateStatus } from './client-certificate.js'
import { connectPinned } from './connect.js'
import type { Connector, NewerPolicies } from './connector.js'
import { refusedSocket } from './refused-socket.js'
import { watchResponses } from './responses.js'
import { Sessions } from './sessions.js'
import { findTlsOption, readPoolOptions, readTlsOptions } from './tls-options.js'
import type { PoolOptions, TlsOptions } from './tls-options.js'
import { findProxy } from './proxy.js'
import type { Proxy, ProxyRule } from './proxy.js'
import { createProxyConnector } from './proxy-connector.js'
import { Tunnel, joinTunnel } from './tunnel.js'
import type { ProxyConnector } from './tunnel.js'
import { Trusts } from './trust.js'

export interface AgentSettings {
  readonly policies: () => PolicySet
  readonly reporter: Reporter
  readonly tls: TlsOptions | undefined
  readonly agent: PoolOptions | undefined
  /** How long a certificate that a host has shown may be relied on, in milliseconds; default for ever. */
  readonly maxAgeMs?: (host: string, port: number) => number
  /** Called when the files hold another client certificate: connections of the former are not to be used again. */
  readonly onClientCertificate?: () => void
  /** The same for other trust anchors: see {@link PinningAgent.renewTrust}. */
  readonly onTrustAnchors?: () => void
  /** Which proxy connections take that come to the agent itself; default none. */
  readonly proxy?: ProxyRule
  readonly proxyConnector?: ProxyConnector
  /** Milliseconds since the epoch; default `Date.now`. */
  readonly now?: () => number
  /** Where the policies change while the program runs. */
  readonly newer?: NewerPolicies | undefined
}

/**
 * An `https.Agent` whose every connection goes to a peer that the policy accepts. Pooling, queueing, time-outs and
 * keep-alive are Node's own.
 */
export class PinningAgent extends https.Agent {
  readonly #connector: Connector
  readonly #clientCertificate: ClientCertificateFiles | undefined
  readonly #proxyConnector: ProxyConnector
  readonly #proxy: ProxyRule
  readonly #through = new Map<ProxyRule, https.Agent>()
  readonly #proofs = new WeakMap<object, Proof>()
  /** The verified sockets of the other transports, and what judges each again. */
  readonly #beside = new Map<TLSSocket, () => PinnedPeer>()
  /** No proof ends before this moment; a lower bound, so that the common case is one comparison. */
  #goodUntil = Infinity
  #lastPolicies: PolicySet | undefined
  readonly #idle: object

  /** @throws {PolicyInvalidError | TypeError | BypassError} naming the option of `tls` or `agent` */
  constructor(settings: AgentSettings) {
    // As http makes one for `agent: false`, where this one is the global agent.
    if ((settings as AgentSettings | undefined) === undefined) throw new BypassError('agent: false', 'an agent made for one request has no pins; right would be to leave it out, or agent: the pinning agent')
    const tls = readTlsOptions(settings.tls)
    const pool = readPoolOptions(settings.agent)
    super({
      ...pool,
      ...(tls.servername !== undefined && { servername: tls.servername }),
      // This class keeps its own sessions (sessions.ts).
      maxCachedSessions: 0,
      rejectUnauthorized: true,
      // Not called by this class. Whoever copies the options of this agent into another one gets connections that are refused.
      checkServerIdentity: refuseCopiedOptions
    })
    this.#idle = Object.create(this, { options: { value: { ...this.options, timeout: idleMs } } }) as object
    this.#clientCertificate = tls.clientCertificate && new ClientCertificateFiles(tls.clientCertificate, {
      changed: () => settings.onClientCertificate?.(),
      failed: (problem) => settings.reporter.warnOnce(`axios-ssl-pinning: ${problem}`)
    })
    const trusts = new Trusts(tls, this.#clientCertificate, settings.onTrustAnchors)
    // Errors in the user's own options should come up now; without any, making the context can wait.
    if (settings.tls !== undefined) trusts.general.context()
    this.#connector = {
      policies: settings.policies,
      trusts,
      sessions: new Sessions(pool.maxCachedSessions ?? 100),
      minDHSize: tls.minDHSize,
      reporter: settings.reporter,
      onVerified: (socket, peer, judgeAgain) => {
        this.#proofs.set(socket, { peer, policies: settings.policies(), judgeAgain })
        this.#goodUntil = Math.min(this.#goodUntil, peer.goodUntil)
      },
      ...(settings.maxAgeMs && { maxAgeMs: settings.maxAgeMs }),
      newer: settings.newer,
      findUnpinned: (host, port, serverName) => findUnpinned(this.#connector.policies(), host, port, serverName),
      now: settings.now ?? Date.now
    }
    const { clock } = settings.reporter
    watchResponses(this, (response, request) => {
      if (clock.isDue && this.#proofs.get(response.socket)?.peer.result === 'pinned') clock.observe(request.host, response.headers.date, this.#connector.now())
    })
    this.#proxy = settings.proxy ?? false
    this.#proxyConnector = settings.proxyConnector ?? createProxyConnector({}, settings.reporter)
    // Before Node's own listener hands a freed socket to a queued request or keeps it.
    this.prependListener('free', (socket: Duplex, options: NamedOptions) => {
      const proof = this.#proofs.get(socket)
      // Without a proof nothing that is written to it leaves yet: it is connecting, or about to fail with its error.
      if (proof === undefined) return
      const policies = this.#connector.policies()
      if (!this.#holds(proof, policies) || !this.#isWanted(options, policies)) socket.destroy()
    })
  }

  /**
   * Node's pool name, with the revision of the policies in it: sockets and sessions made under other policies are never
   * reused. A refused request has a pool of its own, so that no pooled socket takes it and no other request its refusal.
   */
  override getName(options: NamedOptions = {}): string {
    const { host, family, servername } = options
    const otherName = servername && servername !== host ? `${servername}${options[byHeader] ? ' by header' : ''}` : ''
    const name = `${host || 'localhost'}:${options.port ?? ''}:${options.localAddress ?? ''}:${family === 4 || family === 6 ? family : ''}:${options.socketPath ?? ''}:${otherName}`
    const through = options[via] ? `:via ${options[via].key}` : ''
    return `${name}:r${options[revision] ?? this.#connector.policies().revision}${through}${options[refusal] ? ':refused' : ''}`
  }

  /** Called by `http.ClientRequest` (undocumented, the same on Node 20 to 26) for every request. */
  addRequest(req: ClientRequest, options: NamedOptions | string, ...legacy: unknown[]): void {
    this.#add(this.#proxy, req, options, legacy)
  }

  /** This agent with its pool, for requests to which another rule of proxies applies. */
  through(rule: ProxyRule): https.Agent {
    const known = this.#through.get(rule)
    if (known) return known
    const addRequest = (req: ClientRequest, options: NamedOptions, ...legacy: unknown[]): void => this.#add(rule, req, options, legacy)
    // Those that read private fields, for whoever calls them on this object: interceptors of http requests do (nock, msw).
    const own = Object.fromEntries((['createConnection', 'getName', 'keepSocketAlive', 'reuseSocket', 'destroy'] as const).map((name) => [name, { value: (this[name] as (...args: unknown[]) => unknown).bind(this) }]))
    const agent = Object.create(this, { ...own, addRequest: { value: addRequest } }) as https.Agent
    // The rules of nearly every request; a proxy of its own is an object of its own each time.
    if (typeof rule !== 'object') this.#through.set(rule, agent)
    return agent
  }

  #add(rule: ProxyRule, req: ClientRequest, given: NamedOptions | string, legacy: unknown[]): void {
    // Node's legacy form: (req, host, port, localAddress).
    const options = typeof given === 'string' ? ({ __proto__: null, host: given, port: legacy[0], localAddress: legacy[1] } as NamedOptions) : given
    const brought = findTlsOption(options)
    let error: PinningError | undefined = brought === undefined ? undefined : new BypassError(brought, 'TLS options are set when the agent is made; right would be the tls option')
    let proxy: Proxy | undefined
    try {
      proxy = findProxy(rule, 'https:', options.host || 'localhost', Number(options.port ?? 443))
    } catch (thrown) {
      error ??= thrown as PinningError
    }
    const policies = this.#connector.policies()
    this.#dropStale(policies)
    // Only what concerns the connection: of a request's two dozen options Node would make copies that cost more than all of
    // this. What is added here it copies along, and asks for the name again when it looks for queued requests.
    const wanted: NamedOptions = { [revision]: policies.revision }
    for (const name of connectionFields) {
      if (options[name] !== undefined && Object.hasOwn(options, name)) (wanted as Record<string, unknown>)[name] = options[name]
    }
    // Another name than the host's can come from a Host header only, then: Node's agent looks there.
    if (wanted.servername === undefined && (this.options as NamedOptions).servername === undefined) wanted[byHeader] = true
    if (error) wanted[refusal] = error
    if (proxy) wanted[via] = proxy
    nodeAgent.addRequest.call(this, req, wanted)
  }

  /** Node's own, told how long an idle socket is kept. Of its option `timeout` every request would have a timer and listeners, too. */
  override keepSocketAlive(socket: Duplex): boolean {
    return nodeAgent.keepSocketAlive.call(this.options.timeout === undefined ? this.#idle : this, socket)
  }

  override reuseSocket(socket: Duplex & Partial<Socket>, request: ClientRequest): void {
    // Of the time that it was idle; Node ends only a timer that its option has set.
    if (socket.timeout && this.options.timeout === undefined) socket.setTimeout?.(0)
    nodeAgent.reuseSocket.call(this, socket, request)
  }

  /** Called by Node's agent when it wants a new socket; by hand as that of `https.Agent`: with options, or a port, a host and options. */
  override createConnection(given: RequestOptions | number, ...more: unknown[]): Duplex {
    const options = (typeof given === 'number' ? optionsOf(given, more) : given) as NamedOptions
    const host = options.host || 'localhost'
    const port = Number(options.port ?? 443)
    const error = options[refusal] ?? this.#connector.policies().findRefusal(host, port, this.#connector.now()) ?? (this.#mayBeAllowed(options) ? undefined : this.#connector.findUnpinned?.(host, port, options.servername))
    if (error) {
      this.#connector.reporter.blocked(host, port, error)
      return refusedSocket(error)
    }
    const { servername, timeout, highWaterMark, signal, keepAlive, keepAliveInitialDelay, noDelay, lookup, family, hints, localAddress, localPort, autoSelectFamily, autoSelectFamilyAttemptTimeout } = options
    const socketPath = options.socketPath ?? (options.host || options.port ? undefined : options.path)
    try {
      const tunnel = options[via] && new Tunnel(options[via], host, port, this.#proxyConnector)
      const socket = connectPinned(
        { host, port, pool: this.getName(options), servername: servername ?? undefined, namedByHeader: options[byHeader] === true, socketPath: socketPath ?? undefined, timeout, highWaterMark, signal, keepAlive, keepAliveInitialDelay, noDelay, lookup: lookup, family, hints, localAddress, localPort, autoSelectFamily, autoSelectFamilyAttemptTimeout, tunnel },
        this.#connector
      )
      if (tunnel) joinTunnel(socket, tunnel, timeout)
      return socket
    } catch (thrown) {
      // Thrown here it would leave the request without an 'error' event, and the queue behind it stuck.
      return refusedSocket(thrown as Error)
    }
  }

  /** Of `tls.clientCertificate`. */
  get clientCertificate(): ClientCertificateStatus | undefined {
    return this.#clientCertificate?.status
  }

  /** To be called before a connection is used or made: whether Node's own trust anchors are still those that it was verified with. */
  renewTrust(): void {
    this.#connector.trusts.renew()
  }

  /** Ends the connections in use whose peer the policies in force do not accept. Says how many. */
  abortRevoked(): number {
    let aborted = 0
    for (const socket of Object.values(this.sockets).flatMap((sockets) => sockets ?? [])) {
      const error = this.#proofs.get(socket)?.policies === this.#connector.policies() ? undefined : this.#judgeAgain(socket)
      if (error === undefined) continue
      aborted++
      socket.destroy(error)
    }
    for (const [socket, judgeAgain] of this.#beside) {
      try {
        judgeAgain()
      } catch (error) {
        aborted++
        socket.destroy(error as Error)
      }
    }
    return aborted
  }

  /**
   * For the other transports of the same pinning: its policies, trust and reports; sessions of their own. The verdict is made
   * in the handshake, and does not wait for newer policies, since http2 takes the socket over then; whoever opens one asks `awaited` first.
   */
  connectorFor(onVerified: (socket: TLSSocket, peer: PinnedPeer) => void): Connector {
    return {
      ...this.#connector,
      sessions: new Sessions(this.#connector.sessions.limit),
      // undici ends a connection with an error also when it has been idle for long enough.
      keepsSessions: true,
      newer: undefined,
      awaited: () => this.#connector.newer?.first(),
      onVerified: (socket, peer, judgeAgain) => {
        this.#beside.set(socket, judgeAgain)
        socket.once('close', () => this.#beside.delete(socket))
        onVerified(socket, peer)
      }
    }
  }

  override destroy(): void {
    this.#connector.sessions.clear()
    this.#clientCertificate?.close()
    super.destroy()
  }

  /** Closes the idle sockets whose proof no longer holds, before a request could take one. */
  #dropStale(policies: PolicySet): void {
    if (policies === this.#lastPolicies && this.#connector.now() <= this.#goodUntil) return
    this.#lastPolicies = policies
    this.#goodUntil = Infinity
    for (const sockets of [...Object.values(this.sockets), ...Object.values(this.freeSockets)]) {
      for (const socket of sockets ?? []) this.#goodUntil = Math.min(this.#goodUntil, this.#proofs.get(socket)?.peer.goodUntil ?? Infinity)
    }
    for (const [name, sockets] of Object.entries(this.freeSockets)) {
      const stale = (sockets ?? []).filter((socket) => !this.#holds(this.#proofs.get(socket), policies))
      const good = (sockets ?? []).filter((socket) => !stale.includes(socket))
      if (good.length > 0) (this.freeSockets as Record<string, Socket[]>)[name] = good
      else delete (this.freeSockets as Record<string, Socket[]>)[name]
      for (const socket of stale) socket.destroy()
    }
  }

  /** A host without pins may have some in a moment: then it waits before its name is looked up. An address has no such moment, nor a host behind a proxy. */
  #mayBeAllowed({ host, socketPath, [via]: proxy }: NamedOptions): boolean {
    const { newer } = this.#connector
    if (newer === undefined || !(newer.first() || newer.mayRetry)) return false
    if (!socketPath && !proxy && !isIP(host || 'localhost')) return true
    void newer.beforeRefusal()
    return false
  }

  /** The refusal of a connected peer by the policies in force; `undefined` where they accept it, as its proof then says. */
  #judgeAgain(socket: Duplex): Error | undefined {
    const proof = this.#proofs.get(socket)
    try {
      if (proof) this.#proofs.set(socket, { ...proof, peer: proof.judgeAgain(), policies: this.#connector.policies() })
      return undefined
    } catch (error) {
      return error as Error
    }
  }

  /** Whether a proof still holds: the same policies, and nothing has expired since. */
  #holds(proof: Proof | undefined, policies: PolicySet): boolean {
    return proof !== undefined && proof.policies === policies && this.#connector.now() <= proof.peer.goodUntil
  }

  /** Only requests from before an update look for a socket in a pool of that time; left there it would be in the way. */
  #isWanted(options: NamedOptions, policies: PolicySet): boolean {
    return options[revision] === undefined || options[revision] === policies.revision || this.requests[this.getName(options)] !== undefined
  }
}

interface Proof {
  readonly peer: PinnedPeer
  readonly policies: PolicySet
  readonly judgeAgain: () => PinnedPeer
}

export type NamedOptions = RequestOptions & {
  [revision]?: number
  highWaterMark?: number
  [via]?: Proxy | undefined
  [refusal]?: PinningError | undefined
  [byHeader]?: boolean
  servername?: string
  keepAlive?: boolean
  keepAliveInitialDelay?: number
  noDelay?: boolean
  autoSelectFamily?: boolean
  autoSelectFamilyAttemptTimeout?: number
}

const revision: unique symbol = Symbol('axios-ssl-pinning.revision')
const byHeader: unique symbol = Symbol('axios-ssl-pinning.byHeader')
export const via: unique symbol = Symbol('axios-ssl-pinning.via')
export const refusal: unique symbol = Symbol('axios-ssl-pinning.refusal')

/** What of a request's options concerns its connection, for Node's agent and for this one. */
const connectionFields = [
  'host', 'port', 'servername', 'socketPath', 'timeout', 'keepAlive', 'keepAliveInitialDelay', 'noDelay', 'lookup', 'family', 'hints', 'localAddress', 'localPort', 'autoSelectFamily', 'autoSelectFamilyAttemptTimeout', 'highWaterMark'
] as const

/** Of `createConnection(port, host, options)` and `createConnection(port, options)`. */
function optionsOf(port: number, [host, options]: unknown[]): NamedOptions {
  const given = typeof host === 'object' && host !== null ? host : options
  return { ...(typeof given === 'object' && given !== null && given), port, ...(typeof host === 'string' && { host }) }
}

/** How long an idle socket is kept, as in Node's global agent. */
export const idleMs = 5_000

const nodeAgent = https.Agent.prototype as unknown as { addRequest(...args: unknown[]): void; keepSocketAlive(socket: Duplex): boolean; reuseSocket(socket: Duplex, request: ClientRequest): void }

function refuseCopiedOptions(): Error {
  return new BypassError('agent.options', 'they were copied into an agent that checks no pins; right would be the pinning agent itself')
}
