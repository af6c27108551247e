import axios from 'axios'
import { X509Certificate } from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createPinning, pinAxios } from '../../lib/index.js'
import type { PinReport, PinViolation, Pinning, PinningOptions, PinningStatus } from '../../lib/index.js'
import { ConnectionEvent } from '../../lib/report/events.js'
import { DeliveryRefused, ReportQueue } from '../../lib/report/report-queue.js'
import type { QueueSettings } from '../../lib/report/report-queue.js'
import { readReportTo } from '../../lib/report/report-to.js'
import type { Verdict } from '../../lib/report/report.js'
import { PinMismatchError } from '../../lib/errors.js'
import { PolicySet } from '../../lib/policy/policy-set.js'
import { TrustAnchors } from '../../lib/verify/anchors.js'
import { PeerRecord } from '../../lib/verify/records.js'
import { runChild } from '../support/child.js'
import { send, until, wait } from '../support/clients.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startProxy } from '../support/proxies.js'
import type { TestProxy } from '../support/proxies.js'
import { startPlainServer, startServer, startStalledServer } from '../support/servers.js'
import type { TestServer } from '../support/servers.js'

const root = createAuthority({ name: 'Test Root' })
const genuine = root.issue()
const stranger = root.issue()
const backup = createSelfSigned()
const anchors = new TrustAnchors(root.pem, false)

let impostor: TestServer
const pinnings: Pinning[] = []
const servers: Array<{ close(): Promise<void> }> = []

beforeAll(async () => void (impostor = await startServer({ certificate: stranger })))
beforeEach(() => void jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined))
afterEach(async () => {
  await Promise.all([...pinnings.splice(0), ...servers.splice(0)].map((each) => each.close()))
})
afterAll(() => impostor.close())

function pinned(options: Partial<PinningOptions>): Pinning {
  const pinning = createPinning({ pins: { localhost: [genuine.pin, genuine.fingerprint, backup.pin] }, tls: { ca: root.pem }, ...options })
  pinnings.push(pinning)
  return pinning
}

/** A collector; `answer` gives the status of each request. */
async function startCollector(answer: (count: number) => number = () => 204): Promise<{ url: string; port: number; bodies: unknown[]; headers: IncomingMessage['headers'][]; close(): Promise<void> }> {
  const bodies: unknown[] = []
  const headers: IncomingMessage['headers'][] = []
  const handler = (req: IncomingMessage, res: ServerResponse): void => {
    const chunks: Buffer[] = []
    req.on('data', (chunk: Buffer) => void chunks.push(chunk))
    req.on('end', () => {
      headers.push(req.headers)
      bodies.push(JSON.parse(Buffer.concat(chunks).toString()))
      res.writeHead(answer(bodies.length)).end()
    })
  }
  const server = await startPlainServer({ handler })
  servers.push(server)
  return { url: `http://127.0.0.1:${server.port}/pins?key=1`, port: server.port, bodies, headers, close: server.close }
}

test('a refusal is reported in the shape of RFC 7469 and TrustKit, with our own fields apart', async () => {
  const reports: PinViolation[] = []
  const pinning = pinned({ pins: { localhost: { publicKeys: [genuine.pin, backup.pin], certificates: [genuine.fingerprint], includeSubDomains: false, expires: '2090-01-02T03:04:05Z' } }, reportTo: (violations) => void reports.push(...violations) })
  expect((await send(pinning.agent, impostor.port)).code).toBe('ERR_PIN_MISMATCH')
  await pinning.close()
  expect(reports).toEqual([
    {
      'date-time': expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
      hostname: 'localhost',
      port: impostor.port,
      'effective-expiration-date': '2090-01-02T03:04:05Z',
      'include-subdomains': false,
      'noted-hostname': 'localhost',
      'served-certificate-chain': [stranger.x509.toString()],
      'validated-certificate-chain': [stranger.x509.toString(), root.x509.toString()],
      'known-pins': expect.arrayContaining([`pin-sha256="${genuine.pin.slice(7)}"`, `pin-sha256="${backup.pin.slice(7)}"`]),
      'enforce-pinning': true,
      'validation-result': 1,
      'app-platform': 'NODE',
      'app-platform-version': process.versions.node,
      'axios-ssl-pinning': expect.objectContaining({ decision: 'refused', result: 'mismatch', code: 'ERR_PIN_MISMATCH', mode: 'enforce', policy: 'localhost', 'policy-revision': 1, 'known-fingerprints': [genuine.fingerprint], diagnosis: expect.objectContaining({ verdict: 'key-rotated', confidence: 'low' }), repeats: 0 })
    }
  ])
  expect(new X509Certificate(reports[0]?.['served-certificate-chain'][0] as string).fingerprint256).toBe(stranger.fingerprint)
  expect(pinning.status().reports).toEqual({ sent: 1, pending: 0, repeated: 0, lost: 0 })
})

