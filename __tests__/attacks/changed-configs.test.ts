import axios from 'axios'
import type { AxiosInstance, AxiosRequestConfig, InternalAxiosRequestConfig } from 'axios'
import FormData from 'form-data'
import * as http2 from 'node:http2'
import * as https from 'node:https'
import type { AddressInfo } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import * as tls from 'node:tls'
import { createPinning, pinAxios } from '../../lib/index.js'
import type { Pinning, PinningOptions } from '../../lib/index.js'
import { axiosHas, axiosIs } from '../support/axios-version.js'
import { createAuthority } from '../support/pki.js'
import { startServer } from '../support/servers.js'
import type { TestServer } from '../support/servers.js'

// What interceptors, hooks, transforms, serializers and timers do to a config, and when: the impostor has a certificate of
// the same trusted CA and another key, and is to see no byte of a request.

const root = createAuthority({ name: 'Public Root' })
const genuineLeaf = root.issue()
const otherLeaf = root.issue()
const ca = root.pem
const agent = new https.Agent({ ca })
const evil = { request: (options: object, done: never) => https.request({ ...options, agent }, done) }

let genuine: TestServer
let impostor: TestServer
const pinnings: Pinning[] = []

beforeAll(async () => {
  const handler = (req: { url?: string | undefined; resume(): void }, res: import('node:http').ServerResponse): void => {
    req.resume()
    if (req.url?.startsWith('/to/')) res.writeHead(307, { location: decodeURIComponent(req.url.slice(4)) }).end()
    else res.end('genuine')
  }
  genuine = await startServer({ certificate: genuineLeaf, handler })
  impostor = await startServer({ certificate: otherLeaf })
})

afterEach(() => Promise.all(pinnings.splice(0).map((pinning) => pinning.close())))

afterAll(async () => {
  agent.destroy()
  await Promise.all([genuine.close(), impostor.close()])
})

type Changing = Record<string, unknown>
type Use = (api: AxiosInstance) => unknown

const policy = { allowedSHAFingerprints: [genuineLeaf.fingerprint, genuineLeaf.pin], tls: { ca } }

function pinned(defaults: object = {}, options: PinningOptions = {}): AxiosInstance {
  const api = axios.create(defaults)
  pinnings.push(pinAxios(api, { ...policy, ...options }))
  return api
}

const plain = (): AxiosInstance => axios.create({ httpsAgent: new https.Agent({ ca }) })
const via = (url: string): string => `${genuine.url}/to/${encodeURIComponent(url)}`

/** How it ends; and that the impostor has read nothing. */
async function outcome(request: Promise<unknown>): Promise<string> {
  const before = impostor.decryptedBytes
  const end = await request.then(() => 'answered', (error: { code?: string; name: string }) => error.code ?? error.name)
  await turn()
  expect(impostor.decryptedBytes).toBe(before)
  return end
}

const synchronous = { synchronous: true }
const orders = axiosHas.interceptorOrder ? [true, false] : [undefined]

describe.each(orders)('synchronous interceptors that fail and carry on (legacyInterceptorReqResOrdering: %s)', (legacyInterceptorReqResOrdering) => {
  const fail = (): never => {
    throw new Error('no token yet')
  }
  const ways: Record<string, Use> = {
    'one sets transformRequest, another fails': (api) => {
      api.interceptors.request.use(fail, () => undefined, synchronous)
      api.interceptors.request.use((config) => Object.assign(config, { transformRequest: [(data: unknown) => data] }), null, synchronous)
    },
    'the same one does both': (api) => api.interceptors.request.use((config) => fail.call(void Object.assign(config, { transformRequest: [(data: unknown) => data] })), () => undefined, synchronous),
    'its rejected handler sets it': (api) => {
      let kept: InternalAxiosRequestConfig
      api.interceptors.request.use((config) => fail.call(void (kept = config)), () => Object.assign(kept, { transformRequest: [], httpsAgent: agent }), synchronous)
    },
    'its rejected handler is asynchronous': (api) => {
      let kept: InternalAxiosRequestConfig
      api.interceptors.request.use((config) => fail.call(void (kept = config)), async () => turn().then(() => Object.assign(kept, { transformRequest: undefined })), synchronous)
    },
    'one in between returns a config of its own': (api) => {
      for (let i = 0; i < 2; i++) {
        api.interceptors.request.use(fail, () => undefined, synchronous)
        api.interceptors.request.use((config) => ({ ...config, transformRequest: [(data: unknown) => data] }) as never, null, synchronous)
      }
    }
  }
  test.each(Object.keys(ways))('%s', async (way) => {
    const api = pinned(legacyInterceptorReqResOrdering === undefined ? {} : { transitional: { legacyInterceptorReqResOrdering } })
    ways[way]?.(api)
    expect(await outcome(api.post(impostor.url, 'secret'))).toMatch(/^ERR_PIN_/)
    expect(await outcome(api.post(genuine.url, 'not secret'))).toMatch(way.includes('rejected handler sets') ? /^ERR_PIN_BYPASS$/ : /^answered$/)
  })
})

