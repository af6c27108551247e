import type { ClientRequest, RequestOptions } from 'node:http'
import * as http from 'node:http'
import * as https from 'node:https'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { BypassError, HostUnpinnedError } from '../errors.js'
import type { PinningError } from '../errors.js'
import type { PolicySet } from '../policy/policy-set.js'
import type { Reporter } from '../report/reporter.js'
import type { PinnedPeer } from '../verify/verify.js'
import { ClientCertificateFiles } from './client-certificate.js'
import type { ClientCertificateStatus } from './client-certificate.js'
import { connectPinned } from './connect.js'
import type { Connector } from './connect.js'
import { holdWrites } from './gate.js'
import { watchResponses } from './responses.js'
import { Sessions } from './sessions.js'
import { perRequestTlsOptions, readPoolOptions, readTlsOptions } from './tls-options.js'
import type { PoolOptions, TlsOptions } from './tls-options.js'
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
  /** Milliseconds since the epoch; default `Date.now`. */
  readonly now?: () => number
}

/**
 * An `https.Agent` whose every connection goes to a peer that the policy accepts. Pooling, queueing, time-outs and
 * keep-alive are Node's own.
 */
export class PinningAgent extends https.Agent {
  readonly #connector: Connector
  readonly #clientCertificate: ClientCertificateFiles | undefined
  readonly #proofs = new WeakMap<object, Proof>()
  /** No proof ends before this moment; a lower bound, so that the common case is one comparison. */
  #goodUntil = Infinity
  #lastPolicies: PolicySet | undefined

