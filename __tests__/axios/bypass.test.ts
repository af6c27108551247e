import axios, { AxiosError } from 'axios'
import type { AxiosInstance, AxiosRequestConfig, InternalAxiosRequestConfig } from 'axios'
import { readFileSync } from 'node:fs'
import * as http from 'node:http'
import * as https from 'node:https'
import { join } from 'node:path'
import { connect } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import { Agent } from 'undici'
import { pinAxios } from '../../lib/index.js'
import type { Pinning, PinningOptions } from '../../lib/index.js'
import { axiosHas, axiosIs } from '../support/axios-version.js'
import { loadModule } from '../../lib/policy/load-module.js'
import { startProxy } from '../support/proxies.js'
import type { TestProxy } from '../support/proxies.js'
import { createAuthority } from '../support/pki.js'
import { startPlainServer, startServer } from '../support/servers.js'
import type { PlainServer, TestServer } from '../support/servers.js'

// Each way around a pinned agent, against an impostor whose certificate the client trusts. `ca` is given to everything
// that could carry it, so that nothing but the pins stands between the request and the impostor.

const root = createAuthority({ name: 'Public Root' })
const genuineLeaf = root.issue()
const otherLeaf = root.issue()
const ca = root.pem

let genuine: TestServer
let impostor: TestServer
let plain: PlainServer
let tunnel: TestProxy
let tunnels: typeof import('https-proxy-agent')
let redirector: TestServer
const pinnings: Pinning[] = []

beforeAll(async () => {
  genuine = await startServer({ certificate: genuineLeaf })
  impostor = await startServer({ certificate: otherLeaf, alpn: ['h2', 'http/1.1'] })
  plain = await startPlainServer()
  tunnel = await startProxy()
  tunnels = await loadModule('https-proxy-agent', () => import('https-proxy-agent'))
  redirector = await startServer({ certificate: genuineLeaf, handler: (req, res) => void res.writeHead(307, { location: decodeURIComponent(req.url?.slice(1) ?? '') }).end() })
})

afterEach(async () => {
  for (const name of proxyVariables) delete process.env[name]
  await Promise.all(pinnings.splice(0).map((pinning) => pinning.close()))
})

afterAll(() => Promise.all([genuine, impostor, plain, redirector, tunnel].map((server) => server.close())))

const proxyVariables = ['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy', 'HTTP_PROXY', 'NO_PROXY']

function pinned(defaults: AxiosRequestConfig = {}, options: PinningOptions = {}): AxiosInstance {
  const instance = axios.create(defaults as never)
  pinnings.push(pinAxios(instance, { allowedSHAFingerprints: [genuineLeaf.fingerprint, genuineLeaf.pin], tls: { ca }, ...options }))
  return instance
}

async function codeOf(request: () => Promise<unknown>): Promise<string> {
  try {
    await request()
    return 'answered'
  } catch (error) {
    expect(error).toBeInstanceOf(AxiosError)
    return (error as AxiosError).code ?? (error as Error).message
  }
}

const agent = new https.Agent({ ca })
const proxyOf = (): { protocol: string; host: string; port: number } => ({ protocol: 'http', host: '127.0.0.1', port: tunnel.port })
const leaky = { request: (options: object, callback: (res: http.IncomingMessage) => void) => https.request({ ...options, agent }, callback) }
const leakyDispatcher = new Agent({ connect: { ca } })
const leakyFetch = (input: string | URL | Request, init?: RequestInit): Promise<Response> => fetch(input, { ...init, dispatcher: leakyDispatcher as never })
const leakyConnection = (authority: URL): TLSSocket => connect({ host: authority.hostname, port: Number(authority.port), ca, ALPNProtocols: ['h2'] })
const directAdapter = (config: InternalAxiosRequestConfig): Promise<never> => axios.create({ httpsAgent: agent, proxy: false }).request({ url: config.url as string, method: 'post', data: 'secret' })

// What an older axios does not have is refused.
const fetchCode = axiosHas.fetch ? 'ERR_PIN_MISMATCH' : 'ERR_PIN_BYPASS'
const http2Code = axiosHas.http2 ? 'ERR_PIN_MISMATCH' : 'ERR_PIN_BYPASS'

