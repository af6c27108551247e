// Time and chance that can be played back: events happen in order of their time, and nothing takes any.

/** @typedef {{ at: number, order: number, run: (() => void) | undefined }} Event */

export class VirtualTime {
  /** Milliseconds since the epoch. */
  now
  #order = 0
  /** A binary heap, the earliest first. @type {Event[]} */
  #events = []
  #random

  /** @param {{ start?: number, seed?: number }} [options] */
  constructor({ start = Date.UTC(2026, 0, 1), seed = 1 } = {}) {
    this.now = start
    this.#random = mulberry32(seed)
  }

  /** What the library's updater takes as its clock. */
  get clock() {
    return { now: () => this.now, random: () => this.#random(), after: (/** @type {number} */ ms, /** @type {() => void} */ run) => this.after(ms, run) }
  }

  random() {
    return this.#random()
  }

  /**
   * @param {number} ms
   * @param {() => void} run
   */
  after(ms, run) {
    /** @type {Event} */
    const event = { at: this.now + Math.max(0, Math.round(ms)), order: this.#order++, run }
    this.#push(event)
    return () => {
      event.run = undefined
    }
  }

  /** @param {number} ms */
  sleep(ms) {
    return /** @type {Promise<void>} */ (new Promise((resolve) => this.after(ms, resolve)))
  }

  /**
   * Lets time pass. What promises bring about happens before the next event does.
   * @param {number} end milliseconds since the epoch
   */
  async runUntil(end) {
    for (let first = this.#events[0]; first !== undefined && first.at <= end; first = this.#events[0]) {
      const { at } = first
      let ran = false
      while (this.#events[0]?.at === at) {
        const { run } = /** @type {Event} */ (this.#pop())
        if (run === undefined) continue
        this.now = at
        ran = true
        run()
      }
      // All microtasks run before it.
      if (ran) await new Promise((resolve) => setImmediate(resolve))
    }
    this.now = end
  }

  /** @param {Event} event */
  #push(event) {
    const events = this.#events
    let index = events.push(event) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!isBefore(event, /** @type {Event} */ (events[parent]))) break
      events[index] = /** @type {Event} */ (events[parent])
      index = parent
    }
    events[index] = event
  }

  #pop() {
    const events = this.#events
    const first = events[0]
    const last = events.pop()
    if (last === undefined || events.length === 0) return first
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= events.length) break
      if (child + 1 < events.length && isBefore(/** @type {Event} */ (events[child + 1]), /** @type {Event} */ (events[child]))) child++
      if (!isBefore(/** @type {Event} */ (events[child]), last)) break
      events[index] = /** @type {Event} */ (events[child])
      index = child
    }
    events[index] = last
    return first
  }
}

/**
 * @param {Event} a
 * @param {Event} b
 */
function isBefore(a, b) {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

/**
 * A small generator whose sequence is the same everywhere.
 * @param {number} seed
 */
function mulberry32(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
