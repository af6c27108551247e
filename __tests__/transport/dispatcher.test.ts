import { Agent, Dispatcher, WebSocket, errors, request } from 'undici'
import { createPinning, createPinningDispatcher, findPinningError } from '../../lib/index.js'
import type { PinReport, PinningOptions } from '../../lib/index.js'
import { PolicySet } from '../../lib/policy/policy-set.js'
import { Reporter } from '../../lib/report/reporter.js'
import { PinningAgent } from '../../lib/transport/agent.js'
import { openDispatcher } from '../../lib/transport/dispatcher.js'
import { PinningHttp2 } from '../../lib/transport/http2.js'
import { axiosHas } from '../support/axios-version.js'
import { until, wait } from '../support/clients.js'
import { createAuthority } from '../support/pki.js'
import { startPlainServer, startServer, startStalledServer } from '../support/servers.js'
import type { PlainServer, TestServer } from '../support/servers.js'

const root = createAuthority({ name: 'Public Root' })
const genuineLeaf = root.issue()
const impostorLeaf = root.issue()
const pins = [genuineLeaf.fingerprint, genuineLeaf.pin]
const otherPins = [impostorLeaf.fingerprint, impostorLeaf.pin]
const ca = root.pem

let genuine: TestServer
let impostor: TestServer
let plain: PlainServer
const dispatchers: Dispatcher[] = []

beforeAll(async () => {
  genuine = await startServer({ certificate: genuineLeaf })
  impostor = await startServer({ certificate: impostorLeaf })
  plain = await startPlainServer()
})

afterEach(async () => {
  await Promise.all(dispatchers.splice(0).map((dispatcher) => dispatcher.destroy()))
})

afterAll(() => Promise.all([genuine, impostor, plain].map((server) => server.close())))

function pinned(options: PinningOptions = {}): Dispatcher {
  const dispatcher = createPinningDispatcher({ allowedSHAFingerprints: pins, tls: { ca }, ...options })
  dispatchers.push(dispatcher)
  return dispatcher
}

/** The status, the answer having been read; or the code of the error. */
async function outcome(answer: Promise<{ status?: number; statusCode?: number; text?: () => Promise<string>; body?: any }>): Promise<string> {
  try {
    const given = await answer
    await (given.text ? given.text() : given.body.text())
    return String(given.status ?? given.statusCode)
  } catch (error) {
    return findPinningError(error)?.code ?? (error as { code?: string }).code ?? ((error as Error).cause as { code?: string } | undefined)?.code ?? (error as Error).message
  }
}

const viaFetch = (url: string, dispatcher: Dispatcher, init: RequestInit = {}): Promise<string> => outcome(fetch(url, { ...init, dispatcher } as never))
const viaRequest = (url: string, dispatcher: Dispatcher, init: object = {}): Promise<string> => outcome(request(url, { ...init, dispatcher }))