/** What a request may bring along, as the README lists it; `what` is the column of the table. */
const ways: Array<{ option: string; what: string; code: string; config: () => AxiosRequestConfig }> = [
  { option: '`httpsAgent` that opens tunnels (https-proxy-agent, socks-proxy-agent)', what: 'pinned', code: 'ERR_PIN_MISMATCH', config: () => ({ httpsAgent: new tunnels.HttpsProxyAgent(tunnel.url) }) },
  { option: '`httpsAgent` of another kind', what: 'refused', code: 'ERR_PIN_BYPASS', config: () => ({ httpsAgent: agent }) },
  { option: '`httpsAgent: null` or `false`', what: 'pinned', code: 'ERR_PIN_MISMATCH', config: () => ({ httpsAgent: null }) },
  { option: '`httpAgent`', what: 'pinned', code: 'ERR_PIN_MISMATCH', config: () => ({ httpAgent: new http.Agent() }) },
  { option: "`adapter: 'fetch'`", what: 'pinned', code: fetchCode, config: () => ({ adapter: 'fetch' }) },
  { option: "`adapter: ['xhr', 'fetch', …]`", what: 'pinned', code: fetchCode, config: () => ({ adapter: ['xhr', 'FETCH' as 'fetch', 'http'] }) },
  { option: '`env.fetch`', what: 'refused', code: 'ERR_PIN_BYPASS', config: () => ({ adapter: 'fetch', env: { fetch: leakyFetch } }) as AxiosRequestConfig },
  { option: '`fetchOptions.dispatcher`', what: 'refused', code: 'ERR_PIN_BYPASS', config: () => ({ adapter: 'fetch', fetchOptions: { dispatcher: leakyDispatcher } }) },
  { option: "`adapter: 'xhr'`", what: 'refused', code: 'ERR_PIN_BYPASS', config: () => ({ adapter: 'xhr' }) },
  { option: '`adapter: function`', what: 'refused', code: 'ERR_PIN_BYPASS', config: () => ({ adapter: directAdapter }) },
  { option: '`transport`', what: 'refused', code: 'ERR_PIN_BYPASS', config: () => ({ transport: leaky }) as AxiosRequestConfig },
  { option: '`socketPath`', what: 'refused', code: 'ERR_PIN_BYPASS', config: () => ({ socketPath: '/nowhere.sock' }) },
  { option: '`httpVersion: 2`', what: 'pinned', code: http2Code, config: () => ({ httpVersion: 2, http2Options: { rejectUnauthorized: false } }) as AxiosRequestConfig },
  { option: '`http2Options` with TLS options, `createConnection`, `host`, …', what: 'refused', code: 'ERR_PIN_BYPASS', config: () => ({ httpVersion: 2, http2Options: { createConnection: leakyConnection } }) as AxiosRequestConfig },
  { option: '`proxy: { … }`, and `HTTPS_PROXY`, `ALL_PROXY` in the environment', what: 'pinned', code: 'ERR_PIN_MISMATCH', config: () => ({ proxy: proxyOf() }) },
  { option: '`proxy: false`', what: 'pinned', code: 'ERR_PIN_MISMATCH', config: () => ({ proxy: false }) },
  { option: '`maxRedirects: 0`', what: 'pinned', code: 'ERR_PIN_MISMATCH', config: () => ({ maxRedirects: 0 }) },
  { option: '`lookup`, `family`', what: 'pinned', code: 'ERR_PIN_MISMATCH', config: () => ({ lookup: (_host: string, _options: object, callback: (error: null, address: string, family: number) => void) => callback(null, '127.0.0.1', 4) }) as AxiosRequestConfig },
  { option: '`insecureHTTPParser`, `maxRate`, `headers.Host`', what: 'pinned', code: 'ERR_PIN_MISMATCH', config: () => ({ insecureHTTPParser: true, headers: { Host: 'localhost' } }) },
  { option: '`transformRequest` that changes the config', what: 'refused', code: 'ERR_PIN_BYPASS', config: () => ({ transformRequest: [function (this: AxiosRequestConfig, data: unknown) { this.httpsAgent = agent; return data }] as never }) }
]