describe('a beforeRedirect that changes what later hops go by', () => {
  const swap = (options: Changing): unknown => Object.assign(options, { agents: { https: agent } })
  const fixed = (name: string, value: unknown) => (options: Changing) => Object.defineProperty(options, name, { get: () => value, set: () => undefined, configurable: true })
  const hooks: Record<string, (options: Changing) => unknown> = {
    'options.beforeRedirect': (options) => (options['beforeRedirect'] = swap),
    'options.beforeRedirects': (options) => (options['beforeRedirects'] = { config: swap }),
    'options.beforeRedirects.config': (options) => ((options['beforeRedirects'] as Changing)['config'] = swap),
    'no hook, and the agents a moment later': (options) => setImmediate(swap, Object.assign(options, { beforeRedirect: null })),
    'everything a moment later': (options) => setImmediate(() => Object.assign(swap(options) as object, { beforeRedirect: null, beforeRedirects: {}, agent, nativeProtocols: { 'https:': evil } })),
    'agents as an accessor': fixed('agents', { https: agent }),
    'nativeProtocols as an accessor': fixed('nativeProtocols', { 'https:': evil }),
    'agent as an accessor': fixed('agent', agent)
  }
  test.each(Object.keys(hooks))('%s', async (name) => {
    for (const target of [via(impostor.url), via(via(impostor.url))]) {
      expect(await outcome(pinned().post(target, 'secret', { beforeRedirect: hooks[name] as never }))).toMatch(/^ERR_/)
    }
    expect(impostor.requests).toEqual([])
  })

  test('an honest one gets what axios gives it, on every hop', async () => {
    const play = async (api: AxiosInstance): Promise<unknown> => {
      const seen: unknown[] = []
      const beforeRedirect = function (this: unknown, options: Changing, ...rest: unknown[]): void {
        seen.push([typeof (this as Changing)['config'], options['href'], rest.length, Object.keys(options['agents'] as object)])
        ;(options['headers'] as Changing)['x-hop'] = String(seen.length)
      }
      const { data, status } = await api.post(via(via(genuine.url)), 'body', { beforeRedirect: beforeRedirect as never })
      return [seen, data, status]
    }
    expect(await play(pinned())).toEqual(await play(plain()))
  })
})

