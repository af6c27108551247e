import { metrics, trace } from '@opentelemetry/api'
import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import axios from 'axios'
import { createPinning, pinAxios } from '../../lib/index.js'
import type { PinViolation, Pinning, PinningOptions } from '../../lib/index.js'
import { runChild } from '../support/child.js'
import { send, wait } from '../support/clients.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startServer } from '../support/servers.js'
import type { TestServer } from '../support/servers.js'

const root = createAuthority({ name: 'Test Root' })
const genuine = root.issue()
const backup = createSelfSigned()
let server: TestServer
let impostor: TestServer
const pinnings: Pinning[] = []

const spans = new InMemorySpanExporter()
const tracer = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] })

beforeAll(async () => {
  tracer.register()
  server = await startServer({ certificate: genuine })
  impostor = await startServer({ certificate: root.issue() })
})
beforeEach(() => void jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined))
afterEach(async () => {
  metrics.disable()
  await Promise.all(pinnings.splice(0).map((pinning) => pinning.close()))
})
afterAll(() => Promise.all([server.close(), impostor.close(), tracer.shutdown()]))

test('without the package, the warning says what to install', async () => {
  const warned = jest.spyOn(process, 'emitWarning')
  await jest.isolateModulesAsync(async () => {
    jest.doMock('@opentelemetry/api', () => { throw new Error("Cannot find package '@opentelemetry/api'") })
    const { startTelemetry } = await import('../../lib/report/telemetry.js')
    const { EventStream } = await import('../../lib/report/events.js')
    startTelemetry(true, new EventStream(), undefined as never)
    await wait(100)
  })
  jest.dontMock('@opentelemetry/api')
  expect(warned.mock.calls.map(([text]) => text)).toContainEqual(expect.stringMatching(/^axios-ssl-pinning: @opentelemetry\/api could not be loaded.*npm install @opentelemetry\/api.*Cannot find package/))
})

function pinned(options: Partial<PinningOptions> = {}): Pinning {
  const pinning = createPinning({ pins: { localhost: [genuine.pin, backup.pin] }, tls: { ca: root.pem }, openTelemetry: true, ...options })
  pinnings.push(pinning)
  return pinning
}

function startMetrics(): { provider: MeterProvider; collect: () => Promise<Record<string, Array<{ value: unknown; attributes: unknown }>>> } {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })
  const provider = new MeterProvider({ readers: [reader] })
  const collect = async (): Promise<Record<string, Array<{ value: unknown; attributes: unknown }>>> => {
    await reader.forceFlush()
    const all = exporter.getMetrics().at(-1)?.scopeMetrics.flatMap(({ metrics: each }) => each) ?? []
    return Object.fromEntries(all.map(({ descriptor, dataPoints }) => [descriptor.name.replace('axios_ssl_pinning.', ''), dataPoints.map(({ value, attributes }) => ({ value, attributes }))]))
  }
  return { provider, collect }
}

