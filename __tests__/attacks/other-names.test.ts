import axios from 'axios'
import * as https from 'node:https'
import { Agent, interceptors, request } from 'undici'
import { createPinning, createPinningAgent } from '../../lib/index.js'
import type { Pinning, PinningOptions } from '../../lib/index.js'
import { failure, send, until, wait } from '../support/clients.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startServer, startStalledServer } from '../support/servers.js'
import type { TestServer } from '../support/servers.js'

// A connection goes to one name, and the certificate is checked against another: the pins of the second count where the first has none.

const root = createAuthority({ name: 'Other Names Root' })
const genuineLeaf = root.issue({ names: ['localhost'] })
let genuine: TestServer
let impostor: TestServer
const pinnings: Pinning[] = []

beforeAll(async () => {
  genuine = await startServer({ certificate: genuineLeaf })
  impostor = await startServer({ certificate: root.issue({ names: ['localhost'] }) })
})
beforeEach(() => void jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined))
afterEach(async () => {
  expect(impostor.decryptedBytes).toBe(0)
  await Promise.all(pinnings.splice(0).map((pinning) => pinning.close()))
})
afterAll(() => Promise.all([genuine.close(), impostor.close()]))

function pinned(options: Partial<PinningOptions> = {}): Pinning {
  const pinning = createPinning({ pins: { localhost: { certificates: [genuineLeaf.fingerprint, createSelfSigned().fingerprint] } }, tls: { ca: root.pem }, ...options })
  pinnings.push(pinning)
  return pinning
}

async function post({ agent }: Pinning, port: number, options: https.RequestOptions): Promise<string> {
  const { status, code } = await send(agent, port, { body: 'secret', ...options })
  return String(code ?? status)
}

test('a client without pins is taken in', async () => {
  const other = await startServer({ certificate: root.issue({ names: ['localhost'] }) })
  expect((await send(new https.Agent({ ca: root.pem }), other.port, { host: '127.0.0.1', headers: { host: 'localhost' }, body: 'secret' })).status).toBe(200)
  expect(other.decryptedBytes).toBeGreaterThan(0)
  await other.close()
})

describe.each(['allow', 'refuse'] as const)('unpinnedHosts %j', (unpinnedHosts) => {
  test('an address with the name in the Host header, by axios and by the agent', async () => {
    const pinning = pinned({ unpinnedHosts })
    const api = axios.create({ proxy: false })
    pinning.attach(api)
    expect((await failure(api.post(`https://127.0.0.1:${impostor.port}/`, 'secret', { headers: { Host: 'localhost' } }))).code).toBe('ERR_PIN_MISMATCH')
    expect(await post(pinning, impostor.port, { host: '127.0.0.1', headers: { host: 'localhost' } })).toBe('ERR_PIN_MISMATCH')
    expect(await post(pinning, impostor.port, { host: '127.0.0.1', servername: 'localhost' })).toBe('ERR_PIN_MISMATCH')
    expect((await api.post(`https://127.0.0.1:${genuine.port}/`, 'secret', { headers: { Host: 'localhost' } })).status).toBe(200)
  })

  test('tls.servername', async () => {
    const pinning = pinned({ unpinnedHosts, tls: { ca: root.pem, servername: 'localhost' } })
    expect(await post(pinning, impostor.port, { host: '127.0.0.1' })).toBe('ERR_PIN_MISMATCH')
    expect(await post(pinning, genuine.port, { host: '127.0.0.1' })).toBe('200')
  })

  test('a dispatcher that undici’s dns interceptor gives addresses to', async () => {
    const dispatcher = pinned({ unpinnedHosts }).dispatcher.compose(interceptors.dns({ dualStack: false, affinity: 4 }))
    const ask = async ({ url }: TestServer): Promise<unknown> => request(url, { method: 'POST', body: 'secret', dispatcher: dispatcher as Agent }).then(async ({ statusCode, body }) => (await body.dump(), statusCode), (error: { code?: string; cause?: { code?: string } }) => error.cause?.code ?? error.code)
    expect([await ask(impostor), await ask(genuine)]).toEqual(['ERR_PIN_MISMATCH', 200])
  })
})