describe('a config that changes after the interceptors', () => {
  const kept = (api: AxiosInstance): Changing => {
    const holder: Changing = {}
    api.interceptors.request.use((config) => (holder['config'] = config) as InternalAxiosRequestConfig)
    return holder
  }
  const form = (): FormData => {
    const made = new FormData()
    made.append('secret', 'secret')
    return made
  }
  const spoil = (config: unknown): unknown => config && Object.assign(config, { transport: evil, httpsAgent: agent, proxy: undefined, adapter: direct, transformRequest: [], beforeRedirect: (options: Changing) => Object.assign(options, { agents: { https: agent } }) })
  const direct = (config: AxiosRequestConfig): Promise<unknown> => axios.create({ httpsAgent: agent }).post(config.url as string, 'secret')

  test('in a serializer of parameters', async () => {
    const api = pinned()
    const holder = kept(api)
    expect(await outcome(api.post(impostor.url, 'secret', { params: { a: 1 }, paramsSerializer: { serialize: () => String(spoil(holder['config']) && '') } }))).toMatch(/^ERR_PIN_/)
  })

  test('while the length of a form is awaited', async () => {
    const api = pinned()
    const holder = kept(api)
    for (const url of [impostor.url, via(impostor.url)]) {
      const data = form()
      const { getLength } = data
      data.getLength = function (done) {
        spoil(holder['config'])
        setImmediate(() => getLength.call(this, done))
      }
      expect(await outcome(api.post(url, data))).toMatch(/^ERR_/)
    }
  })

  test('by who gets it from an abort while the length of a form is awaited', async () => {
    const api = pinned()
    const data = form()
    const abort = new AbortController()
    const { getLength } = data
    data.getLength = function (done) {
      abort.abort()
      setTimeout(() => getLength.call(this, done), 20)
    }
    let config: unknown
    const end = outcome(api.post(impostor.url, data, { signal: abort.signal }).catch((error: { config: unknown }) => spoil((config = error.config))))
    await end
    await new Promise((resolve) => setTimeout(resolve, 60))
    expect(config).toBeDefined()
    expect(impostor.requests).toEqual([])
  })

  test.each([0, 1, 2, 3, 4, 5, 6, 7])('%i turns of the promise queue later', async (turns) => {
    const api = pinned()
    api.interceptors.request.use(async (config) => {
      void (async () => {
        for (let i = 0; i < turns; i++) await undefined
        spoil(config)
      })()
      return config
    })
    expect(await outcome(api.post(impostor.url, 'secret'))).toMatch(/^ERR_PIN_/)
  })

  test('in somebody else’s cancelToken, signal or headers', async () => {
    const api = pinned()
    const holder = kept(api)
    const cancelToken = { throwIfRequested: () => spoil(holder['config']), subscribe: () => spoil(holder['config']), unsubscribe: () => undefined }
    expect(await outcome(api.post(impostor.url, 'secret', { cancelToken: cancelToken as never }))).toMatch(/^ERR_PIN_/)
    api.interceptors.request.use((config) => {
      const { setContentType, normalize } = config.headers
      const spoiling = <T extends (...args: never[]) => unknown>(method: T): T => function (this: unknown, ...args: never[]) {
        spoil(holder['config'])
        return method.apply(this, args)
      } as T
      Object.assign(config.headers, {})
      Object.defineProperties(config.headers, { setContentType: { value: spoiling(setContentType), enumerable: false }, normalize: { value: spoiling(normalize), enumerable: false } })
      return config
    })
    expect(await outcome(api.post(impostor.url, 'secret'))).toMatch(/^ERR_PIN_/)
  })

  test('by a transform with accessors that give now this and now that', async () => {
    for (const [name, value] of Object.entries({ transport: evil, httpsAgent: agent, adapter: direct, transformRequest: [] })) {
      for (const [after, enumerable] of [[1, true], [2, true], [3, true], [2, false]] as const) {
        let reads = 0
        const transform = function (this: object, data: unknown): unknown {
          Object.defineProperty(this, name, { configurable: true, enumerable, get: () => (++reads > after ? value : undefined), set: () => undefined })
          return data
        }
        expect(await outcome(pinned().post(impostor.url, 'secret', { transformRequest: [transform as never] }))).toMatch(/^ERR_PIN_/)
      }
    }
  })

  test('by a then, which a promise would call', async () => {
    const api = pinned()
    api.interceptors.request.use((config) => {
      queueMicrotask(() => Object.assign(config, { then: (resolve: (config: unknown) => void) => resolve({ ...config, then: undefined, transformRequest: [], httpsAgent: agent }) }))
      return config
    })
    expect(await outcome(api.post(impostor.url, 'secret'))).toMatch(/^ERR_PIN_/)
  })

  test('in the options of HTTP/2', async () => {
    if (!axiosHas.http2) return
    let requests = 0
    const server = http2.createSecureServer({ cert: otherLeaf.pem, key: otherLeaf.keyPem }, (_req, res) => {
      requests++
      res.end('impostor')
    })
    await new Promise<void>((resolve) => server.listen(0, resolve))
    const api = pinned()
    const holder = kept(api)
    const createConnection = ({ hostname, port }: URL): tls.TLSSocket => tls.connect({ host: hostname, port: Number(port), ca, ALPNProtocols: ['h2'] })
    const serialize = (): string => {
      Object.assign((holder['config'] as Changing)['http2Options'] as object, { createConnection })
      return ''
    }
    expect(await outcome(api.post(`https://localhost:${(server.address() as AddressInfo).port}`, 'secret', { httpVersion: 2, http2Options: {}, params: { a: 1 }, paramsSerializer: { serialize } } as never))).not.toBe('answered')
    expect(requests).toBe(0)
    server.close()
  })
})

