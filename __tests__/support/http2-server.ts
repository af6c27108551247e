import { createSecureServer, createServer } from 'node:http2'
import type { Http2SecureServer, Http2ServerRequest, Http2ServerResponse, ServerHttp2Session } from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { IssuedCertificate } from './pki.js'

/** A genuine HTTP/2 server. For an impostor, `startServer({ alpn: ['h2'] })` counts what is decrypted, of whatever protocol. */
export interface Http2TestServer {
  readonly url: string
  readonly port: number
  readonly connections: number
  readonly resumed: number
  readonly openSockets: number
  readonly requests: ReadonlyArray<{ readonly method: string; readonly url: string; readonly length: number; readonly connection: number }>
  close(): Promise<void>
}

export interface Http2TestServerOptions {
  /** Without one, plain text (h2c). */
  certificate?: IssuedCertificate
  maxVersion?: 'TLSv1.2' | 'TLSv1.3'
  /** Default answers 200 with `{ ok, method, url, length, httpVersion }`, when the body has arrived. */
  handler?: (request: Http2ServerRequest, response: Http2ServerResponse) => void
}

export async function startHttp2Server({ certificate, maxVersion, handler }: Http2TestServerOptions): Promise<Http2TestServer> {
  const requests: Array<{ method: string; url: string; length: number; connection: number }> = []
  const sockets = new Set<Socket>()
  const sessions = new Map<ServerHttp2Session, number>()
  let connections = 0
  let resumed = 0
  const server = (certificate
    ? createSecureServer({ cert: certificate.chain.map(({ pem }) => pem).join(''), key: certificate.keyPem, ...(maxVersion && { maxVersion }) })
    : createServer()) as Http2SecureServer
  server.on('connection', (socket: Socket) => {
    connections++
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => undefined)
  })
  server.on('secureConnection', (socket: TLSSocket) => {
    if (socket.isSessionReused()) resumed++
  })
  server.on('session', (session) => sessions.set(session, sessions.size + 1))
  server.on('sessionError', () => undefined)
  server.on('request', (request, response) => {
    const entry = { method: request.method, url: request.url, length: 0, connection: sessions.get(request.stream.session as ServerHttp2Session) ?? 0 }
    requests.push(entry)
    request.on('data', (chunk: Buffer) => (entry.length += chunk.length))
    request.stream.on('error', () => undefined)
    if (handler) return handler(request, response)
    request.on('end', () => {
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify({ ok: true, method: entry.method, url: entry.url, length: entry.length, httpVersion: request.httpVersion }))
    })
  })
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve) })
  const { port } = server.address() as AddressInfo
  return {
    url: `${certificate ? 'https' : 'http'}://localhost:${port}`,
    port,
    requests,
    get connections() { return connections },
    get resumed() { return resumed },
    get openSockets() { return sockets.size },
    close: async () => {
      for (const session of sessions.keys()) session.destroy()
      for (const socket of sockets) socket.destroy()
      await new Promise<void>((resolve) => { server.close(() => { resolve() }) })
    }
  }
}
