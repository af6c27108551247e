import axios, { AxiosError } from 'axios'
import type { AxiosInstance, AxiosRequestConfig } from 'axios'
import { loadModule } from '../../lib/policy/load-module.js'
import { createPinningAgent, findPinningError, pinAxios } from '../../lib/index.js'
import type { PinReport, Pinning, PinningOptions, ProxyError } from '../../lib/index.js'
import { axiosIs, testFrom } from '../support/axios-version.js'
import { runChild } from '../support/child.js'
import { send, until, wait } from '../support/clients.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startProxy, startRawProxy, startSocksProxy } from '../support/proxies.js'
import type { TestProxy } from '../support/proxies.js'
import { startPlainServer, startServer } from '../support/servers.js'
import type { PlainServer, TestServer } from '../support/servers.js'

const root = createAuthority({ name: 'Public Root' })
const proxyRoot = createAuthority({ name: 'Proxy Root' })
const leaf = root.issue()
const proxyLeaf = proxyRoot.issue()
const fingerprints = [leaf.fingerprint, leaf.pin]

let genuine: TestServer
let impostor: TestServer
let plain: PlainServer
const closing: Array<() => unknown> = []

beforeAll(async () => {
  genuine = await startServer({ certificate: leaf })
  impostor = await startServer({ certificate: root.issue() })
  plain = await startPlainServer()
})

const variables = ['HTTPS_PROXY', 'https_proxy', 'HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy', 'NO_PROXY', 'no_proxy']
afterEach(async () => {
  for (const name of variables) delete process.env[name]
  for (const close of closing.splice(0).reverse()) await close()
})
afterAll(() => Promise.all([genuine, impostor, plain].map((server) => server.close())))

function pinned(options: PinningOptions = {}, defaults: AxiosRequestConfig = {}): { api: AxiosInstance; pinning: Pinning } {
  const api = axios.create(defaults as never)
  const pinning = pinAxios(api, { allowedSHAFingerprints: fingerprints, tls: { ca: root.pem }, ...options })
  closing.push(() => pinning.close())
  return { api, pinning }
}

async function proxy(...args: Parameters<typeof startProxy>): Promise<TestProxy> {
  const started = await startProxy(...args)
  closing.push(() => started.close())
  return started
}

async function raw(...args: Parameters<typeof startRawProxy>): Promise<TestProxy> {
  const started = await startRawProxy(...args)
  closing.push(() => started.close())
  return started
}

