import axios from 'axios'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { createPinning } from '../../lib/index.js'
import type { Pinning, PinningOptions } from '../../lib/index.js'
import { PinningCore } from '../../lib/pinning.js'
import { PolicySet } from '../../lib/policy/policy-set.js'
import { Threat } from '../../lib/report/threat.js'
import { send, until, wait } from '../support/clients.js'
import type { Outcome } from '../support/clients.js'
import { HeldSource, createSigner, pinSet, sign } from '../support/pin-sets.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startServer } from '../support/servers.js'
import type { TestServer } from '../support/servers.js'

const root = createAuthority({ name: 'Genuine Root' })
const interceptor = createAuthority({ name: 'mitmproxy' })
const genuine = root.issue()
const backup = createSelfSigned()
const pins = { localhost: [genuine.fingerprint, backup.fingerprint], '127.0.0.1': [genuine.fingerprint, backup.fingerprint] }

const closing: Array<() => unknown> = []
beforeEach(() => void jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined))
afterEach(async () => {
  for (const each of closing.splice(0).reverse()) await each()
})

async function start(certificate = genuine): Promise<TestServer> {
  const server = await startServer({ certificate })
  closing.push(() => server.close())
  return server
}

function pinningFor(options: Partial<PinningOptions> = {}): { pinning: Pinning, threats: Threat[] } {
  const threats: Threat[] = []
  const pinning = createPinning({ pins, tls: { ca: [root.pem, interceptor.pem] }, onThreat: (threat) => void threats.push(threat), ...options })
  closing.push(() => pinning.close())
  return { pinning, threats }
}

const fresh = { headers: { connection: 'close' } }
const brief = ({ status, code }: Outcome) => status ?? code

/** Accepted connections first, so that the host has a history; then an interceptor, until it is noticed. */
async function attack(pinning: Pinning, server: TestServer, noticed: () => boolean): Promise<void> {
  for (let i = 0; i < 12; i++) expect(brief(await send(pinning.agent, server.port, fresh))).toBe(200)
  server.swapCertificate(interceptor.issue())
  for (let i = 0; i < 20 && !noticed(); i++) expect(brief(await send(pinning.agent, server.port, fresh))).toBe('ERR_PIN_MISMATCH')
  await until(noticed, 'the attack is noticed')
}

test('an interceptor is told by name, with its evidence, to the callback, the status, the log and the channel', async () => {
  const server = await start()
  const heard: unknown[] = []
  const listener = (message: unknown): void => void heard.push(message)
  subscribe('axios-ssl-pinning:threat', listener)
  closing.push(() => unsubscribe('axios-ssl-pinning:threat', listener))
  const lines: Array<[object, string]> = []
  const log = (...line: [object, string]): void => void lines.push(line)
  const { pinning, threats } = pinningFor({ logger: { error: log, warn: log, info: log, debug: () => undefined } as never })
  await attack(pinning, server, () => threats.length > 0)
  expect(threats).toHaveLength(1)
  expect(threats[0]).toMatchObject({ kind: 'attack', severity: 'critical', hosts: [`localhost:${server.port}`] })
  expect(threats[0]?.evidence.map(({ fact }) => fact)).toEqual(expect.arrayContaining(['the issuer bears the name of a product that intercepts', 'the issuer is one that the host has never used before']))
  expect(threats[0]?.wrongIf.length).toBeGreaterThan(0)
  expect(pinning.status()).toMatchObject({ threats: [{ kind: 'attack' }], lockdowns: [] })
  expect(JSON.parse(JSON.stringify(pinning.status())).threats[0]).toMatchObject({ kind: 'attack', evidence: expect.any(Array) })
  expect(heard).toEqual([threats[0]])
  expect(lines.filter(([, message]) => message === 'threat: attack')).toHaveLength(1)
  // Told, and nothing else: without a threatResponse the genuine host is accepted again.
  server.swapCertificate(genuine)
  expect(brief(await send(pinning.agent, server.port))).toBe(200)
})

