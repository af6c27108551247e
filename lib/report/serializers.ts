import { findDiagnosis, findPinningError } from '../errors.js'

/**
 * For a pino logger of your own: `pino({ serializers: pinningSerializers })`. `err` and `error` write an error with its
 * code, its causes and, for a refusal, what was compared and the diagnosis; and nothing of the request or the answer, which
 * pino's own serializer writes of an axios error, `Authorization` header and body included.
 */
export const pinningSerializers = { err: serializeError, error: serializeError } as const

function serializeError(value: unknown): unknown {
  if (!(value instanceof Error)) return value
  const pinning = findPinningError(value)
  const diagnosis = findDiagnosis(value)
  return { ...describeError(value, maxDepth), ...(pinning && { pinning: describePinning(pinning) }), ...(diagnosis && { diagnosis }) }
}

const maxDepth = 5

/** Named fields only: whatever else an error carries may hold a secret. */
function describeError(error: Error, depth: number): Record<string, unknown> {
  const { code, status, syscall, address, port, cause } = error as Error & Record<string, unknown>
  return {
    type: error.name,
    message: error.message,
    stack: error.stack,
    ...defined({ code, status, syscall, address, port }),
    ...(cause instanceof Error && depth > 1 && { cause: describeError(cause, depth - 1) })
  }
}

function describePinning(error: object): Record<string, unknown> {
  const { code, host, port, policy, served, verified, knownPins, option, date, reason } = error as Record<string, unknown>
  return defined({ code, host, port, policy, served, verified, knownPins, option, date, reason })
}

function defined(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
}
