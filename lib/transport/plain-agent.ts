import type { ClientRequest } from 'node:http'
import * as http from 'node:http'
import { isIP } from 'node:net'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { BypassError } from '../errors.js'
import type { PinningError } from '../errors.js'
import { findRefusal } from './admission.js'
import { idleMs, refusal, via } from './agent.js'
import type { AgentSettings, NamedOptions } from './agent.js'
import { findProxy } from './proxy.js'
import type { Proxy, ProxyRule, ProxyServer } from './proxy.js'
import { createProxyConnector } from './proxy-connector.js'
import { refusedSocket } from './refused-socket.js'
import { readPoolOptions } from './tls-options.js'
import { basicAuth, connectToProxy } from './tunnel.js'
import type { ProxyConnector } from './tunnel.js'

/** The `http.Agent` beside the pinning one: lets plain `http:` pass only to hosts that need no pins. */
export class PlainAgent extends http.Agent {
  readonly #settings: AgentSettings
  readonly #proxyConnector: ProxyConnector
  readonly #through = new Map<ProxyRule, http.Agent>()

  constructor(settings: AgentSettings) {
    super({ timeout: idleMs, ...readPoolOptions(settings.agent) })
    this.#settings = settings
    this.#proxyConnector = settings.proxyConnector ?? createProxyConnector({}, settings.reporter)
    // A socket from before an update, which Node would hand to a queued request. One that was refused fails by itself.
    this.prependListener('free', (socket: Socket, options: RoutedOptions) => {
      if ((socket.connecting || !socket.pending) && this.#findRefusal(options)) socket.destroy()
    })
  }

  /** A refused request has a pool of its own, so that no pooled socket takes it and no other request its refusal. */
  override getName(options: RoutedOptions = {}): string {
    const through = options[via] ? `:via ${options[via].key}` : ''
    return `${super.getName(options)}${through}${options[refusal] ? ':refused' : ''}`
  }

  /** Every request is asked about, since a pooled socket may be older than the policies. */
  addRequest(req: ClientRequest, options: RoutedOptions, ...legacy: unknown[]): void {
    this.#add(this.#settings.proxy ?? false, undefined, req, options, legacy)
  }

  /**
   * This agent with its pool, for requests to which another rule of proxies applies.
   * @param own an `httpAgent` of the user's, which then makes the connections that need no pins
   */
  through(rule: ProxyRule, own?: http.Agent): http.Agent {
    const known = own ? undefined : this.#through.get(rule)
    if (known) return known
    const addRequest = (req: ClientRequest, options: RoutedOptions, ...legacy: unknown[]): void => this.#add(rule, own, req, options, legacy)
    // For whoever calls it on this object: interceptors of http requests do (nock, msw).
    const createConnection = (options: RoutedOptions, callback?: (error: Error | null, stream: Duplex) => void): Duplex | null | undefined =>
      own && !this.#findRefusal(options) ? own.createConnection(options, callback) : this.createConnection(options, callback)
    const agent = Object.create(own ?? this, { addRequest: { value: addRequest }, createConnection: { value: createConnection } }) as http.Agent
    if (!own && typeof rule !== 'object') this.#through.set(rule, agent)
    return agent
  }

  override createConnection(options: RoutedOptions, callback?: (error: Error | null, stream: Duplex) => void): Duplex | null | undefined {
    const error = options[refusal] ?? this.#findRefusal(options)
    const server = options[via]?.server
    if (error) {
      const { host, port } = target(options)
      this.#settings.reporter.blocked(host, port, error)
      return refusedSocket(error)
    }
    if (server?.protocol === 'https:') return connectToProxy(server, options[via] as Proxy, this.#proxyConnector)
    return super.createConnection(options, callback)
  }

  #add(rule: ProxyRule, own: http.Agent | undefined, req: ClientRequest, options: RoutedOptions, legacy: unknown[]): void {
    const { host, port } = target(options)
    let proxy: Proxy | undefined
    let error: PinningError | undefined
    // At once, since a request may be written down before newer policies are there.
    try {
      proxy = findProxy(rule, 'http:', host, port)
      error = proxy && forward(req, proxy, host, port)
    } catch (thrown) {
      error = thrown as PinningError
    }
    const first = this.#settings.newer?.first()
    if (!first) return this.#hand(proxy, error, own, req, options, legacy)
    const fail = (thrown: unknown): void => this.#hand(undefined, thrown as PinningError, undefined, req, { host, port }, legacy)
    void first.then(() => this.#hand(proxy, error, own, req, options, legacy)).catch(fail)
  }

  #hand(proxy: Proxy | undefined, problem: PinningError | undefined, own: http.Agent | undefined, req: ClientRequest, options: RoutedOptions, legacy: unknown[]): void {
    const { host, port } = target(options)
    const error = this.#findRefusal(options) ?? problem
    if (own && !error && !proxy) return void (own as unknown as { addRequest(...args: unknown[]): void }).addRequest(req, options, ...legacy)
    const route = proxy?.server ? { host: proxy.server.host, port: proxy.server.port, [via]: proxy, [origin]: { host, port } } : {}
    nodePlainAgent.addRequest.call(this, req, { ...options, ...route, [refusal]: error }, ...legacy)
  }

  #findRefusal(options: RoutedOptions): PinningError | undefined {
    const { host, port } = target(options)
    return findRefusal('http:', this.#settings.policies(), host, port, Date.now())
  }
}

type RoutedOptions = NamedOptions & { [origin]?: { host: string; port: number } }

const origin: unique symbol = Symbol('axios-ssl-pinning.origin')

const nodePlainAgent = http.Agent.prototype as unknown as { addRequest(...args: unknown[]): void }

/** Where a request is meant for, whatever carries it there. */
function target(options: RoutedOptions): { host: string; port: number } {
  return options[origin] ?? { host: options.host || 'localhost', port: Number(options.port ?? 80) }
}

/** Makes a request one to a forward proxy: the whole URL in its first line, and the proxy's credentials. */
function forward(req: ClientRequest, proxy: Proxy, host: string, port: number): BypassError | undefined {
  const { server } = proxy as { server: ProxyServer | undefined }
  if (server === undefined) return new BypassError('proxy', 'this agent opens tunnels, which serve https: URLs')
  if ((req as unknown as { _header: unknown })._header) return new BypassError('headers', 'they are an array, and the proxy needs the whole URL in the first line; right would be an object')
  req.path = `http://${isIP(host) === 6 ? `[${host}]` : host}${port === 80 ? '' : `:${port}`}${req.path}`
  if (server.auth !== undefined) req.setHeader('proxy-authorization', basicAuth(server.auth))
  return undefined
}
