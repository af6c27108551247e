import type { Logger } from 'pino'
import { PolicyInvalidError } from '../errors.js'
import { describeType } from '../pin/pin.js'

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
