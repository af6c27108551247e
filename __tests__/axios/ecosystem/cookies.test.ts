import axios from 'axios'
import type { AxiosInstance, AxiosRequestConfig, InternalAxiosRequestConfig } from 'axios'
import axiosRetry from 'axios-retry'
import * as https from 'node:https'
import { CookieJar } from 'tough-cookie'
import { pinAxios } from '../../../lib/index.js'
import { loadModule } from '../../../lib/policy/load-module.js'
import { startServer } from '../../support/servers.js'
import type { TestServer } from '../../support/servers.js'
import { certificate, outcomeOf, root, sideBySide } from '../../support/side-by-side.js'

// axios-cookiejar-support puts agents of its own on every request that has a jar. A pinned instance takes the jar and leaves the agents.

let other: TestServer
let impostor: TestServer
let wrapper: (api: AxiosInstance) => AxiosInstance
let failures = 0

const stage = sideBySide((request, response) => {
  request.resume()
  const { pathname } = new URL(request.url ?? '/', 'https://localhost')
  if (pathname === '/flaky' && failures-- > 0) return void response.writeHead(503, { 'set-cookie': 'tried=yes' }).end()
  const answers: Record<string, [number, Record<string, string | string[]>]> = {
    '/login': [200, { 'set-cookie': ['session=s1; HttpOnly; Secure', 'theme=dark; Path=/', 'deep=1; Path=/deep'] }],
    '/logout': [200, { 'set-cookie': ['session=; Max-Age=0', 'theme=gone; Expires=Thu, 01 Jan 1970 00:00:00 GMT'] }],
    '/odd': [200, { 'set-cookie': ['', 'no equals sign', 'foreign=1; Domain=example.com', 'good=1', 'quoted="a b"'] }],
    '/hop': [302, { location: '/landed', 'set-cookie': 'hopped=yes' }],
    '/away': [302, { location: `https://127.0.0.1:${other.port}/elsewhere`, 'set-cookie': 'home=only' }]
  }
  const [status, headers] = answers[pathname] ?? [200, {}]
  response.writeHead(status, headers).end('ok')
})

const { alikeInTime: alike, pinned } = stage
const genuine = (): TestServer => stage.server

beforeAll(async () => {
  ;({ wrapper } = await loadModule<{ wrapper: typeof wrapper }>('axios-cookiejar-support', () => import('axios-cookiejar-support') as never))
  other = await startServer({ certificate })
  impostor = await startServer({ certificate: root.issue() })
})

afterAll(() => Promise.all([other.close(), impostor.close()]))

/** As the package is used; its agents cannot be told of a private CA. */
function withJar(api: AxiosInstance, jar = new CookieJar()): AxiosInstance {
  if (api.defaults.httpsAgent) {
    delete api.defaults.httpsAgent
    api.interceptors.request.use((config: InternalAxiosRequestConfig & { httpsAgent?: https.Agent }) => {
      if (config.httpsAgent) (config.httpsAgent.options as { ca?: string }).ca = root.pem
      return config
    })
  }
  Object.assign(api.defaults, { jar })
  return wrapper(api)
}

/** What a server has been told since. */
function cookiesSince({ requests }: TestServer, before: number): unknown[] {
  return requests.slice(before).map(({ method, url, headers }) => [method, url, headers.cookie?.split('; ').sort().join('; ')])
}

