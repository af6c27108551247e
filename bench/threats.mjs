// What the threat monitor says of generated traces whose truth is known, and what it costs.
//
//   node bench/threats.mjs [--runs 200] [--seed 1] [--json]
//
// The same seed gives the same table. Needs a build (npm run build); --expose-gc measures memory as well.
import { parseArgs } from 'node:util'
import { ThreatMonitor } from '../dist/modules/esm/report/threat-monitor.js'

const { values } = parseArgs({ options: { runs: { type: 'string', default: '200' }, seed: { type: 'string', default: '1' }, json: { type: 'boolean', default: false } } })
const runs = Number(values.runs)
const seed = Number(values.seed)

const hour = 3_600_000
const day = 24 * hour
const start = Date.UTC(2027, 0, 1)
/** Connections before anything happens, and after it has begun. */
const quiet = 500
const after = 600

/** mulberry32: small, and the same everywhere. */
function randomOf(/** @type {number} */ state) {
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/**
 * @typedef {{ leaf: string, issuer: string, issuerKey: string, ageDays: number, failure?: string, interceptor?: string }} Peer
 * @typedef {{ title: string, truth: 'owner' | 'attack', hosts?: number, peer: (i: number, random: () => number, host: number) => Peer | undefined }} Scenario
 */

/** @returns {Peer} */
const owner = (leaf = 'new', more = {}) => ({ leaf, issuer: 'Public CA A', issuerKey: 'a1', ageDays: 0.1, ...more })
/** @returns {Peer} */
const otherCa = (leaf = 'new', more = {}) => ({ leaf, issuer: 'Public CA B', issuerKey: 'b1', ageDays: 0.1, ...more })
/** @returns {Peer} */
const untrusted = (leaf = 'fake', more = {}) => ({ leaf, issuer: 'Local Proxy CA', issuerKey: 'x1', ageDays: 0.01, failure: 'untrusted', ...more })
/** @returns {Peer} */
const trustedLocally = (leaf = 'fake', more = {}) => ({ leaf, issuer: 'Company Root', issuerKey: 'y1', ageDays: 0.01, ...more })

/** Somebody's captive portal, once. @returns {Peer} */
const stray = (/** @type {number} */ number) => untrusted(`stray ${number}`, { issuer: `Stray ${number}`, issuerKey: `s${number}` })

// `peer` is asked for each connection after the beginning: what it shows, when it fails; `undefined` when it is the pinned one.
/** @type {Scenario[]} */
const scenarios = [
  { title: 'nothing: one connection in 500 meets a stranger', truth: 'owner', peer: (_i, random) => (random() < 0.002 ? stray(random()) : undefined) },
  { title: 'rotation: every connection, same CA', truth: 'owner', peer: () => owner() },
  { title: 'rotation: every connection, another CA', truth: 'owner', peer: () => otherCa() },
  { title: 'rotation: every server has a key of its own, same CA', truth: 'owner', peer: (_i, random) => owner(`edge ${Math.floor(random() * 20)}`) },
  { title: 'staged rollout over 400 connections, same CA', truth: 'owner', peer: (i, random) => (random() < i / 400 ? owner() : undefined) },
  { title: 'staged rollout over 400 connections, another CA', truth: 'owner', peer: (i, random) => (random() < i / 400 ? otherCa() : undefined) },
  { title: 'second CDN from now on, 35 %, its certificate three weeks old', truth: 'owner', peer: (_i, random) => (random() < 0.35 ? otherCa('cdn', { ageDays: 21 }) : undefined) },
  { title: 'two CDNs that flap in blocks of 25', truth: 'owner', peer: (i) => (Math.floor(i / 25) % 2 ? otherCa('cdn', { ageDays: 21 }) : undefined) },
  { title: 'the certificate has expired', truth: 'owner', peer: () => ({ ...owner('old'), failure: 'expired', ageDays: 90 }) },
  { title: 'the intermediate is no longer sent', truth: 'owner', peer: () => ({ ...owner('old'), failure: 'untrusted', ageDays: 30 }) },
  { title: 'intercepting Wi-Fi for 60 connections, untrusted CA', truth: 'attack', peer: (i) => (i < 60 ? untrusted() : undefined) },
  { title: 'interceptor known by name, its CA trusted', truth: 'attack', peer: () => trustedLocally('fake', { interceptor: 'mitmproxy' }) },
  { title: 'interceptor without a name, its CA trusted, 8 hosts', truth: 'attack', hosts: 8, peer: (_i, _random, host) => trustedLocally(`fake ${host}`) },
  { title: 'interceptor without a name, its CA trusted, 1 host', truth: 'attack', peer: () => trustedLocally() },
  { title: 'partial (BGP): 20 % of 300 connections, another CA', truth: 'attack', peer: (i, random) => (i < 300 && random() < 0.2 ? otherCa('stolen') : undefined) },
  { title: 'partial (BGP): 5 % of 600 connections, another CA', truth: 'attack', peer: (_i, random) => (random() < 0.05 ? otherCa('stolen') : undefined) },
  { title: 'partial (BGP): 20 % of 300 connections, the same CA', truth: 'attack', peer: (i, random) => (i < 300 && random() < 0.2 ? owner('stolen') : undefined) },
  { title: 'every connection, another CA, a valid certificate', truth: 'attack', peer: () => otherCa('stolen') },
  { title: 'a new key for every connection, untrusted', truth: 'attack', peer: (i) => untrusted(`fake ${i}`) }
]

/** One trace: which kinds were said, and after how many connections to any of its hosts since the beginning. */
function run(/** @type {Scenario} */ scenario, /** @type {number} */ number) {
  const random = randomOf(seed * 1_000_003 + number)
  const hosts = scenario.hosts ?? 1
  /** @type {Map<string, number>} */
  const first = new Map()
  let since = 0
  let before = 0
  const monitor = new ThreatMonitor(({ kind }) => {
    if (since === 0) before++
    else if (!first.has(kind)) first.set(kind, since)
  })
  const good = { leaf: 'old', issuer: 'Public CA A', issuerKey: 'a1', ageDays: 30 }
  for (let i = -quiet; i < after; i++) {
    const time = start + (i + quiet) * 30_000
    for (let host = 0; host < hosts; host++) {
      if (i >= 0) since++
      const peer = i >= 0 ? scenario.peer(i, random, host) : random() < 0.001 ? stray(random()) : undefined
      const { leaf, issuer, issuerKey, ageDays, failure = 'pins', interceptor } = /** @type {Peer} */ (peer ?? good)
      monitor.observe({ host: `host${host}.example:443`, accepted: peer === undefined, leaf, time, facts: () => ({ issuer, issuerKey, issued: time - ageDays * day, interceptor, failure: /** @type {import('../lib/report/host-trend.js').Failure} */ (failure) }) })
    }
  }
  return { first, before }
}

function median(/** @type {number[]} */ numbers, part = 0.5) {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted.length === 0 ? undefined : sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]
}

