import { PinningError, UpdateRejectedError } from '../errors.js'
import { parseHostPattern } from '../pin/hostname.js'
import { parsePin } from '../pin/pin.js'
import { parsePolicy } from '../policy/policy.js'
import type { HostPolicy } from '../policy/policy.js'
import { PolicySet } from '../policy/policy-set.js'
import type { ParsedPolicy, PolicyFloor, PolicyOptions } from '../policy/policy-set.js'
import type { PinSet } from './manifest.js'

/** What a program says itself of the sets it takes. */
export interface SetRequirements {
  /** The options of the program: how strictly pins are enforced (`mode`, `trust`, `onExpiry` of a pattern) is theirs to say. */
  readonly options: Pick<PolicyOptions, 'pins' | 'requireBackupPin'>
  /** What the options say of each host. A set can name a host by another pattern, and not thereby lower what is asked of it. */
  readonly floor?: PolicyFloor | undefined
  /** Where sets are fetched from. */
  readonly url: URL | undefined
  readonly keptVersion: number | undefined
  /** Lets other work run while a long set is read. */
  readonly pause: () => Promise<void>
}

/**
 * The policies of a set, in mode `enforce`.
 * @throws {UpdateRejectedError} when a pattern or a pin cannot be used, or the source's own host is not covered
 */
export async function policiesOf(set: PinSet, requirements: SetRequirements): Promise<PolicySet> {
  const { options, floor, url, keptVersion, pause } = requirements
  try {
    const terms = localTerms(options.pins)
    const parsed: ParsedPolicy[] = []
    for (const [text, given] of Object.entries(set.pins)) {
      if (parsed.length % hostsPerTurn === hostsPerTurn - 1) await pause()
      const pattern = parseHostPattern(text, 'pins')
      const own = terms.get(pattern.text)
      const whole = own ? { ...(Array.isArray(given) ? { pins: given as readonly string[] } : given), ...own } : given
      parsed.push({ pattern, policy: parsePolicy(pattern.text, whole, `pins["${pattern.text}"]`) })
    }
    await pause()
    const revoked = new Set(set.revokedPins.map((pin) => parsePin(pin).text))
    const policies = new PolicySet({ requireBackupPin: options.requireBackupPin === true }, 0, undefined, true, { revoked, floor: terms.size > 0 ? floor : undefined }, parsed)
    if (url) demandCovered(policies, url, set.issued, keptVersion)
    return policies
  } catch (error) {
    if (error instanceof UpdateRejectedError || !(error instanceof PinningError || error instanceof TypeError)) throw error
    throw new UpdateRejectedError('pins', error.message, keptVersion, { cause: error })
  }
}

/** The port of a URL, which leaves out the usual one. */
export function portOf(url: URL): number {
  return Number(url.port || 443)
}

const hostsPerTurn = 500

/** A set that has no pins for its own source would be the last one. */
function demandCovered(policies: PolicySet, url: URL, issued: Date, keptVersion: number | undefined): void {
  const policy = policies.find(url.hostname, portOf(url))
  // Expired pins are none for the source, whatever onExpiry says.
  const usable = policy !== undefined && policy.expiresAt > issued.getTime() && [...policy.pins.keys()].some((pin) => !policies.revoked.has(pin))
  if (!usable) throw new UpdateRejectedError('source-not-covered', `it has no pins for ${url.host}, from which it is fetched, and would be the last one`, keptVersion)
}

/** What the options say beside pins, by pattern, in its canonical text. */
function localTerms(pins: PolicyOptions['pins']): Map<string, HostPolicy> {
  const terms = new Map<string, HostPolicy>()
  for (const [text, policy] of Object.entries(pins ?? {})) {
    if (Array.isArray(policy)) continue
    const { mode, trust, onExpiry } = policy as HostPolicy
    terms.set(parseHostPattern(text, 'pins').text, { ...(mode && { mode }), ...(trust && { trust }), ...(onExpiry && { onExpiry }) })
  }
  return terms
}
