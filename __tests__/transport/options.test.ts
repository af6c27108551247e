import { constants } from 'node:crypto'
import { once } from 'node:events'
import * as https from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import * as tls from 'node:tls'
import type { TLSSocket } from 'node:tls'
import { PinningError, createPinning, createPinningAgent } from '../../lib/index.js'
import type { PinningOptions } from '../../lib/index.js'
import { runChild } from '../support/child.js'
import { holdings, nothing, send, until, wait } from '../support/clients.js'
import type { Outcome } from '../support/clients.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startServer } from '../support/servers.js'
import type { TestServer, TestServerOptions } from '../support/servers.js'

const root = createAuthority({ name: 'Options Root' })
const otherRoot = createAuthority({ name: 'Other Options Root' })
const genuine = root.issue()
const impostor = root.issue()
const backup = createSelfSigned()
const pins = { localhost: [genuine.fingerprint, backup.fingerprint] }

const closing: Array<() => unknown> = []
afterEach(async () => {
  for (const each of closing.splice(0).reverse()) await each()
})

async function start(options: Partial<TestServerOptions> = {}): Promise<TestServer> {
  const server = await startServer({ certificate: genuine, ...options })
  closing.push(() => server.close())
  return server
}

function agentFor(options: Partial<PinningOptions> = {}): https.Agent {
  const agent = createPinningAgent({ pins, tls: { ca: root.pem }, ...options })
  closing.push(() => { agent.destroy() })
  return agent
}

function refusalOf(options: object): PinningError {
  try {
    createPinningAgent({ pins, ...options } as PinningOptions)
  } catch (error) {
    expect(error).toBeInstanceOf(PinningError)
    return error as PinningError
  }
  throw new Error(`not refused: ${Object.keys(options).join(', ')}`)
}