describe('an impostor gets nothing', () => {
  let before: [number, number]

  beforeEach(() => { before = [impostor.decryptedBytes, plain.receivedBytes] })
  afterEach(() => { expect([impostor.decryptedBytes, plain.receivedBytes]).toEqual(before) })

  test('through fetch, undici.request, the dispatcher’s own methods and a composed dispatcher', async () => {
    const reports: PinReport[] = []
    const dispatcher = pinned({ onValidCertificate: (report) => reports.push(report), onBadCertificate: (report) => reports.push(report) })
    const body = { method: 'POST', body: 'secret' } as const
    expect(await viaFetch(genuine.url, dispatcher, body)).toBe('200')
    expect(await viaFetch(impostor.url, dispatcher, body)).toBe('ERR_PIN_MISMATCH')
    expect(await viaRequest(genuine.url, dispatcher, body)).toBe('200')
    expect(await viaRequest(impostor.url, dispatcher, body)).toBe('ERR_PIN_MISMATCH')
    expect(await outcome(dispatcher.request({ origin: impostor.url, path: '/', ...body }))).toBe('ERR_PIN_MISMATCH')
    const composed = dispatcher.compose((dispatch) => (options, handler) => dispatch({ ...options, origin: impostor.url }, handler))
    expect(await viaRequest(genuine.url, composed as Dispatcher, body)).toBe('ERR_PIN_MISMATCH')
    expect(reports.map(({ port, decision }) => [port === genuine.port, decision])).toEqual([[true, 'accepted'], ...Array(4).fill([false, 'refused'])])
  })

  test('with a Host header or a server name of the pinned host', async () => {
    const dispatcher = pinned({ allowedSHAFingerprints: undefined as never, pins: { localhost: pins } })
    expect(await viaRequest(`https://127.0.0.1:${impostor.port}`, dispatcher, { headers: { host: 'localhost' } })).toBe('ERR_PIN_MISMATCH')
    expect(await viaRequest(`https://127.0.0.1:${impostor.port}`, dispatcher)).toBe('ERR_PIN_HOST_UNPINNED')
    expect(await viaRequest(impostor.url, dispatcher, { headers: { host: 'elsewhere.example' } })).toMatch(/^ERR_(PIN_MISMATCH|TLS_CERT_ALTNAME_INVALID)$/)
  })

  test('over http:, to hosts without pins, and by redirects of fetch and of undici', async () => {
    const dispatcher = pinned({ allowedSHAFingerprints: undefined as never, pins: { localhost: pins } })
    const redirector = await startServer({ certificate: genuineLeaf, handler: (req, res) => void res.writeHead(307, { location: decodeURIComponent(req.url?.slice(1) ?? '') }).end() })
    const hop = (target: string): string => `${redirector.url}/${encodeURIComponent(target)}`
    const unpinned = `https://127.0.0.1:${impostor.port}/`
    expect(await viaFetch(plain.url, dispatcher, { method: 'POST', body: 'secret' })).toBe('ERR_PIN_BYPASS')
    expect(await viaFetch(unpinned, dispatcher, { method: 'POST', body: 'secret' })).toBe('ERR_PIN_HOST_UNPINNED')
    for (const [target, code] of [[plain.url, 'ERR_PIN_BYPASS'], [unpinned, 'ERR_PIN_HOST_UNPINNED'], [impostor.url, 'ERR_PIN_MISMATCH']] as const) {
      expect(await viaFetch(hop(target), dispatcher, { method: 'POST', body: 'secret' })).toBe(code)
    }
    const { interceptors } = await import('undici')
    const following = dispatcher.compose(interceptors.redirect({ maxRedirections: 3 }))
    expect(await viaRequest(hop(impostor.url), following as Dispatcher, { method: 'POST', body: 'secret' })).toBe('ERR_PIN_MISMATCH')
    await redirector.close()
  })

  test('by a WebSocket', async () => {
    const socket = new WebSocket(impostor.url.replace('https', 'wss'), { dispatcher: pinned() })
    await new Promise((resolve) => { socket.addEventListener('error', resolve) })
  })

  test('with NODE_TLS_REJECT_UNAUTHORIZED=0, and a polluted Object.prototype', async () => {
    const stranger = await startServer({ certificate: createAuthority().issue() })
    const polluted: Record<string, unknown> = { socketPath: '/nowhere', rejectUnauthorized: false, allowH2: true, ALPNProtocols: ['h2'] }
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
    for (const [name, value] of Object.entries(polluted)) Object.defineProperty(Object.prototype, name, { value, configurable: true, writable: true })
    try {
      expect(await viaFetch(stranger.url, pinned())).toMatch(/UNABLE_TO_VERIFY_LEAF_SIGNATURE/)
      expect(await viaFetch(impostor.url, pinned())).toBe('ERR_PIN_MISMATCH')
    } finally {
      delete process.env['NODE_TLS_REJECT_UNAUTHORIZED']
      for (const name of Object.keys(polluted)) delete (Object.prototype as Record<string, unknown>)[name]
    }
    expect(stranger.decryptedBytes).toBe(0)
    await stranger.close()
  })

  test('a thrown or asynchronous callback, and an update during the handshake', async () => {
    expect(await viaFetch(impostor.url, pinned({ onBadCertificate: () => { throw new Error('boom') } }))).toBe('ERR_PIN_MISMATCH')
    const pinning = createPinning({ allowedSHAFingerprints: otherPins, tls: { ca } })
    const answer = viaFetch(impostor.url, pinning.dispatcher, { method: 'POST', body: 'secret' })
    pinning.update(pins)
    expect(await answer).toBe('ERR_PIN_MISMATCH')
    await pinning.close()
  })
})

test('connections are kept and sessions resumed, until an update', async () => {
  const server = await startServer({ certificate: genuineLeaf })
  const resumed: boolean[] = []
  const pinning = createPinning({ allowedSHAFingerprints: pins, tls: { ca }, onValidCertificate: (report) => resumed.push(report.resumed) })
  const { dispatcher } = pinning
  for (let i = 0; i < 3; i++) {
    expect(await viaFetch(server.url, dispatcher)).toBe('200')
    // An answer is read before its socket is free again.
    await wait(20)
  }
  expect(await viaRequest(server.url, dispatcher, { reset: true })).toBe('200')
  expect(server.connections).toBe(1)
  await until(() => server.openSockets === 0)
  expect(await viaFetch(server.url, dispatcher)).toBe('200')
  expect(resumed).toEqual([false, true])
  pinning.update([genuineLeaf.pin, impostorLeaf.pin])
  expect(await viaFetch(server.url, dispatcher)).toBe('200')
  expect([server.connections, server.resumed, resumed]).toEqual([3, 1, [false, true, false]])
  pinning.update(otherPins)
  expect(await viaFetch(server.url, dispatcher)).toBe('ERR_PIN_MISMATCH')
  await until(() => server.openSockets === 0)
  await pinning.close()
  await server.close()
})

