import type { Logger } from 'pino'
import { PolicyInvalidError } from '../errors.js'
import { describeError, describeType } from '../pin/pin.js'
import { ignoreRejection } from '../policy/late-answer.js'
import type { ConnectionEvent, EventStream } from './events.js'
import type { PinReport } from './report.js'
import { pinningSerializers } from './serializers.js'

/** The part of a pino logger that is used; anything with the first two methods will do. */
export interface PinningLogger {
  warn(details: object, message: string): void
  debug(details: object, message: string): void
  /** For what is worse than a warning, and what is less; `warn` and `debug` where it is missing. */
  error?(details: object, message: string): void
  info?(details: object, message: string): void
  /** Where the logger has it, a child with `component: 'axios-ssl-pinning'` writes the records, under the logger's own bindings and redaction. */
  child?(bindings: object): unknown
  readonly level?: string
  /** Asked before a `debug` record is built, where the logger has it. */
  isLevelEnabled?(level: string): boolean
}

/**
 * `true` makes a pino logger of our own (name and component `axios-ssl-pinning`, standard output); pino is loaded then, and records
 * made meanwhile wait for it.
 * @throws {PolicyInvalidError} for anything that is no logger
 */
export function readLogger(value: unknown): PinningLogger | undefined {
  if (value === undefined || value === false) return undefined
  if (value === true) return new DeferredLogger(import('pino').then(({ pino }) => pino({ name: component, serializers: { ...pinningSerializers } }).child({ component })))
  if (!isLogger(value)) throw new PolicyInvalidError('logger', `must be true or a pino-compatible logger with warn() and debug(), not ${describeType(value)}`)
  return typeof value.child === 'function' ? new ChildLogger(value) : value
}

/**
 * Writes a line for every event. What fails in logging becomes a process warning.
 * @param notEnforced said in every line, while there is something to say
 */
export function writeLog(logger: PinningLogger, events: EventStream, notEnforced: () => string | undefined): void {
  const complain = (error: unknown): void => process.emitWarning(`axios-ssl-pinning: the logger failed: ${describeError(error)}`, { type: 'PinningWarning' })
  const write = (level: Level, details: () => object, message: string): void => {
    try {
      if (level === 'debug') {
        const enabled: unknown = logger.isLevelEnabled?.(level)
        if (enabled === false) return
        ignoreRejection(enabled, complain)
      }
      if (logger[level] === undefined) return write(level === 'error' ? 'warn' : 'debug', details, message)
      const lowered = notEnforced()
      ignoreRejection(logger[level](lowered === undefined ? details() : { ...details(), notEnforced: lowered }, message), complain)
    } catch (error) {
      complain(error)
    }
  }
  const connection = (event: ConnectionEvent): void => write(event.decision === 'accepted' ? 'debug' : 'warn', () => describe(event.report), `connection ${event.decision}`)
  events.on('connection:accepted', connection)
  events.on('connection:tolerated', connection)
  events.on('connection:refused', connection)
  events.on('request:blocked', ({ host, port, error }) => write('warn', () => ({ host, port, code: error.code, reason: error.message }), 'request blocked'))
  events.on('policy:updated', ({ revision, hosts }) => write('info', () => ({ policyRevision: revision, hosts }), 'policy updated'))
  events.on('update', (report) => write(report.error || report.result === 'expired' ? 'warn' : 'info', () => ({ ...report }), `pin set ${report.result}`))
  events.on('warning', ({ message }) => write('warn', () => ({}), message))
  events.on('integrity:found', ({ name, detail }) => write('warn', () => ({ finding: name, detail }), `integrity: ${name} found`))
  events.on('expiring', (report) => write('warn', () => ({ ...report }), 'expiring'))
  events.on('threat', (threat) => write(levelOf[threat.severity], () => ({ ...threat }), `threat: ${threat.kind}`))
}

type Level = 'error' | 'warn' | 'info' | 'debug'

const levelOf = { critical: 'error', warning: 'warn', info: 'info' } as const

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

/** Writes to a child of the user's logger, and hands on what it answers. A child keeps the level that its parent had, so it is made anew when that changes. */
class ChildLogger implements PinningLogger {
  #child: PinningLogger | undefined
  #level: string | undefined

  constructor(readonly parent: PinningLogger) {}

  error(details: object, message: string): unknown {
    const child = this.#current()
    return child.error ? child.error(details, message) : child.warn(details, message)
  }

  warn(details: object, message: string): unknown {
    return this.#current().warn(details, message)
  }

  info(details: object, message: string): unknown {
    const child = this.#current()
    return child.info ? child.info(details, message) : child.debug(details, message)
  }

  debug(details: object, message: string): unknown {
    return this.#current().debug(details, message)
  }

  isLevelEnabled(level: string): boolean {
    return this.parent.isLevelEnabled?.(level) ?? true
  }

  #current(): PinningLogger {
    if (this.#child && this.#level === this.parent.level) return this.#child
    const child = this.parent.child?.({ component })
    this.#level = this.parent.level
    if (isLogger(child)) return (this.#child = child)
    ignoreRejection(child)
    return (this.#child = this.parent)
  }
}

const component = 'axios-ssl-pinning'

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

  error(details: object, message: string): void {
    this.#log((logger) => logger.error(details, message))
  }

  warn(details: object, message: string): void {
    this.#log((logger) => logger.warn(details, message))
  }

  info(details: object, message: string): void {
    this.#log((logger) => logger.info(details, message))
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
