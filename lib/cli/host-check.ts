import type { X509Certificate } from 'node:crypto'
import type { Diagnosis } from '../errors.js'
import type { PinningMode, Policy } from '../policy/policy.js'
import type { PolicySet } from '../policy/policy-set.js'
import { diagnose } from '../report/diagnosis.js'
import { explainFailure } from '../transport/failure.js'
import { judgeServer } from '../transport/inspect.js'
import type { Judgement, ProxyRoute } from '../transport/inspect.js'
import type { Trusts } from '../transport/trust.js'
import { buildChain, servedAfter } from '../verify/chain.js'
import { summarise } from '../verify/records.js'
import { exitCode } from './exit.js'
import type { ExitCode } from './exit.js'
import { daysUntil, firstLine, showDay, showDaysLeft } from './format.js'
import { showTarget } from './target.js'
import type { HostAndPort } from './target.js'

/** How one pinned host is. JSON-safe but for the dates. */
export interface HostCheck extends HostAndPort {
  /** `api.example.com`, `api.example.com:8443` */
  readonly target: string
  readonly status: HostStatus
  /** The host pattern whose policy decided; absent for a host without pins. */
  readonly pattern?: string
  readonly mode: PinningMode
  /** The pin that matched, in canonical form, and whose it is. */
  readonly match?: { readonly pin: string; readonly of: 'leaf' | 'authority'; readonly subject: string | undefined }
  /** Pins of keys and certificates that are neither in the served nor in the verified chain, and not retired. */
  readonly backups: readonly string[]
  /** Soonest first. */
  readonly expiries: readonly Expiry[]
  /** All that is not well. */
  readonly problems: readonly Problem[]
  /** Why it was refused, as far as what was seen tells. */
  readonly diagnosis?: Diagnosis
  /** The certificate that was shown. */
  readonly leaf?: { readonly subject: string; readonly fingerprint: string; readonly pin: string | undefined }
  readonly tlsVersion?: string
}

export type HostStatus = 'ok' | 'warning' | 'refused' | 'unreachable'

export interface Problem {
  readonly kind: 'refused' | 'unreachable' | 'expiring' | 'no-backup'
  /** One line. */
  readonly message: string
  /** Of the error behind it. */
  readonly code?: string
}

/** When something ends that a connection rests on. */
export interface Expiry {
  readonly what: 'leaf' | 'authority' | 'policy'
  /** The certificate's subject, or the policy's pattern. */
  readonly name: string
  /** A pin of the policy is of this certificate. */
  readonly pinned: boolean
  readonly date: Date
  readonly daysLeft: number
  readonly fingerprint?: string
}

/** What all hosts of one check share. */
export interface CheckSettings {
  readonly policies: PolicySet
  /** By pattern: pins that are on their way out, and no backup. */
  readonly retired: ReadonlyMap<string, ReadonlySet<string>>
  readonly trusts: Trusts
  readonly proxies: ProxyRoute
  readonly timeoutMs: number
  readonly warnDays: number
  readonly now: () => number
}

/** Makes one connection to a host, in which nothing is sent, and says how it stands with its policy. Never rejects. */
export async function checkHost({ host, port }: HostAndPort, settings: CheckSettings): Promise<HostCheck> {
  const { policies, trusts, proxies, timeoutMs, now } = settings
  const policy = policies.find(host, port)
  const target = { host, port, target: showTarget({ host, port }), mode: policies.modeOf(policy), ...(policy && { pattern: policy.pattern }) }
  try {
    return { ...target, ...describeJudgement(await judgeServer({ host, port, servername: undefined, timeoutMs, proxies }, policies, trusts, now), policy, settings) }
  } catch (error) {
    const expiries = policy ? policyExpiry(policy, now()) : []
    return { ...target, status: 'unreachable', backups: [], expiries, problems: [{ kind: 'unreachable', message: explainFailure(error), ...codeOf(error) }] }
  }
}

/** The worst first: what has to be looked at first. */
export function compareUrgency(a: HostCheck, b: HostCheck): number {
  const order: readonly HostStatus[] = ['refused', 'unreachable', 'warning', 'ok']
  return order.indexOf(a.status) - order.indexOf(b.status) || (a.expiries[0]?.date.getTime() ?? Infinity) - (b.expiries[0]?.date.getTime() ?? Infinity) || a.target.localeCompare(b.target)
}

export function exitCodeOf({ status }: HostCheck): ExitCode {
  return { ok: exitCode.ok, warning: exitCode.expiring, refused: exitCode.refused, unreachable: exitCode.unreachable }[status]
}

type Described = Omit<HostCheck, 'host' | 'port' | 'target' | 'mode' | 'pattern'>