test('connections are counted by host and result, and what is blocked by its code', async () => {
  const { provider, collect } = startMetrics()
  metrics.setGlobalMeterProvider(provider)
  const pinning = pinned({ agent: { keepAlive: false, maxCachedSessions: 0 }, openTelemetry: { attributes: { service: 'billing' } }, reportTo: () => undefined, pins: { localhost: { pins: [genuine.pin, backup.pin], expires: new Date(Date.now() + 30 * 86_400_000) } } })
  for (let i = 0; i < 3; i++) await send(pinning.agent, server.port)
  await send(pinning.agent, impostor.port)
  await send(pinning.agent, impostor.port, { host: '127.0.0.1' })
  const seen = await collect()
  const service = 'billing'
  expect(seen['connections']).toEqual(expect.arrayContaining([
    { value: 3, attributes: { service, 'server.address': 'localhost', decision: 'accepted', result: 'pinned', resumed: false } },
    { value: 1, attributes: { service, 'server.address': 'localhost', decision: 'refused', result: 'mismatch', resumed: false } }
  ]))
  expect(seen['diagnoses']).toEqual([{ value: 1, attributes: { service, 'server.address': 'localhost', decision: 'refused', verdict: 'key-rotated', confidence: 'low' } }])
  expect(seen['requests.blocked']).toEqual([{ value: 1, attributes: { service, 'error.type': 'ERR_PIN_HOST_UNPINNED' } }])
  expect(seen['verification.duration']).toEqual(expect.arrayContaining([{ value: expect.objectContaining({ count: 3 }), attributes: { service, decision: 'accepted', resumed: false } }]))
  const histogram = seen['verification.duration']?.[0]?.value as { sum: number; buckets: { boundaries: number[] } }
  expect(histogram.sum).toBeGreaterThan(0)
  expect(histogram.buckets.boundaries[0]).toBe(0.00005)
  expect(seen['certificate.days_to_expiry']).toEqual([{ value: expect.closeTo(90, 0), attributes: { service, 'server.address': 'localhost' } }])
  expect(seen['pins.days_to_expiry']).toEqual([{ value: expect.closeTo(30, 1), attributes: { service, 'policy.pattern': 'localhost' } }])
  expect(seen['policy.revision']).toEqual([{ value: 1, attributes: { service } }])
  expect(seen['reports']).toEqual(expect.arrayContaining([{ value: 1, attributes: { service, state: 'pending' } }]))
  pinning.update({ localhost: [genuine.pin, backup.pin] })
  expect((await collect())['policy.revision']?.[0]?.value).toBe(2)
  await provider.shutdown()
})

test('hosts beyond the bound share one name', async () => {
  const { provider, collect } = startMetrics()
  const pinning = pinned({ openTelemetry: { maxHosts: 1, meterProvider: provider }, pins: { '127.0.0.1': [genuine.pin, backup.pin], localhost: [genuine.pin, backup.pin] } })
  await send(pinning.agent, server.port)
  await send(pinning.agent, server.port, { host: '127.0.0.1' })
  const seen = await collect()
  expect(seen['connections']?.map(({ attributes }) => (attributes as Record<string, unknown>)['server.address'])).toEqual(['localhost', 'other'])
  expect(seen['certificate.days_to_expiry']).toHaveLength(2)
  await provider.shutdown()
})

test('a provider that is registered after the instance was pinned gets the metrics from then on, and none after close()', async () => {
  const pinning = pinned({ agent: { keepAlive: false } })
  await send(pinning.agent, server.port)
  const { provider, collect } = startMetrics()
  metrics.setGlobalMeterProvider(provider)
  await send(pinning.agent, server.port)
  const seen = await collect()
  expect(seen['connections']?.map(({ value }) => value)).toEqual([1])
  expect(seen['policy.revision']).toHaveLength(1)
  await pinning.close()
  pinning.update({ localhost: [genuine.pin, backup.pin] })
  await send(pinning.agent, server.port)
  // The SDK itself goes on exporting what was seen last.
  const after = await collect()
  expect([after['policy.revision']?.[0]?.value, after['connections']?.[0]?.value]).toEqual([1, 1])
  await provider.shutdown()
})

test("a verdict is an event on the span of the request that opened the connection", async () => {
  const api = axios.create({ proxy: false })
  pinnings.push(pinAxios(api, { pins: { localhost: [genuine.pin, backup.pin] }, tls: { ca: root.pem }, openTelemetry: true, agent: { keepAlive: false, maxCachedSessions: 0 } }))
  const inSpan = (name: string, url: string): Promise<unknown> =>
    trace.getTracer('test').startActiveSpan(name, async (span) => {
      await api.get(url).catch(() => undefined)
      span.end()
    })
  // The first of all may come before the API is loaded.
  await api.get(server.url)
  spans.reset()
  await Promise.all([inSpan('good', server.url), inSpan('bad', impostor.url), inSpan('blocked', `https://127.0.0.1:${server.port}/`)])
  const found = Object.fromEntries(spans.getFinishedSpans().map(({ name, events }) => [name, events.map((event) => [event.name, event.attributes])]))
  expect(found).toEqual({
    good: [['axios-ssl-pinning.connection.accepted', expect.objectContaining({ 'server.address': 'localhost', 'server.port': server.port, result: 'pinned', 'policy.pattern': 'localhost', 'policy.revision': 1, 'verification.ms': expect.any(Number) })]],
    bad: [['axios-ssl-pinning.connection.refused', expect.objectContaining({ result: 'mismatch', 'error.type': 'ERR_PIN_MISMATCH', 'diagnosis.verdict': 'key-rotated' })]],
    blocked: [['axios-ssl-pinning.request.blocked', expect.objectContaining({ 'server.address': '127.0.0.1', 'error.type': 'ERR_PIN_HOST_UNPINNED' })]]
  })
})

