import axios, { AxiosError } from 'axios'
import type { AxiosAdapter, AxiosInstance, AxiosRequestConfig, InternalAxiosRequestConfig } from 'axios'
import MockAdapter from 'axios-mock-adapter'
import { setupCache } from 'axios-cache-interceptor'
import type { CacheRequestConfig } from 'axios-cache-interceptor'
import * as https from 'node:https'
import { createPinningAgent, findPinningError, pinAxios } from '../../lib/index.js'
import type { Pinning, PinningOptions } from '../../lib/index.js'
import { axiosHas } from '../support/axios-version.js'
import { createAuthority } from '../support/pki.js'
import { startPlainServer, startServer } from '../support/servers.js'
import type { PlainServer, TestServer } from '../support/servers.js'

// dangerAllowAdapter: who is let past, who is not, and what becomes of the requests that an allowed adapter hands on.

const root = createAuthority({ name: 'Public Root' })
const genuineLeaf = root.issue()
const impostorLeaf = root.issue()

let genuine: TestServer
let impostor: TestServer
let plain: PlainServer
const pinnings: Pinning[] = []
let warnings: jest.SpyInstance

beforeAll(async () => {
  genuine = await startServer({ certificate: genuineLeaf })
  impostor = await startServer({ certificate: impostorLeaf })
  plain = await startPlainServer()
})

beforeEach(() => {
  warnings = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
})

afterEach(async () => {
  jest.restoreAllMocks()
  delete process.env['HTTPS_PROXY']
  await Promise.all(pinnings.splice(0).map((pinning) => pinning.close()))
})

afterAll(() => Promise.all([genuine, impostor, plain].map((server) => server.close())))

function pin(instance: AxiosInstance, options: PinningOptions = {}): Pinning {
  const pinning = pinAxios(instance, { allowedSHAFingerprints: [genuineLeaf.fingerprint, genuineLeaf.pin], tls: { ca: root.pem }, ...options })
  pinnings.push(pinning)
  return pinning
}

function pinned(dangerAllowAdapter: unknown, options: PinningOptions = {}): AxiosInstance {
  const api = axios.create()
  pin(api, { dangerAllowAdapter: dangerAllowAdapter as never, ...options })
  return api
}

async function failure(request: Promise<unknown>): Promise<AxiosError> {
  return await request.then(
    () => {
      throw new Error('the request was answered')
    },
    (error: AxiosError) => error
  )
}

const answer: AxiosAdapter = async (config) => await Promise.resolve({ data: 'double', status: 200, statusText: 'OK', headers: {}, config })
const always = (): boolean => true

test('the callback gets the function and the request, and says who is let past', async () => {
  const asked: unknown[] = []
  const api = pinned((adapter: unknown, config: AxiosRequestConfig) => {
    asked.push([adapter, config.method, config.url])
    return config.url === `${impostor.url}/double`
  })
  const response = await api.post(`${impostor.url}/double`, 'secret', { adapter: answer })
  expect(response.data).toBe('double')
  expect((await failure(api.get(`${impostor.url}/other`, { adapter: answer }))).code).toBe('ERR_PIN_BYPASS')
  expect(asked).toEqual([[answer, 'post', `${impostor.url}/double`], [answer, 'get', `${impostor.url}/other`]])
  expect((await failure(api.get(`${impostor.url}/double`))).code).toBe('ERR_PIN_MISMATCH')
  expect(asked).toHaveLength(2)
  expect(impostor.decryptedBytes).toBe(0)
})

