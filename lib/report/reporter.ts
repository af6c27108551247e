import { readFunction } from '../policy/options.js'
import { readLogger } from './logger.js'
import type { PinningLogger } from './logger.js'
import { PinReport } from './report.js'
import type { Verdict } from './report.js'

/** Whom to tell. */
export interface ReportOptions {
  /** Called once per accepted connection to a pinned host. What it throws or rejects with becomes a process warning. */
  onValidCertificate?(report: PinReport): void
  /** Called once per refused (or, report-only, tolerated) connection, PKI's own refusals included. As above. */
  onBadCertificate?(report: PinReport): void
  /** A pino-compatible logger, or `true` for one of our own: refusals at `warn`, acceptances at `debug`. Default: none. */
  logger?: PinningLogger | boolean
}

/** How often what was decided. */
export interface Counters {
  accepted: number
  tolerated: number
  refused: number
  /** How many of the accepted and tolerated connections resumed a TLS session. */
  resumed: number
  /** Requests and connections refused before anything was opened: unpinned hosts and ways around the agent. */
  blocked: number
}

/** Tells of decisions and never makes one: it runs after them, and whatever happens here changes no request. */
export class Reporter {
  readonly counters: Counters = { accepted: 0, tolerated: 0, refused: 0, resumed: 0, blocked: 0 }
  readonly #onValid: ReportOptions['onValidCertificate']
  readonly #onBad: ReportOptions['onBadCertificate']
  readonly #logger: PinningLogger | undefined
  readonly #warned = new Set<string>()

  /** @throws {PolicyInvalidError} for a callback that is no function or a logger that is none */
  constructor(options: ReportOptions) {
    this.#onValid = readFunction(options.onValidCertificate, 'onValidCertificate')
    this.#onBad = readFunction(options.onBadCertificate, 'onBadCertificate')
    this.#logger = readLogger(options.logger)
  }

  /** One connection's verdict. A report is built only when somebody listens. */
  connection(verdict: Verdict): void {
    const { peer } = verdict
    const decision = peer?.decision ?? 'refused'
    this.counters[decision]++
    if (peer && verdict.resumed) this.counters.resumed++
    const good = decision === 'accepted'
    const callback = good ? (peer?.result === 'unpinned' || peer?.result === 'unchecked' ? undefined : this.#onValid) : this.#onBad
    const logged = this.#logs(good ? 'debug' : 'warn')
    if (callback === undefined && !logged) return
    const report = new PinReport(verdict)
    if (logged) this.#write(good ? 'debug' : 'warn', () => describe(report), `connection ${decision}`)
    // After the decision has been carried out, and before the request it belongs to settles.
    if (callback) process.nextTick(() => this.#call(callback, report, good ? 'onValidCertificate' : 'onBadCertificate'))
  }

  /** A request or connection that was refused before anything was opened. */
  blocked(host: string, port: number, error: Error & { code?: string }): void {
    this.counters.blocked++
    this.#write('warn', () => ({ host, port, code: error.code, reason: error.message }), 'request blocked')
  }

  /** What is allowed but unwise: said once. */
  warnOnce(text: string): void {
    if (this.#warned.has(text)) return
    this.#warned.add(text)
    process.emitWarning(text, { type: 'PinningWarning' })
    this.#write('warn', () => ({}), text)
  }

  #call(callback: (report: PinReport) => unknown, report: PinReport, name: string): void {
    const complain = (error: unknown): void => process.emitWarning(`axios-ssl-pinning: ${name} failed, which changes nothing for the request: ${describeError(error)}`, { type: 'PinningWarning' })
    try {
      const answer: unknown = callback(report)
      if (isThenable(answer)) answer.then(undefined, complain)
    } catch (error) {
      complain(error)
    }
  }

  #logs(level: 'warn' | 'debug'): boolean {
    if (this.#logger === undefined) return false
    return level === 'warn' || this.#guard(() => this.#logger?.isLevelEnabled?.(level) !== false) === true
  }

  #write(level: 'warn' | 'debug', details: () => object, message: string): void {
    this.#guard(() => this.#logger?.[level](details(), message))
  }

  /** What fails in logging silences neither the callbacks nor the request. */
  #guard<T>(log: () => T): T | undefined {
    try {
      return log()
    } catch (error) {
      process.emitWarning(`axios-ssl-pinning: the logger failed: ${describeError(error)}`, { type: 'PinningWarning' })
      return undefined
    }
  }
}

/** The fields of a report that are worth a log line. No header, cookie, body, URL or key material: the report has none. */
function describe(report: PinReport): object {
  const { host, port, decision, result, mode, policy, policyRevision, matchedPin, tlsVersion, cipher, resumed, durationMs, error } = report
  const seen = report.decision === 'accepted' ? {} : { fingerprint: report.leaf?.fingerprint, pin: report.leaf?.pin, issuer: report.leaf?.issuer, knownPins: report.knownPins }
  return { host, port, decision, result, mode, policy, policyRevision, matchedPin, tlsVersion, cipher, resumed, durationMs, code: error?.code, reason: error?.message, ...seen }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}

function describeError(error: unknown): string {
  try {
    return String(error)
  } catch {
    return 'an error that has no text'
  }
}
