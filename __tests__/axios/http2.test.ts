import axios, { AxiosError } from 'axios'
import type { AxiosInstance, AxiosRequestConfig, InternalAxiosRequestConfig } from 'axios'
import { PassThrough, Readable } from 'node:stream'
import { connect } from 'node:tls'
import { findPinningError, pinAxios } from '../../lib/index.js'
import type { PinReport, Pinning, PinningOptions } from '../../lib/index.js'
import { axiosHas, axiosIs } from '../support/axios-version.js'
import { failure, until, wait } from '../support/clients.js'
import { startHttp2Server } from '../support/http2-server.js'
import type { Http2TestServer } from '../support/http2-server.js'
import { createAuthority } from '../support/pki.js'
import { startPlainServer, startServer, startStalledServer } from '../support/servers.js'
import type { PlainServer, TestServer } from '../support/servers.js'

// HTTP/2 sessions of axios over pinned connections. The impostor negotiates h2 and counts every byte that it decrypts,
// the connection preface included.

const root = createAuthority({ name: 'Public Root' })
const genuineLeaf = root.issue()
const impostorLeaf = root.issue()
const pins = [genuineLeaf.fingerprint, genuineLeaf.pin]
const ca = root.pem

const describeHttp2 = axiosHas.http2 ? describe : describe.skip
// Before axios 1.20 a failed connection ends the process of whoever does not pin.
const testBare = axiosIs('1.20') ? test : test.skip
// axios 1.13 does not close the sessions that it forgets.
const testClosing = axiosIs('1.14') ? test : test.skip
const h2 = { httpVersion: 2 } as AxiosRequestConfig
const h2With = (http2Options: object): AxiosRequestConfig => ({ httpVersion: 2, http2Options }) as AxiosRequestConfig

let genuine: Http2TestServer
let impostor: TestServer
let plain: PlainServer
const pinnings: Pinning[] = []

beforeAll(async () => {
  genuine = await startHttp2Server({ certificate: genuineLeaf })
  impostor = await startServer({ certificate: impostorLeaf, alpn: ['h2', 'http/1.1'] })
  plain = await startPlainServer()
})

afterEach(async () => {
  await Promise.all(pinnings.splice(0).map((pinning) => pinning.close()))
})

afterAll(() => Promise.all([genuine.close(), impostor.close(), plain.close()]))

function pinned(options: PinningOptions = {}, defaults: AxiosRequestConfig = {}): { api: AxiosInstance; pinning: Pinning } {
  const api = axios.create({ timeout: 10_000, ...defaults } as never)
  const pinning = pinAxios(api, { allowedSHAFingerprints: pins, tls: { ca }, ...options })
  pinnings.push(pinning)
  return { api, pinning }
}

test(`an axios with HTTP/2 pins it, one without refuses it: ${axios.VERSION}`, async () => {
  const { api } = pinned()
  const outcome = await api.get(genuine.url, h2).then(({ data }) => String((data as { httpVersion: string }).httpVersion), (error: AxiosError) => `${error.code} ${error.message}`)
  expect(outcome).toMatch(axiosHas.http2 ? /^2\.0$/ : /^ERR_PIN_BYPASS httpVersion .*axios 1\.13/)
})

