import axios from 'axios'
import crypto from 'node:crypto'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import http from 'node:http'
import https from 'node:https'
import * as inspector from 'node:inspector'
import tls from 'node:tls'
import { createPinning, findPinningError } from '../../lib/index.js'
import type { IntegrityError, Pinning, PinningOptions } from '../../lib/index.js'
import { Integrity } from '../../lib/integrity/integrity.js'
import { findSwitches, packageOf } from '../../lib/integrity/switches.js'
import { send, wait } from '../support/clients.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startPlainServer, startServer } from '../support/servers.js'
import type { TestServer } from '../support/servers.js'

const root = createAuthority({ name: 'Integrity Root' })
const genuine = root.issue()
const pins = { localhost: [genuine.fingerprint, createSelfSigned().fingerprint] }

const closing: Array<() => unknown> = []
afterEach(async () => {
  for (const each of closing.splice(0).reverse()) await each()
})

async function start(): Promise<TestServer> {
  const server = await startServer({ certificate: genuine })
  closing.push(() => server.close())
  return server
}

function pinningFor(options: Partial<PinningOptions> = {}): Pinning {
  const pinning = createPinning({ pins, tls: { ca: root.pem }, ...options })
  closing.push(() => pinning.close())
  return pinning
}

/** Until it is undone, at the latest by the end of the test. */
function replace(holder: object, key: string, value: PropertyDescriptor): () => void {
  const own = Object.getOwnPropertyDescriptor(holder, key) as PropertyDescriptor
  Object.defineProperty(holder, key, { ...own, ...value })
  const undo = (): unknown => Object.defineProperty(holder, key, own)
  closing.push(undo)
  return undo
}

function openInspector(): void {
  inspector.open(0, '127.0.0.1')
  closing.push(() => inspector.close())
}

/** Longer than the time between two looks. */
const nextLook = (): Promise<void> => wait(1_100)

beforeEach(() => {
  jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
})

test('nothing is found under jest', () => {
  expect(pinningFor().status().integrity).toEqual({ mode: 'report', findings: [], allowed: [] })
})

describe('a function that is replaced while the program runs', () => {
  const { get } = Object.getOwnPropertyDescriptor(crypto.X509Certificate.prototype, 'raw') as { get: (this: unknown) => unknown }
  const cases: Array<[string, object, string, PropertyDescriptor]> = [
    ['tls.connect', tls, 'connect', { value: (...args: unknown[]) => Reflect.apply(tls.connect, tls, args) as unknown }],
    ['http.Agent.prototype.addRequest', http.Agent.prototype, 'addRequest', { value: new Proxy(Reflect.get(http.Agent.prototype, 'addRequest') as object, {}) }],
    ['crypto.createHash', crypto, 'createHash', { value: undefined }],
    ['crypto.Hash.prototype.digest', crypto.Hash.prototype, 'digest', { value: () => Buffer.alloc(32) }],
    ['https.Agent.prototype.createConnection', https.Agent.prototype, 'createConnection', { value: () => undefined }],
    ['tls.TLSSocket.prototype.getPeerCertificate', tls.TLSSocket.prototype, 'getPeerCertificate', { value: () => ({}) }],
    ['crypto.X509Certificate.prototype.raw', crypto.X509Certificate.prototype, 'raw', { get() { return get.call(this) } }],
    ['Set.prototype.has', Set.prototype, 'has', { value: function has(this: Set<unknown>, value: unknown) { return [...this].includes(value) || value === 'a pin' } }]
  ]
  test.each(cases)('%s', (name, holder, key, value) => {
    const { status } = pinningFor()
    const undo = replace(holder, key, value)
    const { findings } = status().integrity
    undo()
    expect(findings.map((each) => each.name)).toContain(name)
    expect(findings[0]?.detail).toMatch(/since this package was loaded/)
    expect(status().integrity.findings).toEqual([])
  })

  test('names the file it comes from where a package is listed, and that package covers it', () => {
    const wrapper = Function('original', 'return function connect(...args) { return original.apply(this, args) }\n//# sourceURL=/app/node_modules/@vendor/net/hook.js') as (original: unknown) => unknown
    const undo = replace(tls, 'connect', { value: wrapper(tls.connect) })
    const seen = [[], ['@vendor/net'], ['@vendor/agent'], ['@other/net'], ['tls.connect']].map((integrityAllow) => pinningFor({ integrityAllow }).status().integrity)
    undo()
    expect(seen[0]?.findings).toEqual([{ name: 'tls.connect', detail: 'it has been replaced since this package was loaded' }])
    expect(seen[3]?.findings).toEqual([{ name: 'tls.connect', detail: 'it has been replaced since this package was loaded, by /app/node_modules/@vendor/net/hook.js' }])
    expect(seen.map(({ findings }) => findings.length)).toEqual([1, 0, 0, 1, 0])
    expect(seen[1]?.allowed).toHaveLength(1)
  })
})