test('a host with a policy of its own is judged by that', async () => {
  const pinning = pinned({ pins: { localhost: { certificates: [genuineLeaf.fingerprint, createSelfSigned().fingerprint] }, '127.0.0.1': { certificates: [createSelfSigned().fingerprint, createSelfSigned().fingerprint] } } })
  expect(await post(pinning, genuine.port, { host: '127.0.0.1', headers: { host: 'localhost' } })).toBe('ERR_PIN_MISMATCH')
})

test('a CA that is pinned for a host vouches for that host, whatever a Host header says', async () => {
  const stranger = await startServer({ certificate: root.issue({ names: ['evil.test'] }) })
  const pins = { localhost: { authorities: [root.pin, createSelfSigned().pin] } }
  const pinning = pinned({ pins })
  const headers = { host: 'evil.test' }
  expect(await post(pinning, stranger.port, { headers })).toBe('ERR_TLS_CERT_ALTNAME_INVALID')
  expect(await request(stranger.url, { headers, dispatcher: pinning.dispatcher as never }).then(({ statusCode }) => statusCode, (error: { code?: string }) => error.code)).toBe('ERR_TLS_CERT_ALTNAME_INVALID')
  expect(await post(pinned({ pins, tls: { ca: root.pem, servername: 'evil.test' } }), stranger.port, { headers })).toBe('200')
  const before = stranger.decryptedBytes
  expect(await post(pinning, stranger.port, { headers: { host: 'localhost' } })).toBe('ERR_TLS_CERT_ALTNAME_INVALID')
  expect(stranger.decryptedBytes).toBe(before)
  await stranger.close()
})

test('an IPv4 address written as IPv6 is the same host', async () => {
  const address = root.issue({ names: ['127.0.0.1'] })
  const stranger = await startServer({ certificate: root.issue({ names: ['127.0.0.1', '::ffff:127.0.0.1'] }) })
  const pinning = pinned({ unpinnedHosts: 'allow', pins: { '127.0.0.1': { certificates: [address.fingerprint, createSelfSigned().fingerprint] } } })
  for (const host of ['::ffff:127.0.0.1', '::ffff:7f00:1', '0:0:0:0:0:FFFF:127.0.0.1']) {
    expect(pinning.policyFor(`[${host}]`)?.pattern).toBe('127.0.0.1')
    // Node 22 finds no such name in the certificate.
    expect(await post(pinning, stranger.port, { host })).toMatch(/^ERR_(?:PIN_MISMATCH|TLS_CERT_ALTNAME_INVALID)$/)
  }
  expect(stranger.decryptedBytes).toBe(0)
  await stranger.close()
})

test.each(['localhost\0.x', 'local host', 'localhost\r\nx: y', 'a..b'])('%j is no host, and refused before it is looked up', async (host) => {
  const lookup = jest.fn()
  const agent = createPinningAgent({ pins: { localhost: [genuineLeaf.pin, createSelfSigned().pin] }, unpinnedHosts: 'allow', tls: { ca: root.pem } })
  const refusal = await send(agent, impostor.port, { host, headers: { host: 'localhost' }, body: 'secret', lookup } as never)
  expect(refusal).toMatchObject({ code: 'ERR_PIN_HOST_UNPINNED', message: expect.stringContaining(host === 'a..b' ? host : JSON.stringify(host)) })
  expect(lookup).not.toHaveBeenCalled()
  agent.destroy()
})

test('a logger that closes the pinning takes nothing from the refusal', async () => {
  const pinning: Pinning = pinned({ logger: { debug() {}, info() {}, warn: () => void pinning.close(), error() {} } })
  expect(await post(pinning, impostor.port, {})).toBe('ERR_PIN_MISMATCH')
})

test('closing a pinning ends what its dispatcher is connecting', async () => {
  const stalled = await startStalledServer()
  const pinning = pinned()
  const asked = request(`https://localhost:${stalled.port}/`, { dispatcher: pinning.dispatcher as never }).catch((error: Error) => error)
  await until(() => stalled.connections === 1)
  await pinning.close()
  await until(() => stalled.openSockets === 0)
  expect(await asked).toBeInstanceOf(Error)
  await wait(0)
  await stalled.close()
})
