import { AxiosError } from 'axios'
import type { InternalAxiosRequestConfig } from 'axios'
import { BypassError } from '../errors.js'
import type { PinningError } from '../errors.js'
import { describeType } from '../pin/pin.js'
import type { PinningCore } from '../pinning.js'
import { ignoreRejection } from '../policy/late-answer.js'

/** What a config's `adapter` may hold beside the names of axios' own. */
export type Adapter = (config: object) => Promise<unknown>

/** The adapter itself when `dangerAllowAdapter` lets it have the request, else the refusal. Names are never asked about. */
export function askForAdapter(adapter: unknown, config: object, core: PinningCore): Adapter | BypassError {
  const named = typeof adapter === 'string' ? `'${adapter.slice(0, 30)}'` : undefined
  if (named !== undefined || typeof adapter !== 'function') return new BypassError('adapter', `${named ?? describeType(adapter)} opens its own connections; right would be axios' own 'http'`)
  if (core.dangerAllowAdapter === undefined) return new BypassError('adapter', "a function opens its own connections; right would be axios' own 'http', or the option dangerAllowAdapter for a test double or cache")
  const refuse = (why: string, options?: ErrorOptions): BypassError => new BypassError('adapter', `dangerAllowAdapter ${why}`, options)
  try {
    const answer: unknown = core.dangerAllowAdapter(adapter as Adapter, config)
    if (answer === true) return adapter as Adapter
    ignoreRejection(answer)
    return refuse(answer === false ? 'does not allow this function' : `has to return true or false, not ${describeType(answer)}`)
  } catch (cause) {
    return refuse('threw', { cause })
  }
}

/**
 * The adapter, which now gets the config with its connection fields locked: taking one out before axios' own adapter is
 * called throws (or, in sloppy code, does nothing). What it settles with carries the request's own config again.
 */
export function sealFor(adapter: Adapter, fields: readonly string[]): Adapter {
  return (config) => {
    const locked = Object.assign(Object.create(Object.getPrototypeOf(config) as object | null) as object, config)
    // Adapters put the next one in the place of their own name.
    for (const field of fields) if (field !== 'adapter') Object.defineProperty(locked, field, { writable: false, configurable: false })
    const unlock = <T>(settled: T): T => {
      if (typeof settled === 'object' && settled !== null && (settled as { config?: unknown }).config === locked) Reflect.set(settled, 'config', config)
      return settled
    }
    return adapter(locked).then(unlock, (reason: unknown) => Promise.reject(unlock(reason)))
  }
}

/** An adapter that refuses its requests. */
export function refusing(error: PinningError, onRefusal: () => void): Adapter {
  return (config) => {
    onRefusal()
    return Promise.reject(AxiosError.from(error, error.code, config as InternalAxiosRequestConfig))
  }
}
