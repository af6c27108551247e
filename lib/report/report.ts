import type { X509Certificate } from 'node:crypto'
import { inspect, types } from 'node:util'
import type { InspectOptions } from 'node:util'
import type { CertificateSummary, Diagnosis } from '../errors.js'
import type { PinningMode, Policy } from '../policy/policy.js'
import type { PolicySet } from '../policy/policy-set.js'
import type { TrustAnchors } from '../verify/anchors.js'
import { servedAfter } from '../verify/chain.js'
import { escapeUnprintable, summarise } from '../verify/records.js'
import type { PeerRecord } from '../verify/records.js'
import { resultOf } from '../verify/verify.js'
import type { PinMatch, PinnedPeer, PinResult } from '../verify/verify.js'
import { formatDiagnosis } from './diagnosis.js'

/** One connection's verdict, as the transport saw it. */
export interface Verdict {
  readonly host: string
  readonly port: number
  readonly policies: PolicySet
  readonly policy: Policy | undefined
  /** Present when the peer was accepted or tolerated. */
  readonly peer: PinnedPeer | undefined
  /** Present when it was refused. */
  readonly error: Error | undefined
  readonly record: PeerRecord | undefined
  readonly leaf: X509Certificate | undefined
  readonly tlsVersion: string | undefined
  readonly cipher: string | undefined
  readonly keyExchange?: string | undefined
  readonly resumed: boolean
  readonly durationMs: number
  /** How much of that was verification: reading the certificate, chain, pins. */
  readonly verificationMs?: number
  readonly time: Date
  /** The name the certificate must bear, where it is not the host. */
  readonly serverName?: string
  /** All trust anchors, whatever the pins were looked for in. */
  readonly anchors?: TrustAnchors
}

/**
 * What happened on one connection. Holds no header, URL, body or key material. `String(report)` is for people,
 * `JSON.stringify(report)` for machines. Certificates are summarised when first read.
 */
export class PinReport {
  readonly time: Date
  readonly host: string
  readonly port: number
  /** What was done: `accepted`, `refused`, or `tolerated` (report-only let pass what enforce would refuse). */
  readonly decision: 'accepted' | 'tolerated' | 'refused'
  /** What is true of the peer. */
  readonly result: PinResult
  readonly mode: PinningMode
  /** The host pattern whose policy decided; `undefined` for an unpinned host. */
  readonly policy: string | undefined
  readonly policyRevision: number
  /** The pin that matched, in canonical form. */
  readonly matchedPin: string | undefined
  /** Where in the verified chain it matched: 0 is the leaf; `undefined` where OpenSSL alone decided. */
  readonly matchedDepth: number | undefined
  /** `TLSv1.3`, … */
  readonly tlsVersion: string | undefined
  /** OpenSSL's name of the cipher suite. */
  readonly cipher: string | undefined
  /**
   * The group of the key exchange: `X25519MLKEM768`, `X25519`, …. `undefined` where Node does not tell (22 of all
   * post-quantum groups), and where no keys were exchanged (a resumed TLS 1.2 session).
   */
  readonly keyExchange: string | undefined
  /** The TLS session was resumed: the peer was verified on the connection that made it. */
  readonly resumed: boolean
  /** From opening the connection to the verdict, in milliseconds. */
  readonly durationMs: number
  /** How much of that was verification: reading the certificate, the chain, the pins. */
  readonly verificationMs: number | undefined
  /** Why not, when refused or tolerated. The error itself is what the request rejects with. */
  readonly error: { readonly code: string | undefined; readonly message: string } | undefined
  readonly #verdict: Verdict
  readonly #diagnose: (() => Diagnosis) | undefined
  #leaf: CertificateSummary | undefined
  #served: readonly CertificateSummary[] | undefined
  #chain: readonly CertificateSummary[] | undefined

  /** @param diagnose asked when the diagnosis is first read */
  constructor(verdict: Verdict, diagnose?: () => Diagnosis) {
    const { peer, policies, policy } = verdict
    const match: PinMatch | undefined = peer?.match
    const error = verdict.error ?? peer?.error
    this.#verdict = verdict
    this.#diagnose = diagnose
    this.time = verdict.time
    this.host = verdict.host
    this.port = verdict.port
    this.decision = peer?.decision ?? 'refused'
    this.result = peer?.result ?? resultOf(verdict.error)
    this.mode = policies.modeOf(policy)
    this.policy = policy?.pattern
    this.policyRevision = policies.revision
    this.matchedPin = match?.pin
    this.matchedDepth = match?.depth
    this.tlsVersion = verdict.tlsVersion
    this.cipher = verdict.cipher
    this.keyExchange = verdict.keyExchange
    this.resumed = verdict.resumed
    this.durationMs = verdict.durationMs
    this.verificationMs = verdict.verificationMs
    this.error = error && { code: codeOf(error), message: escapeUnprintable(plainMessages.get(error) ?? error.message) }
  }

