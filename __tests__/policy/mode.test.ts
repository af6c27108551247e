import { createPinning, createPinningAgent } from '../../lib/index.js'
import type { Pinning, PinningMode, PinningOptions } from '../../lib/index.js'
import { ModeRule } from '../../lib/policy/mode.js'
import { PolicySet } from '../../lib/policy/policy-set.js'
import { runChild } from '../support/child.js'
import { send, until } from '../support/clients.js'
import { HeldSource, createSigner, pinSet, sign } from '../support/pin-sets.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startServer } from '../support/servers.js'
import type { TestServer } from '../support/servers.js'

const root = createAuthority({ name: 'Mode Root' })
const genuine = root.issue()
const backup = createSelfSigned()
const pins = { localhost: [genuine.fingerprint, backup.fingerprint] }
const variable = 'AXIOS_SSL_PINNING_MODE'

const closing: Array<() => unknown> = []
let warnings: string[]
beforeEach(() => {
  warnings = []
  jest.spyOn(process, 'emitWarning').mockImplementation((text) => void warnings.push(String(text)))
})
afterEach(async () => {
  delete process.env[variable]
  process.env['NODE_ENV'] = 'test'
  for (const each of closing.splice(0).reverse()) await each()
})

function pinningFor(options: Partial<PinningOptions> = {}): Pinning {
  const pinning = createPinning({ pins, tls: { ca: root.pem }, ...options })
  closing.push(() => pinning.close())
  return pinning
}

async function startImpostor(): Promise<TestServer> {
  const server = await startServer({ certificate: root.issue() })
  closing.push(() => server.close())
  return server
}

describe('the stricter of code and environment holds; where the code is silent, the environment decides', () => {
  const modes: Array<PinningMode | undefined> = [undefined, 'enforce', 'report-only', 'off']
  const expected: Record<string, [PinningMode, string]> = {
    'undefined+undefined': ['enforce', 'default'],
    'undefined+enforce': ['enforce', 'environment'],
    'undefined+report-only': ['report-only', 'environment'],
    'undefined+off': ['off', 'environment'],
    'enforce+undefined': ['enforce', 'option'],
    'enforce+enforce': ['enforce', 'option'],
    'enforce+report-only': ['enforce', 'option'],
    'enforce+off': ['enforce', 'option'],
    'report-only+undefined': ['report-only', 'option'],
    'report-only+enforce': ['enforce', 'environment'],
    'report-only+report-only': ['report-only', 'option'],
    'report-only+off': ['report-only', 'option'],
    'off+undefined': ['off', 'option'],
    'off+enforce': ['enforce', 'environment'],
    'off+report-only': ['report-only', 'environment'],
    'off+off': ['off', 'option']
  }
  const cases = modes.flatMap((code) => modes.map((env) => [code, env, ...(expected[`${code}+${env}`] as [PinningMode, string])] as const))

  test.each(cases)('code %s, environment %s: %s, because of the %s', (code, env, mode, source) => {
    if (env) process.env[variable] = env
    expect(pinningFor({ ...(code && { mode: code }) }).status()).toMatchObject({ mode, modeSource: source })
    if (code) expect(pinningFor({ mode: () => code }).status()).toMatchObject({ mode, modeSource: source === 'option' ? 'function' : source })
  })

  test('an empty variable says nothing', () => {
    process.env[variable] = ''
    expect(pinningFor().status()).toMatchObject({ mode: 'enforce', modeSource: 'default' })
  })
})

