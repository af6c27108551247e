import { createServer as createHttpsServer } from 'node:https'
import type { RequestListener } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import type { Server, TLSSocket, TlsOptions } from 'node:tls'
import type { IssuedCertificate } from './pki.js'

/** A running server of {@link startHttpsServer} or {@link startTlsServer}. */
export interface TestServer {
  /** `https://localhost:<port>` */
  readonly url: string
  readonly port: number
  /** How many bytes clients have sent it, after decryption: 0 for a peer that was refused. */
  readonly receivedBytes: number
  /** From the next handshake on it shows this certificate: a renewal, or an attack. */
  present(certificate: IssuedCertificate, chain?: readonly IssuedCertificate[]): void
  /** Ends every connection and stops listening. */
  close(): Promise<void>
}

export type HttpsTestServer = TestServer

/** Node's own options, for example `minVersion`; and what the server sends, where that is not the chain without its root. */
export interface TestServerOptions extends TlsOptions {
  /** Leaf first. `[leaf]` leaves the intermediates out, as a badly configured server does. */
  chain?: readonly IssuedCertificate[]
}

/**
 * A real HTTPS server on 127.0.0.1 with a certificate grown in memory, sending its chain without the root.
 *
 * ```ts
 * const root = createAuthority()
 * const server = await startHttpsServer(root.issue(), (req, res) => res.end('hello'))
 * ```
 *
 * @param listener default: answers `ok`
 */
export async function startHttpsServer(certificate: IssuedCertificate, listener: RequestListener = (_req, res) => res.end('ok'), { chain, ...options }: TestServerOptions = {}): Promise<HttpsTestServer> {
  return await listen(createHttpsServer({ ...options, ...credentials(certificate, chain) }, listener))
}

/**
 * The same without HTTP.
 * @param listener default: sends back what it gets
 */
export async function startTlsServer(certificate: IssuedCertificate, listener: (socket: TLSSocket) => void = (socket) => void socket.pipe(socket), { chain, ...options }: TestServerOptions = {}): Promise<TestServer> {
  return await listen(createTlsServer({ ...options, ...credentials(certificate, chain) }, listener))
}

async function listen(server: Server): Promise<TestServer> {
  const sockets = new Set<Socket>()
  let receivedBytes = 0
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.once('close', () => sockets.delete(socket))
  })
  server.on('secureConnection', (socket) => {
    // A client that refuses the certificate may reset the connection.
    socket.on('error', () => undefined)
    // A listener makes http read from this stream, where otherwise it would read past it.
    socket.on('data', (chunk: Buffer) => (receivedBytes += chunk.length))
  })
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `https://localhost:${port}`,
    port,
    get receivedBytes() {
      return receivedBytes
    },
    present: (certificate, chain) => server.setSecureContext(credentials(certificate, chain)),
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const socket of sockets) socket.destroy()
      await closed
    }
  }
}

function credentials(certificate: IssuedCertificate, chain = certificate.chain as readonly IssuedCertificate[]): { cert: string; key: string } {
  return { cert: chain.map(({ pem }) => pem).join(''), key: certificate.keyPem }
}
