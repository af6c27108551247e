// npm run bench:growth [-- --long]: what grows with connections, hosts, pins, requests and the length of the chain. Written into
// bench/growth.json and docs/performance.md.
import { fork } from 'node:child_process'
import { cpus } from 'node:os'
import { writeFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { fileURLToPath } from 'node:url'
import axios from 'axios'
import { createPinning } from 'axios-ssl-pinning'
import { repeat } from './measure.mjs'
import { writeGrowth } from './report.mjs'

const here = (/** @type {string} */ name) => fileURLToPath(new URL(name, import.meta.url))
const server = fork(here('server.mjs'))
const { servers, chains, ca, caPin } = await new Promise((resolve) => server.once('message', resolve))
const { port, fingerprint, pin } = servers[0]
const long = process.argv.includes('--long')

/** @param {Record<string, unknown>} [options] @param {number} [at] the server's port */
function start(options = {}, at = port) {
  const pinning = createPinning({ pins: { localhost: [fingerprint, pin] }, tls: { ca }, proxy: false, ...options })
  const api = axios.create({ baseURL: `https://localhost:${at}` })
  pinning.attach(api)
  return { get: (/** @type {string} */ path) => api.get(path), close: () => pinning.close() }
}

/** What it is measured against. @param {{ keepAlive?: boolean }} [options] */
function startPlain(options, at = port) {
  const agent = new Agent({ keepAlive: true, ca, ...options })
  const api = axios.create({ baseURL: `https://localhost:${at}`, httpsAgent: agent, proxy: false })
  return { get: (/** @type {string} */ path) => api.get(path), close: () => Promise.resolve(agent.destroy()) }
}

/** @param {() => Promise<unknown>} operation @param {number} count @param {number} concurrency */
async function timed(operation, count, concurrency) {
  // Of so many no list is kept, which would be what grows: every hundredth of a long run is enough.
  const each = Math.max(1, Math.floor(count / 20_000))
  /** @type {number[]} */
  const millis = []
  const started = performance.now()
  let done = 0
  let longest = 0
  await repeat(count, concurrency, async () => {
    const at = performance.now()
    await operation()
    const took = performance.now() - at
    longest = Math.max(longest, took)
    if (done++ % each === 0) millis.push(took)
  })
  const perRequest = (performance.now() - started) / count
  millis.sort((a, b) => a - b)
  const at = (/** @type {number} */ q) => round(millis[Math.min(millis.length - 1, Math.floor(millis.length * q))] ?? NaN)
  for (let i = 0; i < 3; i++) global.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return { 'ms per request': round(perRequest), p50: at(0.5), p99: at(0.99), max: round(longest), 'MB after': round((heapUsed + external) / 1e6) }
}

const round = (/** @type {number} */ value) => Math.round(value * 1000) / 1000

/** @type {Record<string, Array<Record<string, unknown>>>} */
const grown = {}
/** Plain and pinned after one another, so that both columns are of one minute. @param {string} name @param {Record<string, unknown>} what @param {Array<[string, () => ReturnType<typeof start>]>} clients @param {number} count @param {number} concurrency @param {number} [warm] @param {(get: (path: string) => Promise<unknown>) => () => Promise<unknown>} [operation] */
async function measure(name, what, clients, count, concurrency, warm = 400, operation = (get) => () => get('/')) {
  for (const [client, make] of clients) {
    const { get, close } = make()
    await timed(operation(get), Math.max(warm, concurrency), concurrency)
    const row = { ...what, client, ...(await timed(operation(get), count, concurrency)) }
    await close()
    ;(grown[name] ??= []).push(row)
    console.log(name, JSON.stringify(row))
  }
}

const pinned = (/** @type {Record<string, unknown>} */ options = {}, at = port) => /** @type {[string, () => ReturnType<typeof start>]} */ (['pinned', () => start(options, at)])
const plain = (/** @type {{ keepAlive?: boolean }} */ options = {}, at = port) => /** @type {[string, () => ReturnType<typeof start>]} */ (['plain', () => startPlain(options, at)])

for (const concurrency of [1, 10, 100, 1_000]) {
  // As many idle sockets as there are requests at once, so that none is closed for being one too many.
  await measure('connections', { 'at once': concurrency }, [plain(/** @type {object} */ ({ maxFreeSockets: 1_000 })), pinned({ agent: { maxFreeSockets: 1_000 } })], Math.max(3_000, concurrency * 6), concurrency)
}
for (const pins of [2, 20, 200, 2_000]) {
  const many = Array.from({ length: pins - 2 }, (_, i) => `sha256/${Buffer.alloc(32, `pin ${i}`).toString('base64')}`)
  await measure('pins of one host, new connections', { pins }, [pinned({ pins: { localhost: { publicKeys: [...many, pin, caPin] } }, agent: { keepAlive: false, maxCachedSessions: 0 } })], 300, 1, 50)
}
for (const { name, port: at, fingerprint: leaf, pin: authority } of [{ name: '1 intermediate', port, fingerprint, pin: caPin }, ...chains]) {
  const fresh = { keepAlive: false, maxCachedSessions: 0 }
  await measure('chain, new connections', { chain: name }, [plain(fresh, at), ['pinned: leaf', pinned({ pins: { localhost: [leaf, pin] }, agent: fresh }, at)[1]], ['pinned: CA', pinned({ pins: { localhost: { authorities: [authority, pin] } }, agent: fresh }, at)[1]]], 300, 1, 50)
}
await measure('one connection in ten is reset', { 'at once': 16 }, [plain(), pinned()], 5_000, 16, 400, (get) => {
  let count = 0
  return () => get(++count % 10 === 0 ? '/reset' : '/').catch(() => undefined)
})
{
  const { get, close } = start()
  for (const requests of [10, 100, 1_000, 10_000, ...(long ? [100_000, 1_000_000] : [])]) {
    const row = { requests, client: 'pinned', ...(await timed(() => get('/'), requests, 16)) }
    ;(grown['requests, one after another on one instance'] ??= []).push(row)
    console.log('requests', JSON.stringify(row))
  }
  await close()
}
// Last, since the policies themselves are what most of the memory is.
for (const hosts of [1, 10, 1_000, 10_000, 100_000]) {
  const others = Object.fromEntries(Array.from({ length: hosts }, (_, i) => [`host-${i}.example.com`, [`sha256/${Buffer.alloc(32, String(i)).toString('base64')}`, pin]]))
  await measure('hosts', { hosts }, [pinned({ pins: { ...others, localhost: [fingerprint, pin] } })], 4_000, 8)
}
const machine = { node: process.version, cpu: cpus()[0]?.model.trim(), cores: cpus().length, date: new Date().toISOString().slice(0, 10) }
writeFileSync(here('growth.json'), `${JSON.stringify({ machine, grown }, null, 1)}\n`)
writeGrowth({ machine, grown })
server.disconnect()
process.exit()
