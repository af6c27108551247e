import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import axios from 'axios'
import { createPinning, pinAxios } from '../../lib/index.js'
import type { ExpiryReport } from '../../lib/index.js'
import { PolicySet } from '../../lib/policy/policy-set.js'
import type { PolicyOptions } from '../../lib/policy/policy-set.js'
import { Reporter } from '../../lib/report/reporter.js'
import { PinningAgent } from '../../lib/transport/agent.js'
import { startHttpsServer } from '../../lib/testing/index.js'
import type { HttpsTestServer } from '../../lib/testing/index.js'
import { createAuthority } from '../support/pki.js'
import type { IssuedCertificate } from '../support/pki.js'

const day = 86_400_000
const inDays = (days: number): Date => new Date(Math.floor((Date.now() + days * day + day / 2) / 1_000) * 1_000)
const backup = createAuthority().pin
const root = createAuthority({ name: 'Root', notAfter: inDays(20) })
const issuing = root.issueAuthority({ name: 'Issuing', notAfter: inDays(12) })

const servers: HttpsTestServer[] = []
afterEach(async () => void (await Promise.all(servers.splice(0).map((server) => server.close()))))

async function serve(certificate: IssuedCertificate): Promise<HttpsTestServer> {
  const server = await startHttpsServer(certificate)
  servers.push(server)
  return server
}

/** Requests over new connections, at times of a clock of their own. */
async function connect(policy: PolicyOptions, server: HttpsTestServer, options: { expiryWarningDays?: number } = {}, ...times: number[]): Promise<{ told: ExpiryReport[]; reporter: Reporter; policies: PolicySet }> {
  const told: ExpiryReport[] = []
  const policies = new PolicySet(policy, 1)
  const reporter = new Reporter({ ...options, onExpiring: (report) => void told.push(report) })
  let now = Date.now()
  const agent = new PinningAgent({ policies: () => policies, reporter, tls: { ca: root.pem }, agent: { keepAlive: false }, now: () => now })
  for (const time of times.length > 0 ? times : [now]) {
    now = time
    await axios.get(server.url, { httpsAgent: agent, proxy: false }).catch(() => undefined)
  }
  agent.destroy()
  return { told, reporter, policies }
}

const items = (told: readonly ExpiryReport[]): unknown[] => told.map(({ item, daysLeft, subject, policy }) => [item, daysLeft, subject, policy])

test('tells of the matched leaf and the policy, with what it takes to act', async () => {
  const leaf = issuing.issue({ name: 'api', notAfter: inDays(9) })
  const server = await serve(leaf)
  const expires = inDays(5)
  const { told } = await connect({ pins: { localhost: { publicKeys: [leaf.pin, backup], expires } } }, server)
  expect(items(told)).toEqual([['policy', 5, undefined, 'localhost'], ['leaf', 9, 'CN=api', 'localhost']])
  expect(told[1]).toMatchObject({ host: 'localhost', port: server.port, expires: new Date(leaf.x509.validTo), fingerprint: leaf.fingerprint, pin: leaf.pin })
  expect(String(told[0])).toBe(`The policy expires in 5 days: ${expires.toISOString()} [policy localhost]`)
  expect(String(told[1])).toMatch(new RegExp(`^The certificate of localhost:${server.port} \\(CN=api\\) expires in 9 days: \\S+ \\[policy localhost\\]$`))
  expect(JSON.parse(JSON.stringify(told[0]))).toMatchObject({ item: 'policy', daysLeft: 5, expires: expires.toISOString() })
})

test('tells of every CA that a pin rests on, up to the pinned one, and of pinned ones above', async () => {
  const leaf = issuing.issue({ name: 'api' })
  const server = await serve(leaf)
  expect(items((await connect({ pins: { localhost: { authorities: [root.pin, backup] } } }, server)).told)).toEqual([['authority', 12, 'CN=Issuing', 'localhost'], ['authority', 20, 'CN=Root', 'localhost']])
  expect(items((await connect({ pins: { localhost: { authorities: [issuing.pin, backup] } } }, server)).told)).toEqual([['authority', 12, 'CN=Issuing', 'localhost']])
  expect(items((await connect({ pins: { localhost: { authorities: [issuing.pin, root.pin] } } }, server)).told)).toEqual([['authority', 12, 'CN=Issuing', 'localhost'], ['authority', 20, 'CN=Root', 'localhost']])
  // Where OpenSSL decides: the pinned CA itself.
  expect(items((await connect({ pins: { localhost: { authorities: [issuing.pem, backup] } } }, server)).told)).toContainEqual(['authority', 12, 'CN=Issuing', 'localhost'])
  // A leaf pin rests on no CA.
  expect((await connect({ pins: { localhost: [leaf.fingerprint, backup] } }, server)).told).toEqual([])
})

test('nothing is told of what ends later than the warning time, and of peers that no pin accepted', async () => {
  const leaf = issuing.issue({ notAfter: inDays(9) })
  const server = await serve(leaf)
  expect((await connect({ pins: { localhost: [leaf.pin, backup] } }, server, { expiryWarningDays: 9 })).told).toEqual([])
  expect((await connect({ pins: { localhost: [leaf.pin, backup] } }, server, { expiryWarningDays: 10 })).told).toHaveLength(1)
  expect((await connect({ pins: { localhost: [backup] } }, server)).told).toEqual([])
  expect((await connect({ pins: { localhost: [backup] }, mode: 'report-only' }, server)).told).toEqual([])
})