test('what PKI refuses and what report-only lets pass are reported as such, and what is accepted is not', async () => {
  const reports: PinViolation[] = []
  const reportTo = (violations: readonly PinViolation[]): void => void reports.push(...violations)
  const server = await startServer({ certificate: createSelfSigned() })
  servers.push(server)
  const lenient = pinned({ pins: { localhost: { pins: [genuine.pin, backup.pin], mode: 'report-only' } }, reportTo })
  expect((await send(lenient.agent, impostor.port)).status).toBe(200)
  expect((await send(lenient.agent, server.port)).code).toBe('DEPTH_ZERO_SELF_SIGNED_CERT')
  const strict = pinned({ pins: { localhost: [stranger.pin, backup.pin] }, reportTo })
  expect((await send(strict.agent, impostor.port)).status).toBe(200)
  await Promise.all([lenient.close(), strict.close()])
  expect(reports.map((each) => [each['enforce-pinning'], each['validation-result'], each['axios-ssl-pinning'].decision, each['validated-certificate-chain'].length])).toEqual([[false, 1, 'tolerated', 2], [true, 2, 'refused', 0]])
})

test('the same host, chain, pins and result is reported once in the interval', async () => {
  const reports: PinViolation[] = []
  const pinning = pinned({ reportTo: (violations) => void reports.push(...violations) })
  for (let i = 0; i < 4; i++) await send(pinning.agent, impostor.port)
  pinning.update({ localhost: [genuine.pin, createSelfSigned().pin] })
  for (let i = 0; i < 2; i++) await send(pinning.agent, impostor.port)
  await pinning.close()
  expect(reports).toHaveLength(2)
  expect(pinning.status().reports).toEqual({ sent: 2, pending: 0, repeated: 4, lost: 0 })
})

test('a collector gets an array by default, and one object a request with batch: false', async () => {
  const batches = await startCollector()
  const singles = await startCollector()
  const first = pinned({ reportTo: { url: batches.url, headers: { authorization: 'Bearer x' } } })
  const second = pinned({ reportTo: { url: new URL(singles.url), batch: false, app: { id: 'com.example', version: '1.2' } } })
  for (const pinning of [first, second]) {
    await send(pinning.agent, impostor.port)
    await send(pinning.agent, impostor.port, { host: '127.0.0.1' })
    pinning.update({ localhost: [genuine.pin, createSelfSigned().pin] })
    await send(pinning.agent, impostor.port)
  }
  await Promise.all([first.close(), second.close()])
  expect(batches.bodies).toEqual([[expect.objectContaining({ hostname: 'localhost' }), expect.objectContaining({ hostname: 'localhost' })]])
  expect(batches.headers[0]).toMatchObject({ 'content-type': 'application/json', authorization: 'Bearer x' })
  expect(singles.bodies).toEqual([expect.objectContaining({ hostname: 'localhost', 'app-bundle-id': 'com.example', 'app-version': '1.2' }), expect.objectContaining({ hostname: 'localhost' })])
})

test('a request is refused at once, whatever becomes of its report, and close() waits for a bounded time', async () => {
  const stalled = await startStalledServer()
  servers.push(stalled)
  const pinning = pinned({ reportTo: `http://127.0.0.1:${stalled.port}/` })
  expect((await send(pinning.agent, impostor.port)).code).toBe('ERR_PIN_MISMATCH')
  expect(pinning.status().reports).toEqual({ sent: 0, pending: 1, repeated: 0, lost: 0 })
  await pinning.close()
  expect(stalled.connections).toBe(1)
  const { sent, pending, lost } = pinning.status().reports ?? {}
  expect([sent, (pending ?? 0) + (lost ?? 0)]).toEqual([0, 1])
})