  /** The leaf certificate; `undefined` when none was read. */
  get leaf(): CertificateSummary | undefined {
    const leaf = this.#verdict.leaf
    return (this.#leaf ??= leaf && summarise(leaf))
  }

  /** What the server sent, leaf first, unchecked. Of a resumed session: what it sent when the session was made. */
  get served(): readonly CertificateSummary[] {
    const leaf = this.#verdict.leaf
    return (this.#served ??= leaf ? [leaf, ...servedAfter(leaf)].map(summarise) : [])
  }

  /** The verified chain, leaf to trust anchor; empty when the verdict needed none (a leaf pin). */
  get chain(): readonly CertificateSummary[] {
    return (this.#chain ??= (this.#verdict.record?.knownChain?.certificates ?? []).map(summarise))
  }

  /** The pins of the policy, in canonical form. */
  get knownPins(): readonly string[] {
    return [...(this.#verdict.policy?.pins.keys() ?? [])]
  }

  /** Why, probably, and what to do; of what was refused or tolerated. Worked out when first read. */
  get diagnosis(): Diagnosis | undefined {
    return this.#diagnose?.()
  }

  /** The certificates that the server sent, leaf first, as PEM. */
  get servedPem(): readonly string[] {
    const leaf = this.#verdict.leaf
    return leaf ? [leaf, ...servedAfter(leaf)].map(String) : []
  }

  /** The verified chain as PEM; built now where the verdict needed none. Empty where PKI refused the peer. */
  get chainPem(): readonly string[] {
    const { record, leaf, anchors, time } = this.#verdict
    if (this.result === 'untrusted' || !record || !leaf) return []
    return (record.chainToTell(leaf, anchors ?? record.anchors, time.getTime())?.certificates ?? []).map(String)
  }

  /** When the policy's pins expire. */
  get policyExpires(): Date | undefined {
    const { expiresAt = Infinity } = this.#verdict.policy ?? {}
    return Number.isFinite(expiresAt) ? new Date(expiresAt) : undefined
  }

  /** The policy covers more hosts than the one it names. */
  get includeSubDomains(): boolean {
    const { policy } = this.#verdict
    return policy !== undefined && (policy.includeSubDomains || policy.pattern.startsWith('*'))
  }

  toJSON(): Record<string, unknown> {
    const { diagnosis } = this
    return { ...(this as object), ...(diagnosis && { diagnosis }), leaf: this.leaf, served: this.served, chain: this.chain, knownPins: this.knownPins }
  }

  /** For `console.log`: what is worked out when first read is shown too, long lists shortened. */
  [inspect.custom](depth: number, options: InspectOptions, show: typeof inspect = inspect): string {
    if (depth < 0) return '[PinReport]'
    const { diagnosis, leaf } = this
    const shown = { ...(this as object), leaf, served: shorten(this.served), chain: shorten(this.chain), knownPins: shorten(this.knownPins), ...(diagnosis && { diagnosis }) }
    return `PinReport ${show(shown, options)}`
  }

  toString(): string {
    const where = `${this.host}:${this.port}`
    const how = [this.tlsVersion, this.resumed ? 'resumed' : undefined, this.policy && `policy ${this.policy}`].filter(Boolean).join(', ')
    const text = { accepted: `Accepted ${where}`, tolerated: `Tolerated ${where} (report-only)`, refused: `Refused ${where}` }[this.decision]
    const because = this.error ? `: ${this.error.message}` : this.matchedPin ? `: ${this.matchedPin} matched${this.matchedDepth === undefined ? '' : ` at depth ${this.matchedDepth}`}` : `: ${this.result}`
    const { diagnosis } = this
    return `${text}${because}${how ? ` [${how}]` : ''}${diagnosis ? `\n  diagnosis: ${formatDiagnosis(diagnosis)}` : ''}`
  }
}

/**
 * Gives an error its diagnosis, as a property that is not enumerable, worked out when first read.
 * @param inMessage the message ends with it as well, worked out now: an accessor would get lost where an error is cloned.
 *   Not for errors of Node itself, whose message is known
 */
export function attachDiagnosis(error: Error, diagnose: () => Diagnosis, inMessage: boolean): void {
  if (!Object.isExtensible(error) || plainMessages.has(error)) return
  const { message } = error
  plainMessages.set(error, message)
  Object.defineProperty(error, 'diagnosis', { configurable: true, get: diagnose })
  if (inMessage) error.message = `${message}\n  diagnosis: ${formatDiagnosis(diagnose())}`
}

/** What the message of a diagnosed error was before. */
const plainMessages = new WeakMap<Error, string>()

const itemsShown = 10

function shorten(items: readonly unknown[]): readonly unknown[] {
  return items.length > itemsShown ? [...items.slice(0, itemsShown), `… and ${items.length - itemsShown} more`] : items
}

function codeOf(error: Error): string | undefined {
  const { code } = error as { code?: unknown }
  return types.isNativeError(error) && typeof code === 'string' ? code : undefined
}
