/**
 * What time it is by the `Date` headers of answers from accepted peers: the median of the last answer of each of a few
 * hosts, carried on by the monotonic clock, which does not jump when somebody sets the time.
 */
export class ServerClock {
  readonly #samples = new Map<string, Sample>()
  #next = 0

  /** @param monotonic milliseconds, never going back; it may stand still while the machine sleeps */
  constructor(readonly monotonic: () => number = () => performance.now()) {}

  /** Whether another header is wanted; one a minute is enough. */
  get isDue(): boolean {
    return this.monotonic() >= this.#next
  }

  /**
   * @param date the header's text; anything that is no date is ignored
   * @param wall this machine's time, in milliseconds since the epoch
   */
  observe(host: string, date: string | undefined, wall: number): void {
    const parsed = date === undefined || date.length > 64 ? NaN : Date.parse(date)
    if (Number.isNaN(parsed)) return
    const at = this.monotonic()
    this.#next = at + intervalMs
    this.#samples.delete(host)
    this.#samples.set(host, { date: parsed, at, wall })
    if (this.#samples.size > maxHosts) this.#samples.delete(this.#samples.keys().next().value as string)
  }

  /**
   * Milliseconds since the epoch, within a second or two; `undefined` before the first answer, and where the wall clock has run
   * ahead of the monotonic one since: then the machine has slept, or its clock was set forward, and nobody can tell which.
   */
  now(wall: number): number | undefined {
    const at = this.monotonic()
    const usable = [...this.#samples.values()].filter((sample) => wall - sample.wall - (at - sample.at) < sleepMs)
    const times = usable.map((sample) => sample.date + at - sample.at).sort((a, b) => a - b)
    return times[Math.floor((times.length - 1) / 2)]
  }
}

interface Sample {
  readonly date: number
  readonly at: number
  readonly wall: number
}

const intervalMs = 60_000
const sleepMs = 60_000
const maxHosts = 8
