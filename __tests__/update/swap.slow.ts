import axios from 'axios'
import { createHash } from 'node:crypto'
import { createPinning, findPinningError } from '../../lib/index.js'
import type { PinReport } from '../../lib/index.js'
import { runChild } from '../support/child.js'
import { holdings, until, wait } from '../support/clients.js'
import { HeldSource, createSigner, pinSet, sign } from '../support/pin-sets.js'
import { createAuthority } from '../support/pki.js'
import { startServer } from '../support/servers.js'

jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined)

const swaps = 1_000
const requests = 20_000

/** A pin that names the version it stands in. */
const markerOf = (version: number): string => `sha256/${createHash('sha256').update(`version ${version}`).digest('base64')}`

test('1,000 requests a second while the set is swapped 1,000 times: none judged by a mix, none lost', async () => {
  const root = createAuthority()
  const genuine = root.issue()
  const [server, impostor] = [await startServer({ certificate: genuine }), await startServer({ certificate: root.issue() })]
  const signer = createSigner()
  const texts: string[] = []
  for (let version = 1; version <= swaps; version++) texts.push(await sign(pinSet({ version, pins: { localhost: [genuine.pin, markerOf(version)] } }), signer))

  let next = 0
  const versionOf = new Map<number, number>()
  const mixed: string[] = []
  const seen = new Set<number>()
  const check = (report: PinReport): void => {
    const version = versionOf.get(report.policyRevision)
    if (version !== undefined) seen.add(version)
    if (version !== undefined && !(report.knownPins.length === 2 && report.knownPins.includes(genuine.pin) && report.knownPins.includes(markerOf(version)))) mixed.push(String(report))
  }
  const pinning = createPinning({
    pins: { localhost: [genuine.pin, markerOf(0)] },
    tls: { ca: root.pem },
    agent: { maxSockets: 4 },
    onValidCertificate: check,
    onBadCertificate: check,
    updates: {
      source: new HeldSource(() => texts[Math.min(next++, swaps - 1)] as string),
      trustedKeys: [signer.publicKey],
      audience: 'test',
      onUpdate: ({ revision, version }) => void (version !== undefined && versionOf.set(revision, version))
    }
  })
  const api = axios.create({ proxy: false })
  pinning.attach(api)

  const outcomes: Record<string, number> = {}
  let settled = 0
  const ask = async (index: number): Promise<void> => {
    const target = index % 100 === 0 ? impostor : server
    const outcome = await api.get(`${target.url}/${index}`).then(({ status }) => String(status), (error: unknown) => findPinningError(error)?.code ?? String(error))
    const name = `${target === server ? 'server' : 'impostor'} ${outcome}`
    outcomes[name] = (outcomes[name] ?? 0) + 1
    settled++
  }

  const started = performance.now()
  const asked: Array<Promise<void>> = []
  const swapping = (async () => {
    for (let swap = 0; swap < swaps; swap++) {
      await pinning.refresh()
      await wait(15)
    }
  })()
  // A thousand in each second, where the machine keeps up: a server that is overrun resets connections, pinned or not.
  for (let index = 0; index < requests; ) {
    const due = Math.min(requests, Math.ceil(performance.now() - started), settled + 100)
    for (; index < due; index++) asked.push(ask(index))
    await wait(5)
  }
  await Promise.all([...asked, swapping])
  const seconds = (performance.now() - started) / 1_000

  expect(outcomes).toEqual({ 'server 200': requests * 0.99, 'impostor ERR_PIN_MISMATCH': requests * 0.01 })
  expect(mixed).toEqual([])
  expect([impostor.decryptedBytes, impostor.requests.length]).toEqual([0, 0])
  expect(server.requests.length).toBe(requests * 0.99)
  expect(pinning.status().updates).toMatchObject({ version: swaps, state: 'current' })
  // Connections were judged under many of the sets, or the test would show little.
  expect(seen.size).toBeGreaterThan(swaps / 10)
  await until(() => holdings(pinning.agent).sockets === 0)
  const kept = holdings(pinning.agent)
  expect(kept.requests).toBe(0)
  expect(kept.freeSockets).toBeLessThanOrEqual(4)
  await until(() => server.openSockets <= kept.freeSockets && impostor.openSockets === 0)
  process.stdout.write(`${requests} requests in ${seconds.toFixed(1)} s, ${pinning.status().updates?.version} swaps, ${server.connections} connections\n`)
  await Promise.all([pinning.close(), server.close(), impostor.close()])
})

const leaking = `
  const { generateKeyPairSync, createHash } = require('node:crypto')
  const axios = require('axios')
  const { createPinning, signManifest } = await load('index.js')
  const { createAuthority, startHttpsServer } = await load('testing/index.js')
  const root = createAuthority()
  const certificate = root.issue()
  const server = await startHttpsServer(certificate)
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const pin = (text) => 'sha256/' + createHash('sha256').update(text).digest('base64')
  const at = (ms) => new Date(Date.now() + ms).toISOString()
  let version = 0
  const publish = () => signManifest({ version: ++version, issued: at(0), expires: at(1e7), audience: 'test', pins: { localhost: [certificate.pin, ...Array.from({ length: 200 }, (_, index) => pin(version + ' ' + index))] } }, [privateKey])
  const pinning = createPinning({ pins: { localhost: [certificate.pin, pin('')] }, tls: { ca: root.pem }, updates: { source: { name: 'test', fetch: async () => ({ text: await publish() }) }, trustedKeys: [publicKey], audience: 'test' } })
  const api = axios.create({ proxy: false })
  pinning.attach(api)
  const heap = []
  for (let swap = 1; swap <= 1000; swap++) {
    await pinning.refresh()
    await api.get(server.url)
    if (swap % 500 !== 0) continue
    for (let turn = 0; turn < 5; turn++) {
      gc()
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    heap.push(process.memoryUsage().heapUsed)
  }
  report({ heap, version: pinning.status().updates.version })
  await pinning.close()
  await server.close()
`

test('sets that are replaced are forgotten', async () => {
  const { code, stderr, reported } = await runChild(leaking, { nodeOptions: ['--expose-gc'], timeoutMs: 250_000 })
  expect([code, stderr]).toEqual([0, ''])
  expect(reported.version).toBeGreaterThanOrEqual(1_000)
  // 500 sets of 200 pins, if they were kept, would be 15 MB.
  expect(reported.heap[1] - reported.heap[0]).toBeLessThan(4_000_000)
})