describe('axios-cookiejar-support, as without pins', () => {
  alike('cookies are kept, sent back by path and dropped when they end', async (api, server) => {
    const [client, before] = [withJar(api), server.requests.length]
    for (const path of ['/login', '/', '/deep/er', '/logout', '/deep']) await client.get(path)
    return cookiesSince(server, before)
  }, [['GET', '/login', undefined], ['GET', '/', 'session=s1; theme=dark'], ['GET', '/deep/er', 'deep=1; session=s1; theme=dark'], ['GET', '/logout', 'session=s1; theme=dark'], ['GET', '/deep', 'deep=1']])
  alike('a Cookie header of the request is kept, and comes before the jar’s', async (api, server) => {
    const [client, before] = [withJar(api), server.requests.length]
    await client.get('/login')
    await client.get('/', { headers: { Cookie: 'theme=light; own=1' } })
    return cookiesSince(server, before)[1]
  }, ['GET', '/', 'own=1; session=s1; theme=light'])
  alike('cookies of a redirect are kept, and sent with its next hop', async (api, server) => {
    const [client, before] = [withJar(api), server.requests.length]
    await client.post('/hop', { a: 1 })
    return cookiesSince(server, before)
  }, [['POST', '/hop', undefined], ['GET', '/landed', 'hopped=yes']])
  alike('cookies do not follow to another host', async (api) => {
    const [client, before] = [withJar(api), other.requests.length]
    await client.get('/login')
    await client.get('/away')
    return cookiesSince(other, before)
  }, [['GET', '/elsewhere', undefined]])
  alike('cookies that make no sense are dropped', async (api, server) => {
    const [client, before] = [withJar(api), server.requests.length]
    await client.get('/odd')
    await client.get('/')
    return cookiesSince(server, before)[1]
  }, ['GET', '/', 'good=1; quoted="a b"'])
  alike('a jar of the request, and none', async (api, server) => {
    const [client, before] = [withJar(api), server.requests.length]
    const jar = new CookieJar()
    jar.setCookieSync('own=jar', server.url)
    await client.get('/login')
    await client.get('/', { jar } as AxiosRequestConfig)
    return [cookiesSince(server, before)[1], jar.getCookieStringSync(server.url)]
  }, [['GET', '/', 'own=jar'], 'own=jar'])
  alike('retries carry what the failed tries have set', async (api, server) => {
    failures = 2
    const [client, before] = [withJar(api), server.requests.length]
    axiosRetry(client as never, { retries: 3, retryDelay: () => 1 })
    const outcome = await outcomeOf(client.get('/flaky'))
    return [outcome['status'], cookiesSince(server, before)]
  }, [200, [['GET', '/flaky', undefined], ['GET', '/flaky', 'tried=yes'], ['GET', '/flaky', 'tried=yes']]])
  alike('a jar that cannot be read', async (api) => {
    const jar = new CookieJar()
    const client = withJar(api, jar)
    jest.spyOn(jar, 'setCookieSync').mockImplementation(() => {
      throw new Error('the store is gone')
    })
    const { message, code } = await outcomeOf(client.get('/login'))
    return { message, code }
  }, { message: 'the store is gone' })
})

describe('pinned', () => {
  test.each(['before', 'after'])('a genuine server’s cookies never reach an impostor; wrapped %s pinning', async (when) => {
    const jar = new CookieJar()
    const api = when === 'before' ? axios.create() : pinned()
    const client = withJar(api, jar)
    if (when === 'before') {
      api.defaults.baseURL = genuine().url
      pinAxios(api, { allowedSHAFingerprints: [certificate.fingerprint, certificate.pin], tls: { ca: root.pem } })
    }
    await client.get('/login')
    jar.setCookieSync('secret=1', impostor.url)
    expect(await outcomeOf(client.get(impostor.url))).toMatchObject({ code: 'ERR_PIN_MISMATCH' })
    expect(await outcomeOf(client.get(impostor.url.replace('https:', 'http:')))).toMatchObject({ code: 'ERR_PIN_BYPASS' })
    expect(impostor.decryptedBytes).toBe(0)
  })

  test('connections are kept alive, which the agents of the package do not do', async () => {
    const client = withJar(pinned())
    const before = other.connections
    for (let i = 0; i < 5; i++) await client.get(other.url)
    expect(other.connections - before).toBe(1)
  })

  test('a jar that cannot be read refuses the request without hanging', async () => {
    const jar = new CookieJar()
    const client = withJar(pinned(), jar)
    jest.spyOn(jar, 'getCookiesSync').mockImplementation(() => {
      throw new Error('the store is gone')
    })
    await expect(client.get('/login')).rejects.toThrow('the store is gone')
  })

  test('a request whose header is written before there is an agent is refused (without pins it breaks off)', async () => {
    const client = withJar(pinned())
    await client.get('/login')
    await expect(client.post('/', 'body', { headers: { Expect: '100-continue' } })).rejects.toMatchObject({ code: 'ERR_HTTP_HEADERS_SENT' })
  })

  test('whoever wears the mark of the package gets no connection of his own', async () => {
    const mark = Symbol('AGENT_CREATED_BY_AXIOS_COOKIEJAR_SUPPORT')
    const agent = Object.assign(new https.Agent({ ca: root.pem }), { [mark]: true })
    expect(await outcomeOf(pinned().post(impostor.url, 'secret', { httpsAgent: agent, jar: new CookieJar() } as AxiosRequestConfig))).toMatchObject({ code: 'ERR_PIN_MISMATCH' })
    for (const jar of [undefined, true, {}]) expect(await outcomeOf(pinned().post(impostor.url, 'secret', { httpsAgent: agent, jar } as AxiosRequestConfig))).toMatchObject({ code: 'ERR_PIN_BYPASS' })
    expect(await outcomeOf(pinned().post(impostor.url, 'secret', { httpsAgent: new https.Agent({ ca: root.pem }), jar: new CookieJar() } as AxiosRequestConfig))).toMatchObject({ code: 'ERR_PIN_BYPASS' })
    expect(impostor.decryptedBytes).toBe(0)
  })
})
