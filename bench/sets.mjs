// What is measured; see run.mjs, which starts this with the benchmark's CA in the default trust store.
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { cpus, release } from 'node:os'
import { fileURLToPath } from 'node:url'
import axios from 'axios'
import { PolicySet } from '../dist/modules/esm/policy/policy-set.js'
import { pinned, recipe, recipePerRequest, refused, undici, unpinned } from './contestants.mjs'
import { repeat, sideBySide, spread } from './measure.mjs'
import { writeReport } from './report.mjs'

const { servers, proxy, ca, caPin, caPem } = JSON.parse(process.argv[2] ?? '{}')
const short = process.argv.includes('--short')
const only = process.argv[process.argv.indexOf('--only') + 1]
const wanted = (/** @type {string} */ name) => !process.argv.includes('--only') || name.includes(only ?? '')
const rounds = Number(process.env["BENCH_ROUNDS"] ?? (short ? 7 : 11))
const scale = Number(process.env["BENCH_SCALE"] ?? (short ? 0.25 : 1))

/** @typedef {import('./measure.mjs').Score} Score */
/** @type {Array<{ name: string, unit: string, scores: Score[] }>} */
const results = []
/** @type {Record<string, any>} */
const figures = {}

/** @param {string} name @param {string} unit @param {number} count @param {number} concurrency @param {Array<ReturnType<typeof unpinned>>} clients @param {(client: ReturnType<typeof unpinned>) => Promise<unknown>} operation @param {number} [least] */
async function compare(name, unit, count, concurrency, clients, operation, least = 20) {
  if (!wanted(name)) return void (await Promise.all(clients.map(({ close }) => close())))
  const contestants = clients.map((client) => ({ name: client.name, run: (/** @type {number} */ times) => repeat(times, concurrency, () => operation(client)), close: client.close }))
  // Of requests what is compared is the speed that a program has after its first second, not that of its compiler; and more
  // rounds, since the differences are small.
  const settings = unit === 'requests' ? { rounds: rounds * 2, warm: 2_000 } : { rounds }
  const scores = await sideBySide(contestants, { ...settings, count: Math.max(least, Math.round(count * scale)) })
  results.push({ name, unit, scores })
  console.log(`\n${name} (${unit})`)
  for (const { name: who, perSecond, cpuMicros, ratio, cpuRatio, overRecipe } of scores) console.log(`  ${who.padEnd(40)} ${perSecond.toFixed(1).padStart(9)}/s  ${cpuMicros.toFixed(0).padStart(7)} µs CPU  ×${show(ratio)}  CPU ×${show(cpuRatio)}${overRecipe ? `  recipe ×${show(overRecipe)}` : ''}`)
}

/** @param {import('./measure.mjs').Spread} spread */
function show({ median, low, high }) {
  return `${median.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`
}

if (process.argv.includes('--guard')) process.exit((await guard()) || (await guard()) ? 0 : 1)

const p256 = servers[0]
const url = `https://localhost:${p256.port}/`
const kinds = /** @type {const} */ (['leaf', 'SPKI', 'CA'])
const own = { ca, caPin, caPem }
const byDefault = { ca: undefined, caPin, caPem }

for (const concurrency of [1, 64]) {
  const clients = [unpinned(own), ...kinds.map((kind) => pinned(kind, p256, own)), recipe(p256, own), undici(p256, own)]
  await compare(`kept-alive, ${concurrency === 1 ? 'one at a time' : `${concurrency} at once`}`, 'requests', concurrency === 1 ? 600 : 1200, concurrency, clients, (client) => client.get(url))
}

{
  const intercepted = { ...own, interceptor: true }
  await compare('kept-alive, with an interceptor', 'requests', 600, 1, [unpinned(intercepted), ...kinds.map((kind) => pinned(kind, p256, intercepted))], (client) => client.get(url))
}

for (const server of servers) {
  for (const [trust, setting] of /** @type {const} */ ([['default trust store', byDefault], ['ca option', own]])) {
    const fresh = { ...setting, keepAlive: false, sessions: false }
    await compare(`full handshakes, ${server.kind}, ${trust}`, 'connections', 160, 1, [unpinned(fresh), ...kinds.map((kind) => pinned(kind, server, fresh)), pinned('CA as PEM', server, fresh), recipe(server, fresh), recipePerRequest(server, fresh), undici(server, fresh)], (client) => client.get(`https://localhost:${server.port}/`))
  }
}