test('no session of a refused impostor is kept', async () => {
  const swapping = await startServer({ certificate: impostorLeaf, maxVersion: 'TLSv1.2' })
  const dispatcher = pinned()
  for (let i = 0; i < 2; i++) expect(await viaFetch(swapping.url, dispatcher)).toBe('ERR_PIN_MISMATCH')
  swapping.swapCertificate(genuineLeaf, { keepTicketKeys: true })
  expect(await viaFetch(swapping.url, dispatcher)).toBe('200')
  swapping.swapCertificate(impostorLeaf)
  swapping.server.closeAllConnections()
  expect(await viaFetch(swapping.url, dispatcher)).toBe('ERR_PIN_MISMATCH')
  expect([swapping.resumed, swapping.requests.length]).toEqual([0, 1])
  await swapping.close()
})

test.each(['fetch', 'request'] as const)('maxSockets makes requests wait, and one that waits over an update gets another socket, with its body: %s', async (kind) => {
  const answers: Array<() => void> = []
  const server = await startServer({ certificate: genuineLeaf, handler: (req, res) => void req.on('data', () => undefined).on('end', () => answers.push(() => void res.end('ok'))) })
  const pinning = createPinning({ allowedSHAFingerprints: pins, tls: { ca }, agent: { maxSockets: 1 } })
  const via = kind === 'fetch' ? viaFetch : viaRequest
  const post = (body: string): Promise<string> => via(server.url, pinning.dispatcher, { method: 'POST', body })
  const [first, second, third] = [post('a'), post('bb'), post('ccc')]
  await until(() => answers.length === 1)
  expect(server.connections).toBe(1)
  pinning.update([genuineLeaf.pin, impostorLeaf.pin])
  answers[0]?.()
  expect(await first).toBe('200')
  await until(() => answers.length === 2)
  answers[1]?.()
  expect(await second).toBe('200')
  await until(() => answers.length === 3)
  pinning.update(otherPins)
  const [fourth, fifth] = [post('d'), post('e')]
  answers[2]?.()
  expect([await third, await fourth, await fifth]).toEqual(['200', 'ERR_PIN_MISMATCH', 'ERR_PIN_MISMATCH'])
  expect(server.requests.map(({ bodyLength, connection }) => [bodyLength, connection])).toEqual([[1, 1], [2, 2], [3, 2]])
  await pinning.close()
  await until(() => server.openSockets === 0)
  await server.close()
})

test('keepAlive: false keeps no connection', async () => {
  const server = await startServer({ certificate: genuineLeaf })
  const dispatcher = pinned({ agent: { keepAlive: false } })
  for (let i = 0; i < 2; i++) expect(await viaFetch(server.url, dispatcher)).toBe('200')
  expect(server.connections).toBe(2)
  await server.close()
})

test('with unpinnedHosts: allow, hosts without pins are spoken to, over http: too, until an update pins them', async () => {
  const pinning = createPinning({ pins: { localhost: pins }, unpinnedHosts: 'allow', tls: { ca } })
  const { dispatcher } = pinning
  const url = `http://127.0.0.1:${plain.port}/`
  expect(await viaFetch(url, dispatcher)).toBe('200')
  expect(await viaFetch(`https://127.0.0.1:${impostor.port}/`, dispatcher)).toBe('200')
  expect(await viaFetch(plain.url, dispatcher)).toBe('ERR_PIN_BYPASS')
  const received = plain.receivedBytes
  pinning.update({ localhost: pins, '127.0.0.1': pins })
  expect(await viaFetch(url, dispatcher)).toBe('ERR_PIN_BYPASS')
  expect(plain.receivedBytes).toBe(received)
  await pinning.close()
})

test('older and newer handlers of undici are both served', async () => {
  const dispatcher = pinned()
  const seen: string[] = []
  await new Promise<void>((resolve) => {
    dispatcher.dispatch({ origin: genuine.url, path: '/', method: 'GET' }, { onConnect: () => seen.push('connect'), onHeaders: (status: number) => { seen.push(String(status)); return true }, onData: () => true, onComplete: () => { resolve() }, onError: () => { resolve() } } as never)
  })
  await new Promise<void>((resolve) => {
    dispatcher.dispatch({ origin: genuine.url, path: '/', method: 'GET' }, { onRequestStart: () => seen.push('start'), onResponseStart: (_controller: unknown, status: number) => { seen.push(String(status)) }, onResponseData: () => undefined, onResponseEnd: () => { resolve() }, onResponseError: () => { resolve() } } as never)
  })
  expect(seen).toEqual(['connect', '200', 'start', '200'])
})

