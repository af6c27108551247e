import type { TLSSocket } from 'node:tls'
import { getSystemErrorMap } from 'node:util'

/** `null` before OpenSSL has judged, whatever Node's types say. */
export function isUntrusted({ authorizationError }: TLSSocket): boolean {
  return (authorizationError ?? null) !== null
}

export function untrustedError(socket: TLSSocket): Error {
  // Node's types say Error; it is the error's code.
  const code = String(socket.authorizationError)
  return Object.assign(new Error(`the server's certificate is not trusted (${code})`), { code })
}

export function isHandshakeFailure({ code }: Error & { code?: string }): boolean {
  return code?.startsWith('ERR_SSL_') === true
}

/** Node reports a handshake that fails, where a write waits for it, as that write's: http requests have only ever seen EPROTO, and no cause. */
export function asWriteError({ message }: Error): Error {
  return Object.assign(new Error(`write EPROTO ${message}`), { errno: errnoOf('EPROTO'), code: 'EPROTO', syscall: 'write' })
}

function errnoOf(code: string): number | undefined {
  return [...getSystemErrorMap()].find(([, [name]]) => name === code)?.[0]
}

export function asError(thrown: unknown): Error {
  return thrown instanceof Error || Object.prototype.toString.call(thrown) === '[object Error]' ? (thrown as Error) : new Error(`verification failed: ${String(thrown)}`)
}
