// node --expose-gc bench/growth.mjs: what grows with connections, hosts and requests. Written into bench/growth.json.
import { fork } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import axios from 'axios'
import { createPinning } from 'axios-ssl-pinning'
import { repeat } from './measure.mjs'

const here = (/** @type {string} */ name) => fileURLToPath(new URL(name, import.meta.url))
const server = fork(here('server.mjs'))
const { servers, ca } = await new Promise((resolve) => server.once('message', resolve))
const { port, fingerprint, pin } = servers[0]
const long = process.argv.includes('--long')

/** @param {Record<string, unknown>} [options] */
function start(options = {}) {
  const pinning = createPinning({ pins: { localhost: [fingerprint, pin] }, tls: { ca }, proxy: false, ...options })
  const api = axios.create({ baseURL: `https://localhost:${port}` })
  pinning.attach(api)
  return { api, pinning }
}

/** @param {() => Promise<unknown>} operation @param {number} count @param {number} concurrency */
async function timed(operation, count, concurrency) {
  /** @type {number[]} */
  const millis = []
  const started = performance.now()
  await repeat(count, concurrency, async () => {
    const at = performance.now()
    await operation()
    millis.push(performance.now() - at)
  })
  const perRequest = (performance.now() - started) / count
  millis.sort((a, b) => a - b)
  const at = (/** @type {number} */ q) => round(millis[Math.min(millis.length - 1, Math.floor(millis.length * q))] ?? NaN)
  for (let i = 0; i < 3; i++) global.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return { perRequestMs: round(perRequest), p50: at(0.5), p99: at(0.99), max: at(1), memoryMB: round((heapUsed + external) / 1e6) }
}

const round = (/** @type {number} */ value) => Math.round(value * 1000) / 1000

/** @type {Record<string, unknown[]>} */
const grown = { connections: [], hosts: [], requests: [], resets: [] }
for (const concurrency of [1, 10, 100, 1_000]) {
  const { api, pinning } = start()
  await timed(() => api.get('/'), concurrency, concurrency)
  grown['connections']?.push({ concurrency, ...(await timed(() => api.get('/'), Math.max(2_000, concurrency * 2), concurrency)) })
  await pinning.close()
}
for (const hosts of [1, 1_000, 100_000]) {
  const others = Object.fromEntries(Array.from({ length: hosts }, (_, i) => [`host-${i}.example.com`, [`sha256/${Buffer.alloc(32, String(i)).toString('base64')}`, pin]]))
  const { api, pinning } = start({ pins: { ...others, localhost: [fingerprint, pin] } })
  await timed(() => api.get('/'), 200, 8)
  grown['hosts']?.push({ hosts, ...(await timed(() => api.get('/'), 3_000, 8)) })
  await pinning.close()
}
{
  const { api, pinning } = start()
  for (const requests of [10, 1_000, 10_000, ...(long ? [100_000, 1_000_000] : [])]) grown['requests']?.push({ requests, ...(await timed(() => api.get('/'), requests, 16)) })
  await pinning.close()
}
{
  const { api, pinning } = start()
  let refusedAt = 0
  grown['resets']?.push({ resetOneIn: 10, ...(await timed(() => api.get(++refusedAt % 10 === 0 ? '/reset' : '/').catch(() => undefined), 5_000, 16)) })
  await pinning.close()
}
for (const [name, rows] of Object.entries(grown)) {
  console.log(name)
  console.table(rows)
}
writeFileSync(here('growth.json'), `${JSON.stringify({ node: process.version, grown }, null, 1)}\n`)
server.disconnect()
process.exit()
