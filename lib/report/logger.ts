import type { Logger } from 'pino'
import { PolicyInvalidError } from '../errors.js'
import { describeType } from '../pin/pin.js'
import { describeError } from './events.js'
import type { ConnectionEvent, EventStream } from './events.js'
import type { PinReport } from './report.js'

/** The part of a pino logger that is used; anything with these two methods will do. */
export interface PinningLogger {
  warn(details: object, message: string): void
  debug(details: object, message: string): void
  /** Asked before a `debug` record is built, where the logger has it. */
  isLevelEnabled?(level: string): boolean
}

/**
 * `true` makes a pino logger of our own (name `axios-ssl-pinning`, standard output); pino is loaded then, and records
 * made meanwhile wait for it.
 * @throws {PolicyInvalidError} for anything that is no logger
 */
export function readLogger(value: unknown): PinningLogger | undefined {
  if (value === undefined || value === false) return undefined
  if (value === true) return new DeferredLogger(import('pino').then(({ pino }) => pino({ name: 'axios-ssl-pinning' })))
  if (!isLogger(value)) throw new PolicyInvalidError('logger', `must be true or a pino-compatible logger with warn() and debug(), not ${describeType(value)}`)
  return value
}

/**
 * Writes a line for every event. What fails in logging becomes a process warning.
 * @param notEnforced said in every line, while there is something to say
 */
export function writeLog(logger: PinningLogger, events: EventStream, notEnforced: () => string | undefined): void {
  const write = (level: 'warn' | 'debug', details: () => object, message: string): void => {
    try {
      if (level === 'debug' && logger.isLevelEnabled?.(level) === false) return
      const lowered = notEnforced()
      logger[level](lowered === undefined ? details() : { ...details(), notEnforced: lowered }, message)
    } catch (error) {
      process.emitWarning(`axios-ssl-pinning: the logger failed: ${describeError(error)}`, { type: 'PinningWarning' })
    }
  }
  const connection = (event: ConnectionEvent): void => write(event.decision === 'accepted' ? 'debug' : 'warn', () => describe(event.report), `connection ${event.decision}`)
  events.on('connection:accepted', connection)
  events.on('connection:tolerated', connection)
  events.on('connection:refused', connection)
  events.on('request:blocked', ({ host, port, error }) => write('warn', () => ({ host, port, code: error.code, reason: error.message }), 'request blocked'))
  events.on('policy:updated', ({ revision, hosts }) => write('debug', () => ({ policyRevision: revision, hosts }), 'policy updated'))
  events.on('warning', ({ message }) => write('warn', () => ({}), message))
  events.on('threat', ({ kind, severity, hosts }) => write('warn', () => ({ kind, severity, hosts }), `threat: ${kind}`))
}

/** The fields of a report that are worth a log line. No header, cookie, body, URL or key material: the report has none. */
function describe(report: PinReport): object {
  const { host, port, decision, result, mode, policy, policyRevision, matchedPin, tlsVersion, cipher, keyExchange, resumed, durationMs, error } = report
  const seen = report.decision === 'accepted' ? {} : { fingerprint: report.leaf?.fingerprint, pin: report.leaf?.pin, issuer: report.leaf?.issuer, knownPins: report.knownPins, diagnosis: report.diagnosis }
  return { host, port, decision, result, mode, policy, policyRevision, matchedPin, tlsVersion, cipher, keyExchange, resumed, durationMs, code: error?.code, reason: error?.message, ...seen }
}

function isLogger(value: unknown): value is PinningLogger {
  const { warn, debug } = (typeof value === 'object' && value !== null ? value : {}) as Partial<PinningLogger>
  return typeof warn === 'function' && typeof debug === 'function'
}

/** Keeps records until the logger has been loaded. */
class DeferredLogger implements PinningLogger {
  #logger: Logger | undefined
  readonly #loading: Promise<Logger>

  constructor(loading: Promise<Logger>) {
    this.#loading = loading
    loading.then(
      (logger) => (this.#logger = logger),
      (error: unknown) => process.emitWarning(`axios-ssl-pinning: pino could not be loaded, nothing is logged: ${String(error)}`)
    )
  }

  warn(details: object, message: string): void {
    this.#log((logger) => logger.warn(details, message))
  }

  debug(details: object, message: string): void {
    this.#log((logger) => logger.debug(details, message))
  }

  isLevelEnabled(level: string): boolean {
    return this.#logger?.isLevelEnabled(level) ?? true
  }

  #log(write: (logger: Logger) => void): void {
    if (this.#logger) write(this.#logger)
    else this.#loading.then(write, () => undefined)
  }
}
