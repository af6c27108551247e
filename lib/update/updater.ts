import { isPinningError } from '../errors.js'
import type { PinningError } from '../errors.js'
import { UpdateReport } from '../report/update-report.js'
import type { UpdateClock } from './clock.js'
import { defaultRefreshMs, verifyManifest } from './manifest.js'
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
  #links: readonly string[] = []
  #etag: string | undefined
  #expiresAt = Infinity

  #first: Promise<void> | undefined
  #refreshing: Promise<void> | undefined
  /** What refused connections wait for. */
  #retry: Promise<void> | undefined
  /** The source has changed while it was asked. */
  #again = false
  #failures = 0
  #asked = -Infinity
  #notBefore = -Infinity
  #lastChecked: number | undefined
  #lastError: { time: number; error: Error & { code?: string } } | undefined
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
    const restored = this.#restore()
    const ready = updatePolicy === 'background' ? restored : restored.then(() => this.#refreshing)
    this.#first = this.#within(firstRefreshTimeoutMs, ready).then(
      () => (this.#first = undefined),
      () => (this.#first = undefined)
    )
  }

  /** While it is not known yet which pins count: ends when it is, at the latest after `firstRefreshTimeoutMs`. Never rejects. */
  first(): Promise<void> | undefined {
    return this.#first
  }

  /** Whether {@link beforeRefusal} would ask the source now. */
  get mayRetry(): boolean {
    const { staleRetryMs } = this.#settings
    if (this.#closed.signal.aborted || staleRetryMs === Infinity) return false
    const now = this.#clock.now()
    return this.#refreshing !== undefined || (now - this.#asked >= staleRetryMs && now >= this.#notBefore)
  }

  /**
   * One more look at the source before a refusal is final; ends when it has been made, either way, at the latest after
   * `fetchTimeoutMs`. `undefined` when the last one is not long ago: strangers must not be able to make us flood the source.
   */
  beforeRefusal(): Promise<void> | undefined {
    if (!this.mayRetry) return undefined
    return (this.#retry ??= this.#within(this.#settings.fetchTimeoutMs, this.refresh(), false)
      .catch(nothing)
      .finally(() => (this.#retry = undefined)))
  }

  /** Asks the source now, or waits for the answer if it is being asked. Never rejects: what went wrong is told and shown in the status. */
  refresh(): Promise<void> {
    if (this.#closed.signal.aborted) return Promise.resolve()
    return this.#ask(false)
  }

  /** @param regular at a moment of this client's own, not at one that others share: a start, an outage's end, news, a refusal */
  #ask(regular: boolean): Promise<void> {
    return (this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined
      if (this.#again) this.#schedule(settleMs, false)
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
    this.#target.expire(this.#set)
    this.#tell('expired', this.#settings.source.name, this.#set.version)
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
      ...(failed && { lastError: { time: iso(failed.time), ...(failed.error.code !== undefined && { code: failed.error.code }), message: failed.error.message } }),
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
    await this.#within(fetchTimeoutMs, Promise.allSettled([...closing, this.#refreshing]), false).catch(nothing)
  }

  /** Then the source is asked: at once where there is no good set or the source says itself when there is a new one, else at a moment of its own in the next interval. */
  async #restore(): Promise<void> {
    const { source, store, fetchTimeoutMs, updatePolicy, firstRefresh } = this.#settings
    try {
      const state = await this.#within(fetchTimeoutMs, store.load())
      if (state !== undefined) await this.#resume(state)
    } catch (error) {
      this.#fail(isRejection(error) ? 'rejected' : 'unavailable', store.name, asError(error))
    }
    if (this.#closed.signal.aborted) return
    this.#subscribe()
    const patient = this.#state === 'current' || (this.#highest === undefined && firstRefresh === 'spread')
    const soon = updatePolicy === 'before-first-request' || !patient || source.subscribe !== undefined
    if (soon) void this.refresh()
    else this.#schedule(this.#spread(), true)
  }

  /** Nothing in the store is believed: the chain of sets is verified from the keys in the code on. */
  async #resume(state: PinSetState): Promise<void> {
    const { audience, maxBytes } = this.#settings
    this.#highest = { version: state.version, hash: state.hash }
    // As at the time they were current: a set of former days has expired by now.
    let trust = this.#trust
    for (const link of state.links) ({ trust } = await this.#verify(link, { trust, audience, maxBytes, now: Number.NaN }))
    if (state.text === undefined) {
      // How the signing keys came about is true all the same.
      this.#trust = trust
      this.#links = state.links
      throw new Error(`the stored set is damaged; no version below ${state.version} is accepted`)
    }
    const set = await this.#verify(state.text, { trust, audience, maxBytes, now: Number.NaN })
    if (set.version < state.version || (set.version === state.version && set.hash !== state.hash)) throw new Error(`the stored set is not version ${state.version}, which has been seen`)
    const commit = await this.#target.prepare(set)
    if (this.#closed.signal.aborted) return
    this.#links = state.links
    this.#adopt(set, commit, 'restored', this.#settings.store.name)
    this.checkExpiry()
  }

  async #refresh(): Promise<void> {
    const { source, fetchTimeoutMs, maxBytes } = this.#settings
    this.#cancelRefresh()
    this.#nextRefresh = undefined
    this.#asked = this.#clock.now()
    const asking = (this.#asking = new AbortController())
    try {
      const { text, etag } = await this.#within(fetchTimeoutMs, this.#target.fetch({ signal: asking.signal, etag: this.#etag, maxBytes }))
      if (text !== undefined) await this.#accept(text)
      this.#etag = etag
      this.#lastChecked = this.#clock.now()
      this.#failures = 0
      this.#notBefore = -Infinity
    } catch (error) {
      asking.abort(error)
      if (this.#closed.signal.aborted) return
      this.#failures++
      const { retryAfterMs } = asError(error) as { retryAfterMs?: unknown }
      if (typeof retryAfterMs === 'number' && retryAfterMs >= 0) this.#notBefore = this.#clock.now() + Math.min(retryAfterMs, 86_400_000)
      this.#fail(isRejection(error) ? 'rejected' : 'unavailable', source.name, asError(error))
    }
  }

  /** Verifies a set, stores it, and puts it in force; in this order, so that what was in force once is never below what is stored. */
  async #accept(text: string): Promise<void> {
    const { source, store, audience, maxBytes, fetchTimeoutMs } = this.#settings
    const stored = await this.#within(fetchTimeoutMs, store.load()).catch(nothing)
    if (stored !== undefined && stored.version > (this.#highest?.version ?? 0)) this.#highest = { version: stored.version, hash: stored.hash }
    const set = await this.#verify(text, { trust: this.#trust, audience, now: this.#clock.now(), kept: this.#highest, maxBytes })
    if (set.hash === this.#set?.hash && this.#state === 'current') return
    const commit = await this.#target.prepare(set)
    const links = this.#set?.changesTrust ? [...this.#links, this.#set.text] : this.#links
    const unsaved = await this.#within(fetchTimeoutMs, store.save({ version: set.version, hash: set.hash, text, links })).then(nothing, asError)
    if (this.#closed.signal.aborted) throw new Error('closed')
    this.#links = links
    this.#adopt(set, commit, 'updated', source.name)
    // In force all the same: newer pins are worth more than the memory of them.
    if (unsaved) this.#fail('unavailable', store.name, unsaved)
  }

  #adopt(set: PinSet, commit: () => number, result: 'updated' | 'restored', from: string): void {
    const previous = this.#state === 'bootstrap' ? undefined : this.#set?.version
    const aborted = commit()
    this.#set = set
    this.#state = 'current'
    this.#trust = set.trust
    this.#highest = { version: set.version, hash: set.hash }
    this.#expiresAt = set.expires.getTime()
    this.#watchExpiry()
    if (result === 'updated') this.#lastError = undefined
    this.#tell(result, from, previous, undefined, aborted)
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
      else this.#schedule(Math.max(settleMs, this.#notBefore - this.#clock.now()), false)
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
    const asked = Math.max(0, this.#notBefore - this.#clock.now())
    return asked + backOff(this.#failures, this.#refreshMs(), this.#clock.random())
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

  #fail(result: 'rejected' | 'unavailable', from: string, error: Error): void {
    if (this.#closed.signal.aborted) return
    this.#lastError = { time: this.#clock.now(), error }
    this.#tell(result, from, this.#state === 'bootstrap' ? undefined : this.#set?.version, error)
  }

  #tell(result: UpdateReport['result'], source: string, previousVersion: number | undefined, error?: Error, aborted = 0): void {
    const version = this.#state === 'bootstrap' ? undefined : this.#set?.version
    this.#target.tell(new UpdateReport({ time: new Date(this.#clock.now()), result, source, version, previousVersion, expires: this.#set?.expires, revision: this.#target.revision(), aborted, error }))
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
  return thrown instanceof Error || Object.prototype.toString.call(thrown) === '[object Error]' ? (thrown as Error) : new Error(String(thrown))
}
