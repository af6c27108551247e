import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { Reporter } from '../../lib/report/reporter.js'
import { readLogger } from '../../lib/report/logger.js'
import { PinReport } from '../../lib/report/report.js'
import type { Verdict } from '../../lib/report/report.js'
import { BypassError, PinMismatchError } from '../../lib/errors.js'
import type { Policy } from '../../lib/policy/policy.js'
import { PolicySet } from '../../lib/policy/policy-set.js'
import { TrustAnchors } from '../../lib/verify/anchors.js'
import { PeerRecord } from '../../lib/verify/records.js'
import { verifyPeer } from '../../lib/verify/verify.js'
import { createPinning } from '../../lib/index.js'
import { send } from '../support/clients.js'
import { createAuthority } from '../support/pki.js'
import { startServer } from '../support/servers.js'

const root = createAuthority({ name: 'Root' })
const leaf = root.issue({ name: 'api.test' })
const policies = new PolicySet({ pins: { 'api.test': [leaf.pin, root.pin] } }, 7)

function refused(): Verdict {
  const error = new PinMismatchError('No pin matched.', { host: 'api.test', port: 443, policy: 'api.test', served: [], verified: [], knownPins: [leaf.pin] })
  return { host: 'api.test', port: 443, policies, policy: policies.find('api.test', 443), peer: undefined, error, record: new PeerRecord(leaf.x509, new TrustAnchors(root.pem, false)), leaf: leaf.x509, tlsVersion: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384', resumed: false, durationMs: 3, time: new Date(0) }
}

function accepted(): Verdict {
  const record = new PeerRecord(leaf.x509, new TrustAnchors(root.pem, false))
  const peer = verifyPeer({ host: 'api.test', port: 443, serverName: 'localhost', policies, policy: policies.find('api.test', 443), record, leaf: leaf.x509, untrusted: undefined, anchors: record.anchors, restricted: false }, Date.now())
  return { ...refused(), peer, error: undefined }
}

const tick = (): Promise<void> => new Promise((resolve) => process.nextTick(resolve))

test('a refusal is counted, logged at warn with both sides of the comparison, and told to onBadCertificate only', async () => {
  const logged: unknown[][] = []
  const told: string[] = []
  const reporter = new Reporter({
    logger: { warn: (...args) => void logged.push(['warn', ...args]), debug: (...args) => void logged.push(['debug', ...args]) },
    onBadCertificate: (report) => void told.push(`bad ${report.host}`),
    onValidCertificate: (report) => void told.push(`valid ${report.host}`)
  })
  reporter.connection(refused())
  await tick()
  expect(told).toEqual(['bad api.test'])
  expect(logged).toEqual([['warn', expect.objectContaining({ code: 'ERR_PIN_MISMATCH', decision: 'refused', result: 'mismatch', policyRevision: 7, fingerprint: leaf.fingerprint, pin: leaf.pin, knownPins: [leaf.pin, root.pin] }), 'connection refused']])
  expect(reporter.counters).toEqual({ accepted: 0, tolerated: 0, refused: 1, resumed: 0, blocked: 0 })
})

test('nothing is built when nobody listens', () => {
  const verdict = refused()
  const reporter = new Reporter({})
  const looked = jest.spyOn(policies, 'modeOf')
  reporter.connection(verdict)
  expect(looked).not.toHaveBeenCalled()
  looked.mockRestore()
})

test.each(['warn', 'debug', 'isLevelEnabled'])('a logger whose %s throws becomes a process warning, and the callbacks are called all the same', async (method) => {
  const spy = jest.spyOn(process, 'emitWarning').mockImplementation()
  const told: string[] = []
  const logger = { warn: () => undefined, debug: () => undefined, isLevelEnabled: () => true, [method]: () => { throw new Error('disk full') } }
  const reporter = new Reporter({ logger, onBadCertificate: () => void told.push('bad'), onValidCertificate: () => void told.push('valid') })
  reporter.connection(refused())
  reporter.connection(accepted())
  await tick()
  const warnings = spy.mock.calls.map(([text]) => String(text))
  spy.mockRestore()
  expect(warnings).toEqual([expect.stringContaining('disk full')])
  expect(told).toEqual(['bad', 'valid'])
})

test('a report speaks to people and to machines', () => {
  const report = new PinReport(refused())
  expect(String(report)).toBe(`Refused api.test:443: ${report.error?.message} [TLSv1.3, policy api.test]`)
  expect(JSON.parse(JSON.stringify(report))).toMatchObject({ host: 'api.test', decision: 'refused', result: 'mismatch', leaf: { subject: 'CN=api.test', issuer: 'CN=Root', pin: leaf.pin, fingerprint: leaf.fingerprint }, served: [{ pin: leaf.pin }], chain: [], knownPins: [leaf.pin, root.pin] })
})

test('console.log shows what is asked for only when it is looked at, in bounds', () => {
  const report = new PinReport(refused(), () => ({ verdict: 'unknown', confidence: 'low', evidence: ['seen'], advice: 'wait' }))
  const text = inspect(report)
  for (const shown of ['PinReport {', "host: 'api.test'", "subject: 'CN=api.test'", leaf.pin, root.pin, 'served: [', 'chain: []', 'knownPins: [', "verdict: 'unknown'"]) expect(text).toContain(shown)
  expect(inspect({ a: { b: { report } } })).toContain('[PinReport]')
  const pins = new Map(Array.from({ length: 5_000 }, (_, at) => [`sha256/${at}`, 1]))
  const many = new PinReport({ ...refused(), policy: { ...refused().policy, pins } as unknown as Policy })
  expect(inspect(many, { maxArrayLength: null }).length).toBeLessThan(5_000)
  expect(inspect(many)).toContain('… and 4990 more')
  expect(Object.keys(report)).not.toContain('leaf')
})

test('logger: true writes pino lines, in order, also those from before pino was loaded', () => {
  const script = `
    const { readLogger } = require(${JSON.stringify(join(__dirname, '../../dist/modules/cjs/report/logger.js'))})
    const logger = readLogger(true)
    logger.warn({ host: 'api.test' }, 'early')
    setTimeout(() => { logger.debug({}, 'not at this level'); logger.warn({}, String(logger.isLevelEnabled('debug'))) }, 300)`
  const lines = execFileSync(process.execPath, ['-e', script], { encoding: 'utf8', timeout: 20_000 }).trim().split('\n').map((line) => JSON.parse(line) as object)
  expect(lines).toMatchObject([{ level: 40, name: 'axios-ssl-pinning', component: 'axios-ssl-pinning', host: 'api.test', msg: 'early' }, { level: 40, component: 'axios-ssl-pinning', msg: 'false' }])
  expect(lines).toHaveLength(2)
})

test.each([[1], ['pino'], [null], [{}], [{ warn: 1, debug: 2 }]])('%p is no logger', (value) => {
  expect(() => readLogger(value)).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID', option: 'logger' }))
})

test.each(['onValidCertificate', 'onBadCertificate'])('%s must be a function', (name) => {
  expect(() => new Reporter({ [name]: 'x' })).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID', option: name }))
})

test('what a certificate is called neither moves the cursor nor turns the text nor begins a line', async () => {
  const name = 'x\n2026 INFO all is well\u001b[2J\u009b31m\u202eabc\u2028y\u0007'
  const authority = createAuthority({ name: `CA ${name}` })
  const server = await startServer({ certificate: authority.issue({ name }) })
  const texts: string[] = []
  const warn = (details: object, message: string): void => void texts.push(...JSON.stringify(details).split('\\n'), message)
  const pinning = createPinning({ pins: { localhost: [leaf.pin, root.pin], '127.0.0.1': [leaf.pin, root.pin] }, tls: { ca: authority.pem }, logger: { warn, debug: warn }, onBadCertificate: (report) => void texts.push(...String(report).split('\n'), JSON.stringify(report)), onThreat: (threat) => void texts.push(...String(threat).split('\n')) })
  for (const host of ['localhost', 'localhost', 'localhost', '127.0.0.1', '127.0.0.1']) texts.push(...((await send(pinning.agent, server.port, { host })).message ?? '').split('\n'))
  await Promise.all([pinning.close(), server.close()])
  expect(texts.some((text) => text.includes('\\u{9b}31m\\u{202e}abc\\u{2028}y'))).toBe(true)
  expect(texts.filter((text) => /[\p{C}\p{Zl}\p{Zp}]|^2026/u.test(text))).toEqual([])
})

test('the message of a blocked request stays its own, however often it is told of', () => {
  const reporter = new Reporter({})
  const error = new BypassError('proxy', 'a reason')
  const { message } = error
  for (let i = 0; i < 30; i++) reporter.blocked('api.test', 443, error)
  expect(error.message).toBe(message)
})