test('the version and the age of a signed pin set are told, in metrics and in reports', async () => {
  const { PinningCore } = jest.requireActual<typeof import('../../lib/pinning.js')>('../../lib/pinning.js')
  const { provider, collect } = startMetrics()
  const reports: PinViolation[] = []
  const core = new PinningCore({ pins: { localhost: [genuine.pin, backup.pin] }, tls: { ca: root.pem }, openTelemetry: { meterProvider: provider }, reportTo: (violations) => void reports.push(...violations) })
  core.reporter.pinSet = () => ({ updatedAt: Date.now() - 60_000, stale: false, version: 12 })
  await send(core.agent, impostor.port)
  const seen = await collect()
  expect([seen['pin_set.version']?.[0]?.value, seen['pin_set.age']?.[0]?.value]).toEqual([12, expect.closeTo(60, -1)])
  await core.close()
  expect(reports[0]?.['axios-ssl-pinning']['pin-set-version']).toBe(12)
  await provider.shutdown()
})

test('a threat is counted and told on the span', async () => {
  const { PinningCore } = jest.requireActual<typeof import('../../lib/pinning.js')>('../../lib/pinning.js')
  const { provider, collect } = startMetrics()
  const core = new PinningCore({ pins: { localhost: [genuine.pin, backup.pin] }, openTelemetry: { meterProvider: provider } })
  core.reporter.events.emit('threat', { time: new Date(), kind: 'attack', severity: 'critical', hosts: ['localhost'] } as never)
  await wait(100)
  expect((await collect())['threats']).toEqual([{ value: 1, attributes: { kind: 'attack', severity: 'critical' } }])
  await core.close()
  await provider.shutdown()
})

test('without the option @opentelemetry/api is not loaded; with it, in ESM and CommonJS', async () => {
  const script = `
    const instrument = { add() {}, record() {} }
    let asked = 0
    const meter = new Proxy({}, { get: (_, name) => () => { asked++; return instrument } })
    if (input.on) (await import('@opentelemetry/api')).metrics.setGlobalMeterProvider({ getMeter: () => meter })
    const { createPinning } = input.esm ? await load('index.js') : require('./dist/cjs/index.js')
    const pinning = createPinning({ pins: { localhost: ['sha256/${'A'.repeat(43)}=', 'sha256/${'B'.repeat(42)}A='] }, openTelemetry: input.on })
    for (let i = 0; i < 100 && input.on && asked === 0; i++) await new Promise((resolve) => setTimeout(resolve, 50))
    report({ asked: asked > 0, loaded: Object.keys(require.cache).some((file) => file.includes('@opentelemetry')) })
    await pinning.close()`
  const runs = await Promise.all([[true, true], [false, true], [false, false]].map(([esm, on]) => runChild(script, { input: { esm, on } })))
  expect(runs.map(({ code, stderr, reported }) => [code, stderr, reported.asked])).toEqual([[0, '', true], [0, '', true], [0, '', false]])
  expect(runs[2]?.reported.loaded).toBe(false)
})

test.each([
  [7, 'openTelemetry'],
  [{ hosts: 3 }, 'openTelemetry.hosts'],
  [{ maxHosts: 1.5 }, 'openTelemetry.maxHosts'],
  [{ attributes: { a: 1 } }, 'openTelemetry.attributes'],
  [{ meterProvider: {} }, 'openTelemetry.meterProvider']
])('openTelemetry: %j is refused', (value, option) => {
  expect(() => createPinning({ allowedSHAFingerprints: [genuine.pin, backup.pin], openTelemetry: value as never })).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID', option }))
})
