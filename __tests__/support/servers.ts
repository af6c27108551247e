import { createServer as createHttpServer, type IncomingHttpHeaders, type IncomingMessage, type RequestListener, type Server as HttpServer, type ServerResponse } from 'node:http'
import { createServer as createHttpsServer, type Server as HttpsServer, type ServerOptions } from 'node:https'
import { connect, createServer as createTcpServer, type AddressInfo, type Server as TcpServer, type Socket } from 'node:net'
import { constants } from 'node:crypto'
import { createSecureContext, type SecureContext, type SecureVersion, type TLSSocket } from 'node:tls'

import type { IssuedCertificate } from './pki.js'

/** Real servers on the loopback interface that count what reaches them, so that a test can show that *nothing* did. */

export interface ReceivedRequest {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  /** At most the first 1024 octets: tests upload more than is worth keeping. */
  readonly body: string
  readonly bodyLength: number
  /** Whether the body has arrived to its end. */
  readonly complete: boolean
  /** The number of the connection it came on, from 1: equal numbers are a reused socket. */
  readonly connection: number
}

interface Listening {
  readonly port: number
  /** TCP connections accepted. */
  readonly connections: number
  readonly openSockets: number
  /** Ends everything at once, whatever the clients do. */
  close (): Promise<void>
}

interface Answering extends Listening {
  readonly url: string
  readonly requests: readonly ReceivedRequest[]
}

export interface TestServer extends Answering {
  /**
   * Octets that came out of decryption on all connections, whether or not they are HTTP. What is not HTTP makes the
   * server hang up: the read that it notices in is counted to its end (up to 64 KiB), what follows is never decrypted.
   */
  readonly decryptedBytes: number
  readonly handshakes: number
  readonly resumed: number
  /** One entry per handshake that failed on this side. */
  readonly handshakeErrors: readonly Error[]
  /** The names asked for by SNI (or `undefined`), one per completed handshake. */
  readonly serverNames: ReadonlyArray<string | undefined>
  readonly server: HttpsServer
  /** Presents another certificate from the next handshake on; open connections stay. */
  swapCertificate (certificate: IssuedCertificate, options?: SwapOptions): void
}

export interface PlainServer extends Answering {
  readonly receivedBytes: number
  readonly server: HttpServer
}

export interface RawServer extends Listening {
  readonly url: string
  readonly receivedBytes: number
}

export type Chain = ReadonlyArray<IssuedCertificate> | string

export interface SwapOptions {
  chain?: Chain
  /** Lets sessions of the former certificate resume, as servers with shared ticket keys do. Default false. */
  keepTicketKeys?: boolean
}

export interface AnsweringOptions {
  /** Default answers 200 with `{ ok, method, url, length }`, when the body has arrived. */
  handler?: (request: IncomingMessage, response: ServerResponse) => void
  keepAliveTimeout?: number
  host?: string
  /** Default any free one; a fixed one lets a server come back where another one was. */
  port?: number
  /** Ends the connection after each response *without* announcing it: the agent's pool keeps a dying socket. */
  closeAfterResponse?: boolean
}

export interface TestServerOptions extends AnsweringOptions {
  certificate: IssuedCertificate
  /**
   * What is sent *after* the leaf, verbatim and in this order, junk included. Default the certificate's own issuers
   * up to the root; `[]` sends the leaf alone. A string is PEM.
   */
  chain?: Chain
  minVersion?: SecureVersion
  maxVersion?: SecureVersion
  /** Default true. */
  sessionTickets?: boolean
  /** Keeps sessions by their identifier, as servers did before tickets. Needs `sessionTickets: false` and TLS 1.2. */
  sessionCache?: boolean
  /** 48 octets; servers with equal ones resume each other's sessions. */
  ticketKeys?: Buffer
  requestCert?: boolean
  rejectUnauthorized?: boolean
  /**
   * Whom to trust for client certificates. Where the chain to send is empty, OpenSSL completes it from these: if that
   * matters, let clients have a CA of their own.
   */
  ca?: IssuedCertificate | IssuedCertificate[]
  /** Certificates by server name; `certificate` is for everybody else. */
  sni?: Record<string, IssuedCertificate>
  ciphers?: string
  ecdhCurve?: string
  sigalgs?: string
  alpn?: string[]
}

