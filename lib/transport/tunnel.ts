import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { EventEmitter } from 'node:events'
import * as http from 'node:http'
import { isIP, Socket } from 'node:net'
import type { NetConnectOpts } from 'node:net'
import { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { ProxyError } from '../errors.js'
import { loadModule } from '../policy/load-module.js'
import { connectPinned } from './connect.js'
import type { Connector } from './connector.js'
import type { Proxy, ProxyServer, TunnelAgent } from './proxy.js'

/** What the connection to a proxy is made with. */
export interface ProxyConnector {
  /** For proxies that are reached over TLS: the policies, trust anchors and sessions are the proxy's own. */
  readonly tls: Connector
  /** Node's socket options: `family`, `localAddress`, … */
  readonly socket: Partial<NetConnectOpts>
  /** How long a proxy may take to open a tunnel, in milliseconds. */
  readonly timeoutMs: number
}

/**
 * A stream to `host:port` through a proxy. It is returned at once and holds what is written to it until the proxy has
 * answered CONNECT with 200, so that a TLS socket over it is an ordinary connecting socket to pools and time-outs. Any
 * other end destroys it with a {@link ProxyError}. What the proxy says is never handed on as if the host had said it.
 */
export class Tunnel extends Duplex {
  readonly #proxy: Proxy
  #carrier: Duplex | undefined
  #release: (() => void) | undefined
  /** Ends what is under way before there is a carrier. */
  #abandon: (error: Error) => void = () => undefined

  constructor(proxy: Proxy, host: string, port: number, connector: ProxyConnector) {
    super({ allowHalfOpen: true })
    this.#proxy = proxy
    const opening = open(proxy, host, port, connector, (abandon) => {
      if (this.destroyed) abandon(noLongerWanted())
      else this.#abandon = abandon
    })
    const late = setTimeout(() => this.destroy(proxyFailure(proxy, undefined, `did not open a tunnel within ${connector.timeoutMs} ms`)), connector.timeoutMs).unref()
    this.once('close', () => clearTimeout(late))
    void opening.then(
      (carrier) => {
        clearTimeout(late)
        if (this.destroyed) carrier.destroy()
        else this.#carry(carrier)
      },
      (error: unknown) => this.destroy(error instanceof ProxyError || isRefusal(error) ? (error as Error) : unreachable(proxy, error))
    )
  }

  /** The socket to the proxy, once the tunnel is open. */
  get carrier(): Socket | undefined {
    return this.#carrier instanceof Socket ? this.#carrier : undefined
  }

  get proxy(): string {
    return this.#proxy.shown
  }

  #carry(carrier: Duplex): void {
    this.#carrier = carrier
    carrier.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) carrier.pause()
    })
    carrier.on('end', () => this.push(null))
    carrier.on('error', (error) => this.destroy(error))
    carrier.on('close', () => this.destroy())
    // Ended before we listened.
    if (carrier.destroyed || carrier.readableEnded) return void this.destroy(proxyFailure(this.#proxy, undefined, 'closed the tunnel as soon as it was open'))
    this.emit('open', carrier)
    this.#release?.()
    this.#release = undefined
  }

  #whenOpen(run: (carrier: Duplex) => void): void {
    if (this.#carrier) run(this.#carrier)
    else this.#release = () => run(this.#carrier as Duplex)
  }

  override _read(): void {
    this.#carrier?.resume()
  }

  override _write(chunk: unknown, encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#whenOpen((carrier) => void carrier.write(chunk, encoding, callback))
  }

  override _writev(chunks: Array<{ chunk: unknown; encoding: BufferEncoding }>, callback: (error?: Error | null) => void): void {
    this.#whenOpen((carrier) => {
      carrier.cork()
      chunks.forEach(({ chunk, encoding }, at) => carrier.write(chunk, encoding, at === chunks.length - 1 ? callback : undefined))
      carrier.uncork()
    })
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#whenOpen((carrier) => void carrier.end(callback))
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (this.#carrier) this.#carrier.destroy()
    else this.#abandon(error ?? noLongerWanted())
    callback(error)
  }
}

