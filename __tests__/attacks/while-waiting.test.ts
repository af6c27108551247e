import axios from 'axios'
import type { AxiosError, AxiosRequestConfig } from 'axios'
import { pinAxios, signManifest } from '../../lib/index.js'
import type { Pinning, PinningOptions } from '../../lib/index.js'
import { startTlsServer } from '../../lib/testing/index.js'
import { axiosHas } from '../support/axios-version.js'
import { wait } from '../support/clients.js'
import { startHttp2Server } from '../support/http2-server.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { createSigner, pinSet } from '../support/pin-sets.js'
import { startServer } from '../support/servers.js'

// The verdict may wait for a signed pin set. Meanwhile nothing is written, nothing that the peer says is an answer, and
// nothing that goes wrong is lost.

const root = createAuthority({ name: 'Public Root' })
const [genuine, other] = [root.issue(), root.issue()]
const signer = createSigner()
const closing: Array<() => unknown> = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

function pinned(options: Partial<PinningOptions>, answer: () => Promise<string>): { api: ReturnType<typeof axios.create>; pinning: Pinning } {
  const api = axios.create({ proxy: false, timeout: 10_000 })
  const source = { name: 'slow', fetch: async () => (await wait(300), { text: await answer(), etag: 'one' }) }
  const pinning = pinAxios(api, { pins: { localhost: [genuine.pin, createSelfSigned().pin] }, tls: { ca: root.pem }, updates: { source, trustedKeys: [signer.publicKey], audience: 'test', updatePolicy: 'before-first-request', firstRefreshTimeoutMs: 2_000, staleRetryMs: 1 }, ...options })
  closing.push(() => pinning.close())
  return { api, pinning }
}

const outcome = (request: Promise<unknown>): Promise<unknown> => request.then((answer) => (answer as { status: number }).status, (error: AxiosError) => error.code ?? error.message)
const down = (): Promise<string> => Promise.reject(new Error('down'))
const compromised = (): Promise<string> => signManifest(pinSet({ version: 1, pins: { localhost: [other.pin] } }, Date.now()), [signer.privateKey])

test.each(['background', 'before-first-request'] as const)('an impostor that answers before it is asked is not believed (%s)', async (updatePolicy) => {
  const impostor = await startTlsServer(root.issue(), (socket) => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nEVIL'))
  closing.push(() => impostor.close())
  const source = { name: 'slow', fetch: async () => (await wait(300), down()) as never }
  const { api } = pinned({ updates: { source, trustedKeys: [signer.publicKey], audience: 'test', updatePolicy, firstRefreshTimeoutMs: 600, staleRetryMs: 1 } }, down)
  expect(await outcome(api.post(impostor.url, 'secret'))).toBe('ERR_PIN_MISMATCH')
  expect(impostor.receivedBytes).toBe(0)
})

const ways: Array<[string, AxiosRequestConfig, string, boolean]> = [
  ['http', {}, 'ERR_PIN_MISMATCH', true],
  ['fetch', { adapter: 'fetch' }, 'ERR_PIN_MISMATCH', axiosHas.fetch],
  ['http2', { httpVersion: 2 } as AxiosRequestConfig, 'ERR_PIN_BYPASS', axiosHas.http2]
]
test.each(ways.filter(([, , , has]) => has))('a pin that the first set withdraws is good for nothing before it (%s)', async (name, config, code) => {
  const server = name === 'http2' ? await startHttp2Server({ certificate: genuine }) : await startServer({ certificate: genuine })
  closing.push(() => server.close())
  const { api } = pinned({}, compromised)
  expect(await outcome(api.post(server.url, 'secret', config))).toBe(code)
  expect(server.requests).toHaveLength(0)
})

const withLookup = axiosHas.lookup ? test : test.skip
withLookup('what throws after the wait rejects the request', async () => {
  const lookup = (): never => { throw new Error('boom') }
  for (const url of ['http://plain.test/', 'https://plain.test/']) {
    const { api } = pinned({ unpinnedHosts: url.startsWith('http:') ? 'allow' : 'refuse' }, down)
    expect(await outcome(api.get(url, { lookup, family: 7 } as never))).toMatch(/ERR_INVALID_ARG_VALUE|boom|ERR_PIN_HOST_UNPINNED/)
  }
})