describe('in production', () => {
  test.each(['off', 'report-only'])("'%s' from the environment is refused, whatever the code says", (mode) => {
    process.env[variable] = mode
    for (const name of ['production', 'Production ']) {
      process.env['NODE_ENV'] = name
      for (const options of [{}, { mode: 'enforce' as const }, { mode: () => 'off' as const }, { dangerAllowModeFromEnvironment: false }]) {
        expect(() => pinningFor(options)).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID', option: variable, message: expect.stringContaining(`'${mode}'`) }))
      }
    }
  })

  test('dangerAllowModeFromEnvironment lets it through, and enforce needs no leave', () => {
    process.env['NODE_ENV'] = 'production'
    process.env[variable] = 'report-only'
    expect(pinningFor({ dangerAllowModeFromEnvironment: true }).status()).toMatchObject({ mode: 'report-only', modeSource: 'environment' })
    process.env[variable] = 'enforce'
    expect(pinningFor({ mode: 'off' }).status()).toMatchObject({ mode: 'enforce', modeSource: 'environment' })
  })
})

test.each(['on', 'ENFORCE', 'false', '0', 'off\n'])('an unknown value of the environment is an error: %j', (value) => {
  process.env[variable] = value
  expect(() => pinningFor({ mode: 'enforce' })).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID', option: variable, message: expect.stringContaining("right would be 'enforce' or 'report-only' or 'off'") }))
})

test('what is on Object.prototype is no environment: an impostor gets nothing, and no proxy is taken', async () => {
  const server = await startImpostor()
  // In a process of its own: under jest, process.env has another prototype than the tests.
  const { reported, stderr } = await runChild(`
    const { createPinnedAxios, createPinning } = await load('index.js')
    const polluted = { ${variable}: 'off', NODE_ENV: 'test', HTTPS_PROXY: 'http://127.0.0.1:1', https_proxy: 'http://127.0.0.1:1', NODE_OPTIONS: '--tls-min-v1.0' }
    for (const name in polluted) delete process.env[name]
    for (const [name, value] of Object.entries(polluted)) Object.defineProperty(Object.prototype, name, { value, configurable: true })
    const { status } = createPinning(input.options)
    const { mode, modeSource, integrity } = status()
    const api = createPinnedAxios(input.options)
    const { code } = await api.post(input.url, 'a secret').catch((error) => error)
    report({ mode, modeSource, findings: integrity.findings.map(({ name }) => name), code })
    process.exit()`, { input: { url: server.url, options: { pins, tls: { ca: root.pem } } } })
  expect([reported, stderr]).toEqual([{ mode: 'enforce', modeSource: 'default', findings: [], code: 'ERR_PIN_MISMATCH' }, ''])
  expect(server.decryptedBytes).toBe(0)
})

test('the environment is read once: a later change switches nothing off', () => {
  const pinning = pinningFor()
  process.env[variable] = 'off'
  pinning.update(pins)
  expect(pinning.status().mode).toBe('enforce')
})

test('the options are checked', () => {
  expect(() => createPinningAgent({ pins, mode: 'on' as never })).toThrow(expect.objectContaining({ option: 'mode' }))
  expect(() => createPinningAgent({ pins, dangerAllowModeFromEnvironment: 'yes' as never })).toThrow(expect.objectContaining({ option: 'dangerAllowModeFromEnvironment' }))
  for (const answer of [undefined, 'on', Promise.resolve('off')]) expect(() => createPinningAgent({ pins, mode: () => answer as never })).toThrow(expect.objectContaining({ option: 'mode', code: 'ERR_PIN_POLICY_INVALID' }))
  expect(() => createPinningAgent({ pins, mode: () => { throw new Error('flag store is down') } })).toThrow('flag store is down')
})

