// How long a signed set of many hosts takes to be verified and put in force, and how long it holds up the process.
// usage: node bench/pin-set.mjs [hosts] [rounds]   (after npm run build)
import { createHash, generateKeyPairSync } from 'node:crypto'
import { createPinning, signManifest } from 'axios-ssl-pinning'

const [hosts, rounds] = [Number(process.argv[2] ?? 10_000), Number(process.argv[3] ?? 20)]
const { publicKey, privateKey } = generateKeyPairSync('ed25519')
const pin = (/** @type {string} */ text) => `sha256/${createHash('sha256').update(text).digest('base64')}`
const at = (/** @type {number} */ ms) => new Date(Date.now() + ms).toISOString()
const texts = await Promise.all(
  Array.from({ length: rounds + 1 }, (_, index) =>
    signManifest({ version: index + 1, issued: at(0), expires: at(3_600_000), audience: 'bench', pins: Object.fromEntries(Array.from({ length: hosts }, (_, host) => [`h${host}.example.com`, [pin(`${host} ${index}`)]])) }, [privateKey])
  )
)
process.removeAllListeners('warning').on('warning', () => undefined)

let round = 0
const pinning = createPinning({
  pins: { 'h0.example.com': [pin('a'), pin('b')] },
  updates: { source: { name: 'bench', fetch: async () => ({ text: texts[round] }) }, trustedKeys: [publicKey], audience: 'bench', maxBytes: 67_108_864 }
})
await pinning.refresh()

let last = performance.now()
let longest = 0
let running = true
const beat = () => {
  const now = performance.now()
  longest = Math.max(longest, now - last)
  last = now
  if (running) setImmediate(beat)
}
setImmediate(beat)

const results = []
for (round = 1; round <= rounds; round++) {
  await new Promise((resolve) => setTimeout(resolve, 20))
  longest = 0
  const started = performance.now()
  await pinning.refresh()
  results.push({ total: performance.now() - started, longest })
  if (pinning.status().updates?.version !== round + 1) throw new Error(pinning.status().updates?.lastError?.message)
}
running = false
await pinning.close()

const spread = (/** @type {number[]} */ values) => {
  const sorted = [...values].sort((a, b) => a - b)
  return [sorted[0], sorted[Math.floor(sorted.length / 2)], sorted.at(-1)].map((value) => value?.toFixed(1)).join(' / ')
}
console.log(`${hosts} hosts, ${(texts[0]?.length ?? 0) / 1e6} MB signed, ${rounds} sets after the first; ms, least / median / most`)
console.log(`verified and in force: ${spread(results.map(({ total }) => total))}`)
console.log(`longest pause of the event loop: ${spread(results.map(({ longest }) => longest))}`)
