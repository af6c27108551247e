// A fleet of clients, each of them the library's own updater, on virtual time, and the one source they all ask.

/**
 * @typedef {import('../../lib/update/updater.js').Updater} Updater
 * @typedef {typeof import('../../lib/update/updater.js')} UpdaterModule
 * @typedef {typeof import('../../lib/update/options.js')} OptionsModule
 * @typedef {import('../../lib/update/manifest.js').PinSet} PinSet
 * @typedef {import('../../lib/update/store.js').PinSetState} PinSetState
 * @typedef {import('../../lib/update/options.js').UpdateSettings} UpdateSettings
 * @typedef {{ text: string, set: PinSet }} Publication
 */

export class Fleet {
  /** Requests that arrived at the source, or would have: one entry per second since the beginning. @type {number[]} */
  requests = []
  /** Whether the source answers. */
  up = true
  /** How many clients have each version. @type {Map<number, number>} */
  has = new Map()
  /** When a version had so many clients: [milliseconds since the beginning, clients]. @type {Map<number, Array<[number, number]>>} */
  adoption = new Map()
  #time
  #began
  #settings
  #Updater
  /** @type {Publication | undefined} */
  #published
  /** @type {Map<string, PinSet>} */
  #sets = new Map()
  /** @type {Updater[]} */
  #updaters = []

  /**
   * @param {import('./virtual-time.mjs').VirtualTime} time
   * @param {UpdaterModule['Updater']} Updater
   * @param {UpdateSettings} settings of every client, but for their source and store
   */
  constructor(time, Updater, settings) {
    this.#time = time
    this.#began = time.now
    this.#Updater = Updater
    this.#settings = settings
  }

  /** @param {Publication} publication */
  publish(publication) {
    this.#published = publication
    this.#sets.set(publication.text, publication.set)
  }

  /**
   * Starts one client now.
   * @param {PinSetState | undefined} stored what its store holds from an earlier run
   */
  start(stored) {
    let version = 0
    /** @type {import('../../lib/update/updater.js').UpdateTarget} */
    const target = {
      fetch: (request) => this.#answer(request),
      prepare: (set) => Promise.resolve(() => {
        this.#count(version, set.version)
        version = set.version
        return 0
      }),
      expire: () => undefined,
      revision: () => 0,
      tell: () => undefined
    }
    let state = stored
    const store = { name: 'simulated', load: () => Promise.resolve(state), save: (/** @type {PinSetState} */ next) => Promise.resolve(void (state = next)) }
    const source = { name: 'simulated', fetch: () => Promise.reject(new Error('the target asks')) }
    // Every client is sent the same sets: each is verified once, with the library's own code, before the simulation.
    const verify = (/** @type {string} */ text) => {
      const set = this.#sets.get(text)
      return set ? Promise.resolve(set) : Promise.reject(new Error('an unknown set'))
    }
    const updater = new this.#Updater({ ...this.#settings, source, store }, target, this.#time.clock, verify)
    this.#updaters.push(updater)
    updater.start()
  }

  async close() {
    for (const updater of this.#updaters) void updater.close()
    this.#updaters = []
  }

  /** @param {Omit<import('../../lib/update/source.js').PinSetRequest, 'agent'>} request */
  async #answer({ etag }) {
    const second = Math.floor((this.#time.now - this.#began) / 1_000)
    this.requests[second] = (this.requests[second] ?? 0) + 1
    // A round trip, or a connection that is refused.
    await this.#time.sleep(20 + 180 * this.#time.random())
    if (!this.up || this.#published === undefined) throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
    const { text, set } = this.#published
    const tag = String(set.version)
    return etag === tag ? { text: undefined, etag: tag } : { text, etag: tag }
  }

  /**
   * @param {number} before
   * @param {number} after
   */
  #count(before, after) {
    this.has.set(before, (this.has.get(before) ?? 0) - 1)
    const clients = (this.has.get(after) ?? 0) + 1
    this.has.set(after, clients)
    const course = this.adoption.get(after) ?? []
    course.push([this.#time.now - this.#began, clients])
    this.adoption.set(after, course)
  }
}

/**
 * Requests per second, in windows of so many seconds.
 * @param {readonly number[]} requests per second
 * @param {{ from: number, to: number, window: number }} range seconds since the beginning
 * @returns {Array<[number, number]>} [start of the window in seconds, requests per second in it]
 */
export function ratesOf(requests, { from, to, window }) {
  /** @type {Array<[number, number]>} */
  const rates = []
  for (let start = from; start + window <= to; start += window) {
    let sum = 0
    for (let second = start; second < start + window; second++) sum += requests[second] ?? 0
    rates.push([start, sum / window])
  }
  return rates
}

/** @param {ReadonlyArray<readonly [number, number]>} rates */
export function peakOf(rates) {
  return Math.max(...rates.map(([, rate]) => rate))
}

/** @param {ReadonlyArray<readonly [number, number]>} rates */
export function meanOf(rates) {
  return rates.reduce((sum, [, rate]) => sum + rate, 0) / rates.length
}
