import type { X509Certificate } from 'node:crypto'
import { ChainUnverifiedError, HostUnpinnedError, PinMismatchError, PolicyExpiredError, isPinningError } from '../errors.js'
import type { PeerFacts, PinningError } from '../errors.js'
import { pinPlace } from '../policy/policy.js'
import type { Policy } from '../policy/policy.js'
import type { PolicySet } from '../policy/policy-set.js'
import type { TrustAnchors } from './anchors.js'
import type { VerifiedChain } from './chain.js'
import { holdsWithAll, isInDate, servedAfter } from './chain.js'
import { findMisplaced } from './misplaced.js'
import { summarise } from './records.js'
import type { PeerRecord } from './records.js'

/** What is true of a peer; what is done about it is the decision. */
export type PinResult =
  | 'pinned' /** a pin matched */
  | 'mismatch' /** no pin matched, or a rejected key occurs */
  | 'chain-unverified' /** the pins need the verified chain, and there is none */
  | 'expired' /** the policy's own `expires` has passed */
  | 'untrusted' /** Node's PKI verification refused the peer */
  | 'unpinned' /** no policy covers the host */
  | 'unchecked' /** the mode is `off` */

export interface PinMatch {
  /** Canonical form, as in the policy. */
  readonly pin: string
  /** Where in the verified chain: 0 is the leaf. `undefined` where OpenSSL alone decided that a pinned CA is in it. */
  readonly depth: number | undefined
}

/** One peer and what is asked of it. */
export interface Peer {
  readonly host: string
  readonly port: number
  /** The name the certificate must bear: the TLS server name, else the host. */
  readonly serverName: string
  readonly policies: PolicySet
  readonly policy: Policy | undefined
  readonly record: PeerRecord
  /** The leaf as read from this connection; it knows what was served after it. */
  readonly leaf: X509Certificate
  /** `undefined` when Node's own verification, of chain and name, accepted the peer; else its error. */
  readonly untrusted: Error | undefined
  readonly anchors: TrustAnchors
  /** `anchors` are the pinned CAs alone: OpenSSL has accepted no chain but through one of them. */
  readonly restricted: boolean
  /** When the evidence is too old to be relied on, whatever it says; milliseconds since the epoch. Default never. */
  readonly evidenceUntil?: number
}

/** The proof that a peer was verified. Only {@link verifyPeer} makes one, and nothing is written to a socket without it. */
export class PinnedPeer {
  private constructor(
    readonly record: PeerRecord,
    readonly policy: Policy | undefined,
    readonly result: PinResult,
    readonly decision: 'accepted' | 'tolerated',
    readonly match: PinMatch | undefined,
    /** What would have been thrown, had the mode been `enforce`. */
    readonly error: PinningError | undefined,
    /** Milliseconds since the epoch after which this proof must be made anew. */
    readonly goodUntil: number
  ) {}

  /**
   * Verifies a peer at the time `now` (milliseconds since the epoch).
   *
   * @throws {PinningError} when the policy does not accept the peer
   * @throws {Error} Node's own error when PKI does not
   */
  static verify(peer: Peer, now: number): PinnedPeer {
    const { policies, policy, record } = peer
    const refusal = policies.findRefusal(peer.host, peer.port, now)
    if (refusal) throw refusal
    if (policy === undefined) {
      const allowed = policies.unpinnedHosts === 'allow' || policies.mode === 'off'
      const error = allowed ? undefined : new HostUnpinnedError(peer.host, peer.port, policies.nearestPatterns(peer.host))
      if (error && policies.mode === 'enforce') throw error
      return PinnedPeer.#trusted(peer, 'unpinned', error)
    }
    const mode = policies.modeOf(policy)
    if (mode === 'off') return PinnedPeer.#trusted(peer, 'unchecked')
    if (policies.expired?.then === 'refuse') throw new PolicyExpiredError(peer.host, policies.expired.name, policies.expired.date)
    const expired = now >= policy.expiresAt
    if (expired && policy.onExpiry === 'allow') return PinnedPeer.#trusted(peer, 'expired')
    try {
      if (expired && policy.onExpiry === 'refuse') throw new PolicyExpiredError(peer.host, policy.pattern, new Date(policy.expiresAt))
      const match = findMatch(peer, policy, now)
      if (policy.trust === 'pin-only') demandLeaf(peer, now)
      else demandTrust(peer)
      const goodUntil = Math.min(record.validTo, record.knownChain?.validTo ?? Infinity, expired ? Infinity : policy.expiresAt, peer.evidenceUntil ?? Infinity)
      return new PinnedPeer(record, policy, 'pinned', 'accepted', match, undefined, goodUntil)
    } catch (error) {
      if (!isPinningError(error) || (mode !== 'report-only' && !(expired && policy.onExpiry === 'report-only'))) throw error
      // Report-only forgives a missing pin, never a peer that PKI refuses.
      return PinnedPeer.#trusted(peer, resultOf(error), error)
    }
  }

