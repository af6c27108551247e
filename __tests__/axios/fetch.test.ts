import axios, { AxiosError } from 'axios'
import type { AxiosInstance, AxiosRequestConfig, InternalAxiosRequestConfig } from 'axios'
import { Readable } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { Agent, MockAgent } from 'undici'
import { createPinningDispatcher, findPinningError, pinAxios } from '../../lib/index.js'
import type { PinReport, Pinning, PinningOptions } from '../../lib/index.js'
import { axiosHas, axiosIs } from '../support/axios-version.js'
import { failure, until, wait } from '../support/clients.js'
import { createAuthority } from '../support/pki.js'
import { startPlainServer, startServer, startStalledServer } from '../support/servers.js'
import type { PlainServer, TestServer } from '../support/servers.js'

// axios' adapter 'fetch' over a pinned dispatcher. `ca` is given to everything that could carry it, so that nothing but
// the pins stands between the request and the impostor.

const root = createAuthority({ name: 'Public Root' })
const genuineLeaf = root.issue()
const impostorLeaf = root.issue()
const pins = [genuineLeaf.fingerprint, genuineLeaf.pin]
const ca = root.pem

const describeFetch = axiosHas.fetch ? describe : describe.skip
const viaFetch: AxiosRequestConfig = { adapter: 'fetch' }

let genuine: TestServer
let impostor: TestServer
let plain: PlainServer
let redirector: TestServer
const pinnings: Pinning[] = []
const trusting = new Agent({ connect: { ca } })

beforeAll(async () => {
  genuine = await startServer({ certificate: genuineLeaf })
  impostor = await startServer({ certificate: impostorLeaf })
  plain = await startPlainServer()
  redirector = await startServer({ certificate: genuineLeaf, handler: (req, res) => void res.writeHead(307, { location: decodeURIComponent(req.url?.slice(1) ?? '') }).end() })
})

afterEach(async () => {
  await Promise.all(pinnings.splice(0).map((pinning) => pinning.close()))
})

afterAll(() => Promise.all([trusting.destroy(), ...[genuine, impostor, plain, redirector].map((server) => server.close())]))

function pinned(options: PinningOptions = {}, defaults: AxiosRequestConfig = viaFetch): { api: AxiosInstance; pinning: Pinning } {
  const api = axios.create({ timeout: 10_000, ...defaults } as never)
  const pinning = pinAxios(api, { allowedSHAFingerprints: pins, tls: { ca }, ...options })
  pinnings.push(pinning)
  return { api, pinning }
}

const hop = (target: string): string => `${redirector.url}/${encodeURIComponent(target)}`

test(`an axios with the adapter pins it, one without refuses it: ${axios.VERSION}`, async () => {
  const { api } = pinned()
  const outcome = await api.get(genuine.url).then(({ status }) => String(status), (error: AxiosError) => `${error.code} ${error.message}`)
  expect(outcome).toMatch(axiosHas.fetch ? /^200$/ : /^ERR_PIN_BYPASS adapter .*axios 1\.7/)
})