describe('a function', () => {
  test('holds from the next request on, also for a kept-alive connection to a peer that was tolerated', async () => {
    const server = await startImpostor()
    let mode: PinningMode = 'report-only'
    const pinning = pinningFor({ mode: () => mode })
    expect(await send(pinning.agent, server.port)).toMatchObject({ status: 200 })
    expect(await send(pinning.agent, server.port)).toMatchObject({ status: 200, reused: true })
    mode = 'enforce'
    expect(await send(pinning.agent, server.port)).toMatchObject({ code: 'ERR_PIN_MISMATCH' })
    expect(server.requests).toHaveLength(2)
    expect(pinning.status()).toMatchObject({ mode: 'enforce', revision: 2 })
    mode = 'off'
    expect(await send(pinning.agent, server.port)).toMatchObject({ status: 200, reused: false })
    expect(pinning.policyFor('https://localhost')).toMatchObject({ mode: 'off' })
  })

  test.each<[string, () => unknown]>([
    ['throws', () => { throw new Error('flag store is down') }],
    ['returns nonsense', () => 'disabled'],
    ['returns a promise', () => Promise.resolve('off')]
  ])('that %s later on means enforce, and is told once', async (_, failing) => {
    const server = await startImpostor()
    let answer: () => unknown = () => 'off'
    const pinning = pinningFor({ mode: () => answer() as PinningMode })
    expect(await send(pinning.agent, server.port)).toMatchObject({ status: 200 })
    const bytes = server.decryptedBytes
    answer = failing
    for (let i = 0; i < 2; i++) expect(await send(pinning.agent, server.port)).toMatchObject({ code: 'ERR_PIN_MISMATCH' })
    expect(server.decryptedBytes).toBe(bytes)
    expect(warnings.filter((text) => text.includes('the mode function failed'))).toHaveLength(1)
    answer = () => 'off'
    expect(pinning.status().mode).toBe('off')
  })

  test('whose promise rejects, or whose error has another text each time, does no harm', async () => {
    let count = 0
    let answer: () => unknown = () => Promise.reject(new Error('flag service down'))
    const pinning = pinningFor({ mode: () => (count++ === 0 ? 'off' : answer()) as PinningMode })
    expect(pinning.status().mode).toBe('enforce')
    answer = () => { throw new Error(`no answer to ${count}`) }
    for (let i = 0; i < 100; i++) expect(pinning.status().mode).toBe('enforce')
    // An unhandled rejection would be told meanwhile.
    await new Promise((resolve) => setTimeout(resolve, 10))
    expect(warnings).toEqual(["axios-ssl-pinning: the mode function failed, so the mode is 'enforce': PolicyInvalidError: mode: the function returned an object; right would be 'enforce' or 'report-only' or 'off', at once"])
  })

  test('may ask the pinning itself', () => {
    const made: { pinning?: Pinning } = {}
    made.pinning = pinningFor({ mode: () => (made.pinning?.status().hosts === 1 ? 'report-only' : 'enforce') })
    expect(made.pinning.status().mode).toBe('report-only')
  })

  test('and an update together keep the mode and the new pins', () => {
    let mode: PinningMode = 'report-only'
    const pinning = pinningFor({ mode: () => mode })
    pinning.update({ 'a.test': [backup.fingerprint, genuine.fingerprint] })
    mode = 'enforce'
    expect(pinning.status()).toMatchObject({ mode: 'enforce', hosts: 1, revision: 3 })
    expect(pinning.policyFor('a.test')).toMatchObject({ mode: 'enforce' })
    expect(pinning.policyFor('localhost')).toBeUndefined()
  })

  test('that changes its mind costs nothing that grows with the hosts', () => {
    const many = new PolicySet({ pins: Object.fromEntries(Array.from({ length: 3 }, (_, i) => [`h${i}.test`, pins.localhost])) }, 1)
    const other = many.under({ mode: 'off' }, 2)
    expect([...other.policies()].every((policy, i) => policy === [...many.policies()][i])).toBe(true)
    expect([other.mode, other.revision, other.size, other.unpinnedHosts]).toEqual(['off', 2, 3, 'refuse'])
    expect(other.modes).toEqual(new Set(['off']))
  })
})

