import { createHash } from 'node:crypto'
import { servedAfter } from '../verify/chain.js'
import type { ConnectionEvent } from './events.js'
import type { PinReport } from './report.js'
import { violationOf } from './violation.js'
import type { PinViolation, ReportingApp } from './violation.js'

/** Hands a batch over; rejects when that failed, with {@link DeliveryRefused} when trying again is of no use. */
export type Deliver = (violations: readonly PinViolation[]) => Promise<void>

export class DeliveryRefused extends Error {}

export interface QueueSettings {
  readonly deliver: Deliver
  /** The same (host, chain, pins, result) is reported once in this time, in milliseconds. */
  readonly intervalMs: number
  readonly app?: ReportingApp
  /** The version of the signed pin set in force, where there is one. */
  readonly pinSetVersion?: () => number | undefined
  /** Default 50. */
  readonly batchSize?: number
  /** How long a report waits for others. Default: a second. */
  readonly batchMs?: number
  /** Before the first retry; doubles each time. Default: a second. */
  readonly retryMs?: number
  /** How long `close` waits for what is under way. Default: two seconds. */
  readonly closeMs?: number
  /** 0 to 1; default `Math.random`. */
  readonly random?: () => number
}

/** How reports have fared. */
export interface DeliveryCounters {
  /** Handed over. */
  sent: number
  /** Waiting for the next batch, or to be tried again. */
  pending: number
  /** Not reported, as the same had been lately. */
  repeated: number
  /** Given up: refused by the collector, too many failures, too many waiting, or closed. */
  lost: number
}

/** Reports on their way to a collector. Never waited for by a request, and bounded in number and in time. */
export class ReportQueue {
  readonly #settings: Required<Omit<QueueSettings, 'app'>> & { readonly app: ReportingApp }
  readonly #seen = new Map<string, { at: number; repeats: number }>()
  readonly #counters = { sent: 0, repeated: 0, lost: 0 }
  #waiting: Waiting[] = []
  /** Taken out of `#waiting` and being delivered. */
  #flying: readonly Waiting[] = []
  #failures = 0
  #timer: NodeJS.Timeout | undefined
  #flight: Promise<void> | undefined
  #closed = false

  constructor(settings: QueueSettings) {
    this.#settings = { batchSize: 50, batchMs: 1_000, retryMs: 1_000, closeMs: 2_000, random: Math.random, app: {}, pinSetVersion: () => undefined, ...settings }
  }

  get counters(): DeliveryCounters {
    return { ...this.#counters, pending: this.#waiting.length + this.#flying.length }
  }

  /** Only compares with what was reported lately; the report is written when it is delivered. */
  add(event: ConnectionEvent): void {
    const now = event.verdict.time.getTime()
    const key = keyOf(event)
    const seen = this.#seen.get(key)
    if (seen && now - seen.at < this.#settings.intervalMs && now >= seen.at) {
      seen.repeats++
      this.#counters.repeated++
      return
    }
    if (this.#closed || this.#waiting.length >= maxWaiting) {
      this.#counters.lost++
      return
    }
    this.#seen.delete(key)
    this.#seen.set(key, { at: now, repeats: 0 })
    if (this.#seen.size > maxSeen) this.#seen.delete(this.#seen.keys().next().value as string)
    this.#waiting.push({ report: event.report, key, repeats: seen?.repeats ?? 0, pinSetVersion: this.#settings.pinSetVersion() })
    this.#schedule(this.#settings.batchMs)
  }

  /** Tries once more to deliver what waits, for a bounded time; the rest counts as lost. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#timer)
    let timer: NodeJS.Timeout | undefined
    // Unlike the other timers here it keeps the process alive: whoever closes waits for it, maybe for nothing else.
    const deadline = new Promise<void>((resolve) => (timer = setTimeout(resolve, this.#settings.closeMs)))
    const rest = async (): Promise<void> => {
      await this.#flight
      while (this.#waiting.length > 0 && this.#failures === 0) await this.#fly()
    }
    this.#failures = 0
    await Promise.race([rest(), deadline])
    clearTimeout(timer)
    clearTimeout(this.#timer)
    this.#lose(this.#waiting)
    this.#waiting = []
  }

  #schedule(ms: number): void {
    // Nobody's process stays up for a report.
    if (this.#flight === undefined && this.#timer === undefined) this.#timer = setTimeout(() => void this.#fly(), ms).unref()
  }

  #fly(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    return (this.#flight ??= this.#deliver().finally(() => {
      this.#flight = undefined
      if (this.#waiting.length > 0 && !this.#closed) this.#schedule(this.#failures > 0 ? this.#backOff() : this.#waiting.length >= this.#settings.batchSize ? 0 : this.#settings.batchMs)
    }))
  }

  async #deliver(): Promise<void> {
    this.#flying = this.#waiting.splice(0, this.#settings.batchSize)
    try {
      await this.#settings.deliver(this.#flying.map(({ report, repeats, pinSetVersion }) => violationOf(report, repeats, pinSetVersion, this.#settings.app)))
      this.#counters.sent += this.#flying.length
      this.#failures = 0
    } catch (error) {
      this.#failures++
      if (error instanceof DeliveryRefused || this.#failures >= maxFailures || this.#closed) {
        this.#lose(this.#flying)
        if (!this.#closed) this.#failures = 0
      } else this.#waiting.unshift(...this.#flying)
    } finally {
      this.#flying = []
    }
  }

  /** Doubles with each failure, up to five minutes; with jitter, so that a fleet does not come back all at once. */
  #backOff(): number {
    const ms = Math.min(this.#settings.retryMs * 2 ** (this.#failures - 1), maxRetryMs)
    return ms * (0.5 + this.#settings.random() / 2)
  }

  /** What was not delivered may be reported again when it is next seen. */
  #lose(reports: readonly Waiting[]): void {
    this.#counters.lost += reports.length
    for (const { key } of reports) this.#seen.delete(key)
  }
}

interface Waiting {
  readonly report: PinReport
  readonly key: string
  readonly repeats: number
  readonly pinSetVersion: number | undefined
}

const maxWaiting = 500
const maxSeen = 1_000
const maxFailures = 8
const maxRetryMs = 5 * 60_000

/** The same host, chain, pins and result. */
function keyOf({ verdict, decision, result }: ConnectionEvent): string {
  const { host, port, leaf, policy } = verdict
  const chain = leaf ? [leaf, ...servedAfter(leaf)].map(({ fingerprint256 }) => fingerprint256) : []
  return createHash('sha256').update(JSON.stringify([host, port, decision, result, chain, [...(policy?.pins.keys() ?? [])]])).digest('base64')
}
