import axios from 'axios'
import { X509Certificate, constants, createHash, randomBytes } from 'node:crypto'
import * as https from 'node:https'
import * as tls from 'node:tls'
import type { TLSSocket } from 'node:tls'
import { createPinningAgent, pinAxios } from '../../lib/index.js'
import type { PinReport, Pinning, PinningOptions } from '../../lib/index.js'
import { PolicySet } from '../../lib/policy/policy-set.js'
import { Reporter } from '../../lib/report/reporter.js'
import { PinningAgent } from '../../lib/transport/agent.js'
import { withoutCertificate } from '../../lib/transport/session-certificate.js'
import { send, until, wait } from '../support/clients.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startServer } from '../support/servers.js'
import type { TestServer, TestServerOptions } from '../support/servers.js'

const root = createAuthority({ name: 'Session Root' })
const otherRoot = createAuthority({ name: 'Other Session Root' })
const genuine = root.issue()
const impostor = otherRoot.issue()
const backup = createSelfSigned()
const ca = [root.pem, otherRoot.pem]
const close = { headers: { connection: 'close' } }
const hour = 3_600_000

const closing: Array<() => unknown> = []
afterEach(async () => {
  for (const each of closing.splice(0).reverse()) await each()
})

async function start(options: Partial<TestServerOptions> = {}): Promise<TestServer> {
  const server = await startServer({ certificate: genuine, ...options })
  closing.push(() => server.close())
  return server
}

/** Every request on a connection of its own, so that only sessions can be reused. */
function pinned(options: Partial<PinningOptions> = {}): { pinning: Pinning, reports: PinReport[], get: (url: string) => Promise<number | string> } {
  const reports: PinReport[] = []
  const api = axios.create(close)
  const pinning = pinAxios(api, {
    pins: { localhost: [genuine.fingerprint, backup.fingerprint] },
    tls: { ca },
    agent: { keepAlive: false },
    onValidCertificate: (report) => reports.push(report),
    onBadCertificate: (report) => reports.push(report),
    ...options
  })
  closing.push(() => pinning.close())
  return { pinning, reports, get: (url) => api.get<unknown>(url).then(({ status }) => status, (error: Error & { code: string }) => error.code) }
}

async function times<T>(count: number, task: () => Promise<T>): Promise<T[]> {
  const results: T[] = []
  for (let i = 0; i < count; i++) results.push(await task())
  return results
}

