import { types } from 'node:util'
import { isPinningError } from '../errors.js'
import type { PinningError } from '../errors.js'
import { describeError } from '../pin/pin.js'
import { UpdateReport } from '../report/update-report.js'
import type { UpdateClock } from './clock.js'
import { areTooMany, keepLinks, linkOf } from './links.js'
import type { Link } from './links.js'
import { defaultRefreshMs, verifyManifest, whenItWasCurrent } from './manifest.js'
import type { PinSet } from './manifest.js'
import type { UpdateSettings } from './options.js'
import { backOff, jitter, spread, withinLifetime } from './schedule.js'
import type { PinSetAnswer, PinSetRequest } from './source.js'
import type { PinSetState } from './store.js'
import type { SigningTrust } from './trust.js'

/** What the updater changes: the policies of one program. */
export interface UpdateTarget {
  /** Asks the source, over whatever connects to it. */
  fetch(request: Omit<PinSetRequest, 'agent'>): Promise<PinSetAnswer>
  /**
   * Reads the pins of a set.
   * @returns puts them in force, at once; says how many requests it has aborted
   * @throws {PinningError} when they cannot be used
   */
  prepare(set: PinSet): Promise<() => number>
  /** The set in force has expired. */
  expire(set: PinSet): void
  /** Which policies are in force. */
  revision(): number
  tell(report: UpdateReport): void
}

/** How the updates of a program are doing. JSON-safe; instants are ISO. */
export interface UpdateStatus {
  /** `bootstrap`: no set is in force yet. `expired`: the newest set is not trusted any more. */
  readonly state: 'bootstrap' | 'current' | 'expired'
  readonly source: string
  readonly store: string
  /** Of the newest set. */
  readonly version?: number
  readonly issued?: string
  readonly expires?: string
  /** Since the source last said that the set is the newest, or since the start of the program. */
  readonly ageMs: number
  readonly lastChecked?: string
  /** When the source is asked next. */
  readonly nextRefresh?: string
  readonly refreshing: boolean
  /** Looks that have failed since the last good one. */
  readonly failures: number
  /** Since the last good look. */
  readonly lastError?: { readonly time: string; readonly code?: string; readonly message: string }
  /** Thumbprints of the signing keys that are trusted now. */
  readonly trustedKeys: readonly string[]
  readonly threshold: number
}

/**
 * Keeps the pins of a program up to date: asks the source, verifies, stores, swaps. Never asks twice at once; waits longer
 * after each failure, at random, so that a fleet does not come back in step. Whatever fails, the pins in force stay, until
 * they expire.
 */
export class Updater {
  readonly #settings: UpdateSettings
  readonly #target: UpdateTarget
  readonly #clock: UpdateClock
  readonly #verify: typeof verifyManifest
  readonly #started: number
  #trust: SigningTrust
  /** The newest set that was accepted, in force or expired. */
  #set: PinSet | undefined
  #state: UpdateStatus['state'] = 'bootstrap'
  /** The highest version seen by this program or by others on its store. */
  #highest: { version: number; hash: string } | undefined
  #links: readonly Link[] = []
  /** What the store holds is known. */
  #recalled = false
  #restored: Promise<void> = Promise.resolve()
  #etag: string | undefined
  #expiresAt = Infinity

  #first: Promise<void> | undefined
  /** Somebody waits for it. */
  #firstHeld = false
  #refreshing: Promise<void> | undefined
  /** What refused connections wait for. */
  #retry: Promise<void> | undefined
  /** The source has changed while it was asked. */
  #again = false
  #failures = 0
  #asked = -Infinity
  #notBefore = -Infinity
  #lastChecked: number | undefined
  #lastError: { time: number; code: string | undefined; message: string } | undefined
  #nextRefresh: number | undefined
  #cancelRefresh: () => void = nothing
  #cancelExpiry: () => void = nothing
  #unsubscribe: () => void = nothing
  /** The question under way. */
  #asking: AbortController | undefined
  readonly #closed = new AbortController()

  /** @param verify in place of {@link verifyManifest}, for a simulation of many clients that are sent the same sets */
  constructor(settings: UpdateSettings, target: UpdateTarget, clock: UpdateClock, verify = verifyManifest) {
    this.#settings = settings
    this.#target = target
    this.#clock = clock
    this.#verify = verify
    this.#trust = settings.trust
    this.#started = clock.now()
  }

