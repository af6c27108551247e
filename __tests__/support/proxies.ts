import { createServer as createHttpServer, request as httpRequest } from 'node:http'
import type { IncomingMessage, Server } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { connect, createServer as createTcpServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createServer as createTlsServer } from 'node:tls'

import type { IssuedCertificate } from './pki.js'

/** Proxies on the loopback interface: one that tunnels, and ones that answer CONNECT as they like. */

export interface TestProxy {
  readonly url: string
  readonly port: number
  /** What was asked for: `CONNECT localhost:1234` or `GET http://…`, with the headers. */
  readonly asked: ReadonlyArray<{ readonly line: string; readonly headers: IncomingMessage['headers'] }>
  /** Connections accepted, over which everything came. */
  readonly connections: number
  readonly openSockets: number
  /** Octets of clients inside tunnels. */
  readonly tunnelled: number
  /** Every octet that clients sent to a proxy that answers as it likes. */
  readonly received: Buffer
  close(): Promise<void>
}

interface ProxyOptions {
  /** Serves TLS with it. */
  readonly certificate?: IssuedCertificate
  /** `user:password` demanded; else 407. */
  readonly auth?: string
  /** Where every tunnel leads, whatever was asked for: an attacker's proxy. */
  readonly divert?: number
}

/** A proxy that does its work. */
export async function startProxy(options: ProxyOptions = {}): Promise<TestProxy> {
  const asked: Array<{ line: string; headers: IncomingMessage['headers'] }> = []
  let tunnelled = 0
  const admits = ({ headers }: IncomingMessage): boolean => !Object.hasOwn(options, 'auth') || headers['proxy-authorization'] === `Basic ${Buffer.from(options.auth as string).toString('base64')}`
  const server = options.certificate ? createHttpsServer(credentials(options.certificate)) : createHttpServer()
  server.on('connect', (request: IncomingMessage, client: Duplex, head: Buffer) => {
    asked.push({ line: `CONNECT ${request.url}`, headers: request.headers })
    if (!admits(request)) return client.end('HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm="test"\r\ncontent-length: 0\r\n\r\n')
    const { hostname, port } = new URL(`http://${request.url}`)
    const upstream = connect(options.divert ?? Number(port || 80), options.divert ? '127.0.0.1' : hostname.replace(/^\[|\]$/g, ''), () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      if (head.length > 0) upstream.write(head)
      client.on('data', (chunk: Buffer) => (tunnelled += chunk.length))
      client.pipe(upstream).pipe(client)
    })
    upstream.on('error', () => client.end('HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n'))
    client.on('error', () => upstream.destroy())
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.destroy())
  })
  server.on('request', (request, response) => {
    asked.push({ line: `${request.method} ${request.url}`, headers: request.headers })
    if (!admits(request)) return void response.writeHead(407).end()
    const { 'proxy-authorization': _, ...headers } = request.headers
    request.pipe(httpRequest(request.url as string, { method: request.method as string, headers }, (answer) => answer.pipe(response.writeHead(answer.statusCode as number, answer.headers)))).on('error', () => response.writeHead(502).end())
  })
  return listen(server, { url: options.certificate ? 'https' : 'http', asked, tunnelled: () => tunnelled, received: () => Buffer.alloc(0) })
}

/** One that answers whatever comes first with `answer`, and does nothing else unless told. */
export async function startRawProxy(answer: string | Buffer | ((socket: Socket) => void), certificate?: IssuedCertificate): Promise<TestProxy> {
  const received: Buffer[] = []
  const onSocket = (socket: Socket): void => {
    socket.on('error', () => undefined)
    socket.once('data', () => (typeof answer === 'function' ? answer(socket) : socket.write(answer)))
    socket.on('data', (chunk: Buffer) => received.push(chunk))
  }
  const server = certificate ? createTlsServer({ ...credentials(certificate), requestCert: true, rejectUnauthorized: false }, onSocket) : createTcpServer(onSocket)
  return listen(server as unknown as Server, { url: certificate ? 'https' : 'http', asked: [], tunnelled: () => 0, received: () => Buffer.concat(received) })
}

/** SOCKS 5 without authentication; `asked` has the hosts and ports. */
export async function startSocksProxy(): Promise<TestProxy> {
  const asked: Array<{ line: string; headers: IncomingMessage['headers'] }> = []
  const server = createTcpServer((client) => {
    client.on('error', () => undefined)
    client.once('data', () => {
      client.write(Buffer.from([5, 0]))
      client.once('data', (request: Buffer) => {
        const host = request[3] === 1 ? [...request.subarray(4, 8)].join('.') : request.subarray(5, 5 + (request[4] as number)).toString()
        const port = request.readUInt16BE(request.length - 2)
        asked.push({ line: `${host}:${port}`, headers: {} })
        const upstream = connect(port, host, () => {
          client.write(Buffer.from([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))
          client.pipe(upstream).pipe(client)
        })
        upstream.on('error', () => client.destroy())
        client.on('close', () => upstream.destroy())
      })
    })
  })
  return listen(server as unknown as Server, { url: 'socks5', asked, tunnelled: () => 0, received: () => Buffer.alloc(0) })
}

async function listen(server: Server, parts: { url: string; asked: TestProxy['asked']; tunnelled: () => number; received: () => Buffer }): Promise<TestProxy> {
  const sockets = new Set<Socket>()
  let connections = 0
  server.on('connection', (socket: Socket) => {
    connections++
    sockets.add(socket)
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
  })
  server.on('tlsClientError', () => undefined)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `${parts.url}://127.0.0.1:${port}`,
    port,
    asked: parts.asked,
    get connections() { return connections },
    get openSockets() { return sockets.size },
    get tunnelled() { return parts.tunnelled() },
    get received() { return parts.received() },
    close: () => {
      for (const socket of sockets) socket.destroy()
      return new Promise((resolve) => server.close(() => resolve()))
    }
  }
}

function credentials(certificate: IssuedCertificate): { cert: string; key: string } {
  return { cert: certificate.chainPem, key: certificate.keyPem }
}