export async function startServer (options: TestServerOptions): Promise<TestServer> {
  const log = new RequestLog(options)
  const handshakeErrors: Error[] = []
  const serverNames: Array<string | undefined> = []
  let decryptedBytes = 0
  let handshakes = 0
  let resumed = 0

  const server = createHttpsServer({
    ...contextOptions(options, options.certificate, options.chain),
    requestCert: options.requestCert ?? false,
    rejectUnauthorized: options.rejectUnauthorized ?? true,
    ...(options.ticketKeys && { ticketKeys: options.ticketKeys }),
    ...(options.alpn && { ALPNProtocols: options.alpn }),
    ...(options.sni && { SNICallback: serverNameCallback(options, options.sni) }),
  }, log.listener)
  if (options.sessionCache) rememberSessions(server)

  server.on('secureConnection', (socket: TLSSocket) => {
    handshakes += 1
    if (socket.isSessionReused()) resumed += 1
    serverNames.push((socket as TLSSocket & { servername?: string | false }).servername || undefined)
    // The HTTP server attaches first and reads from the handle, past the stream; this listener makes it read from the
    // stream instead, before the first octet is decrypted. Whatever is decrypted then passes here, HTTP or not.
    socket.on('data', (chunk: Buffer) => { decryptedBytes += chunk.length })
    socket.on('error', ignore)
  })
  server.on('tlsClientError', (error) => { handshakeErrors.push(error) })

  const listening = await listen(server, options, log)
  return {
    ...answering('https', server, listening, log),
    get connections () { return listening.connections },
    get openSockets () { return listening.openSockets },
    get decryptedBytes () { return decryptedBytes },
    get handshakes () { return handshakes },
    get resumed () { return resumed },
    handshakeErrors,
    serverNames,
    server,
    swapCertificate (certificate, { chain, keepTicketKeys = false } = {}) {
      const ticketKeys = server.getTicketKeys()
      server.setSecureContext(contextOptions(options, certificate, chain))
      if (keepTicketKeys) server.setTicketKeys(ticketKeys)
    },
  }
}

/** Plain HTTP, e.g. as the target of a downgrading redirect. */
export async function startPlainServer (options: AnsweringOptions = {}): Promise<PlainServer> {
  const log = new RequestLog(options)
  let receivedBytes = 0
  const server = createHttpServer(log.listener)
  server.on('connection', (socket) => {
    // after the HTTP server's own listener, for the same reason as above
    socket.on('data', (chunk: Buffer) => { receivedBytes += chunk.length })
  })

  const listening = await listen(server, options, log)
  return {
    ...answering('http', server, listening, log),
    get connections () { return listening.connections },
    get openSockets () { return listening.openSockets },
    get receivedBytes () { return receivedBytes },
    server,
  }
}

/** Accepts TCP connections and never says anything. */
export async function startStalledServer (): Promise<RawServer> {
  return await startRawServer(() => {})
}

export interface ResettingOptions {
  /** Cuts as soon as this much has been received; default 1, which is with the ClientHello. 0 cuts on connecting. */
  afterReceived?: number
  /** Relays to this port and cuts after so much of its *answer* has passed: a handshake or a response broken midway. */
  upstream?: { port: number }
  afterSent?: number
  /** `reset` sends RST, `close` an orderly FIN without TLS's close_notify. */
  how?: 'reset' | 'close'
}

/** Cuts connections at a chosen point. */
export async function startResettingServer (options: ResettingOptions = {}): Promise<RawServer> {
  const { upstream, afterSent, how = 'reset' } = options
  const afterReceived = options.afterReceived ?? (upstream ? Infinity : 1)
  const cut = (socket: Socket) => { how === 'reset' ? socket.resetAndDestroy() : socket.end() }

  return await startRawServer((socket) => {
    let received = 0
    if (afterReceived <= 0) return cut(socket)

    const relay = upstream && relayTo(upstream.port, socket, afterSent ?? Infinity, () => { cut(socket) })
    socket.on('data', (chunk: Buffer) => {
      received += chunk.length
      if (received < afterReceived) return void relay?.write(chunk)
      relay?.destroy()
      cut(socket)
    })
  })
}

function relayTo (port: number, client: Socket, limit: number, cut: () => void): Socket {
  const upstream = connect(port, '127.0.0.1')
  let sent = 0
  upstream.on('data', (chunk: Buffer) => {
    const allowed = chunk.subarray(0, limit - sent)
    sent += allowed.length
    client.write(allowed, () => {
      if (sent < limit) return
      upstream.destroy()
      cut()
    })
  })
  upstream.on('error', ignore)
  upstream.on('close', () => { client.end() })
  client.on('close', () => { upstream.destroy() })
  return upstream
}

async function startRawServer (onConnection: (socket: Socket) => void): Promise<RawServer> {
  let receivedBytes = 0
  const server = createTcpServer((socket) => {
    socket.on('data', (chunk: Buffer) => { receivedBytes += chunk.length })
    onConnection(socket)
  })
  const listening = await listen(server, {})
  return {
    port: listening.port,
    url: `https://localhost:${listening.port}`,
    close: listening.close,
    get connections () { return listening.connections },
    get openSockets () { return listening.openSockets },
    get receivedBytes () { return receivedBytes },
  }
}

function answering (protocol: string, server: HttpServer | HttpsServer, listening: Listening, log: RequestLog) {
  return {
    port: listening.port,
    url: `${protocol}://localhost:${listening.port}`,
    requests: log.requests,
    close: async () => {
      server.closeAllConnections()
      await listening.close()
    },
  }
}