  /** A peer that stands on PKI alone. */
  static #trusted(peer: Peer, result: PinResult, error?: PinningError): PinnedPeer {
    demandTrust(peer)
    const { record, policy } = peer
    return new PinnedPeer(record, policy, result, error ? 'tolerated' : 'accepted', undefined, error, Math.min(record.validTo, peer.evidenceUntil ?? Infinity))
  }
}

/** {@link PinnedPeer.verify}. */
export function verifyPeer(peer: Peer, now: number): PinnedPeer {
  return PinnedPeer.verify(peer, now)
}

/** The result that a refusal's error stands for. */
export function resultOf(error: unknown): PinResult {
  if (!isPinningError(error)) return 'untrusted'
  switch (error.code) {
    case 'ERR_PIN_EXPIRED':
      return 'expired'
    case 'ERR_PIN_CHAIN_UNVERIFIED':
      return 'chain-unverified'
    case 'ERR_PIN_HOST_UNPINNED':
      return 'unpinned'
    default:
      return 'mismatch'
  }
}

/** Leaf pins need no chain and are looked at first; everything else is looked for in the verified chain only. */
function findMatch(peer: Peer, policy: Policy, now: number): PinMatch {
  if (policy.rejected.size > 0 || peer.policies.revoked.size > 0) demandNotRejected(peer, policy, now)
  const leaf = matchLeaf(peer.record, policy)
  if (leaf) return leaf
  if (!policy.usesChain || policy.trust === 'pin-only') throw mismatch(peer, policy, undefined, 'The leaf certificate is not pinned')
  const chain = peer.restricted ? peer.record.chain(peer.leaf, peer.anchors, now) : demandChain(peer, policy, now)
  if (peer.restricted && !holdsWithAll(chain, peer.leaf, peer.anchors, peer.anchors.all, now)) {
    throw new ChainUnverifiedError("Another trust anchor bears the name of an issuer in the chain, and does not vouch for what is below it: Node's own verification would end there", factsOf(peer, policy, chain))
  }
  const match = chain && matchIssuer(chain, policy)
  if (match) return match
  if (isVouchedByOpenssl(peer)) return { pin: policy.pins.keys().next().value as string, depth: undefined }
  throw mismatch(peer, policy, chain, noneIsPinned(policy, chain))
}

/** The same pin may stand on both sides of the comparison, and not count. */
function noneIsPinned(policy: Policy, chain: VerifiedChain | undefined): string {
  return chain && findMisplaced(policy, chain.certificates) ? 'No certificate of the verified chain is pinned in its own place' : 'No certificate of the verified chain is pinned'
}

/**
 * Whether OpenSSL has accepted this leaf with the pinned CAs as its only anchors. A resumed session may have been made
 * with others; and an authority is never the leaf itself, which a partial chain could end at.
 */
function isVouchedByOpenssl({ restricted, record, anchors, leaf }: Peer): boolean {
  return restricted && record.anchors === anchors && !anchors.has(leaf)
}

