import axios from 'axios'
import type { AxiosRequestConfig } from 'axios'
import * as dns from 'node:dns'
import * as http from 'node:http'
import * as https from 'node:https'
import * as net from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { PoolOptions } from '../../lib/index.js'
import { runChild } from '../support/child.js'
import { describeError, holdings, nothing, send, until, wait } from '../support/clients.js'
import type { Outcome, SendOptions } from '../support/clients.js'
import { pinnedAgent, plainAgent } from '../support/plain-agent.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import type { IssuedCertificate } from '../support/pki.js'
import { startResettingServer, startServer, startStalledServer } from '../support/servers.js'
import type { TestServer, TestServerOptions } from '../support/servers.js'

/** Every scenario is played twice, with Node's own agent and with the pinned one, and must go the same way. */

const root = createAuthority({ name: 'Parity Root' })
const certificate = root.issue()
const backup = createSelfSigned()

interface Stage {
  agent(pool?: PoolOptions): https.Agent
  /** Answers at once, but `/hold` when it is let go. */
  server(options?: Partial<TestServerOptions>): Promise<TestServer & { letGo(): void }>
  closeLater(each: { close(): Promise<void> }): void
}

type Scenario = (stage: Stage) => Promise<unknown>

/** @param expected what both have in common, so that it is not only the same but right */
function alike(name: string, scenario: Scenario, expected?: unknown): void {
  test(name, async () => {
    const [plain, pinned] = [await play(scenario, 'plain'), await play(scenario, 'pinned')]
    expect(pinned).toEqual(plain)
    if (typeof expected === 'object' && !Array.isArray(expected)) expect(plain).toMatchObject(expected as object)
    else if (expected !== undefined) expect(plain).toEqual(expected)
  })
}

async function play(scenario: Scenario, kind: 'plain' | 'pinned'): Promise<unknown> {
  const agents: https.Agent[] = []
  const closing: Array<() => Promise<unknown>> = []
  const pins = { certificates: [certificate.fingerprint, backup.fingerprint] }
  const stage: Stage = {
    agent(pool) {
      const agent = kind === 'plain' ? plainAgent(root.pem, pool) : pinnedAgent(root.pem, { localhost: pins, '127.0.0.1': pins, 'no-such-host.invalid': pins }, pool)
      agents.push(agent)
      return agent
    },
    async server(options) {
      const held: Array<() => void> = []
      const server = await startServer({
        certificate,
        handler: (request, response) => {
          request.resume()
          if (request.url === '/hold') held.push(() => { response.end('held') })
          else if (request.url !== '/never') request.on('end', () => { response.end('ok') })
        },
        ...options
      })
      closing.push(() => server.close())
      return Object.assign(server, { letGo: () => { held.splice(0).forEach((each) => { each() }) } })
    },
    closeLater: (each) => { closing.push(() => each.close()) }
  }
  try {
    const result = await scenario(stage)
    for (const agent of agents) agent.destroy()
    for (const agent of agents) await until(() => JSON.stringify(holdings(agent)) === JSON.stringify(nothing), `the ${kind} agent is empty in the end`)
    return result
  } finally {
    for (const agent of agents) agent.destroy()
    for (const close of closing.reverse()) await close()
  }
}

const brief = ({ status, code, reused }: Outcome) => `${status ?? code}${reused ? ' reused' : ''}`
const fields = ['code', 'errno', 'syscall', 'hostname', 'address', 'port', 'host', 'reason', 'library', 'name', 'message'] as const

/** The error of a request with everything it carries. */
async function failureOf(agent: https.Agent, options: https.RequestOptions, act?: (request: http.ClientRequest) => void): Promise<Record<string, unknown>> {
  return await new Promise((resolve, reject) => {
    const request = https.request({ host: 'localhost', agent, ...options })
    request.on('error', (error: Error & Record<string, unknown>) => { resolve({ ...Object.fromEntries(fields.map((field) => [field, error[field]])), keys: Object.keys(error).sort() }) })
    request.on('response', () => { reject(new Error('answered')) })
    act?.(request)
    request.end()
  })
}

/** Everything that a request and its socket say, in order, until both are closed. */
async function eventsOf(agent: https.Agent, options: SendOptions, act?: (request: http.ClientRequest, events: string[]) => void): Promise<string[]> {
  const events: string[] = []
  const seen = new Set<string>()
  const note = (name: string) => (first?: unknown) => { events.push(first instanceof Error ? `${name} ${describeError(first).code}` : name) }
  await new Promise<void>((resolve) => {
    const { body, ...rest } = options
    const request = https.request({ host: 'localhost', agent, ...rest })
    for (const name of ['timeout', 'abort', 'error', 'drain'] as const) request.on(name, note(`request ${name}`))
    // A plain socket calls a write done as soon as TCP is connected; a held one is done when its peer was verified.
    request.on('finish', () => { if (seen.has('secureConnect') ? request.socket?.destroyed === false : !seen.has('connect')) note('request finish')() })
    request.on('response', (response) => {
      note('response')()
      for (const name of ['end', 'error', 'aborted', 'close'] as const) response.on(name, note(`response ${name}`))
      response.resume()
    })
    request.on('socket', (socket: net.Socket) => {
      note('request socket')()
      for (const name of ['connect', 'secureConnect'] as const) socket.prependListener(name, () => seen.add(name))
      for (const name of ['connect', 'secureConnect', 'ready', 'timeout', 'error', 'end', 'close', 'free'] as const) socket.on(name, note(`socket ${name}`))
    })
    request.on('close', () => {
      note('request close')()
      setTimeout(resolve, 20)
    })
    act?.(request, events)
    request.end(body)
  })
  return events
}

