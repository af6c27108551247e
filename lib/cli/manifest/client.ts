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
