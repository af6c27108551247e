import axios from 'axios'
import type { AxiosInstance, AxiosRequestConfig } from 'axios'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { outcomeOf, sideBySide } from '../../support/side-by-side.js'
import { startPlainServer, startResettingServer, startServer, startStalledServer } from '../../support/servers.js'
import type { TestServer } from '../../support/servers.js'
import { createAuthority } from '../../support/pki.js'

// Answers and failures, with their codes and messages: on a pinned instance as on one without pins.

const { alike, alikeInTime } = sideBySide((request, response) => {
  request.resume()
  const [, route, argument] = (request.url ?? '/').split('?')[0]?.split('/') ?? []
  if (route === 'status') return void response.writeHead(Number(argument), { 'content-type': 'application/json', 'x-request': 'one' }).end(['204', '304'].includes(argument ?? '') || request.method === 'HEAD' ? undefined : '{"ok":false}')
  if (route === 'hop') return void response.writeHead(302, { location: Number(argument) > 0 ? `/hop/${Number(argument) - 1}` : '/landed' }).end()
  if (route === 'hang') return
  if (route === 'late') return void setTimeout(() => response.end('late'), Number(argument ?? 200))
  if (route === 'reset') return void request.socket.destroy()
  if (route === 'garbage') return void request.socket.end('SMTP ready\r\n\r\n')
  if (route === 'text') return void response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' }).end('\ufeffgrüße')
  response.writeHead(200, { 'content-type': 'application/json', 'set-cookie': ['a=1', 'b=2'] }).end(JSON.stringify({ url: request.url }))
})

describe('answers', () => {
  for (const status of [200, 201, 204, 301, 304, 400, 401, 404, 429, 500, 503]) {
    alike(`status ${status}`, async (api) => await outcomeOf(api.get(`/status/${status}`)), status < 300 ? { status } : { isAxiosError: true })
  }
  alike('validateStatus', async (api) => [await outcomeOf(api.get('/status/404', { validateStatus: () => true })), await outcomeOf(api.get('/status/200', { validateStatus: () => false }))])
  alike('each method', async (api) => {
    const outcomes: unknown[] = []
    for (const method of ['get', 'delete', 'head', 'options', 'post', 'put', 'patch', 'PROPFIND']) outcomes.push(await outcomeOf(api.request({ method, url: '/x', data: 'body' })))
    return outcomes
  })
  alike('redirects, followed, counted and left alone', async (api) => [
    await outcomeOf(api.get('/hop/3')),
    await outcomeOf(api.get('/hop/3', { maxRedirects: 2 })),
    await outcomeOf(api.get('/hop/0', { maxRedirects: 0 })),
    await outcomeOf(api.post('/hop/1', 'body', { auth: { username: 'a', password: 'b' } }))
  ], [expect.objectContaining({ status: 200 }), expect.objectContaining({ code: 'ERR_FR_TOO_MANY_REDIRECTS' }), expect.objectContaining({ isAxiosError: true, status: 302 }), expect.objectContaining({ status: 200 })])
  alike('parameters, headers, credentials and the response type', async (api) => [
    await outcomeOf(api.get('/q', { params: { a: [1, 2], b: 'ä b', c: null } })),
    await outcomeOf(api.get('/q', { headers: { 'X-Custom': 'yes', Accept: 'text/html', 'User-Agent': 'mine' }, auth: { username: 'u', password: 'p:w' } })),
    await outcomeOf(api.get('/text')),
    await outcomeOf(api.get('/text', { responseType: 'arraybuffer' })),
    await outcomeOf(api.get('/text', { responseEncoding: 'latin1' })),
    await outcomeOf(api.get('/text', { transformResponse: [(data: string) => data.length] }))
  ])
  alike('interceptors of requests and responses, in their order', async (api) => {
    const seen: string[] = []
    for (const name of ['first', 'second']) {
      api.interceptors.request.use((config) => {
        seen.push(`request ${name}`)
        config.headers.set(`x-${name}`, 'set')
        return config
      })
      api.interceptors.response.use((response) => {
        seen.push(`response ${name}`)
        return response
      })
    }
    return [await outcomeOf(api.get('/intercepted')), seen]
  })
  alike('defaults changed afterwards, and instances made by create()', async (api) => {
    api.defaults.headers.common['x-late'] = 'yes'
    const child = (api as unknown as typeof axios).create({ headers: { 'x-child': 'yes' } })
    return [await outcomeOf(api.get('/late-default')), await outcomeOf(child.get('/child')), api.getUri({ url: '/uri', params: { a: 1 } }).replace(/.*:\d+/, '')]
  })
  alike('what response.request and response.config tell', async (api) => {
    const { request, config, headers } = await api.get('/tell', { timeout: 3_000 })
    return [request.path, request.method, request.host, request.protocol, config.url, config.method, config.timeout, config.maxRedirects, headers['set-cookie'], typeof request.socket.getPeerCertificate().fingerprint256, request.res.responseUrl.replace(/:\d+/, '')]
  })
})

