import type { SecureContext, SecureContextOptions } from 'node:tls'
import type { Policy } from '../policy/policy.js'
import type { PolicySet } from '../policy/policy-set.js'
import { TrustAnchors } from '../verify/anchors.js'
import { PeerRecords } from '../verify/records.js'
import { restrictAnchors } from '../verify/restrict.js'
import type { ClientCertificateFiles, ClientIdentity } from './client-certificate.js'
import { createContext } from './tls-options.js'
import type { TlsSettings } from './tls-options.js'

/** What OpenSSL is given to verify a peer with, and what was learnt of peers under it. */
export interface Trust {
  readonly anchors: TrustAnchors
  readonly records: PeerRecords
  /** Another one when the client certificate has changed. */
  readonly context: () => SecureContext
  /** The anchors are the pinned CAs alone, so OpenSSL's own verdict is the match. */
  readonly restricted: boolean
  /** Milliseconds since the epoch; after it, the trust is made anew. */
  readonly validTo: number
}

/** The trust of one agent: one for all policies, and one for each that pins nothing but known CAs. */
export class Trusts {
  readonly general: Trust
  readonly #options: SecureContextOptions
  readonly #clientCertificate: ClientCertificateFiles | undefined
  readonly #restricted = new WeakMap<Policy, Trust>()

  constructor(settings: TlsSettings, clientCertificate?: ClientCertificateFiles) {
    this.#options = settings.context
    this.#clientCertificate = clientCertificate
    const anchors = new TrustAnchors(settings.ca, settings.context.allowPartialTrustChain === true)
    this.general = { anchors, records: new PeerRecords(anchors), context: this.#context(this.#options), restricted: false, validTo: Infinity }
  }

  /** @param now milliseconds since the epoch */
  for(policies: PolicySet, policy: Policy | undefined, now: number): Trust {
    if (policy === undefined || policies.modeOf(policy) !== 'enforce' || policy.onExpiry !== 'refuse') return this.general
    // A revoked key is looked for in the whole chain, above the pinned CA too.
    if (policies.revoked.size > 0) return this.general
    const known = this.#restricted.get(policy)
    if (known && now <= known.validTo) return known
    const trust = this.#restrict(policy, now)
    this.#restricted.set(policy, trust)
    return trust
  }

  #restrict(policy: Policy, now: number): Trust {
    // Node makes the CA certificates of a pfx trust anchors as well, next to any ca.
    if (this.#options.pfx !== undefined) return this.general
    const all = this.general.anchors
    const restriction = restrictAnchors(policy, all, now)
    if (restriction === undefined) return this.general
    const { certificates, validTo } = restriction
    // OpenSSL wants a CRL for every certificate, and finds none for an anchor that another CA has issued.
    if (this.#options.crl !== undefined && !certificates.every((certificate) => certificate.checkIssued(certificate))) return this.general
    const ca = certificates.map((certificate) => certificate.toString())
    const anchors = new TrustAnchors(ca, all.partial, all)
    return { anchors, records: new PeerRecords(anchors), context: this.#context({ ...this.#options, ca }), restricted: true, validTo }
  }

  /** Made when first asked for, and anew for each client certificate. */
  #context(options: SecureContextOptions): () => SecureContext {
    let made: { readonly context: SecureContext; readonly identity: ClientIdentity | undefined } | undefined
    return () => {
      const identity = this.#clientCertificate?.identity
      if (made === undefined || made.identity !== identity) made = { context: createContext({ ...options, ...identity }), identity }
      return made.context
    }
  }
}