describe('the interceptor alone', () => {
  function intercepted(): AxiosInstance {
    const pinning = createPinning(policy)
    pinnings.push(pinning)
    const api = axios.create()
    api.interceptors.request.use(pinning.interceptor)
    return api
  }

  test('what it has sealed stays so until axios has read it', async () => {
    let reads = 0
    const accessor = function (this: object, data: unknown): unknown {
      Object.defineProperty(this, 'transport', { configurable: true, enumerable: true, get: () => (++reads > 2 ? evil : undefined), set: () => undefined })
      return data
    }
    expect(await outcome(intercepted().post(impostor.url, 'secret', { transformRequest: [accessor as never] }))).toMatch(/^ERR_PIN_/)
    const api = intercepted()
    let kept: InternalAxiosRequestConfig | undefined
    api.interceptors.request.use((config) => (kept = config))
    expect(await outcome(api.post(impostor.url, 'secret', { params: { a: 1 }, paramsSerializer: { serialize: () => String(Object.assign(kept as object, { transport: evil, httpsAgent: agent }) && '') } }))).toMatch(/^ERR_PIN_/)
  })

  test('what is assigned to a config that was answered counts when it is sent again', async () => {
    const api = intercepted()
    const { config } = await api.get(genuine.url)
    expect((await api(config)).status).toBe(200)
    expect((await api(Object.assign(config, { maxRedirects: 0, proxy: false }))).status).toBe(200)
    expect(await outcome(api(Object.assign(config, { httpsAgent: agent, url: impostor.url })))).toBe('ERR_PIN_BYPASS')
  })

  test('it takes the same config, and a frozen one, again and again', async () => {
    const api = intercepted()
    const first = await api.get(genuine.url)
    const again = axios.create()
    const pinning = createPinning(policy)
    pinnings.push(pinning)
    again.interceptors.request.use(pinning.interceptor)
    again.interceptors.request.use(() => first.config as InternalAxiosRequestConfig)
    for (let i = 0; i < 2; i++) expect((await again.get(genuine.url)).status).toBe(200)
    const frozen = axios.create()
    frozen.interceptors.request.use(pinning.interceptor)
    frozen.interceptors.request.use((config) => Object.freeze({ ...config }))
    expect(await outcome(frozen.post(impostor.url, 'secret'))).toMatch(/^ERR_PIN_/)
  })
})

describe('what an interceptor may return', () => {
  const lost = (config: object): object => Object.assign(() => undefined, config, { transformRequest: [(data: unknown) => data] })
  const made: Record<string, (config: object) => unknown> = {
    'a function': lost,
    'a function without a prototype': (config) => Object.setPrototypeOf(lost(config), null),
    'a frozen object': (config) => Object.freeze({ ...config, transformRequest: [(data: unknown) => data] }),
    'a Proxy': (config) => new Proxy({ ...config, transformRequest: [] }, { get: (target, name) => (name === 'httpsAgent' ? agent : Reflect.get(target, name)), has: () => true }),
    'an object with a then': (config) => ({ ...config, then: (resolve: (config: unknown) => void) => resolve({ ...config, transformRequest: [], transport: evil }) })
  }
  test.each(Object.keys(made))('%s', async (name) => {
    for (const options of [undefined, synchronous]) {
      const api = pinned()
      api.interceptors.request.use(made[name] as never, () => undefined as never, options)
      expect(await outcome(api.post(impostor.url, 'secret'))).not.toBe('answered')
    }
  })

  test('what it has been shown of pinning gives it nothing', async () => {
    const api = pinned()
    const handlers: Array<{ fulfilled: (config: object) => object }> = []
    api.interceptors.request.use((config) => {
      const own = handlers[0]?.fulfilled({ ...config, transformRequest: [] }) as object
      setImmediate(() => Object.assign(own, { httpsAgent: agent, transport: evil, transformRequest: [] }))
      return own as never
    })
    ;(api.interceptors.request as unknown as { forEach(visit: (handler: never) => void): void }).forEach((handler) => {
      handlers.push(handler)
      try {
        Object.assign(handler, { fulfilled: (config: object) => ({ ...config, transformRequest: [], httpsAgent: agent }) })
        Object.defineProperty(Object.getPrototypeOf(handler), 'fulfilled', { get: () => (config: object) => Object.assign(config, { httpsAgent: agent, transformRequest: [] }), configurable: true })
      } catch {
        // Frozen.
      }
    })
    delete (Object.prototype as { fulfilled?: unknown }).fulfilled
    expect(await outcome(api.post(impostor.url, 'secret'))).toMatch(/^ERR_PIN_/)
  })
})