describeHttp2('HTTP/2', () => {
  testBare('the impostor counts what an axios without pins sends over HTTP/2', async () => {
    const before = impostor.decryptedBytes
    const bare = axios.create({ timeout: 2_000 })
    await failure(bare.post(impostor.url, 'secret', h2With({ ca, sessionTimeout: 1 })))
    expect(impostor.decryptedBytes).toBeGreaterThan(before)
  })

  describe('pinned', () => {
    let before: number

    beforeEach(() => { before = impostor.decryptedBytes })
    afterEach(() => { expect(impostor.decryptedBytes).toBe(before) })

    test('the genuine server answers, an impostor gets nothing, and both are reported', async () => {
      const good: PinReport[] = []
      const bad: PinReport[] = []
      const { api, pinning } = pinned({ onValidCertificate: (report) => good.push(report), onBadCertificate: (report) => bad.push(report) })
      expect((await api.post(genuine.url, 'x'.repeat(100_000), h2)).data).toMatchObject({ ok: true, method: 'POST', length: 100_000, httpVersion: '2.0' })
      const error = await failure(api.post(impostor.url, 'secret', h2))
      expect(error).toBeInstanceOf(AxiosError)
      expect([error.code, findPinningError(error) === error.cause]).toEqual(['ERR_PIN_MISMATCH', true])
      expect(good.map(({ host, decision, matchedPin, resumed }) => [host, decision, matchedPin, resumed])).toEqual([['localhost', 'accepted', genuineLeaf.fingerprint, false]])
      expect(bad.map(({ port, decision, result, leaf }) => [port, decision, result, leaf?.pin])).toEqual([[impostor.port, 'refused', 'mismatch', impostorLeaf.pin]])
      expect(pinning.status().counters).toMatchObject({ accepted: 1, refused: 1 })
    })

    test.each<[unknown]>([['2'], [2], ['2.0'], [[2]], [{ valueOf: (): number => 2 }]])('however it is asked for: %p', async (httpVersion) => {
      const config = { httpVersion } as AxiosRequestConfig
      const { api } = pinned()
      expect((await failure(api.post(impostor.url, 'secret', config))).code).toBe('ERR_PIN_MISMATCH')
      Object.assign(api.defaults, config)
      expect((await failure(api.post(impostor.url, 'secret'))).code).toBe('ERR_PIN_MISMATCH')
      const { api: other } = pinned()
      other.interceptors.request.use((request) => ({ ...request, ...config }) as InternalAxiosRequestConfig)
      expect((await failure(other.post(impostor.url, 'secret'))).code).toBe('ERR_PIN_MISMATCH')
    })

    test.each([3, 'two', 1.1, NaN, null])('a version that is neither 1 nor 2 sends nothing: %p', async (httpVersion) => {
      const { api } = pinned()
      expect((await failure(api.post(impostor.url, 'secret', { httpVersion } as never))).code).toMatch(/^ERR_PIN_BYPASS$/)
    })

    test('requests at once and one after another share a connection; a refused one is opened anew, and refused again', async () => {
      const server = await startHttp2Server({ certificate: genuineLeaf })
      const { api, pinning } = pinned()
      await Promise.all(Array.from({ length: 20 }, (_, i) => api.post(server.url, `n${i}`, h2)))
      await api.get(server.url, h2)
      expect([server.connections, server.requests.length]).toEqual([1, 21])
      const codes = async (): Promise<unknown[]> => await Promise.all(Array.from({ length: 10 }, async () => (await failure(api.post(impostor.url, 'secret', h2))).code))
      expect(await codes()).toEqual(Array(10).fill('ERR_PIN_MISMATCH'))
      expect(await codes()).toEqual(Array(10).fill('ERR_PIN_MISMATCH'))
      expect(pinning.status().counters).toMatchObject({ accepted: 1, refused: 2 })
      await server.close()
    })

    testClosing.each(['TLSv1.2', 'TLSv1.3'] as const)('a TLS session is resumed and judged by what was verified when it was made: %s', async (maxVersion) => {
      const server = await startHttp2Server({ certificate: genuineLeaf, maxVersion })
      const resumed: boolean[] = []
      const { api, pinning } = pinned({ onValidCertificate: (report) => resumed.push(report.resumed) })
      const once = h2With({ sessionTimeout: 0 })
      for (let i = 0; i < 3; i++) {
        await api.get(server.url, once)
        await until(() => server.openSockets === 0)
      }
      expect([resumed, server.resumed]).toEqual([[false, true, true], 2])
      pinning.update([impostorLeaf.pin, impostorLeaf.fingerprint])
      expect((await failure(api.get(server.url, once))).code).toBe('ERR_PIN_MISMATCH')
      expect(server.resumed).toBe(2)
      await server.close()
    })

    test('no session of a refused impostor is kept', async () => {
      const swapping = await startServer({ certificate: impostorLeaf, alpn: ['h2'], maxVersion: 'TLSv1.2' })
      const { api } = pinned()
      for (let i = 0; i < 3; i++) expect((await failure(api.get(swapping.url, h2))).code).toBe('ERR_PIN_MISMATCH')
      swapping.swapCertificate(genuineLeaf, { keepTicketKeys: true })
      await failure(api.get(swapping.url, { ...h2, timeout: 500 }))
      expect([swapping.resumed, swapping.handshakes > 0]).toEqual([0, true])
      await swapping.close()
    })

    test('a kept session is not used again after an update; a request under way finishes', async () => {
      let answer: (() => void) | undefined
      const server = await startHttp2Server({ certificate: genuineLeaf, handler: (req, res) => void (req.url === '/slow' ? (answer = () => void res.end('late')) : res.end('now')) })
      const { api, pinning } = pinned()
      const slow = api.get(`${server.url}/slow`, h2)
      await until(() => answer !== undefined)
      pinning.update([genuineLeaf.pin, genuineLeaf.fingerprint])
      expect((await api.get(server.url, h2)).data).toBe('now')
      pinning.update([impostorLeaf.pin, impostorLeaf.fingerprint])
      expect((await failure(api.get(server.url, h2))).code).toBe('ERR_PIN_MISMATCH')
      answer?.()
      expect((await slow).data).toBe('late')
      expect(server.requests.map(({ connection }) => connection)).toEqual([1, 2])
      await server.close()
    })

    test('an update while the connection is under way is what the peer is judged by', async () => {
      const { api, pinning } = pinned({ allowedSHAFingerprints: [impostorLeaf.pin, impostorLeaf.fingerprint] })
      const lookup = (_host: string, options: { all?: boolean }, done: (...args: unknown[]) => void): void => {
        pinning.update(pins)
        if (options.all) done(null, [{ address: '127.0.0.1', family: 4 }])
        else done(null, '127.0.0.1', 4)
      }
      expect((await failure(api.post(impostor.url, 'secret', h2With({ lookup })))).code).toBe('ERR_PIN_MISMATCH')
    })

    test.each(['ca', 'cert', 'key', 'pfx', 'ciphers', 'minVersion', 'secureContext', 'checkServerIdentity', 'session', 'socket', 'pskCallback', 'createConnection', 'host', 'port', 'path'])('http2Options.%s is refused by name', async (name) => {
      const leaky = (authority: URL): unknown => connect({ host: authority.hostname, port: Number(authority.port), ca, ALPNProtocols: ['h2'] })
      const value = name === 'createConnection' ? leaky : name === 'host' ? 'localhost' : name === 'port' ? impostor.port : 'x'
      const { api } = pinned()
      const error = await failure(api.post(impostor.url, 'secret', h2With({ [name]: value })))
      expect([error.code, error.message]).toEqual(['ERR_PIN_BYPASS', expect.stringContaining(`http2Options.${name}`)])
    })

    test('other http2Options hold, and rejectUnauthorized is overruled', async () => {
      const stranger = await startHttp2Server({ certificate: createAuthority().issue() })
      const { api } = pinned()
      const options = { rejectUnauthorized: false, settings: { enablePush: false }, ALPNProtocols: ['http/1.1'], servername: 'localhost', lookup: (_host: string, opt: { all?: boolean }, done: (...args: unknown[]) => void) => opt.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4) }
      expect((await api.get(genuine.url, h2With(options))).data).toMatchObject({ httpVersion: '2.0' })
      expect((await failure(api.post(impostor.url, 'secret', h2With(options)))).code).toBe('ERR_PIN_MISMATCH')
      const untrusted = await failure(api.get(stranger.url, h2With(options)))
      expect(untrusted.message).toMatch(/UNABLE_TO_VERIFY_LEAF_SIGNATURE|unable to verify/i)
      expect(stranger.requests).toEqual([])
      await stranger.close()
    })

    test('http: URLs, unpinned hosts and configured proxies are refused; one from the environment is not used, as in axios', async () => {
      const received = plain.receivedBytes
      const { api } = pinned({ allowedSHAFingerprints: undefined as never, pins: { localhost: pins } })
      expect((await failure(api.post(plain.url, 'secret', h2))).code).toBe('ERR_PIN_BYPASS')
      expect((await failure(api.post(`https://127.0.0.1:${impostor.port}`, 'secret', h2))).code).toBe('ERR_PIN_HOST_UNPINNED')
      expect((await failure(api.post(genuine.url, 'secret', { ...h2, proxy: { host: '127.0.0.1', port: plain.port } }))).code).toBe('ERR_PIN_BYPASS')
      process.env['HTTPS_PROXY'] = `http://127.0.0.1:${plain.port}`
      try {
        expect((await api.get(genuine.url, h2)).status).toBe(200)
        expect((await failure(api.post(impostor.url, 'secret', h2))).code).toBe('ERR_PIN_MISMATCH')
      } finally {
        delete process.env['HTTPS_PROXY']
      }
      expect(plain.receivedBytes).toBe(received)
    })

    test('with unpinnedHosts: allow, hosts without pins are spoken to, in plain text too', async () => {
      const open = await startHttp2Server({})
      const { api } = pinned({ allowedSHAFingerprints: undefined as never, pins: { localhost: pins }, unpinnedHosts: 'allow' })
      expect((await api.get(`http://127.0.0.1:${open.port}`, h2)).data).toMatchObject({ ok: true })
      expect((await failure(api.get(open.url, h2))).code).toBe('ERR_PIN_BYPASS')
      expect(open.requests).toHaveLength(1)
      await open.close()
    })

    test('a redirect is not followed, as in axios', async () => {
      const server = await startHttp2Server({ certificate: genuineLeaf, handler: (_req, res) => { res.writeHead(307, { location: impostor.url }); res.end() } })
      const { api } = pinned()
      const error = await failure(api.post(server.url, 'secret', h2))
      expect(error.response?.status).toBe(307)
      await server.close()
    })

    test('a refused request may be sent again, also after an update', async () => {
      const { api, pinning } = pinned({ allowedSHAFingerprints: [impostorLeaf.pin, impostorLeaf.fingerprint] })
      const error = await failure(api.get(genuine.url, h2))
      expect(error.code).toBe('ERR_PIN_MISMATCH')
      expect((await failure(api.request(error.config as AxiosRequestConfig))).code).toBe('ERR_PIN_MISMATCH')
      pinning.update(pins)
      expect((await api.request(error.config as AxiosRequestConfig)).data).toMatchObject({ httpVersion: '2.0' })
    })

    test('close() closes the connections', async () => {
      const server = await startHttp2Server({ certificate: genuineLeaf })
      const { api, pinning } = pinned()
      await api.get(server.url, h2With({ sessionTimeout: 60_000 }))
      expect(server.openSockets).toBe(1)
      await pinning.close()
      await until(() => server.openSockets === 0)
      expect((await api.get(server.url, h2)).status).toBe(200)
      await server.close()
    })

    test('a failed connection is told as by axios, is no refusal, and does not end the process', async () => {
      const bad: PinReport[] = []
      const { api } = pinned({ onBadCertificate: (report) => bad.push(report) })
      const gone = await startServer({ certificate: genuineLeaf })
      await gone.close()
      const uncaught = jest.fn()
      process.on('uncaughtException', uncaught)
      const error = await failure(api.get(gone.url, h2))
      await failure(api.get(impostor.url, h2))
      await wait(20)
      process.off('uncaughtException', uncaught)
      expect(error.code).toBe('ERR_HTTP2_STREAM_CANCEL')
      expect(bad.map(({ port }) => port)).toEqual([impostor.port])
      expect(uncaught).not.toHaveBeenCalled()
    })

    test('report-only lets a mismatch pass and tells', async () => {
      const other = await startHttp2Server({ certificate: impostorLeaf })
      const bad: PinReport[] = []
      const { api } = pinned({ mode: 'report-only', onBadCertificate: (report) => bad.push(report) })
      expect((await api.get(other.url, h2)).status).toBe(200)
      expect(bad.map(({ decision }) => decision)).toEqual(['tolerated'])
      await other.close()
    })
  })

  describe.each(['without pins', 'pinned'])('%s', (kind) => {
    const client = (): { api: AxiosInstance; config: AxiosRequestConfig } => kind === 'pinned' ? { api: pinned().api, config: h2 } : { api: axios.create(), config: h2With({ ca }) }

    test('streams both ways, progress, aborts and time-outs', async () => {
      const server = await startHttp2Server({
        certificate: genuineLeaf,
        handler: (req, res) => {
          if (req.url === '/slow') return
          res.setHeader('content-type', 'application/octet-stream')
          req.pipe(res)
        }
      })
      const { api, config } = client()
      const uploaded: number[] = []
      const downloaded: number[] = []
      const answer = await api.post(server.url, Readable.from([Buffer.alloc(70_000, 1), Buffer.alloc(70_000, 2)]), { ...config, responseType: 'stream', onUploadProgress: ({ loaded }) => void uploaded.push(loaded), onDownloadProgress: ({ loaded }) => void downloaded.push(loaded) })
      let length = 0
      for await (const chunk of (answer.data as Readable).pipe(new PassThrough())) length += (chunk as Buffer).length
      expect([length, uploaded.at(-1), downloaded.at(-1)]).toEqual([140_000, 140_000, 140_000])

      const abort = new AbortController()
      const aborted = failure(api.get(`${server.url}/slow`, { ...config, signal: abort.signal }))
      setTimeout(() => { abort.abort() }, 50)
      expect((await aborted).code).toBe('ERR_CANCELED')
      expect((await failure(api.get(`${server.url}/slow`, { ...config, timeout: 100 }))).code).toBe('ECONNABORTED')
      expect((await api.post(server.url, 'still there', config)).data.toString()).toBe('still there')
      await server.close()
    })

    ;(kind === 'pinned' ? test : testBare)('a handshake that never ends ends at the time-out', async () => {
      const stalled = await startStalledServer()
      const { api, config } = client()
      expect((await failure(api.get(stalled.url, { ...config, timeout: 200 }))).code).toBe('ECONNABORTED')
      await stalled.close()
    })
  })
})