test('a lockdown refuses the host whoever answers, on kept-alive connections and through an update too, and ends', async () => {
  const server = await start()
  const other = await start()
  const { pinning, threats } = pinningFor({ threatResponse: { lockdownMs: 1_500 } })
  const api = axios.create({ baseURL: server.url, proxy: false })
  pinning.attach(api)
  expect((await api.get('/')).status).toBe(200)
  await attack(pinning, server, () => threats.length > 0)
  server.swapCertificate(genuine)
  const bytes = server.decryptedBytes
  expect(brief(await send(pinning.agent, server.port))).toBe('ERR_PIN_LOCKDOWN')
  await expect(api.post('/', 'a secret')).rejects.toMatchObject({ code: 'ERR_PIN_LOCKDOWN', cause: { host: 'localhost', until: expect.any(Date) } })
  pinning.update(pins)
  expect(brief(await send(pinning.agent, server.port))).toBe('ERR_PIN_LOCKDOWN')
  expect(server.decryptedBytes).toBe(bytes)
  expect(pinning.status().lockdowns).toEqual([{ host: 'localhost', until: expect.stringMatching(/Z$/) }])
  // Another host is another matter.
  expect(brief(await send(pinning.agent, other.port, { host: '127.0.0.1' }))).toBe(200)
  await wait(1_600)
  expect(brief(await send(pinning.agent, server.port))).toBe(200)
  expect(pinning.status().lockdowns).toEqual([])
})

test('a lockdown of a host holds in the verdict too, and is none where pins are not enforced', async () => {
  const lockdowns = new Map([['localhost', { until: 2_000, reason: 'it looked like an attack' }]])
  const enforced = new PolicySet({ pins }, 1).under({ lockdowns }, 2)
  expect(enforced.findRefusal('LOCALHOST.', 443, 1_999)).toMatchObject({ code: 'ERR_PIN_LOCKDOWN', host: 'LOCALHOST.', until: new Date(2_000) })
  expect(enforced.findRefusal('localhost', 443, 2_000)).toBeUndefined()
  expect(enforced.findRefusal('127.0.0.1', 443, 0)).toBeUndefined()
  for (const mode of ['report-only', 'off'] as const) expect(enforced.under({ mode }, 3).findRefusal('localhost', 443, 0)).toBeUndefined()
  const server = await start()
  const { pinning, threats } = pinningFor({ mode: 'report-only', threatResponse: { lockdownMs: 60_000 } })
  for (let i = 0; i < 12; i++) await send(pinning.agent, server.port, fresh)
  server.swapCertificate(interceptor.issue())
  for (let i = 0; i < 20 && threats.length === 0; i++) expect(brief(await send(pinning.agent, server.port, fresh))).toBe(200)
  expect(threats[0]?.kind).toBe('attack')
  expect(brief(await send(pinning.agent, server.port))).toBe(200)
})

test('connections of the host are kept short, and only of severities that call for it', async () => {
  const server = await start()
  const { pinning, threats } = pinningFor({ threatResponse: { maxConnectionAgeMs: 200 } })
  await attack(pinning, server, () => threats.length > 0)
  server.swapCertificate(genuine)
  expect(await send(pinning.agent, server.port)).toMatchObject({ status: 200, resumed: false })
  await wait(300)
  expect(await send(pinning.agent, server.port)).toMatchObject({ status: 200, reused: false, resumed: false })

  const rotated = await start()
  const patient = pinningFor({ threatResponse: { lockdownMs: 60_000, severity: 'warning' } })
  for (let i = 0; i < 12; i++) await send(patient.pinning.agent, rotated.port, fresh)
  rotated.swapCertificate(root.issue())
  for (let i = 0; i < 20 && patient.threats.length === 0; i++) await send(patient.pinning.agent, rotated.port, fresh)
  expect(patient.threats[0]).toMatchObject({ kind: 'rotation', severity: 'info' })
  expect(patient.pinning.status().lockdowns).toEqual([])
})

