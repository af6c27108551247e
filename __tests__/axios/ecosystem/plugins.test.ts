import { Configuration, PermissionApi, RelationshipApi } from '@ory/keto-client'
import type { AxiosInstance } from 'axios'
import MockAdapter from 'axios-mock-adapter'
import axiosRetry, { exponentialDelay } from 'axios-retry'
import nock from 'nock'
import { findPinningError } from '../../../lib/index.js'
import { startServer } from '../../support/servers.js'
import type { TestServer } from '../../support/servers.js'
import { outcomeOf, root, sideBySide } from '../../support/side-by-side.js'

// Packages that work on an axios instance, put on before and after it is pinned.

// It takes over node:http when it is loaded.
nock.restore()

let failures = 0

const { alike, pinned, plain } = sideBySide((request, response) => {
  request.resume()
  const url = new URL(request.url ?? '/', 'https://localhost')
  request.on('end', () => {
    if (url.pathname === '/flaky' && failures-- > 0) return url.searchParams.has('cut') ? void request.socket.destroy() : void response.writeHead(503, { 'retry-after': '0' }).end('busy')
    if (url.pathname.startsWith('/relation-tuples/check')) return void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ allowed: url.searchParams.get('object') !== 'forbidden' }))
    if (url.pathname === '/admin/relation-tuples') return void response.writeHead(request.method === 'PUT' ? 201 : 400, { 'content-type': 'application/json' }).end(JSON.stringify({ namespace: 'files', error: request.method === 'PUT' ? undefined : { code: 400 } }))
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ url: request.url, method: request.method }))
  })
})

let impostor: TestServer

beforeAll(async () => {
  impostor = await startServer({ certificate: root.issue() })
})

afterAll(async () => {
  await impostor.close()
  expect(impostor.decryptedBytes).toBe(0)
})

describe('axios-retry', () => {
  const withRetries = (api: AxiosInstance, options: object = {}): string[] => {
    const seen: string[] = []
    axiosRetry(api as never, { retries: 3, retryDelay: (count) => exponentialDelay(count, undefined, 1), onRetry: (count, { code, response }) => void seen.push(`${count}: ${response?.status ?? code}`), ...options })
    return seen
  }

  for (const query of ['', '?cut']) {
    alike(`repeats what it repeats without pins (${query || '503'})`, async (api) => {
      failures = 2
      const seen = withRetries(api)
      return [await outcomeOf(api.get(`/flaky${query}`)), seen]
    }, [expect.objectContaining({ status: 200 }), query ? ['1: ECONNRESET', '2: ECONNRESET'] : ['1: 503', '2: 503']])
    alike(`gives up after as many tries (${query || '503'})`, async (api) => {
      failures = 9
      const seen = withRetries(api)
      const outcome = await outcomeOf(api.get(`/flaky${query}`))
      return [outcome, seen]
    })
  }
  alike('does not repeat a POST, unless told', async (api) => {
    failures = 1
    const seen = withRetries(api)
    const first = await outcomeOf(api.post('/flaky', { a: 1 }))
    failures = 1
    return [first, await outcomeOf(api.post('/flaky', { a: 1 }, { 'axios-retry': { retryCondition: () => true } } as never)), seen]
  }, [expect.objectContaining({ status: 503 }), expect.objectContaining({ status: 200 }), ['1: 503']])
  alike('heeds a time-out, of each try or of all together', async (api) => {
    failures = 99
    const seen = withRetries(api, { retryDelay: () => 30 })
    const each = await outcomeOf(api.get('/flaky', { timeout: 10_000, 'axios-retry': { shouldResetTimeout: true } } as never))
    return [each, await outcomeOf(api.get('/flaky', { timeout: 20_000 })), seen]
  }, [expect.objectContaining({ status: 503 }), expect.objectContaining({ status: 503 }), ['1: 503', '2: 503', '3: 503', '1: 503', '2: 503', '3: 503']])

  test('repeats a pin refusal of an idempotent request as it does any error it does not know, and each try is refused', async () => {
    const api = pinned()
    const seen = withRetries(api)
    expect(await outcomeOf(api.get(impostor.url))).toMatchObject({ code: 'ERR_PIN_MISMATCH' })
    expect(seen).toEqual(['1: ERR_PIN_MISMATCH', '2: ERR_PIN_MISMATCH', '3: ERR_PIN_MISMATCH'])
    const told = pinned()
    const none = withRetries(told, { retryCondition: (error: unknown) => findPinningError(error) === undefined })
    expect(await outcomeOf(told.get(impostor.url))).toMatchObject({ code: 'ERR_PIN_MISMATCH' })
    expect(none).toEqual([])
  })
})

