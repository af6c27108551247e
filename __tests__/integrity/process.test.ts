import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runChild } from '../support/child.js'
import type { ChildOptions } from '../support/child.js'

// Each switch in a process of its own that was started with it.

let home: string
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'integrity-'))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(home, name, '..'), { recursive: true })
    writeFileSync(join(home, name), text)
  }
})
afterAll(() => rmSync(home, { recursive: true, force: true }))

const files: Record<string, string> = {
  'empty.pem': '',
  'nothing.cjs': '',
  'nothing.mjs': '',
  'with space/nothing.cjs': '',
  // As a mischievous or mistaken preload does it: the check would see what it should see.
  'patch.cjs': `
    const tls = require('node:tls'), http = require('node:http'), crypto = require('node:crypto')
    const wrap = (holder, name) => { const original = holder[name]; holder[name] = function connect(...args) { return original.apply(this, args) } }
    wrap(tls, 'connect')
    wrap(tls, 'createSecureContext')
    wrap(crypto, 'createHash')
    wrap(http.Agent.prototype, 'addRequest')
    const { get } = Object.getOwnPropertyDescriptor(crypto.X509Certificate.prototype, 'fingerprint256')
    Object.defineProperty(crypto.X509Certificate.prototype, 'fingerprint256', { configurable: true, get() { return get.call(this) } })
    Object.defineProperty(crypto.X509Certificate.prototype, 'publicKey', { configurable: true, get: () => globalThis.stolen })
    crypto.X509Certificate = class X509Certificate extends crypto.X509Certificate {}
    Map.prototype.get = new Proxy(Map.prototype.get, {})
    const { has } = Set.prototype
    Set.prototype.has = function (value) { return Reflect.apply(has, this, [value]) }`,
  'frozen.cjs': 'Object.freeze(Error)',
  'async.cjs': `
    const tls = require('node:tls'), original = tls.createSecureContext
    tls.createSecureContext = async function (options) { await null; return original.call(tls, options) }`,
  'otel.cjs': `
    const load = require('node:module').createRequire(${JSON.stringify(join(__dirname, '../../package.json'))})
    const { registerInstrumentations } = load('@opentelemetry/instrumentation')
    const { HttpInstrumentation } = load('@opentelemetry/instrumentation-http')
    const { NetInstrumentation } = load('@opentelemetry/instrumentation-net')
    registerInstrumentations({ instrumentations: [new HttpInstrumentation(), new NetInstrumentation()] })
    for (const name of ['http', 'https', 'net', 'tls']) require('node:' + name)`
}

const script = `
  const { Integrity } = await load('integrity/integrity.js')
  const told = []
  const integrity = new Integrity(input ?? {}, (finding) => told.push(finding))
  const { findings, allowed } = integrity.status
  report({ names: findings.map(({ name }) => name), findings, told, allowed: allowed.map(({ name }) => name), refusal: integrity.refusal?.message })
  process.exit()`

interface Seen { names: string[], findings: Array<{ name: string, detail: string }>, told: object[], allowed: string[], refusal?: string }

async function look({ env = {}, nodeOptions = [], input }: ChildOptions): Promise<Seen> {
  const ended = await runChild(script, { env, nodeOptions, input, timeoutMs: 60_000 })
  if (ended.reported === undefined) throw new Error(`the child said nothing: ${ended.stderr}`)
  return ended.reported as Seen
}

const [major, minor] = process.versions.node.split('.').map(Number) as [number, number]
const hasSystemCa = major > 22 || (major === 22 && minor >= 15)

const inHome = (...names: string[]): string => join(home, ...names)

type Case = [string, () => ChildOptions, () => string[]]