describe('managers of interceptors', () => {
  type Manager = { forEach(visit: (handler: unknown) => void): void }
  test('a forEach that is put in the place of the guarded one is guarded, and stays when pinning is taken off', async () => {
    const api = axios.create()
    const pinning = createPinning(policy)
    pinnings.push(pinning)
    const detach = pinning.attach(api)
    const manager = api.interceptors.request as unknown as Manager
    const { forEach } = Object.getPrototypeOf(manager) as Manager
    const own: Manager['forEach'] = function (this: unknown, visit) {
      forEach.call(this as Manager, visit)
    }
    manager.forEach = own
    expect(await outcome(api.post(impostor.url, 'secret'))).toMatch(/^ERR_PIN_/)
    expect((await api.get(genuine.url)).status).toBe(200)
    detach()
    expect(manager.forEach).toBe(own)
  })

  test('a manager that cannot be guarded, or only seems so, is none', async () => {
    const cases: Array<(manager: Manager) => unknown> = [
      (manager) => Object.freeze(manager),
      (manager) => new Proxy(manager, { defineProperty: () => true, set: () => true }),
      (manager) => Object.defineProperty(manager, 'forEach', { value: () => undefined, configurable: false }),
      () => 5,
      (manager) => Object.assign(manager, { forEach: 5 })
    ]
    for (const make of cases) {
      const api = pinned()
      try {
        api.interceptors.request = make(new axios.Axios({}).interceptors.request as unknown as Manager) as never
      } catch (error) {
        expect(error).toBeInstanceOf(TypeError)
      }
      // An older axios throws that at once.
      expect(await outcome(Promise.resolve().then(() => api.post(impostor.url, 'secret')))).toMatch(/^(ERR_PIN_|TypeError)/)
    }
  })

  test('new interceptors of a bare Axios object are guarded', async () => {
    const api = new axios.Axios({ adapter: 'http' }) as AxiosInstance
    pinnings.push(pinAxios(api, policy))
    api.interceptors = new axios.Axios({}).interceptors
    expect(await outcome(api.request({ url: impostor.url, method: 'post', data: 'secret' }))).toMatch(/^ERR_PIN_/)
    expect((await api.request({ url: genuine.url })).status).toBe(200)
  })
})

