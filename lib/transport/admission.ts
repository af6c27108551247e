import { BypassError, HostUnpinnedError } from '../errors.js'
import type { PinningError } from '../errors.js'
import { canonicalHost } from '../pin/hostname.js'
import type { PolicySet } from '../policy/policy-set.js'

/**
 * Why a host may not be spoken to at all, whoever answers there; `undefined` when its peer decides.
 * @param now milliseconds since the epoch
 * @param serverName what the certificate will be checked against, where that is another name
 */
export function findRefusal(protocol: string, policies: PolicySet, host: string, port: number, now: number, serverName?: string): PinningError | undefined {
  return policies.findRefusal(host, port, now) ?? (protocol === 'https:' ? findUnpinned(policies, host, port, serverName) : plainRefusal(policies, host, port))
}

/** Why a host that no policy covers is refused: always what is no host name at all, since a resolver may read another one in it. */
export function findUnpinned(policies: PolicySet, host: string, port: number, serverName?: string): HostUnpinnedError | undefined {
  if (policies.mode !== 'enforce') return undefined
  const unpinned = canonicalHost(host) === undefined || (policies.unpinnedHosts === 'refuse' && policies.find(host, port, serverName) === undefined)
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
