import type { ThreatEvidence, ThreatKind } from './threat.js'

/** What one connection showed of its host, as far as the trend goes. */
export interface Sample {
  readonly accepted: boolean
  /** Tells one leaf certificate from another: its fingerprint. `undefined` when none was read. */
  readonly leaf: string | undefined
  /** Asked for each failure, and for each accepted leaf that is new to the host. */
  readonly facts: () => LeafFacts
  /** Milliseconds since the epoch. */
  readonly time: number
}

export interface LeafFacts {
  /** Tells one issuer from another: the organisation that has issued it. */
  readonly issuer: string
  /** The key that has signed it, or its own where that is not known. */
  readonly issuerKey: string
  /** Milliseconds since the epoch. */
  readonly issued: number
  /** The product that its issuer's name stands for, where it is known for interception. */
  readonly interceptor: string | undefined
  readonly failure: Failure
}

/** Why a connection was not accepted: its pins, or before them PKI. */
export type Failure = 'pins' | 'untrusted' | 'expired' | 'name'

/** An episode of failures that the history of the host does not explain. */
export interface Episode {
  readonly kind: Exclude<ThreatKind, 'interception'>
  readonly score: number
  readonly evidence: readonly ThreatEvidence[]
}

/**
 * The connections of one host as a sequence, and two tests on it, both in numbers that can be written down:
 *
 * 1. Does more fail than used to? A CUSUM over accepted and failed, against the share of failures in this host's own past:
 *    it rises with every failure and falls with every success, and an episode begins when it passes a threshold.
 * 2. Who changed something, the owner or somebody in between? A sequential probability ratio test over the episode: each
 *    fact has a weight, the logarithm of how many times likelier it is under an attack. Past a threshold on either side the question is decided.
 *
 * Constant size, whatever happens.
 */
export class HostTrend {
  /** The usual share of failures, and that of the last dozen or so connections. */
  #usual = initialShare
  #recent = 0
  #connections = 0
  #cusum = 0
  #firstFailure = 0
  #lastFailure = 0
  #failures = 0
  /** Successes since the first failure of the episode, before the next failure, and all that came between failures. */
  #successes = 0
  #between = 0
  #open = false
  #told: Episode['kind'] | undefined
  /** Of how many failures each fact is true. */
  readonly #counts = facts.map(() => 0)
  #score = 0
  #leaf: string | undefined
  /** Hashes, 0 for none: of what was accepted, its issuers, and what has failed in this episode. */
  readonly #accepted: Ring = [0, 0, 0, 0]
  readonly #issuers: Ring = [0, 0, 0, 0]
  readonly #failing: Ring = [0, 0, 0, 0]
  #leaves = 0

  /** @returns an episode when its kind is new or has become another */
  observe(sample: Sample): Episode | undefined {
    this.#connections++
    return sample.accepted ? this.#succeed(sample) : this.#fail(sample)
  }

  /** For a gauge: how far the failures exceed the history; an episode begins at {@link episodeBegins}. */
  get excess(): number {
    return this.#cusum
  }

  get score(): number {
    return this.#score
  }

  /** Whether the host has shown a certificate of this issuer that was accepted. */
  knowsIssuer(issuer: string): boolean {
    return this.#issuers.includes(hash(issuer))
  }

  get hasHistory(): boolean {
    return this.#issuers[0] !== 0
  }