async function failure(request: Promise<unknown>): Promise<AxiosError> {
  const error = await request.then((answer) => { throw new Error(`answered: ${JSON.stringify((answer as { data: unknown }).data)}`) }, (thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(AxiosError)
  return error as AxiosError
}

const asAxiosProxy = (url: string, auth?: { username: string; password: string }): AxiosRequestConfig['proxy'] => {
  const { protocol, hostname, port } = new URL(url)
  return { protocol, host: hostname, port: Number(port), ...(auth && { auth }) }
}

describe('where the proxy is said', () => {
  test.each(['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy'])('%s, read for each request', async (name) => {
    const via = await proxy()
    const { api } = pinned()
    expect((await api.get(genuine.url)).status).toBe(200)
    expect(via.asked).toEqual([])
    process.env[name] = via.url
    expect((await api.get(genuine.url)).status).toBe(200)
    expect(via.asked.map(({ line }) => line)).toEqual([`CONNECT localhost:${genuine.port}`])
    delete process.env[name]
    expect((await api.get(genuine.url)).status).toBe(200)
    expect(via.asked).toHaveLength(1)
  })

  test('a value without a scheme takes that of the target, as in axios', async () => {
    const via = await proxy({ certificate: proxyLeaf })
    process.env['HTTPS_PROXY'] = `127.0.0.1:${via.port}`
    expect((await pinned({ proxyTls: { ca: proxyRoot.pem } }).api.get(genuine.url)).status).toBe(200)
    expect(via.asked).toHaveLength(1)
  })

  test.each([
    ['localhost', true], ['LOCALHOST', true], ['example.com, localhost', true], ['*', true], ['example.com *', true], ['.localhost', false], ['localhost:PORT', true], ['localhost:1', false],
    ['127.0.0.1', true], ['example.com', false], ['127.0.0.0/8', false], ['', false]
  ])('NO_PROXY=%s: direct %s', async (exempt, direct) => {
    const via = await proxy()
    process.env['HTTPS_PROXY'] = via.url
    process.env['NO_PROXY'] = exempt.replace('PORT', String(genuine.port))
    expect((await pinned().api.get(genuine.url)).status).toBe(200)
    expect(via.asked).toHaveLength(direct ? 0 : 1)
    // The real axios decides the same; up to 1.16 it sent https: requests to the proxy in plain text.
    if (!axiosIs('1.17')) return
    const plainAxios = await axios.get(genuine.url, { timeout: 2000, validateStatus: null }).then(() => 'answered', () => 'failed')
    expect(plainAxios).toBe('failed')
    expect(via.asked).toHaveLength(direct ? 0 : 2)
  })

  test('NO_PROXY with a range of addresses', async () => {
    const via = await proxy()
    process.env['HTTPS_PROXY'] = via.url
    process.env['NO_PROXY'] = '127.0.0.0/8'
    expect((await pinned().api.get(`https://127.0.0.1:${genuine.port}/`)).status).toBe(200)
    expect(via.asked).toEqual([])
  })

  test('config.proxy, in a request and in defaults; it comes before the environment, and false before both', async () => {
    const [one, other] = [await proxy(), await proxy()]
    process.env['HTTPS_PROXY'] = other.url
    expect((await pinned().api.get(genuine.url, { proxy: asAxiosProxy(one.url) as never })).status).toBe(200)
    expect((await pinned({}, { proxy: asAxiosProxy(one.url) as never }).api.get(genuine.url)).status).toBe(200)
    expect([one.asked.length, other.asked.length]).toEqual([2, 0])
    expect((await pinned().api.get(genuine.url, { proxy: false })).status).toBe(200)
    expect([one.asked.length, other.asked.length]).toEqual([2, 0])
  })

  test('the option proxy: a URL, false, and what is no proxy', async () => {
    const [one, other] = [await proxy(), await proxy()]
    process.env['HTTPS_PROXY'] = other.url
    const { api, pinning } = pinned({ proxy: new URL(one.url.replace('//', '//user:secret@')) })
    expect((await api.get(genuine.url)).status).toBe(200)
    expect((await pinned({ proxy: false }).api.get(genuine.url)).status).toBe(200)
    expect([one.asked.length, other.asked.length]).toEqual([1, 0])
    expect([pinning.status().proxy, pinned().pinning.status().proxy]).toEqual([one.url, 'environment'])
    expect((await api.get(genuine.url, { proxy: asAxiosProxy(other.url) as never })).status).toBe(200)
    expect(other.asked).toHaveLength(1)
    for (const wrong of ['not a url', 'ftp://proxy', 'socks5://user:secret@proxy:1080', 5, true, {}, { host: 'proxy', port: 99_999 }, { host: 'proxy', port: 1, auth: {} }, 'http://%zz:x@proxy']) {
      expect(() => pinned({ proxy: wrong as never })).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID', message: expect.stringMatching(/^proxy: (?!.*secret)/) }))
    }
  })

  test('the agent itself takes a proxy only when one is said outright', async () => {
    const via = await proxy()
    process.env['HTTPS_PROXY'] = via.url
    const options = { allowedSHAFingerprints: fingerprints, tls: { ca: root.pem } }
    for (const [given, asked] of [[{}, 0], [{ proxy: 'environment' as const }, 1], [{ proxy: via.url }, 2]] as const) {
      const agent = createPinningAgent({ ...options, ...given })
      expect((await send(agent, genuine.port)).status).toBe(200)
      expect(via.asked).toHaveLength(asked)
      agent.destroy()
    }
  })

  test('an https-proxy-agent given as httpsAgent tunnels, and the pins hold inside', async () => {
    const [via, diverting] = [await proxy({ auth: 'user:pass' }), await proxy({ divert: impostor.port })]
    const { api } = pinned()
    const { HttpsProxyAgent } = await loadModule('https-proxy-agent', () => import('https-proxy-agent'))
    const agent = new HttpsProxyAgent(via.url.replace('//', '//user:pass@'))
    for (let i = 0; i < 3; i++) expect((await api.get(genuine.url, { httpsAgent: agent, proxy: false })).status).toBe(200)
    expect(via.asked.map(({ line }) => line)).toEqual([`CONNECT localhost:${genuine.port}`])
    const error = await failure(api.post(genuine.url, 'secret', { httpsAgent: new HttpsProxyAgent(diverting.url) }))
    expect([error.code, impostor.decryptedBytes, diverting.asked.length]).toEqual(['ERR_PIN_MISMATCH', 0, 1])
  })

  test('so does a socks-proxy-agent', async () => {
    const { SocksProxyAgent } = await loadModule('socks-proxy-agent', () => import('socks-proxy-agent'))
    const via = await startSocksProxy()
    closing.push(() => via.close())
    const agent = new SocksProxyAgent(via.url.replace('socks5', 'socks5h'))
    const { api } = pinned()
    for (let i = 0; i < 3; i++) expect((await api.get(genuine.url, { httpsAgent: agent, proxy: false })).status).toBe(200)
    expect(via.asked.map(({ line }) => line)).toEqual([`localhost:${genuine.port}`])
    const before = impostor.decryptedBytes
    expect((await failure(api.post(impostor.url, 'secret', { httpsAgent: agent }))).code).toBe('ERR_PIN_MISMATCH')
    expect([impostor.decryptedBytes - before, via.asked.length]).toEqual([0, 2])
    expect((await failure(api.get('https://localhost:1/', { httpsAgent: agent }))).code).toBe('ERR_PIN_PROXY')
  })

  test('a variable that holds what is no proxy refuses by name, and echoes nothing', async () => {
    process.env['HTTPS_PROXY'] = 'socks5://user:secret@127.0.0.1:1080'
    const error = await failure(pinned().api.get(genuine.url))
    expect([error.code, error.message]).toEqual(['ERR_PIN_BYPASS', expect.stringMatching(/^HTTPS_PROXY(?!.*secret).*socks/)])
  })

  // Before that, axios stumbles over such properties itself and sends nothing.
  testFrom('1.17')('nothing on Object.prototype becomes a proxy or a password', async () => {
    const [via, other] = [await proxy(), await proxy()]
    const pollution = { proxy: asAxiosProxy(other.url), auth: { username: 'evil', password: 'evil' }, hostname: '127.0.0.2', username: 'evil' }
    for (const [name, value] of Object.entries(pollution)) Object.defineProperty(Object.prototype, name, { value, configurable: true, writable: true })
    try {
      expect((await pinned().api.get(genuine.url, { proxy: { host: '127.0.0.1', port: via.port } })).status).toBe(200)
    } finally {
      for (const name of Object.keys(pollution)) delete (Object.prototype as Record<string, unknown>)[name]
    }
    expect([via.asked.length, via.asked[0]?.headers['proxy-authorization'], other.connections]).toEqual([1, undefined, 0])
  })
})

describe('what goes where', () => {
  test('credentials go to the proxy, on CONNECT only', async () => {
    const via = await proxy({ auth: 'us%er:p@ss:word' })
    const { api } = pinned({ proxy: via.url.replace('//', `//${encodeURIComponent('us%er')}:${encodeURIComponent('p@ss:word')}@`) })
    const count = genuine.requests.length
    expect((await api.get(genuine.url)).status).toBe(200)
    expect((await pinned().api.get(genuine.url, { proxy: asAxiosProxy(via.url, { username: 'us%er', password: 'p@ss:word' }) as never })).status).toBe(200)
    expect(via.asked.map(({ headers }) => headers['proxy-authorization'])).toEqual([1, 2].map(() => `Basic ${Buffer.from('us%er:p@ss:word').toString('base64')}`))
    expect(genuine.requests.slice(count).map(({ headers }) => Object.keys(headers).filter((name) => name.startsWith('proxy')))).toEqual([[], []])
  })

  test('nothing of the request is in what the proxy can read', async () => {
    const via = await raw((socket) => socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n'))
    await failure(pinned().api.post(`${genuine.url}/secret-path?secret=1`, 'secret-body', { headers: { authorization: 'Bearer secret', cookie: 'secret=1', 'user-agent': 'secret' }, proxy: asAxiosProxy(via.url) as never }))
    expect(via.received.toString()).toMatch(/^CONNECT localhost:\d+ HTTP\/1.1\r\n(?:(?!secret)[^])*$/)
  })

  test('an attacker’s proxy that leads to another server gets nothing out of it', async () => {
    const via = await proxy({ divert: impostor.port })
    const before = impostor.decryptedBytes
    const error = await failure(pinned({ proxy: via.url }).api.post(genuine.url, 'secret', { headers: { authorization: 'Bearer secret' } }))
    expect([error.code, impostor.decryptedBytes - before, via.asked.length]).toEqual(['ERR_PIN_MISMATCH', 0, 1])
  })

  test('two credentials never share a tunnel', async () => {
    const via = await proxy()
    const { api, pinning } = pinned()
    for (const username of ['one', 'two', 'one']) expect((await api.get(genuine.url, { proxy: asAxiosProxy(via.url, { username, password: 'secret' }) as never })).status).toBe(200)
    expect(via.asked).toHaveLength(2)
    const names = Object.keys(pinning.agent.freeSockets)
    expect(names).toHaveLength(2)
    expect(names.join()).not.toMatch(/secret|one|two|c2VjcmV0/)
  })

  test('each hop of a redirect takes the proxy of its own host', async () => {
    const via = await proxy()
    const hopping = await startServer({ certificate: leaf, handler: (_req, res) => void res.writeHead(307, { location: `https://127.0.0.1:${genuine.port}/` }).end() })
    closing.push(() => hopping.close())
    process.env['HTTPS_PROXY'] = via.url
    process.env['NO_PROXY'] = '127.0.0.0/8,example.com'
    expect((await pinned().api.get(hopping.url)).status).toBe(200)
    expect(via.asked.map(({ line }) => line)).toEqual([`CONNECT localhost:${hopping.port}`])
  })

  test('http: URLs of unpinned hosts go through the proxy as in axios, those of pinned hosts nowhere', async () => {
    const via = await proxy({ auth: 'user:pass' })
    process.env['HTTP_PROXY'] = via.url.replace('//', '//user:pass@')
    const { api } = pinned({ allowedSHAFingerprints: undefined as never, pins: { localhost: fingerprints }, unpinnedHosts: 'allow' })
    const url = `http://127.0.0.1:${plain.port}`
    for (let i = 0; i < 2; i++) expect((await api.post(`${url}/path?q=1`, 'body')).status).toBe(200)
    expect(via.asked.map(({ line }) => line)).toEqual([1, 2].map(() => `POST ${url}/path?q=1`))
    expect(via.connections).toBe(1)
    expect(plain.requests.at(-1)).toMatchObject({ url: '/path?q=1', body: 'body', headers: { host: `127.0.0.1:${plain.port}` } })
    expect((await failure(api.get(`http://localhost:${plain.port}/`))).code).toBe('ERR_PIN_BYPASS')
    expect(via.asked).toHaveLength(2)
    delete process.env['HTTP_PROXY']
    const { HttpProxyAgent } = await loadModule('http-proxy-agent', () => import('http-proxy-agent'))
    expect((await api.get(`${url}/own`, { httpAgent: new HttpProxyAgent(via.url.replace('//', '//user:pass@')) })).status).toBe(200)
    expect(via.asked).toHaveLength(3)
    expect((await failure(api.get(`http://localhost:${plain.port}/`, { httpAgent: new HttpProxyAgent(via.url) }))).code).toBe('ERR_PIN_BYPASS')
    expect(via.asked).toHaveLength(3)
  })
})

describe('a proxy over TLS', () => {
  const proxyTls = { ca: proxyRoot.pem }

  test('is verified by PKI before it gets the credentials', async () => {
    const via = await proxy({ certificate: proxyLeaf, auth: 'user:pass' })
    const url = via.url.replace('127.0.0.1', 'user:pass@localhost')
    expect((await pinned({ proxy: url, proxyTls }).api.get(genuine.url)).status).toBe(200)
    expect((await failure(pinned({ proxy: url }).api.get(genuine.url))).message).toMatch(/unable to verify|self.signed|UNABLE/i)
    expect(via.asked).toHaveLength(1)
  })

  test('has pins of its own, apart from those of hosts', async () => {
    const stranger = await raw('HTTP/1.1 200 OK\r\n\r\n', proxyRoot.issue())
    const via = await proxy({ certificate: proxyLeaf })
    const told: PinReport[] = []
    const options = { proxyTls, proxyPins: { localhost: [proxyLeaf.fingerprint, proxyLeaf.pin] }, onBadCertificate: (report: PinReport) => void told.push(report) }
    const through = (server: TestProxy): string => server.url.replace('127.0.0.1', 'user:secret@localhost')
    for (let i = 0; i < 3; i++) expect((await pinned({ ...options, proxy: through(via) }).api.get(genuine.url)).status).toBe(200)
    const error = await failure(pinned({ ...options, proxy: through(stranger) }).api.get(genuine.url))
    expect([error.code, error.message, stranger.received.length]).toEqual(['ERR_PIN_MISMATCH', expect.stringContaining(`localhost:${stranger.port}`), 0])
    expect(told.map(({ port }) => port)).toEqual([stranger.port])
    // The origin's pins say nothing of the proxy, nor the proxy's of the origin.
    const other = await failure(pinned({ proxy: through(via), proxyTls, proxyPins: fingerprints }).api.get(genuine.url))
    expect([other.code, via.asked.length]).toEqual(['ERR_PIN_MISMATCH', 3])
    const unpinned = await failure(pinned({ proxy: through(via), proxyTls, proxyPins: { 'other.example': [leaf.fingerprint, leaf.pin] } }).api.get(genuine.url))
    expect([unpinned.code, via.asked.length]).toEqual(['ERR_PIN_HOST_UNPINNED', 3])
    expect(() => pinned({ proxyPins: { localhost: ['AB:CD'] } })).toThrow(expect.objectContaining({ code: 'ERR_PIN_INVALID' }))
    expect(() => pinned({ proxyTls: { rejectUnauthorized: false as never } })).toThrow(/proxyTls\.rejectUnauthorized/)
  })

  test('the client certificate for the host is never shown to it', async () => {
    const shown: boolean[] = []
    const client = createSelfSigned({ names: ['client'] })
    const via = await raw((socket) => {
      shown.push(Object.keys((socket as unknown as import('node:tls').TLSSocket).getPeerCertificate() ?? {}).length > 0)
      socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n')
    }, proxyLeaf)
    const identity = { cert: client.pem, key: client.keyPem }
    const through = { proxy: via.url.replace('127.0.0.1', 'localhost') }
    await failure(pinned({ ...through, proxyTls, tls: { ca: root.pem, ...identity } }).api.get(genuine.url))
    // It asks every client for one, and sees the one that is meant for it.
    await failure(pinned({ ...through, proxyTls: { ...proxyTls, ...identity } }).api.get(genuine.url))
    expect(shown).toEqual([false, true])
  })
})

describe('a proxy that opens no tunnel: ERR_PIN_PROXY with its status, and never an answer', () => {
  const fake = (status: string, body = 'ok'): string => `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
  const answers: Array<[string, string | ((socket: import('node:net').Socket) => void), number | undefined]> = [
    ['201', fake('201 Created'), 201],
    ['203', fake('203 Non-Authoritative'), 203],
    ['204', 'HTTP/1.1 204 No Content\r\n\r\n', 204],
    ['301', fake('301 Moved'), 301],
    ['403', fake('403 Forbidden'), 403],
    ['407', fake('407 Proxy Authentication Required'), 407],
    ['502', fake('502 Bad Gateway', '{"user":"looks real"}'), 502],
    ['504', fake('504 Gateway Timeout'), 504],
    ['closes at once', (socket) => void socket.destroy(), undefined],
    ['ends half-way through its header', (socket) => void socket.end('HTTP/1.1 200 Conn'), undefined],
    ['resets', (socket) => void (socket.constructor.name === 'TLSSocket' ? socket.destroy() : socket.resetAndDestroy()), undefined],
    ['garbage', 'SSH-2.0-OpenSSH_9.2\r\n\r\n', undefined],
    ['endless garbage', (socket) => { const more = (): void => { while (!socket.destroyed && socket.write('x'.repeat(65_536))); socket.once('drain', more) }; more() }, undefined]
  ]

  describe.each([['http:', undefined], ['https:', proxyLeaf]] as const)('over %s', (_, certificate) => {
    test.each(answers)('%s', async (name, answer, status) => {
      const via = await raw(answer, certificate)
      const before = genuine.requests.length
      const error = await failure(pinned({ proxy: via.url.replace('127.0.0.1', 'localhost'), proxyTls: { ca: proxyRoot.pem } }).api.get(genuine.url, { timeout: 8_000, headers: { authorization: 'Bearer secret' } }))
      const cause = findPinningError(error) as ProxyError
      expect([name, error.code, cause.status || undefined, cause.proxy]).toEqual([name, 'ERR_PIN_PROXY', status, via.url.replace('127.0.0.1', 'localhost')])
      expect(via.received.toString()).not.toContain('secret')
      expect(genuine.requests).toHaveLength(before)
      await until(() => via.openSockets === 0)
    })

    test('200, then plain text that looks like the host’s answer', async () => {
      const via = await raw(`HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok`, certificate)
      const error = await failure(pinned({ proxy: via.url.replace('127.0.0.1', 'localhost'), proxyTls: { ca: proxyRoot.pem } }).api.post(genuine.url, 'secret', { timeout: 3_000 }))
      expect(error.code).toMatch(/EPROTO|ECONNABORTED|ECONNRESET/)
      expect(via.received.toString()).not.toContain('secret')
    })

    test('200, then a close', async () => {
      const via = await raw((socket) => { socket.write('HTTP/1.1 200 OK\r\n\r\n'); setTimeout(() => socket.end(), 30) }, certificate)
      expect((await failure(pinned({ proxy: via.url.replace('127.0.0.1', 'localhost'), proxyTls: { ca: proxyRoot.pem } }).api.get(genuine.url, { timeout: 5_000 }))).code).toMatch(/ECONNRESET|ERR_PIN_PROXY/)
    })

    test('one that never answers ends with the request’s time-out, an abort, or close()', async () => {
      const via = await raw(() => undefined, certificate)
      const { api, pinning } = pinned({ proxy: via.url.replace('127.0.0.1', 'localhost'), proxyTls: { ca: proxyRoot.pem } })
      expect((await failure(api.get(genuine.url, { timeout: 200 }))).code).toBe('ECONNABORTED')
      await until(() => via.openSockets === 0)
      // At once, while the proxy is being connected to, and while it keeps its answer.
      for (const delay of [0, 1, 100]) {
        const controller = new AbortController()
        const aborted = failure(api.get(genuine.url, { signal: controller.signal }))
        setTimeout(() => controller.abort(), delay)
        expect((await aborted).code).toBe('ERR_CANCELED')
        await wait(30)
        await until(() => via.openSockets === 0)
      }
      const closed = failure(api.get(genuine.url))
      await until(() => via.openSockets === 1)
      await pinning.close()
      expect((await closed).code).toMatch(/ECONNRESET|ERR_SOCKET_CLOSED/)
      await until(() => via.openSockets === 0)
    })
  })

  test('nobody listens there', async () => {
    const gone = await startProxy()
    await gone.close()
    const error = await failure(pinned({ proxy: gone.url }).api.get(genuine.url))
    expect([error.code, error.message]).toEqual(['ERR_PIN_PROXY', expect.stringMatching(/^The proxy http:\/\/127\.0\.0\.1:\d+ cannot be used: .*ECONNREFUSED/)])
  })

  test.each(['HTTPS_PROXY', 'all_proxy'])('nobody listens there, and %s of the environment names it', async (name) => {
    const gone = await startProxy()
    await gone.close()
    process.env[name] = gone.url.replace('//', '//user:secret@')
    const error = await failure(pinned().api.get(genuine.url))
    expect([error.code, error.message]).toEqual(['ERR_PIN_PROXY', expect.stringMatching(new RegExp(`^The proxy http://127\\.0\\.0\\.1:\\d+ cannot be used: .*ECONNREFUSED.* \\(it is named by ${name} in the environment; .*NO_PROXY, or proxy: false \\(--no-proxy on the command line\\)\\)$`))])
    expect(error.message).not.toContain('secret')
  })

  test('the host behind it is down', async () => {
    const via = await proxy()
    const error = await failure(pinned({ proxy: via.url }).api.get('https://localhost:1/'))
    expect([error.code, (findPinningError(error) as ProxyError).status]).toEqual(['ERR_PIN_PROXY', 502])
  })
})

describe.each([['http:', undefined], ['https:', proxyLeaf]] as const)('through a tunnel of an %s proxy as without one', (_, certificate) => {
  const through = async (options: PinningOptions = {}): Promise<{ api: AxiosInstance; pinning: Pinning; via: TestProxy }> => {
    const via = await proxy({ ...(certificate && { certificate }) })
    return { via, ...pinned({ proxy: via.url.replace('127.0.0.1', 'localhost'), proxyTls: { ca: proxyRoot.pem }, ...options }) }
  }

  test('connections are kept alive, sessions resumed, and both end with the policy', async () => {
    const { api, pinning, via } = await through()
    for (let i = 0; i < 5; i++) expect((await api.get(genuine.url)).status).toBe(200)
    expect(via.connections).toBe(1)
    const resumed = genuine.resumed
    for (const sockets of Object.values(pinning.agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy()
    expect((await api.get(genuine.url)).status).toBe(200)
    expect([via.connections, genuine.resumed - resumed]).toEqual([2, 1])
    pinning.update([createSelfSigned().fingerprint, createSelfSigned().fingerprint])
    expect((await failure(api.get(genuine.url))).code).toBe('ERR_PIN_MISMATCH')
    await until(() => via.openSockets === 0)
  })

  test('maxSockets holds, and streams go both ways whole', async () => {
    const { api, via } = await through({ agent: { maxSockets: 3 } })
    const answers = await Promise.all(Array.from({ length: 12 }, () => api.get(genuine.url)))
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200))
    expect(via.connections).toBe(3)
    const echo = await startServer({ certificate: leaf, handler: (req, res) => void req.pipe(res) })
    closing.push(() => echo.close())
    const body = Buffer.alloc(3_000_000, 'abcdefghijk')
    const answer = await api.post(echo.url, body, { responseType: 'arraybuffer', maxBodyLength: Infinity })
    expect(Buffer.compare(answer.data as Buffer, body)).toBe(0)
  })

  test('an aborted download ends the tunnel', async () => {
    const endless = await startServer({ certificate: leaf, handler: (_req, res) => { const timer = setInterval(() => res.write('x'.repeat(1000)), 5); res.on('close', () => clearInterval(timer)) } })
    closing.push(() => endless.close())
    const { api, via } = await through()
    const controller = new AbortController()
    const answer = failure(api.get(endless.url, { signal: controller.signal }))
    await until(() => endless.requests.length > 0)
    await wait(30)
    controller.abort()
    expect((await answer).code).toBe('ERR_CANCELED')
    await until(() => via.openSockets === 0)
  })
})

test('an idle tunnel does not keep the process alive', async () => {
  const via = await proxy()
  const script = `
    const { createPinnedAxios } = await load('index.js')
    const api = createPinnedAxios({ allowedSHAFingerprints: input.pins, tls: { ca: input.ca }, proxy: input.proxy })
    report((await api.get(input.url)).status)`
  const ended = await runChild(script, { input: { pins: fingerprints, ca: root.pem, proxy: via.url, url: genuine.url }, timeoutMs: 8_000 })
  expect(ended).toMatchObject({ code: 0, reported: 200 })
  await until(() => via.openSockets === 0)
})

describe('a config that is sent again keeps what it said of proxies, not what was put there', () => {
  type Change = (config: Record<string, unknown>) => unknown
  const cases: Array<[string, AxiosRequestConfig, Change, boolean]> = [
    ['unchanged', {}, () => undefined, true],
    ['unchanged, with proxy: false', { proxy: false }, () => undefined, false],
    ['its proxy: false taken away', { proxy: false }, (config) => delete config['proxy'], true],
    ['its proxy: false made null', { proxy: false }, (config) => (config['proxy'] = null), true],
    ['without the agents', {}, (config) => ['httpAgent', 'httpsAgent', 'beforeRedirect'].forEach((name) => delete config[name]), true],
    ['without the agents, with proxy: false', { proxy: false }, (config) => ['httpAgent', 'httpsAgent', 'beforeRedirect'].forEach((name) => delete config[name]), false],
    ['without its transforms', {}, (config) => (config['transformRequest'] = []), true],
    ['without its transforms, with proxy: false', { proxy: false }, (config) => (config['transformRequest'] = []), false]
  ]
  test.each(cases)('%s', async (_, first, change, goesThrough) => {
    const via = await proxy()
    const { api } = pinned({ proxy: via.url, agent: { keepAlive: false } })
    const { config } = await api.get<unknown>(genuine.url, first)
    const before = via.asked.length
    change(config as never)
    for (let i = 0; i < 2; i++) expect((await api.request(config)).status).toBe(200)
    expect(via.asked.length - before).toBe(goesThrough ? 2 : 0)
  })

  test('and a new one with proxy: false is not taken for it', async () => {
    const via = await proxy()
    const { api } = pinned({ proxy: via.url, agent: { keepAlive: false } })
    const { config } = await api.get<unknown>(genuine.url)
    expect(via.asked).toHaveLength(1)
    expect((await api.get(genuine.url, { proxy: false, beforeRedirect: config.beforeRedirect as never })).status).toBe(200)
    expect(via.asked).toHaveLength(1)
  })
})