describe('no loops, and no report to a stranger', () => {
  test('a collector on the failing host itself gets nothing, and one refusal stays one report', async () => {
    const before = impostor.decryptedBytes
    const connections = impostor.connections
    // PKI would accept it.
    const pinning = pinned({ reportTo: { url: impostor.url, ca: root.pem } })
    await send(pinning.agent, impostor.port)
    await pinning.close()
    expect(impostor.decryptedBytes).toBe(before)
    expect(impostor.connections - connections).toBe(2)
    expect(pinning.status()).toMatchObject({ counters: { refused: 1 }, reports: { sent: 0, lost: 1 } })
  })

  test("Node's PKI verification of the collector cannot be switched off", async () => {
    const script = `
      const { createPinning } = await load('index.js')
      const { createAuthority, createSelfSigned, startHttpsServer } = await load('testing/index.js')
      const https = await import('node:https')
      const [impostor, fake] = await Promise.all([startHttpsServer(createAuthority().issue()), startHttpsServer(createSelfSigned())])
      const pinning = createPinning({ allowedSHAFingerprints: [createSelfSigned().pin, createSelfSigned().pin], reportTo: fake.url })
      const plain = await new Promise((resolve) => https.get(fake.url, { agent: false }, (res) => res.resume().on('end', () => resolve(res.statusCode))))
      const before = fake.receivedBytes
      await new Promise((resolve) => https.get(impostor.url, { agent: pinning.agent }).on('error', resolve))
      await pinning.close()
      report({ plain, received: fake.receivedBytes - before, reports: pinning.status().reports })
      await Promise.all([impostor.close(), fake.close()])`
    const { reported } = await runChild(script, { env: { NODE_TLS_REJECT_UNAUTHORIZED: '0' } })
    expect(reported).toEqual({ plain: 200, received: 0, reports: { sent: 0, pending: 0, repeated: 0, lost: 1 } })
  })

  test("the endpoint's own pins are demanded", async () => {
    const collector = await startServer({ certificate: genuine })
    servers.push(collector)
    const toGenuine = pinned({ allowedSHAFingerprints: [backup.pin, backup.fingerprint], pins: undefined as never, reportTo: { url: collector.url, ca: root.pem, pins: [genuine.pin, backup.pin] } })
    const toStranger = pinned({ allowedSHAFingerprints: [backup.pin, backup.fingerprint], pins: undefined as never, reportTo: { url: collector.url, ca: root.pem, pins: [backup.pin, createSelfSigned().pin] } })
    for (const pinning of [toGenuine, toStranger]) {
      await send(pinning.agent, impostor.port)
      await pinning.close()
    }
    expect([toGenuine.status().reports, toStranger.status().reports]).toMatchObject([{ sent: 1, lost: 0 }, { sent: 0, lost: 1 }])
    expect(collector.requests).toHaveLength(1)
  })

  test('a list of pins for all hosts is not meant for the collector', async () => {
    const collector = await startServer({ certificate: genuine })
    servers.push(collector)
    const pinning = pinned({ allowedSHAFingerprints: [backup.pin, backup.fingerprint], pins: undefined as never, reportTo: { url: collector.url, ca: root.pem } })
    await send(pinning.agent, impostor.port)
    await pinning.close()
    expect(collector.requests).toHaveLength(1)
  })
})

