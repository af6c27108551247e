import { EventEmitter } from 'node:events'
import type { ClientHttp2Session, ClientSessionOptions, SecureClientSessionOptions } from 'node:http2'
import type { Socket } from 'node:net'
import { BypassError, findPinningError } from '../errors.js'
import type { PolicySet } from '../policy/policy-set.js'
import type { PinnedPeer } from '../verify/verify.js'
import type { PinningAgent } from './agent.js'
import type { Connector } from './connector.js'
import { openSocket } from './open-socket.js'
import { refusedSocket } from './refused-socket.js'
import type { PoolOptions } from './tls-options.js'

/** What `http2.connect` takes as its option `createConnection`. */
export type CreateConnection = (authority: URL, options: ClientSessionOptions | SecureClientSessionOptions) => Socket

/** Whether a `createConnection` is one of ours, of any pinning and any time. */
export function isPinnedConnection(value: unknown): boolean {
  return pinnedConnections.has(value as CreateConnection)
}

const pinnedConnections = new WeakSet<CreateConnection>()

/**
 * Connections for `http2.connect`.
 *
 * A session takes over its socket's handle in a listener of `'secureConnect'`, past the gate that holds back writes; the
 * verdict comes before that, and of a peer that is refused the event is not emitted.
 */
export class PinningHttp2 {
  readonly #connector: Connector
  readonly #defaults: PoolOptions & { servername?: string }
  readonly #open = new Set<Socket>()
  #current: { readonly createConnection: CreateConnection; readonly policies: PolicySet; goodUntil: number } | undefined

  constructor(agent: PinningAgent) {
    this.#connector = agent.connectorFor((_socket, peer) => this.#onVerified(peer))
    this.#defaults = agent.options as PoolOptions
  }

  /**
   * Another function after each swap of the policies, and when a proof has ended: who keeps sessions finds them by their
   * options (as axios does), and this one among them tells which session may still be used.
   */
  get createConnection(): CreateConnection {
    const policies = this.#connector.policies()
    if (this.#current?.policies !== policies || this.#connector.now() > this.#current.goodUntil) {
      const createConnection: CreateConnection = (authority, options) => this.#connect(authority, options)
      pinnedConnections.add(createConnection)
      this.#current = { createConnection, policies, goodUntil: Infinity }
    }
    return this.#current.createConnection
  }

  /** Closes every socket. */
  close(): void {
    this.#connector.sessions.clear()
    for (const socket of this.#open) socket.destroy()
  }

  #connect({ protocol, hostname, port }: URL, given: object): Socket {
    const { servername, ...pool } = this.#defaults
    const options = { __proto__: null, ...pool, ...given } as PoolOptions & { servername?: string }
    const { lookup, family, hints, localAddress, localPort, autoSelectFamily, autoSelectFamilyAttemptTimeout, noDelay } = options
    if (this.#connector.awaited?.()) return refusedSocket(new BypassError('httpVersion', 'the first pin set is awaited, which HTTP/2 cannot do; right would be HTTP/1.1 until then'))
    const socket = openSocket({
      lookup, family, hints, localAddress, localPort, autoSelectFamily, autoSelectFamilyAttemptTimeout, noDelay,
      protocol,
      host: hostname.replace(/^\[|\]$/g, ''),
      port: Number(port || (protocol === 'https:' ? 443 : 80)),
      servername: servername ?? options.servername,
      alpn: ['h2']
    }, this.#connector)
    whenBound(socket, tellRequests)
    this.#open.add(socket)
    socket.once('close', () => this.#open.delete(socket))
    return socket
  }

  #onVerified(peer: PinnedPeer): void {
    if (this.#current) this.#current.goodUntil = Math.min(this.#current.goodUntil, peer.goodUntil)
  }
}

/**
 * A connection that fails cancels the requests that wait for it, which would hear of that only; they shall hear of the
 * refusal itself. axios before 1.20 listens for no error of the session, and the process would end with it.
 */
function tellRequests(session: ClientHttp2Session): void {
  session.on('error', () => undefined)
  const { request } = session
  session.request = (...args) => {
    const stream = request.apply(session, args)
    if (!session.connecting) return stream
    const { destroy } = stream
    stream.destroy = (error) => destroy.call(stream, error && (findPinningError(error) ?? error))
    return stream.once('ready', () => delete (stream as Partial<typeof stream>).destroy)
  }
}

/**
 * `http2` binds a session to its socket as the value of a property (which one is not documented; it is so in Node 20 to
 * 26), then listens to the socket. Without it errors tell less.
 */
function whenBound(socket: Socket, found: (session: ClientHttp2Session) => void): void {
  const look = (): void => {
    const values = Reflect.ownKeys(socket).map((key) => Object.getOwnPropertyDescriptor(socket, key)?.value as unknown)
    const session = values.find((value) => value instanceof EventEmitter && typeof (value as Partial<ClientHttp2Session>).request === 'function')
    if (session === undefined) return
    socket.off('newListener', look)
    found(session as ClientHttp2Session)
  }
  socket.on('newListener', look)
}
