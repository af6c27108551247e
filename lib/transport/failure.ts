/**
 * Why there is no TLS connection, in a few words for people; what Node says where nothing better is known.
 * Takes what {@link inspectServer} or a request rejects with.
 */
export function explainFailure(error: unknown): string {
  const { code = '', message = '', errors = [] } = error as { code?: string; message?: string; errors?: unknown[] }
  // Of this library, and clear already: what a proxy did, for one.
  if (code.startsWith('ERR_PIN_')) return message
  const known = reasons.find(([pattern]) => pattern.test(code) || pattern.test(message))
  if (known) return known[1]
  // Several addresses were tried (an AggregateError without a text of its own).
  const [first] = errors
  return message || (first === undefined ? code || 'unknown error' : explainFailure(first))
}

const reasons: ReadonlyArray<readonly [RegExp, string]> = [
  [/^ENOTFOUND$/, 'there is no host of that name'],
  [/^EAI_AGAIN$/, 'its name cannot be looked up (no DNS server answers)'],
  [/^ECONNREFUSED$/, 'nothing listens on that port'],
  [/^(?:EHOSTUNREACH|ENETUNREACH|EADDRNOTAVAIL)$/, 'there is no route to it'],
  [/WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST|wrong version number|packet length too long/, 'its answer is not TLS; is this port for plain HTTP?'],
  [/UNSUPPORTED_PROTOCOL|ALERT_PROTOCOL_VERSION|unsupported protocol|alert protocol version/, 'it speaks no TLS version from 1.2 on'],
  [/UNRECOGNIZED_NAME|unrecognized name/, 'it knows no host of that name (SNI)'],
  [/CERTIFICATE_REQUIRED|certificate required/, 'it wants a client certificate'],
  [/ALERT_HANDSHAKE_FAILURE|alert handshake failure/, 'it has no cipher, group or signature in common with this Node, or wants a client certificate'],
  [/^(?:ECONNRESET|EPIPE)$/, 'it closed the connection during the handshake']
]
