import { constants, getCurves } from 'node:crypto'
import * as https from 'node:https'
import * as tls from 'node:tls'
import { createPinning } from '../../lib/index.js'
import type { PinReport, Pinning, TlsOptions } from '../../lib/index.js'
import { expectNothing } from '../support/attack.js'
import { send } from '../support/clients.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startServer } from '../support/servers.js'
import type { TestServer, TestServerOptions } from '../support/servers.js'

const root = createAuthority({ name: 'Group Root' })
const genuine = root.issue()
const pins = { localhost: [genuine.fingerprint, createSelfSigned().fingerprint] }
const [major] = process.versions.node.split('.').map(Number) as [number]
/** Node 22 has the group, and does not tell of it. */
const tells = major >= 24
const hasGroup = supports('X25519MLKEM768')
const hybrid = tells ? 'X25519MLKEM768' : undefined

function supports(ecdhCurve: string): boolean {
  try {
    return Boolean(tls.createSecureContext({ ecdhCurve }))
  } catch {
    return false
  }
}

const closing: Array<() => unknown> = []
afterEach(async () => {
  for (const each of closing.splice(0).reverse()) await each()
})

async function start(options: Partial<TestServerOptions> = {}): Promise<TestServer> {
  const server = await startServer({ certificate: genuine, ...options })
  closing.push(() => server.close())
  return server
}

function pinningFor(tls: TlsOptions): { pinning: Pinning, reports: PinReport[] } {
  const reports: PinReport[] = []
  const tell = (report: PinReport): void => void reports.push(report)
  const pinning = createPinning({ pins, tls: { ca: root.pem, ...tls }, agent: { keepAlive: false }, onValidCertificate: tell, onBadCertificate: tell })
  closing.push(() => pinning.close())
  return { pinning, reports }
}

/** `[status or code, group]` of two requests, the second on a resumed session. */
async function groups(server: TestServer, tls: TlsOptions): Promise<unknown[]> {
  const { pinning, reports } = pinningFor(tls)
  const outcomes = [await send(pinning.agent, server.port), await send(pinning.agent, server.port)]
  return outcomes.map(({ status, code, resumed }, i) => [status ?? code, resumed ? 'resumed' : 'new', reports[i]?.keyExchange])
}

test('the runtime is as the rest of this file takes it to be', () => {
  expect(getCurves()).toContain('prime256v1')
  expect(hasGroup).toBe(major >= 22)
})

test('the group is in every report, also as JSON and of a refused peer', async () => {
  const server = await start({ ecdhCurve: 'prime256v1' })
  expect(await groups(server, {})).toEqual([[200, 'new', 'prime256v1'], [200, 'resumed', 'prime256v1']])
  const impostor = await start({ certificate: root.issue(), ecdhCurve: 'X25519' })
  const { pinning, reports } = pinningFor({})
  expect((await send(pinning.agent, impostor.port)).code).toBe('ERR_PIN_MISMATCH')
  expect(JSON.parse(JSON.stringify(reports[0]))).toMatchObject({ decision: 'refused', keyExchange: 'X25519' })
})

test('a resumed TLS 1.2 session exchanges no keys, and the report says none', async () => {
  const server = await start({ maxVersion: 'TLSv1.2', ecdhCurve: 'X25519' })
  expect(await groups(server, {})).toEqual([[200, 'new', 'X25519'], [200, 'resumed', undefined]])
})

test('classical offers no post-quantum group', async () => {
  const server = await start()
  expect(await groups(server, { keyExchange: 'classical' })).toEqual([[200, 'new', 'X25519'], [200, 'resumed', 'X25519']])
  if (!hasGroup) return
  const demanding = await start({ ecdhCurve: 'X25519MLKEM768', minVersion: 'TLSv1.3' })
  expect((await send(pinningFor({ keyExchange: 'classical' }).pinning.agent, demanding.port)).code).toBe('EPROTO')
})