const rows = scenarios.map((scenario) => {
  const results = Array.from({ length: runs }, (_, number) => run(scenario, number))
  const share = (/** @type {string[]} */ kinds) => results.filter(({ first }) => kinds.some((kind) => first.has(kind))).length / runs
  const delays = (/** @type {string[]} */ kinds) => results.flatMap(({ first }) => { const found = kinds.flatMap((kind) => first.get(kind) ?? []); return found.length > 0 ? [Math.min(...found)] : [] })
  const attack = delays(['attack', 'interception'])
  const any = delays(['rotation', 'unexplained', 'attack', 'interception'])
  return {
    title: scenario.title, truth: scenario.truth,
    attack: share(['attack', 'interception']), rotation: share(['rotation']), unexplained: share(['unexplained']), silent: 1 - share(['rotation', 'unexplained', 'attack', 'interception']),
    anyMedian: median(any), anyLate: median(any, 0.95), attackMedian: median(attack), attackLate: median(attack, 0.95),
    before: results.reduce((sum, { before }) => sum + before, 0)
  }
})

/** What it costs: nearly all accepted, over 100 hosts; one in a hundred refused. */
function measureCost() {
  const random = randomOf(seed)
  const monitor = new ThreatMonitor(() => undefined)
  const names = Array.from({ length: 100 }, (_, i) => `host${i}.example:443`)
  const facts = () => ({ issuer: 'Public CA A', issuerKey: 'a1', issued: 0, interceptor: undefined, failure: /** @type {const} */ ('pins') })
  const samples = Array.from({ length: 200_000 }, (_, i) => ({ host: /** @type {string} */ (names[Math.floor(random() * 100)]), accepted: random() >= 0.01, leaf: 'leaf', time: start + i, facts }))
  const times = []
  for (let round = 0; round < 7; round++) {
    const from = process.hrtime.bigint()
    for (const sample of samples) monitor.observe(sample)
    times.push(Number(process.hrtime.bigint() - from) / samples.length / 1_000)
  }
  times.sort((a, b) => a - b)
  return { bestUs: /** @type {number} */ (times[0]), medianUs: /** @type {number} */ (times[3]), worstUs: /** @type {number} */ (times[6]) }
}