test('the response and the error of an allowed adapter carry the request’s own config, which can be sent again', async () => {
  const api = pinned(always)
  let interceptorSaw: unknown
  api.interceptors.response.use((response) => {
    interceptorSaw = response.config
    return response
  })
  const first = await api.get(genuine.url, { adapter: answer })
  expect(first.config).toBe(interceptorSaw)
  first.config.timeout = 1234
  expect(Reflect.deleteProperty(first.config, 'httpsAgent')).toBe(true)
  expect((await api.request(first.config)).data).toBe('double')

  const failing = jest.fn(async (config: InternalAxiosRequestConfig) => await Promise.reject(new AxiosError('down', 'ECONNRESET', config)))
  const error = await failure(api.get(genuine.url, { adapter: failing as never }))
  expect(Reflect.deleteProperty(error.config as object, 'httpsAgent')).toBe(true)
  expect((await failure(api.request(error.config as AxiosRequestConfig))).message).toBe('down')
  expect(failing).toHaveBeenCalledTimes(2)
})

describe('fails closed', () => {
  const circular: Record<string, unknown> = {}
  test.each<[string, unknown]>([
    ['a callback that throws', () => { throw new Error('boom') }],
    ['a promise of true', () => Promise.resolve(true)],
    ['a promise that rejects', () => Promise.reject(new Error('boom'))],
    ['1', () => 1],
    ["'true'", () => 'true'],
    ['undefined', () => undefined],
    ['an object', () => circular],
    ['false', () => false]
  ])('%s', async (_what, callback) => {
    const adapter = jest.fn(answer)
    const error = await failure(pinned(callback).post(impostor.url, 'secret', { adapter }))
    expect(error).toBeInstanceOf(AxiosError)
    expect([error.code, error.message]).toEqual(['ERR_PIN_BYPASS', expect.stringContaining('dangerAllowAdapter')])
    expect(adapter).not.toHaveBeenCalled()
  })

  test('what a throwing callback threw is the cause', async () => {
    const boom = new Error('boom')
    const error = await failure(pinned(() => { throw boom }).get(genuine.url, { adapter: answer }))
    expect(findPinningError(error)?.cause).toBe(boom)
  })

  test('without the option, and for the names of axios’ other adapters whatever it says', async () => {
    expect((await failure(pinned(undefined).get(genuine.url, { adapter: answer }))).message).toContain('dangerAllowAdapter')
    const asked = jest.fn(always)
    expect((await failure(pinned(asked).get(genuine.url, { adapter: 'xhr' }))).code).toBe('ERR_PIN_BYPASS')
    expect(asked).not.toHaveBeenCalled()
  })

  test('anything but a function is an error of the options', () => {
    expect(() => pin(axios.create(), { dangerAllowAdapter: true as never })).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID', message: expect.stringContaining('dangerAllowAdapter') }))
    Object.defineProperty(Object.prototype, 'dangerAllowAdapter', { value: always, configurable: true })
    try {
      expect(pin(axios.create()).status().warnings).toEqual([])
    } finally {
      delete (Object.prototype as { dangerAllowAdapter?: unknown }).dangerAllowAdapter
    }
  })
})

test('it is shown in status() and warned about once', async () => {
  const api = axios.create()
  const pinning = pin(api, { dangerAllowAdapter: always })
  await api.get(genuine.url, { adapter: answer })
  await api.get(genuine.url, { adapter: answer })
  pinning.update([genuineLeaf.fingerprint, genuineLeaf.pin])
  expect(pinning.status().warnings).toEqual([expect.stringContaining('dangerAllowAdapter')])
  expect(JSON.parse(JSON.stringify(pinning.status()))).toEqual(pinning.status())
  expect(warnings.mock.calls.filter(([text]) => String(text).includes('dangerAllowAdapter'))).toHaveLength(1)
})

