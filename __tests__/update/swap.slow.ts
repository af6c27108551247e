import axios from 'axios'
import { createHash } from 'node:crypto'
import { createPinning, findPinningError } from '../../lib/index.js'
import type { PinReport } from '../../lib/index.js'
import { holdings, until, wait } from '../support/clients.js'
import { HeldSource, createSigner, pinSet, sign } from '../support/pin-sets.js'
import { createAuthority } from '../support/pki.js'
import { startServer } from '../support/servers.js'

jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined)

const swaps = 1_000
const requests = 20_000

/** A pin that names the version it stands in. */
const markerOf = (version: number): string => `sha256/${createHash('sha256').update(`version ${version}`).digest('base64')}`

test('1,000 requests a second while the set is swapped 1,000 times: none judged by a mix, none lost, no leak', async () => {
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
  const ask = async (index: number): Promise<void> => {
    const target = index % 100 === 0 ? impostor : server
    const outcome = await api.get(`${target.url}/${index}`).then(({ status }) => String(status), (error: unknown) => findPinningError(error)?.code ?? String(error))
    const name = `${target === server ? 'server' : 'impostor'} ${outcome}`
    outcomes[name] = (outcomes[name] ?? 0) + 1
  }

  const started = performance.now()
  const asked: Array<Promise<void>> = []
  const heap: number[] = []
  const swapping = (async () => {
    for (let swap = 0; swap < swaps; swap++) {
      await pinning.refresh()
      await wait(15)
      if (swap % 100 === 99) heap.push(process.memoryUsage().heapUsed)
    }
  })()
  // A thousand in each second, whether or not earlier ones are done.
  for (let index = 0; index < requests; ) {
    const due = Math.min(requests, Math.ceil(performance.now() - started))
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
  // A set holds two pins; a thousand of them that were kept would be seen.
  expect((heap.at(-1) as number) - (heap[1] as number)).toBeLessThan(40_000_000)
  process.stdout.write(`${requests} requests in ${seconds.toFixed(1)} s, ${pinning.status().updates?.version} swaps, ${server.connections} connections, heap after each 100 swaps: ${heap.map((bytes) => (bytes / 1e6).toFixed(0)).join(' ')} MB\n`)
  await Promise.all([pinning.close(), server.close(), impostor.close()])
})