test('once a day for each item at most, whatever the number of connections', async () => {
  const leaf = issuing.issue({ notAfter: inDays(9) })
  const server = await serve(leaf)
  const now = Date.now()
  const { told } = await connect({ pins: { localhost: [leaf.pin, backup] } }, server, {}, now, now + 1, now + day / 2, now + day - 1, now + day, now + day + 1, now + 2 * day)
  expect(told.map(({ daysLeft }) => daysLeft)).toEqual([9, 8, 7])
})

test('an expired policy that lets pass, or refuses, is told of as well', async () => {
  const leaf = issuing.issue()
  const server = await serve(leaf)
  for (const onExpiry of ['allow', 'report-only', 'refuse'] as const) {
    const { told } = await connect({ pins: { localhost: { publicKeys: [leaf.pin, backup], expires: new Date(Date.now() - 3 * day - 1_000), onExpiry } } }, server)
    expect(items(told)).toEqual([['policy', -4, undefined, 'localhost']])
    expect(String(told[0])).toContain('The policy has expired: ')
  }
})

test('status() has the same, JSON-safe, policies without a connection included; a renewed leaf goes', async () => {
  const leaf = root.issue({ name: 'api', notAfter: inDays(9) })
  const server = createServer({ cert: leaf.chainPem, key: leaf.keyPem }, (_req, res) => res.end('ok'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const told: ExpiryReport[] = []
  const api = axios.create({ baseURL: `https://localhost:${port}`, proxy: false })
  const pinning = pinAxios(api, {
    pins: { localhost: { authorities: [root.pin, backup] }, 'other.test': { pins: [backup, root.pin], expires: inDays(3) }, 'later.test': { pins: [backup, root.pin], expires: inDays(300) } },
    tls: { ca: root.pem }, agent: { keepAlive: false, maxCachedSessions: 0 }, onExpiring: (report) => void told.push(report)
  })
  expect(pinning.status().expiring).toMatchObject([{ item: 'policy', policy: 'other.test', daysLeft: 3 }])
  await api.get('/')
  await api.get('/')
  expect(items(told)).toEqual([['leaf', 9, 'CN=api', 'localhost'], ['authority', 20, 'CN=Root', 'localhost']])
  expect(JSON.parse(JSON.stringify(pinning.status().expiring))).toMatchObject([{ item: 'policy', policy: 'other.test', daysLeft: 3 }, { item: 'leaf', host: 'localhost', port, daysLeft: 9, pin: leaf.pin, fingerprint: leaf.fingerprint }, { item: 'authority', subject: 'CN=Root', daysLeft: 20 }])
  const renewed = root.issue({ name: 'api' })
  server.setSecureContext({ cert: renewed.chainPem, key: renewed.keyPem })
  await api.get('/')
  expect(pinning.status().expiring.map(({ item }) => item)).toEqual(['policy', 'authority'])
  await pinning.close()
  server.close()
})

test('what the callback throws changes nothing; wrong options are refused', async () => {
  const leaf = issuing.issue({ notAfter: inDays(9) })
  const server = await serve(leaf)
  const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
  const api = axios.create({ proxy: false })
  const pinning = pinAxios(api, { pins: { localhost: [leaf.pin, backup] }, tls: { ca: root.pem }, onExpiring: () => { throw new Error('busy') } })
  expect((await api.get(server.url)).status).toBe(200)
  const warnings = warn.mock.calls.map(([text]) => String(text))
  warn.mockRestore()
  expect(warnings.join()).toMatch(/onExpiring failed, which changes nothing for the request: Error: busy/)
  await pinning.close()
  const pins = { localhost: [backup, leaf.pin] }
  for (const expiryWarningDays of [-1, NaN, 4_000, '30', null]) expect(() => createPinning({ pins, expiryWarningDays: expiryWarningDays as number })).toThrow(/^expiryWarningDays: must be a number of days from 0 to 3650/)
  expect(() => createPinning({ pins, onExpiring: 5 as never })).toThrow(/^onExpiring: must be a function/)
})

test('memory stays bounded, whatever ends soon', () => {
  const told: string[] = []
  const reporter = new Reporter({ onExpiring: ({ policy }) => void told.push(policy) })
  const events = jest.fn()
  reporter.events.on('expiring', events)
  const time = new Date()
  const expires = new Date(time.getTime() + day)
  for (let i = 0; i < 12_000; i++) {
    const policies = new PolicySet({ pins: { [`h${i}.test`]: { pins: [backup], expires } } }, 1)
    const policy = policies.find(`h${i}.test`, 443)
    reporter.connection({ host: `h${i}.test`, port: 443, policies, policy, peer: undefined, error: new Error('refused'), record: undefined, leaf: undefined, tlsVersion: undefined, cipher: undefined, resumed: false, durationMs: 1, time })
  }
  expect(events).toHaveBeenCalledTimes(10_000)
})