describe('what it hands to axios’ own adapter is pinned', () => {
  const agent = new https.Agent({ ca: root.pem })
  const outside = axios.create()
  const own = axiosHas.getAdapter ? axios.getAdapter('http') : ((config) => outside.request({ ...config, adapter: 'http', transformRequest: [] })) as AxiosAdapter

  /** Adapters that hand the request on, and how the impostor's refusal reads. */
  const handers: Array<[string, (api: AxiosInstance) => AxiosAdapter, string]> = [
    ['axios.getAdapter', () => (config) => own(config), 'ERR_PIN_MISMATCH'],
    ['axios.getAdapter with a copy', () => (config) => own({ ...config }), 'ERR_PIN_MISMATCH'],
    ['the list of the defaults, through a copy made by an instance outside', () => (config) => outside.request({ ...config, adapter: outside.defaults.adapter as never, transformRequest: [], transformResponse: [] }), 'ERR_PIN_MISMATCH'],
    ['an instance outside, with axios’ other defaults', () => (config) => outside.request({ ...config, adapter: 'http' }), 'ERR_PIN_MISMATCH'],
    ['the same instance', (api) => (config) => api.request({ ...config, adapter: 'http' }), 'ERR_PIN_MISMATCH'],
    ['an instance made by the pinned one', (api) => (config) => (api as unknown as typeof axios).create().request({ ...config, adapter: 'http', transformRequest: [] }), 'ERR_PIN_MISMATCH'],
    ['the agent taken out first', () => (config) => { delete config.httpsAgent; return own(config) }, 'TypeError'],
    ['another agent put in', () => (config) => { config.httpsAgent = agent; return own(config) }, 'TypeError'],
    ['proxy put in', () => (config) => { config.proxy = { protocol: 'http', host: '127.0.0.1', port: plain.port }; return own(config) }, 'TypeError'],
    ['a transport defined', () => (config) => own(Object.defineProperty(config, 'transport', { value: https })), 'TypeError'],
    ['another agent put in, on the pinned instance', (api) => (config) => api.request({ ...config, adapter: 'http', httpsAgent: agent }), 'ERR_PIN_BYPASS']
  ]

  test.each(handers)('%s', async (_what, makeAdapter, code) => {
    const api = pinned(always)
    const adapter = makeAdapter(api)
    const error = await failure(api.post(impostor.url, 'secret', { adapter }))
    expect(error.code ?? error.name).toBe(code)
    expect(impostor.decryptedBytes).toBe(0)
    if (code === 'ERR_PIN_MISMATCH') expect((await api.post(genuine.url, 'hello', { adapter })).data).toMatchObject({ ok: true, length: 5 })
  })

  test('redirects, plain http: and the environment’s proxy included', async () => {
    const hop = await startServer({ certificate: genuineLeaf, handler: (_req, res) => void res.writeHead(307, { location: impostor.url }).end() })
    const adapter: AxiosAdapter = (config) => own(config)
    const before = plain.receivedBytes
    expect((await failure(pinned(always).post(hop.url, 'secret', { adapter }))).code).toBe('ERR_PIN_MISMATCH')
    expect((await failure(pinned(always).post(plain.url, 'secret', { adapter }))).code).toBe('ERR_PIN_BYPASS')
    await hop.close()
    expect([plain.receivedBytes - before, impostor.decryptedBytes]).toEqual([0, 0])
  })

  test('a request that is refused for another reason is answered by a double, and refused when handed on', async () => {
    const api = axios.create()
    const pinning = pin(api, { dangerAllowAdapter: always })
    const config = { httpsAgent: agent } as AxiosRequestConfig
    expect((await api.get(impostor.url, { ...config, adapter: answer })).data).toBe('double')
    expect((await api.get(plain.url, { adapter: answer })).data).toBe('double')
    expect(pinning.status().counters.blocked).toBe(0)
    for (const adapter of [((given) => own(given)) as AxiosAdapter, ((given) => api.request({ ...given, adapter: 'http', transformRequest: [] })) as AxiosAdapter]) {
      const error = await failure(api.post(impostor.url, 'secret', { ...config, adapter }))
      expect([error.code, error.message]).toEqual(['ERR_PIN_BYPASS', expect.stringContaining('httpsAgent')])
    }
    expect(pinning.status().counters.blocked).toBe(2)
    expect(impostor.decryptedBytes).toBe(0)
  })
})