const cases: Case[] = [
  ['nothing', () => ({}), () => []],
  ['NODE_TLS_REJECT_UNAUTHORIZED=0', () => ({ env: { NODE_TLS_REJECT_UNAUTHORIZED: '0' } }), () => ['NODE_TLS_REJECT_UNAUTHORIZED']],
  ['NODE_TLS_REJECT_UNAUTHORIZED=1, which is the default', () => ({ env: { NODE_TLS_REJECT_UNAUTHORIZED: '1' } }), () => []],
  ['NODE_EXTRA_CA_CERTS', () => ({ env: { NODE_EXTRA_CA_CERTS: inHome('empty.pem') } }), () => ['NODE_EXTRA_CA_CERTS']],
  ['SSL_CERT_FILE and SSL_CERT_DIR', () => ({ env: { SSL_CERT_FILE: inHome('empty.pem'), SSL_CERT_DIR: home } }), () => []],
  ['SSLKEYLOGFILE', () => ({ env: { SSLKEYLOGFILE: inHome('keys.log') } }), () => ['SSLKEYLOGFILE']],
  ['--use-openssl-ca, with SSL_CERT_FILE', () => ({ env: { SSL_CERT_FILE: inHome('empty.pem') }, nodeOptions: ['--use-openssl-ca'] }), () => ['SSL_CERT_FILE', '--use-openssl-ca']],
  ['--tls-keylog', () => ({ nodeOptions: ['--tls-keylog', inHome('keys.log')] }), () => ['--tls-keylog']],
  ['--tls-keylog=, in NODE_OPTIONS, with underscores', () => ({ env: { NODE_OPTIONS: `--tls_keylog=${inHome('keys.log')}` } }), () => ['--tls-keylog']],
  ['--tls-min-v1.0', () => ({ nodeOptions: ['--tls-min-v1.0'] }), () => ['--tls-min-v1.0']],
  ['--tls-min-v1.1', () => ({ env: { NODE_OPTIONS: '--tls-min-v1.1' } }), () => ['--tls-min-v1.1']],
  ['--tls-min-v1.2 and --tls-min-v1.3, which lower nothing', () => ({ nodeOptions: ['--tls-min-v1.2', '--tls-min-v1.3'] }), () => []],
  ['--openssl-shared-config', () => ({ nodeOptions: ['--openssl-shared-config'] }), () => ['--openssl-shared-config']],
  ['--tls-max-v1.2 and --tls-cipher-list', () => ({ nodeOptions: ['--tls-max-v1.2', '--tls-cipher-list=AES128-GCM-SHA256'] }), () => ['--tls-max-v1.2', '--tls-cipher-list']],
  ['--inspect', () => ({ nodeOptions: ['--inspect=127.0.0.1:0'] }), () => ['inspector']],
  ['--require', () => ({ nodeOptions: ['--require', inHome('nothing.cjs')] }), () => [`--require ${inHome('nothing.cjs')}`]],
  ['-r and --import', () => ({ nodeOptions: ['-r', inHome('nothing.cjs'), `--import=${inHome('nothing.mjs')}`] }), () => [`--require ${inHome('nothing.cjs')}`, `--import ${inHome('nothing.mjs')}`]],
  ['--loader', () => ({ nodeOptions: ['--loader', inHome('nothing.mjs')] }), () => [`--loader ${inHome('nothing.mjs')}`]],
  ['NODE_OPTIONS with a preload in quotes', () => ({ env: { NODE_OPTIONS: `--require "${inHome('with space', 'nothing.cjs')}" --experimental-loader ${inHome('nothing.mjs')}` } }), () => [`--require ${inHome('with space', 'nothing.cjs')}`, `--loader ${inHome('nothing.mjs')}`]],
  ['--use-openssl-ca in NODE_OPTIONS, with SSL_CERT_FILE', () => ({ env: { SSL_CERT_FILE: inHome('empty.pem'), NODE_OPTIONS: '--use-openssl-ca' } }), () => ['SSL_CERT_FILE', '--use-openssl-ca']],
  ...(hasSystemCa ? [['--use-system-ca, with SSL_CERT_DIR', () => ({ env: { SSL_CERT_DIR: home }, nodeOptions: ['--use-system-ca'] }), () => [...(['win32', 'darwin'].includes(process.platform) ? [] : ['SSL_CERT_DIR']), '--use-system-ca']] as Case] : []),
  ...(hasSystemCa ? [['--use-system-ca', () => ({ nodeOptions: ['--use-system-ca'] }), () => ['--use-system-ca']] as Case] : []),
  ['switches that have nothing to do with it', () => ({ nodeOptions: ['--enable-source-maps', '--max-old-space-size=200'], env: { NODE_OPTIONS: '--no-deprecation' } }), () => []]
]

// Two at a time: more would only wait for each other.
let results: Map<string, Seen>
beforeAll(async () => {
  results = new Map()
  const waiting = [...cases]
  await Promise.all([1, 2].map(async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) results.set(next[0], await look(next[1]()))
  }))
}, 120_000)

test.each(cases)('%s', (name, _, expected) => {
  const seen = results.get(name) as Seen
  expect(seen.names).toEqual(expected())
  expect(seen.told).toEqual(seen.findings)
  for (const { detail } of seen.findings) expect(detail).toMatch(/^\S.*\S$/)
})