  /** @throws {PolicyInvalidError | TypeError} naming the option of `tls` or `agent` */
  constructor(settings: AgentSettings) {
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
    this.#clientCertificate = tls.clientCertificate && new ClientCertificateFiles(tls.clientCertificate, {
      changed: () => settings.onClientCertificate?.(),
      failed: (problem) => settings.reporter.warnOnce(`axios-ssl-pinning: ${problem}`)
    })
    const trusts = new Trusts(tls, this.#clientCertificate)
    // Errors in the user's own options should come up now; without any, making the context can wait.
    if (settings.tls !== undefined) trusts.general.context()
    this.#connector = {
      policies: settings.policies,
      trusts,
      sessions: new Sessions(pool.maxCachedSessions ?? 100),
      minDHSize: tls.minDHSize,
      reporter: settings.reporter,
      onVerified: (socket, peer) => {
        this.#proofs.set(socket, { peer, policies: settings.policies() })
        this.#goodUntil = Math.min(this.#goodUntil, peer.goodUntil)
      },
      ...(settings.maxAgeMs && { maxAgeMs: settings.maxAgeMs }),
      now: settings.now ?? Date.now
    }
    const { clock } = settings.reporter
    watchResponses(this, (response, request) => {
      if (clock.isDue && this.#proofs.get(response.socket)?.peer.result === 'pinned') clock.observe(request.host, response.headers.date)
    })
    // Before Node's own listener hands a freed socket to a queued request or keeps it.
    this.prependListener('free', (socket: Duplex, options: NamedOptions) => {
      const proof = this.#proofs.get(socket)
      // Without a proof nothing that is written to it leaves yet: it is connecting, or about to fail with its error.
      if (proof !== undefined && !(this.#holds(proof) && this.#isWanted(options))) socket.destroy()
    })
  }

  /**
   * Node's pool name, with the revision of the policies in it: sockets and sessions made under other policies are never
   * reused. A refused request has a pool of its own, so that no pooled socket takes it and no other request its refusal.
   */
  override getName(options: NamedOptions = {}): string {
    const name = `${options.host || 'localhost'}:${options.port ?? ''}:${options.localAddress ?? ''}:${options.family ?? ''}:${options.socketPath ?? ''}:${options.servername ?? ''}`
    return `${name}:r${options[revision] ?? this.#connector.policies().revision}${options[refusal] ? ':refused' : ''}`
  }

  /** Called by `http.ClientRequest` (undocumented, the same on Node 20 to 26) for every request. */
  addRequest(req: ClientRequest, options: NamedOptions, ...legacy: unknown[]): void {
    const brought = findTlsOption(options)
    const error = brought === undefined ? undefined : new BypassError(brought, 'TLS options are set when the agent is made; right would be the tls option')
    this.#dropStale()
    // Node copies these along with the rest, and asks for the name again when it looks for queued requests.
    nodeAgent.addRequest.call(this, req, { ...options, [revision]: this.#connector.policies().revision, [refusal]: error }, ...legacy)
  }

  /** Called by Node's agent when it wants a new socket. */
  override createConnection(options: NamedOptions, _callback?: unknown): Duplex {
    const host = options.host || 'localhost'
    const port = Number(options.port ?? 443)
    const policies = this.#connector.policies()
    const policy = policies.find(host, port)
    const unpinned = policy === undefined && policies.unpinnedHosts === 'refuse' && policies.mode === 'enforce'
    const error = options[refusal] ?? (unpinned ? new HostUnpinnedError(host, port, policies.nearestPatterns(host)) : undefined)
    if (error) {
      this.#connector.reporter.blocked(host, port, error)
      return refusedSocket(error)
    }
    const { servername, socketPath, timeout, keepAlive, keepAliveInitialDelay, noDelay, lookup, family, hints, localAddress, localPort, autoSelectFamily, autoSelectFamilyAttemptTimeout } = options
    try {
      return connectPinned(
        { host, port, pool: this.getName(options), servername: servername ?? undefined, socketPath: socketPath ?? undefined, timeout, keepAlive, keepAliveInitialDelay, noDelay, lookup: lookup, family, hints, localAddress, localPort, autoSelectFamily, autoSelectFamilyAttemptTimeout },
        this.#connector
      )
    } catch (thrown) {
      // Thrown here it would leave the request without an 'error' event, and the queue behind it stuck.
      return refusedSocket(thrown as Error)
    }
  }

  /** Of `tls.clientCertificate`. */
  get clientCertificate(): ClientCertificateStatus | undefined {
    return this.#clientCertificate?.status
  }

  override destroy(): void {
    this.#connector.sessions.clear()
    this.#clientCertificate?.close()
    super.destroy()
  }

  /** Closes the idle sockets whose proof no longer holds, before a request could take one. */
  #dropStale(): void {
    const policies = this.#connector.policies()
    if (policies === this.#lastPolicies && this.#connector.now() <= this.#goodUntil) return
    this.#lastPolicies = policies
    this.#goodUntil = Infinity
    for (const sockets of [...Object.values(this.sockets), ...Object.values(this.freeSockets)]) {
      for (const socket of sockets ?? []) this.#goodUntil = Math.min(this.#goodUntil, this.#proofs.get(socket)?.peer.goodUntil ?? Infinity)
    }
    for (const [name, sockets] of Object.entries(this.freeSockets)) {
      const stale = (sockets ?? []).filter((socket) => !this.#holds(this.#proofs.get(socket)))
      const good = (sockets ?? []).filter((socket) => !stale.includes(socket))
      if (good.length > 0) (this.freeSockets as Record<string, Socket[]>)[name] = good
      else delete (this.freeSockets as Record<string, Socket[]>)[name]
      for (const socket of stale) socket.destroy()
    }
  }

  /** Whether a proof still holds: the same policies, and nothing has expired since. */
  #holds(proof: Proof | undefined): boolean {
    return proof !== undefined && proof.policies === this.#connector.policies() && this.#connector.now() <= proof.peer.goodUntil
  }

  /** Only requests from before an update look for a socket in a pool of that time; left there it would be in the way. */
  #isWanted(options: NamedOptions): boolean {
    return options[revision] === undefined || options[revision] === this.#connector.policies().revision || this.requests[this.getName(options)] !== undefined
  }
}

/** The `http.Agent` beside it: lets plain `http:` pass only to hosts that need no pins. */
export class PlainAgent extends http.Agent {
  readonly #settings: AgentSettings

  constructor(settings: AgentSettings) {
    super(readPoolOptions(settings.agent))
    this.#settings = settings
    // A socket from before an update, which Node would hand to a queued request. One that was refused fails by itself.
    this.prependListener('free', (socket: Socket, options: NamedOptions) => {
      if ((socket.connecting || !socket.pending) && this.#findRefusal(options)) socket.destroy()
    })
  }

  /** As in {@link PinningAgent}: a refused request has a pool of its own. */
  override getName(options: NamedOptions = {}): string {
    return `${super.getName(options)}${options[refusal] ? ':refused' : ''}`
  }

  /** Every request is asked about, since a pooled socket may be older than the policies. */
  addRequest(req: ClientRequest, options: NamedOptions, ...legacy: unknown[]): void {
    nodePlainAgent.addRequest.call(this, req, { ...options, [refusal]: this.#findRefusal(options) }, ...legacy)
  }

  override createConnection(options: NamedOptions, callback?: (error: Error | null, stream: Duplex) => void): Duplex | null | undefined {
    const error = options[refusal] ?? this.#findRefusal(options)
    if (error === undefined) return super.createConnection(options, callback)
    this.#settings.reporter.blocked(options.host || 'localhost', Number(options.port ?? 80), error)
    return refusedSocket(error)
  }

  #findRefusal({ host, port }: NamedOptions): BypassError | undefined {
    return plainRefusal(this.#settings.policies(), host || 'localhost', Number(port ?? 80))
  }
}

/** An agent whose every connection fails with one error: what a request is given that would go past the pins. */
export class RefusingAgent extends https.Agent {
  constructor(readonly error: PinningError, protocol: 'http:' | 'https:', readonly onRefusal: () => void) {
    super()
    ;(this as unknown as { protocol: string; defaultPort: number }).protocol = protocol
    ;(this as unknown as { protocol: string; defaultPort: number }).defaultPort = protocol === 'https:' ? 443 : 80
  }

  override createConnection(): Duplex {
    this.onRefusal()
    return refusedSocket(this.error)
  }
}

interface Proof {
  readonly peer: PinnedPeer
  readonly policies: PolicySet
}

type NamedOptions = RequestOptions & {
  [revision]?: number
  [refusal]?: PinningError | undefined
  servername?: string
  keepAlive?: boolean
  keepAliveInitialDelay?: number
  noDelay?: boolean
  autoSelectFamily?: boolean
  autoSelectFamilyAttemptTimeout?: number
}

const revision: unique symbol = Symbol('axios-ssl-pinning.revision')
const refusal: unique symbol = Symbol('axios-ssl-pinning.refusal')

const nodeAgent = https.Agent.prototype as unknown as { addRequest(...args: unknown[]): void }
const nodePlainAgent = http.Agent.prototype as unknown as { addRequest(...args: unknown[]): void }

/** A socket that was never connected and fails with an error once the request listens: queues and time-outs see an ordinary failed connection. */
function refusedSocket(error: Error): Socket {
  const socket = new Socket()
  holdWrites(socket)
  setImmediate(() => socket.destroy(error))
  return socket
}

function findTlsOption(options: object): string | undefined {
  for (const name of Object.keys(options)) {
    if (perRequestTlsOptions.has(name) && (options as Record<string, unknown>)[name] !== undefined) return name
  }
  return undefined
}

function plainRefusal(policies: PolicySet, host: string, port: number): BypassError | undefined {
  const found = [port, 443, 80].map((each) => policies.find(host, each)).filter((policy) => policy !== undefined)
  const pinned = found.some((policy) => policies.modeOf(policy) === 'enforce')
  const unpinned = found.length === 0 && policies.mode === 'enforce' && policies.unpinnedHosts === 'refuse'
  if (!pinned && !unpinned) return undefined
  const why = pinned ? `${host} is pinned and is never spoken to in plain text` : `no pins are known for ${host}, and plain text has no peer to verify`
  return new BypassError('http:', `${why}; right would be https:`)
}

function refuseCopiedOptions(): Error {
  return new BypassError('agent.options', 'they were copied into an agent that checks no pins; right would be the pinning agent itself')
}
