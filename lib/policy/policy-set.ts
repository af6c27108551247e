import { isIP } from 'node:net'
import { LockdownError, PolicyInvalidError } from '../errors.js'
import type { PinningError } from '../errors.js'
import { canonicalHost, maxHostLength, parseHostPattern } from '../pin/hostname.js'
import type { HostPattern } from '../pin/hostname.js'
import { describeType, quoteInput } from '../pin/pin.js'
import { ownOptions, readBoolean, readChoice } from './options.js'
import { modes, parsePolicy } from './policy.js'
import type { HostPolicy, PinningMode, Policy } from './policy.js'
import { findAlike } from './suggestions.js'

/** The part of the options that says whom to trust. */
export interface PolicyOptions {
  /** Dio's name: these pins, for every host that no pattern of `pins` covers. */
  allowedSHAFingerprints?: readonly string[]
  /** Pins by host pattern; the most specific pattern wins, and only its pins count. */
  pins?: Readonly<Record<string, readonly string[] | HostPolicy>>
  /** Default `'enforce'`. */
  mode?: PinningMode
  /** Hosts without pins: `'refuse'` (default), or `'allow'`: PKI alone decides. A pinned host is never spoken to over `http:`. */
  unpinnedHosts?: 'refuse' | 'allow'
  /** Makes a policy with a single pin an error instead of a warning. It counts pins: of which keys they are, no policy can know. Default `false`. */
  requireBackupPin?: boolean
}

/** What would be asked of a host. JSON-safe. */
export interface PolicySummary {
  readonly pattern: string
  readonly mode: PinningMode
  readonly trust: 'pki' | 'pin-only'
  readonly pins: readonly string[]
  readonly rejected: readonly string[]
  /** ISO instant, absent when the pins never expire. */
  readonly expires?: string
  readonly onExpiry: 'refuse' | 'report-only' | 'allow'
}

/** A set that was trusted until a date, and what is done about it. */
export interface ExpiredSet {
  readonly name: string
  readonly date: Date
  readonly then: 'refuse' | 'report-only'
}

/** What holds beside the policies at one moment. */
export interface Circumstances {
  readonly mode: PinningMode
  /** Why nothing at all may be sent. */
  readonly refusal: PinningError | undefined
  /** Hosts, in canonical form, to which nothing may be sent for a while. */
  readonly lockdowns: ReadonlyMap<string, Lockdown>
  /** Pins that must not occur in the verified chain of any pinned host, in canonical form. */
  readonly revoked: ReadonlySet<string>
  /** The pins themselves are not trusted any more. */
  readonly expired: ExpiredSet | undefined
  /** How strictly each host is judged at the least, whatever its policy says. */
  readonly floor: PolicyFloor | undefined
}

/** What a policy says of how strictly it is meant. */
export type PolicyTerms = Pick<Policy, 'mode' | 'onExpiry' | 'trust'>

/** The least that is asked, host by host; a {@link PolicySet} is one. */
export interface PolicyFloor {
  find(host: string, port: number, serverName?: string): PolicyTerms | undefined
  policies(): Iterable<Pick<PolicyTerms, 'mode'>>
}

export interface Lockdown {
  /** Milliseconds since the epoch. */
  readonly until: number
  readonly reason: string
}

export interface ParsedPolicy {
  readonly pattern: HostPattern
  readonly policy: Policy
}

/** All policies of one moment. Immutable: an update makes a new one with the next revision. */
export class PolicySet {
  readonly mode: PinningMode
  readonly refusal: PinningError | undefined
  readonly lockdowns: ReadonlyMap<string, Lockdown>
  readonly unpinnedHosts: 'refuse' | 'allow'
  /** What is allowed but unwise, for humans. */
  readonly warnings: readonly string[]
  /** How many host patterns there are. */
  readonly size: number
  /** The modes that occur, overall or for a pattern. */
  readonly modes: ReadonlySet<PinningMode>
  readonly revoked: ReadonlySet<string>
  readonly expired: ExpiredSet | undefined
  readonly floor: PolicyFloor | undefined
  readonly #exact: PatternTable
  readonly #one: PatternTable
  readonly #any: PatternTable
  readonly #everywhere: Policy | undefined
  /** Policies that the floor has made stricter: the same object each time, since what is learnt under one is kept by it. */
  readonly #raised = new WeakMap<Policy, Map<string, Policy>>()