for (const concurrency of [1, 16]) {
  for (const [trust, setting] of /** @type {const} */ ([['default trust store', byDefault], ['ca option', own]])) {
    const resuming = { ...setting, keepAlive: false }
    await compare(`resumed connections, ${trust}${concurrency === 1 ? '' : `, ${concurrency} at once`}`, 'connections', concurrency === 1 ? 240 : 480, concurrency, [unpinned(resuming), ...kinds.map((kind) => pinned(kind, p256, resuming)), recipe(p256, resuming)], (client) => client.get(url))
  }
}

{
  const through = { ...own, proxy }
  await compare('through a proxy, kept-alive', 'requests', 300, 1, [unpinned(through), ...kinds.map((kind) => pinned(kind, p256, through))], (client) => client.get(url))
  const fresh = { ...through, keepAlive: false }
  await compare('through a proxy, new connections', 'connections', 120, 1, [unpinned(fresh), ...kinds.map((kind) => pinned(kind, p256, fresh))], (client) => client.get(url))
}

{
  const body = Buffer.alloc(100 * 1024 * 1024, 'x')
  const drain = (/** @type {any} */ answer) => new Promise((resolve, reject) => (answer.data?.on ? answer.data.resume().on('end', resolve).on('error', reject) : resolve(undefined)))
  const clients = () => [unpinned(own), ...kinds.map((kind) => pinned(kind, p256, own))]
  await compare('100 MB downloads', 'downloads', 4, 1, clients(), (client) => client.get(`${url}big`, { responseType: 'stream' }).then(drain), 1)
  await compare('100 MB uploads', 'uploads', 4, 1, clients(), (client) => client.post(url, body), 1)
}

{
  await compare('a refused handshake', 'connections', 160, 1, [pinned('leaf', p256, { ...own, keepAlive: false, sessions: false }), refused(p256, own)], (client) => client.get(url))
}

if (wanted('look-up')) {
  const fake = (/** @type {number} */ i) => Buffer.alloc(32, String(i)).toString('base64')
  /** @type {Array<{ hosts: number, lookupNanos: number, buildMs: number, bytesPerHost: number }>} */
  const lookups = []
  for (const hosts of [10, 1_000, 100_000]) {
    global.gc?.()
    const before = process.memoryUsage().heapUsed
    const pins = Object.fromEntries(Array.from({ length: hosts }, (_, i) => [`host-${i}.example.com`, [`sha256/${fake(i)}`, `sha256/${fake(i + 1)}`]]))
    const started = performance.now()
    const policies = new PolicySet({ pins }, 1)
    const buildMs = performance.now() - started
    global.gc?.()
    const bytesPerHost = (process.memoryUsage().heapUsed - before) / hosts
    const names = Array.from({ length: 1_000 }, (_, i) => `host-${(i * 97) % hosts}.example.com`)
    const samples = []
    for (let round = 0; round < rounds; round++) {
      const at = performance.now()
      for (let i = 0; i < 200_000; i++) policies.find(/** @type {string} */ (names[i % 1_000]), 443)
      samples.push(((performance.now() - at) / 200_000) * 1e6)
    }
    lookups.push({ hosts, lookupNanos: Math.round(spread(samples).median), buildMs: Math.round(buildMs * 10) / 10, bytesPerHost: Math.round(bytesPerHost) })
  }
  figures['lookups'] = lookups
  console.table(lookups)
}

if (wanted('memory')) {
  global.gc?.()
  const clients = [unpinned(own), pinned('leaf', p256, own)]
  /** @type {Record<string, number>} */
  const perIdle = {}
  for (const client of clients) {
    await repeat(10, 10, () => client.get(url))
    global.gc?.()
    const before = process.memoryUsage()
    await repeat(200, 200, () => client.get(url))
    await new Promise((resolve) => setTimeout(resolve, 50))
    global.gc?.()
    const after = process.memoryUsage()
    perIdle[client.name] = Math.round((after.heapUsed + after.external - before.heapUsed - before.external) / 190)
  }
  figures['bytesPerIdleConnection'] = perIdle
  console.table(perIdle)
  for (const client of clients) await client.close()
}

