import { connect, isIP } from 'node:net'
import type { Socket } from 'node:net'
import { findRefusal } from './admission.js'
import { connectPinned } from './connect.js'
import type { Connector, Target } from './connector.js'
import { refusedSocket } from './refused-socket.js'

/** What a client other than Node's own agent (undici, http2) wants opened. */
export interface Wanted extends Partial<Omit<Target, 'host' | 'port' | 'pool' | 'alpn' | 'socketPath' | 'tunnel'>> {
  /** `https:`; anything else is plain text. */
  readonly protocol: string
  readonly host: string
  readonly port: number
  readonly alpn: string[]
}

/**
 * A socket that carries no byte of a request before its peer is verified; one that fails at once where the host may not
 * be spoken to at all. Never throws: the client hears of everything by the socket's `'error'`.
 */
export function openSocket(wanted: Wanted, connector: Connector): Socket {
  const { protocol, host, port } = wanted
  const policies = connector.policies()
  // As Node's agent names it; TLS has no server name for an address.
  const servername = wanted.servername ?? (isIP(host) ? '' : host)
  const error = findRefusal(protocol, policies, host, port, connector.now(), servername)
  if (error) {
    connector.reporter.blocked(host, port, error)
    return refusedSocket(error)
  }
  // Nothing comes from a prototype.
  const { timeout, keepAlive, keepAliveInitialDelay, noDelay, lookup, family, hints, localAddress, localPort, autoSelectFamily, autoSelectFamilyAttemptTimeout } = { __proto__: null, ...wanted } as Partial<Wanted>
  const options = { timeout, keepAlive, keepAliveInitialDelay, noDelay, lookup, family, hints, localAddress, localPort, autoSelectFamily, autoSelectFamilyAttemptTimeout }
  try {
    if (protocol !== 'https:') return connect({ __proto__: null, ...options, host, port } as never)
    const pool = `${host}:${port}:${localAddress ?? ''}:${family ?? ''}:${servername}:${wanted.alpn.join()}:r${policies.revision}`
    return connectPinned({ ...options, host, port, pool, servername, namedByHeader: wanted.namedByHeader === true, alpn: wanted.alpn, socketPath: undefined, tunnel: undefined }, connector)
  } catch (thrown) {
    return refusedSocket(thrown as Error)
  }
}
