import type { X509Certificate } from 'node:crypto'
import { PolicyInvalidError } from '../errors.js'
import { describeType } from '../pin/pin.js'
import { pinPlace } from '../policy/policy.js'
import type { Policy } from '../policy/policy.js'
import type { PolicySet } from '../policy/policy-set.js'
import { summarise } from '../verify/records.js'
import type { EventStream } from './events.js'
import type { Verdict } from './report.js'

/**
 * Something that a pinned connection rests on ends soon, or has ended. `String(report)` is for people, `JSON.stringify`
 * for machines.
 */
export class ExpiryReport {
  /** Whole days until then, rounded down: 0 is less than a day, -1 has passed. */
  readonly daysLeft: number

  constructor(
    /** A leaf certificate that a pin accepted, a CA of its verified chain that a pin rests on, or the policy's own `expires`. */
    readonly item: 'leaf' | 'authority' | 'policy',
    readonly expires: Date,
    readonly time: Date,
    /** The host pattern whose policy it belongs to. */
    readonly policy: string,
    /** Where it was seen; `undefined` for a policy in `status()`. */
    readonly host: string | undefined,
    readonly port: number | undefined,
    /** Subject, fingerprint and pin of the certificate; `undefined` for a policy. */
    readonly subject: string | undefined,
    readonly fingerprint: string | undefined,
    readonly pin: string | undefined
  ) {
    this.daysLeft = Math.floor((expires.getTime() - time.getTime()) / dayMs)
  }

  toString(): string {
    const what = { leaf: `The certificate of ${this.host}:${this.port}`, authority: `The pinned CA of ${this.host}:${this.port}`, policy: 'The policy' }[this.item]
    const which = this.subject === undefined ? '' : ` (${this.subject || this.fingerprint})`
    const when = this.daysLeft < 0 ? 'has expired' : this.daysLeft === 0 ? 'expires within a day' : `expires in ${this.daysLeft} ${this.daysLeft === 1 ? 'day' : 'days'}`
    return `${what}${which} ${when}: ${this.expires.toISOString()} [policy ${this.policy}]`
  }
}

/** What to be told of expiries. */
export interface ExpiryOptions {
  /**
   * Called when something that a pinned connection rests on ends within `expiryWarningDays`: the leaf certificate, a CA that
   * a pin rests on, the policy. Looked at once per connection, told once a day at most for each certificate and policy. What
   * it throws or rejects with becomes a process warning.
   */
  onExpiring?(report: ExpiryReport): void
  /** How long before, in days, 0 to 3650. Default 30. */
  expiryWarningDays?: number
}

/** Notices what ends soon, on connections that are judged anyway. Bounded: 1,000 certificates are remembered as seen, 10,000 as told. */
export class ExpiryTracker {
  readonly #windowMs: number
  readonly #events: EventStream
  /** What was seen to end soon: for `status()`. A host's leaf takes the place of the one before it. */
  readonly #seen = new Map<string, ExpiryReport>()
  /** When what was told last, in milliseconds since the epoch; oldest first. */
  readonly #told = new Map<string, number>()

  /** @throws {PolicyInvalidError} for `expiryWarningDays` that are no number from 0 to 3650 */
  constructor({ expiryWarningDays: days = 30 }: ExpiryOptions, events: EventStream) {
    if (typeof days !== 'number' || !(days >= 0 && days <= 3_650)) throw new PolicyInvalidError('expiryWarningDays', `must be a number of days from 0 to 3650, not ${typeof days === 'number' ? days : describeType(days)}`)
    this.#windowMs = days * dayMs
    this.#events = events
  }