const ways: Array<[string, Partial<TestServerOptions>]> = [
  ['TLS 1.2 with tickets', { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' }],
  ['TLS 1.2 with session identifiers', { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2', sessionTickets: false, sessionCache: true }],
  ['TLS 1.3', { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' }]
]

describe.each(ways)('%s', (_, version) => {
  const policies: Array<[string, NonNullable<PinningOptions['pins']>[string]]> = [
    ['a certificate', [genuine.fingerprint, backup.fingerprint]],
    ['a key', { publicKeys: [genuine.pin, backup.pin] }],
    ['a CA somewhere in the chain', [root.pin, backup.pin]],
    ['a CA whose certificate is known', { authorities: [root.pem] }],
    ['a certificate, with a rejected one', { certificates: [genuine.fingerprint, backup.fingerprint], rejected: [impostor.pin] }]
  ]
  test.each(policies)('pinned to %s, every later connection resumes the session, and is reported and counted as resumed', async (_, policy) => {
    const server = await start(version)
    const { pinning, reports, get } = pinned({ pins: { localhost: policy } })
    expect(await times(20, () => get(server.url))).toEqual(Array(20).fill(200))

    expect(server).toMatchObject({ handshakes: 20, resumed: 19 })
    expect(pinning.status().counters).toMatchObject({ accepted: 20, refused: 0, resumed: 19 })
    expect(reports.map(({ resumed }) => resumed)).toEqual([false, ...Array<boolean>(19).fill(true)])
    for (const report of reports) {
      expect(report).toMatchObject({ decision: 'accepted', result: 'pinned', tlsVersion: version.maxVersion })
      expect(report.leaf).toMatchObject({ fingerprint: genuine.fingerprint, pin: genuine.pin })
      expect(report.served[0]).toMatchObject({ fingerprint: genuine.fingerprint })
    }
  })

  test("a self-signed peer whose pin stands for trust resumes too", async () => {
    const self = createSelfSigned()
    const server = await start({ ...version, certificate: self })
    const { pinning, reports, get } = pinned({ pins: { localhost: { certificates: [self.fingerprint, backup.fingerprint], trust: 'pin-only' } } })
    expect(await times(10, () => get(server.url))).toEqual(Array(10).fill(200))
    expect(server).toMatchObject({ handshakes: 10, resumed: 9 })
    expect(pinning.status().counters).toMatchObject({ accepted: 10, resumed: 9 })
    expect(reports.map(({ leaf }) => leaf?.fingerprint)).toEqual(Array(10).fill(self.fingerprint))

    pinning.update({ localhost: { certificates: [backup.fingerprint, genuine.fingerprint], trust: 'pin-only' } })
    const bytes = server.decryptedBytes
    expect(await times(5, () => get(server.url))).toEqual(Array(5).fill('ERR_PIN_MISMATCH'))
    expect(server.decryptedBytes).toBe(bytes)
  })

  const updates: Array<[string, NonNullable<PinningOptions['pins']>]> = [
    ['another certificate', { localhost: [backup.fingerprint, impostor.fingerprint] }],
    ['another key', { localhost: { publicKeys: [backup.pin, impostor.pin] } }],
    ['another CA whose certificate is known', { localhost: { authorities: [otherRoot.pem] } }],
    ['another CA by its pin', { localhost: { authorities: [otherRoot.pin] } }],
    ['pins that reject its key', { localhost: { pins: [root.pin, backup.pin], rejected: [genuine.pin] } }],
    ['pins that have expired', { localhost: { certificates: [genuine.fingerprint, backup.fingerprint], expires: '2020-01-01' } }],
    ['pins of other hosts only', { 'other.test': [genuine.fingerprint, backup.fingerprint] }]
  ]
  test.each(updates)('after an update to %s a peer with sessions is refused, and gets nothing', async (_, pins) => {
    const server = await start(version)
    const { pinning, reports, get } = pinned()
    expect(await times(3, () => get(server.url))).toEqual([200, 200, 200])
    const bytes = server.decryptedBytes
    pinning.update(pins)
    for (const code of await times(5, () => get(server.url))) expect(code).toMatch(/^ERR_PIN_(MISMATCH|EXPIRED|HOST_UNPINNED)$/)
    expect(server.decryptedBytes).toBe(bytes)
    expect(server.resumed).toBe(2)
    expect(reports.slice(3).every(({ decision, resumed }) => decision === 'refused' && !resumed)).toBe(true)

    // The session was not lost for good reason only: back under the old pins all is well.
    pinning.update({ localhost: [genuine.fingerprint, backup.fingerprint] })
    expect(await times(3, () => get(server.url))).toEqual([200, 200, 200])
    expect(server.resumed).toBe(4)
  })

  test('a session of a refused impostor is never offered, not even to the genuine server with the same ticket keys', async () => {
    for (const trust of ['pki', 'pin-only'] as const) {
      const server = await start({ ...version, certificate: impostor })
      const { pinning, get } = pinned({ pins: { localhost: { certificates: [genuine.fingerprint, backup.fingerprint], trust } } })
      expect(await times(5, () => get(server.url))).toEqual(Array(5).fill('ERR_PIN_MISMATCH'))
      server.swapCertificate(genuine, { keepTicketKeys: true })
      expect(await get(server.url)).toBe(200)
      expect(server.resumed).toBe(0)
      expect(pinning.status().counters.resumed).toBe(0)
      expect(await get(server.url)).toBe(200)
      expect(server.resumed).toBe(1)
    }
  })

  test('an impostor in the place of the genuine server, without its ticket keys, gets nothing, and its session is not kept', async () => {
    // A server that has the sessions themselves has what is needed to resume them, whatever its certificate.
    if (version.sessionCache) return
    const server = await start(version)
    const { get } = pinned()
    expect(await times(2, () => get(server.url))).toEqual([200, 200])
    const bytes = server.decryptedBytes
    server.swapCertificate(impostor)
    expect(await times(5, () => get(server.url))).toEqual(Array(5).fill('ERR_PIN_MISMATCH'))
    expect(server).toMatchObject({ decryptedBytes: bytes, resumed: 1 })
    server.swapCertificate(genuine, { keepTicketKeys: true })
    expect(await times(2, () => get(server.url))).toEqual([200, 200])
    expect(server.resumed).toBe(2)
  })

  test('a session is not offered to another host, port or server name', async () => {
    const ticketKeys = randomBytes(48)
    const shared = { ...version, ticketKeys }
    const [one, two] = [await start(shared), await start(shared)]
    const { get } = pinned({ pins: { localhost: [genuine.fingerprint, backup.fingerprint], '127.0.0.1': [genuine.fingerprint, backup.fingerprint] } })
    expect(await times(2, () => get(one.url))).toEqual([200, 200])
    expect(await get(`https://127.0.0.1:${one.port}`)).toBe(200)
    expect(await get(two.url)).toBe(200)
    expect(one.resumed).toBe(1)
    expect(two.resumed).toBe(0)
  })

  test('a session that another host may have is not taken for a host with other pins', async () => {
    // Without the name in the pool, the leaf pinned for one host would be taken for what the other one showed.
    const server = await start(version)
    const { get, reports } = pinned({ pins: { localhost: [genuine.fingerprint, backup.fingerprint], '127.0.0.1': [impostor.fingerprint, backup.fingerprint] } })
    expect(await get(server.url)).toBe(200)
    server.swapCertificate(impostor, { keepTicketKeys: true })
    expect(await get(`https://127.0.0.1:${server.port}`)).toBe(200)
    expect(server.resumed).toBe(0)
    expect(reports.map(({ leaf }) => leaf?.fingerprint)).toEqual([genuine.fingerprint, impostor.fingerprint])
  })

  test('nothing is resumed once the policy, the leaf or an issuer has expired', async () => {
    const shortLeaf = root.issue({ notAfter: new Date(Date.now() + 2 * hour) })
    const shortIssuer = root.issueAuthority({ notAfter: new Date(Date.now() + 2 * hour) })
    const underShort = shortIssuer.issue({ notAfter: new Date(Date.now() + 24 * hour) })
    const cases: Array<[TestServerOptions['certificate'], NonNullable<PinningOptions['pins']>[string], string | number]> = [
      [genuine, { certificates: [genuine.fingerprint, backup.fingerprint], expires: new Date(Date.now() + 2 * hour) }, 'ERR_PIN_EXPIRED'],
      // OpenSSL has a clock of its own, which does not know that these have expired: what counts is that it is asked again.
      [shortLeaf, { certificates: [shortLeaf.fingerprint, backup.fingerprint] }, 200],
      [underShort, { pins: [root.pin, backup.pin] }, 'ERR_PIN_CHAIN_UNVERIFIED']
    ]
    for (const [certificate, policy, outcome] of cases) {
      const server = await start({ ...version, certificate })
      let ahead = 0
      const set = new PolicySet({ pins: { localhost: policy } }, 1)
      const agent = new PinningAgent({ policies: () => set, reporter: new Reporter({}), tls: { ca }, agent: { keepAlive: false }, now: () => Date.now() + ahead })
      expect((await times(3, () => send(agent, server.port))).map(({ status, resumed }) => [status, resumed])).toEqual([[200, false], [200, true], [200, true]])
      const bytes = server.decryptedBytes
      ahead = 3 * hour
      const later = await send(agent, server.port)
      expect(later.code ?? later.status).toBe(outcome)
      expect(server.resumed).toBe(2)
      if (outcome !== 200) expect(server.decryptedBytes).toBe(bytes)
      agent.destroy()
    }
  })

  test('sessions are kept for so many hosts as maxCachedSessions says, and none when it is 0', async () => {
    const server = await start(version)
    for (const [maxCachedSessions, resumed] of [[0, 0], [1, 2]] as const) {
      const agent = createPinningAgent({ pins: { localhost: [genuine.fingerprint, backup.fingerprint], '127.0.0.1': [genuine.fingerprint, backup.fingerprint] }, tls: { ca }, agent: { keepAlive: false, maxCachedSessions } })
      const before = server.resumed
      await times(3, () => send(agent, server.port))
      // The one host's session drives out the other's.
      await send(agent, server.port, { host: '127.0.0.1' })
      await send(agent, server.port)
      expect(server.resumed - before).toBe(resumed)
    }
  })

  test('a connection that ends with an error takes its session with it, as on a plain agent', async () => {
    const server = await start({ ...version, handler: (request, response) => { request.url === '/reset' ? (request.socket as unknown as { _parent?: { resetAndDestroy(): void } })._parent?.resetAndDestroy() ?? request.socket.destroy() : response.end('ok') } })
    const agents = [createPinningAgent({ pins: { localhost: [genuine.fingerprint, backup.fingerprint] }, tls: { ca }, agent: { keepAlive: false } }), new https.Agent({ ca })]
    const seen: unknown[] = []
    for (const agent of agents) {
      const before = server.resumed
      await times(3, () => send(agent, server.port))
      await send(agent, server.port, { path: '/reset' })
      await send(agent, server.port)
      await send(agent, server.port)
      seen.push(server.resumed - before)
    }
    expect(seen[0]).toBe(seen[1])
  })

  test('destroy() forgets the sessions', async () => {
    const server = await start(version)
    const agent = createPinningAgent({ pins: { localhost: [genuine.fingerprint, backup.fingerprint] }, tls: { ca }, agent: { keepAlive: false } })
    await times(2, () => send(agent, server.port))
    agent.destroy()
    expect((await send(agent, server.port)).resumed).toBe(false)
    expect((await send(agent, server.port)).resumed).toBe(true)
  })

  test('a request queued before an update takes no session into the new policy that OpenSSL alone would have to judge', async () => {
    let release: () => void = () => undefined
    const server = await start({
      ...version,
      handler: (request, response) => {
        if (request.url === '/hold') release = () => { response.end('ok') }
        else response.end('ok')
      }
    })
    const { pinning } = pinned({ agent: { keepAlive: false, maxSockets: 1 } })
    expect((await send(pinning.agent, server.port, close)).status).toBe(200)
    const held = send(pinning.agent, server.port, { ...close, path: '/hold' })
    await until(() => server.requests.length === 2)
    const queued = [1, 2].map(() => send(pinning.agent, server.port, { ...close, path: '/queued' }))
    // Trusted by the agent, and not the CA of this peer.
    pinning.update({ localhost: { authorities: [otherRoot.pem] } })
    release()
    expect((await held).status).toBe(200)
    expect((await Promise.all(queued)).map(({ code }) => code)).toEqual(['ERR_PIN_MISMATCH', 'ERR_PIN_MISMATCH'])
    expect(server.requests.map(({ url }) => url)).not.toContain('/queued')
  })

  test('a session made while the pins were changed is judged again', async () => {
    const server = await start(version)
    const { pinning, get } = pinned()
    expect(await get(server.url)).toBe(200)
    // The ClientHello with the session in it is under way when the pins change.
    const request = send(pinning.agent, server.port, close)
    pinning.update({ localhost: [backup.fingerprint, impostor.fingerprint] })
    expect(await request).toMatchObject({ code: 'ERR_PIN_MISMATCH' })
    expect(server.requests).toHaveLength(1)
  })
})

test('a renegotiation, which could change the peer after its verdict, is refused', async () => {
  const only = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const
  const server = tls.createServer({ cert: genuine.pem, key: genuine.keyPem, ...only })
  const renegotiated: string[] = []
  let octets = ''
  server.on('secureConnection', (socket: TLSSocket) => {
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => {
      octets += String(chunk)
      // Now the server presents another certificate.
      socket.renegotiate({ rejectUnauthorized: false, requestCert: false }, (error) => renegotiated.push(error ? (error as Error & { code?: string }).code ?? error.message : 'done'))
      setTimeout(() => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'), 50)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => new Promise((resolve) => server.close(resolve)))
  const { port } = server.address() as { port: number }

  const outcomes: Record<string, unknown> = {}
  for (const [kind, agent] of [
    ['plain', new https.Agent({ ca: root.pem })],
    ['pinned', createPinningAgent({ pins: { localhost: [genuine.fingerprint, backup.fingerprint] }, tls: { ca } })]
  ] as const) {
    renegotiated.length = 0
    await send(agent, port, close)
    await wait(10)
    outcomes[kind] = renegotiated[0]
    agent.destroy()
  }
  expect(outcomes['plain']).toBe('done')
  expect(outcomes['pinned']).not.toBe('done')
  expect(octets.match(/GET/g)).toHaveLength(2)
})

test('a session that cannot be resumed is followed by a full handshake with a full verification', async () => {
  const server = await start({ minVersion: 'TLSv1.3' })
  const { get, reports } = pinned()
  expect(await get(server.url)).toBe(200)
  server.server.setTicketKeys(randomBytes(48))
  expect(await times(2, () => get(server.url))).toEqual([200, 200])
  expect(reports.map(({ resumed }) => resumed)).toEqual([false, false, true])
  expect(createHash('sha256').update(genuine.der).digest('hex').toUpperCase()).toBe(reports[1]?.leaf?.fingerprint.replaceAll(':', ''))
  expect(constants.SSL_OP_NO_RENEGOTIATION).toBeGreaterThan(0)
})

describe('a session without the certificate in it', () => {
  /** As Node's own agent gets one, and what a plain connection that resumes it says. */
  async function sessionOf(server: TestServer): Promise<{ session: Buffer, resume: (session: Buffer) => Promise<{ reused: boolean, authorized: boolean, certificate: object }> }> {
    const to = { port: server.port, host: '127.0.0.1', servername: 'localhost', ca, rejectUnauthorized: false }
    const get = (socket: TLSSocket): Promise<void> => new Promise((resolve, reject) => {
      socket.on('error', reject).once('data', () => resolve()).write('GET / HTTP/1.1\r\nhost: localhost\r\n\r\n')
    })
    const socket = tls.connect(to)
    const sessions: Buffer[] = []
    socket.on('session', (session: Buffer) => sessions.push(session))
    await get(socket)
    socket.destroy()
    return {
      session: sessions.at(-1) as Buffer,
      resume: async (session) => {
        const again = tls.connect({ ...to, session })
        await get(again)
        const seen = { reused: again.isSessionReused(), authorized: again.authorized, certificate: again.getPeerCertificate() }
        again.destroy()
        return seen
      }
    }
  }

  test('is smaller by the certificate, resumes, and shows what Node shows of any resumed session', async () => {
    const { session, resume } = await sessionOf(await start({ minVersion: 'TLSv1.3' }))
    const without = withoutCertificate(session)
    const der = new X509Certificate(genuine.pem).raw
    expect(session.includes(der)).toBe(true)
    expect(without.includes(der)).toBe(false)
    expect(session.length - without.length).toBeGreaterThanOrEqual(der.length)
    expect(await resume(without)).toEqual(await resume(session))
    expect(await resume(without)).toEqual({ reused: true, authorized: true, certificate: {} })
    expect(withoutCertificate(without)).toBe(without)
  })

  test('is not made of one of TLS 1.2, where Node demands the certificate', async () => {
    const { session } = await sessionOf(await start({ maxVersion: 'TLSv1.2' }))
    expect(withoutCertificate(session)).toBe(session)
  })

  test('is not made of what is not understood, whatever it is', async () => {
    const { session } = await sessionOf(await start({ minVersion: 'TLSv1.3' }))
    const der = session.indexOf(Buffer.of(0x30, 0x82))
    const changed = (at: number, byte: number): Buffer => {
      const copy = Buffer.from(session)
      copy[at] = byte
      return copy
    }
    // The tag, the length, the format and the version of TLS.
    for (const other of [changed(der, 0x31), changed(der + 3, 0), changed(der + 6, 2), changed(der + 10, 5), session.subarray(0, -1), Buffer.concat([session, Buffer.of(0)]), Buffer.alloc(0), randomBytes(900)]) {
      expect(withoutCertificate(other)).toBe(other)
    }
  })

  test('is what a connection offers, but not where Node had not accepted the chain', async () => {
    const spy = jest.spyOn(tls.TLSSocket.prototype as unknown as { setSession(session: Buffer): void }, 'setSession')
    try {
      const trusted = await start({ minVersion: 'TLSv1.3' })
      const alone = await start({ minVersion: 'TLSv1.3', certificate: backup })
      const { get, reports } = pinned({ pins: { [`localhost:${trusted.port}`]: [genuine.fingerprint, backup.fingerprint], [`localhost:${alone.port}`]: { certificates: [genuine.fingerprint, backup.fingerprint], trust: 'pin-only' } } })
      for (const server of [trusted, trusted, alone, alone]) expect(await get(server.url)).toBe(200)
      expect(reports.map(({ resumed }) => resumed)).toEqual([false, true, false, true])
      expect(spy.mock.calls.map(([session]) => [genuine, backup].map(({ pem }) => session.includes(new X509Certificate(pem).raw)))).toEqual([[false, false], [false, true]])
    } finally {
      spy.mockRestore()
    }
  })
})
