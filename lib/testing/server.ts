import { createServer } from 'node:https'
import type { RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TlsOptions } from 'node:tls'
import type { IssuedCertificate } from './pki.js'

/** A running server of {@link startHttpsServer}. */
export interface HttpsTestServer {
  /** `https://localhost:<port>` */
  readonly url: string
  readonly port: number
  /** How many bytes clients have sent it, after decryption: 0 for a peer that was refused. */
  readonly receivedBytes: number
  /** Ends every connection and stops listening. */
  close(): Promise<void>
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
 * @param options Node's own, for example `minVersion`
 */
export async function startHttpsServer(certificate: IssuedCertificate, listener: RequestListener = (_req, res) => res.end('ok'), options: TlsOptions = {}): Promise<HttpsTestServer> {
  let receivedBytes = 0
  const server = createServer({ ...options, cert: certificate.chainPem, key: certificate.keyPem }, listener)
  server.on('secureConnection', (socket) => {
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
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      await closed
    }
  }
}