/** @param onAbandon is given what ends the conversation early */
async function open(proxy: Proxy, host: string, port: number, connector: ProxyConnector, onAbandon: (abandon: (error: Error) => void) => void): Promise<Duplex> {
  const { agent, server } = proxy
  if (agent) return openByAgent(agent, proxy, host, port, onAbandon)
  if (server === undefined) throw proxyFailure(proxy, undefined, 'is no proxy')
  if (server.protocol === 'https:') return openOverTls(server, proxy, host, port, connector, onAbandon)
  const { HttpsProxyAgent } = await loadModule('https-proxy-agent', () => import('https-proxy-agent'))
  const url = new URL(proxy.shown)
  const { username, password } = splitAuth(server.auth)
  url.username = encodeURIComponent(username)
  url.password = encodeURIComponent(password)
  return openByAgent(new HttpsProxyAgent(url, { ...connector.socket, keepAlive: true }), proxy, host, port, onAbandon)
}

/**
 * https-proxy-agent speaks with the proxy. It answers a refusal with a socket that replays the proxy's own answer; that
 * socket is destroyed, and the status alone is believed.
 */
async function openByAgent(agent: TunnelAgent, proxy: Proxy, host: string, port: number, onAbandon: (abandon: (error: Error) => void) => void): Promise<Duplex> {
  const conversation = new EventEmitter()
  let status: number | undefined
  conversation.once('proxyConnect', (answer: { statusCode?: unknown }) => (status = Number(answer.statusCode)))
  const sockets: Socket[] = []
  const notice = (message: unknown): void => void sockets.push((message as { socket: Socket }).socket)
  // It keeps its socket to itself until the proxy has answered, however long and however much that is.
  subscribe('net.client.socket', notice)
  let opening: Promise<unknown>
  try {
    opening = agent.connect(conversation, { host, port, secureEndpoint: false })
  } finally {
    unsubscribe('net.client.socket', notice)
  }
  onAbandon((error) => sockets.forEach((socket) => socket.destroy(error)))
  const watched = sockets.map((socket) => watchAnswer(socket, proxy))
  try {
    const carrier = await Promise.race([opening, ...watched.map(({ failed }) => failed)])
    if (!(carrier instanceof Duplex) && typeof (carrier as Partial<Duplex> | undefined)?.pipe !== 'function') throw proxyFailure(proxy, status, 'opened no stream')
    if (status !== undefined && status !== 200) {
      ;(carrier as Duplex).destroy()
      throw proxyFailure(proxy, status, `answered CONNECT with ${statusText(status)}`)
    }
    return carrier as Duplex
  } catch (error) {
    for (const socket of sockets) socket.destroy()
    throw error
  } finally {
    for (const { stop } of watched) stop()
  }
}

/** What https-proxy-agent waits through for ever: a socket that closes without an end, an answer without an end. */
function watchAnswer(socket: Socket, proxy: Proxy): { failed: Promise<never>; stop: () => void } {
  let stop = (): void => undefined
  const failed = new Promise<never>((_, reject) => {
    const onClose = (): void => reject(proxyFailure(proxy, undefined, 'closed the connection before it answered CONNECT'))
    const onReadable = (): void => {
      if (socket.bytesRead > longestAnswer) reject(proxyFailure(proxy, undefined, `answered CONNECT with more than ${longestAnswer} octets and no end`))
    }
    socket.on('close', onClose)
    // An agent of the user's may read by 'data', which waits while somebody listens for 'readable'.
    if (proxy.agent === undefined) socket.on('readable', onReadable)
    stop = () => void socket.off('close', onClose).off('readable', onReadable)
  })
  failed.catch(() => undefined)
  return { failed, stop }
}

/** A proxy with a policy of its own: nothing, its credentials included, is written before it is verified. */
function openOverTls(server: ProxyServer, proxy: Proxy, host: string, port: number, connector: ProxyConnector, onAbandon: (abandon: (error: Error) => void) => void): Promise<Duplex> {
  const authority = `${isIP(host) === 6 ? `[${host}]` : host}:${port}`
  return new Promise((resolve, reject) => {
    const socket = connectToProxy(server, proxy, connector)
    onAbandon((error) => socket.destroy(error))
    const request = http.request({
      method: 'CONNECT',
      path: authority,
      headers: { host: authority, 'proxy-connection': 'Keep-Alive', ...(server.auth !== undefined && { 'proxy-authorization': basicAuth(server.auth) }) },
      setHost: false,
      maxHeaderSize: longestAnswer,
      createConnection: () => socket
    })
    request.on('error', reject)
    request.on('connect', ({ statusCode }, carrier: Duplex, head: Buffer) => {
      if (statusCode !== 200) {
        carrier.destroy()
        return reject(proxyFailure(proxy, statusCode, `answered CONNECT with ${statusText(statusCode)}`))
      }
      if (head.length > 0) carrier.unshift(head)
      resolve(carrier)
    })
    // An answer to CONNECT always comes as 'connect'; whatever else comes is no tunnel.
    request.on('response', (response) => {
      response.destroy()
      reject(proxyFailure(proxy, response.statusCode, 'answered CONNECT with something else'))
    })
    request.end()
  })
}