describe('what Node’s own tests ask of an agent', () => {
  const byHand = (connection: Promise<net.Socket> | net.Socket): Promise<string> => Promise.resolve(connection).then((socket) => new Promise((resolve) => {
    socket.on('secureConnect', () => { resolve('connected'); socket.destroy() }).on('error', ({ code, name }: Error & { code?: string }) => { resolve(code ?? name) })
  }))
  type ByHand = Omit<https.Agent, 'createConnection'> & { createConnection(...args: unknown[]): net.Socket }
  const ca = { ca: root.pem }

  alike('createConnection by hand: a port and a host, a port and options, a signal, a path', async ({ agent, server }) => {
    const [own, { port }] = [agent() as ByHand, await server()] as const
    const controller = new AbortController()
    const aborted = byHand(own.createConnection({ ...ca, port, host: 'localhost', signal: controller.signal }))
    controller.abort()
    return [await byHand(own.createConnection(port, 'localhost', ca)), await byHand(own.createConnection(port, { ...ca, host: 'localhost' })), await aborted, await byHand(own.createConnection({ ...ca, path: '/no/such.sock', servername: 'localhost' }))]
  }, ['connected', 'connected', 'ABORT_ERR', 'ENOENT'])

  alike('the highWaterMark of a request', async ({ agent, server }) => {
    const [own, { port }] = [agent(), await server()]
    return new Promise((resolve) => {
      https.get({ agent: own, port, highWaterMark: 128_000 } as never, (response) => {
        resolve([response.readableHighWaterMark, response.socket.readableHighWaterMark, response.socket.writableHighWaterMark])
        response.resume()
      })
    })
  }, [128_000, 128_000, 128_000])

  alike('family 0 and the implied server name have no pool of their own', async ({ agent, server }) => {
    const [own, { port }] = [agent(), await server()]
    return [brief(await send(own, port)), brief(await send(own, port, { family: 0 })), brief(await send(own, port, { servername: 'localhost' }))]
  }, ['200', '200 reused', '200 reused'])

  test('a pool is found by its host and port, as in an agent without TLS options', async () => {
    const agent = pinnedAgent(root.pem, { localhost: { certificates: [certificate.fingerprint, backup.fingerprint] } })
    const server = await startServer({ certificate })
    await send(agent, server.port)
    expect(Object.keys(agent.freeSockets)).toEqual([agent.getName({ host: 'localhost', port: server.port })])
    agent.destroy()
    await server.close()
  })

  alike('a socket that its user ends while it connects', async ({ agent, closeLater }) => {
    const stalled = await startStalledServer()
    closeLater(stalled)
    return brief(await send(agent(), stalled.port, { onRequest: (request) => request.on('socket', (socket) => void socket.end()) }))
  }, 'ECONNRESET')

  test('agent: false where the pinned agent is the global one makes no agent without pins', async () => {
    const agent = pinnedAgent(root.pem, { localhost: { certificates: [certificate.fingerprint, backup.fingerprint] } })
    expect(() => http.get({ protocol: 'https:', agent: false, _defaultAgent: agent } as never)).toThrow(expect.objectContaining({ code: 'ERR_PIN_BYPASS' }))
    agent.destroy()
  })
})