describe('a collector behind a proxy', () => {
  afterEach(() => {
    delete process.env['HTTPS_PROXY']
  })

  async function via(...args: Parameters<typeof startProxy>): Promise<TestProxy> {
    const proxy = await startProxy(...args)
    servers.push(proxy)
    return proxy
  }

  async function collect(): Promise<TestServer> {
    const collector = await startServer({ certificate: genuine })
    servers.push(collector)
    return collector
  }

  /** One refusal and its report; what became of it, and whether anything of it was told. */
  async function report(options: Partial<PinningOptions>): Promise<PinningStatus> {
    const pinning = pinned({ pins: { '127.0.0.1': [backup.pin, backup.fingerprint] }, ...options })
    expect((await send(pinning.agent, impostor.port, { host: '127.0.0.1' })).code).toBe('ERR_PIN_MISMATCH')
    await pinning.close()
    return pinning.status()
  }

  test('goes through it, with credentials that are shown nowhere; the refused connection itself does not', async () => {
    const [proxy, collector] = [await via({ auth: 'user:hunter2' }), await collect()]
    const status = await report({ reportTo: { url: collector.url, ca: root.pem, proxy: proxy.url.replace('//', '//user:hunter2@') } })
    expect(status).toMatchObject({ reports: { sent: 1, lost: 0 }, counters: { refused: 1 } })
    expect(proxy.asked.map(({ line }) => line)).toEqual([`CONNECT localhost:${collector.port}`])
    expect(collector.requests).toHaveLength(1)
    expect(JSON.stringify(status)).not.toContain('hunter2')
    // Without them it opens no tunnel, and nobody gets the report.
    expect((await report({ reportTo: { url: collector.url, ca: root.pem, proxy: proxy.url } })).reports).toMatchObject({ sent: 0, lost: 1 })
    expect(collector.requests).toHaveLength(1)
  })

  test.each<[string, Partial<PinningOptions>, object]>([
    ['PKI alone', {}, {}],
    ['pins of its own', {}, { pins: [genuine.pin, backup.pin] }],
    ['those of a pattern', { pins: { '127.0.0.1': [backup.pin, backup.fingerprint], localhost: [genuine.pin, backup.pin] } }, {}]
  ])('is verified inside the tunnel: %s', async (what, options, endpoint) => {
    const [collector, other] = [await collect(), await startServer({ certificate: what === 'PKI alone' ? createSelfSigned() : stranger })]
    servers.push(other)
    const [proxy, attacker] = [await via(), await via({ divert: other.port })]
    const through = ({ url }: TestProxy): Partial<PinningOptions> => ({ ...options, reportTo: { url: collector.url, ca: root.pem, ...endpoint, proxy: url } })
    expect((await report(through(proxy))).reports).toMatchObject({ sent: 1, lost: 0 })
    expect((await report(through(attacker))).reports).toMatchObject({ sent: 0, lost: 1 })
    expect([proxy.asked.length, attacker.asked.length, collector.requests.length, other.decryptedBytes]).toEqual([1, 1, 1, 0])
  })

  test('a proxy over TLS is verified with proxyTls and proxyPins', async () => {
    const proxyRoot = createAuthority({ name: 'Proxy Root' })
    const certificate = proxyRoot.issue()
    const [proxy, collector] = [await via({ certificate }), await collect()]
    const reportTo = { url: collector.url, ca: root.pem, proxy: proxy.url.replace('127.0.0.1', 'localhost') }
    expect((await report({ reportTo })).reports).toMatchObject({ sent: 0, lost: 1 })
    expect((await report({ reportTo, proxyTls: { ca: proxyRoot.pem }, proxyPins: [backup.pin, backup.fingerprint] })).reports).toMatchObject({ sent: 0, lost: 1 })
    expect((await report({ reportTo, proxyTls: { ca: proxyRoot.pem }, proxyPins: [certificate.pin, backup.pin] })).reports).toMatchObject({ sent: 1, lost: 0 })
    expect(proxy.asked).toHaveLength(1)
  })

  test("that of the environment is taken with 'environment' only", async () => {
    const [proxy, collector] = [await via(), await collect()]
    process.env['HTTPS_PROXY'] = proxy.url
    expect((await report({ reportTo: { url: collector.url, ca: root.pem } })).reports).toMatchObject({ sent: 1 })
    expect(proxy.asked).toHaveLength(0)
    expect((await report({ reportTo: { url: collector.url, ca: root.pem, proxy: 'environment' } })).reports).toMatchObject({ sent: 1 })
    expect(proxy.asked.map(({ line }) => line)).toEqual([`CONNECT localhost:${collector.port}`])
  })

  test.each<[string, unknown]>([['https://r.example.com', 'socks5://user:hunter2@127.0.0.1:1'], ['https://r.example.com', 'hunter2'], ['https://r.example.com', 5], ['http://localhost:1', 'http://user:hunter2@127.0.0.1:1']])('%s: %p is an error that echoes no credentials', (url, proxy) => {
    expect(() => pinned({ reportTo: { url, proxy: proxy as string } })).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID', option: 'reportTo.proxy', message: expect.not.stringContaining('hunter2') }))
  })
})