if (wanted('cold start')) {
  // Milliseconds, and what was loaded: files by require.cache, parts of Node by its own list.
  const script = (/** @type {string} */ names) => `const started = performance.now(); ${names}; const ms = performance.now() - started; console.log(JSON.stringify({ ms, files: globalThis.require ? Object.keys(require.cache).length : 0, builtIns: process.moduleLoadList.length }))`
  const kinds = { esm: ["await import('axios')", "await import('axios-ssl-pinning')"], cjs: ["globalThis.require = require; require('axios')", "require('axios-ssl-pinning')"] }
  const cwd = fileURLToPath(new URL('..', import.meta.url))
  const start = (/** @type {string} */ kind, /** @type {string} */ names) => JSON.parse(spawnSync(process.execPath, [...(kind === 'esm' ? ['--input-type=module'] : []), '-e', script(names)], { encoding: 'utf8', cwd, env: { ...process.env, NODE_EXTRA_CA_CERTS: '' } }).stdout)
  for (const [kind, [alone, ours]] of Object.entries(kinds)) {
    const pairs = Array.from({ length: short ? 9 : 31 }, () => [start(kind, String(alone)), start(kind, `${alone}; ${ours}`)])
    const over = spread(pairs.map(([base, both]) => both.ms - base.ms))
    const [base, both] = /** @type {any[]} */ (pairs[0])
    figures['coldStart'] = { ...figures['coldStart'], [kind]: { over, ...(kind === 'cjs' && { files: both.files - base.files, builtIns: both.builtIns - base.builtIns }) } }
    console.log(`\ncold start over axios, ${kind}: ${over.median.toFixed(1)} ms (${over.low.toFixed(1)}–${over.high.toFixed(1)})`)
  }
}

const machine = { node: process.version, openssl: process.versions.openssl, axios: axios.VERSION, cpu: cpus()[0]?.model.trim(), cores: cpus().length, kernel: release(), date: new Date().toISOString().slice(0, 10), rounds }
const file = (/** @type {string} */ name) => fileURLToPath(new URL(name, import.meta.url))
if (!short && !process.argv.includes('--only')) {
  writeFileSync(file('results.json'), `${JSON.stringify({ machine, results, figures }, null, 1)}\n`)
  writeReport({ machine, results, figures })
}

/**
 * The short form for CI: only what is outside the noise counts, so a set is lost when three quarters of its rounds are, in
 * the client's CPU time, which waits for nobody; and all is done once more before that is believed.
 */
async function guard() {
  const [server] = servers
  const target = `https://localhost:${server.port}/`
  const setting = { ca, caPin, caPem }
  const intercepted = { ...setting, interceptor: true }
  const fresh = { ...setting, keepAlive: false, sessions: false }
  const resuming = { ...setting, keepAlive: false }
  const sets = [
    { name: 'kept-alive', most: 1.06, count: 200, rounds: 21, clients: [unpinned(setting), pinned('leaf', server, setting), pinned('CA', server, setting)] },
    { name: 'kept-alive, with an interceptor', most: 1.15, count: 200, rounds: 21, clients: [unpinned(intercepted), pinned('leaf', server, intercepted)] },
    { name: 'full handshakes', most: 0.97, count: 60, rounds: 9, clients: [unpinned(fresh), pinned('leaf', server, fresh), pinned('CA', server, fresh)] },
    { name: 'resumed connections', most: 0.93, count: 80, rounds: 9, clients: [unpinned(resuming), pinned('leaf', server, resuming), pinned('CA', server, resuming)] },
    { name: 'a refused handshake', most: 1.25, count: 60, rounds: 9, clients: [pinned('leaf', server, fresh), refused(server, fresh)] }
  ]
  let good = true
  for (const { name, most, count, rounds, clients } of sets) {
    const scores = await sideBySide(clients.map((client) => ({ name: client.name, run: (/** @type {number} */ times) => repeat(times, 1, () => client.get(target)), close: client.close })), { rounds, count, warm: name.startsWith('kept-alive') ? 1_600 : 50 })
    for (const { name: who, cpuRatio } of scores.slice(1)) {
      const lost = cpuRatio.low > most
      console.log(`${name}, ${who}: CPU ×${show(cpuRatio)}, at most ${most}${lost ? ': too slow' : ''}`)
      good &&= !lost
    }
  }
  return good
}