  /**
   * @param revision names this set in pool names and reports; rises with every update
   * @param base a set whose policies are taken over, in place of any in the options
   * @param demandPins `false` where it is well that nothing is pinned
   * @param circumstances what else holds; default nothing
   * @param parsed policies that have been read already, in place of those in the options
   * @throws {PolicyInvalidError | PinInvalidError | TypeError} naming the option
   */
  constructor(given: PolicyOptions, readonly revision: number, base?: PolicySet, demandPins = true, circumstances?: Partial<Circumstances>, parsed?: readonly ParsedPolicy[]) {
    if (typeof given !== 'object' || given === null) throw new TypeError(`options must be an object, not ${describeType(given)}`)
    const options = ownOptions(given)
    this.#exact = base ? base.#exact : new PatternTable()
    this.#one = base ? base.#one : new PatternTable()
    this.#any = base ? base.#any : new PatternTable()
    this.revoked = circumstances?.revoked ?? none
    this.expired = circumstances?.expired
    this.floor = circumstances?.floor
    this.mode = readChoice(options.mode, modes, 'enforce', 'mode')
    this.refusal = circumstances?.refusal
    this.lockdowns = circumstances?.lockdowns ?? noLockdowns
    this.unpinnedHosts = readChoice(options.unpinnedHosts, ['refuse', 'allow'], 'refuse', 'unpinnedHosts')
    if (base) this.#everywhere = base.#everywhere
    else if (options.allowedSHAFingerprints !== undefined) this.#everywhere = parsePolicy('allowedSHAFingerprints', readFingerprints(options.allowedSHAFingerprints), 'allowedSHAFingerprints')
    this.size = base ? base.size : parsed ? this.#addParsed(parsed) : this.#addPatterns(options.pins)
    if (demandPins && this.size === 0 && this.#everywhere === undefined) throw new PolicyInvalidError('options', 'there are no pins; right would be allowedSHAFingerprints: ["AB:CD:…"] or pins: { "api.example.com": ["sha256/…"] }')
    this.modes = base?.mode === this.mode && base.expired === this.expired && base.floor === this.floor ? base.modes : new Set([this.mode, ...[...this.policies(), ...(this.floor?.policies() ?? [])].map((policy) => this.modeOf(policy))])
    this.warnings = base ? base.warnings : [...this.#checkBackups(readBoolean(options.requireBackupPin, false, 'requireBackupPin')), ...this.#checkModes()]
  }

  /** The same policies under other circumstances, without reading them again. */
  under(changed: Partial<Circumstances>, revision: number): PolicySet {
    const circumstances = { mode: this.mode, refusal: this.refusal, lockdowns: this.lockdowns, revoked: this.revoked, expired: this.expired, floor: this.floor, ...changed }
    return new PolicySet({ mode: circumstances.mode, unpinnedHosts: this.unpinnedHosts }, revision, this, false, circumstances)
  }

  /** Why nothing may be sent to a host now, whoever answers there. What is not enforced is not refused either. */
  findRefusal(host: string, port: number, now: number): PinningError | undefined {
    if (this.refusal !== undefined && this.mode !== 'off') return this.refusal
    if (this.lockdowns.size === 0) return undefined
    const lockdown = this.lockdowns.get(canonicalHost(host) ?? host)
    if (lockdown === undefined || now >= lockdown.until || this.modeOf(this.find(host, port)) !== 'enforce') return undefined
    return new LockdownError(host, new Date(lockdown.until), lockdown.reason)
  }

  /**
   * The policy of the most specific pattern that covers a host: the exact name, then `*.`, then the longest `**.`; at
   * each step with the port before without. At most one map look-up per label, whatever the number of hosts.
   *
   * @param serverName the name that the certificate is checked against, where that is another one: its policy counts where
   * the host has none, so that pins hold for who connects to an address of his own
   * @returns `undefined` when the host is unpinned
   */
  find(host: string, port: number, serverName?: string): Policy | undefined {
    const policy = this.#findOwn(host, port) ?? (serverName && serverName !== host ? this.#findOwn(serverName, port) : undefined) ?? this.#everywhere
    const least = policy && this.floor?.find(host, port, serverName)
    return policy && least ? this.#raise(policy, least) : policy
  }

  #findOwn(host: string, port: number): Policy | undefined {
    const name = canonicalHost(host)
    if (name === undefined) return undefined
    const exact = this.#exact.find(name, port)
    if (exact) return exact
    if (this.#one.size > 0) {
      const dot = name.indexOf('.')
      const one = dot > 0 ? this.#one.find(name.slice(dot + 1), port) : undefined
      if (one) return one
    }
    return this.#findAbove(name, port)
  }

  /** The mode that holds for a policy: its own, else the overall one; lowered where the whole set has expired and that is wanted. */
  modeOf(policy: Pick<Policy, 'mode'> | undefined): PinningMode {
    const mode = policy?.mode ?? this.mode
    return mode === 'enforce' && this.expired?.then === 'report-only' && policy !== undefined ? 'report-only' : mode
  }

  /** Every policy, in no particular order. */
  *policies(): Iterable<Policy> {
    for (const table of [this.#exact, this.#one, this.#any]) {
      for (const policy of table.policies()) if (table === this.#exact || !policy.includeSubDomains) yield policy
    }
    if (this.#everywhere) yield this.#everywhere
  }

  summarise(policy: Policy): PolicySummary {
    return {
      pattern: policy.pattern,
      mode: this.modeOf(policy),
      trust: policy.trust,
      pins: [...policy.pins.keys()],
      rejected: [...policy.rejected],
      ...(Number.isFinite(policy.expiresAt) && { expires: new Date(policy.expiresAt).toISOString() }),
      onExpiry: policy.onExpiry
    }
  }

  /** Up to three patterns for error texts: those that look most like a host, else the first ones. Looks at no more than 1,000. */
  nearestPatterns(host: string): string[] {
    const patterns: string[] = []
    for (const policy of this.policies()) if (policy !== this.#everywhere && patterns.push(policy.pattern) >= 1_000) break
    const alike = findAlike(host.slice(0, 253), patterns, (pattern) => Math.max(4, pattern.length / 2))
    return (alike.length > 0 ? alike : patterns).slice(0, 3)
  }

  #addPatterns(pins: PolicyOptions['pins']): number {
    if (pins === undefined) return 0
    if (typeof pins !== 'object' || pins === null || Array.isArray(pins)) throw new TypeError(`pins must be an object of host patterns, not ${describeType(pins)}; for one list for every host use allowedSHAFingerprints`)
    const entries = Object.entries(pins)
    for (const [text, given] of entries) {
      const pattern = parseHostPattern(text, 'pins')
      const where = `pins[${quoteInput(text)}]`
      if (typeof given !== 'object' || given === null) throw new TypeError(`${where} must be an array of pins or an object, not ${describeType(given)}`)
      this.#add(pattern, parsePolicy(pattern.text, given, where), where)
    }
    return entries.length
  }

  #addParsed(parsed: readonly ParsedPolicy[]): number {
    for (const { pattern, policy } of parsed) this.#add(pattern, policy, `pins["${pattern.text}"]`)
    return parsed.length
  }

  #add(pattern: HostPattern, policy: Policy, where: string): void {
    const table = { exact: this.#exact, one: this.#one, any: this.#any }[pattern.wildcard]
    table.insert(pattern, policy, where)
    if (!policy.includeSubDomains) return
    if (pattern.wildcard !== 'exact') throw new PolicyInvalidError(`${where}.includeSubDomains`, `a wildcard pattern says this by itself; right would be "**.${pattern.host}"`)
    if (isIP(pattern.host) || !pattern.host.includes('.')) throw new PolicyInvalidError(`${where}.includeSubDomains`, 'an IP address or a top-level label has no sub-domains to vouch for; right would be a name like "example.com"')
    this.#any.insert(pattern, policy, where)
  }

  #findAbove(name: string, port: number): Policy | undefined {
    if (this.#any.size === 0) return undefined
    for (let suffix = name; ; ) {
      // No pattern is longer; and a look-up reads the whole suffix, of which a stranger's URL may have very many.
      const policy = suffix.length <= maxHostLength ? this.#any.find(suffix, port) : undefined
      if (policy) return policy
      const dot = suffix.indexOf('.')
      if (dot === -1) return undefined
      suffix = suffix.slice(dot + 1)
    }
  }

  /** The policy itself where it is as strict already. */
  #raise(policy: Policy, least: PolicyTerms): Policy {
    const mode = stricter(modes, policy.mode ?? this.mode, least.mode ?? this.mode)
    const onExpiry = stricter(expiries, policy.onExpiry, least.onExpiry)
    const trust = stricter(trusts, policy.trust, least.trust)
    if (mode === (policy.mode ?? this.mode) && onExpiry === policy.onExpiry && trust === policy.trust) return policy
    const made = this.#raised.get(policy) ?? new Map<string, Policy>()
    this.#raised.set(policy, made)
    const key = `${mode} ${onExpiry} ${trust}`
    const raised = made.get(key) ?? { ...policy, mode, onExpiry, trust }
    made.set(key, raised)
    return raised
  }

  #checkBackups(required: boolean): string[] {
    const single = [...this.policies()].filter((policy) => policy.pins.size < 2).map((policy) => policy.pattern)
    if (single.length === 0) return []
    const text = `no backup pin for ${fewOf(single)}: when that certificate or key is replaced, every request is refused until new pins arrive`
    if (required) throw new PolicyInvalidError('requireBackupPin', `${text}; right would be a second pin, of a key kept offline`)
    return [text]
  }

  /** Patterns that say themselves that they do not enforce. */
  #checkModes(): string[] {
    return (['report-only', 'off'] as const).flatMap((mode) => {
      const patterns = [...this.policies()].filter((policy) => policy.mode === mode).map((policy) => policy.pattern)
      return patterns.length === 0 ? [] : [`mode is '${mode}' for ${fewOf(patterns)}: their peers are not refused when they do not match the pins`]
    })
  }
}

