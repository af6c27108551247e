import { readFunction } from '../policy/options.js'
import type { PolicySet } from '../policy/policy-set.js'
import { ConnectionEvent, EventStream, describeError } from './events.js'
import { readLogger, writeLog } from './logger.js'
import type { PinningLogger } from './logger.js'
import type { PinReport, Verdict } from './report.js'

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
  /** Where the listeners inside the package subscribe. */
  readonly events = new EventStream()
  /** Said in every log line: that the overall mode does not enforce. */
  notEnforced: string | undefined
  readonly #warned = new Set<string>()

  /** @throws {PolicyInvalidError} for a callback that is no function or a logger that is none */
  constructor(options: ReportOptions) {
    const logger = readLogger(options.logger)
    if (logger) writeLog(logger, this.events, () => this.notEnforced)
    this.#callBack(readFunction(options.onValidCertificate, 'onValidCertificate'), 'onValidCertificate')
    this.#callBack(readFunction(options.onBadCertificate, 'onBadCertificate'), 'onBadCertificate')
  }

  /** One connection's verdict. Nothing is built unless somebody listens. */
  connection(verdict: Verdict): void {
    const { peer } = verdict
    const decision = peer?.decision ?? 'refused'
    this.counters[decision]++
    if (peer && verdict.resumed) this.counters.resumed++
    const kind = `connection:${decision}` as const
    if (this.events.hears(kind)) this.events.emit(kind, new ConnectionEvent(verdict))
  }

  /** A request or connection that was refused before anything was opened. */
  blocked(host: string, port: number, error: Error & { code?: string }): void {
    this.counters.blocked++
    if (this.events.hears('request:blocked')) this.events.emit('request:blocked', { time: new Date(), host, port, error })
  }

  policyUpdated({ revision, size: hosts }: PolicySet): void {
    if (this.events.hears('policy:updated')) this.events.emit('policy:updated', { time: new Date(), revision, hosts })
  }

  /** What is allowed but unwise: said once. */
  warnOnce(message: string): void {
    if (this.#warned.has(message)) return
    this.#warned.add(message)
    process.emitWarning(message, { type: 'PinningWarning' })
    if (this.events.hears('warning')) this.events.emit('warning', { time: new Date(), message })
  }

  #callBack(callback: ((report: PinReport) => unknown) | undefined, name: 'onValidCertificate' | 'onBadCertificate'): void {
    if (callback === undefined) return
    const tell = (event: ConnectionEvent): void => {
      if (event.decision === 'accepted' && (event.result === 'unpinned' || event.result === 'unchecked')) return
      const { report } = event
      // After the decision has been carried out, and before the request it belongs to settles.
      process.nextTick(call, callback, report, name)
    }
    for (const decision of name === 'onValidCertificate' ? (['accepted'] as const) : (['tolerated', 'refused'] as const)) this.events.on(`connection:${decision}`, tell)
  }
}

function call(callback: (report: PinReport) => unknown, report: PinReport, name: string): void {
  const complain = (error: unknown): void => process.emitWarning(`axios-ssl-pinning: ${name} failed, which changes nothing for the request: ${describeError(error)}`, { type: 'PinningWarning' })
  try {
    const answer: unknown = callback(report)
    if (isThenable(answer)) answer.then(undefined, complain)
  } catch (error) {
    complain(error)
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}