test.each([undefined, 'prefer-post-quantum'] as const)('%s: post-quantum where both sides have it, else classical', async (keyExchange) => {
  const options: TlsOptions = keyExchange ? { keyExchange } : {}
  const server = await start()
  const expected = hasGroup ? hybrid : 'X25519'
  expect(await groups(server, options)).toEqual([[200, 'new', expected], [200, 'resumed', expected]])
  const classical = await start({ ecdhCurve: 'X25519' })
  expect(await groups(classical, options)).toEqual([[200, 'new', 'X25519'], [200, 'resumed', 'X25519']])
  const old = await start({ maxVersion: 'TLSv1.2' })
  expect((await groups(old, options))[0]).toEqual([200, 'new', 'X25519'])
  // Shown by a server that takes nothing else, on all versions.
  if (hasGroup) expect((await groups(await start({ ecdhCurve: 'X25519MLKEM768' }), options))[0]).toEqual([200, 'new', hybrid])
})

if (hasGroup) {
  describe('require-post-quantum', () => {
    const required: TlsOptions = { keyExchange: 'require-post-quantum' }

    test('connects to a server that has it, also by a resumed session', async () => {
      expect(await groups(await start(), required)).toEqual([[200, 'new', hybrid], [200, 'resumed', hybrid]])
    })

    test.each<[string, Partial<TestServerOptions>]>([
      ['has classical groups only', { ecdhCurve: 'X25519:prime256v1' }],
      ['has TLS 1.2 only', { maxVersion: 'TLSv1.2' }],
      ['prefers another group of that kind', { ecdhCurve: 'SecP384r1MLKEM1024' }]
    ])('refuses a server that %s, which gets nothing', async (_, options) => {
      const server = await start(options)
      const reference = new https.Agent({ ca: root.pem, ...(options.ecdhCurve === 'SecP384r1MLKEM1024' && { ecdhCurve: 'SecP384r1MLKEM1024' }) })
      expect((await send(reference, server.port, { headers: { connection: 'close' } })).status).toBe(200)
      const bytes = server.decryptedBytes
      const outcome = await send(pinningFor(required).pinning.agent, server.port, { body: 'a secret' })
      expect(outcome).toMatchObject({ code: 'EPROTO' })
      expect(server.decryptedBytes).toBe(bytes)
    })

    test('cannot be had with TLS 1.2, nor with resumption that exchanges no keys', () => {
      expect(() => pinningFor({ ...required, maxVersion: 'TLSv1.2' })).toThrow(expect.objectContaining({ option: 'tls.keyExchange', code: 'ERR_PIN_POLICY_INVALID' }))
      expect(() => pinningFor({ ...required, secureOptions: constants.SSL_OP_ALLOW_NO_DHE_KEX })).toThrow(expect.objectContaining({ option: 'tls.secureOptions' }))
      pinningFor({ ...required, minVersion: 'TLSv1.2' })
    })

    test('holds for CA pins too, where OpenSSL is given other anchors', async () => {
      const server = await start({ ecdhCurve: 'X25519' })
      const pinning = createPinning({ pins: { localhost: { authorities: [root.pem] } }, tls: { ca: root.pem, ...required } })
      closing.push(() => pinning.close())
      expect(await send(pinning.agent, server.port)).toMatchObject({ code: 'EPROTO' })
      await expectNothing(server)
    })
  })
} else {
  test('require-post-quantum is a clear error on this runtime', () => {
    expect(() => pinningFor({ keyExchange: 'require-post-quantum' })).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID', option: 'tls.keyExchange', message: expect.stringContaining(`OpenSSL ${process.versions.openssl} has no X25519MLKEM768`) }))
  })
}

test.each(['prefer-post-quantum', 'require-post-quantum', 'classical'] as const)('%s and ecdhCurve together are an error', (keyExchange) => {
  expect(() => pinningFor({ keyExchange, ecdhCurve: 'X25519' })).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID', option: 'tls.keyExchange', message: expect.stringContaining('ecdhCurve') }))
})

test('another value is an error, and a request cannot bring one along', async () => {
  expect(() => pinningFor({ keyExchange: 'quantum' as never })).toThrow(expect.objectContaining({ option: 'tls.keyExchange' }))
  const server = await start()
  expect(await send(pinningFor({}).pinning.agent, server.port, { keyExchange: 'classical' } as never)).toMatchObject({ code: 'ERR_PIN_BYPASS' })
})
