import { PolicyInvalidError } from '../errors.js'
import { readBoolean, readChoice, readDuration, readOptions } from '../policy/options.js'
import type { Threat } from './threat.js'

/** The part of the options that says what to do about what connections look like together. */
export interface ThreatOptions {
  /** Called when connections to a host, or to several, look like a rotation, an attack, or neither. As the callbacks above. */
  onThreat?(threat: Threat): void
  /** Whether connections are looked at together. Default `true`. */
  threatMonitor?: boolean
  /** What happens at once, without anybody being asked. Default nothing. */
  threatResponse?: ThreatResponse
}

export interface ThreatResponse {
  /** The least severity that is responded to. Default `'critical'`: an attack, or one interceptor before several hosts. */
  severity?: 'warning' | 'critical'
  /** Refuses the hosts for so long (`ERR_PIN_LOCKDOWN`), whoever answers, also when a later connection looks right. At most a year. */
  lockdownMs?: number
  /** Asks the source of the pins (`updates`, which has to be there) for new ones, once a minute at most. Default `false`. */
  refreshPolicy?: boolean
  /** Bounds `maxConnectionAgeMs` for the hosts, for an hour. */
  maxConnectionAgeMs?: number
}

/** A {@link ThreatResponse} after reading. */
export interface ResponsePlan {
  readonly severity: 'warning' | 'critical'
  readonly lockdownMs: number | undefined
  readonly refreshPolicy: boolean
  readonly maxConnectionAgeMs: number | undefined
}

/**
 * @param present what it needs to do anything
 * @throws {PolicyInvalidError | TypeError} naming the option
 */
export function readThreatResponse(given: ThreatResponse | undefined, present: { readonly monitor: boolean, readonly updates: boolean }): ResponsePlan | undefined {
  if (given === undefined) return undefined
  if (!present.monitor) throw new PolicyInvalidError('threatResponse', 'nothing would ever call for it, since threatMonitor is false; right would be one of the two')
  const options = readOptions(given, ['severity', 'lockdownMs', 'refreshPolicy', 'maxConnectionAgeMs'], 'threatResponse')
  const lockdownMs = readDuration(options.lockdownMs, 'threatResponse.lockdownMs')
  if (lockdownMs !== undefined && lockdownMs > longestLockdownMs) throw new PolicyInvalidError('threatResponse.lockdownMs', `must be at most ${longestLockdownMs} (a year), not ${lockdownMs}`)
  const refreshPolicy = readBoolean(options.refreshPolicy, false, 'threatResponse.refreshPolicy')
  if (refreshPolicy && !present.updates) throw new PolicyInvalidError('threatResponse.refreshPolicy', 'there is no source of pins to ask; right would be updates as well, or to leave it out')
  return {
    severity: readChoice(options.severity, ['warning', 'critical'], 'critical', 'threatResponse.severity'),
    lockdownMs,
    refreshPolicy,
    maxConnectionAgeMs: readDuration(options.maxConnectionAgeMs, 'threatResponse.maxConnectionAgeMs')
  }
}

const longestLockdownMs = 366 * 24 * 3_600_000

/** Whether a threat is severe enough. */
export function calls(plan: ResponsePlan, { severity }: Threat): boolean {
  return severity === 'critical' || (severity === 'warning' && plan.severity === 'warning')
}

/** New pins are asked for no more often: an attacker must not be able to flood their source. */
export const refreshEveryMs = 60_000

/** For how long connections of a host under threat are kept short. */
export const shortAgeMs = 3_600_000
