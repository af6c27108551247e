import { setImmediate as pause } from 'node:timers/promises'
import type { PolicySet } from '../../policy/policy-set.js'
import type { PinSet } from '../../update/manifest.js'
import { policiesOf } from '../../update/set-policies.js'

/**
 * What a client makes of a verified set, one that has said nothing of its own.
 * @throws {UpdateRejectedError} exit code 1, when a pattern or a pin cannot be used
 */
export function clientPolicies(set: PinSet): Promise<PolicySet> {
  return policiesOf(set, { options: {}, url: undefined, keptVersion: undefined, pause })
}

/** What is allowed but unwise in a set, for humans. */
export function warningsOf(policies: PolicySet): string[] {
  const dead = [...policies.policies()].filter(({ pins }) => [...pins.keys()].every((pin) => policies.revoked.has(pin))).map(({ pattern }) => pattern)
  const shown = dead.length > 3 ? `${dead.slice(0, 3).join(', ')} and ${dead.length - 3} more` : dead.join(', ')
  return [...policies.warnings, ...(dead.length > 0 ? [`it revokes every pin that it has for ${shown}: every request there is refused`] : [])]
}