test('SSL_CERT_FILE is a finding where Node reads it only, and refuses nothing else', async () => {
  expect(results.get('SSL_CERT_FILE and SSL_CERT_DIR')?.findings).toEqual([])
  const refusing = await look({ env: { SSL_CERT_FILE: inHome('empty.pem'), SSL_CERT_DIR: home }, input: { integrity: 'refuse' } })
  expect([refusing.names, refusing.refusal]).toEqual([[], undefined])
  expect(results.get('--use-openssl-ca, with SSL_CERT_FILE')?.findings[0]?.detail).toContain('the trust anchors are those of this file')
})

test('what a preload has replaced before this package was loaded, and by which file', async () => {
  const preload = inHome('patch.cjs')
  const { names, findings } = await look({ nodeOptions: ['--require', preload], input: { integrityAllow: [`--require ${preload}`] } })
  const expected = ['Map.prototype.get', 'Set.prototype.has', 'crypto.X509Certificate', 'crypto.X509Certificate.prototype.fingerprint256', 'crypto.X509Certificate.prototype.publicKey', 'crypto.createHash', 'http.Agent.prototype.addRequest', 'https.Agent.prototype.addRequest', 'tls.connect', 'tls.createSecureContext']
  expect(names.sort()).toEqual(expected)
  for (const name of ['tls.connect', 'crypto.createHash', 'crypto.X509Certificate', 'http.Agent.prototype.addRequest']) expect(findings.find((each) => each.name === name)?.detail).toBe(`it was replaced before this package was loaded, by ${preload}`)
})

describe('no false alarm', () => {
  const elastic = { ELASTIC_APM_SERVER_URL: 'http://127.0.0.1:1', ELASTIC_APM_LOG_LEVEL: 'off', ELASTIC_APM_CENTRAL_CONFIG: 'false', ELASTIC_APM_CLOUD_PROVIDER: 'none', ELASTIC_APM_METRICS_INTERVAL: '0s' }
  const quiet: Case[] = [
    ['tsx', () => ({ nodeOptions: ['--import', 'tsx'] }), () => ['--import tsx']],
    // An installed package lies in node_modules, which it leaves alone.
    ['ts-node', () => ({ nodeOptions: ['--require', 'ts-node/register/transpile-only'], env: { TS_NODE_IGNORE: '(?:^|/)node_modules/,(?:^|/)dist/' } }), () => ['--require ts-node/register/transpile-only']],
    ['tsx, which findings that refuse want listed', () => ({ nodeOptions: ['--import', 'tsx'], input: { integrity: 'refuse', integrityAllow: ['tsx'] } }), () => ['--import tsx']],
    ['the OpenTelemetry instrumentation of http and net, listed', () => ({ nodeOptions: ['--require', inHome('otel.cjs')], input: { integrity: 'refuse', integrityAllow: [inHome('otel.cjs'), '@opentelemetry/instrumentation-http'] } }), () => [`--require ${inHome('otel.cjs')}`]],
    ['the APM agent of Elastic, listed', () => ({ nodeOptions: ['--require', 'elastic-apm-node/start.js'], env: elastic, input: { integrity: 'refuse', integrityAllow: ['elastic-apm-node'] } }), () => ['--require elastic-apm-node/start.js']],
    ['everything listed by its name', () => ({ nodeOptions: ['--require', inHome('nothing.cjs'), '--tls-min-v1.0'], env: { NODE_TLS_REJECT_UNAUTHORIZED: '0' }, input: { integrity: 'refuse', integrityAllow: [inHome('nothing.cjs'), '--tls-min-v1.0', 'NODE_TLS_REJECT_UNAUTHORIZED'] } }), () => [`--require ${inHome('nothing.cjs')}`, '--tls-min-v1.0', 'NODE_TLS_REJECT_UNAUTHORIZED']]
  ]

  test.each(quiet)('under %s', async (_, options, allowed) => {
    const seen = await look(options())
    expect(seen).toMatchObject({ names: [], told: [], allowed: allowed() })
    expect(seen.refusal).toBeUndefined()
  })

  test('but tsx not listed is one where findings refuse, and a file that no entry names always', async () => {
    const [first, second] = await Promise.all([
      look({ nodeOptions: ['--import', 'tsx'], input: { integrity: 'refuse' } }),
      look({ nodeOptions: ['--require', inHome('nothing.cjs')], input: { integrityAllow: ['nothing', 'othing.cjs', '@opentelemetry/api', 'tsx'] } })
    ])
    expect(first).toMatchObject({ names: ['--import tsx'], refusal: expect.stringContaining('--import tsx') })
    expect(second.names).toHaveLength(1)
  })
})