  /** Looks at one connection: a few comparisons, unless something ends soon. */
  see(verdict: Verdict): void {
    const { policy, peer, record } = verdict
    if (policy === undefined) return
    const horizon = verdict.time.getTime() + this.#windowMs
    if (policy.expiresAt <= horizon) this.#notice('policy', policy.expiresAt, verdict, policy, undefined)
    if (peer?.result !== 'pinned' || record === undefined) return
    if (record.validTo <= horizon) this.#notice('leaf', record.validTo, verdict, policy, record.leaf)
    else if (this.#seen.size > 0) this.#seen.delete(leafKey(verdict))
    for (const authority of authoritiesOf(verdict, policy, horizon)) {
      const end = Date.parse(authority.validTo)
      if (end <= horizon) this.#notice('authority', end, verdict, policy, authority)
    }
  }

  /** What ends within the warning time, soonest first, at most 100: every policy, and the certificates that were seen. */
  expiring(policies: PolicySet, now: number): ExpiryReport[] {
    const time = new Date(now)
    const horizon = now + this.#windowMs
    const ending = [...policies.policies()].filter(({ expiresAt }) => expiresAt <= horizon)
    const own = ending.map(({ pattern, expiresAt }) => new ExpiryReport('policy', new Date(expiresAt), time, pattern, undefined, undefined, undefined, undefined, undefined))
    const seen = [...this.#seen.values()].map(({ item, expires, policy, host, port, subject, fingerprint, pin }) => new ExpiryReport(item, expires, time, policy, host, port, subject, fingerprint, pin))
    return [...own, ...seen].sort((a, b) => a.expires.getTime() - b.expires.getTime()).slice(0, 100)
  }

  #notice(item: ExpiryReport['item'], end: number, verdict: Verdict, policy: Policy, certificate: X509Certificate | undefined): void {
    const key = certificate ? `${item} ${certificate.fingerprint256}` : `policy ${policy.pattern} ${end}`
    const place = item === 'leaf' ? leafKey(verdict) : key
    const now = verdict.time.getTime()
    const due = this.#isDue(key, now)
    if (!due && (item === 'policy' || this.#seen.get(place)?.fingerprint === certificate?.fingerprint256)) return
    const { subject, fingerprint, pin } = certificate ? summarise(certificate) : { subject: undefined, fingerprint: undefined, pin: undefined }
    const report = new ExpiryReport(item, new Date(end), verdict.time, policy.pattern, verdict.host, verdict.port, subject, fingerprint, pin)
    if (item !== 'policy') {
      this.#seen.delete(place)
      this.#seen.set(place, report)
      if (this.#seen.size > maxSeen) this.#seen.delete(this.#seen.keys().next().value as string)
    }
    if (due && this.#events.hears('expiring')) this.#events.emit('expiring', report)
  }

  /** Whether a day has passed since it was told, or the clock was set back; notes that it is told now. */
  #isDue(key: string, now: number): boolean {
    const last = this.#told.get(key)
    if (last !== undefined && now >= last && now - last < dayMs) return false
    if (this.#told.size >= maxTold) this.#forgetOld(now)
    // Rather silent than more than once a day.
    if (this.#told.size >= maxTold && last === undefined) return false
    this.#told.delete(key)
    this.#told.set(key, now)
    return true
  }

  #forgetOld(now: number): void {
    for (const [key, last] of this.#told) {
      if (now - last < dayMs) return
      this.#told.delete(key)
    }
  }
}

const dayMs = 86_400_000
const maxSeen = 1_000
const maxTold = 10_000

function leafKey({ host, port }: Verdict): string {
  return `leaf ${host}:${port}`
}

/**
 * The CAs that the pins rest on: from the leaf up to the one that matched, and pinned ones above. Where OpenSSL alone has
 * decided, the pinned CAs themselves.
 */
function authoritiesOf({ peer, record }: Verdict, policy: Policy, horizon: number): readonly X509Certificate[] {
  const chain = record?.knownChain
  const matched = peer?.match?.depth
  if (chain === undefined) return matched === undefined ? policy.authorities : []
  if (chain.validTo > horizon) return []
  const isPinned = (depth: number): boolean => [chain.pins[depth], chain.fingerprints[depth]].some((pin) => ((policy.pins.get(pin as string) ?? 0) & pinPlace.issuer) !== 0)
  return chain.certificates.filter((_, depth) => depth > 0 && (depth <= (matched ?? 0) || isPinned(depth)))
}
