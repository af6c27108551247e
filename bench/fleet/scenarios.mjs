// What happens to the fleet, and what was seen at the source.
import { generateKeyPairSync } from 'node:crypto'
import { Fleet, meanOf, peakOf, ratesOf } from './fleet.mjs'
import { VirtualTime } from './virtual-time.mjs'

/**
 * @typedef {object} Library the parts of the built library that the simulation runs
 * @property {typeof import('../../lib/update/updater.js').Updater} Updater
 * @property {typeof import('../../lib/update/options.js').readUpdateOptions} readUpdateOptions
 * @property {typeof import('../../lib/update/manifest.js').signManifest} signManifest
 * @property {typeof import('../../lib/update/manifest.js').verifyManifest} verifyManifest
 *
 * @typedef {object} Setting
 * @property {number} clients
 * @property {number} refreshMs
 * @property {number} seed
 * @property {number} window in which requests per second are counted, in seconds
 *
 * @typedef {Array<[number, number]>} Series
 */

const minute = 60_000
const hour = 60 * minute

/**
 * A mass restart of clients that have a store; three refreshes later a new set; two hours without the source, and a
 * new set when it is back.
 *
 * @param {Library} library
 * @param {Setting} setting
 */
export async function lifeOfAFleet(library, setting) {
  const { clients, refreshMs, window } = setting
  const { time, fleet, publications, at } = await prepare(library, setting, 3)
  const [first, second, third] = /** @type {[any, any, any]} */ (publications)
  fleet.publish(first)
  const stored = { version: first.set.version, hash: first.set.hash, text: first.text, links: [] }
  for (let client = 0; client < clients; client++) time.after(10_000 * time.random(), () => fleet.start(stored))
  const published = 3 * refreshMs
  const down = 5 * refreshMs
  const outage = 2 * hour
  const back = down + outage
  const end = back + 4 * refreshMs
  time.after(published, () => fleet.publish(second))
  time.after(down, () => (fleet.up = false))
  time.after(back, () => {
    fleet.up = true
    fleet.publish(third)
  })
  await time.runUntil(at(end))
  await fleet.close()
  const rates = (/** @type {number} */ from, /** @type {number} */ to, /** @type {number} */ width) => ratesOf(fleet.requests, { from: Math.floor(from / 1_000), to: Math.floor(to / 1_000), window: width })
  const mean = clients / (refreshMs / 1_000)
  const restart = rates(0, published, window)
  return {
    ...setting,
    /** What evenly spread clients would ask for, per second. */
    even: mean,
    restart: { mean: meanOf(restart), peak: peakOf(restart), peakOverMean: peakOf(restart) / meanOf(restart), peakOverMeanBySecond: peakOf(rates(0, published, 1)) / meanOf(restart) },
    rollout: adoptionOf(fleet, 2, clients, published),
    outage: { peakOverEven: peakOf(rates(down, back, window)) / mean },
    recovery: { peakOverEven: peakOf(rates(back, end, window)) / mean, firstMinuteOverEven: meanOf(rates(back, back + minute, 1)) / mean, ...adoptionOf(fleet, 3, clients, back) },
    series: {
      restart: /** @type {Series} */ (rates(0, published, window)),
      whole: /** @type {Series} */ (rates(0, end, window)),
      rollout: courseOf(fleet, 2, clients, published),
      recovery: courseOf(fleet, 3, clients, back),
      marks: { published, down, back, end }
    }
  }
}

/**
 * A mass restart of clients that remember nothing.
 *
 * @param {Library} library
 * @param {Setting} setting
 * @param {{ up?: boolean, firstRefresh?: 'at-once' | 'spread' }} [circumstances] `up: false`: the source is down for the first two hours
 */