test('refreshPolicy asks the source of the pins for new ones, once for an episode however many threats there are', async () => {
  const server = await start()
  const signer = createSigner()
  const text = await sign(pinSet({ version: 1, pins: { localhost: [genuine.pin, backup.pin] } }), signer)
  const source = new HeldSource(() => text)
  const { pinning, threats } = pinningFor({ threatResponse: { refreshPolicy: true }, updates: { source, trustedKeys: [signer.publicKey], audience: 'test', staleRetryMs: Infinity } })
  await until(() => pinning.status().updates?.version === 1, 'the first set is in force')
  const before = source.requests.length
  await attack(pinning, server, () => threats.length > 0)
  await until(() => source.requests.length === before + 1, 'new pins are asked for')
  server.swapCertificate(genuine)
  for (let i = 0; i < 80; i++) await send(pinning.agent, server.port, fresh)
  server.swapCertificate(interceptor.issue())
  for (let i = 0; i < 20 && threats.length < 2; i++) await send(pinning.agent, server.port, fresh)
  expect(threats).toHaveLength(2)
  expect(source.requests).toHaveLength(before + 1)
})

test('threatMonitor: false looks at nothing', async () => {
  const server = await start(interceptor.issue())
  const { pinning, threats } = pinningFor({ threatMonitor: false })
  for (let i = 0; i < 12; i++) await send(pinning.agent, server.port, fresh)
  expect([threats, pinning.status().threats]).toEqual([[], []])
})

test('options that nobody would read without the monitor are an error, and so is a wrong one', () => {
  expect(() => pinningFor({ threatMonitor: false, threatResponse: { lockdownMs: 1_000 } })).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID', option: 'threatResponse' }))
  expect(() => pinningFor({ threatMonitor: false, onThreat: 5 as never })).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID', option: 'onThreat' }))
})

test('a lockdown of a year, the longest there is, has an end that can be told', async () => {
  const core = new PinningCore({ pins, threatResponse: { lockdownMs: 366 * 24 * 3_600_000 } })
  closing.push(() => core.close())
  core.reporter.events.emit('threat', new Threat(new Date(), 'attack', ['localhost:443'], 5, [], []))
  expect(core.status().lockdowns).toEqual([{ host: 'localhost', until: expect.stringMatching(/^\d{4}-/) }])
  expect(await send(core.agent, 443)).toMatchObject({ code: 'ERR_PIN_LOCKDOWN' })
})

test('hosts whose connections are kept short are forgotten, those under threat longest ago first', () => {
  const core = new PinningCore({ pins: { '**.example.com': pins.localhost }, threatResponse: { maxConnectionAgeMs: 1_000 } })
  closing.push(() => core.close())
  const sets = jest.spyOn(Map.prototype, 'delete')
  for (let i = 0; i < 1_010; i++) core.reporter.events.emit('threat', new Threat(new Date(), 'attack', [`h${i}.example.com:443`], 5, [], []))
  const forgotten = sets.mock.calls.map(([key]) => String(key)).filter((key) => /^h\d\.example\.com$/.test(key))
  sets.mockRestore()
  expect(new Set(forgotten).size).toBe(10)
})

test.each<[string, unknown, string]>([
  ['threatMonitor', 'yes', 'threatMonitor'], ['onThreat', 'x', 'onThreat'],
  ['threatResponse', { lockdown: 1 }, 'threatResponse.lockdown'], ['threatResponse', { lockdownMs: 0 }, 'threatResponse.lockdownMs'],
  ['threatResponse', { severity: 'info' }, 'threatResponse.severity'], ['threatResponse', { refreshPolicy: 1 }, 'threatResponse.refreshPolicy'], ['threatResponse', { maxConnectionAgeMs: -1 }, 'threatResponse.maxConnectionAgeMs'],
  ['threatResponse', { lockdownMs: Number.MAX_SAFE_INTEGER }, 'threatResponse.lockdownMs'], ['threatResponse', { refreshPolicy: true }, 'threatResponse.refreshPolicy']
])('%s: %p is an error', (option, value, named) => {
  expect(() => pinningFor({ [option]: value })).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID', option: named }))
})