describe.each(ways)('$option', ({ what, code, config }) => {
  test(`in a request: ${what} (${code}), and the impostor gets nothing`, async () => {
    expect(await codeOf(() => pinned().post(impostor.url, 'secret', config()))).toBe(code)
    expect(impostor.decryptedBytes).toBe(0)
  })

  test('in the defaults of the instance, changed after it was pinned', async () => {
    const api = pinned()
    Object.assign(api.defaults, config())
    expect(await codeOf(() => api.post(impostor.url, 'secret'))).toBe(code)
    expect(impostor.decryptedBytes).toBe(0)
  })

  test.each(['before', 'after'])('set by an interceptor added %s pinning, in either order of interceptors', async (when) => {
    for (const legacyInterceptorReqResOrdering of axiosHas.interceptorOrder ? [true, false] : [undefined]) {
      const api = axios.create(legacyInterceptorReqResOrdering === undefined ? {} : { transitional: { legacyInterceptorReqResOrdering } as never })
      const use = (): void => void api.interceptors.request.use((request) => ({ ...request, ...config() }) as InternalAxiosRequestConfig)
      if (when === 'before') use()
      pinnings.push(pinAxios(api, { allowedSHAFingerprints: [genuineLeaf.fingerprint, genuineLeaf.pin], tls: { ca } }))
      if (when === 'after') use()
      expect(await codeOf(() => api.post(impostor.url, 'secret'))).toBe(code)
    }
    expect(impostor.decryptedBytes).toBe(0)
  })
})

