/**
 * What time it is by the `Date` headers of answers from accepted peers: the median of the last answer of each of a few
 * hosts, carried on by the monotonic clock, which does not jump when somebody sets the time.
 */
export class ServerClock {
  readonly #samples = new Map<string, { date: number; at: number }>()
  #next = 0

  /** @param monotonic milliseconds, never going back */
  constructor(readonly monotonic: () => number = () => performance.now()) {}

  /** Whether another header is wanted; one a minute is enough. */
  get isDue(): boolean {
    return this.monotonic() >= this.#next
  }

  /** @param date the header's text; anything that is no date is ignored */
  observe(host: string, date: string | undefined): void {
    const parsed = date === undefined || date.length > 64 ? NaN : Date.parse(date)
    if (Number.isNaN(parsed)) return
    const at = this.monotonic()
    this.#next = at + intervalMs
    this.#samples.delete(host)
    this.#samples.set(host, { date: parsed, at })
    if (this.#samples.size > maxHosts) this.#samples.delete(this.#samples.keys().next().value as string)
  }

  /** Milliseconds since the epoch, within a second or two; `undefined` before the first answer. */
  now(): number | undefined {
    if (this.#samples.size === 0) return undefined
    const at = this.monotonic()
    const times = [...this.#samples.values()].map((sample) => sample.date + at - sample.at).sort((a, b) => a - b)
    return times[Math.floor((times.length - 1) / 2)]
  }
}

const intervalMs = 60_000
const maxHosts = 8