describe("integrity: 'refuse'", () => {
  test('refuses every request while something is found, on a kept-alive connection too, and lets them pass again after', async () => {
    const server = await start()
    const pinning = pinningFor({ integrity: 'refuse' })
    const api = axios.create({ baseURL: server.url, proxy: false })
    pinning.attach(api)
    expect((await api.get('/')).status).toBe(200)
    const bytes = server.decryptedBytes
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
    closing.push(() => delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'])
    await nextLook()
    const error = await api.post('/', 'a secret').then(() => undefined, (reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'ERR_PIN_INTEGRITY', isAxiosError: true })
    expect((findPinningError(error) as IntegrityError).findings).toEqual([{ name: 'NODE_TLS_REJECT_UNAUTHORIZED', detail: expect.stringContaining('it is 0') }])
    expect(await send(pinning.agent, server.port)).toMatchObject({ code: 'ERR_PIN_INTEGRITY' })
    expect(server.requests).toHaveLength(1)
    expect(server.decryptedBytes).toBe(bytes)
    expect(pinning.status().counters.blocked).toBe(2)
    delete process.env['NODE_TLS_REJECT_UNAUTHORIZED']
    await nextLook()
    expect((await api.get('/')).status).toBe(200)
  })

  test('also in report-only, also to an unpinned host over http:, and not in the mode off', async () => {
    const server = await start()
    const plain = await startPlainServer()
    closing.push(() => plain.close())
    openInspector()
    for (const [mode, answer] of [['report-only', 'ERR_PIN_INTEGRITY'], ['off', 200]] as const) {
      const { code, status } = await send(pinningFor({ integrity: 'refuse', mode }).agent, server.port)
      expect(code ?? status).toBe(answer)
    }
    const api = axios.create({ proxy: false })
    pinningFor({ integrity: 'refuse', pins: { 'a.test': pins.localhost }, unpinnedHosts: 'allow' }).attach(api)
    await expect(api.get(plain.url)).rejects.toMatchObject({ code: 'ERR_PIN_INTEGRITY' })
    expect([server.requests.length, plain.requests.length]).toEqual([1, 0])
  })

  test('an update does not lift it', async () => {
    const server = await start()
    openInspector()
    const pinning = pinningFor({ integrity: 'refuse' })
    pinning.update(pins)
    expect(await send(pinning.agent, server.port, { body: 'a secret' })).toMatchObject({ code: 'ERR_PIN_INTEGRITY' })
    expect(server.decryptedBytes).toBe(0)
  })
})

test("'report' changes no request, and tells the log and the channel once", async () => {
  const server = await start()
  const heard: unknown[] = []
  const listener = (message: unknown): void => void heard.push(message)
  subscribe('axios-ssl-pinning:integrity:found', listener)
  closing.push(() => unsubscribe('axios-ssl-pinning:integrity:found', listener))
  openInspector()
  const lines: Array<[object, string]> = []
  const pinning = pinningFor({ logger: { warn: (...line) => void lines.push(line), debug: () => undefined } })
  for (let i = 0; i < 2; i++) expect(await send(pinning.agent, server.port)).toMatchObject({ status: 200 })
  pinning.status()
  expect(heard).toEqual([{ time: expect.any(Date), name: 'inspector', detail: expect.any(String) }])
  expect(lines).toEqual([[expect.objectContaining({ finding: 'inspector', detail: expect.any(String) }), 'integrity: inspector found']])
})

test('a look that fails is a finding, and refuses where findings do', () => {
  const told: string[] = []
  const integrity = new Integrity({ integrity: 'refuse' }, ({ name }) => void told.push(name))
  closing.push(() => integrity.close())
  integrity.watch(() => { throw new Error('no answer') })
  expect(integrity.status.findings).toEqual([{ name: 'failure', detail: 'looking has failed, so what there is cannot be told: Error: no answer' }])
  expect(integrity.refusal).toMatchObject({ code: 'ERR_PIN_INTEGRITY' })
  expect(told).toEqual(['failure'])
})

describe('an axios instance that has lost its pinning', () => {
  type Manager = { forEach?: unknown }
  const ways: Array<[string, (api: { interceptors: any }) => void]> = [
    ['the guard deleted', ({ interceptors }) => { delete (interceptors.request as Manager).forEach }],
    ['the guard replaced', ({ interceptors }) => { Object.defineProperty(interceptors.request, 'forEach', { value: () => undefined }) }],
    ['its interceptors replaced', ({ interceptors }) => { Object.defineProperty(interceptors, 'request', { value: axios.create().interceptors.request }) }]
  ]
  test.each(ways)('is found: %s', (_, take) => {
    const pinning = pinningFor()
    const api = axios.create()
    pinning.attach(api)
    pinning.attach(axios.create())
    expect(pinning.status().integrity.findings).toEqual([])
    take(api)
    expect(pinning.status().integrity.findings).toEqual([{ name: 'interceptor', detail: 'pinning was taken off an axios instance by other means than its detach function' }])
  })

  test('is no alarm where it was detached, ejected or cleared, which pinning survives, or is gone', async () => {
    const server = await start()
    const pinning = pinningFor()
    const api = axios.create({ baseURL: server.url, proxy: false })
    const detach = pinning.attach(api)
    api.interceptors.request.eject(0)
    api.interceptors.request.clear()
    expect(pinning.status().integrity.findings).toEqual([])
    expect((await api.get('/')).status).toBe(200)
    detach()
    expect(pinning.status().integrity.findings).toEqual([])
    const integrity = new Integrity({}, () => undefined)
    closing.push(() => integrity.close())
    const states: Array<boolean | undefined> = [undefined, false]
    integrity.watch(() => states.shift())
    expect(integrity.status.findings).toEqual([])
    // It is not asked again.
    expect(integrity.status.findings).toEqual([])
    expect(states).toEqual([false])
  })

  test('is found without a request or a question', () => {
    jest.useFakeTimers({ doNotFake: ['performance'] })
    try {
      const told: string[] = []
      const integrity = new Integrity({}, ({ name }) => void told.push(name))
      integrity.watch(() => false)
      jest.advanceTimersByTime(6_000)
      integrity.close()
      expect(told).toEqual(['interceptor'])
    } finally {
      jest.useRealTimers()
    }
  })
})

test('a preload is allowed by the whole of what it was asked for by, not by its end', () => {
  const seen = (execArgv: string[]): unknown => {
    const { status } = new Integrity({ integrityAllow: ['dd-trace/init.js', './my init.js'] }, () => undefined, { env: {}, execArgv })
    return [status.findings.map(({ name }) => name), status.allowed.map(({ name }) => name)]
  }
  expect(seen(['--require', '/tmp/evil dd-trace/init.js'])).toEqual([['--require /tmp/evil dd-trace/init.js'], []])
  expect(seen(['--require', 'dd-trace/init.js', '--import', './my init.js'])).toEqual([[], ['--require dd-trace/init.js', '--import ./my init.js']])
})

describe('the options', () => {
  test.each<[string, unknown]>([['integrity', 'on'], ['integrity', true], ['integrityAllow', 'tsx'], ['integrityAllow', [1]], ['integrityAllow', ['']], ['integrityAllow', [' ']]])('%s: %p is an error', (option, value) => {
    expect(() => pinningFor({ [option]: value })).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID', option }))
  })
})

test.each<[string, string | undefined]>([
  ['dd-trace/init', 'dd-trace'], ['@scope/name/register.js', '@scope/name'], ['newrelic', 'newrelic'], ['./instrumentation.js', undefined], ['/app/x.js', undefined],
  ['file:///app/node_modules/tsx/dist/loader.mjs', 'tsx'], ['/app/node_modules/a/node_modules/@b/c/d.js', '@b/c'], ['C:\\app\\node_modules\\tsx\\x.cjs', 'tsx'], ['C:\\app\\x.cjs', undefined], ['', undefined]
])('the package of %j is %j', (specifier, name) => {
  expect(packageOf(specifier)).toBe(name)
})

test('NODE_OPTIONS is split as Node splits it', () => {
  const names = (text: string): string[] => findSwitches({ NODE_OPTIONS: text }, []).map(({ name }) => name)
  expect(names('  --require  "/a b/c.js"   -r x --import="y z" ')).toEqual(['--require /a b/c.js', '--require x', '--import y z'])
  expect(names('--require "a\\"b\\\\c"')).toEqual(['--require a"b\\c'])
  expect(names('--require')).toEqual(['--require '])
  expect(names('--title "--tls-min-v1.0 x"')).toEqual([])
  const started = performance.now()
  names(`"${'\\'.repeat(100_000)}`)
  names('" '.repeat(50_000))
  expect(performance.now() - started).toBeLessThan(5_000)
})