/** A pinning whose reports wait for ever, in a process of its own. */
const neverReceived = `
    const { createPinning } = await load('index.js')
    const { createAuthority, createSelfSigned, startHttpsServer } = await load('testing/index.js')
    const https = await import('node:https')
    const root = createAuthority()
    const server = await startHttpsServer(root.issue())
    const pinning = createPinning({ pins: { localhost: [createSelfSigned().pin, createSelfSigned().pin] }, tls: { ca: root.pem }, reportTo: () => new Promise(() => {}) })
`

test('reports that wait keep no process alive', async () => {
  const script = `${neverReceived}
    const code = await new Promise((resolve) => https.get(server.url, { agent: pinning.agent }).on('error', (error) => resolve(error.code)))
    report({ code, reports: pinning.status().reports })
    await server.close()`
  const ended = await runChild(script)
  expect([ended.code, ended.reported]).toEqual([0, { code: 'ERR_PIN_MISMATCH', reports: { sent: 0, pending: 1, repeated: 0, lost: 0 } }])
})

test('close() ends, and the program goes on, where nothing else keeps the process alive', async () => {
  const script = `${neverReceived}
    await new Promise((resolve) => https.get(server.url, { agent: pinning.agent }).on('error', resolve))
    await server.close()
    await pinning.close()
    report(pinning.status().reports)`
  const ended = await runChild(script)
  expect([ended.code, ended.reported]).toEqual([0, { sent: 0, pending: 1, repeated: 0, lost: 0 }])
})

test('no secret of a request is in anything that is told of it', async () => {
  const secrets = ['pathSecret1', 'querySecret2', 'headerSecret3', 'cookieSecret4', 'bodySecret5', 'userSecret6', 'passwordSecret7', 'basicSecret8', 'formSecret9']
  const told: unknown[] = []
  const texts: string[] = []
  const heard = (message: unknown): void => void told.push(message)
  const kinds = ['connection:accepted', 'connection:refused', 'connection:tolerated', 'request:blocked', 'policy:updated', 'warning', 'threat']
  for (const kind of kinds) subscribe(`axios-ssl-pinning:${kind}`, heard)
  const collector = await startCollector()
  const remember = (report: PinReport): void => void (told.push(report), texts.push(String(report)))
  const log = (details: object, message: string): void => void (told.push(details), texts.push(message))
  const redirector = await startServer({ certificate: genuine, handler: (_req, res) => void res.writeHead(307, { location: `${impostor.url}/pathSecret1?q=querySecret2` }).end() })
  servers.push(redirector)

  const api = axios.create({ proxy: false, auth: { username: 'userSecret6', password: 'basicSecret8' } })
  const pinning = pinAxios(api, { pins: { localhost: [genuine.pin, genuine.fingerprint, backup.pin] }, tls: { ca: root.pem }, reportTo: collector.url, onBadCertificate: remember, onValidCertificate: remember, logger: { warn: log, debug: log } })
  const config = { headers: { 'x-token': 'headerSecret3', cookie: 'sid=cookieSecret4' }, params: { key: 'querySecret2' } }
  const outcomes = await Promise.all([
    api.post(`${impostor.url}/pathSecret1`, { password: 'bodySecret5' }, config),
    api.post(`https://userSecret6:passwordSecret7@localhost:${impostor.port}/pathSecret1`, new URLSearchParams({ a: 'formSecret9' }), config),
    api.post(redirector.url, 'bodySecret5', config),
    api.get(`https://127.0.0.1:${impostor.port}/pathSecret1`, config),
    api.get(`http://localhost:${impostor.port}/pathSecret1?x=querySecret2`, config),
    api.get(`${impostor.url}/pathSecret1`, { ...config, adapter: 'fetch' })
  ].map((request) => request.then(() => 'answered', (error: Error) => (texts.push((error.cause as Error | undefined)?.message ?? ''), error.message))))
  await pinning.close()
  for (const kind of kinds) unsubscribe(`axios-ssl-pinning:${kind}`, heard)

  expect(outcomes).not.toContain('answered')
  expect(told.length).toBeGreaterThan(10)
  expect(collector.bodies).toHaveLength(1)
  const errors = told.map((each) => (each as { error?: Error }).error).filter((each) => each instanceof Error).map(({ message, stack }) => [message, stack])
  const everything = JSON.stringify([told, texts, errors, collector.bodies, collector.headers, pinning.status(), outcomes, (process.emitWarning as unknown as jest.Mock).mock.calls])
  for (const secret of secrets) for (const form of [secret, Buffer.from(secret).toString('base64').slice(0, 10), encodeURIComponent(secret)]) expect([form, everything.includes(form)]).toEqual([form, false])
})