describe('as axios without pins has it', () => {
  const transforms: Record<string, (config: Changing) => unknown> = {
    push: (config) => void (config['transformRequest'] as unknown[]).push((data: unknown) => `${String(data)}!`),
    unshift: (config) => void (config['transformRequest'] as unknown[]).unshift((data: unknown) => `${String(data)}?`),
    'length = 0': (config) => void ((config['transformRequest'] as unknown[]).length = 0),
    frozen: (config) => Object.freeze({ ...config, transformRequest: [(data: unknown) => `${String(data)}.`] }),
    'not extensible': (config) => Object.preventExtensions({ ...config, transformRequest: (data: unknown) => `${String(data)}.` }),
    'what is no function': (config) => ({ ...config, transformRequest: ['x'] })
  }
  test.each(Object.keys(transforms))('an interceptor changes transformRequest: %s', async (name) => {
    // Older ones set fields of the config itself.
    if (!axiosIs('1.21') && ['frozen', 'not extensible'].includes(name)) return
    const echo = await startServer({ certificate: genuineLeaf, handler: (req, res) => void req.pipe(res) })
    const play = async (api: AxiosInstance): Promise<unknown> => {
      api.interceptors.request.use((config) => (transforms[name]?.(config as never) ?? config) as never)
      return api.post(echo.url, 'body').then(({ data, config }) => [data, (config.transformRequest as unknown[]).length > 0], (error: Error) => error.name)
    }
    const [ours, theirs] = [await play(pinned()), await play(plain())]
    expect(Array.isArray(ours) ? ours[0] : ours).toEqual(Array.isArray(theirs) ? theirs[0] : theirs)
    await echo.close()
  })

  test('a config that was answered can be changed and sent again', async () => {
    const api = pinned()
    for (const first of [await api.get(genuine.url), await api.get(genuine.url, { transformRequest: [(data: unknown) => data] as never })]) {
      ;(first.config.transformRequest as unknown[]).push((data: unknown) => data)
      expect((await api(first.config)).status).toBe(200)
      Object.assign(first.config, { url: impostor.url })
      expect(await outcome(api(first.config))).toBe('ERR_PIN_MISMATCH')
    }
  })

  test('interceptors and transforms meet the same config again in the response and the error', async () => {
    const play = async (api: AxiosInstance, url: string, defaults: object = {}): Promise<unknown> => {
      let kept: unknown
      let transformed: unknown
      api.interceptors.request.use((config) => (kept = Object.assign(config, { mark: 1 })))
      const note = (config: unknown): unknown => (transformed = config)
      const transformRequest = [function (this: Changing, data: unknown): unknown {
        note(this)
        this['seen'] = 2
        return data
      }]
      const transformResponse = [function (this: Changing, data: unknown): unknown {
        this['seenAgain'] = 3
        return data
      }]
      // An older axios says nothing of the config of a request that was cancelled before it began.
      const { config = {} } = (await api.post(url, 'x', { transformRequest, transformResponse, ...defaults } as never).catch((error: unknown) => error)) as { config?: Changing }
      return [config === kept, config === transformed, config['mark'], config['seen'], config['seenAgain'], config['httpsAgent'] === undefined, config['proxy'], config['data'], config['adapter'], typeof config['beforeRedirect']]
    }
    const differing = (played: unknown): unknown => (played as unknown[]).filter((_, i) => i !== 5)
    expect(differing(await play(pinned(), genuine.url))).toEqual(differing(await play(plain(), genuine.url)))
    expect(differing(await play(pinned(), 'https://localhost:1/'))).toEqual(differing(await play(plain(), 'https://localhost:1/')))
    const signal = AbortSignal.abort()
    expect(differing(await play(pinned(), genuine.url, { signal }))).toEqual(differing(await play(plain(), genuine.url, { signal })))
    expect((await play(pinned(), genuine.url) as unknown[])[5]).toBe(true)
  })

  test('what adapter and beforeRedirect may be that they should not', async () => {
    for (const config of [{ adapter: [] }, { beforeRedirect: 5 }]) {
      const play = (api: AxiosInstance): Promise<string> => api.get(via(genuine.url), config as never).then(() => 'answered', (error: { code?: string; name: string }) => error.code ?? error.name)
      expect(await play(pinned())).toBe(await play(plain()))
    }
    expect((await pinned().get(genuine.url, { adapter: new String('HTTP') as never })).status).toBe(200)
  })

  test('a refusal is told also where the URL is none that a connection could be made to', async () => {
    const double = async (config: object): Promise<never> => ({ data: 'double', status: 200, headers: {}, config }) as never
    const told: string[] = []
    for (const url of ['/users', 'data:text/plain,x', undefined, genuine.url]) {
      const api = pinned()
      const error = (await api.get(url as string, { adapter: double as never }).catch((thrown: unknown) => thrown)) as { code: string; config: { url?: string }; isAxiosError: boolean }
      told.push(`${error.code} ${String(error.config.url === url)} ${String(error.isAxiosError)}`)
      expect(pinnings.at(-1)?.status().counters.blocked).toBe(1)
    }
    expect(told).toEqual(told.map(() => 'ERR_PIN_BYPASS true true'))
    expect(await outcome(pinned().get('/users', { socketPath: '/nowhere.sock' }))).toBe('ERR_PIN_BYPASS')
  })
})

test.each(['off', 'report-only'] as const)('with mode %s PKI decides, whatever http2Options say', async (mode) => {
  if (!axiosHas.http2) return
  const stranger = createAuthority().issue()
  const server = http2.createSecureServer({ cert: stranger.pem, key: stranger.keyPem, allowHTTP1: true }, (_req, res) => void res.end('stranger'))
  await new Promise<void>((resolve) => server.listen(0, resolve))
  const url = `https://localhost:${(server.address() as AddressInfo).port}`
  for (const http2Options of [{ rejectUnauthorized: false }, { rejectUnauthorized: false, minVersion: 'TLSv1.2' }]) {
    expect(await outcome(pinned({}, { mode }).get(url, { httpVersion: 2, http2Options } as never))).not.toBe('answered')
  }
  expect(await outcome(pinned({}, { mode }).get(genuine.url, { httpVersion: 1, http2Options: { ca } } as never))).toBe('answered')
  server.close()
})