/** A connection to a proxy over TLS, judged by the proxy's own policy. */
export function connectToProxy(server: ProxyServer, proxy: Proxy, { tls, socket }: ProxyConnector): Socket {
  const { host, port } = server
  const { lookup, family, hints, localAddress, localPort, noDelay, autoSelectFamily, autoSelectFamilyAttemptTimeout } = socket as { [K in keyof Parameters<typeof connectPinned>[0]]?: never }
  return connectPinned(
    { host, port, pool: `proxy ${proxy.shown}`, servername: isIP(host) ? undefined : host, socketPath: undefined, timeout: undefined, keepAlive: true, keepAliveInitialDelay: undefined, noDelay, lookup, family, hints, localAddress, localPort, autoSelectFamily, autoSelectFamilyAttemptTimeout, tunnel: undefined },
    tls
  )
}

/**
 * Ties a TLS socket to the tunnel it runs in: one ends with the other, and what concerns the wire reaches the socket to
 * the proxy. (TLS over a stream has no handle of its own; an idle one would keep the process alive.)
 */
export function joinTunnel(socket: TLSSocket, tunnel: Tunnel, timeout: number | undefined): void {
  tunnel.once('error', (error: Error) => socket.destroy(error))
  socket.once('close', () => tunnel.destroy())
  if (timeout) socket.setTimeout(timeout)
  for (const name of ['ref', 'unref', 'setKeepAlive', 'setNoDelay'] as const) {
    socket[name] = (...args: never[]) => {
      const apply = (carrier: Duplex): void => void (carrier as Partial<Record<typeof name, (...args: never[]) => unknown>>)[name]?.(...args)
      if (tunnel.carrier) apply(tunnel.carrier)
      else tunnel.once('open', apply)
      return socket
    }
  }
}

export function basicAuth(auth: string): string {
  return `Basic ${Buffer.from(auth, 'utf8').toString('base64')}`
}

/** Octets of the header of an answer to CONNECT; Node's own limit for headers. */
const longestAnswer = 16_384

function splitAuth(auth = ''): { username: string; password: string } {
  const colon = auth.indexOf(':')
  return colon < 0 ? { username: auth, password: '' } : { username: auth.slice(0, colon), password: auth.slice(colon + 1) }
}

function noLongerWanted(): Error {
  return new Error('the tunnel is no longer wanted')
}

function statusText(status: number | undefined): string {
  return `${status} ${http.STATUS_CODES[status ?? 0] ?? ''}`.trim()
}

/** Says where the proxy comes from, which may be unknown to whoever reads it. */
function proxyFailure(proxy: Proxy, status: number | undefined, reason: string, options?: ErrorOptions): ProxyError {
  const source = proxy.variable === undefined ? '' : ` (it is named by ${proxy.variable} in the environment; right would be a proxy that can be used there, the host in NO_PROXY, or proxy: false (--no-proxy on the command line))`
  return new ProxyError(proxy.shown, status, `${reason}${source}`, options)
}

/** The verdict on a proxy that is reached over TLS: told as it is. */
function isRefusal(error: unknown): boolean {
  return String((error as { code?: unknown } | undefined)?.code).startsWith('ERR_PIN_')
}

function unreachable(proxy: Proxy, cause: unknown): ProxyError {
  const { code, message } = cause as { code?: unknown; message?: unknown }
  return proxyFailure(proxy, undefined, `cannot be used: ${typeof code === 'string' && !String(message).includes(code) ? `${code}, ` : ''}${String(message)}`, { cause })
}