describe('failures', () => {
  alike('a connection that is cut before the answer', async (api) => await outcomeOf(api.get('/reset')), { code: 'ECONNRESET', message: 'socket hang up' })
  alike('an answer that is no HTTP', async (api) => await outcomeOf(api.get('/garbage')), { code: 'HPE_INVALID_CONSTANT' })
  alikeInTime('time-outs while waiting for the answer, by either name', async (api) => [
    await outcomeOf(api.get('/hang', { timeout: 80 })),
    await outcomeOf(api.get('/hang', { timeout: 80, timeoutErrorMessage: 'too slow' })),
    await outcomeOf(api.get('/hang', { timeout: 80, transitional: { clarifyTimeoutError: true } }))
  ], [expect.objectContaining({ code: 'ECONNABORTED', message: 'timeout of 80ms exceeded' }), expect.objectContaining({ message: 'too slow' }), expect.objectContaining({ code: 'ETIMEDOUT' })])
  alike('a time-out that is long enough', async (api) => await outcomeOf(api.get('/late', { timeout: 5_000 })), { data: 'late' })
  alike('a host that does not exist', async (api) => await outcomeOf(api.get('https://no-such-host.invalid/')), { code: expect.stringMatching(/ENOTFOUND|EAI_AGAIN/) })
  alike('URLs, headers and options that axios or Node refuse', async (api) => {
    const outcomes: unknown[] = []
    const bad: AxiosRequestConfig[] = [{ url: 'ftp://localhost/' }, { url: 'https://' }, { headers: { 'x-bad': 'a\nb' } }, { url: '/ü ?' }, { timeout: 'soon' as never }, { url: '/x', params: { a: '\u0000' } }]
    for (const config of bad) outcomes.push(await outcomeOf(api.request({ url: '/bad', ...config })))
    return outcomes
  })
  alike('a data: URL', async (api) => await outcomeOf(api.get('data:text/plain;base64,aGVsbG8=', { baseURL: '', responseType: 'text' })), { data: 'hello' })

  // Against servers of their own.
  const elsewhere = (name: string, start: () => Promise<{ url: string; close(): Promise<void> }>, expected: object, config: AxiosRequestConfig = {}): void =>
    alike(name, async (api: AxiosInstance) => {
      const other = await start()
      const { message, ...outcome } = await outcomeOf(api.get(other.url, config))
      await other.close()
      return { ...outcome, message: String(message).replace(/:\d+/g, ':PORT') }
    }, expected)

  elsewhere('nobody listens', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    const { port } = server.address() as AddressInfo
    await new Promise((resolve) => server.close(resolve))
    return { url: `https://127.0.0.1:${port}/`, close: () => Promise.resolve() }
  }, { code: 'ECONNREFUSED' })
  elsewhere('a handshake that never ends', startStalledServer, { code: 'ECONNABORTED' }, { timeout: 100 })
  elsewhere('a handshake that is reset', () => startResettingServer(), { code: 'ECONNRESET' })
  elsewhere('a certificate of an unknown authority', () => startServer({ certificate: createAuthority({ name: 'Stranger' }).issue() }), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' })
  elsewhere('a server that speaks no TLS', async () => {
    const server = await startPlainServer()
    return { url: server.url.replace('http:', 'https:'), close: () => server.close() }
  }, { isAxiosError: true })
})

describe('cancellation', () => {
  const controller = (): AbortController => new AbortController()
  /** Once so many more requests have reached the server. */
  const afterRequests = (server: TestServer, count: number, act: () => void): void => {
    const before = server.requests.length
    const timer = setInterval(() => {
      if (server.requests.length < before + count) return
      clearInterval(timer)
      act()
    }, 5)
  }

  alike('AbortController: before, while waiting, and with a reason', async (api, server) => {
    const [before, during, reasoned] = [controller(), controller(), controller()]
    before.abort()
    const waiting = [outcomeOf(api.get('/hang', { signal: during.signal })), outcomeOf(api.get('/hang', { signal: reasoned.signal }))]
    afterRequests(server, 2, () => {
      during.abort()
      reasoned.abort(new Error('changed my mind'))
    })
    return [await outcomeOf(api.get('/never-sent', { signal: before.signal })), ...(await Promise.all(waiting))]
  }, [0, 1, 2].map(() => expect.objectContaining({ code: 'ERR_CANCELED', isCancel: true })))
  alikeInTime('AbortSignal.timeout', async (api) => await outcomeOf(api.get('/hang', { signal: AbortSignal.timeout(60) })), { code: 'ERR_CANCELED' })
  alike('CancelToken: before, and while waiting', async (api, server) => {
    const [before, during] = [axios.CancelToken.source(), axios.CancelToken.source()]
    before.cancel('no')
    afterRequests(server, 1, () => during.cancel('enough'))
    return [await outcomeOf(api.get('/never-sent', { cancelToken: before.token })), await outcomeOf(api.get('/hang', { cancelToken: during.token }))]
  }, [expect.objectContaining({ message: 'no', isCancel: true }), expect.objectContaining({ message: 'enough', isCancel: true })])
  alikeInTime('during the handshake, after which the next request works', async (api) => {
    const stalled = await startStalledServer()
    const abort = controller()
    setTimeout(() => abort.abort(), 60)
    const outcome = await outcomeOf(api.get(stalled.url, { signal: abort.signal }))
    await stalled.close()
    return [outcome, (await outcomeOf(api.get('/after')))['status']]
  }, [expect.objectContaining({ code: 'ERR_CANCELED' }), 200])
  alike('of a streamed answer', async (api) => {
    const abort = controller()
    const { data } = await api.get('/status/200', { responseType: 'stream', signal: abort.signal })
    const ended = new Promise((resolve) => data.once('error', (error: NodeJS.ErrnoException) => resolve(error.code)).once('close', () => resolve('closed')))
    abort.abort()
    return [await ended, (await outcomeOf(api.get('/after')))['status']]
  })
  alikeInTime('of one of many leaves the others alone', async (api, server) => {
    const aborts = Array.from({ length: 20 }, controller)
    const requests = aborts.map(({ signal }, i) => outcomeOf(api.get(`/late/1000?${i}`, { signal })))
    afterRequests(server, 20, () => aborts.filter((_, i) => i % 2 === 1).forEach((each) => each.abort()))
    return (await Promise.all(requests)).map(({ code, data }) => code ?? data)
  }, Array.from({ length: 20 }, (_, i) => (i % 2 === 1 ? 'ERR_CANCELED' : 'late')))
})