describe('the queue', () => {
  const policies = new PolicySet({ pins: { '**.example.com': [genuine.pin, backup.pin] } }, 3)

  function refusal(host: string, time = 0): ConnectionEvent {
    const error = new PinMismatchError('No pin matched.', { host, port: 443, policy: host, served: [], verified: [], knownPins: [] })
    const verdict: Verdict = { host, port: 443, policies, policy: policies.find(host, 443), peer: undefined, error, record: new PeerRecord(stranger.x509, anchors), leaf: stranger.x509, tlsVersion: 'TLSv1.3', cipher: undefined, resumed: false, durationMs: 1, time: new Date(time) }
    return new ConnectionEvent(verdict)
  }

  function queueOf(settings: Partial<QueueSettings>): { queue: ReportQueue; batches: PinViolation[][] } {
    const batches: PinViolation[][] = []
    const deliver = (violations: readonly PinViolation[]): Promise<void> => Promise.resolve(void batches.push([...violations]))
    return { queue: new ReportQueue({ deliver, intervalMs: 86_400_000, batchMs: 1, retryMs: 1, random: () => 0, ...settings }), batches }
  }

  test('waits for others and sends them together; a wildcard pattern covers sub-domains', async () => {
    const { queue, batches } = queueOf({ batchMs: 20 })
    for (let i = 0; i < 3; i++) queue.add(refusal(`h${i}.example.com`))
    await until(() => batches.length > 0, 'a batch')
    expect(batches.map((batch) => batch.map(({ hostname }) => hostname))).toEqual([['h0.example.com', 'h1.example.com', 'h2.example.com']])
    expect(batches[0]?.[0]).toMatchObject({ 'noted-hostname': 'example.com', 'include-subdomains': true, 'effective-expiration-date': null })
  })

  test('after the interval the same is reported again, with how often it was seen meanwhile', async () => {
    const { queue, batches } = queueOf({ intervalMs: 1_000 })
    for (const time of [0, 10, 999, 1_000]) queue.add(refusal('a.example.com', time))
    await until(() => batches.flat().length === 2, 'two reports')
    expect(batches.flat().map((each) => each['axios-ssl-pinning'].repeats)).toEqual([0, 2])
  })

  test('what fails is tried again, later each time, and in the end is lost and may be reported anew', async () => {
    const times: number[] = []
    const { queue } = queueOf({ retryMs: 8, deliver: () => (times.push(performance.now()), Promise.reject(new Error('HTTP 503'))) })
    queue.add(refusal('a.example.com'))
    await until(() => queue.counters.lost === 1, 'the report is given up')
    const gaps = times.slice(1).map((time, i) => time - (times[i] as number))
    expect(times).toHaveLength(8)
    // Half of 8, 16, … 512 ms at the least, with the randomness at its smallest.
    gaps.forEach((gap, i) => expect(gap).toBeGreaterThan(2 ** (i + 2) - 2))
    queue.add(refusal('a.example.com', 1))
    expect(queue.counters).toMatchObject({ pending: 1, repeated: 0, lost: 1 })
  })

  test('what the collector refuses for good is lost at once', async () => {
    let tries = 0
    const { queue } = queueOf({ deliver: () => (tries++, Promise.reject(new DeliveryRefused('HTTP 400'))) })
    queue.add(refusal('a.example.com'))
    await until(() => queue.counters.lost === 1, 'the report is lost')
    await wait(20)
    expect(tries).toBe(1)
  })

  test('holds no more than 500 that wait, and remembers no more than 1,000', async () => {
    const { queue, batches } = queueOf({ batchMs: 60_000 })
    for (let i = 0; i < 510; i++) queue.add(refusal(`h${i}.example.com`))
    expect(queue.counters).toMatchObject({ pending: 500, lost: 10 })
    await queue.close()
    expect(batches.map(({ length }) => length)).toEqual(Array<number>(10).fill(50))
    const other = queueOf({})
    for (let i = 0; i < 1_200; i++) {
      other.queue.add(refusal(`h${i}.example.com`))
      if (i % 400 === 399) await until(() => other.queue.counters.pending === 0, 'all are sent')
    }
    other.queue.add(refusal('h0.example.com'))
    other.queue.add(refusal('h1199.example.com'))
    expect(other.queue.counters).toMatchObject({ pending: 1, repeated: 1 })
  })

  test('close() sends what waits, and what comes later is lost', async () => {
    const { queue, batches } = queueOf({ batchMs: 60_000 })
    queue.add(refusal('a.example.com'))
    await queue.close()
    queue.add(refusal('b.example.com'))
    expect([batches.flat().length, queue.counters]).toEqual([1, { sent: 1, pending: 0, repeated: 0, lost: 1 }])
  })
})

