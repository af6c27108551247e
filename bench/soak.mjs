// npm run soak [-- <minutes>] (default one): nothing grows that should not. Requests of every kind go on without a pause: kept
// alive, on new connections, reset, aborted, refused, through a proxy, and over new pins. Fails when memory or open handles rise.
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import axios from 'axios'
import { createPinning } from 'axios-ssl-pinning'
import { spread } from './measure.mjs'

const server = fork(fileURLToPath(new URL('server.mjs', import.meta.url)))
const { servers, proxy, ca, caPin } = await new Promise((resolve) => server.once('message', resolve))
const [{ port, fingerprint, pin }, other] = servers
const url = `https://localhost:${port}/`
const minutes = Number(process.argv.slice(2).find((each) => /^[\d.]+$/.test(each)) ?? 1)

/** @param {Record<string, unknown>} options */
function start(options) {
  const pinning = createPinning({ pins: { localhost: [fingerprint, pin, other.pin] }, tls: { ca }, proxy: false, ...options })
  const api = axios.create()
  pinning.attach(api)
  return { api, pinning }
}

const keeping = start({})
const closing = start({ agent: { keepAlive: false } })
const tunnelling = start({ proxy: `http://127.0.0.1:${proxy}` })
const wrong = start({ pins: { localhost: [fingerprint.replace(/^../, '00'), fingerprint.replace(/^../, '01')] } })
const authority = start({ pins: { localhost: { authorities: [caPin, pin] } }, agent: { keepAlive: false, maxCachedSessions: 0 } })

const counts = { answered: 0, refused: 0, aborted: 0, reset: 0 }
/** @param {Promise<unknown>} request @param {string} [code] what it is to end with @param {keyof typeof counts} [kind] */
async function expect(request, code, kind = 'answered') {
  const ended = await request.then(() => undefined, (/** @type {any} */ error) => error.code)
  if (ended !== code) throw new Error(`ended with ${ended}, not with ${code}`)
  counts[kind]++
}

let revision = 0
const kinds = [
  () => expect(keeping.api.get(url)),
  () => expect(keeping.api.post(url, { some: 'data' })),
  () => expect(keeping.api.get(`https://localhost:${other.port}/`)),
  () => expect(closing.api.get(url)),
  () => expect(authority.api.get(url)),
  () => expect(tunnelling.api.get(url)),
  () => expect(wrong.api.get(url), 'ERR_PIN_MISMATCH', 'refused'),
  () => expect(keeping.api.get(`${url}reset`), 'ECONNRESET', 'reset'),
  () => {
    const controller = new AbortController()
    const request = closing.api.get(url, { signal: controller.signal })
    setImmediate(() => controller.abort())
    return expect(request, 'ERR_CANCELED', 'aborted')
  },
  () => {
    if (++revision % 20 === 0) keeping.pinning.update({ localhost: [fingerprint, pin, other.pin] })
    return Promise.resolve()
  }
]

let over = false
const worker = async () => {
  while (!over) for (const kind of kinds) await kind()
}

/** @returns {Promise<Array<{ bytes: number, handles: number }>>} */
async function sample() {
  const samples = []
  const ends = performance.now() + minutes * 60_000
  const every = Math.max(250, (minutes * 60_000) / 120)
  while (performance.now() < ends) {
    await new Promise((resolve) => setTimeout(resolve, every))
    for (let i = 0; i < 2; i++) global.gc?.()
    const { heapUsed, external } = process.memoryUsage()
    samples.push({ bytes: heapUsed + external, handles: process.getActiveResourcesInfo().length })
  }
  return samples
}

/** Whether something rose from the second third of the time to the last. The first is the warm-up: compilers, caches that are bounded, OpenSSL's own. */
async function grows() {
  const before = Object.values(counts).reduce((sum, count) => sum + count, 0)
  const samples = await sample()
  const requests = Object.values(counts).reduce((sum, count) => sum + count, 0) - before
  const third = Math.floor(samples.length / 3)
  const rise = (/** @type {'bytes' | 'handles'} */ what) => {
    const [middle, last] = [samples.slice(third, 2 * third), samples.slice(2 * third)].map((part) => spread(part.map((each) => each[what])))
    return { middle: middle?.median ?? NaN, last: last?.median ?? NaN, noise: (middle?.high ?? NaN) - (middle?.low ?? NaN) }
  }
  const [memory, handles] = [rise('bytes'), rise('handles')]
  const perRequest = (memory.last - memory.middle) / (requests / 3)
  console.log(`${requests} requests in ${minutes} min, ${revision} turns of pins; since the start ${JSON.stringify(counts)}`)
  console.log(`memory, median of the second and of the last third: ${(memory.middle / 1e6).toFixed(2)} and ${(memory.last / 1e6).toFixed(2)} MB (quartiles ${(memory.noise / 1e6).toFixed(2)} MB apart), ${perRequest.toFixed(1)} bytes per request`)
  console.log(`handles: ${handles.middle} and ${handles.last}`)
  // A leak of one small object per request would be a hundred bytes of it.
  return (perRequest > 50 && memory.last - memory.middle > Math.max(memory.noise, 500_000)) || handles.last > handles.middle + 20
}

const workers = Promise.all(Array.from({ length: 8 }, worker))
// What leaks goes on leaking; what is still warming up does not.
const watched = (async () => (await grows()) && (await grows()) && (await grows()))()
const grown = await Promise.race([watched, workers.then(() => true)])
over = true
await workers
for (const { pinning } of [keeping, closing, tunnelling, wrong, authority]) await pinning.close()
server.disconnect()
if (grown) console.error('Something grows that should not.')
process.exit(grown ? 1 : 0)