export async function coldStart(library, setting, { up = true, firstRefresh = 'at-once' } = {}) {
  const { clients, refreshMs, window } = setting
  const { time, fleet, publications, at } = await prepare(library, setting, 1, { firstRefresh })
  fleet.publish(/** @type {any} */ (publications[0]))
  fleet.up = up
  for (let client = 0; client < clients; client++) time.after(10_000 * time.random(), () => fleet.start(undefined))
  const back = up ? 0 : 2 * hour
  if (!up) time.after(back, () => (fleet.up = true))
  const end = back + 3 * refreshMs
  await time.runUntil(at(end))
  await fleet.close()
  const even = clients / (refreshMs / 1_000)
  const rates = (/** @type {number} */ from, /** @type {number} */ to) => ratesOf(fleet.requests, { from: Math.floor(from / 1_000), to: Math.floor(to / 1_000), window })
  const settled = rates(back + refreshMs * 1.2, end)
  return { ...setting, even, peakOverEven: peakOf(rates(0, end)) / even, afterFirstOverEven: peakOf(rates(back + minute, end)) / even, settledPeakOverEven: peakOf(settled) / even, ...adoptionOf(fleet, 1, clients, back), series: { whole: /** @type {Series} */ (rates(0, end)) } }
}

/**
 * Nobody publishes any more: the set in force runs out.
 *
 * @param {Library} library
 * @param {Setting} setting
 */
export async function runningOut(library, setting) {
  const { clients, refreshMs, window } = setting
  const { time, fleet, publications, at } = await prepare(library, setting, 1, { lifeMs: 4 * refreshMs })
  const first = /** @type {any} */ (publications[0])
  fleet.publish(first)
  for (let client = 0; client < clients; client++) time.after(10_000 * time.random(), () => fleet.start({ version: 1, hash: first.set.hash, text: first.text, links: [] }))
  const end = 6 * refreshMs
  await time.runUntil(at(end))
  await fleet.close()
  const even = clients / (refreshMs / 1_000)
  const rates = ratesOf(fleet.requests, { from: 0, to: Math.floor(end / 1_000), window })
  return { ...setting, even, peakOverEven: peakOf(rates) / even, series: { whole: /** @type {Series} */ (rates) } }
}

/**
 * @param {Library} library
 * @param {Setting} setting
 * @param {number} versions
 * @param {{ lifeMs?: number, firstRefresh?: 'at-once' | 'spread' }} [circumstances]
 */
async function prepare({ Updater, readUpdateOptions, signManifest, verifyManifest }, { refreshMs, seed }, versions, { lifeMs = 30 * 24 * hour, firstRefresh = 'at-once' } = {}) {
  const time = new VirtualTime({ seed })
  const began = time.now
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const options = { trustedKeys: [publicKey], audience: 'fleet', firstRefresh, source: { name: 'simulated', fetch: () => Promise.reject(new Error('the target asks')) } }
  const settings = readUpdateOptions(options)
  const publications = []
  for (let version = 1; version <= versions; version++) {
    const pin = `sha256/${Buffer.alloc(32, version).toString('base64')}`
    const text = await signManifest({ version, audience: 'fleet', issued: new Date(began).toISOString(), expires: new Date(began + lifeMs).toISOString(), refreshMs, pins: { 'api.example.com': [pin, pin.replace('sha256/A', 'sha256/B')] } }, [privateKey])
    publications.push({ text, set: await verifyManifest(text, { trust: settings.trust, audience: 'fleet', now: began }) })
  }
  return { time, fleet: new Fleet(time, Updater, settings), publications, at: (/** @type {number} */ ms) => began + ms }
}

/**
 * How long until so many of the clients had a version, in milliseconds.
 *
 * @param {Fleet} fleet
 * @param {number} version
 * @param {number} clients
 * @param {number} since
 */
function adoptionOf(fleet, version, clients, since) {
  const course = fleet.adoption.get(version) ?? []
  const after = (/** @type {number} */ share) => {
    const found = course.find(([, count]) => count >= Math.ceil(share * clients))
    return found ? found[0] - since : undefined
  }
  return { half: after(0.5), most: after(0.99), all: after(1) }
}

/**
 * @param {Fleet} fleet
 * @param {number} version
 * @param {number} clients
 * @param {number} since
 */
function courseOf(fleet, version, clients, since) {
  const course = fleet.adoption.get(version) ?? []
  const step = Math.max(1, Math.floor(course.length / 300))
  return /** @type {Series} */ (course.filter((_, index) => index % step === 0 || index === course.length - 1).map(([at, count]) => [(at - since) / 1_000, count / clients]))
}
