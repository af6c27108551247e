import axios, { AxiosError } from 'axios'
import type { AxiosInstance } from 'axios'
import axiosRetry from 'axios-retry'
import * as https from 'node:https'
import { PassThrough, Readable } from 'node:stream'
import { createPinnedAxios, createPinning, findPinningError, pinAxios } from '../../lib/index.js'
import type { PinReport, Pinning, PinningOptions } from '../../lib/index.js'
import { createAuthority } from '../support/pki.js'
import { startServer, startStalledServer } from '../support/servers.js'
import type { TestServer } from '../support/servers.js'

const root = createAuthority({ name: 'Public Root' })
const genuineLeaf = root.issue()
const impostorLeaf = root.issue()
const pins = [genuineLeaf.fingerprint, genuineLeaf.pin]
const tls = { ca: root.pem }

let genuine: TestServer
let impostor: TestServer
const pinnings: Pinning[] = []

beforeAll(async () => {
  genuine = await startServer({ certificate: genuineLeaf })
  impostor = await startServer({ certificate: impostorLeaf })
})

afterEach(async () => {
  await Promise.all(pinnings.splice(0).map((pinning) => pinning.close()))
})

afterAll(() => Promise.all([genuine.close(), impostor.close()]))

function pin(instance: AxiosInstance, options: PinningOptions = {}): Pinning {
  const pinning = pinAxios(instance, { allowedSHAFingerprints: pins, tls, ...options })
  pinnings.push(pinning)
  return pinning
}

async function failure(request: Promise<unknown>): Promise<AxiosError> {
  return request.then(
    () => {
      throw new Error('the request was answered')
    },
    (error: AxiosError) => error
  )
}

test('a pinned instance is answered by the genuine server, and both callbacks and the status tell', async () => {
  const valid: PinReport[] = []
  const bad: PinReport[] = []
  const api = axios.create({ baseURL: genuine.url, timeout: 5_000 })
  const pinning = pin(api, { onValidCertificate: (report) => valid.push(report), onBadCertificate: (report) => bad.push(report) })

  expect((await api.get('/me')).data).toMatchObject({ ok: true, url: '/me' })
  const error = await failure(api.post(impostor.url, 'secret'))

  expect(error).toBeInstanceOf(AxiosError)
  expect(error.code).toBe('ERR_PIN_MISMATCH')
  expect(findPinningError(error)).toBe(error.cause)
  expect(valid.map(({ host, matchedPin, decision, result }) => ({ host, matchedPin, decision, result }))).toEqual([{ host: 'localhost', matchedPin: genuineLeaf.fingerprint, decision: 'accepted', result: 'pinned' }])
  expect(bad.map(({ port, decision, result, leaf }) => ({ port, decision, result, pin: leaf?.pin }))).toEqual([{ port: impostor.port, decision: 'refused', result: 'mismatch', pin: impostorLeaf.pin }])
  expect(pinning.status().counters).toEqual({ accepted: 1, tolerated: 0, refused: 1, resumed: 0, blocked: 0 })
  expect(impostor.decryptedBytes).toBe(0)
})

test('onBadCertificate hears of what PKI refuses as well, and the error is the one axios gives without pins', async () => {
  const stranger = createAuthority({ name: 'Stranger' })
  const server = await startServer({ certificate: stranger.issue() })
  const bad: PinReport[] = []
  const api = axios.create()
  pin(api, { onBadCertificate: (report) => bad.push(report) })
  const plain = axios.create({ httpsAgent: new https.Agent({ ca: root.pem }) })

  const [ours, theirs] = [await failure(api.get(server.url)), await failure(plain.get(server.url))]

  expect(ours.code).toBe(theirs.code)
  expect(ours.message).toBe(theirs.message)
  expect(bad.map(({ result, decision, leaf }) => [result, decision, leaf?.issuer])).toEqual([['untrusted', 'refused', 'CN=Stranger']])
  expect(server.decryptedBytes).toBe(0)
  await server.close()
})