test('a collector that answers 503 is asked again, one that answers 400 is not, and none is followed elsewhere', async () => {
  const flaky = await startCollector((count) => (count === 1 ? 503 : 200))
  const strict = await startCollector(() => 400)
  const moved = await startCollector(() => 307)
  const collectors = [flaky, strict, moved]
  const all = collectors.map(({ url }) => pinned({ reportTo: url }))
  for (const pinning of all) await send(pinning.agent, impostor.port)
  await until(() => all.every((pinning) => pinning.status().reports?.pending === 0), 'all reports are sent or lost')
  expect(all.map((pinning) => pinning.status().reports)).toMatchObject([{ sent: 1, lost: 0 }, { sent: 0, lost: 1 }, { sent: 0, lost: 1 }])
  expect(collectors.map(({ bodies }) => bodies.length)).toEqual([2, 1, 1])
})

test.each([
  ['an http: URL of another machine', 'http://reports.example.com/', /reports\.example\.com is not possible; right would be https:/],
  ['a relative URL', '/reports', /absolute URL/],
  ['another kind of value', 7, /must be a URL/],
  ['an unknown field', { url: 'https://r.example.com', uri: 1 }, /no such option/],
  ['headers that are no strings', { url: 'https://r.example.com', headers: { a: 1 } }, /object of strings/],
  ['a header with a line feed', { url: 'https://r.example.com', headers: { authorization: 'hunter2\ny' } }, /^reportTo.headers: the value of "authorization" (?!.*hunter2)/],
  ['a header without a possible name', { url: 'https://r.example.com', headers: { 'a b': 'x' } }, /^reportTo.headers: "a b" is not the name/],
  ['a ca that is none', { url: 'https://r.example.com', ca: 5 }, /^reportTo.ca: must be PEM/],
  ['a ca without a certificate', { url: 'https://r.example.com', ca: 'x' }, /^reportTo.ca: has no PEM/],
  ['a pin that is none', { url: 'https://r.example.com', pins: ['nonsense'] }, /pin/]
])('reportTo: %s is refused when the options are read', (_title, value, message) => {
  expect(() => readReportTo(value)).toThrow(message)
})

test('reportTo: a password in the URL is refused without being repeated', () => {
  const error = ((): Error | undefined => {
    try {
      readReportTo('https://user:hunter2@reports.example.com/')
    } catch (thrown) {
      return thrown as Error
    }
    return undefined
  })()
  expect(error?.message).toMatch(/user name or password.*headers/)
  expect(error?.message).not.toContain('hunter2')
})

test.each([[-1], ['1h'], [NaN]])('reportIntervalMs: %p is refused', (value) => {
  expect(() => pinned({ reportTo: () => undefined, reportIntervalMs: value as number })).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID', option: 'reportIntervalMs' }))
})
