import type { SecureContext, SecureContextOptions } from 'node:tls'
import type { Policy } from '../policy/policy.js'
import type { PolicySet } from '../policy/policy-set.js'
import { TrustAnchors, defaultAnchorsMark } from '../verify/anchors.js'
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
  readonly #settings: TlsSettings
  readonly #clientCertificate: ClientCertificateFiles | undefined
  readonly #onAnchors: (() => void) | undefined
  #general: Trust
  #restricted = new WeakMap<Policy, Trust>()
  /** Of Node's own trust anchors, since the first context was made of them. */
  #anchorsMark: unknown

  /** @param onAnchors called when Node's own trust anchors have changed, where these are used */
  constructor(settings: TlsSettings, clientCertificate?: ClientCertificateFiles, onAnchors?: () => void) {
    this.#settings = settings
    this.#clientCertificate = clientCertificate
    this.#onAnchors = onAnchors
    this.#general = this.#trustAll()
  }

  get general(): Trust {
    this.renew()
    return this.#general
  }

  /** Nothing that was learnt under other trust anchors counts after `tls.setDefaultCACertificates()`. */
  renew(): void {
    if (this.#anchorsMark === undefined || this.#anchorsMark === defaultAnchorsMark()) return
    this.#anchorsMark = undefined
    this.#general = this.#trustAll()
    this.#restricted = new WeakMap()
    this.#onAnchors?.()
  }

  /** @param now milliseconds since the epoch */
  for(policies: PolicySet, policy: Policy | undefined, now: number): Trust {
    if (policy === undefined || policies.modeOf(policy) !== 'enforce' || policy.onExpiry !== 'refuse') return this.general
    // A revoked key is looked for in the whole chain, above the pinned CA too.
    if (policies.revoked.size > 0) return this.general
    this.renew()
    const known = this.#restricted.get(policy)
    if (known && now <= known.validTo) return known
    const trust = this.#restrict(policy, now)
    this.#restricted.set(policy, trust)
    return trust
  }

  #trustAll(): Trust {
    const { ca, context } = this.#settings
    const anchors = new TrustAnchors(ca, context.allowPartialTrustChain === true)
    return { anchors, records: new PeerRecords(anchors), context: this.#context(context), restricted: false, validTo: Infinity }
  }

  #restrict(policy: Policy, now: number): Trust {
    // Node makes the CA certificates of a pfx trust anchors as well, next to any ca.
    if (this.#settings.context.pfx !== undefined) return this.general
    const all = this.general.anchors
    const restriction = restrictAnchors(policy, all, now)
    if (restriction === undefined) return this.general
    const { certificates, validTo } = restriction
    // OpenSSL wants a CRL for every certificate, and finds none for an anchor that another CA has issued.
    if (this.#settings.context.crl !== undefined && !certificates.every((certificate) => certificate.checkIssued(certificate))) return this.general
    const ca = certificates.map((certificate) => certificate.toString())
    const anchors = new TrustAnchors(ca, all.partial, all)
    return { anchors, records: new PeerRecords(anchors), context: this.#context({ ...this.#settings.context, ca }), restricted: true, validTo }
  }

  /** Made when first asked for, and anew for each client certificate. */
  #context(options: SecureContextOptions): () => SecureContext {
    let made: { readonly context: SecureContext; readonly identity: ClientIdentity | undefined } | undefined
    return () => {
      const identity = this.#clientCertificate?.identity
      if (this.#settings.ca === undefined) this.#anchorsMark ??= defaultAnchorsMark()
      if (made === undefined || made.identity !== identity) made = { context: createContext({ ...options, ...identity }), identity }
      return made.context
    }
  }
}