test('a callback that throws, rejects or blocks changes nothing but a process warning', async () => {
  const spy = jest.spyOn(process, 'emitWarning').mockImplementation()
  const boom = (): never => {
    throw new Error('boom')
  }
  const api = axios.create()
  pin(api, { onValidCertificate: boom, onBadCertificate: (() => Promise.reject(new Error('bang'))) as never })

  expect((await api.get(genuine.url)).status).toBe(200)
  expect((await failure(api.get(impostor.url))).code).toBe('ERR_PIN_MISMATCH')
  await new Promise((resolve) => setTimeout(resolve, 20))
  const warnings = spy.mock.calls.map(([text]) => String(text))
  spy.mockRestore()

  expect(warnings.some((text) => text.includes('onValidCertificate') && text.includes('boom'))).toBe(true)
  expect(warnings.some((text) => text.includes('onBadCertificate') && text.includes('bang'))).toBe(true)
  expect(impostor.decryptedBytes).toBe(0)
})

test('createPinnedAxios is a drop-in instance, and createPinning shares one policy between instances', async () => {
  const api = createPinnedAxios({ allowedSHAFingerprints: pins, tls }, { baseURL: genuine.url })
  expect((await api.get('/')).status).toBe(200)

  const pinning = createPinning({ allowedSHAFingerprints: pins, tls })
  pinnings.push(pinning)
  const [first, second] = [axios.create(), axios.create()]
  pinning.attach(first)
  pinning.attach(second)
  await first.get(genuine.url)
  await second.get(genuine.url)
  expect(pinning.status().counters.accepted).toBe(1)
  pinning.update([impostorLeaf.pin, impostorLeaf.fingerprint])
  expect((await failure(first.get(genuine.url))).code).toBe('ERR_PIN_MISMATCH')
  expect(pinning.status().revision).toBe(2)
})

test('the interceptor alone, Dio’s way, pins a request', async () => {
  const pinning = createPinning({ allowedSHAFingerprints: pins, tls })
  pinnings.push(pinning)
  const api = axios.create()
  api.interceptors.request.use(pinning.interceptor)
  expect((await api.get(genuine.url)).status).toBe(200)
  expect((await failure(api.get(impostor.url))).code).toBe('ERR_PIN_MISMATCH')
})

test('detach restores the instance exactly', async () => {
  const api = axios.create({ httpsAgent: new https.Agent({ ca: root.pem }) })
  const own = (object: object): unknown => Object.getOwnPropertyNames(object).map((name) => [name, Object.getOwnPropertyDescriptor(object, name)])
  const before = JSON.stringify([own(api), own(api.interceptors), own(api.interceptors.request), own(api.defaults)])
  const { create } = api
  const pinning = createPinning({ allowedSHAFingerprints: pins, tls })
  const detach = pinning.attach(api)
  expect(pinning.attach(api)).toBe(detach)
  detach()
  detach()

  expect(JSON.stringify([own(api), own(api.interceptors), own(api.interceptors.request), own(api.defaults)])).toBe(before)
  expect(Object.getOwnPropertySymbols(api)).toEqual([])
  expect(api.create).toBe(create)
  expect(Object.hasOwn(api.interceptors.request, 'forEach')).toBe(false)
  expect((await api.get(impostor.url)).status).toBe(200)
})