/** Of hosts that have each shown several certificates, accepted and refused. */
function measureMemory() {
  const gc = /** @type {(() => void) | undefined} */ (/** @type {any} */ (globalThis).gc)
  if (gc === undefined) return undefined
  const count = 20_000
  // As long as a fingerprint, and of its own.
  const fingerprints = (/** @type {string} */ text) => Buffer.from(text.padEnd(95, '0')).toString('latin1')
  const fill = (/** @type {ThreatMonitor} */ monitor) => {
    for (let i = 0; i < count; i++) {
      for (const [leaf, accepted] of /** @type {const} */ ([['a', true], ['b', true], ['c', false], ['d', false], ['e', false]])) {
        monitor.observe({ host: `host${i}.example:443`, accepted, leaf: fingerprints(`${leaf}${i}`), time: start, facts: () => ({ issuer: `Public CA ${leaf}`, issuerKey: leaf, issued: 0, interceptor: undefined, failure: 'pins' }) })
      }
    }
  }
  gc()
  const before = process.memoryUsage().heapUsed
  const monitor = new ThreatMonitor(() => undefined, count)
  fill(monitor)
  gc()
  const bytes = (process.memoryUsage().heapUsed - before) / count
  return [...monitor.trends()].length === count ? bytes : NaN
}

const cost = measureCost()
const bytesPerHost = measureMemory()

if (values.json) console.log(JSON.stringify({ runs, seed, rows, cost, bytesPerHost }))
else {
  const percent = (/** @type {number} */ part) => (part === 0 ? '0' : `${Math.round(part * 100)} %`)
  const delay = (/** @type {number | undefined} */ a, /** @type {number | undefined} */ b) => (a === undefined ? '' : `${a} (${b})`)
  console.log(`| trace | truth | said: attack | rotation | unexplained | nothing | first word after | attack said after |\n|---|---|---|---|---|---|---|---|`)
  for (const row of rows) console.log(`| ${row.title} | ${row.truth} | ${percent(row.attack)} | ${percent(row.rotation)} | ${percent(row.unexplained)} | ${percent(row.silent)} | ${delay(row.anyMedian, row.anyLate)} | ${delay(row.attackMedian, row.attackLate)} |`)
  console.log(`\n${runs} traces each, seed ${seed}; delays in connections: median (95 of 100 within). Threats said in the ${quiet} connections before: ${rows.reduce((sum, { before }) => sum + before, 0)} in ${rows.length * runs} traces.`)
  console.log(`Cost: ${cost.medianUs.toFixed(2)} µs per connection (${cost.bestUs.toFixed(2)} to ${cost.worstUs.toFixed(2)} in 7 rounds of 200,000)${bytesPerHost === undefined ? '' : `; ${Math.round(bytesPerHost)} bytes per host`}. Node ${process.version}.`)
}
