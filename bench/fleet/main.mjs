// A fleet of clients against one source, on virtual time: `npm run bench:fleet`. With --write docs/fleet.md and its plots are made anew.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { plot } from './plot.mjs'
import { coldStart, lifeOfAFleet, runningOut } from './scenarios.mjs'

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '100000' },
    'refresh-minutes': { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    /** Requests per second are counted in windows of so many seconds. */
    window: { type: 'string', default: '10' },
    json: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false }
  }
})
const setting = { clients: Number(values.clients), refreshMs: Number(values['refresh-minutes']) * 60_000, seed: Number(values.seed), window: Number(values.window) }

const dist = new URL('../../dist/modules/esm/update/', import.meta.url)
if (!existsSync(dist)) throw new Error('the package has to be built first: npm run build')
/** @param {string} file */
const load = (file) => import(new URL(file, dist).href)
const library = { ...(await load('updater.js')), ...(await load('options.js')), ...(await load('manifest.js')) }

const life = await lifeOfAFleet(library, setting)
const cold = await coldStart(library, setting)
const spread = await coldStart(library, setting, { firstRefresh: 'spread' })
const coldOutage = await coldStart(library, setting, { up: false })
const out = await runningOut(library, setting)

if (values.json) {
  console.log(JSON.stringify({ life, cold, spread, coldOutage, out }, (name, value) => (name === 'series' ? undefined : value), 2))
} else {
  console.log(table())
}
if (values.write) write()

function table() {
  const times = (/** @type {number} */ factor) => `${factor.toFixed(2)} ×`
  const minutes = (/** @type {number | undefined} */ ms) => (ms === undefined ? 'not within the simulation' : ms < 60_000 ? `${(ms / 1_000).toFixed(0)} s` : `${(ms / 60_000).toFixed(0)} min`)
  const adoption = (/** @type {{ half?: number | undefined, most?: number | undefined, all?: number | undefined }} */ { half, most, all }) => `${minutes(half)} / ${minutes(most)} / ${minutes(all)}`
  const rows = [
    ['mass restart within 10 s, clients with a store: peak over mean', times(life.restart.peakOverMean)],
    ['the same, clients without a store, `firstRefresh: \'spread\'`: peak over even', times(spread.peakOverEven)],
    ['the same, clients without a store, which all ask at once: peak over even', times(cold.peakOverEven)],
    ['— and from the second minute on', times(cold.afterFirstOverEven)],
    ['a new set: 50 / 99 / 100 % of the clients have it after', adoption(life.rollout)],
    ['source down for 2 hours: peak of the attempts over even', times(life.outage.peakOverEven)],
    ['source back: peak over even', times(life.recovery.peakOverEven)],
    ['— 50 / 99 / 100 % have the set that was published at that moment after', adoption(life.recovery)],
    ['mass start without a store while the source is down for 2 hours: peak of the attempts, from the second minute on, after its return', `${times(coldOutage.peakOverEven)}, ${times(coldOutage.afterFirstOverEven)}`],
    ['nobody publishes any more, and the set in force expires: peak over even', times(out.peakOverEven)]
  ]
  return [
    `${setting.clients.toLocaleString('en')} clients, refreshMs ${setting.refreshMs.toLocaleString('en')}, seed ${setting.seed}; requests per second in windows of ${setting.window} s. *Even* is ${life.even.toFixed(1)} requests per second: every client once per interval.`,
    '',
    '| | |',
    '|---|---|',
    ...rows.map(([what, figure]) => `| ${what} | ${figure} |`),
    '',
    `In windows of 1 s the peak after the mass restart is ${times(life.restart.peakOverMeanBySecond)} the mean: with ${life.even.toFixed(0)} independent requests per second, chance alone makes as much.`
  ].join('\n')
}

function write() {
  const docs = new URL('../../docs/', import.meta.url)
  const hours = (/** @type {ReadonlyArray<readonly [number, number]>} */ series) => series.map(([second, value]) => /** @type {const} */ ([second / 3_600, value]))
  const { marks } = life.series
  const inHours = (/** @type {number} */ ms) => ms / 3_600_000
  const top = Math.ceil((life.even * 2) / 10) * 10
  writeFileSync(new URL('fleet-restart.svg', docs), plot({
    title: `Requests per second at the source after ${setting.clients.toLocaleString('en')} clients restart within 10 s`,
    x: { label: 'hours since the restart', ticks: [0, 0.5, 1, 1.5, 2, 2.5, 3] },
    y: { label: 'requests per second', ticks: steps(top, 4) },
    lines: [
      { name: 'with a store', colour: '#1f6feb', points: hours(life.series.restart) },
      { name: "no store, firstRefresh: 'spread'", colour: '#bf8700', points: hours(spread.series.whole) },
      { name: `no store: all at once (peak ${Math.round(cold.peakOverEven * cold.even).toLocaleString('en')})`, colour: '#cf222e', points: hours(cold.series.whole) }
    ]
  }))
  writeFileSync(new URL('fleet-rollout.svg', docs), plot({
    title: 'Clients that have a new set',
    x: { label: 'minutes since it was published', ticks: [0, 10, 20, 30, 40, 50, 60, 70] },
    y: { label: 'share of the clients', ticks: [0, 0.25, 0.5, 0.75, 1], show: (value) => `${value * 100} %` },
    lines: [
      { name: 'source up all the time', colour: '#1f6feb', points: life.series.rollout.map(([second, share]) => [second / 60, share]) },
      { name: 'published as a 2-hour outage ends', colour: '#cf222e', points: life.series.recovery.map(([second, share]) => [second / 60, share]) }
    ]
  }))
  writeFileSync(new URL('fleet-outage.svg', docs), plot({
    title: 'Requests per second at the source, which is down for two hours',
    x: { label: 'hours', ticks: Array.from({ length: Math.round(inHours(marks.end)) + 1 }, (_, hour) => hour) },
    y: { label: 'requests per second', ticks: steps(Math.ceil((life.outage.peakOverEven * life.even) / 50) * 50, 5) },
    lines: [{ name: 'requests, answered or not', colour: '#1f6feb', points: hours(life.series.whole) }],
    marks: [{ at: inHours(marks.published), text: 'new set' }, { at: inHours(marks.down), text: 'down' }, { at: inHours(marks.back), text: 'back' }]
  }))
  const page = new URL('fleet.md', docs)
  writeFileSync(page, readFileSync(page, 'utf8').replace(/(<!-- figures -->\n)[^]*(<!-- \/figures -->)/, (_, before, after) => `${before}${table()}\n${after}`))
}

/**
 * @param {number} top
 * @param {number} count
 */
function steps(top, count) {
  return Array.from({ length: count + 1 }, (_, index) => (top / count) * index)
}