type MutableRequest = { -readonly [Name in keyof ReceivedRequest]: ReceivedRequest[Name] }

class RequestLog {
  readonly requests: MutableRequest[] = []
  readonly numbers = new Map<number | undefined, number>()

  constructor (private readonly options: AnsweringOptions) {}

  readonly listener: RequestListener = (request, response) => {
    const entry: MutableRequest = {
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers,
      body: '',
      bodyLength: 0,
      complete: false,
      // by the client's port, since Node shows a TLS socket but not the TCP socket below it
      connection: this.numbers.get(request.socket.remotePort) ?? 0,
    }
    this.requests.push(entry)
    const kept: Buffer[] = []
    request.on('data', (chunk: Buffer) => {
      if (entry.bodyLength < KEPT_BODY) {
        kept.push(chunk.subarray(0, KEPT_BODY - entry.bodyLength))
        entry.body = Buffer.concat(kept).toString()
      }
      entry.bodyLength += chunk.length
    })
    request.on('end', () => { entry.complete = true })
    request.on('error', ignore)
    if (this.options.closeAfterResponse) response.on('finish', () => { request.socket.end() })

    const handler = this.options.handler
    if (handler) return handler(request, response)
    request.on('end', () => {
      const { method, url, bodyLength } = entry
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify({ ok: true, method, url, length: bodyLength }))
    })
  }
}

async function listen (server: TcpServer, { host = '127.0.0.1', port = 0, keepAliveTimeout }: AnsweringOptions, log?: RequestLog): Promise<Listening> {
  const sockets = new Set<Socket>()
  let connections = 0
  if (keepAliveTimeout !== undefined) (server as HttpServer).keepAliveTimeout = keepAliveTimeout

  // before TLS's and HTTP's own listeners, which may already take the first request from the socket
  server.prependListener('connection', (socket: Socket) => {
    connections += 1
    log?.numbers.set(socket.remotePort, connections)
    sockets.add(socket)
    socket.on('close', () => { sockets.delete(socket) })
    socket.on('error', ignore)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, resolve)
  })

  let closing: Promise<void> | undefined
  return {
    port: (server.address() as AddressInfo).port,
    get connections () { return connections },
    get openSockets () { return sockets.size },
    close: async () => await (closing ??= endAll(server, sockets)),
  }
}

/** The server counts as closed before its last sockets do, and a test that looks at `openSockets` then would be puzzled. */
async function endAll (server: TcpServer, sockets: ReadonlySet<Socket>): Promise<void> {
  const ends = [...sockets].map(async (socket) => {
    await new Promise<void>((resolve) => {
      socket.once('close', () => { resolve() })
      socket.destroy()
    })
  })
  await new Promise<void>((resolve) => { server.close(() => { resolve() }) })
  await Promise.all(ends)
}

function contextOptions (options: TestServerOptions, certificate: IssuedCertificate, chain: Chain | undefined): ServerOptions {
  const { minVersion, maxVersion, ca, ecdhCurve, sigalgs } = options
  return {
    cert: certificate.pem + chainPem(certificate, chain),
    key: certificate.keyPem,
    ciphers: options.ciphers ?? PERMISSIVE_CIPHERS,
    secureOptions: options.sessionTickets === false ? constants.SSL_OP_NO_TICKET : 0,
    ...(minVersion && { minVersion }),
    ...(maxVersion && { maxVersion }),
    ...(ca && { ca: [ca].flat().map((authority) => authority.pem) }),
    ...(ecdhCurve && { ecdhCurve }),
    ...(sigalgs && { sigalgs }),
  }
}

function chainPem (certificate: IssuedCertificate, chain: Chain | undefined): string {
  if (typeof chain === 'string') return chain
  return (chain ?? certificate.chain.slice(1)).map((member) => member.pem).join('')
}

type ServerNameCallback = (name: string, done: (error: Error | null, context?: SecureContext) => void) => void

function serverNameCallback (options: TestServerOptions, certificates: Record<string, IssuedCertificate>): ServerNameCallback {
  const contexts = new Map(Object.entries(certificates).map(([name, certificate]) =>
    [name, createSecureContext(contextOptions(options, certificate, undefined))]))
  return (name, done) => { done(null, contexts.get(name)) }
}

function rememberSessions (server: HttpsServer): void {
  const sessions = new Map<string, Buffer>()
  server.on('newSession', (id: Buffer, session: Buffer, done: () => void) => {
    sessions.set(id.toString('hex'), session)
    done()
  })
  server.on('resumeSession', (id: Buffer, done: (error: Error | null, session: Buffer | null) => void) => {
    done(null, sessions.get(id.toString('hex')) ?? null)
  })
}

function ignore (): void {}

const KEPT_BODY = 1024

/** The clients under test decide what is strong enough, so the server must be able to present anything at all. */
const PERMISSIVE_CIPHERS = 'DEFAULT@SECLEVEL=0'