test('close() lets requests finish, destroy() does not; both take a callback, and later requests fail as with undici', async () => {
  let answer: (() => void) | undefined
  const server = await startServer({ certificate: genuineLeaf, handler: (_req, res) => void (answer = () => void res.end('late')) })
  const closing = pinned()
  const slow = viaFetch(server.url, closing)
  await until(() => answer !== undefined)
  const closed = new Promise<void>((resolve) => { void closing.close(resolve) })
  answer?.()
  expect(await slow).toBe('200')
  await closed
  await until(() => server.openSockets === 0)
  const agent = new Agent()
  await agent.close()
  expect(await viaRequest(server.url, closing)).toBe(await viaRequest(server.url, agent))

  answer = undefined
  const destroying = pinned()
  const cut = viaFetch(server.url, destroying)
  await until(() => answer !== undefined)
  await new Promise<void>((resolve) => { void destroying.destroy(new Error('enough'), resolve) })
  expect(await cut).toMatch(/enough|fetch failed/)
  await until(() => server.openSockets === 0)
  expect(await viaRequest(server.url, destroying)).toBe('UND_ERR_DESTROYED')
  await server.close()
})

test('a handshake that never ends is given up after ten seconds, as by undici', async () => {
  const stalled = await startStalledServer()
  const setTimeoutOnce = jest.spyOn(globalThis, 'setTimeout').mockImplementation(((run: () => void) => setImmediate(run)) as never)
  const answer = viaRequest(stalled.url, pinned())
  await until(() => setTimeoutOnce.mock.calls.some(([, ms]) => ms === 10_000))
  setTimeoutOnce.mockRestore()
  expect(await answer).toBe(new errors.ConnectTimeoutError().code)
  await stalled.close()
})

test('undici that is not there is an error that says what to do, and axios’ fetch adapter is refused with it', async () => {
  jest.resetModules()
  jest.doMock('../../lib/late.cts', () => ({ ...jest.requireActual<object>('../../lib/late.cts'), loadUndici: () => { throw Object.assign(new Error('Cannot find module undici'), { code: 'MODULE_NOT_FOUND' }) } }))
  try {
    const { createPinningDispatcher: create, pinAxios } = await import('../../lib/index.js')
    expect(() => create({ allowedSHAFingerprints: pins })).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID', message: expect.stringContaining('npm install undici') }))
    const { default: axios } = await import('axios')
    const api = axios.create({ adapter: 'fetch' })
    const pinning = pinAxios(api, { allowedSHAFingerprints: pins, tls: { ca } })
    const error = (await api.get(genuine.url).catch((thrown: unknown) => thrown)) as Error & { code: string }
    expect([error.code, error.message]).toEqual(['ERR_PIN_BYPASS', expect.stringContaining(axiosHas.fetch ? 'npm install undici' : 'axios 1.7')])
    expect((await api.get(genuine.url, { adapter: 'http' })).status).toBe(200)
    await pinning.close()
  } finally {
    jest.dontMock('../../lib/late.cts')
    jest.resetModules()
  }
})

describe('a proof that ends', () => {
  const settings = (now: () => number): ConstructorParameters<typeof PinningAgent>[0] => {
    const policies = new PolicySet({ pins: { localhost: { pins, expires: new Date(clock.start + 60_000).toISOString() } }, tls: {} } as never, 1)
    return { policies: () => policies, reporter: new Reporter({}), tls: { ca }, agent: undefined, now }
  }
  const clock = { start: Date.now() }

  test('takes the connection of a dispatcher out of use', async () => {
    let now = clock.start
    const server = await startServer({ certificate: genuineLeaf })
    const agent = new PinningAgent(settings(() => now))
    const dispatcher = openDispatcher(agent)
    dispatchers.push(dispatcher)
    expect(await viaFetch(server.url, dispatcher)).toBe('200')
    now += 120_000
    expect(await viaFetch(server.url, dispatcher)).toBe('ERR_PIN_EXPIRED')
    await until(() => server.openSockets === 0)
    expect(server.requests).toHaveLength(1)
    await server.close()
  })

  test('gives http2 another createConnection, as do other policies', async () => {
    let now = clock.start
    const server = await startServer({ certificate: genuineLeaf, alpn: ['h2'] })
    const http2 = new PinningHttp2(new PinningAgent(settings(() => now)))
    const first = http2.createConnection
    expect(http2.createConnection).toBe(first)
    const socket = first(new URL(server.url), {})
    await new Promise((resolve) => { socket.once('secureConnect', resolve) })
    expect(http2.createConnection).toBe(first)
    now += 120_000
    expect(http2.createConnection).not.toBe(first)
    http2.close()
    await wait(5)
    await server.close()
  })
})
