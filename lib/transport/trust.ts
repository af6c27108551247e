import type { SecureContext, SecureContextOptions } from 'node:tls'
import type { Policy } from '../policy/policy.js'
import type { PolicySet } from '../policy/policy-set.js'
import { TrustAnchors } from '../verify/anchors.js'
import { PeerRecords } from '../verify/records.js'
import { restrictAnchors } from '../verify/restrict.js'
import { createContext } from './tls-options.js'
import type { TlsSettings } from './tls-options.js'

/** What OpenSSL is given to verify a peer with, and what was learnt of peers under it. */
export interface Trust {
  readonly anchors: TrustAnchors
  readonly records: PeerRecords
  readonly context: () => SecureContext
  /** The anchors are the pinned CAs alone, so OpenSSL's own verdict is the match. */
  readonly restricted: boolean
}

/** The trust of one agent: one for all policies, and one for each that pins nothing but known CAs. */
export class Trusts {
  readonly general: Trust
  readonly #options: SecureContextOptions
  readonly #restricted = new WeakMap<Policy, Trust>()

  constructor(settings: TlsSettings) {
    this.#options = settings.context
    const anchors = new TrustAnchors(settings.ca, settings.context.allowPartialTrustChain === true)
    this.general = { anchors, records: new PeerRecords(), context: once(() => createContext(this.#options)), restricted: false }
  }

  /** @param now milliseconds since the epoch */
  for(policies: PolicySet, policy: Policy | undefined, now: number): Trust {
    if (policy === undefined || policies.modeOf(policy) !== 'enforce' || policy.onExpiry !== 'refuse') return this.general
    const known = this.#restricted.get(policy)
    if (known) return known
    const trust = this.#restrict(policy, now)
    this.#restricted.set(policy, trust)
    return trust
  }

  #restrict(policy: Policy, now: number): Trust {
    const certificates = restrictAnchors(policy, this.general.anchors, now)
    if (certificates === undefined) return this.general
    const ca = certificates.map((certificate) => certificate.toString())
    const options = { ...this.#options, ca, allowPartialTrustChain: true }
    return { anchors: new TrustAnchors(ca, true), records: new PeerRecords(), context: once(() => createContext(options)), restricted: true }
  }
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined
  return () => (made ??= { value: make() }).value
}
