import type { X509Certificate } from 'node:crypto'
import { keyPinOf } from '../pin/spki.js'
import { servedAfter } from '../verify/chain.js'
import { oneLine, organisationOf } from '../verify/records.js'
import { HostTrend } from './host-trend.js'
import type { Failure, LeafFacts, Sample } from './host-trend.js'
import { findInterceptor } from './interceptors.js'
import type { Verdict } from './report.js'
import { Threat, wrongIf } from './threat.js'
import type { ThreatEvidence } from './threat.js'

/** One connection, as the monitor takes it; `host` is `host:port`. */
export interface HostSample extends Sample {
  readonly host: string
}

/**
 * Looks at all connections together: at each host's own sequence ({@link HostTrend}), and at one CA's key before several
 * hosts. Of bounded size: the hosts not heard of for longest are forgotten.
 */
export class ThreatMonitor {
  readonly #hosts = new Map<string, HostTrend>()
  /** Issuing keys of refused certificates, and the hosts that showed them lately. */
  readonly #keys = new Map<string, Suspect>()
  /** Of the leaves seen lately: working one out checks a signature. */
  readonly #facts = new Map<string, LeafFacts>()
  readonly #onThreat: (threat: Threat) => void

  /** @param limit how many hosts are remembered */
  constructor(onThreat: (threat: Threat) => void, readonly limit = 1_000) {
    this.#onThreat = onThreat
  }

  /** A verdict of a connection to a pinned host. */
  connection(verdict: Verdict): void {
    const { peer, record, leaf, time } = verdict
    if (peer ? peer.result === 'unpinned' || peer.result === 'unchecked' : !isPeerFailure(verdict.error)) return
    // Tolerated in report-only is refused here: what is true, not what is done.
    const accepted = peer?.decision === 'accepted'
    const fingerprint = record?.fingerprint ?? leaf?.fingerprint256
    this.observe({ host: `${verdict.host}:${verdict.port}`, accepted, leaf: fingerprint, facts: () => this.#factsOf(leaf, fingerprint, verdict.error ?? peer?.error), time: time.getTime() })
  }

  observe(sample: HostSample): void {
    const trend = this.#trendOf(sample.host)
    const episode = trend.observe(sample)
    if (!sample.accepted && sample.leaf !== undefined) this.#compare(sample, trend)
    if (episode) this.#onThreat(new Threat(new Date(sample.time), episode.kind, [sample.host], episode.score, episode.evidence, wrongIf[episode.kind]))
  }

  /** For gauges: of each host how far failures exceed the history, and the score of the present episode. */
  *trends(): Iterable<{ readonly host: string; readonly excess: number; readonly score: number }> {
    for (const [host, { excess, score }] of this.#hosts) yield { host, excess, score }
  }

  #factsOf(leaf: X509Certificate | undefined, fingerprint: string | undefined, error: Error | undefined): LeafFacts {
    const failure = failureOf(error)
    const key = `${failure} ${fingerprint}`
    const known = this.#facts.get(key)
    if (known) return known
    const facts = factsOf(leaf, failure)
    this.#facts.set(key, facts)
    if (this.#facts.size > factsKept) this.#facts.delete(this.#facts.keys().next().value as string)
    return facts
  }

  #trendOf(host: string): HostTrend {
    const known = this.#hosts.get(host)
    if (known && host === this.#last) return known
    this.#last = host
    // Moved to the end: the oldest entry is the first one.
    if (known) this.#hosts.delete(host)
    const trend = known ?? new HostTrend()
    this.#hosts.set(host, trend)
    if (this.#hosts.size > this.limit) this.#hosts.delete(this.#hosts.keys().next().value as string)
    return trend
  }

  #last: string | undefined

  /** One key that has issued refused certificates for several hosts, none of which is known to use that issuer. */
  #compare(sample: HostSample, trend: HostTrend): void {
    const { issuer, issuerKey, failure } = sample.facts()
    if (failure === 'expired' || (failure !== 'untrusted' && (!trend.hasHistory || trend.knowsIssuer(issuer)))) return
    const known = this.#keys.get(issuerKey)
    const suspect = known && sample.time - known.lastSeen <= suspectMs ? known : { hosts: [], lastSeen: sample.time, told: 0 }
    this.#keys.delete(issuerKey)
    this.#keys.set(issuerKey, suspect)
    if (this.#keys.size > suspectsKept) this.#keys.delete(this.#keys.keys().next().value as string)
    suspect.lastSeen = sample.time
    if (suspect.hosts.includes(sample.host)) return
    suspect.hosts.unshift(sample.host)
    suspect.hosts.length = Math.min(suspect.hosts.length, hostsNamed)
    // Again only when it has become many more.
    if (suspect.hosts.length < hostsThatAreMany || suspect.hosts.length < 2 * suspect.told) return
    suspect.told = suspect.hosts.length
    const evidence: ThreatEvidence[] = [{ fact: `one key (${issuerKey}) has issued certificates for ${suspect.hosts.length} hosts within an hour, of an issuer that none of them is known to use (${issuer})`, weight: perHost * suspect.hosts.length }]
    this.#onThreat(new Threat(new Date(sample.time), 'interception', [...suspect.hosts], perHost * suspect.hosts.length, evidence, wrongIf.interception))
  }
}

interface Suspect {
  readonly hosts: string[]
  lastSeen: number
  /** How many hosts there were when it was told. */
  told: number
}

const hostsThatAreMany = 3
const hostsNamed = 10
const suspectMs = 3_600_000
const suspectsKept = 64
const factsKept = 64
/** Weight of one host more behind the same unknown issuer. */
const perHost = 2

/** What speaks of the peer; the policy's own expiry, or a refusal for other reasons, does not. */
function isPeerFailure(error: (Error & { code?: string }) | undefined): boolean {
  return error !== undefined && !['ERR_PIN_EXPIRED', 'ERR_PIN_HOST_UNPINNED', 'ERR_PIN_INTEGRITY', 'ERR_PIN_LOCKDOWN', 'ERR_PIN_BYPASS'].includes(error.code ?? '')
}

function factsOf(leaf: X509Certificate | undefined, failure: Failure): LeafFacts {
  if (leaf === undefined) return { issuer: '', issuerKey: '', issued: 0, interceptor: undefined, failure }
  const name = oneLine(leaf.issuer)
  return { issuer: organisationOf(leaf.issuer) ?? name, issuerKey: issuerKeyOf(leaf), issued: Date.parse(leaf.validFrom), interceptor: findInterceptor(name)?.product, failure }
}

function failureOf(error: (Error & { code?: string }) | undefined): Failure {
  const code = error?.code ?? ''
  if (code === '' || code.startsWith('ERR_PIN_')) return 'pins'
  if (code === 'CERT_HAS_EXPIRED' || code === 'CERT_NOT_YET_VALID') return 'expired'
  return code === 'ERR_TLS_CERT_ALTNAME_INVALID' ? 'name' : 'untrusted'
}

/** The key that has really signed the leaf, where its certificate was served; else the leaf's own. */
function issuerKeyOf(leaf: X509Certificate): string {
  try {
    const issuer = servedAfter(leaf).slice(0, 4).find((candidate) => leaf.checkIssued(candidate) && leaf.verify(candidate.publicKey))
    return keyPinOf(issuer ?? leaf)
  } catch {
    return leaf.fingerprint256
  }
}