describe('a mode below enforce', () => {
  test('is told at the start, in the status, and in every log line', async () => {
    const server = await startImpostor()
    const lines: object[] = []
    const logger = { warn: (details: object) => void lines.push(details), debug: (details: object) => void lines.push(details) }
    process.env[variable] = 'report-only'
    const pinning = pinningFor({ logger, unpinnedHosts: 'refuse' })
    const text = "mode is 'report-only' (says AXIOS_SSL_PINNING_MODE): peers that do not match the pins are not refused"
    expect(warnings).toEqual([`axios-ssl-pinning: ${text}`])
    expect(pinning.status().warnings).toEqual([text])
    await send(pinning.agent, server.port)
    await send(pinning.agent, server.port, { cert: 'x' })
    expect(lines).toHaveLength(3)
    for (const line of lines) expect(line).toMatchObject({ notEnforced: text })
  })

  test('is told when a function lowers it, and no longer said once it is raised', async () => {
    const server = await startImpostor()
    const lines: object[] = []
    let mode: PinningMode = 'enforce'
    const pinning = pinningFor({ mode: () => mode, logger: { warn: (details) => void lines.push(details), debug: () => undefined } })
    expect(pinning.status().warnings).toEqual([])
    mode = 'off'
    expect(pinning.status().warnings).toEqual(["mode is 'off' (says the mode function): peers that do not match the pins are not refused"])
    expect(warnings).toHaveLength(1)
    mode = 'enforce'
    await send(pinning.agent, server.port)
    expect(lines.at(-1)).not.toHaveProperty('notEnforced')
  })

  test('of one pattern is told too', () => {
    const pinning = pinningFor({ pins: { ...pins, 'a.test': { pins: pins.localhost, mode: 'off' }, 'b.test': { pins: pins.localhost, mode: 'report-only' } } })
    expect(pinning.status().warnings).toEqual([
      "mode is 'report-only' for b.test: their peers are not refused when they do not match the pins",
      "mode is 'off' for a.test: their peers are not refused when they do not match the pins"
    ])
  })
})

test('an expired set that is not enforced any more is told like a mode below enforce, while that lasts', async () => {
  const server = await startImpostor()
  const signer = createSigner()
  const answers: Array<(text: string) => void> = []
  const source = new HeldSource(() => new Promise<string>((resolve) => answers.push(resolve)))
  const publish = async (version: number): Promise<void> => {
    const text = await sign(pinSet({ version, pins }), signer)
    await until(() => answers.length > 0)
    answers.splice(0).forEach((resolve) => resolve(text))
    await until(() => pinning.status().updates?.version === version)
  }
  const lines: object[] = []
  const log = (details: object): void => void lines.push(details)
  const pinning = pinningFor({ logger: { warn: log, debug: log }, updates: { source, trustedKeys: [signer.publicKey], audience: 'test', staleRetryMs: Infinity, onExpiredSet: 'report-only' } })
  await publish(1)
  expect(pinning.status().warnings).toEqual([])
  const { now } = Date
  const clock = jest.spyOn(Date, 'now').mockImplementation(() => now() + 8 * 86_400_000)
  try {
    expect(await send(pinning.agent, server.port)).toMatchObject({ status: 200 })
    const told = /^version 1 of the pin set expired on \S+Z \(updates\.onExpiredSet is 'report-only'\): peers that do not match the pins are not refused$/
    expect(pinning.status()).toMatchObject({ mode: 'enforce', warnings: [expect.stringMatching(told)] })
    expect(warnings).toEqual([`axios-ssl-pinning: ${pinning.status().warnings[0]}`])
    expect(lines.at(-1)).toMatchObject({ decision: 'tolerated', notEnforced: expect.stringMatching(told) })
    const refreshed = pinning.refresh()
    await publish(2)
    await refreshed
    expect(await send(pinning.agent, server.port, { headers: { connection: 'close' } })).toMatchObject({ code: 'ERR_PIN_MISMATCH' })
    expect(pinning.status().warnings).toEqual([])
    expect(lines.at(-1)).not.toHaveProperty('notEnforced')
  } finally {
    clock.mockRestore()
  }
})

test('an environment that is not asked needs no function call per request', () => {
  const rule = new ModeRule({ mode: 'report-only' }, {}, () => undefined)
  expect(rule.now).toBe(rule.now)
})