test('whatever is done to the config, at whatever time: at random', async () => {
  let seed = 20_261
  const random = (n: number): number => (seed = (seed * 48_271) % 2_147_483_647) % n
  const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T
  const swap = (options: Changing): unknown => Object.assign(options, { agents: { https: agent }, agent, beforeRedirect: null, nativeProtocols: { 'https:': evil } })
  const direct = (config: AxiosRequestConfig): Promise<unknown> => axios.create({ httpsAgent: agent }).post(config.url as string, 'secret')
  const values: Array<[string, unknown]> = [['transport', evil], ['httpsAgent', agent], ['httpsAgent', undefined], ['adapter', direct], ['adapter', 'http'], ['adapter', null], ['transformRequest', []], ['transformRequest', undefined], ['transformRequest', [(data: unknown) => data]], ['beforeRedirect', swap], ['proxy', false], ['maxRedirects', 0], ['maxRedirects', 5], ['httpVersion', 2], ['http2Options', { ca }], ['headers', {}], ['data', 'other secret'], ['method', 'get'], ['socketPath', '/nowhere.sock']]
  let configs: object[] = []
  const spoil = (config: unknown): void => {
    if (typeof config !== 'object' || config === null) return
    for (let i = random(3); i >= 0; i--) {
      const [name, value] = pick(values)
      try {
        if (random(4) === 0) Object.defineProperty(config, name, { configurable: true, enumerable: true, get: () => (random(2) ? value : undefined), set: () => undefined })
        else if (random(8) === 0) Reflect.deleteProperty(config, name)
        else (config as Changing)[name] = value
      } catch {
        // Frozen, or without a setter.
      }
    }
  }
  const spoilAll = (): void => configs.forEach(spoil)
  const later = (): void => {
    const when = pick([queueMicrotask, setImmediate, process.nextTick, (run: () => void) => setTimeout(run, 1)])
    when(spoilAll)
  }
  const act = (config: InternalAxiosRequestConfig): unknown => {
    configs.push(config)
    const how = random(9)
    if (how < 3) spoil(config)
    if (how < 5) later()
    if (random(5) === 0) throw new Error('at random')
    const copy = (): object => {
      const made = { ...config }
      spoil(made)
      configs.push(made)
      return made
    }
    return pick<() => unknown>([() => config, () => config, copy, () => Object.freeze(copy()), () => Promise.resolve(copy()), () => Object.assign(() => undefined, copy())])()
  }
  const recover = (): unknown => (spoilAll(), pick<unknown>([undefined, configs[0], Promise.resolve(configs.at(-1)), { url: impostor.url, method: 'post', headers: {}, data: 'secret', httpsAgent: agent }]))
  const before = impostor.decryptedBytes
  let answered = 0
  const ends = Date.now() + 6_000
  for (let round = 0; round < 150 && Date.now() < ends; round++) {
    configs = []
    const api = pinned(axiosHas.interceptorOrder ? { transitional: { legacyInterceptorReqResOrdering: random(2) === 0 } } : {})
    const allSynchronous = random(2) === 0
    for (let i = random(4); i > 0; i--) api.interceptors.request.use(act as never, random(2) ? (recover as never) : null, { synchronous: allSynchronous || random(2) === 0, ...(random(4) === 0 && { runWhen: () => (spoilAll(), random(2) === 0) }) })
    const serialize = (): string => (spoilAll(), '')
    const transform = function (this: object, data: unknown): unknown {
      configs.push(this)
      spoil(this)
      later()
      return data
    }
    const data = new FormData()
    data.append('secret', 'secret')
    const { getLength } = data
    data.getLength = function (done) {
      spoilAll()
      setImmediate(() => getLength.call(this, done))
    }
    const beforeRedirect = (options: Changing): void => {
      if (random(2)) swap(options)
      setImmediate(swap, options)
    }
    const controller = new AbortController()
    if (random(5) === 0) setImmediate(() => controller.abort())
    const request = { method: 'post', url: pick([impostor.url, via(impostor.url), via(via(impostor.url))]), data: pick<unknown>(['secret', { secret: 1 }, data]), params: { a: 1 }, paramsSerializer: { serialize }, signal: controller.signal, timeout: 2_000, ...(random(2) && { beforeRedirect }), ...(random(3) === 0 && { transformRequest: [transform] }) }
    try {
      await api.request(request as never)
      answered++
    } catch (error) {
      const { config } = error as { config?: object }
      if (config) configs.push(config)
      later()
    }
  }
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect([impostor.decryptedBytes - before, answered]).toEqual([0, 0])
}, 20_000)