function describeJudgement({ inspection, peer, error: refusal }: Judgement, policy: Policy | undefined, settings: CheckSettings): Described {
  const { trusts, warnDays } = settings
  const now = settings.now()
  const { leaf, tlsVersion } = inspection
  const { anchors, records } = trusts.general
  const served = [leaf, ...servedAfter(leaf)]
  const verified = buildChain(leaf, served.slice(1), anchors, now)?.certificates ?? []
  const expiries = [...certificateExpiries(leaf, verified, policy, now), ...(policy ? policyExpiry(policy, now) : [])].sort((a, b) => a.date.getTime() - b.date.getTime())
  const summary = summarise(leaf)
  const shown = { expiries, leaf: { subject: summary.subject, fingerprint: summary.fingerprint, pin: summary.pin }, ...(tlsVersion !== undefined && { tlsVersion }) }
  const soon = expiries.filter(({ daysLeft }) => daysLeft < warnDays).map((expiry): Problem => ({ kind: 'expiring', message: describeExpiry(expiry, now) }))
  const error = refusal ?? peer?.error
  if (error) {
    const diagnosis = diagnose({ host: inspection.host, port: inspection.port, error, policy, leaf, record: records.of(leaf), anchors, earlier: undefined, pinSet: undefined, now, serverNow: undefined, caOption: '--ca' })
    return { ...shown, status: 'refused', backups: [], problems: [{ kind: 'refused', message: firstLine(error.message), ...codeOf(error) }, ...soon], diagnosis }
  }
  const backups = policy ? findBackups(policy, [...served, ...verified], settings.retired.get(policy.pattern)) : []
  const problems = [...soon, ...(policy && backups.length === 0 ? [{ kind: 'no-backup', message: 'no pin is of a key outside the chain: when this key or certificate is replaced, every request is refused' } as const] : [])]
  const match = peer?.match && describeMatch(peer.match, verified, leaf)
  return { ...shown, status: problems.length > 0 ? 'warning' : 'ok', backups, problems, ...(match && { match }) }
}

function describeMatch({ pin, depth }: { pin: string; depth: number | undefined }, verified: readonly X509Certificate[], leaf: X509Certificate): NonNullable<HostCheck['match']> {
  if (depth === 0) return { pin, of: 'leaf', subject: summarise(leaf).subject }
  // OpenSSL alone may have decided, and the pin is then one of those that the policy has.
  const authority = verified.slice(1).map(summarise).find((each) => each.pin === pin || each.fingerprint === pin)
  return { pin, of: 'authority', subject: authority?.subject }
}

/** RFC 7469 §2.5: a backup pin is not of the validated chain. What was served beside it does not count either. */
function findBackups(policy: Policy, chain: readonly X509Certificate[], retired: ReadonlySet<string> = new Set()): string[] {
  const present = new Set(chain.map(summarise).flatMap(({ fingerprint, pin }) => [fingerprint, pin]))
  return [...policy.pins.keys()].filter((pin) => !present.has(pin) && !retired.has(pin))
}

/** Of the leaf, of the CAs above it, and of those CAs that the policy holds as certificates. */
function certificateExpiries(leaf: X509Certificate, verified: readonly X509Certificate[], policy: Policy | undefined, now: number): Expiry[] {
  const authorities = [...verified.slice(1), ...(policy?.authorities ?? [])]
  const unique = new Map(authorities.map((certificate) => [certificate.fingerprint256, certificate]))
  return [leaf, ...unique.values()].map((certificate) => {
    const { subject, validTo, fingerprint, pin } = summarise(certificate)
    const pinned = policy !== undefined && (policy.pins.has(fingerprint) || policy.pins.has(pin ?? ''))
    return { what: certificate === leaf ? 'leaf' : 'authority', name: subject, pinned, date: validTo, daysLeft: daysUntil(validTo, now), fingerprint }
  })
}

function policyExpiry({ expiresAt, pattern }: Policy, now: number): Expiry[] {
  if (!Number.isFinite(expiresAt)) return []
  const date = new Date(expiresAt)
  return [{ what: 'policy', name: pattern, pinned: true, date, daysLeft: daysUntil(date, now) }]
}

function describeExpiry({ what, name, date }: Expiry, now: number): string {
  const thing = { leaf: 'the leaf certificate', authority: `the CA ${name}`, policy: 'the policy' }[what]
  return firstLine(`${thing} ${date.getTime() < now ? 'expired' : 'expires'} on ${showDay(date)}, ${showDaysLeft(date, now)}`)
}

function codeOf(error: unknown): { code?: string } {
  const { code } = error as { code?: unknown }
  return typeof code === 'string' ? { code } : {}
}