function matchIssuer(chain: VerifiedChain, policy: Policy): PinMatch | undefined {
  for (let depth = 1; depth < chain.certificates.length; depth++) {
    const pin = [chain.pins[depth], chain.fingerprints[depth]].find((each) => (policy.pins.get(each as string) ?? 0) & pinPlace.issuer)
    if (pin !== undefined) return { pin, depth }
  }
  return undefined
}

function matchLeaf(record: PeerRecord, policy: Policy): PinMatch | undefined {
  if ((policy.pins.get(record.fingerprint) ?? 0) & pinPlace.leaf) return { pin: record.fingerprint, depth: 0 }
  return (policy.pins.get(record.pin) ?? 0) & pinPlace.leaf ? { pin: record.pin, depth: 0 } : undefined
}

function demandNotRejected(peer: Peer, policy: Policy, now: number): void {
  const chain = policy.trust === 'pin-only' ? undefined : demandChain(peer, policy, now)
  const found = [peer.record.fingerprint, peer.record.pin, ...(chain?.fingerprints ?? []), ...(chain?.pins ?? [])].find((pin) => policy.rejected.has(pin) || peer.policies.revoked.has(pin))
  if (found !== undefined) throw mismatch(peer, policy, chain, `The policy rejects ${found}, which occurs in the chain`)
}

function demandChain(peer: Peer, policy: Policy, now: number): VerifiedChain {
  const chain = peer.record.chain(peer.leaf, peer.anchors, now)
  if (chain) return chain
  const reason = 'No verified chain leads from the leaf certificate to a trust anchor, and the policy pins an authority or rejects keys. Serve the intermediates, or pass the trust anchor as tls.ca'
  throw new ChainUnverifiedError(reason, factsOf(peer, policy, undefined))
}

/** For `pin-only`: the leaf's pin replaces the trust anchor; its dates and names must still fit. */
function demandLeaf(peer: Peer, now: number): void {
  if (peer.untrusted === undefined) return
  const nameError = peer.record.checkName(peer.serverName)
  if (nameError) throw nameError
  if (isInDate(peer.leaf, now)) return
  const expired = now > peer.record.validTo
  throw Object.assign(new Error(expired ? 'certificate has expired' : 'certificate is not yet valid'), { code: expired ? 'CERT_HAS_EXPIRED' : 'CERT_NOT_YET_VALID' })
}

function demandTrust(peer: Peer): void {
  if (peer.untrusted !== undefined) throw peer.untrusted
}

/**
 * Where OpenSSL knew the pinned CAs only, its refusal can mean that the peer is not trusted at all, or that another CA
 * vouches for it.
 *
 * @param peer with all trust anchors, unrestricted
 * @returns the mismatch in the second case; `undefined` in the first, and where OpenSSL had another reason (a CRL)
 */
export function findMismatch(peer: Peer, now: number): PinMismatchError | undefined {
  const { policy } = peer
  const chain = peer.record.chain(peer.leaf, peer.anchors, now)
  if (policy === undefined || chain === undefined || matchIssuer(chain, policy)) return undefined
  return mismatch(peer, policy, chain, noneIsPinned(policy, chain))
}

function mismatch(peer: Peer, policy: Policy, chain: VerifiedChain | undefined, reason: string): PinMismatchError {
  return new PinMismatchError(`${reason} for ${peer.host}:${peer.port}.`, factsOf(peer, policy, chain))
}

/** Both sides of the comparison, for the error. */
function factsOf(peer: Peer, policy: Policy, chain: VerifiedChain | undefined): PeerFacts {
  return {
    host: peer.host,
    port: peer.port,
    policy: policy.pattern,
    served: [peer.leaf, ...servedAfter(peer.leaf)].map(summarise),
    verified: (chain?.certificates ?? []).map(summarise),
    knownPins: [...policy.pins.keys()]
  }
}