  /** Loads the stored set, asks the source when it is time, and goes on until it is closed. */
  start(): void {
    const { updatePolicy, firstRefreshTimeoutMs } = this.#settings
    this.#restored = this.#restore()
    const ready = updatePolicy === 'background' ? this.#restored : this.#restored.then(() => this.#refreshing)
    this.#first = this.#within(firstRefreshTimeoutMs, ready)
      .catch(nothing)
      .finally(() => (this.#first = undefined))
  }

  /** While it is not known yet which pins count: ends when it is, at the latest after `firstRefreshTimeoutMs`. Never rejects. */
  first(): Promise<void> | undefined {
    if (this.#first && !this.#firstHeld) {
      this.#firstHeld = true
      void this.#held(this.#first)
    }
    return this.#first
  }

  /** Whether {@link beforeRefusal} would ask the source now. */
  get mayRetry(): boolean {
    const { staleRetryMs } = this.#settings
    if (this.#closed.signal.aborted || staleRetryMs === Infinity) return false
    const ageMs = this.#clock.now() - this.#asked
    // Below zero when the clock has been set back since.
    return this.#refreshing !== undefined || ((ageMs >= staleRetryMs || ageMs < 0) && this.#heldOff === 0)
  }

  /**
   * One more look at the source before a refusal is final; ends when it has been made, either way, at the latest after
   * `fetchTimeoutMs`. `undefined` when the last one is not long ago: strangers must not be able to make us flood the source.
   */
  beforeRefusal(): Promise<void> | undefined {
    if (!this.mayRetry) return undefined
    return (this.#retry ??= this.#held(this.#within(this.#settings.fetchTimeoutMs, this.#ask(false), false))
      .catch(nothing)
      .finally(() => (this.#retry = undefined)))
  }

  /** Asks the source now, or waits for the answer if it is being asked. Never rejects: what went wrong is told and shown in the status. */
  refresh(): Promise<void> {
    return this.#held(this.look())
  }

  /** {@link refresh} for whom nobody waits: the process may end meanwhile. */
  look(): Promise<void> {
    return this.#closed.signal.aborted ? Promise.resolve() : this.#ask(false)
  }

  /** @param regular at a moment of this client's own, not at one that others share: a start, an outage's end, news, a refusal */
  #ask(regular: boolean): Promise<void> {
    // What is stored comes first: an older set must not come after a newer one.
    return (this.#refreshing ??= this.#restored.then(() => this.#refresh()).finally(() => {
      this.#refreshing = undefined
      if (this.#again) this.#schedule(this.#newsDelay(), false)
      else this.#schedule(this.#delay(regular), this.#failures === 0)
      this.#again = false
    }))
  }

  /** Ends the trust in a set whose time has passed. Timers may be late; this is asked before every connection. */
  checkExpiry(): void {
    if (this.#clock.now() < this.#expiresAt || this.#set === undefined) return
    this.#expiresAt = Infinity
    this.#cancelExpiry()
    this.#state = 'expired'
    // Should the clock be wrong, the source has nothing newer, and must say the same again once the clock is right. It is asked when it would
    // be anyhow, or for the first connection that is refused: this is the same moment for a whole fleet.
    this.#etag = undefined
    this.#target.expire(this.#set)
    this.#tell('expired', this.#settings.source.name, this.#set.version, this.#set.version)
  }

  /** The version whose pins count; `undefined` while the bootstrap pins do. */
  get inForce(): number | undefined {
    const bootstrap = this.#state === 'bootstrap' || (this.#state === 'expired' && this.#settings.onExpiredSet === 'bootstrap')
    return bootstrap ? undefined : this.#set?.version
  }

  status(): UpdateStatus {
    const now = this.#clock.now()
    const set = this.#set
    const failed = this.#lastError
    return {
      state: this.#state,
      source: this.#settings.source.name,
      store: this.#settings.store.name,
      ...(set && { version: set.version, issued: set.issued.toISOString(), expires: set.expires.toISOString() }),
      ageMs: now - (this.#lastChecked ?? this.#started),
      ...(this.#lastChecked !== undefined && { lastChecked: iso(this.#lastChecked) }),
      ...(this.#nextRefresh !== undefined && { nextRefresh: iso(this.#nextRefresh) }),
      refreshing: this.#refreshing !== undefined,
      failures: this.#failures,
      ...(failed && { lastError: { time: iso(failed.time), ...(failed.code !== undefined && { code: failed.code }), message: failed.message } }),
      trustedKeys: [...this.#trust.keys.keys()],
      threshold: this.#trust.threshold
    }
  }

  /** Ends timers, the subscription and a request under way, and closes source and store. */
  async close(): Promise<void> {
    if (this.#closed.signal.aborted) return
    const reason = new Error('the pinning was closed')
    this.#closed.abort(reason)
    this.#asking?.abort(reason)
    this.#cancelRefresh()
    this.#cancelExpiry()
    this.#unsubscribe()
    this.#nextRefresh = undefined
    const { source, store, fetchTimeoutMs } = this.#settings
    const closing = [source, store].map(async (each) => each.close?.())
    await this.#held(this.#within(fetchTimeoutMs, Promise.allSettled([...closing, this.#refreshing]), false).catch(nothing))
  }

  /** Then the source is asked: at once where there is no good set or the source says itself when there is a new one, else at a moment of its own in the next interval. */
  async #restore(): Promise<void> {
    const { source, updatePolicy, firstRefresh } = this.#settings
    await this.#recall()
    if (this.#closed.signal.aborted) return
    this.#subscribe()
    if (!this.#recalled) {
      this.#failures++
      this.#schedule(this.#delay(false), false)
      return
    }
    const patient = this.#state === 'current' || (this.#highest === undefined && firstRefresh === 'spread')
    const soon = updatePolicy === 'before-first-request' || !patient || source.subscribe !== undefined
    if (soon) void this.look()
    else this.#schedule(this.#spread(), true)
  }

  /** Until this has been done once, no set is taken: what the store knows is the protection against older ones. */
  async #recall(): Promise<void> {
    const { store } = this.#settings
    try {
      const state = await this.#load()
      this.#recalled = true
      if (state !== undefined) await this.#resume(state)
    } catch (error) {
      this.#fail(isRejection(error) ? 'rejected' : 'unavailable', store.name, asError(error))
    }
  }

  async #load(): Promise<PinSetState | undefined> {
    const { store, fetchTimeoutMs } = this.#settings
    const state = await this.#within(fetchTimeoutMs, store.load())
    if (state === undefined || (Number.isSafeInteger(state?.version) && typeof state.hash === 'string' && Array.isArray(state.links))) return state
    throw new TypeError('what was loaded is no state of a pin set')
  }

  /** Nothing in the store is believed: the chain of sets is verified from the keys in the code on. */
  async #resume(state: PinSetState): Promise<void> {
    const { audience, maxBytes } = this.#settings
    this.#sawVersion(state)
    // As at the time they were current: a set of former days has expired by now.
    const expected = { audience, maxBytes, now: whenItWasCurrent, inForce: this.inForce }
    let trust = this.#trust
    const links: Link[] = []
    for (const text of state.links) {
      try {
        const set = await this.#verify(text, { ...expected, trust })
        trust = set.trust
        links.push(linkOf(set))
      } catch (error) {
        if (!isRejection(error)) throw error
        // A link from keys that this release does not have any more, to keys that it may have itself.
        links.push({ text, signers: [], named: [], revoked: [] })
      }
    }
    if (state.text === undefined) {
      // How the signing keys came about is true all the same.
      this.#trust = trust
      this.#links = links
      throw new Error(`the stored set is damaged, or could not be stored whole; no version below ${state.version} is accepted`)
    }
    const set = await this.#verify(state.text, { ...expected, trust })
    if (set.version < state.version || (set.version === state.version && set.hash !== state.hash)) throw new Error(`the stored set is not version ${state.version}, which has been seen`)
    const commit = await this.#target.prepare(set)
    if (this.#closed.signal.aborted || (this.#set !== undefined && this.#set.version >= set.version)) return
    this.#links = links
    this.#adopt(set, commit, 'restored', this.#settings.store.name)
    this.checkExpiry()
  }

  async #refresh(): Promise<void> {
    const { source, store, fetchTimeoutMs, maxBytes } = this.#settings
    if (this.#closed.signal.aborted) return
    this.#cancelRefresh()
    this.#nextRefresh = undefined
    this.#asked = this.#clock.now()
    if (!this.#recalled) await this.#recall()
    if (!this.#recalled) {
      this.#failures++
      return
    }
    const asking = (this.#asking = new AbortController())
    try {
      const { text, etag } = await this.#within(fetchTimeoutMs, this.#target.fetch({ signal: asking.signal, etag: this.#etag, maxBytes }))
      const unsaved = text === undefined ? undefined : await this.#accept(text)
      this.#etag = this.#state === 'expired' ? undefined : etag
      this.#lastChecked = this.#clock.now()
      this.#failures = 0
      this.#notBefore = -Infinity
      this.#lastError = undefined
      // In force all the same: newer pins are worth more than the memory of them.
      if (unsaved) this.#fail('unavailable', store.name, unsaved)
    } catch (error) {
      asking.abort(error)
      if (this.#closed.signal.aborted) return
      this.#failures++
      const { retryAfterMs } = asError(error) as { retryAfterMs?: unknown }
      if (typeof retryAfterMs === 'number' && retryAfterMs >= 0) this.#notBefore = this.#clock.now() + Math.min(retryAfterMs, longestHoldOffMs)
      this.#fail(isRejection(error) ? 'rejected' : 'unavailable', source.name, asError(error))
    }
  }

  /**
   * Verifies a set, stores it, and puts it in force; in this order, so that what was in force once is never below what is stored.
   * @returns why it could not be stored
   */
  async #accept(text: string): Promise<Error | undefined> {
    const { source, store, trust, audience, maxBytes, fetchTimeoutMs } = this.#settings
    const stored = await this.#load().catch(nothing)
    if (stored !== undefined) this.#sawVersion(stored)
    // The very text has been verified, and may have revoked the key that it is signed with.
    const known = text === this.#set?.text ? this.#set : undefined
    if (known && this.#state === 'current') return undefined
    const again = known && known.version === this.#highest?.version && this.#clock.now() < known.expires.getTime()
    const set = again ? known : await this.#verify(text, { trust: this.#trust, audience, now: this.#clock.now(), kept: this.#highest, maxBytes, inForce: this.inForce })
    if (set.hash === this.#set?.hash && this.#state === 'current') return undefined
    const commit = await this.#target.prepare(set)
    const followed = this.#set?.changesTrust && set.hash !== this.#set.hash ? [...this.#links, linkOf(this.#set)] : this.#links
    const kept = keepLinks(trust, followed, linkOf(set))
    const tooMany = areTooMany(kept)
    const links = tooMany ? [] : kept
    const unsaved = await this.#within(fetchTimeoutMs, store.save({ version: set.version, hash: set.hash, text, links: links.map((link) => link.text) })).then(nothing, asError)
    if (this.#closed.signal.aborted) throw new Error('closed')
    this.#links = links
    this.#adopt(set, commit, 'updated', source.name)
    return unsaved ?? (tooMany ? new Error('the sets that have changed the signing keys are too many to be stored: after a restart only the keys in the code are trusted; right would be a release with the keys of today') : undefined)
  }

  #sawVersion({ version, hash }: PinSetState): void {
    if (this.#highest === undefined || version > this.#highest.version) this.#highest = { version, hash }
  }

  #adopt(set: PinSet, commit: () => number, result: 'updated' | 'restored', from: string): void {
    const previous = this.inForce
    const aborted = commit()
    this.#set = set
    this.#state = 'current'
    this.#trust = set.trust
    this.#highest = { version: set.version, hash: set.hash }
    this.#expiresAt = set.expires.getTime()
    this.#watchExpiry()
    this.#tell(result, from, set.version, previous, undefined, aborted)
  }

  #watchExpiry(): void {
    this.#cancelExpiry()
    this.#cancelExpiry = this.#clock.after(Math.min(this.#expiresAt - this.#clock.now(), longestTimerMs), () => {
      this.checkExpiry()
      if (this.#expiresAt !== Infinity) this.#watchExpiry()
    })
  }

  #subscribe(): void {
    const { source } = this.#settings
    if (source.subscribe === undefined) return
    const changed = (): void => {
      this.#etag = undefined
      if (this.#refreshing) this.#again = true
      else this.#hasten(Math.max(settleMs, this.#heldOff))
    }
    try {
      this.#unsubscribe = source.subscribe(changed)
    } catch (error) {
      this.#fail('unavailable', source.name, asError(error))
    }
  }

  #delay(regular: boolean): number {
    if (this.#failures === 0) {
      const lifeMs = this.#set ? this.#set.expires.getTime() - this.#set.issued.getTime() : Infinity
      return withinLifetime(regular ? jitter(this.#refreshMs(), this.#clock.random()) : this.#spread(), this.#expiresAt - this.#clock.now(), lifeMs)
    }
    return this.#heldOff + backOff(this.#failures, this.#refreshMs(), this.#clock.random())
  }

  /** Of a source that has changed while it was asked: soon, but where it has failed, later each time. */
  #newsDelay(): number {
    const patience = this.#failures === 0 ? 0 : backOff(this.#failures, this.#refreshMs(), this.#clock.random(), 1_000)
    return Math.max(settleMs, patience, this.#heldOff)
  }

  /** How long the source still wants to be left alone; no longer than a day, also where the clock has been set back. */
  get #heldOff(): number {
    return Math.max(0, Math.min(this.#notBefore - this.#clock.now(), longestHoldOffMs))
  }

  #refreshMs(): number {
    return this.#set?.refreshMs ?? defaultRefreshMs
  }

  #spread(): number {
    return spread(this.#refreshMs(), this.#clock.random(), this.#clock.random())
  }

  #schedule(delayMs: number, regular: boolean): void {
    if (this.#closed.signal.aborted) return
    this.#cancelRefresh()
    this.#nextRefresh = this.#clock.now() + delayMs
    this.#cancelRefresh = this.#clock.after(delayMs, () => void this.#ask(regular))
  }

  /** Never later than is planned: who says often that there is news would put off every look. */
  #hasten(delayMs: number): void {
    const now = this.#clock.now()
    // What is overdue waits for a timer that does not know that the clock has been set.
    if (this.#nextRefresh === undefined || this.#nextRefresh < now || now + delayMs < this.#nextRefresh) this.#schedule(delayMs, false)
  }

  #fail(result: 'rejected' | 'unavailable', from: string, error: Error): void {
    if (this.#closed.signal.aborted) return
    const { code } = error as { code?: unknown }
    this.#lastError = { time: this.#clock.now(), code: typeof code === 'string' ? code : undefined, message: error.message }
    this.#tell(result, from, this.inForce, this.inForce, error)
  }

  #tell(result: UpdateReport['result'], source: string, version: number | undefined, previousVersion: number | undefined, error?: Error, aborted = 0): void {
    this.#target.tell(new UpdateReport({ time: new Date(this.#clock.now()), result, source, version, previousVersion, expires: this.#set?.expires, revision: this.#target.revision(), aborted, error }))
  }

  /** Keeps the process alive for a promise that is bounded in time, since somebody waits for it. */
  async #held<T>(promise: Promise<T>): Promise<T> {
    const release = this.#clock.hold?.()
    try {
      return await promise
    } finally {
      release?.()
    }
  }

  /** A promise of somebody else's, bounded in time, and ended by `close()`. */
  #within<T>(ms: number, promise: Promise<T>, endsWithClose = true): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const { signal } = this.#closed
      const end = (settle: () => void): void => {
        cancel()
        signal.removeEventListener('abort', onClose)
        settle()
      }
      const onClose = (): void => end(() => reject(signal.reason as Error))
      const cancel = this.#clock.after(ms, () => end(() => reject(new Error(`there was no answer within ${ms} ms`))))
      promise.then((value) => end(() => resolve(value)), (error: unknown) => end(() => reject(error)))
      if (endsWithClose && signal.aborted) onClose()
      else if (endsWithClose) signal.addEventListener('abort', onClose)
    })
  }
}

/** After a change, so that one that comes in several steps is one. */
const settleMs = 50

const longestHoldOffMs = 86_400_000

const longestTimerMs = 2 ** 31 - 1

function nothing(): undefined {
  return undefined
}

function iso(ms: number): string {
  return new Date(ms).toISOString()
}

function isRejection(error: unknown): error is PinningError {
  return isPinningError(error) && error.code === 'ERR_PIN_UPDATE_REJECTED'
}

function asError(thrown: unknown): Error & { code?: string } {
  const error = types.isNativeError(thrown) || thrown instanceof Error ? (thrown as Error & { code?: string }) : undefined
  return typeof error?.message === 'string' ? error : new Error(describeError(thrown))
}