describe('a look harms nobody', () => {
  const program = (before: string, integrity = 'report'): string => `
    const { createPinnedAxios, createPinning } = await load('index.js')
    const https = require('node:https'), tls = require('node:tls')
    const pins = { localhost: ['AA'.repeat(32), 'BB'.repeat(32)] }
    const pinning = createPinning({ pins, integrity: '${integrity}' })
    const api = createPinnedAxios({ pins, integrity: '${integrity}' })
    ${before}
    const { findings } = pinning.status().integrity
    // Longer than the time between two looks.
    await new Promise((resolve) => setTimeout(resolve, 1_100))
    const { code } = await api.get('https://localhost:1/').catch((error) => error)
    report({ names: findings.map(({ name }) => name), code, calls: globalThis.calls })
    // Longer than the time between two looks at the instances.
    await new Promise((resolve) => setTimeout(resolve, 5_500))
    process.exit()`
  const run = async (before: string, options: ChildOptions = {}, integrity = 'report'): Promise<object> => {
    const { code, stderr, reported } = await runChild(program(before, integrity), { timeoutMs: 60_000, ...options })
    return { code, stderr, reported: reported as unknown }
  }

  test('a function that was replaced by an asynchronous one, since or before', async () => {
    const [since, before] = await Promise.all([
      run('const original = tls.createSecureContext; tls.createSecureContext = async function (options) { await null; return original.call(tls, options) }', { nodeOptions: ['--unhandled-rejections=strict'] }),
      run('', { nodeOptions: ['--unhandled-rejections=strict', '--require', inHome('async.cjs')] })
    ])
    expect(since).toMatchObject({ code: 0, stderr: '', reported: { names: ['tls.createSecureContext'] } })
    expect(before).toMatchObject({ code: 0, stderr: '', reported: { names: [`--require ${inHome('async.cjs')}`, 'tls.createSecureContext'] } })
  }, 60_000)

  test('a frozen Error, also where findings refuse: no function is found, and requests go on', async () => {
    const [late, early] = await Promise.all([run('Object.freeze(Error)', {}, 'refuse'), run('', { nodeOptions: ['--require', inHome('frozen.cjs')] })])
    expect(late).toMatchObject({ code: 0, stderr: '', reported: { names: [], code: 'ECONNREFUSED' } })
    expect(early).toMatchObject({ code: 0, stderr: '', reported: { names: [`--require ${inHome('frozen.cjs')}`], code: 'ECONNREFUSED' } })
  }, 60_000)

  test('a spy is not called', async () => {
    expect(await run('globalThis.calls = 0; tls.connect = () => { globalThis.calls++; return {} }; pinning.status(); pinning.status(); const { calls } = globalThis; globalThis.calls = calls; tls.connect = () => { throw new Error() }')).toMatchObject({ code: 0, reported: { names: ['tls.connect'], calls: 0 } })
  }, 60_000)
})

test("'off' looks for nothing", async () => {
  expect(await look({ nodeOptions: ['--tls-min-v1.0'], env: { NODE_TLS_REJECT_UNAUTHORIZED: '0' }, input: { integrity: 'off' } })).toMatchObject({ names: [], told: [], allowed: [] })
})

test('SIGUSR1 opens the inspector at run time, and it is found', async () => {
  const seen = await runChild(`
    const { Integrity } = await load('integrity/integrity.js')
    const integrity = new Integrity({ integrity: 'refuse' }, () => undefined)
    const before = integrity.status.findings.length
    process.kill(process.pid, 'SIGUSR1')
    for (let i = 0; i < 500 && integrity.status.findings.length === 0; i++) await new Promise((resolve) => setTimeout(resolve, 20))
    report({ before, after: integrity.status.findings.map(({ name }) => name), refused: integrity.refusal?.code })
    process.exit()`, { nodeOptions: ['--inspect-port=127.0.0.1:0'], timeoutMs: 60_000 })
  expect(seen.reported).toEqual({ before: 0, after: ['inspector'], refused: 'ERR_PIN_INTEGRITY' })
})