test('pinning.detach() does the same, to instances that are its own; closed and attached once more, a pinning pins', async () => {
  const [api, other] = [axios.create(), axios.create()]
  const unpinned = { httpsAgent: new https.Agent({ ca: root.pem }) }
  const [pinning, another] = [createPinning({ allowedSHAFingerprints: pins, tls }), createPinning({ allowedSHAFingerprints: pins, tls })]
  pinnings.push(pinning, another)
  pinning.attach(api)
  another.attach(other)
  pinning.detach(other)
  pinning.detach(axios.create())
  expect((await failure(other.get(impostor.url))).code).toBe('ERR_PIN_MISMATCH')
  await pinning.close()
  expect((await failure(api.get(impostor.url))).code).toBe('ERR_PIN_MISMATCH')
  expect((await api.get(genuine.url)).status).toBe(200)
  pinning.detach(api)
  expect((await api.get(impostor.url, unpinned)).status).toBe(200)
  another.attach(api)
  expect((await failure(api.get(impostor.url))).code).toBe('ERR_PIN_MISMATCH')
})

test('attaching a second pinning to an instance is an error that says what to do', () => {
  const api = axios.create()
  pin(api)
  expect(() => pinAxios(api, { allowedSHAFingerprints: pins })).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID', message: expect.stringMatching(/update\(pins\).*detach\(instance\)/) }))
  expect(() => pinAxios({} as AxiosInstance, { allowedSHAFingerprints: pins })).toThrow(TypeError)
})

test('instances made by create() of a pinned instance are pinned, and theirs too', async () => {
  const api = axios.create()
  pin(api)
  const child = (api as unknown as typeof axios).create({ timeout: 4_000 })
  const grandchild = (child as unknown as typeof axios).create()
  const before = impostor.decryptedBytes
  for (const each of [child, grandchild]) expect((await failure(each.get(impostor.url))).code).toBe('ERR_PIN_MISMATCH')
  expect((await grandchild.get(genuine.url)).status).toBe(200)
  expect(impostor.decryptedBytes).toBe(before)
})

test('axios-retry does not repeat a pin refusal when told how, and repeats other failures through the pins', async () => {
  const api = axios.create()
  const pinning = pin(api)
  const attempts: string[] = []
  axiosRetry(api, { retries: 2, retryDelay: () => 1, retryCondition: (error) => findPinningError(error) === undefined && axiosRetry.isNetworkOrIdempotentRequestError(error), onRetry: (_count, error) => void attempts.push(String(error.response?.status)) })

  expect((await failure(api.get(impostor.url))).code).toBe('ERR_PIN_MISMATCH')
  expect(pinning.status().counters.refused).toBe(1)

  let answers = 0
  const flaky = await startServer({ certificate: genuineLeaf, handler: (_req, res) => res.writeHead(++answers < 3 ? 503 : 200).end('late') })
  expect((await api.get(flaky.url)).data).toBe('late')
  expect(attempts).toEqual(['503', '503'])
  await flaky.close()
})

test('a refused request can be sent again by hand, and meets the pins again', async () => {
  const api = axios.create()
  const pinning = pin(api)
  const error = await failure(api.get(impostor.url))
  expect((await failure(api.request(error.config as never))).code).toBe('ERR_PIN_MISMATCH')
  pinning.update([impostorLeaf.pin, impostorLeaf.fingerprint])
  expect((await api.request(error.config as never)).status).toBe(200)
})

test('redirects, streams both ways, form uploads, time-outs, aborts and concurrency work as without pins', async () => {
  const server = await startServer({
    certificate: genuineLeaf,
    handler: (req, res) => {
      if (req.url === '/hop') return void res.writeHead(302, { location: '/landed' }).end()
      if (req.url === '/slow') return
      res.writeHead(200, { 'content-type': 'text/plain', 'x-type': String(req.headers['content-type']) })
      req.pipe(res)
    }
  })
  const api = axios.create({ baseURL: server.url })
  pin(api)
  expect((await api.get('/hop')).request.path).toBe('/landed')
  expect((await failure(api.get('/slow', { timeout: 100 }))).code).toBe('ECONNABORTED')
  const abort = new AbortController()
  const aborted = failure(api.get('/slow', { signal: abort.signal }))
  setTimeout(() => abort.abort(), 50)
  expect((await aborted).code).toBe('ERR_CANCELED')
  const upload = await api.post('/', Readable.from([Buffer.alloc(70_000, 1), Buffer.alloc(70_000, 2)]), { responseType: 'stream' })
  const sink = new PassThrough()
  let length = 0
  sink.on('data', (chunk: Buffer) => (length += chunk.length))
  await new Promise((resolve, reject) => upload.data.pipe(sink).on('end', resolve).on('error', reject))
  expect(length).toBe(140_000)
  const form = await api.postForm('/', { a: '1', file: Buffer.from('hello') })
  expect(form.headers['x-type']).toContain('multipart/form-data')
  const many = await Promise.all(Array.from({ length: 200 }, (_, i) => api.post('/', `n${i}`)))
  expect(many.map(({ data }) => String(data))).toEqual(Array.from({ length: 200 }, (_, i) => `n${i}`))
  await server.close()
})