describe('axios-mock-adapter', () => {
  test('answers, fails and counts on a pinned instance as on one without pins', async () => {
    const play = async (api: AxiosInstance): Promise<unknown> => {
      const mock = new MockAdapter(api as never)
      mock.onGet('/users', { params: { page: 1 } }).replyOnce(200, [{ id: 1 }], { 'x-total': '1' })
      mock.onPost('/users').reply((config) => [201, { echo: JSON.parse(config.data as string) as unknown }])
      mock.onPut('/broken').networkError().onPut('/slow').timeout().onPut('/gone').abortRequest()
      const outcomes = [await outcomeOf(api.get('/users', { params: { page: 1 } })), await outcomeOf(api.get('/users')), await outcomeOf(api.post('/users', { name: 'Ada' }))]
      for (const path of ['/broken', '/slow', '/gone']) outcomes.push(await outcomeOf(api.put(path)))
      return { outcomes, history: mock.history.map(({ method, url, data }) => [method, url, data as unknown]) }
    }
    const [first, second] = [await play(plain()), await play(pinned({ dangerAllowAdapter: () => true }))]
    expect(second).toEqual(first)
    expect(first).toMatchObject({ outcomes: [{ status: 200 }, { status: 404 }, { status: 201, data: { echo: { name: 'Ada' } } }, { message: 'Network Error' }, { code: 'ECONNABORTED' }, { code: 'ECONNABORTED' }] })
  })
})

describe('nock', () => {
  beforeAll(() => nock.activate())
  afterEach(() => nock.cleanAll())
  afterAll(() => nock.restore())

  alike('answers in the place of the server', async (api, { url }) => {
    const scope = nock(url).get('/nocked').query({ a: '1' }).reply(200, { nocked: true }, { 'x-from': 'nock' }).post('/nocked', { a: 1 }).reply(422, 'no')
    const outcomes = [await outcomeOf(api.get('/nocked', { params: { a: 1 } })), await outcomeOf(api.post('/nocked', { a: 1 }))]
    return [outcomes, scope.isDone()]
  }, [[expect.objectContaining({ data: { nocked: true } }), expect.objectContaining({ status: 422 })], true])
  alike('fails and delays', async (api, { url }) => {
    nock(url).get('/error').replyWithError(Object.assign(new Error('refused by nock'), { code: 'ECONNREFUSED' })).get('/delay').delay(20).reply(200, 'late')
    return [await outcomeOf(api.get('/error')), await outcomeOf(api.get('/delay'))]
  }, [expect.objectContaining({ code: 'ECONNREFUSED' }), expect.objectContaining({ data: 'late' })])
  alike('lets through what it does not know, to a genuine server', async (api, { url }) => {
    nock(url, { allowUnmocked: true }).get('/mocked').reply(200, 'mocked')
    return [await outcomeOf(api.get('/mocked')), await outcomeOf(api.get('/real'))]
  }, [expect.objectContaining({ data: 'mocked' }), expect.objectContaining({ data: { url: '/real', method: 'GET' } })])

  test('what it lets through is pinned', async () => {
    nock(impostor.url, { allowUnmocked: true }).get('/mocked').reply(200, 'mocked')
    const api = pinned()
    expect(await outcomeOf(api.get(`${impostor.url}/mocked`))).toMatchObject({ data: 'mocked' })
    expect(await outcomeOf(api.post(`${impostor.url}/real`, 'secret'))).toMatchObject({ code: 'ERR_PIN_MISMATCH' })
  })
})

describe('a client generated by OpenAPI’s typescript-axios (@ory/keto-client)', () => {
  const clients = (api: AxiosInstance, basePath: string): [PermissionApi, RelationshipApi] => {
    const configuration = new Configuration({ basePath, accessToken: 'token' })
    return [new PermissionApi(configuration, basePath, api as never), new RelationshipApi(configuration, basePath, api as never)]
  }

  alike('reads, writes and fails on a pinned instance as on one without pins', async (api, { url }) => {
    const [permissions, relations] = clients(api, url)
    return [
      await outcomeOf(permissions.checkPermission({ namespace: 'files', object: 'a b', relation: 'view', subjectId: 'ada' }) as never),
      await outcomeOf(permissions.checkPermission({ object: 'forbidden' }, { timeout: 5_000 }) as never),
      await outcomeOf(relations.createRelationship({ createRelationshipBody: { namespace: 'files', object: 'x', relation: 'view', subject_id: 'ada' } }) as never),
      await outcomeOf(relations.deleteRelationships({ namespace: 'files' }) as never)
    ]
  }, [expect.objectContaining({ data: { allowed: true } }), expect.objectContaining({ data: { allowed: false } }), expect.objectContaining({ status: 201 }), expect.objectContaining({ status: 400, code: 'ERR_BAD_REQUEST' })])

  test('talks to no impostor', async () => {
    const api = pinned()
    // What an instance has comes before the client's own basePath.
    api.defaults.baseURL = impostor.url
    const [permissions] = clients(api, impostor.url)
    expect(await outcomeOf(permissions.checkPermission({ object: 'secret' }) as never)).toMatchObject({ code: 'ERR_PIN_MISMATCH' })
  })
})