describeFetch('fetch', () => {
  test('the impostor counts what an axios without pins sends through fetch', async () => {
    const before = impostor.decryptedBytes
    expect((await axios.create().post(impostor.url, 'secret', { ...viaFetch, fetchOptions: { dispatcher: trusting } as never })).status).toBe(200)
    expect(impostor.decryptedBytes).toBeGreaterThan(before)
  })

  describe('pinned', () => {
    let before: [number, number]

    beforeEach(() => { before = [impostor.decryptedBytes, plain.receivedBytes] })
    afterEach(() => { expect([impostor.decryptedBytes, plain.receivedBytes]).toEqual(before) })

    test('the genuine server answers, an impostor gets nothing, and both are reported', async () => {
      const good: PinReport[] = []
      const bad: PinReport[] = []
      const { api, pinning } = pinned({ onValidCertificate: (report) => good.push(report), onBadCertificate: (report) => bad.push(report) })
      expect((await api.post(genuine.url, 'x'.repeat(1000))).data).toMatchObject({ ok: true, method: 'POST', length: 1000 })
      const error = await failure(api.post(impostor.url, 'secret'))
      expect(error).toBeInstanceOf(AxiosError)
      expect([error.code, findPinningError(error)?.code, axios.isAxiosError(error)]).toEqual(['ERR_PIN_MISMATCH', 'ERR_PIN_MISMATCH', true])
      expect(good.map(({ host, decision, matchedPin, resumed }) => [host, decision, matchedPin, resumed])).toEqual([['localhost', 'accepted', genuineLeaf.fingerprint, false]])
      expect(bad.map(({ port, decision, result, leaf }) => [port, decision, result, leaf?.pin])).toEqual([[impostor.port, 'refused', 'mismatch', impostorLeaf.pin]])
      expect(pinning.status().counters).toMatchObject({ accepted: 1, refused: 1 })
    })

    test.each([['fetch'], ['FETCH'], [['fetch', 'http']], [['xhr', 'Fetch']], [[null, 'fetch']]])('however it is asked for: %j', async (adapter) => {
      const config = { adapter } as AxiosRequestConfig
      const { api } = pinned({}, {})
      expect((await failure(api.post(impostor.url, 'secret', config))).code).toBe('ERR_PIN_MISMATCH')
      Object.assign(api.defaults, config)
      expect((await failure(api.post(impostor.url, 'secret'))).code).toBe('ERR_PIN_MISMATCH')
      const { api: other } = pinned({}, {})
      other.interceptors.request.use((request) => ({ ...request, ...config }) as InternalAxiosRequestConfig)
      expect((await failure(other.post(impostor.url, 'secret'))).code).toBe('ERR_PIN_MISMATCH')
    })

    test('a fetch or a dispatcher of the user’s own is refused by name', async () => {
      const leaky = ((input: string, init: RequestInit) => fetch(input, { ...init, dispatcher: trusting } as never)) as never
      const { api, pinning } = pinned()
      const names = async (config: object): Promise<string> => /^(\S+) would/.exec((await failure(api.post(impostor.url, 'secret', config))).message)?.[1] ?? 'none'
      expect(await names({ env: { fetch: leaky } })).toBe('env.fetch')
      expect(await names({ fetchOptions: { dispatcher: trusting } })).toBe('fetchOptions.dispatcher')
      expect(await names({ fetchOptions: { dispatcher: new MockAgent() } })).toBe('fetchOptions.dispatcher')
      expect(await names({ fetchOptions: { dispatcher: pinning.dispatcher.compose((dispatch) => dispatch) } })).toBe('fetchOptions.dispatcher')
      expect((await api.get(genuine.url, { fetchOptions: { dispatcher: pinning.dispatcher } as never })).status).toBe(200)
      expect((await failure(api.post(impostor.url, 'secret', { fetchOptions: { dispatcher: pinning.dispatcher } as never }))).code).toBe('ERR_PIN_MISMATCH')
      const others = createPinningDispatcher({ allowedSHAFingerprints: [impostorLeaf.pin, impostorLeaf.fingerprint], tls: { ca } })
      expect((await failure(api.post(impostor.url, 'secret', { fetchOptions: { dispatcher: others } as never }))).code).toBe('ERR_PIN_MISMATCH')
      await others.destroy()
    })

    test('a global fetch that is not Node’s is refused, and its own is used again', async () => {
      const { api } = pinned()
      const { fetch: own } = globalThis
      const leaky = (input: any, init: any): Promise<Response> => own(input, { ...init, dispatcher: trusting })
      for (const replaced of [leaky, own.bind(globalThis), new Proxy(own, {})]) {
        globalThis.fetch = replaced as never
        const error = await failure(api.post(impostor.url, 'secret'))
        globalThis.fetch = own
        expect([error.code, error.message]).toEqual(['ERR_PIN_BYPASS', expect.stringContaining('globalThis.fetch')])
      }
      expect((await api.get(genuine.url)).status).toBe(200)
    })

    test('each hop of a redirect is judged by the policy of its own host, and carries nothing to a refused one', async () => {
      const { api } = pinned()
      const secretive = { headers: { authorization: 'Bearer secret', cookie: 'id=secret' } }
      expect((await api.post(hop(genuine.url), 'hello', secretive)).data).toMatchObject({ ok: true, length: 5 })
      expect((await failure(api.post(hop(impostor.url), 'secret', secretive))).code).toBe('ERR_PIN_MISMATCH')
      expect((await failure(api.post(hop(plain.url), 'secret', secretive))).code).toBe('ERR_PIN_BYPASS')
      expect((await failure(api.post(hop(hop(impostor.url)), 'secret', secretive))).code).toBe('ERR_PIN_MISMATCH')
      const { api: narrow } = pinned({ allowedSHAFingerprints: undefined as never, pins: { localhost: pins } })
      expect((await failure(narrow.post(hop(`https://127.0.0.1:${impostor.port}/`), 'secret', secretive))).code).toBe('ERR_PIN_HOST_UNPINNED')
      expect((await failure(narrow.post(hop(`http://127.0.0.1:${plain.port}/`), 'secret', secretive))).code).toBe('ERR_PIN_BYPASS')
    })

    test('http: URLs, unpinned hosts and configured proxies are refused; one from the environment is not used, as in axios', async () => {
      const { api } = pinned({ allowedSHAFingerprints: undefined as never, pins: { localhost: pins } })
      expect((await failure(api.post(plain.url, 'secret'))).code).toBe('ERR_PIN_BYPASS')
      expect((await failure(api.post(`https://127.0.0.1:${impostor.port}`, 'secret'))).code).toBe('ERR_PIN_HOST_UNPINNED')
      const error = await failure(api.post(genuine.url, 'secret', { proxy: { host: '127.0.0.1', port: plain.port } }))
      expect([error.code, error.message]).toEqual(['ERR_PIN_BYPASS', expect.stringContaining('proxy')])
      process.env['HTTPS_PROXY'] = `http://127.0.0.1:${plain.port}`
      try {
        expect((await api.get(genuine.url)).status).toBe(200)
      } finally {
        delete process.env['HTTPS_PROXY']
      }
    })

    test('a trailing dot, upper case or user information in the URL misses no pins', async () => {
      const { api } = pinned({ allowedSHAFingerprints: undefined as never, pins: { localhost: pins }, unpinnedHosts: 'allow', agent: { lookup: ((_host: string, opt: { all?: boolean }, done: (...args: unknown[]) => void) => opt.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4)) as never } })
      // User information in a URL is an error of fetch, which axios has kept from it since 1.19 at the latest.
      for (const host of ['localhost.', 'LOCALHOST', ...(axiosIs('1.19') ? ['user:secret@localhost'] : [])]) expect((await failure(api.post(`https://${host}:${impostor.port}/`, 'secret'))).code).toBe('ERR_PIN_MISMATCH')
    })

    test('connections are kept and sessions resumed; neither is used again after an update', async () => {
      const server = await startServer({ certificate: genuineLeaf })
      const resumed: boolean[] = []
      const { api, pinning } = pinned({ onValidCertificate: (report) => resumed.push(report.resumed) })
      for (let i = 0; i < 3; i++) {
        await api.get(server.url)
        await wait(20)
      }
      expect(server.connections).toBe(1)
      await Promise.all(Array.from({ length: 4 }, () => api.get(server.url)))
      expect([server.connections, resumed]).toEqual([4, [false, true, true, true]])
      pinning.update([genuineLeaf.pin, impostorLeaf.pin])
      await api.get(server.url)
      expect([server.connections, resumed.at(-1)]).toEqual([5, false])
      await until(() => server.openSockets === 1)
      pinning.update([impostorLeaf.pin, impostorLeaf.fingerprint])
      expect((await failure(api.get(server.url))).code).toBe('ERR_PIN_MISMATCH')
      await until(() => server.openSockets === 0)
      expect(server.requests).toHaveLength(8)
      await server.close()
    })

    test('a request under way finishes when the policy is swapped', async () => {
      let answer: (() => void) | undefined
      const server = await startServer({ certificate: genuineLeaf, handler: (req, res) => void (req.url === '/slow' ? (answer = () => void res.end('late')) : res.end('now')) })
      const { api, pinning } = pinned()
      const slow = api.get(`${server.url}/slow`)
      await until(() => answer !== undefined)
      pinning.update([impostorLeaf.pin, impostorLeaf.fingerprint])
      expect((await failure(api.get(server.url))).code).toBe('ERR_PIN_MISMATCH')
      answer?.()
      expect((await slow).data).toBe('late')
      await until(() => server.openSockets === 0)
      await server.close()
    })

    test('many at once: the genuine server answers each, the impostor none', async () => {
      const { api } = pinned()
      const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => i % 2 ? api.post(genuine.url, 'x').then(({ status }) => status) : failure(api.post(impostor.url, 'secret')).then(({ code }) => code)))
      expect(new Set(answers)).toEqual(new Set([200, 'ERR_PIN_MISMATCH']))
    })

    test('a refused request may be sent again, also after an update, close() and through another adapter', async () => {
      const { api, pinning } = pinned({ allowedSHAFingerprints: [impostorLeaf.pin, impostorLeaf.fingerprint] })
      const error = await failure(api.get(genuine.url))
      expect(error.code).toBe('ERR_PIN_MISMATCH')
      const config = error.config as AxiosRequestConfig
      expect((await failure(api.request(config))).code).toBe('ERR_PIN_MISMATCH')
      pinning.update(pins)
      await pinning.close()
      expect((await api.request(config)).status).toBe(200)
      expect((await api.request({ ...config, adapter: 'http' })).status).toBe(200)
      expect((await failure(api.request({ ...config, url: impostor.url, fetchOptions: { dispatcher: trusting } as never }))).code).toBe('ERR_PIN_BYPASS')
    })

    test('close() closes the connections', async () => {
      const server = await startServer({ certificate: genuineLeaf })
      const { api, pinning } = pinned()
      await api.get(server.url)
      await pinning.close()
      await until(() => server.openSockets === 0)
      expect((await api.get(server.url)).status).toBe(200)
      await server.close()
    })

    test('what an allowed adapter hands on to fetch is pinned', async () => {
      const handsOn = ((config: InternalAxiosRequestConfig) => axios.getAdapter('fetch', config as never)(config)) as never
      const { api } = pinned({ dangerAllowAdapter: (adapter: unknown) => adapter === handsOn }, { adapter: handsOn })
      expect((await api.get(genuine.url)).status).toBe(200)
      expect(findPinningError(await failure(api.post(impostor.url, 'secret')))?.code).toBe('ERR_PIN_MISMATCH')
      const strips = ((config: InternalAxiosRequestConfig) => axios.getAdapter('fetch', { ...config, fetchOptions: { dispatcher: trusting } } as never)({ ...config, fetchOptions: { dispatcher: trusting } } as never)) as never
      const { api: stripping } = pinned({ dangerAllowAdapter: () => true }, { adapter: strips })
      if (axiosIs('1.12')) expect(findPinningError(await failure(stripping.post(impostor.url, 'secret')))?.code).toBe('ERR_PIN_BYPASS')
      expect(findPinningError(await failure(api.post(impostor.url, 'secret', { env: { fetch: ((input: any, init: any) => fetch(input, { ...init, dispatcher: trusting })) as never } } as never)))?.code).toMatch(/^ERR_PIN_/)
    })

    test('what PKI refuses is told as by axios without pins, and reported', async () => {
      const stranger = await startServer({ certificate: createAuthority().issue() })
      const bad: PinReport[] = []
      const { api } = pinned({ onBadCertificate: (report) => bad.push(report) })
      const error = await failure(api.get(stranger.url))
      const theirs = await failure(axios.create().get(stranger.url, { ...viaFetch, fetchOptions: { dispatcher: trusting } as never }))
      expect([error.code, error.message]).toEqual([theirs.code, theirs.message])
      expect(bad.map(({ result, decision }) => [result, decision])).toEqual([['untrusted', 'refused']])
      expect(stranger.decryptedBytes).toBe(0)
      await stranger.close()
    })
  })

  test('with unpinnedHosts: allow, hosts without pins are spoken to, over http: too, and a pinned one never over http:', async () => {
    const { api } = pinned({ allowedSHAFingerprints: undefined as never, pins: { localhost: pins }, unpinnedHosts: 'allow' })
    expect((await api.get(`http://127.0.0.1:${plain.port}/`)).status).toBe(200)
    expect((await api.get(`https://127.0.0.1:${impostor.port}/`)).status).toBe(200)
    expect((await failure(api.get(`http://localhost:${plain.port}/`))).code).toBe('ERR_PIN_BYPASS')
  })

  test('report-only lets a mismatch pass and tells; off looks at nothing', async () => {
    const bad: PinReport[] = []
    const { api } = pinned({ mode: 'report-only', onBadCertificate: (report) => bad.push(report) })
    expect((await api.get(impostor.url)).status).toBe(200)
    expect(bad.map(({ decision }) => decision)).toEqual(['tolerated'])
    const { api: free } = pinned({ mode: 'off' })
    expect((await free.get(impostor.url, { fetchOptions: { dispatcher: trusting } as never })).status).toBe(200)
  })

  describe.each(['without pins', 'pinned'])('%s', (kind) => {
    const client = (): AxiosInstance => kind === 'pinned' ? pinned().api : axios.create({ ...viaFetch, fetchOptions: { dispatcher: trusting } as never })

    test('streams both ways, progress, forms, blobs, aborts and time-outs', async () => {
      const server = await startServer({
        certificate: genuineLeaf,
        handler: (req, res) => {
          if (req.url === '/slow') return
          if (req.url === '/hop') return void res.writeHead(302, { location: '/landed' }).end()
          res.writeHead(200, { 'content-type': req.headers['content-type'] ?? 'text/plain', 'x-agent': req.headers['user-agent'] ?? '', 'set-cookie': ['a=1', 'b=2'] })
          if (req.method === 'GET') return void res.end(req.url)
          req.pipe(res)
        }
      })
      const api = client()
      const chunks = (): ReadableStream => new ReadableStream({ start: (stream) => { for (const fill of [1, 2]) stream.enqueue(new Uint8Array(70_000).fill(fill)); stream.close() } })
      const uploaded: number[] = []
      const downloaded: number[] = []
      const answer = await api.post(server.url, chunks(), { responseType: 'stream', headers: { 'content-type': 'application/octet-stream' }, onUploadProgress: ({ loaded }) => void uploaded.push(loaded), onDownloadProgress: ({ loaded }) => void downloaded.push(loaded) })
      let length = 0
      for await (const chunk of answer.data as AsyncIterable<Uint8Array>) length += chunk.length
      expect([length, uploaded.at(-1), downloaded.at(-1)]).toEqual([140_000, 140_000, 140_000])
      expect((await api.post(server.url, Readable.from(['a', 'b']), { headers: { 'content-type': 'text/plain' } })).data).toBe('ab')

      expect((await api.get(`${server.url}/hop`)).data).toBe('/landed')
      expect((await failure(api.get(`${server.url}/hop`, { fetchOptions: { ...api.defaults.fetchOptions, redirect: 'error' } as never }))).code).toBe('ERR_NETWORK')
      const form = new FormData()
      form.append('file', new Blob(['hello']), 'hello.txt')
      expect((await api.post(server.url, form)).data).toContain('hello.txt')
      expect(((await api.post(server.url, new Blob(['blob']), { responseType: 'blob' })).data as Blob).size).toBe(4)
      expect(Buffer.from((await api.post(server.url, Buffer.from('bytes'), { responseType: 'arraybuffer' })).data as ArrayBuffer).toString()).toBe('bytes')
      expect((await api.post(server.url, new URLSearchParams({ a: '1' }))).data).toBe('a=1')

      const abort = new AbortController()
      const aborted = failure(api.get(`${server.url}/slow`, { signal: abort.signal }))
      setTimeout(() => { abort.abort() }, 50)
      expect((await aborted).code).toBe('ERR_CANCELED')
      expect((await failure(api.get(`${server.url}/slow`, { timeout: 100 }))).code).toMatch(/^(ETIMEDOUT|ECONNABORTED)$/)
      expect((await api.post(server.url, 'still there')).data).toBe('still there')
      await server.close()
    })

    test('a handshake that never ends ends at the time-out', async () => {
      const stalled = await startStalledServer()
      expect((await failure(client().get(stalled.url, { timeout: 200 }))).code).toMatch(/^(ETIMEDOUT|ECONNABORTED)$/)
      await stalled.close()
    })
  })
})