describe('an option that would weaken the promise is refused by its name', () => {
  const weak: Array<[string, unknown]> = [
    ['rejectUnauthorized', false],
    ['rejectUnauthorized', undefined],
    ['rejectUnauthorized', 0],
    ['checkServerIdentity', () => undefined],
    ['secureContext', tls.createSecureContext()],
    ['secureProtocol', 'TLSv1_method'],
    ['secureProtocol', 'TLS_method'],
    ['pskCallback', () => null],
    ['session', Buffer.alloc(4)],
    ['socket', {}],
    ['minVersion', 'TLSv1.1'],
    ['minVersion', 'TLSv1'],
    ['minVersion', 'SSLv3'],
    ['minVersion', null],
    ['minVersion', 'tlsv1.3'],
    ['maxVersion', 'TLSv1.1'],
    ['servername', '127.0.0.1'],
    ['servername', '::1'],
    ['servername', 42],
    ['ciphers', 'eNULL'],
    ['ciphers', 'HIGH:NULL-SHA256'],
    ['ciphers', 'aNULL:@SECLEVEL=0'],
    ['ciphers', 'ADH,HIGH'],
    ['ciphers', 'AECDH-AES256-SHA'],
    ['ciphers', 'ALL:COMPLEMENTOFALL'],
    ['ALPNProtocols', ['h2']],
    ['ticketKeys', Buffer.alloc(48)],
    ['enableTrace', true],
    ['rejectUnauthorised', true]
  ]
  test.each(weak)('tls.%s: %p', (name, value) => {
    if (value === undefined) {
      // Said with no value it is not said.
      const error = refusalOf({ tls: { [name]: value } })
      expect(error).toMatchObject({ code: 'ERR_PIN_POLICY_INVALID' })
      return
    }
    const error = refusalOf({ tls: { [name]: value } })
    expect(error).toMatchObject({ code: 'ERR_PIN_POLICY_INVALID' })
    expect(error.message).toContain(`tls.${name}`)
  })

  test.each(['rejectUnauthorized', 'checkServerIdentity', 'secureContext', 'session', 'socket', 'ca', 'cert', 'key', 'minVersion', 'servername', 'ciphers', 'proxyEnv', 'host', 'port', 'path', 'socketPath', 'createConnection', 'agent', 'protocol', 'defaultPort'])('agent.%s', (name) => {
    const error = refusalOf({ agent: { [name]: name === 'proxyEnv' ? process.env : 'x' } })
    expect(error).toMatchObject({ code: 'ERR_PIN_POLICY_INVALID' })
    expect(error.message).toContain(`agent.${name}`)
    if (name === 'proxyEnv') expect(error.message).toContain('would take requests past the pinned connection')
  })

  test('rejectUnauthorized: true, which changes nothing, is taken, and so are ciphers that leave the open ones out', () => {
    agentFor({ tls: { rejectUnauthorized: true, ciphers: 'HIGH:!aNULL:!eNULL:-NULL-SHA256:!ADH', minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' } })
  })

  test.each(['ALL:@SECLEVEL=0', 'HIGH:@SECLEVEL=0', 'AES:@SECLEVEL=0', 'kEDH:@SECLEVEL=0', 'DH:@SECLEVEL=0'])('of %s, ciphers that take no certificate are left out', async (ciphers) => {
    const server = tls.createServer({ ciphers: 'ADH:AECDH:@SECLEVEL=0', dhparam: 'auto', maxVersion: 'TLSv1.2' }, (socket) => void socket.end('HTTP/1.1 204 No Content\r\n\r\n')).on('tlsClientError', () => undefined).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const reference = new https.Agent({ ciphers, maxVersion: 'TLSv1.2', rejectUnauthorized: false })
    expect(await send(reference, port)).toMatchObject({ status: 204 })
    for (const policy of [{ publicKeys: [genuine.pin] }, { trust: 'pin-only', publicKeys: [genuine.pin] }] as const) {
      const agent = createPinningAgent({ pins: { localhost: policy }, tls: { ca: root.pem, ciphers, maxVersion: 'TLSv1.2' } })
      // The server has no cipher in common with it.
      expect((await send(agent, port)).code).toMatch(/^(EPROTO|ERR_SSL_\w+|ECONNRESET)$/)
      agent.destroy()
    }
    server.close()
  })

  test.each(['TLS_AES_128_GCM_SHA256', 'HIGH', 'ECDHE-RSA-AES128-GCM-SHA256 ECDHE-ECDSA-AES128-GCM-SHA256', tls.DEFAULT_CIPHERS])('ciphers that encrypt and take a certificate are used as ever: %s', async (ciphers) => {
    const server = await start({})
    expect(await send(agentFor({ tls: { ca: root.pem, ciphers } }), server.port)).toMatchObject({ status: 200 })
  })

  test('what OpenSSL cannot use comes up when the agent is made', () => {
    for (const options of [{ ciphers: 'nonsense' }, { ecdhCurve: 'nonsense' }, { sigalgs: 'nonsense' }, { cert: 'nonsense' }, { key: 'nonsense' }, { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.2' }]) {
      expect(refusalOf({ tls: options })).toMatchObject({ code: 'ERR_PIN_POLICY_INVALID' })
    }
  })
})

describe('versions below TLS 1.2', () => {
  const legacy = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1' } as const

  test('a server that has nothing newer is refused', async () => {
    const server = await start(legacy)
    const reference = new https.Agent({ ca: root.pem, minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' })
    expect(await send(reference, server.port)).toMatchObject({ status: 200 })
    const bytes = server.decryptedBytes
    for (const tls of [{ ca: root.pem }, { ca: root.pem, ciphers: 'DEFAULT@SECLEVEL=0' }]) expect((await send(agentFor({ tls }), server.port)).code).toBe('EPROTO')
    expect(server.decryptedBytes).toBe(bytes)
  })

  test('not even the switches of Node itself let them in', async () => {
    const server = await start(legacy)
    const script = `
      const tls = require('node:tls')
      const https = require('node:https')
      const { createPinningAgent } = await load('index.js')
      tls.DEFAULT_MIN_VERSION = 'TLSv1'
      tls.DEFAULT_CIPHERS = 'DEFAULT@SECLEVEL=0'
      const ask = (agent) => new Promise((resolve) => https.get({ port: input.port, agent }, (response) => resolve(response.statusCode)).on('error', ({ code }) => resolve(code)))
      report([await ask(new https.Agent({ ca: input.ca })), await ask(createPinningAgent({ pins: input.pins, tls: { ca: input.ca } }))])
      process.exit()`
    const { reported, stderr } = await runChild(script, { input: { port: server.port, ca: root.pem, pins }, nodeOptions: ['--tls-min-v1.0', '--tls-cipher-list=DEFAULT@SECLEVEL=0'] })
    expect(stderr).toBe('')
    expect(reported).toEqual([200, 'EPROTO'])
  })
})

describe('TLS options on a request', () => {
  const brought: Array<[string, unknown]> = [
    ['ca', root.pem], ['cert', genuine.pem], ['key', genuine.keyPem], ['pfx', Buffer.alloc(1)], ['passphrase', 'x'], ['ciphers', 'HIGH'], ['minVersion', 'TLSv1.2'], ['maxVersion', 'TLSv1.2'],
    ['secureContext', tls.createSecureContext()], ['secureProtocol', 'TLS_method'], ['checkServerIdentity', () => undefined], ['session', Buffer.alloc(4)], ['crl', 'x'], ['ecdhCurve', 'auto'],
    ['sigalgs', 'RSA+SHA256'], ['secureOptions', 0], ['pskCallback', () => null], ['socket', {}], ['minDHSize', 1], ['dhparam', 'auto'], ['allowPartialTrustChain', true], ['honorCipherOrder', true]
  ]
  test.each(brought)('%s is refused by its name, with and without a pooled socket, and others go on as before', async (name, value) => {
    const server = await start()
    const pinning = createPinning({ pins, tls: { ca: root.pem }, agent: { maxSockets: 1, maxTotalSockets: 2 } })
    closing.push(() => pinning.close())
    const { agent } = pinning
    const refused: Outcome[] = [await send(agent, server.port, { [name]: value })]
    expect(await send(agent, server.port)).toMatchObject({ status: 200 })
    // A kept-alive socket is there now, which would answer.
    refused.push(await send(agent, server.port, { [name]: value }))
    const mixed = await Promise.all([send(agent, server.port), send(agent, server.port, { [name]: value }), send(agent, server.port), send(agent, server.port, { [name]: value })])
    expect(mixed[0]).toMatchObject({ status: 200 })
    expect(mixed[2]).toMatchObject({ status: 200 })
    for (const outcome of [...refused, mixed[1], mixed[3]]) {
      expect(outcome).toMatchObject({ code: 'ERR_PIN_BYPASS' })
      expect(outcome?.message).toContain(name)
    }
    expect(server.requests).toHaveLength(3)
    expect(pinning.status().counters.blocked).toBe(4)
    await until(() => holdings(agent).total === 1)
  })

  test('rejectUnauthorized: false is overruled by the agent', async () => {
    const server = await start({ certificate: impostor })
    const untrusted = await start({ certificate: otherRoot.issue() })
    const agent = agentFor()
    expect(await send(agent, server.port, { rejectUnauthorized: false })).toMatchObject({ code: 'ERR_PIN_MISMATCH' })
    expect(await send(agent, untrusted.port, { rejectUnauthorized: false })).toMatchObject({ code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' })
    expect(server.decryptedBytes + untrusted.decryptedBytes).toBe(0)
  })

  test('a server name of its own is looked for in the certificate, and the pins stay those of the host', async () => {
    const named = root.issue({ names: ['other.test'] })
    const server = await start({ certificate: genuine, sni: { 'other.test': named } })
    const agent = agentFor()
    expect(await send(agent, server.port, { servername: 'other.test' })).toMatchObject({ code: 'ERR_PIN_MISMATCH' })
    expect(await send(agent, server.port, { headers: { host: 'other.test' } })).toMatchObject({ code: 'ERR_PIN_MISMATCH' })
    expect(await send(agent, server.port, { servername: 'localhost' })).toMatchObject({ status: 200 })
    expect(server.requests).toHaveLength(1)
  })

  test('an agent of its own class, or a createConnection, in the options of the request is none of ours and goes unused', async () => {
    const server = await start({ certificate: impostor })
    const createConnection = jest.fn(() => tls.connect({ port: server.port, rejectUnauthorized: false }))
    expect(await send(agentFor(), server.port, { createConnection } as never)).toMatchObject({ code: 'ERR_PIN_MISMATCH' })
    expect(createConnection).not.toHaveBeenCalled()
  })
})

test('nothing is opened to a host that is not pinned, nor for a request that is refused', async () => {
  const server = await start()
  const pinning = createPinning({ pins, tls: { ca: root.pem } })
  closing.push(() => pinning.close())
  expect(await send(pinning.agent, server.port, { host: '127.0.0.1' })).toMatchObject({ code: 'ERR_PIN_HOST_UNPINNED' })
  expect(await send(pinning.agent, server.port, { ca: 'x' })).toMatchObject({ code: 'ERR_PIN_BYPASS' })
  expect(server.connections).toBe(0)
  expect(pinning.status().counters).toEqual({ accepted: 0, tolerated: 0, refused: 0, resumed: 0, blocked: 2 })
  expect(holdings(pinning.agent)).toEqual(nothing)
})

test('options with which Node cannot even begin are the error of their request, and the queue goes on', async () => {
  const server = await start()
  // An address as a server name is an error from Node 26 on.
  for (const [impossible, code] of [[{ lookup: 'nonsense' }, /^ERR_INVALID_ARG_TYPE$/], [{ localAddress: 'nonsense' }, /^ERR_INVALID_IP_ADDRESS$/], [{ port: 99_999 }, /^ERR_SOCKET_BAD_PORT$/], [{ servername: '127.0.0.1' }, /^ERR_(INVALID_ARG_VALUE|TLS_CERT_ALTNAME_INVALID)$|^200$/]] as Array<[object, RegExp]>) {
    const agent = agentFor({ agent: { maxSockets: 1, maxTotalSockets: 1, keepAlive: false } })
    const brief = ({ status, code: failed }: Outcome) => String(status ?? failed)
    expect(brief(await send(agent, server.port, impossible))).toMatch(code)
    expect(brief(await send(agent, server.port))).toBe('200')
    // Node connects for a queued request with the options of the connection whose place it takes.
    const queued = await Promise.all([impossible, {}, impossible, {}].map((options) => send(agent, server.port, options)))
    expect(queued.map(brief).filter((outcome) => outcome !== '200' && !code.test(outcome))).toEqual([])
    await until(() => holdings(agent).total === 0)
    expect(holdings(agent)).toEqual(nothing)
  }
})

test('whoever connects through agent.createConnection itself gets a socket that is pinned just so', async () => {
  const [good, bad] = [await start(), await start({ certificate: impostor })]
  const agent = agentFor() as unknown as { createConnection(options: object): TLSSocket }
  const talk = (port: number, options: object = {}) => new Promise((resolve) => {
    const socket = agent.createConnection({ host: 'localhost', port, ...options })
    socket.on('error', (error: Error & { code?: string }) => { resolve(error.code ?? error.message) })
    socket.on('data', (chunk) => {
      socket.destroy()
      resolve(String(chunk).slice(0, 15))
    })
    socket.write('GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n')
  })
  const hostile = { rejectUnauthorized: false, checkServerIdentity: () => undefined, ca: otherRoot.pem, session: Buffer.alloc(3), pskCallback: () => null, path: '/nonexistent', requestCert: false }
  expect(await talk(good.port)).toBe('HTTP/1.1 200 OK')
  expect(await talk(good.port, hostile)).toBe('HTTP/1.1 200 OK')
  expect(await talk(bad.port)).toBe('ERR_PIN_MISMATCH')
  expect(await talk(bad.port, hostile)).toBe('ERR_PIN_MISMATCH')
  expect(await talk(bad.port, { host: '127.0.0.1' })).toBe('ERR_PIN_HOST_UNPINNED')
  expect(bad.decryptedBytes).toBe(0)
})

test("the agent's options, copied into a plain https.Agent, connect to nobody, not even to the genuine server", async () => {
  const server = await start()
  const agent = agentFor()
  await send(agent, server.port)
  const bytes = server.decryptedBytes
  for (const copy of [new https.Agent({ ...agent.options, ca: root.pem }), new https.Agent({ ...agent.options, ca: root.pem, maxCachedSessions: 100 }), new https.Agent(Object.assign({}, agent.options, { ca: root.pem, keepAlive: true }))]) {
    for (let i = 0; i < 3; i++) expect((await send(copy, server.port)).code).toBe('ERR_PIN_BYPASS')
    copy.destroy()
  }
  expect(agent.options).toMatchObject({ rejectUnauthorized: true })
  expect(server.decryptedBytes).toBe(bytes)
})

test.each([[undefined], [0], [constants.SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION]])('a renegotiation is refused whatever secureOptions say (%p)', async (secureOptions) => {
  const results: string[] = []
  const server = tls.createServer({ cert: genuine.pem, key: genuine.keyPem, maxVersion: 'TLSv1.2' }, (socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => {
      socket.renegotiate({ requestCert: false, rejectUnauthorized: false }, (error) => results.push(error ? 'failed' : 'done'))
      setTimeout(() => socket.destroy(), 30)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => new Promise((resolve) => server.close(resolve)))
  const agent = agentFor({ tls: { ca: root.pem, ...(secureOptions !== undefined && { secureOptions }) } })
  await send(agent, (server.address() as { port: number }).port)
  await wait(10)
  expect(results).not.toContain('done')
  expect(holdings(agent)).toEqual(nothing)
})

test('a polluted Object.prototype changes nothing, whether the agent was made before or after', async () => {
  const [good, bad] = [await start(), await start({ certificate: impostor })]
  const evil = await start({ certificate: otherRoot.issue() })
  const script = `
    const https = require('node:https')
    const tls = require('node:tls')
    const dns = require('node:dns')
    const { createPinningAgent } = await load('index.js')
    const called = []
    const spy = (name, answer) => (...given) => { called.push(name); return typeof given.at(-1) === 'function' && name === 'lookup' ? given.at(-1)(null, [{ address: '127.0.0.1', family: 4 }], 4) : answer }
    const oldSession = Buffer.alloc(64, 1)
    const pollution = {
      session: oldSession, secureContext: tls.createSecureContext({ ca: input.evilCa }), checkServerIdentity: spy('checkServerIdentity'), rejectUnauthorized: false, requestCert: false,
      socket: {}, pskCallback: spy('pskCallback', { psk: Buffer.alloc(4), identity: 'x' }), path: '/nonexistent/socket', lookup: spy('lookup'), ca: input.evilCa, ciphers: 'NULL-SHA256:@SECLEVEL=0', secureProtocol: 'TLSv1_1_method',
      minVersion: 'TLSv1', maxVersion: 'TLSv1.1', secureOptions: ${constants.SSL_OP_NO_TLSv1_2 | constants.SSL_OP_NO_TLSv1_3}, singleUse: true, servername: 'evil.test', minDHSize: 1, enableTrace: true, sigalgs: 'nonsense', ecdhCurve: 'nonsense', crl: 'nonsense', cert: 'nonsense', key: 'nonsense', pfx: 'nonsense',
      passphrase: 'x', dhparam: 'nonsense', honorCipherOrder: true, sessionTimeout: 1, allowPartialTrustChain: true, privateKeyEngine: 'x', privateKeyIdentifier: 'x', clientCertEngine: 'x', ticketKeys: Buffer.alloc(48), sessionIdContext: 'x',
      family: 6, hints: 9999, localAddress: '192.0.2.1', localPort: 1, autoSelectFamily: false, host: 'evil.test', port: input.evilPort, socketPath: '/nonexistent/socket',
      keepAlive: false, maxCachedSessions: 0, proxyEnv: { HTTPS_PROXY: 'http://127.0.0.1:1' }, unpinnedHosts: 'allow', mode: 'off', pins: {}, trust: 'pin-only', allowedSHAFingerprints: [], onExpiry: 'allow', tls: { ca: input.evilCa }, policy: {}, peer: {}, open: true
    }
    const before = createPinningAgent({ pins: input.pins, tls: { ca: input.ca } })
    const ask = (agent, port) => new Promise((resolve) => {
      try {
        // The request itself is asked for with nothing left open; what is left open there is not the agent's to close.
        const request = https.request({ __proto__: null, host: 'localhost', hostname: 'localhost', port, agent, path: '/', method: 'POST', socketPath: undefined, headers: { __proto__: null, connection: 'close' }, timeout: 2000, setHost: true, createConnection: undefined, lookup: undefined, family: undefined, hints: undefined, localAddress: undefined, servername: 'localhost' })
        request.on('response', (response) => response.on('end', () => resolve(response.statusCode)).resume())
        request.on('error', (error) => resolve(error.code ?? error.message))
        request.on('timeout', () => request.destroy(new Error('timeout')))
        request.end('x')
      } catch (error) { resolve('thrown ' + error.message) }
    })
    const results = {}
    for (const [name, value] of Object.entries(pollution)) {
      Object.prototype[name] = value
      const outcomes = []
      let after
      try { after = createPinningAgent({ pins: input.pins, tls: { ca: input.ca } }) } catch (error) { outcomes.push('made: ' + error.message) }
      for (const agent of [before, after].filter(Boolean)) {
        for (const port of [input.good, input.good, input.bad, input.evilPort]) outcomes.push(await ask(agent, port))
      }
      delete Object.prototype[name]
      results[name] = outcomes.join(' ')
    }
    report({ results, called: [...new Set(called)] })
    process.exit()`
  const { reported, stderr } = await runChild(script, { input: { good: good.port, bad: bad.port, evilPort: evil.port, evilCa: otherRoot.pem, ca: root.pem, pins } })
  expect(stderr).toBe('')
  expect(bad.decryptedBytes + evil.decryptedBytes).toBe(0)
  const once = '200 200 ERR_PIN_MISMATCH UNABLE_TO_VERIFY_LEAF_SIGNATURE'
  const different = Object.entries(reported.results).filter(([, outcomes]) => outcomes !== `${once} ${once}`)
  expect(Object.fromEntries(different)).toEqual({})
  expect(reported.called).toEqual([])
})

describe('an idle socket', () => {
  async function idleTimeout(options: Partial<PinningOptions>, hint?: string): Promise<number | undefined> {
    const server = await start({ keepAliveTimeout: 0, handler: (_, res) => void res.writeHead(200, hint === undefined ? {} : { 'keep-alive': hint }).end('x') })
    const agent = agentFor(options)
    await send(agent, server.port)
    await until(() => holdings(agent).sockets === 0)
    return Object.values(agent.freeSockets)[0]?.[0]?.timeout
  }

  test.each([
    ['is kept as long as in the global agent of Node', {}, undefined, https.globalAgent.options.timeout],
    ['is kept a second less than the server has told', {}, 'timeout=3', 2_000],
    ['is not kept when the server has told no more than a second', {}, 'timeout=1', undefined],
    ['is kept as long as the option timeout says', { agent: { timeout: 1_234 } }, undefined, 1_234],
    ['is kept for ever where the option says 0', { agent: { timeout: 0 } }, undefined, 0]
  ])('%s', async (_, options, hint, expected) => {
    expect(await idleTimeout(options, hint)).toBe(expected)
  })

  test('has no timer any more once it is used again, whatever the request says of one', async () => {
    const server = await start()
    const agent = agentFor()
    await send(agent, server.port)
    for (const options of [{}, { timeout: 0 }, { timeout: 700 }]) {
      const seen: Array<number | undefined> = []
      expect(await send(agent, server.port, { ...options, onRequest: (request) => request.on('socket', (socket) => seen.push(socket.timeout)) })).toMatchObject({ status: 200, reused: true })
      expect(seen).toEqual([options.timeout ?? 0])
    }
  })

  test('is asked about by way of the agents of requests too, and a time that is set later counts', async () => {
    const server = await start()
    const pinning = createPinning({ pins, tls: { ca: root.pem } })
    closing.push(() => pinning.close())
    let socket: Socket | undefined
    await send(pinning.agent, server.port, { onRequest: (request) => request.on('socket', (given) => (socket = given)) })
    await until(() => holdings(pinning.agent).freeSockets === 1)
    const other = (pinning.agent as unknown as { through(rule: false): https.Agent & { keepSocketAlive(of: object): boolean } }).through(false)
    pinning.agent.options.timeout = 3_000
    expect(other.keepSocketAlive(socket as Socket)).toBe(true)
    expect(socket?.timeout).toBe(3_000)
  })

  test('has no timer, and no listener for one, while a request is under way', async () => {
    const server = await start({ handler: (_, res) => void setTimeout(() => res.end('x'), 20) })
    const agent = agentFor()
    const seen: unknown[] = []
    for (const _ of [1, 2]) await send(agent, server.port, { onRequest: (request) => request.on('socket', (socket) => setImmediate(() => seen.push(socket.listenerCount('timeout')))) })
    // Node's own one, of the agent.
    expect(seen).toEqual([1, 1])
  })
})

test('the old form of addRequest, with a host and a port, is judged like the other', async () => {
  const [good, bad] = [await start(), await start({ certificate: impostor })]
  const agent = agentFor() as https.Agent & { addRequest(request: unknown, ...rest: unknown[]): void }
  const ask = ({ port }: TestServer): Promise<unknown> => new Promise((resolve) => {
    const request = https.request({ host: 'localhost', port: 1, agent: { addRequest: (asked: unknown) => agent.addRequest(asked, 'localhost', port), protocol: 'https:', defaultPort: 443 } as never })
    request.on('response', (response) => resolve(response.resume().statusCode)).on('error', (error: Error & { code?: string }) => resolve(error.code)).end()
  })
  expect([await ask(good), await ask(bad)]).toEqual([200, 'ERR_PIN_MISMATCH'])
  expect(bad.decryptedBytes).toBe(0)
})

test('a certificate that has been accepted for one name is still refused for another', async () => {
  const certificate = root.issue({ names: ['localhost', 'other.test'] })
  const server = await start({ certificate })
  const agent = agentFor({ pins: { localhost: [certificate.fingerprint, backup.fingerprint] }, agent: { keepAlive: false, maxCachedSessions: 0 } })
  const names = ['localhost', 'wrong.test', 'other.test', 'wrong.test', 'localhost']
  const outcomes: string[] = []
  for (const servername of names) {
    const { status, code } = await send(agent, server.port, { servername })
    outcomes.push(String(status ?? code))
  }
  expect(outcomes).toEqual(['200', 'ERR_TLS_CERT_ALTNAME_INVALID', '200', 'ERR_TLS_CERT_ALTNAME_INVALID', '200'])
  expect(server.requests).toHaveLength(3)
})

test("Node's own check of names on a request is none of the user's (got passes it)", async () => {
  const server = await start()
  const agent = agentFor()
  const outcomes = []
  for (const checkServerIdentity of [tls.checkServerIdentity, () => undefined]) {
    const { status, code } = await send(agent, server.port, { checkServerIdentity })
    outcomes.push(status ?? code)
  }
  expect(outcomes).toEqual([200, 'ERR_PIN_BYPASS'])
})