test('a stalled handshake ends at the request’s timeout', async () => {
  const stalled = await startStalledServer()
  const api = axios.create()
  pin(api)
  expect((await failure(api.get(`https://localhost:${stalled.port}/`, { timeout: 150 }))).code).toBe('ECONNABORTED')
  await stalled.close()
})

test('report-only lets a mismatch pass and tells; PKI failures still block; off looks at nothing', async () => {
  const stranger = await startServer({ certificate: createAuthority().issue() })
  const bad: PinReport[] = []
  const api = axios.create()
  pin(api, { mode: 'report-only', onBadCertificate: (report) => bad.push(report) })
  expect((await api.get(impostor.url)).status).toBe(200)
  expect((await failure(api.get(stranger.url))).code).toBe('UNABLE_TO_VERIFY_LEAF_SIGNATURE')
  expect(bad.map(({ decision, result, error }) => [decision, result, error?.code])).toEqual([
    ['tolerated', 'mismatch', 'ERR_PIN_MISMATCH'],
    ['refused', 'untrusted', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE']
  ])
  const free = axios.create({ httpsAgent: new https.Agent({ ca: root.pem }) })
  pin(free, { mode: 'off' })
  expect((await free.get(impostor.url)).status).toBe(200)
  await stranger.close()
})

test('no header, cookie, URL query, body or key of a request reaches the log or a report', async () => {
  const lines: string[] = []
  const logger = { warn: (...args: unknown[]) => void lines.push(JSON.stringify(args)), debug: (...args: unknown[]) => void lines.push(JSON.stringify(args)) }
  const api = axios.create()
  const report = (each: PinReport): void => void lines.push(JSON.stringify(each), String(each))
  pin(api, { logger, onValidCertificate: report, onBadCertificate: report })
  for (const { url } of [genuine, impostor]) {
    await api.post(`${url}/path-c4n4ry?q=c4n4ry`, 'c4n4ry', { headers: { authorization: 'Bearer c4n4ry', cookie: 'id=c4n4ry' } }).catch(() => undefined)
  }
  await failure(api.get(`http://user:c4n4ry@localhost:1/c4n4ry`))
  expect(lines.length).toBeGreaterThanOrEqual(4)
  expect(lines.join('\n')).not.toContain('c4n4ry')
})

test("mode 'off' keeps the options tls, agent and proxy, and lets what would leave the agent go in silence", async () => {
  const spy = jest.spyOn(process, 'emitWarning').mockImplementation()
  const api = axios.create()
  const pinning = pinAxios(api, { allowedSHAFingerprints: pins, tls, mode: 'off' })
  pinnings.push(pinning)
  expect((await api.get(impostor.url)).status).toBe(200)
  expect(Object.keys(pinning.agent.freeSockets)).toHaveLength(1)
  expect((await api.get(impostor.url, { httpsAgent: new https.Agent({ ca: root.pem }) })).status).toBe(200)
  expect(spy.mock.calls.map(([text]) => String(text)).filter((text) => text.includes('let pass'))).toEqual([])
  spy.mockRestore()
})
