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
  /** Refuses the hosts for so long (`ERR_PIN_LOCKDOWN`), whoever answers, also when a later connection looks right. */
  lockdownMs?: number
  /** Asks the source of the pins (`updates`) for new ones, once a minute at most. Default `false`. */
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

/** @throws {PolicyInvalidError | TypeError} naming the option */
export function readThreatResponse(given: ThreatResponse | undefined): ResponsePlan | undefined {
  if (given === undefined) return undefined
  const options = readOptions(given, ['severity', 'lockdownMs', 'refreshPolicy', 'maxConnectionAgeMs'], 'threatResponse')
  return {
    severity: readChoice(options.severity, ['warning', 'critical'], 'critical', 'threatResponse.severity'),
    lockdownMs: readDuration(options.lockdownMs, 'threatResponse.lockdownMs'),
    refreshPolicy: readBoolean(options.refreshPolicy, false, 'threatResponse.refreshPolicy'),
    maxConnectionAgeMs: readDuration(options.maxConnectionAgeMs, 'threatResponse.maxConnectionAgeMs')
  }
}

/** Whether a threat is severe enough. */
export function calls(plan: ResponsePlan, { severity }: Threat): boolean {
  return severity === 'critical' || (severity === 'warning' && plan.severity === 'warning')
}

/** New pins are asked for no more often: an attacker must not be able to flood their source. */
export const refreshEveryMs = 60_000

/** For how long connections of a host under threat are kept short. */
export const shortAgeMs = 3_600_000