describe('the pool', () => {
  const load = (pool: PoolOptions, hosts: string[] = ['localhost']): Scenario => async ({ agent: make, server: start }) => {
    const server = await start()
    const agent = make(pool)
    const requests = Array.from({ length: 12 }, (_, i) => send(agent, server.port, { host: hosts[i % hosts.length] as string, path: '/hold' }))
    const expected = Math.min(12, pool.maxTotalSockets ?? 12, (pool.maxSockets ?? 12) * hosts.length)
    await until(() => server.requests.length === expected)
    await wait(10)
    const busy = holdings(agent)
    const connections = server.connections
    const letting = setInterval(() => { server.letGo() }, 2)
    const outcomes = (await Promise.all(requests)).map(brief)
    clearInterval(letting)
    await until(() => holdings(agent).sockets === 0)
    return { busy, connections, total: server.connections, outcomes, idle: holdings(agent), names: Object.keys(agent.freeSockets).length }
  }
  alike('maxSockets limits the connections of a host, and the rest waits', load({ maxSockets: 3 }), { busy: { sockets: 3, requests: 9, total: 3 }, connections: 3, total: 3, idle: { sockets: 0, freeSockets: 3, requests: 0, total: 3 } })
  alike('maxSockets counts each host for itself', load({ maxSockets: 2 }, ['localhost', '127.0.0.1']), { busy: { sockets: 4, requests: 8 }, connections: 4, names: 2 })
  alike('maxTotalSockets limits them all', load({ maxTotalSockets: 4, maxSockets: 3 }), { busy: { sockets: 3 }, connections: 3 })
  alike('maxTotalSockets below maxSockets', load({ maxTotalSockets: 2, maxSockets: 5 }), { busy: { sockets: 2, requests: 10 }, connections: 2, total: 2 })
  alike('maxFreeSockets limits those that are kept', load({ maxFreeSockets: 2 }), { busy: { sockets: 12 }, connections: 12, idle: { freeSockets: 2 } })
  alike('no keep-alive keeps none', load({ keepAlive: false, maxSockets: 4 }), { connections: 4, idle: nothing })
  alike('without limits every request has its connection', load({}), { busy: { sockets: 12, requests: 0 }, connections: 12, idle: { freeSockets: 12 } })

  for (const scheduling of ['lifo', 'fifo'] as const) {
    alike(`${scheduling} takes the right one of the kept sockets`, async ({ agent: make, server: start }) => {
      const server = await start()
      const agent = make({ scheduling })
      await Promise.all([1, 2, 3].map(() => send(agent, server.port)))
      for (let i = 0; i < 4; i++) await send(agent, server.port)
      const used = server.requests.slice(3).map(({ connection }) => connection)
      return new Set(used).size
    }, scheduling === 'lifo' ? 1 : 3)
  }

  alike('keep-alive: reused sockets say so, a POST as well as a GET', async ({ agent: make, server: start }) => {
    const server = await start()
    const agent = make()
    const outcomes = []
    for (const body of [undefined, 'x', 'x'.repeat(300_000), undefined]) outcomes.push(brief(await send(agent, server.port, { ...(body && { body }) })))
    return { outcomes, connections: server.connections, lengths: server.requests.map(({ bodyLength }) => bodyLength) }
  }, { outcomes: ['200', '200 reused', '200 reused', '200 reused'], connections: 1, lengths: [0, 1, 300_000, 0] })

  alike("'Connection: close' of either side ends the connection", async ({ agent: make, server: start }) => {
    const server = await start({ handler: (request, response) => { response.setHeader('connection', request.url === '/close' ? 'close' : 'keep-alive').end('ok') } })
    const agent = make()
    const outcomes = []
    for (const options of [{}, { headers: { connection: 'close' } }, {}, { path: '/close' }, {}]) outcomes.push(brief(await send(agent, server.port, options)))
    return { outcomes, connections: server.connections }
  }, { connections: 3 })

  alike("the server's keep-alive hint is kept to", async ({ agent: make, server: start }) => {
    const server = await start({ handler: (_, response) => { response.setHeader('keep-alive', 'timeout=1').end('ok') } })
    const agent = make()
    return { outcomes: [brief(await send(agent, server.port)), brief(await send(agent, server.port))], connections: server.connections }
  })

  alike('a server that ends the connection after its response without saying so', async ({ agent: make, server: start }) => {
    const server = await start({ closeAfterResponse: true })
    const agent = make()
    const outcomes = []
    for (let i = 0; i < 3; i++) {
      outcomes.push(brief(await send(agent, server.port)))
      await wait(15)
    }
    return { outcomes, idle: holdings(agent), connections: server.connections }
  }, { outcomes: ['200', '200', '200'], idle: nothing, connections: 3 })

  alike('an idle socket on which the server says something unasked', async ({ agent: make, server: start }) => {
    const server = await start()
    const sockets: TLSSocket[] = []
    server.server.on('secureConnection', (socket: TLSSocket) => sockets.push(socket))
    const agent = make()
    await send(agent, server.port)
    sockets[0]?.write('HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nunasked!')
    await wait(15)
    const { status, body } = await send(agent, server.port)
    return { status, body, connections: server.connections }
  })

  alike('an idle socket lives for agent.timeout', async ({ agent: make, server: start }) => {
    const server = await start()
    const agent = make({ timeout: 30 })
    await send(agent, server.port)
    const before = holdings(agent)
    await wait(80)
    return [before, holdings(agent)]
  }, [{ sockets: 0, freeSockets: 1, requests: 0, total: 1 }, nothing])

  test('a pinned agent is no reason for a process to go on, once its sockets are idle', async () => {
    const server = await startServer({ certificate, keepAliveTimeout: 20_000 })
    const script = `
      const { createPinningAgent } = await load('index.js')
      const agent = createPinningAgent(input.options)
      require('node:https').get({ port: input.port, agent }, (response) => { response.on('end', () => report(response.statusCode)).resume() })`
    const input = { port: server.port, options: { pins: { localhost: [certificate.fingerprint, backup.fingerprint] }, tls: { ca: root.pem }, agent: { timeout: 20_000 } } }
    const ended = await runChild(script, { input, timeoutMs: 5_000 })
    expect(ended).toMatchObject({ code: 0, signal: null, stderr: '', reported: 200 })
    await server.close()
  })

  alike('keylog events', async ({ agent: make, server: start }) => {
    const server = await start({ minVersion: 'TLSv1.3' })
    const agent = make()
    const labels: string[] = []
    ;(agent as unknown as NodeJS.EventEmitter).on('keylog', (line: Buffer) => labels.push(String(line).split(' ')[0] as string))
    await send(agent, server.port)
    return labels
  })
})