test('report-only lets a function pass that is not allowed, and seals one that is', async () => {
  const options: PinningOptions = { mode: 'report-only' }
  expect((await pinned(() => false, options).get(genuine.url, { adapter: answer })).data).toBe('double')
  const sealed = jest.fn(answer)
  await pinned(always, options).get(genuine.url, { adapter: sealed })
  expect(sealed.mock.calls[0]?.[0].httpsAgent).toBeInstanceOf(createPinningAgent({ allowedSHAFingerprints: [genuineLeaf.pin, genuineLeaf.fingerprint] }).constructor)
})

describe('axios-mock-adapter', () => {
  test.each(['before', 'after'])('put on %s pinning: it answers what it knows and passes the rest through to pinned peers only', async (when) => {
    const api = axios.create()
    const make = (): MockAdapter => new MockAdapter(api as never, { onNoMatch: 'passthrough' })
    let mock = when === 'before' ? make() : undefined
    pin(api, { dangerAllowAdapter: (adapter) => adapter === api.defaults.adapter })
    mock ??= make()
    mock.onGet(`${impostor.url}/users`).reply(200, { users: [] })
    mock.onGet(`${impostor.url}/down`).networkError()
    mock.onGet(`${impostor.url}/late`).timeout()

    expect((await api.get(`${impostor.url}/users`)).data).toEqual({ users: [] })
    expect((await failure(api.get(`${impostor.url}/down`))).message).toBe('Network Error')
    expect((await failure(api.get(`${impostor.url}/late`))).code).toBe('ECONNABORTED')
    expect((await api.post(`${genuine.url}/through`, 'hello')).data).toMatchObject({ url: '/through', length: 5 })
    expect((await failure(api.post(`${impostor.url}/through`, 'secret'))).code).toBe('ERR_PIN_MISMATCH')
    expect(mock.history.map(({ url }) => url?.replace(/.*\//, ''))).toEqual(['users', 'down', 'late', 'through', 'through'])
    mock.restore()
    expect((await failure(api.post(`${impostor.url}/users`, 'secret'))).code).toBe('ERR_PIN_MISMATCH')
    expect(impostor.decryptedBytes).toBe(0)
  })

  test('without the option it is refused', async () => {
    const api = axios.create()
    pin(api)
    new MockAdapter(api as never).onAny().reply(200)
    expect((await failure(api.get(genuine.url))).code).toBe('ERR_PIN_BYPASS')
  })
})

describe('axios-cache-interceptor', () => {
  // The types of axios for ESM and for CommonJS are not assignable to each other; these packages see the latter.
  const setUp = (api: AxiosInstance): ReturnType<typeof setupCache> => setupCache(api as never)
  const isCached = (_adapter: unknown, config: CacheRequestConfig): boolean => typeof config.cache === 'object'

  test.each(['before', 'after'])('set up %s pinning: misses are pinned, hits come from the cache', async (when) => {
    const api = axios.create()
    let cached = when === 'before' ? setUp(api) : undefined
    pin(api, { dangerAllowAdapter: isCached })
    cached ??= setUp(api)
    const before = genuine.requests.length
    const url = `${genuine.url}/${when}`

    const [first, twin] = await Promise.all([cached.get(url), cached.get(url)])
    const again = await cached.get(url)
    expect([first.cached, twin.cached, again.cached]).toEqual([false, true, true])
    expect(again.data).toEqual(first.data)
    expect(genuine.requests.length - before).toBe(1)
    expect((await failure(cached.get(impostor.url))).code).toBe('ERR_PIN_MISMATCH')
    expect((await failure(cached.get(impostor.url))).code).toBe('ERR_PIN_MISMATCH')
    expect(impostor.decryptedBytes).toBe(0)
  })

  test('without the option misses are answered and hits refused', async () => {
    const api = axios.create()
    const pinning = pin(api)
    const cached = setUp(api)
    expect((await cached.get(`${genuine.url}/alone`)).status).toBe(200)
    expect((await failure(cached.get(`${genuine.url}/alone`))).code).toBe('ERR_PIN_BYPASS')
    expect(pinning.status().counters.blocked).toBe(1)
  })
})
