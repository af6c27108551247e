/** What the command's exit code means; the worst of what was found wins. */
export const exitCode = {
  /** All is well. */
  ok: 0,
  /** A peer was refused, a pin does not match, or a file does not hold what it should. */
  refused: 1,
  /** Something expires soon, or there is no backup pin. */
  expiring: 2,
  /** A host could not be reached, or did not answer as a TLS server does. */
  unreachable: 3,
  /** Wrong usage, input that cannot be read, or output that cannot be written (EX_USAGE of sysexits.h). */
  usage: 64,
  /** A defect of this program (EX_SOFTWARE). */
  internal: 70
} as const

export type ExitCode = (typeof exitCode)[keyof typeof exitCode]

/** Refused before unreachable before expiring: what has to be looked at first. */
export function worst(codes: Iterable<ExitCode>): ExitCode {
  const order: readonly ExitCode[] = [exitCode.internal, exitCode.usage, exitCode.refused, exitCode.unreachable, exitCode.expiring]
  const found = new Set(codes)
  return order.find((code) => found.has(code)) ?? exitCode.ok
}

/** Ends a command with one line for the user, and an exit code. */
export class CommandError extends Error {
  /** @param code what kind of problem, in the JSON output: a pinning code, Node's, or `ERR_USAGE` */
  constructor(message: string, readonly exitCode: ExitCode, readonly code: string = 'ERR_USAGE', options?: ErrorOptions) {
    super(message, options)
    this.name = 'CommandError'
  }
}