/** The strictest first, as in {@link modes}. */
const expiries = ['refuse', 'report-only', 'allow'] as const
const trusts = ['pki', 'pin-only'] as const

function stricter<T>(strictestFirst: readonly T[], own: T, least: T): T {
  return strictestFirst.indexOf(least) < strictestFirst.indexOf(own) ? least : own
}

function fewOf(patterns: readonly string[]): string {
  return patterns.length > 3 ? `${patterns.slice(0, 3).join(', ')} and ${patterns.length - 3} more` : patterns.join(', ')
}

const noLockdowns: ReadonlyMap<string, Lockdown> = new Map()
const none: ReadonlySet<string> = new Set()

/** Host to policy, for patterns of one kind; the port, where a pattern has one, is part of the key. */
class PatternTable {
  readonly #byHost = new Map<string, Policy>()
  readonly #byHostAndPort = new Map<string, Policy>()

  get size(): number {
    return this.#byHost.size + this.#byHostAndPort.size
  }

  find(host: string, port: number): Policy | undefined {
    const narrow = this.#byHostAndPort.size > 0 ? this.#byHostAndPort.get(`${host}:${port}`) : undefined
    return narrow ?? this.#byHost.get(host)
  }

  insert(pattern: HostPattern, policy: Policy, where: string): void {
    const table = pattern.port === undefined ? this.#byHost : this.#byHostAndPort
    const key = pattern.port === undefined ? pattern.host : `${pattern.host}:${pattern.port}`
    const other = table.get(key)
    if (other) throw new PolicyInvalidError(where, `it covers the same hosts as ${JSON.stringify(other.pattern)}; write their pins in one place`)
    table.set(key, policy)
  }

  *policies(): Iterable<Policy> {
    yield* this.#byHost.values()
    yield* this.#byHostAndPort.values()
  }
}

function readFingerprints(value: unknown): readonly string[] {
  if (!Array.isArray(value)) throw new TypeError(`allowedSHAFingerprints must be an array of strings, not ${describeType(value)}`)
  return value as string[]
}
