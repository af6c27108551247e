import { BypassError, HostUnpinnedError } from '../errors.js'
import type { PinningError } from '../errors.js'
import type { PolicySet } from '../policy/policy-set.js'

/**
 * Why a host may not be spoken to at all, whoever answers there; `undefined` when its peer decides.
 * @param now milliseconds since the epoch
 */
export function findRefusal(protocol: string, policies: PolicySet, host: string, port: number, now: number): PinningError | undefined {
  return policies.findRefusal(host, port, now) ?? (protocol === 'https:' ? findUnpinned(policies, host, port) : plainRefusal(policies, host, port))
}

/** Why a host that no policy covers is refused. */
export function findUnpinned(policies: PolicySet, host: string, port: number): HostUnpinnedError | undefined {
  const unpinned = policies.unpinnedHosts === 'refuse' && policies.mode === 'enforce' && policies.find(host, port) === undefined
  return unpinned ? new HostUnpinnedError(host, port, policies.nearestPatterns(host)) : undefined
}

function plainRefusal(policies: PolicySet, host: string, port: number): BypassError | undefined {
  const found = [port, 443, 80].map((each) => policies.find(host, each)).filter((policy) => policy !== undefined)
  const pinned = found.some((policy) => policies.modeOf(policy) === 'enforce')
  const unpinned = found.length === 0 && policies.mode === 'enforce' && policies.unpinnedHosts === 'refuse'
  if (!pinned && !unpinned) return undefined
  const why = pinned ? `${host} is pinned and is never spoken to in plain text` : `no pins are known for ${host}, and plain text has no peer to verify`
  return new BypassError('http:', `${why}; right would be https:`)
}