test('the README lists each of these', () => {
  const table = ['| axios option | | code |', '|---|---|---|', ...ways.map(({ option, what, code }) => `| ${option} | ${what} | ${what === 'refused' ? `\`${code}\`` : ''} |`)].join('\n')
  expect(readFileSync(join(__dirname, '../../README.md'), 'utf8').includes(table) ? '' : `the README needs this table:\n${table}`).toBe('')
})

test.each(['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy'])('%s in the environment: the pins hold inside the tunnel', async (name) => {
  process.env[name] = tunnel.url
  const before = tunnel.asked.length
  expect(await codeOf(() => pinned().post(impostor.url, 'secret'))).toBe('ERR_PIN_MISMATCH')
  expect((await pinned().get(genuine.url)).status).toBe(200)
  expect([tunnel.asked.length - before, impostor.decryptedBytes]).toEqual([2, 0])
})

test('plain http: URLs and redirects to them are refused, and carry nothing', async () => {
  const before = plain.receivedBytes
  expect(await codeOf(() => pinned().post(plain.url, 'secret'))).toBe('ERR_PIN_BYPASS')
  expect(await codeOf(() => pinned({ baseURL: plain.url }).get('/'))).toBe('ERR_PIN_BYPASS')
  expect(await codeOf(() => pinned().post(`${redirector.url}/${encodeURIComponent(plain.url)}`, 'secret', { headers: { authorization: 'Bearer x' } }))).toBe('ERR_PIN_BYPASS')
  expect(await codeOf(() => pinned({}, { unpinnedHosts: 'allow' }).get(plain.url))).toBe('ERR_PIN_BYPASS')
  expect(plain.receivedBytes).toBe(before)
})

test('with unpinnedHosts: allow a host without pins is spoken to, over http: too, and a pinned one never over http:', async () => {
  const api = pinned({}, { allowedSHAFingerprints: undefined as never, pins: { localhost: [genuineLeaf.fingerprint, genuineLeaf.pin] }, unpinnedHosts: 'allow' })
  expect((await api.get(`http://127.0.0.1:${plain.port}/`)).status).toBe(200)
  expect((await api.get(`https://127.0.0.1:${impostor.port}/`)).status).toBe(200)
  expect(await codeOf(() => api.get(`http://localhost:${plain.port}/`))).toBe('ERR_PIN_BYPASS')
})

test('each hop of a redirect is judged by the policy of its own host', async () => {
  const before = impostor.decryptedBytes
  const hop = (target: string): string => `${redirector.url}/${encodeURIComponent(target)}`
  expect(await codeOf(() => pinned().post(hop(impostor.url), 'secret'))).toBe('ERR_PIN_MISMATCH')
  const api = pinned({}, { allowedSHAFingerprints: undefined as never, pins: { localhost: [genuineLeaf.fingerprint, genuineLeaf.pin] } })
  expect(await codeOf(() => api.post(hop(`https://127.0.0.1:${impostor.port}/`), 'secret'))).toBe('ERR_PIN_HOST_UNPINNED')
  const beforeRedirect = (options: Record<string, unknown>): void => void Object.assign(options, { agents: { https: agent }, agent, nativeProtocols: { 'https:': { request: leaky.request } } })
  expect(await codeOf(() => pinned().post(hop(impostor.url), 'secret', { beforeRedirect }))).toBe('ERR_PIN_MISMATCH')
  expect(impostor.decryptedBytes).toBe(before)
})

test('a beforeRedirect that changes the protocols in place leaks neither on that hop nor on a later request', async () => {
  const before = impostor.decryptedBytes
  const beforeRedirect = (options: Record<string, unknown>): void => {
    const protocols = options['nativeProtocols'] as Record<string, unknown>
    protocols['https:'] = { request: leaky.request }
    if (protocols['http:']) (protocols['http:'] as Record<string, unknown>)['request'] = leaky.request
  }
  expect(await codeOf(() => pinned().post(`${redirector.url}/${encodeURIComponent(impostor.url)}`, 'secret', { beforeRedirect }))).toBe('ERR_PIN_MISMATCH')
  expect(await codeOf(() => pinned().post(impostor.url, 'secret'))).toBe('ERR_PIN_MISMATCH')
  expect(impostor.decryptedBytes).toBe(before)
})

test('a config that a lax pinning has sealed is sealed anew by a strict one', async () => {
  const before = impostor.decryptedBytes
  const lax = pinned({}, { mode: 'report-only' })
  const strict = pinned()
  let sent: InternalAxiosRequestConfig | undefined
  lax.interceptors.request.use((config) => (sent = config))
  expect((await lax.get(impostor.url)).status).toBe(200)
  strict.interceptors.request.use(() => sent as InternalAxiosRequestConfig)
  const between = impostor.decryptedBytes
  expect(between).toBeGreaterThan(before)
  expect(await codeOf(() => strict.post(impostor.url, 'secret'))).toBe('ERR_PIN_MISMATCH')
  expect(impostor.decryptedBytes).toBe(between)
})

test('no credential reaches a refused hop', async () => {
  const [bytes, received] = [impostor.decryptedBytes, plain.receivedBytes]
  const pins = { localhost: [genuineLeaf.fingerprint, genuineLeaf.pin] }
  for (const unpinnedHosts of ['refuse', 'allow'] as const) {
    const api = pinned({ headers: { authorization: 'Bearer secret', cookie: 'session=secret' }, auth: { username: 'user', password: 'secret' } } as AxiosRequestConfig, { allowedSHAFingerprints: undefined as never, pins, unpinnedHosts })
    const targets = [impostor.url, `http://localhost:${plain.port}/`, ...(unpinnedHosts === 'refuse' ? [`https://127.0.0.1:${impostor.port}/`, plain.url.replace('localhost', '127.0.0.1')] : [])]
    for (const target of targets) {
      for (const method of ['get', 'post', 'put'] as const) expect(await codeOf(() => api.request({ method, url: `${redirector.url}/${encodeURIComponent(target)}`, data: method === 'get' ? undefined : 'secret' }))).toMatch(/^ERR_PIN_/)
    }
  }
  expect([impostor.decryptedBytes - bytes, plain.receivedBytes - received]).toEqual([0, 0])
})

test('a trailing dot, upper case or another spelling of the host misses no pins', async () => {
  const before = impostor.decryptedBytes
  const api = pinned({}, { allowedSHAFingerprints: undefined as never, pins: { localhost: [genuineLeaf.fingerprint, genuineLeaf.pin] }, unpinnedHosts: 'allow' })
  const lookup = (_host: string, _options: object, callback: (error: null, address: string, family: number) => void): void => callback(null, '127.0.0.1', 4)
  for (const host of axiosHas.lookup ? ['localhost.', 'LOCALHOST', 'LocalHost.'] : ['LOCALHOST', 'LocalHost']) expect(await codeOf(() => api.post(`https://${host}:${impostor.port}/`, 'secret', { lookup } as AxiosRequestConfig))).toBe('ERR_PIN_MISMATCH')
  expect(impostor.decryptedBytes).toBe(before)
})

test('interceptors cleared, ejected or their manager replaced leave the pins in place', async () => {
  const before = impostor.decryptedBytes
  const api = pinned()
  api.interceptors.request.clear()
  for (let id = 0; id < 5; id++) api.interceptors.request.eject(id)
  ;(api.interceptors.request as unknown as { handlers: unknown[] }).handlers = []
  expect(await codeOf(() => api.post(impostor.url, 'secret'))).toBe('ERR_PIN_MISMATCH')
  api.interceptors.request = new (axios.create().interceptors.request.constructor as new () => typeof api.interceptors.request)()
  expect(await codeOf(() => api.post(impostor.url, 'secret'))).toBe('ERR_PIN_MISMATCH')
  expect(impostor.decryptedBytes).toBe(before)
})

test('an interceptor that recovers another’s error cannot bring back a config from before the guard', async () => {
  const before = impostor.decryptedBytes
  const api = pinned()
  let kept: InternalAxiosRequestConfig | undefined
  const bare = (): InternalAxiosRequestConfig => ({ ...(kept as InternalAxiosRequestConfig), httpsAgent: agent, transformRequest: [] })
  api.interceptors.request.use((config) => config, bare)
  api.interceptors.request.use((config) => {
    kept = config
    throw new Error('boom')
  })
  expect(await codeOf(() => api.post(impostor.url, 'secret'))).toBe('ERR_PIN_BYPASS')
  expect(impostor.decryptedBytes).toBe(before)
})

test('a transform cannot take the seal out', async () => {
  const before = impostor.decryptedBytes
  const strip = function (this: { transformRequest: unknown[]; httpsAgent: unknown }, data: unknown): unknown {
    this.httpsAgent = agent
    this.transformRequest.length = 0
    return data
  }
  expect(await codeOf(() => pinned().post(impostor.url, 'secret', { transformRequest: [strip] as never }))).toBe('ERR_PIN_BYPASS')
  expect(impostor.decryptedBytes).toBe(before)
})

test('a polluted Object.prototype supplies nothing', async () => {
  const before = impostor.decryptedBytes
  // Some versions of axios ask what they find there about their own options, and then refuse these themselves.
  const adapter = (config: InternalAxiosRequestConfig | undefined): unknown => config?.url && directAdapter(config)
  const polluted = { httpsAgent: agent, transport: leaky, adapter, proxy: proxyOf(), socketPath: '/nowhere', httpVersion: 2, beforeRedirect: () => undefined, ...(axiosIs('1.19') && { env: { fetch: leakyFetch }, fetchOptions: { dispatcher: leakyDispatcher }, http2Options: { ca } }) }
  for (const [name, value] of Object.entries(polluted)) {
    const api = pinned()
    Object.defineProperty(Object.prototype, name, { value, configurable: true, writable: true, enumerable: false })
    try {
      expect(await codeOf(() => api.post(impostor.url, 'secret'))).toMatch(/^ERR_(PIN_|BAD_OPTION_VALUE$)/)
    } finally {
      delete (Object.prototype as Record<string, unknown>)[name]
    }
  }
  expect(impostor.decryptedBytes).toBe(before)
})

test('a request that is sent again does not mistake what the guard set for the user’s wish', async () => {
  process.env['HTTPS_PROXY'] = tunnel.url
  const before = tunnel.asked.length
  const api = pinned()
  const answer = await api.get(genuine.url)
  expect((await api.request({ ...answer.config } as AxiosRequestConfig)).status).toBe(200)
  expect(tunnel.asked.length - before).toBe(1)
  process.env['NO_PROXY'] = 'localhost'
  process.env['HTTPS_PROXY'] = 'http://127.0.0.1:1'
  expect((await api.request(answer.config as AxiosRequestConfig)).status).toBe(200)
  delete process.env['NO_PROXY']
  const error = (await api.request(answer.config as AxiosRequestConfig).catch((thrown: unknown) => thrown)) as AxiosError
  expect(error.code).toBe('ERR_PIN_PROXY')
  process.env['HTTPS_PROXY'] = tunnel.url
  expect((await api.request(error.config as AxiosRequestConfig)).status).toBe(200)
})

test('report-only lets a request go past the agent, and says so once', async () => {
  const spy = jest.spyOn(process, 'emitWarning').mockImplementation()
  const api = pinned({}, { mode: 'report-only' })
  expect((await api.get(genuine.url, { httpsAgent: agent })).status).toBe(200)
  const warnings = spy.mock.calls.map(([text]) => String(text))
  spy.mockRestore()
  expect(warnings.filter((text) => text.includes('httpsAgent'))).toHaveLength(1)
})

test('a report-only host is no way past the agent while another host is enforced', async () => {
  const before = impostor.decryptedBytes
  const api = pinned({}, { allowedSHAFingerprints: undefined as never, pins: { localhost: [genuineLeaf.fingerprint, genuineLeaf.pin], '127.0.0.1': { mode: 'report-only', pins: [genuineLeaf.fingerprint, genuineLeaf.pin] } } })
  expect(await codeOf(() => api.post(`https://127.0.0.1:${redirector.port}/${encodeURIComponent(impostor.url)}`, 'secret', { httpsAgent: agent }))).toBe('ERR_PIN_BYPASS')
  expect(impostor.decryptedBytes).toBe(before)
})

describe('a config that two pinned instances share', () => {
  test.each([0, 1, 2, 3])('is not unsealed by the laxer one on its way (%i turns later)', async (turns) => {
    const strict = pinned()
    const lax = pinned({}, { allowedSHAFingerprints: [otherLeaf.fingerprint, otherLeaf.pin] })
    let shared: InternalAxiosRequestConfig | undefined
    const give = async (config: InternalAxiosRequestConfig): Promise<InternalAxiosRequestConfig> => (shared ??= config)
    strict.interceptors.request.use(give)
    lax.interceptors.request.use(async (config) => {
      const given = await give(config)
      for (let i = 0; i < turns; i++) await undefined
      return given
    })
    const seen = impostor.requests.length
    const [refused] = await Promise.allSettled([strict.post(impostor.url, 'secret'), lax.get(impostor.url)])
    expect(refused).toMatchObject({ status: 'rejected', reason: { code: 'ERR_PIN_MISMATCH' } })
    // The laxer one's own request.
    expect(impostor.requests.length - seen).toBe(1)
  })
})

describe('a config whose setters go nowhere', () => {
  class Stubborn {
    constructor(config: object) {
      const { httpsAgent: _, transformRequest: __, ...rest } = config as Record<string, unknown>
      Object.assign(this, rest)
    }
  }
  const stubborn = (name: string, value: unknown): ((config: InternalAxiosRequestConfig) => InternalAxiosRequestConfig) => (config) => {
    const made = new Stubborn(config)
    // Of its class, as an accessor of a class is.
    const holder = Object.create(Stubborn.prototype) as object
    Object.defineProperty(holder, name, { get: () => value, set: () => undefined, enumerable: true, configurable: true })
    Object.setPrototypeOf(made, holder)
    if (name !== 'httpsAgent') Object.assign(made, { httpsAgent: agent })
    return made as unknown as InternalAxiosRequestConfig
  }

  test.each([
    ['httpsAgent', agent],
    ['transformRequest', [(data: unknown) => data]]
  ])('%s, in a class', async (name, value) => {
    const api = pinned()
    api.interceptors.request.use(stubborn(name, value))
    const bytes = impostor.decryptedBytes
    expect(await codeOf(() => api.post(impostor.url, 'secret'))).toMatch(/^ERR_PIN_/)
    expect(impostor.decryptedBytes).toBe(bytes)
  })

  test.each(['httpsAgent', 'httpAgent', 'adapter', 'proxy', 'beforeRedirect'])('%s, in the object itself', async (name) => {
    const api = pinned()
    const leak = { httpsAgent: agent, httpAgent: agent, adapter: directAdapter, proxy: proxyOf(), beforeRedirect: undefined }[name]
    api.interceptors.request.use((config) => Object.defineProperty({ ...config }, name, { get: () => leak, set: () => undefined, enumerable: true, configurable: true }))
    const bytes = impostor.decryptedBytes
    expect(await codeOf(() => api.post(impostor.url, 'secret'))).toMatch(/^ERR_PIN_/)
    expect(impostor.decryptedBytes).toBe(bytes)
  })
})

test('a config that lets nothing be set at all is refused', async () => {
  const api = pinned()
  const unchanging: ProxyHandler<object> = { set: () => true, defineProperty: () => true }
  api.interceptors.request.use((config) => new Proxy({ ...config, transformRequest: [(data: unknown) => data], httpsAgent: agent }, unchanging) as unknown as InternalAxiosRequestConfig)
  const bytes = impostor.decryptedBytes
  await expect(api.post(impostor.url, 'secret')).rejects.toMatchObject({ code: 'ERR_PIN_BYPASS' })
  expect(impostor.decryptedBytes).toBe(bytes)
})