  #succeed(sample: Sample): Episode | undefined {
    if (sample.leaf !== this.#leaf && sample.leaf !== undefined) {
      this.#leaf = sample.leaf
      remember(this.#accepted, hash(sample.leaf))
      remember(this.#issuers, hash(sample.facts().issuer))
    }
    this.#learn(0)
    if (this.#failures === 0) return undefined
    this.#cusum = Math.max(0, this.#cusum - successWeight(this.#usual))
    this.#successes++
    if (this.#cusum === 0 && (!this.#open || this.#successes >= calm)) this.#end()
    return undefined
  }

  #fail(sample: Sample): Episode | undefined {
    const { time } = sample
    if (this.#failures > 0 && time - this.#lastFailure > forgetAfterMs) this.#end()
    if (this.#failures === 0) this.#firstFailure = time
    this.#lastFailure = time
    this.#failures++
    this.#cusum = Math.min(ceiling, this.#cusum + failureWeight(this.#usual))
    this.#learn(1)
    this.#weigh(sample)
    this.#successes = 0
    this.#open ||= this.#cusum >= episodeBegins
    return this.#open ? this.#judge() : undefined
  }

  /** Of failures more slowly than of successes, so that an attack does not become the usual; but what lasts does. */
  #learn(failed: 0 | 1): void {
    this.#recent += (failed - this.#recent) / 12
    this.#usual += (failed - this.#usual) / (failed ? 500 : Math.min(this.#connections + 20, 300))
  }

  #weigh(sample: Sample): void {
    if (this.#successes > 0) this.#between++
    const leaf = sample.leaf === undefined ? 1 : hash(sample.leaf)
    if (!this.#failing.includes(leaf)) {
      remember(this.#failing, leaf)
      this.#leaves++
    }
    this.#count(sample.facts(), sample.time, leaf)
    this.#score = this.#leavesWeight + this.#mixedWeight + this.#aloneWeight + this.#prevailingWeight
    for (let i = 0; i < facts.length; i++) this.#score += this.#weightOf(i)
  }

  /** By the share of the failures that it is true of: a stray that came just before does not decide. */
  #weightOf(index: number): number {
    return (weights[facts[index] as Fact] * (this.#counts[index] as number)) / this.#failures
  }

  #is(fact: Fact): void {
    ;(this.#counts[facts.indexOf(fact)] as number)++
  }

  get #leavesWeight(): number {
    return this.#leaves > 1 ? Math.min(this.#leaves - 1, maxLeaves) * (2 * (this.#counts[sameIssuer] as number) > this.#failures ? weights.sameIssuerLeaves : weights.leaves) : 0
  }

  get #mixedWeight(): number {
    return Math.min(this.#between, maxMixed) * weights.mixed
  }

  get #aloneWeight(): number {
    return this.#leaves === 1 && this.#between === 0 ? Math.min(this.#failures - 1, maxAlone) * weights.alone : 0
  }

  get #prevailingWeight(): number {
    return this.#failures > 12 && this.#recent > 0.9 ? weights.prevailing : 0
  }

  #count({ issuer, issued, interceptor, failure }: LeafFacts, time: number, leaf: number): void {
    if (this.#accepted.includes(leaf)) this.#is('own')
    if (interceptor !== undefined) this.#is('interceptor')
    if (failure !== 'pins') this.#is(failure)
    if (failure === 'untrusted' || !this.hasHistory) return
    if (this.knowsIssuer(issuer)) return this.#is('sameIssuer')
    this.#is('otherIssuer')
    if (time - issued < freshMs) this.#is('fresh')
    else if (time - issued > oldMs) this.#is('old')
  }

  #judge(): Episode | undefined {
    const kind = this.#score >= decided ? 'attack' : this.#score <= -decidedOwner ? 'rotation' : 'unexplained'
    // An attack is not taken back within an episode, and a doubt is not said twice.
    if (kind === this.#told || this.#told === 'attack' || (kind === 'unexplained' && this.#told !== undefined)) return undefined
    this.#told = kind
    return { kind, score: this.#score, evidence: this.#evidence() }
  }

  #evidence(): ThreatEvidence[] {
    const since = `since ${new Date(this.#firstFailure).toISOString()}`
    const listed: ThreatEvidence[] = [{ fact: `${this.#failures} ${this.#failures === 1 ? 'connection has' : 'connections have'} failed ${since}, where ${(100 * this.#usual).toFixed(1)} % used to`, weight: 0 }]
    for (const [i, name] of facts.entries()) {
      const count = this.#counts[i] as number
      if (count > 0) listed.push({ fact: count === this.#failures ? texts[name] : `${texts[name]} (${count} of ${this.#failures})`, weight: this.#weightOf(i) })
    }
    if (this.#leaves > 1) listed.push({ fact: `${this.#leaves} different certificates were refused`, weight: this.#leavesWeight })
    if (this.#between > 0) listed.push({ fact: 'accepted connections came between refused ones', weight: this.#mixedWeight })
    else if (this.#leaves === 1 && this.#failures > 1) listed.push({ fact: 'every connection fails, with one and the same certificate', weight: this.#aloneWeight })
    if (this.#prevailingWeight !== 0) listed.push({ fact: 'by now nearly every connection fails', weight: this.#prevailingWeight })
    return listed
  }

  #end(): void {
    this.#cusum = this.#failures = this.#successes = this.#between = this.#score = this.#leaves = 0
    this.#counts.fill(0)
    this.#failing.fill(0)
    this.#open = false
    this.#told = undefined
  }
}

/** Where the CUSUM says that something is going on: three failures in a row, at a host that seldom fails. */
export const episodeBegins = 9

/** Where the ratio test says that it is an attack: some twenty times likelier. A change by the owner is said sooner: it responds to nothing. */
const decided = 3
const decidedOwner = 2

const initialShare = 0.01
const lowestShare = 0.003
const ceiling = 15
/** An episode is over when nothing has failed for so many connections, or so long. */
const calm = 40
const forgetAfterMs = 6 * 3_600_000
const freshMs = 2 * 24 * 3_600_000
const oldMs = 7 * 24 * 3_600_000

/** Natural logarithms of how many times likelier a fact is under an attack; estimates, written down so that they can be argued with. */
const weights = {
  interceptor: 4.5, untrusted: 4.5, own: -4.5, expired: -2, name: 0.5, sameIssuer: -2.5, otherIssuer: 1, fresh: 1.5, old: -1.5,
  leaves: 1, sameIssuerLeaves: 0.2, mixed: 0.4, alone: -0.3, prevailing: -1.5
}
const maxMixed = 4
const maxAlone = 4
const maxLeaves = 3

const facts = ['interceptor', 'untrusted', 'expired', 'name', 'own', 'sameIssuer', 'otherIssuer', 'fresh', 'old'] as const
const sameIssuer = facts.indexOf('sameIssuer')

type Fact = (typeof facts)[number]

const texts: Record<Fact, string> = {
  interceptor: 'the issuer bears the name of a product that intercepts',
  untrusted: 'the certificate leads to no trusted CA',
  expired: 'the certificate has expired',
  name: 'the certificate is for another name',
  sameIssuer: 'the issuer is one that the host has used before',
  otherIssuer: 'the issuer is one that the host has never used before',
  fresh: 'and the certificate was issued within two days',
  old: 'and the certificate was issued more than a week ago',
  own: 'the certificate is one that the host has shown before, and that was accepted'
}

/** What is held against the usual: a share of failures that would be remarkable. */
function remarkable(usual: number): number {
  return 0.25 + 0.75 * usual
}

function failureWeight(usual: number): number {
  const share = Math.max(usual, lowestShare)
  return Math.log(remarkable(share) / share)
}

function successWeight(usual: number): number {
  const share = Math.max(usual, lowestShare)
  return Math.log((1 - share) / (1 - remarkable(share)))
}

type Ring = [number, number, number, number]

/** Keeps the last four. */
function remember(ring: Ring, value: number): void {
  if (ring.includes(value)) return
  ring[3] = ring[2]
  ring[2] = ring[1]
  ring[1] = ring[0]
  ring[0] = value
}

/** 32 bits (FNV-1a) are enough to tell apart the few that one host shows; never 0. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return value | 1
}