describe('a connection that fails', () => {
  const closedPort = async (): Promise<number> => {
    const server = net.createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as net.AddressInfo
    await new Promise((resolve) => server.close(resolve))
    return port
  }
  const withoutPort = (failure: Record<string, unknown>) => JSON.parse(JSON.stringify(failure).replaceAll(/\b\d{4,5}\b/g, '0')) as unknown

  /** OpenSSL's message begins with the number of a thread. */
  const withoutAddress = ({ message, ...failure }: Record<string, unknown>) => ({ ...failure, message: String(message).replace(/[0-9A-F]{12,}:error/, 'error') })

  alike('refused by the address', async ({ agent: make }) => withoutPort(await failureOf(make(), { host: '127.0.0.1', port: await closedPort() })), { code: 'ECONNREFUSED', syscall: 'connect', address: '127.0.0.1' })
  alike('refused by every address of a name', async ({ agent: make }) => withoutPort(await failureOf(make(), { port: await closedPort() })), { code: 'ECONNREFUSED' })
  alike('a name that does not resolve', async ({ agent: make }) => failureOf(make(), { host: 'no-such-host.invalid', port: 443, lookup: notFound }), { code: 'ENOTFOUND', syscall: 'getaddrinfo', hostname: 'no-such-host.invalid' })
  alike('a look-up of its own that fails', async ({ agent: make }) => failureOf(make({ lookup: notFound as never }), { port: 443 }), { code: 'ENOTFOUND' })
  alike('a look-up that says nonsense', async ({ agent: make }) => failureOf(make(), { port: 443, family: 4, lookup: (_: string, __: unknown, done: (error: null, address: string, family: number) => void) => { done(null, 'nonsense', 4) } } as https.RequestOptions), { code: 'ERR_INVALID_IP_ADDRESS' })
  alike('a local address that is not ours', async ({ agent: make }) => withoutPort(await failureOf(make(), { host: '127.0.0.1', port: 4433, localAddress: '192.0.2.1' })), { code: 'EADDRNOTAVAIL' })
  alike('a path that is no socket', async ({ agent: make }) => failureOf(make(), { socketPath: '/nonexistent/socket' }), { code: 'ENOENT', address: '/nonexistent/socket' })

  for (const how of ['reset', 'close'] as const) {
    alike(`${how} on connecting`, async ({ agent: make, closeLater }) => {
      const server = await startResettingServer({ afterReceived: 0, how })
      closeLater(server)
      return withoutPort(await failureOf(make(), { port: server.port }))
    }, { code: 'ECONNRESET' })
    alike(`${how} with the ClientHello`, async ({ agent: make, closeLater }) => {
      const server = await startResettingServer({ afterReceived: 1, how })
      closeLater(server)
      return withoutPort(await failureOf(make(), { port: server.port }))
    }, { code: 'ECONNRESET' })
    for (const afterSent of [1, 200, 700]) {
      alike(`${how} after ${afterSent} octets of the server's part of the handshake`, async ({ agent: make, server: start, closeLater }) => {
        const upstream = await start({ maxVersion: 'TLSv1.2' })
        const server = await startResettingServer({ upstream, afterSent, how })
        closeLater(server)
        return withoutPort(await failureOf(make(), { port: server.port }))
      }, { code: 'ECONNRESET' })
    }
    alike(`${how} in the middle of the response`, async ({ agent: make, server: start, closeLater }) => {
      const upstream = await start({ handler: (_, response) => { response.end('x'.repeat(100_000)) } })
      const server = await startResettingServer({ upstream, afterSent: 50_000, how })
      closeLater(server)
      const { code, status } = await send(make(), server.port)
      return code ?? status
    }, 'ECONNRESET')
  }

  alike('a server that is no TLS server', async ({ agent: make, closeLater }) => {
    const server = net.createServer((socket) => socket.resume().end('HTTP/1.1 400 Bad Request\r\n\r\n').on('error', () => undefined))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closeLater({ close: () => new Promise((resolve) => server.close(() => { resolve() })) })
    return withoutAddress(await failureOf(make(), { port: (server.address() as net.AddressInfo).port }))
  }, { code: 'EPROTO', syscall: 'write' })

  alike('no cipher in common', async ({ agent: make, server: start }) => {
    const server = await start({ maxVersion: 'TLSv1.2', ciphers: 'CAMELLIA256-SHA:@SECLEVEL=0', certificate: root.issue({ key: 'rsa' }) }).catch(() => undefined)
    if (server === undefined) return 'not with this OpenSSL'
    return withoutAddress(await failureOf(make(), { port: server.port }))
  })
  alike('a server that has only TLS 1.1', async ({ agent: make, server: start }) => {
    const server = await start({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1' })
    return withoutAddress(await failureOf(make(), { port: server.port }))
  }, { code: 'EPROTO' })
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    alike(`a server that wants a client certificate (${version})`, async ({ agent: make, server: start }) => {
      const server = await start({ minVersion: version, maxVersion: version, requestCert: true, ca: root })
      return withoutAddress(await failureOf(make(), { port: server.port, method: 'POST' }))
    })
  }

  describe('because the certificate is not trusted, has the same code and error', () => {
    const day = 24 * 3_600_000
    const other = createAuthority()
    const cases: Array<[string, () => { certificate: IssuedCertificate, chain?: IssuedCertificate[] }, string]> = [
      ['self-signed', () => ({ certificate: createSelfSigned() }), 'DEPTH_ZERO_SELF_SIGNED_CERT'],
      ['of an unknown CA', () => ({ certificate: other.issue() }), 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
      ['of an unknown CA, which is served', () => ({ certificate: other.issue(), chain: [other] }), 'SELF_SIGNED_CERT_IN_CHAIN'],
      ['without its intermediate', () => ({ certificate: root.issueAuthority().issue(), chain: [] }), 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
      ['expired', () => ({ certificate: root.issue({ notBefore: new Date(Date.now() - 9 * day), notAfter: new Date(Date.now() - day) }) }), 'CERT_HAS_EXPIRED'],
      ['not yet valid', () => ({ certificate: root.issue({ notBefore: new Date(Date.now() + day) }) }), 'CERT_NOT_YET_VALID'],
      ['with an intermediate that has expired', () => ({ certificate: root.issueAuthority({ notBefore: new Date(Date.now() - 9 * day), notAfter: new Date(Date.now() - day) }).issue() }), 'CERT_HAS_EXPIRED'],
      ['for another name', () => ({ certificate: root.issue({ names: ['other.test', '*.example.test', '10.0.0.1'] }) }), 'ERR_TLS_CERT_ALTNAME_INVALID'],
      ['without a name', () => ({ certificate: root.issue({ names: null, name: 'Somebody' }) }), 'ERR_TLS_CERT_ALTNAME_INVALID'],
      ['with a broken signature', () => ({ certificate: root.issue({ corruptSignature: true }) }), 'CERT_SIGNATURE_FAILURE'],
      ['for clients', () => ({ certificate: root.issue({ extendedKeyUsage: ['clientAuth'] }) }), 'INVALID_PURPOSE'],
      ['of an issuer that is no CA', () => ({ certificate: root.issueAuthority({ ca: false }).issue() }), '']
    ]
    for (const [name, make, code] of cases) {
      const served = make()
      for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
        alike(`${name} (${version})`, async ({ agent, server: start }) => {
          const server = await start({ ...served, minVersion: version, maxVersion: version })
          const failure = await failureOf(agent(), { port: server.port })
          const viaAxios = await axios.get(`https://localhost:${server.port}`, { httpsAgent: agent(), proxy: false }).catch((error: Error & { code?: string }) => ({ code: error.code, name: error.name, message: error.message }))
          return { ...failure, viaAxios, decrypted: server.decryptedBytes }
        }, { ...(code && { code, viaAxios: { code } }), decrypted: 0 })
      }
    }

    alike('the error of a wrong name carries the certificate', async ({ agent, server: start }) => {
      const server = await start({ certificate: root.issueAuthority({ subject: [['CN', 'Sub']], serial: Buffer.from([5]) }).issue({ names: ['other.test'], subject: [['CN', 'x']], serial: Buffer.from([7]) }) })
      const error = await new Promise<Error & { cert: { subject: object, issuerCertificate: { subject: object } } }>((resolve) => https.get({ port: server.port, agent: agent() }).on('error', resolve as never))
      const { subject, issuerCertificate } = error.cert
      return { subject: { ...subject }, issuer: { ...issuerCertificate.subject }, keys: Object.keys(error.cert).sort() }
    }, { subject: { CN: 'x' }, issuer: { CN: 'Sub' } })
  })
})

describe('time-outs and aborts', () => {
  const stalled = async ({ closeLater }: Stage) => {
    const server = await startStalledServer()
    closeLater(server)
    return server
  }
  alike('setTimeout of the request fires during a stalled handshake', async (stage) => {
    const server = await stalled(stage)
    const agent = stage.agent()
    const events = await eventsOf(agent, { port: server.port }, (request) => request.setTimeout(40, () => request.destroy(new Error('too slow'))))
    await until(() => server.openSockets === 0)
    return { events, left: holdings(agent) }
  }, { left: nothing })
  alike('the timeout option fires during a stalled handshake, and a raw destroy() tells of it', async (stage) => {
    const server = await stalled(stage)
    const agent = stage.agent()
    const events = await eventsOf(agent, { port: server.port, timeout: 40 }, (request) => request.on('timeout', () => request.destroy()))
    await until(() => server.openSockets === 0)
    return { events, left: holdings(agent) }
  }, { left: nothing })
  alike("the agent's timeout fires during a stalled handshake", async (stage) => {
    const server = await stalled(stage)
    const agent = stage.agent({ timeout: 40 })
    const events = await eventsOf(agent, { port: server.port }, (request) => request.on('timeout', () => request.destroy(new Error('slow'))))
    return { events, left: holdings(agent) }
  }, { left: nothing })
  alike("axios' timeout fires during a stalled handshake", async (stage) => {
    const server = await stalled(stage)
    const agent = stage.agent()
    const started = Date.now()
    const { code, message } = await axios.post(server.url, 'x'.repeat(100_000), { httpsAgent: agent, timeout: 60, proxy: false }).catch((error: Error & { code?: string }) => error) as Error & { code?: string }
    const soon = Date.now() - started < 1_000
    await until(() => server.openSockets === 0)
    return { code, message, soon, left: holdings(agent) }
  }, { code: 'ECONNABORTED', soon: true, left: nothing })
  alike("axios' timeout fires when the server never answers, and when the pool is full", async ({ agent: make, server: start }) => {
    const server = await start()
    const agent = make({ maxSockets: 1 })
    const request = (config?: AxiosRequestConfig) => axios.get<unknown>(`${server.url}/never`, { httpsAgent: agent, proxy: false, timeout: 60, ...config }).catch((error: Error & { code?: string }) => error.code)
    const codes = await Promise.all([request(), request()])
    await until(() => holdings(agent).total === 0)
    return codes
  })

  /** Node 24 and 26 keep connecting for a request that was aborted before it had a socket. */
  const leftIn = async (agent: https.Agent) => {
    for (let i = 0; i < 10 && holdings(agent).total > 0; i++) await wait(5)
    return holdings(agent)
  }

  const abortAt: Array<[string, (stage: Stage) => Promise<{ port: number }>, (abort: () => void, request: http.ClientRequest) => void]> = [
    ['before anything', stalled, (abort) => { abort() }],
    ['in the next tick', stalled, (abort) => { process.nextTick(abort) }],
    ['when the socket is there', stalled, (abort, request) => request.on('socket', () => { abort() })],
    ['when it is connected', stalled, (abort, request) => request.on('socket', (socket) => socket.once('connect', abort))],
    ['during the handshake', stalled, (abort, request) => request.on('socket', (socket) => socket.once('connect', () => setTimeout(abort, 15)))],
    ['when the handshake is done', (stage) => stage.server(), (abort, request) => request.on('socket', (socket) => socket.once('secureConnect', abort))],
    ['after the handshake', (stage) => stage.server(), (abort, request) => request.on('finish', () => setTimeout(abort, 20))],
    ['with the response', (stage) => stage.server(), (abort, request) => request.on('response', abort)]
  ]
  for (const [when, serve, at] of abortAt) {
    alike(`an AbortSignal ${when}`, async (stage) => {
      const server = await serve(stage)
      const agent = stage.agent({ maxSockets: 1 })
      const controller = new AbortController()
      const events = await eventsOf(agent, { port: server.port, signal: controller.signal, path: /with/.test(when) ? '/' : '/never' }, (request) => at(() => { controller.abort() }, request))
      return { events, left: await leftIn(agent) }
    })
    alike(`destroy() ${when}`, async (stage) => {
      const server = await serve(stage)
      const agent = stage.agent({ maxSockets: 1 })
      const events = await eventsOf(agent, { port: server.port, path: /with/.test(when) ? '/' : '/never', body: 'x'.repeat(50_000), method: 'POST' }, (request) => at(() => request.destroy(), request))
      return { events, left: await leftIn(agent) }
    })
    alike(`agent.destroy() ${when}`, async (stage) => {
      const server = await serve(stage)
      const agent = stage.agent({ maxSockets: 1 })
      let unheard = false
      const events = await eventsOf(agent, { port: server.port, path: /with/.test(when) ? '/' : '/never' }, (request) => {
        at(() => { agent.destroy() }, request)
        // Called before there is a socket, it has nothing to destroy.
        if (/before|next/.test(when)) setTimeout(() => { unheard = !request.destroyed; request.destroy() }, 60)
      })
      await until(() => holdings(agent).total === 0)
      return { events, unheard, left: holdings(agent) }
    }, { left: nothing })
    alike(`axios aborted ${when}`, async (stage) => {
      const server = await serve(stage)
      const agent = stage.agent()
      const controller = new AbortController()
      const abort = () => { controller.abort() }
      if (when === 'before anything') abort()
      else setTimeout(abort, when.includes('next') ? 0 : 30)
      const { code } = await axios.post(`https://localhost:${server.port}/never`, 'x', { httpsAgent: agent, proxy: false, signal: controller.signal }).catch((error: Error & { code?: string }) => error) as { code?: string }
      await until(() => holdings(agent).total === 0)
      return code
    }, 'ERR_CANCELED')
  }
})

describe('the order of events', () => {
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    alike(`of an answered request (${version})`, async ({ agent: make, server: start }) => {
      const server = await start({ minVersion: version, maxVersion: version })
      const agent = make()
      return [await eventsOf(agent, { port: server.port }), await eventsOf(agent, { port: server.port, body: 'x'.repeat(200_000), method: 'POST' })]
    })
    alike(`of a POST on a new connection that is closed after it (${version})`, async ({ agent: make, server: start }) => {
      const server = await start({ minVersion: version, maxVersion: version })
      return eventsOf(make(), { port: server.port, body: 'x'.repeat(50_000), method: 'POST', headers: { connection: 'close' } })
    })
    alike(`of a peer that is not trusted (${version})`, async ({ agent: make, server: start }) => {
      const server = await start({ certificate: createSelfSigned(), minVersion: version, maxVersion: version })
      return eventsOf(make(), { port: server.port, body: 'x'.repeat(50_000), method: 'POST' })
    })
    alike(`of a peer with another name (${version})`, async ({ agent: make, server: start }) => {
      const server = await start({ certificate: root.issue({ names: ['other.test'] }), minVersion: version, maxVersion: version })
      return eventsOf(make(), { port: server.port, body: 'x'.repeat(50_000), method: 'POST' })
    })
  }
  alike('of a refused connection', async ({ agent: make, closeLater }) => {
    const server = await startResettingServer({ afterReceived: 1 })
    closeLater(server)
    return eventsOf(make(), { port: server.port })
  })
  alike('of a write whose connection fails before it is connected: every callback is called', async ({ agent: make }) => {
    const called: boolean[] = []
    await eventsOf(make(), { host: '127.0.0.1', port: 1, method: 'POST' }, (request) => {
      request.write('one', (error) => called.push(Boolean(error)))
      request.write('two', (error) => called.push(Boolean(error)))
    })
    return called
  }, [true, true])
  test('a write is done when the peer has been verified, or failed when the connection has', async () => {
    const agent = pinnedAgent(root.pem, { localhost: [certificate.fingerprint, backup.fingerprint] })
    const order: string[] = []
    const server = await startServer({ certificate })
    await send(agent, server.port, { body: 'x', onRequest: (request) => {
      request.on('finish', () => order.push('finish'))
      request.on('socket', (socket) => socket.on('connect', () => order.push('connect')).on('secureConnect', () => order.push('secureConnect')))
    } })
    expect(order).toEqual(['connect', 'secureConnect', 'finish'])
    await server.close()

    const resetting = await startResettingServer({ afterReceived: 1 })
    const errors: unknown[] = []
    await send(agent, resetting.port, { method: 'POST', onRequest: (request) => {
      request.on('finish', () => errors.push('finish'))
      request.write('one', (error) => errors.push(error instanceof Error))
    } })
    await wait(5)
    expect(errors).toEqual([true])
    await resetting.close()
    agent.destroy()
  })
  alike('of Expect: 100-continue', async ({ agent: make, server: start }) => {
    const server = await start()
    return eventsOf(make(), { port: server.port, method: 'POST', headers: { expect: '100-continue' } }, (request, events) => {
      request.on('continue', () => events.push('continue'))
      request.flushHeaders()
    })
  })
  alike('of an upgrade', async ({ agent: make, server: start }) => {
    const server = await start()
    server.server.on('upgrade', (_, socket: net.Socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n')
      socket.pipe(socket)
    })
    const agent = make()
    const echoed = await new Promise((resolve, reject) => {
      const request = https.get({ port: server.port, agent, headers: { connection: 'upgrade', upgrade: 'echo' } })
      request.on('error', reject)
      request.on('upgrade', (_, socket, head) => {
        socket.write('hello')
        socket.on('data', (chunk: Buffer) => {
          resolve(String(head) + String(chunk))
          socket.destroy()
        })
      })
    })
    return { echoed, left: holdings(agent) }
  }, { echoed: 'hello', left: nothing })
})

describe('the queue behind maxSockets: 1 goes on', () => {
  /** The first request fails in some way; those behind it must each get their own end. */
  const behind = (first: (agent: https.Agent, port: number) => Promise<unknown>, serve?: (stage: Stage) => Promise<{ port: number }>): Scenario => async (stage) => {
    const server = serve ? await serve(stage) : await stage.server()
    const agent = stage.agent({ maxSockets: 1 })
    const outcome = first(agent, server.port)
    const queued = [1, 2, 3].map((id) => send(agent, server.port, { path: `/${id}` }))
    const ends = await Promise.race([Promise.all(queued), wait(3_000)])
    await outcome
    return ends === undefined ? 'stuck' : ends.map(brief)
  }
  const untrusted = (stage: Stage) => stage.server({ certificate: createSelfSigned() })
  const misnamed = (stage: Stage) => stage.server({ certificate: root.issue({ names: ['other.test'] }) })
  const resetting = async (stage: Stage) => {
    const server = await startResettingServer()
    stage.closeLater(server)
    return server
  }
  const closed = async (stage: Stage) => {
    const server = await startStalledServer()
    await server.close()
    stage.closeLater(server)
    return server
  }
  const ordinary = (agent: https.Agent, port: number) => send(agent, port)
  alike('after an answered request', behind(ordinary), ['200', '200', '200'])
  alike('after an answered request that was not kept alive', behind((agent, port) => send(agent, port, { headers: { connection: 'close' } })))
  alike('after a reset', behind(ordinary, resetting), ['ECONNRESET', 'ECONNRESET', 'ECONNRESET'])
  alike('after a refused connection', behind(ordinary, closed), ['ECONNREFUSED', 'ECONNREFUSED', 'ECONNREFUSED'])
  alike('after an untrusted peer', behind(ordinary, untrusted), Array(3).fill('DEPTH_ZERO_SELF_SIGNED_CERT'))
  alike('after a peer with another name', behind(ordinary, misnamed), Array(3).fill('ERR_TLS_CERT_ALTNAME_INVALID'))
  alike('after a name that does not resolve', behind((agent, port) => send(agent, port, { lookup: notFound })))
  for (const [when, at] of [
    ['at once', (abort: () => void) => { abort() }],
    ['in the next tick', (abort: () => void) => { process.nextTick(abort) }],
    ['when connected', (abort: () => void, request: http.ClientRequest) => request.on('socket', (socket) => socket.on('connect', abort))],
    ['when secure', (abort: () => void, request: http.ClientRequest) => request.on('socket', (socket) => socket.on('secureConnect', abort))],
    ['with the response', (abort: () => void, request: http.ClientRequest) => request.on('response', abort)]
  ] as Array<[string, (abort: () => void, request: http.ClientRequest) => void]>) {
    alike(`after one that was aborted ${when}`, behind((agent, port) => send(agent, port, { onRequest: (request) => { at(() => request.destroy(), request) } })))
  }
  alike('when those in it are aborted', async ({ agent: make, server: start }) => {
    const server = await start()
    const agent = make({ maxSockets: 1 })
    const held = send(agent, server.port, { path: '/hold' })
    await until(() => server.requests.length === 1)
    const requests: http.ClientRequest[] = []
    const queued = [1, 2, 3, 4].map(() => send(agent, server.port, { onRequest: (request) => requests.push(request) }))
    requests[0]?.destroy()
    requests[2]?.destroy(new Error('no more'))
    await wait(10)
    server.letGo()
    return { ends: (await Promise.all([held, ...queued])).map(brief), requests: server.requests.length }
  })
  alike('when the agent is destroyed', async ({ agent: make, server: start }) => {
    const server = await start()
    const agent = make({ maxSockets: 1 })
    const held = send(agent, server.port, { path: '/hold' })
    await until(() => server.requests.length === 1)
    const queued = [1, 2, 3].map(() => send(agent, server.port))
    await wait(5)
    agent.destroy()
    return (await Promise.all([held, ...queued])).map(brief)
  })
})

describe('nothing is left on a socket', () => {
  alike('however often it is reused', async ({ agent: make, server: start }) => {
    const server = await start()
    const agent = make({ maxSockets: 1 })
    let socket: net.Socket | undefined
    const counts: unknown[] = []
    for (let i = 0; i < 30; i++) {
      await send(agent, server.port, { ...(i % 2 && { body: 'x' }), onRequest: (request) => request.on('socket', (given) => { socket = given }) })
      counts.push(['data', 'end', 'drain', 'connect', 'lookup', 'timeout', 'free', 'agentRemove', 'error'].map((name) => socket?.listenerCount(name)))
    }
    expect(Math.max(...(socket?.eventNames() ?? []).map((name) => socket?.listenerCount(name) ?? 0))).toBeLessThan(6)
    return { first: counts[0], last: counts.at(-1) }
  })
  test('but one listener of the pinned agent, and the write methods are its own again', async () => {
    const server = await startServer({ certificate })
    const agents = [plainAgent(root.pem), pinnedAgent(root.pem, { localhost: [certificate.fingerprint, backup.fingerprint] })]
    const listeners: Array<Record<string, number>> = []
    for (const agent of agents) {
      await send(agent, server.port, { body: 'x' })
      const [socket] = Object.values(agent.freeSockets)[0] ?? []
      // https' own session cache listens too, for the same two events; ours hears of a second handshake besides.
      listeners.push(Object.fromEntries((socket?.eventNames() ?? []).map((name) => [String(name), socket?.listenerCount(name) ?? 0])))
      for (const name of ['_write', '_writev', '_final', 'destroy', 'write', 'end']) expect(Object.keys(socket as object)).not.toContain(name)
      agent.destroy()
    }
    expect(listeners[1]).toEqual({ ...listeners[0], secureConnect: 1 })
    await server.close()
  })

  test('that makes it slow: V8 keeps it in its fast form, connected anew or with a resumed session', async () => {
    const server = await startServer({ certificate })
    const script = `
      const https = require('node:https')
      const { createPinningAgent } = await load('index.js')
      const isFast = new Function('object', 'return %HasFastProperties(object)')
      const agent = createPinningAgent({ pins: { localhost: input.pins }, tls: { ca: input.ca } })
      const sockets = []
      const ask = () => new Promise((resolve, reject) => https.get({ host: 'localhost', port: input.port, agent }, (answer) => {
        sockets.push([answer.socket, answer.socket.isSessionReused()])
        answer.on('end', resolve).resume()
      }).on('error', reject))
      await Promise.all([ask(), ask()])
      await new Promise((resolve) => setTimeout(resolve, 20))
      for (const socket of Object.values(agent.freeSockets).flat()) socket.destroy()
      await ask()
      await new Promise((resolve) => setTimeout(resolve, 20))
      report(sockets.map(([socket, resumed]) => [resumed, isFast(socket)]))
      process.exit()
    `
    const { reported, stderr } = await runChild(script, { input: { port: server.port, ca: root.pem, pins: [certificate.fingerprint, backup.fingerprint] }, nodeOptions: ['--allow-natives-syntax'] })
    expect([reported, stderr]).toEqual([[[false, true], [false, true], [true, true]], ''])
    await server.close()
  })

  test('and Node never warns of too many listeners', async () => {
    const server = await startServer({ certificate })
    const stalled = await startStalledServer()
    const script = `
      const https = require('node:https')
      const { createPinningAgent } = await load('index.js')
      const warnings = []
      process.on('warning', (warning) => { if (warning.name !== 'PinningWarning') warnings.push(warning.name + ': ' + warning.message) })
      const ask = (agent, port, act, options) => new Promise((resolve) => {
        const request = https.request({ host: 'localhost', port, agent, method: 'POST', ...options })
        request.on('response', (response) => response.on('end', () => resolve(response.statusCode)).resume()).on('error', ({ code }) => resolve(code)).on('close', resolve)
        act?.(request)
        for (let i = 0; i < 20; i++) request.write('x')
        request.end()
      })
      const codes = []
      for (const pool of [{ maxSockets: 1 }, {}, { keepAlive: false }]) {
        const agent = createPinningAgent({ ...input.options, agent: pool })
        for (let i = 0; i < 30; i++) codes.push(await ask(agent, input.port))
        codes.push(...await Promise.all(Array.from({ length: 30 }, () => ask(agent, input.port))))
        await Promise.all(Array.from({ length: 30 }, (_, i) => ask(agent, input.stalled, (request) => setTimeout(() => request.destroy(), i))))
        await Promise.all(Array.from({ length: 30 }, () => ask(agent, input.port, undefined, { ca: 'x' })))
        agent.destroy()
      }
      report({ codes: [...new Set(codes)], warnings })
      process.exit()`
    const input = { port: server.port, stalled: stalled.port, options: { pins: { localhost: [certificate.fingerprint, backup.fingerprint] }, tls: { ca: root.pem } } }
    expect(await runChild(script, { input })).toMatchObject({ code: 0, stderr: '', reported: { codes: [200], warnings: [] } })
    await server.close()
    await stalled.close()
  })
})

describe('options of the connection reach it', () => {
  alike('localAddress, family, noDelay and keepAlive', async ({ agent: make, server: start }) => {
    const server = await start()
    const agent = make({ family: 4, localAddress: '127.0.0.1', keepAliveMsecs: 7_000 })
    const calls: unknown[] = []
    await send(agent, server.port, { onRequest: (request) => request.on('socket', (socket) => {
      const { _handle } = socket as unknown as { _handle: { setNoDelay(on: boolean): void, setKeepAlive(on: boolean, delay: number): void } }
      for (const name of ['setNoDelay', 'setKeepAlive'] as const) {
        const original = _handle[name] as (...given: unknown[]) => void
        _handle[name] = (...given: unknown[]) => {
          calls.push([name, ...given])
          return original.apply(_handle, given)
        }
      }
    }) })
    return calls
  })
  alike('a look-up function gets what Node gives it', async ({ agent: make, server: start }) => {
    const server = await start()
    const asked: unknown[] = []
    const lookup = (name: string, options: dns.LookupOptions, done: (...given: unknown[]) => void) => {
      asked.push([name, { ...options }])
      dns.lookup(name, options, done as never)
    }
    const { status } = await send(make(), server.port, { lookup: lookup as never })
    return { status, asked }
  }, { status: 200 })
  alike('the server name is the host, the Host header, or what the request says', async ({ agent: make, server: start }) => {
    const server = await start({ certificate })
    const outcomes = []
    for (const options of [{}, { headers: { host: 'localhost:99' } }, { servername: 'localhost' }, { host: '127.0.0.1' }, { servername: 'other.test' }, { headers: { host: 'other.test' } }]) outcomes.push(brief(await send(make(), server.port, options)))
    return { outcomes, serverNames: server.serverNames }
  })
})

function notFound(hostname: string, ...rest: unknown[]): void {
  const done = rest.at(-1) as (error: Error) => void
  setImmediate(() => { done(Object.assign(new Error(`getaddrinfo ENOTFOUND ${hostname}`), { errno: -3008, code: 'ENOTFOUND', syscall: 'getaddrinfo', hostname })) })
}
