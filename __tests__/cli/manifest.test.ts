import { execFileSync, spawn } from 'node:child_process'
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import type { IncomingHttpHeaders, Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { ServedManifest, manifestListener } from '../../lib/cli/manifest/serve.js'
import { readPrivateKey } from '../../lib/update/keys.js'
import { signManifest, verifyManifest } from '../../lib/update/manifest.js'
import { SigningTrust } from '../../lib/update/trust.js'
import { createAuthority } from '../support/pki.js'
import { startServer } from '../support/servers.js'
import type { TestServer } from '../support/servers.js'
import { runCommand } from '../support/terminal.js'
import type { RunOptions } from '../support/terminal.js'

let folder: string
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'axios-ssl-pinning-manifest-'))))
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const at = (name: string): string => join(folder, name)
const pinA = `sha256/${Buffer.alloc(32, 1).toString('base64')}`
const pinB = `sha256/${Buffer.alloc(32, 2).toString('base64')}`

function write(name: string, content: unknown): string {
  writeFileSync(at(name), typeof content === 'string' ? content : JSON.stringify(content))
  return at(name)
}

function manifest(args: readonly string[], options?: RunOptions) {
  return runCommand(['manifest', ...args], options)
}

async function keygen(name: string, ...more: string[]): Promise<string> {
  const { code, stderr } = await manifest(['keygen', at(name), '--json', ...more], { env: { SECRET: 'geheim' } })
  expect([code, stderr]).toEqual([0, ''])
  return at(name)
}

async function sign(args: readonly string[], options?: RunOptions): Promise<any> {
  const { code, stderr, json } = await manifest(['sign', '--json', ...args], options)
  expect([stderr, code]).toEqual([stderr, 0])
  return json
}

const payload = { pins: { 'api.example.com': [pinA, pinB] }, audience: 'fleet' }

function payloadOf(file: string): any {
  return JSON.parse(Buffer.from(JSON.parse(readFileSync(file, 'utf8')).payload, 'base64url').toString())
}

describe('keygen', () => {
  test('makes a private key for its owner only, and the public one beside it', async () => {
    const { code, json, stdout } = await manifest(['keygen', at('k'), '--json'])
    expect(code).toBe(0)
    expect(json).toMatchObject({ algorithm: 'EdDSA', privateKey: at('k'), publicKey: at('k.pub'), encrypted: false, id: expect.stringMatching(/^[\w-]{43}$/) })
    expect(statSync(at('k')).mode & 0o777).toBe(0o600)
    expect(createPublicKey(readFileSync(at('k'))).export({ type: 'spki', format: 'pem' })).toBe(readFileSync(at('k.pub'), 'utf8'))
    expect(stdout).not.toContain('PRIVATE')
  })

  test.each(['k', 'k.pub'])('never overwrites %s', async (name) => {
    write(name, 'precious')
    const { code, stderr } = await manifest(['keygen', at('k')])
    expect([code, stderr]).toEqual([64, expect.stringContaining('never overwritten')])
    expect(readdirSync(folder)).toEqual([name])
    expect(readFileSync(at(name), 'utf8')).toBe('precious')
  })

  test('encrypts with a passphrase', async () => {
    await keygen('k', '--passphrase-from', 'env:SECRET')
    expect(readFileSync(at('k'), 'utf8')).toContain('BEGIN ENCRYPTED PRIVATE KEY')
    expect((await manifest(['keygen', at('l'), '--passphrase-from', 'env:EMPTY'], { env: { EMPTY: '' } })).code).toBe(64)
    expect(existsSync(at('l'))).toBe(false)
  })

  test('an algorithm that this Node has not is named', async () => {
    const { code, stderr } = await manifest(['keygen', at('k'), '--algorithm', 'ML-DSA-65'])
    if (code === 64) expect(stderr).toContain('24.7')
    else expect([code, existsSync(at('k'))]).toEqual([0, true])
    expect((await manifest(['keygen', at('m'), '--algorithm', 'RSA'])).code).toBe(64)
  })
})

describe('sign', () => {
  test.each(['EdDSA', 'ES256', 'ML-DSA-44', 'ML-DSA-65'])('%s: a client with the public key accepts it', async (algorithm) => {
    const made = await manifest(['keygen', at('k'), '--algorithm', algorithm])
    if (algorithm.startsWith('ML') && made.code === 64) return expect(made.stderr).toContain('24.7')
    const said = await sign([write('pins.json', payload), '--key', at('k'), '--out', at('pins.jws'), '--days', '7'])
    expect(said).toMatchObject({ version: 1, audience: 'fleet', hosts: 1, signatures: [{ alg: algorithm }] })
    const trust = SigningTrust.of([readFileSync(at('k.pub'), 'utf8')])
    const set = await verifyManifest(readFileSync(at('pins.jws'), 'utf8'), { trust, audience: 'fleet', now: Date.now() })
    expect(set.pins).toEqual(payload.pins)
    expect(set.expires.getTime() - set.issued.getTime()).toBeCloseTo(7 * 86_400_000, -4)
  })

  test('each version is one more than the one before, and none is lower', async () => {
    const args = [write('pins.json', payload), '--key', await keygen('k'), '--out', at('pins.jws'), '--days', '7']
    for (const version of [1, 2, 3]) expect(await sign(args)).toMatchObject({ version })
    write('pins.json', { ...payload, version: 3 })
    const refused = await manifest(['sign', ...args])
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('version 3 is not higher than 3')])
    expect(payloadOf(at('pins.jws')).version).toBe(3)
    write('pins.json', { ...payload, version: 10 })
    expect(await sign(args)).toMatchObject({ version: 10 })
    write('other.json', { ...payload, audience: 'another' })
    const other = await manifest(['sign', ...args.with(0, at('other.json'))])
    expect([other.code, other.stderr]).toEqual([1, expect.stringContaining('"another"')])
  })

  test('a set before it that somebody else has signed, or changed, is not built on', async () => {
    const [own, other] = [await keygen('own'), await keygen('other')]
    const args = [write('pins.json', { ...payload, version: 9007199254740991 }), '--out', at('pins.jws'), '--days', '7']
    await sign([...args, '--key', other])
    write('pins.json', payload)
    const refused = await manifest(['sign', ...args, '--key', own])
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('--trust FILE')])
    // Named, its key is trusted; and then there is no higher version.
    expect((await manifest(['sign', ...args, '--key', own, '--trust', `${other}.pub`])).code).not.toBe(0)
    const damaged = readFileSync(at('pins.jws'), 'utf8').replace(/"signature":"..../, '"signature":"AAAA')
    write('pins.jws', damaged)
    expect((await manifest(['sign', ...args, '--key', other])).stderr).toContain('cannot be built on')
    expect(readFileSync(at('pins.jws'), 'utf8')).toBe(damaged)
  })

  test('keys that hand over: a set before it by --previous and --trust, and the next key named in it', async () => {
    const [first, next] = [await keygen('first'), await keygen('next')]
    const pins = write('pins.json', payload)
    await sign([pins, '--key', first, '--out', at('1.jws'), '--days', '7', '--next-key', `${next}.pub`])
    expect(payloadOf(at('1.jws')).keys).toHaveLength(1)
    expect((await manifest(['show', at('1.jws')])).stdout).toContain('Signing keys that it names')
    const { code, stderr } = await manifest(['sign', pins, '--key', next, '--previous', at('1.jws'), '--trust', `${first}.pub`, '--out', at('2.jws'), '--days', '7'])
    expect([code, stderr]).toEqual([0, expect.stringContaining('1 of the signing keys that version 1 names are not named any more')])
    expect(payloadOf(at('2.jws')).version).toBe(2)
    // What a client makes of it, that has seen the first.
    const one = await verifyManifest(readFileSync(at('1.jws'), 'utf8'), { trust: SigningTrust.of([readFileSync(`${first}.pub`, 'utf8')]), audience: 'fleet', now: Date.now() })
    await expect(verifyManifest(readFileSync(at('2.jws'), 'utf8'), { trust: one.trust, audience: 'fleet', now: Date.now(), kept: one })).resolves.toMatchObject({ version: 2 })
  })

  test('k of n: signatures are added one after the other, to the same content', async () => {
    const keys = [await keygen('a'), await keygen('b', '--algorithm', 'ES256'), await keygen('c')]
    await sign([write('pins.json', payload), '--key', keys[0] as string, '--out', at('pins.jws'), '--days', '7'])
    const before = payloadOf(at('pins.jws'))
    const verify = () => manifest(['verify', at('pins.jws'), ...keys.flatMap((key) => ['--key', `${key}.pub`]), '--threshold', '2', '--json'])
    const early = await verify()
    expect([early.code, early.json.error.message]).toEqual([1, expect.stringContaining('1 of 2')])
    await sign(['--add', at('pins.jws'), '--key', keys[1] as string])
    expect(payloadOf(at('pins.jws'))).toEqual(before)
    expect((await verify()).json).toMatchObject({ verified: true, version: 1, hosts: 1 })
    const again = await manifest(['sign', '--add', at('pins.jws'), '--key', keys[1] as string])
    expect([again.code, again.stderr]).toEqual([64, expect.stringContaining('already')])
    // Two at once, too.
    expect((await sign([at('pins.json'), '--key', keys[0] as string, '--key', keys[2] as string, '--out', at('both.jws'), '--days', '7'])).signatures).toHaveLength(2)
  })

  test('the key and its passphrase come from files, the environment or standard input, and an argument is refused', async () => {
    const sealed = await keygen('k', '--passphrase-from', 'env:SECRET')
    const pem = readFileSync(sealed, 'utf8')
    const pins = write('pins.json', payload)
    const args = (key: string, from?: string) => ['sign', pins, '--key', key, '--days', '7', ...(from ? ['--passphrase-from', from] : [])]
    write('secret', 'geheim\n')
    for (const [key, from, options] of [
      [sealed, 'env:SECRET', { env: { SECRET: 'geheim' } }],
      [sealed, `file:${at('secret')}`, {}],
      [sealed, 'stdin', { stdin: 'geheim\n' }],
      ['env:KEY', 'env:SECRET', { env: { KEY: pem, SECRET: 'geheim' } }],
      ['-', 'env:SECRET', { stdin: pem, env: { SECRET: 'geheim' } }]
    ] as const) {
      const { code, stdout, stderr } = await manifest(args(key, from), options)
      expect([key, from, code, stderr]).toEqual([key, from, 0, ''])
      expect(JSON.parse(stdout).signatures).toHaveLength(1)
    }
    for (const [given, options, reason] of [
      [args(sealed), {}, /encrypted.*--passphrase-from/],
      [args(sealed, 'env:SECRET'), { env: { SECRET: 'falsch' } }, /passphrase is another one/],
      [args('env:NONE'), {}, /no environment variable NONE; right would be to set and export it first/],
      [args(pem), {}, /never|everybody/],
      [args('-', 'stdin'), { stdin: pem }, /only one/],
      [args(sealed, 'geheim'), {}, /takes env:NAME/],
      [args(`${sealed}.pub`), {}, /no private key/],
      [args(pins), {}, /no private key/]
    ] as Array<[string[], RunOptions, RegExp]>) {
      const { code, stdout, stderr } = await manifest(given, options)
      expect([code, stdout, stderr]).toEqual([64, '', expect.stringMatching(reason)])
      for (const secret of ['geheim', 'falsch', pem.split('\n')[1] as string]) expect(stderr).not.toContain(secret)
    }
  })

  test('a key that others can read is told', async () => {
    const key = await keygen('k')
    chmodSync(key, 0o644)
    expect((await manifest(['sign', write('pins.json', payload), '--key', key, '--days', '7'])).stderr).toContain('chmod 600')
  })

  test.each<[string, unknown, string[], number, RegExp]>([
    ['no date', payload, [], 64, /when does it expire/],
    ['a date that has passed', { ...payload, expires: '2020-01-01T00:00:00Z' }, [], 1, /expires before|expired/],
    ['no audience', { pins: payload.pins }, ['--days', '7'], 64, /which clients/],
    ['a pin that is none', { ...payload, pins: { 'api.example.com': ['sha1/abc'] } }, ['--days', '7'], 64, /pin/],
    ['a pattern that is none', { ...payload, pins: { '*.com': [pinA] } }, ['--days', '7'], 64, /com/],
    ['no pins at all', { audience: 'fleet', pins: {} }, ['--days', '7'], 64, /no pins/],
    ['a list of pins', { audience: 'fleet', pins: [] }, ['--days', '7'], 64, /no pins|schema/],
    ['pins that are null', { audience: 'fleet', pins: null }, ['--days', '7'], 64, /schema.*pins/],
    ['a host that is null', { audience: 'fleet', pins: { 'a.b': null } }, ['--days', '7'], 64, /a\.b.*schema/],
    ['keys that are none', { ...payload, keys: 5 }, ['--days', '7'], 64, /"keys" must be an array/],
    ['a date beyond all calendars', payload, ['--days', '99999999999'], 64, /--days 99999999999: .*9999/],
    ['a date with five digits', payload, ['--days', '3000000'], 64, /9999/],
    ['a revoked pin that is none', { ...payload, revoked: { pins: ['junk'] } }, ['--days', '7'], 1, /Not a pin: "junk"/],
    ['a name that is not of the schema', { ...payload, pin: {} }, ['--days', '7'], 64, /schema.*pin/],
    ['a key twice', '{"audience":"fleet","pins":{"a.example.com":[]},"pins":{}}', ['--days', '7'], 64, /twice/],
    ['what is no JSON', 'pins', ['--days', '7'], 64, /JSON/],
    ['a signed set without --add', '{"payload":"e30","signatures":[]}', [], 64, /--add/]
  ])('%s: nothing is signed, and the file that is there stays', async (_, content, more, exit, reason) => {
    const key = await keygen('k')
    await sign([write('good.json', payload), '--key', key, '--out', at('pins.jws'), '--days', '7'])
    const before = readFileSync(at('pins.jws'), 'utf8')
    const { code, stderr } = await manifest(['sign', write('bad.json', content), '--key', key, '--out', at('new.jws'), ...more])
    expect([code, stderr]).toEqual([exit, expect.stringMatching(reason)])
    expect([readFileSync(at('pins.jws'), 'utf8') === before, existsSync(at('new.jws'))]).toEqual([true, false])
  })

  test('so is a host whose every pin the set itself revokes', async () => {
    const key = await keygen('k')
    const { stderr } = await manifest(['sign', write('pins.json', { ...payload, revoked: { pins: [pinA, pinB] } }), '--key', key, '--days', '7', '--out', at('pins.jws')])
    expect(stderr).toBe('Warning: it revokes every pin that it has for api.example.com: every request there is refused\n')
    expect((await manifest(['verify', at('pins.jws'), '--key', `${key}.pub`, '--json'])).json.warnings).toEqual([expect.stringContaining('it revokes every pin')])
  })

  test('a single pin per host is warned about, and an expiry before everybody has asked', async () => {
    const { stderr } = await manifest(['sign', write('pins.json', { ...payload, refreshMs: 604_800_000, pins: { 'api.example.com': [pinA] } }), '--key', await keygen('k'), '--days', '7'])
    expect(stderr).toMatch(/no backup pin for api\.example\.com[^]*before every client has asked twice/)
  })
})

describe('sign --check-live', () => {
  const root = createAuthority()
  const served = root.issue()
  let server: TestServer
  beforeAll(async () => (server = await startServer({ certificate: served })))
  afterAll(() => server.close())

  async function run(pins: Record<string, unknown>, ...more: string[]) {
    write('ca.pem', root.pem)
    const key = existsSync(at('k')) ? at('k') : await keygen('k')
    return manifest(['sign', write('pins.json', { audience: 'fleet', pins }), '--key', key, '--out', at('pins.jws'), '--days', '7', '--check-live', '--ca', at('ca.pem'), '--json', ...more])
  }
  const live = () => `localhost:${server.port}`

  test('pins that match what is served are signed; nothing is sent to the server', async () => {
    const before = server.decryptedBytes
    const { code, stderr } = await run({ [live()]: [served.pin, pinA] })
    expect([code, stderr]).toEqual([0, expect.stringContaining('1 of 1 live servers are accepted')])
    expect(server.decryptedBytes).toBe(before)
  })

  test('a set that drops the key that is served is refused, and nothing is written', async () => {
    expect((await run({ [live()]: [served.pin, pinA] })).code).toBe(0)
    const before = readFileSync(at('pins.jws'), 'utf8')
    const { code, stderr, json } = await run({ [live()]: [pinA, pinB] })
    expect([code, stderr]).toEqual([1, expect.stringContaining('refused')])
    expect(json).toMatchObject({ signed: false, live: [{ host: 'localhost', port: server.port, outcome: 'refused' }] })
    expect(readFileSync(at('pins.jws'), 'utf8')).toBe(before)
  })

  test('so is one that drops the host, unless that is meant', async () => {
    expect((await run({ [live()]: [served.pin, pinA] })).code).toBe(0)
    const dropped = await run({ 'other.invalid': [pinA, pinB] }, '--allow-unreachable')
    expect([dropped.code, dropped.stderr]).toEqual([1, expect.stringContaining(`dropped     ${live()}`)])
    expect((await run({ 'other.invalid': [pinA, pinB] }, '--allow-unreachable', '--allow-drop', live())).code).toBe(0)
  })

  test('so is one that revokes the key that is served', async () => {
    const key = await keygen('k')
    const { code, stderr } = await manifest(['sign', write('pins.json', { audience: 'fleet', pins: { [live()]: [served.pin, pinA] }, revoked: { pins: [served.pin] } }), '--key', key, '--days', '7', '--check-live', '--ca', write('ca.pem', root.pem)])
    expect([code, stderr]).toEqual([1, expect.stringContaining('refused')])
  })

  test('a host that cannot be reached is not known to be well: exit code 3', async () => {
    expect(await run({ 'other.invalid': [pinA, pinB] })).toMatchObject({ code: 3, stderr: expect.stringContaining('unreachable') })
    expect(existsSync(at('pins.jws'))).toBe(false)
  })

  test('one that PKI refuses was reached, and every client would be refused: exit code 1, with the next step', async () => {
    const other = await run({ [live()]: [served.pin, pinA] }, '--ca', write('other.pem', createAuthority().pem))
    expect(other).toMatchObject({ code: 1, json: { signed: false, live: [{ outcome: 'untrusted' }] }, stderr: expect.stringMatching(/^untrusted .*none of the trust anchors in --ca has issued it/m) })
    const key = at('k')
    const without = await manifest(['sign', at('pins.json'), '--key', key, '--out', at('pins.jws'), '--days', '7', '--check-live', '--allow-unreachable'])
    expect(without).toMatchObject({ code: 1, stdout: 'Not signed: 1 of 1 live servers are not trusted.\n', stderr: expect.stringMatching(/of a private CA, --ca FILE names the trust anchor \(in the options: tls\.ca\)/) })
    expect(existsSync(at('pins.jws'))).toBe(false)
    const expired = await startServer({ certificate: root.issue({ notBefore: new Date(Date.now() - 9 * 86_400_000), notAfter: new Date(Date.now() - 86_400_000) }) })
    const { code, stderr } = await run({ [`localhost:${expired.port}`]: [pinA, pinB] })
    await expired.close()
    expect([code, stderr]).toEqual([1, expect.stringMatching(/^untrusted .*certificate has expired$/m)])
  })

  test('wildcards are told as unchecked, and checked by the hosts that are named', async () => {
    const pins = { '*.example.com': [pinA, pinB], [live()]: [served.pin, pinA] }
    expect((await run(pins)).stderr).toContain('Not checked: *.example.com')
    expect(await run(pins, '--live-host', `localhost:${server.port}`)).toMatchObject({ code: 0, stderr: expect.not.stringContaining('Not checked') })
    expect(await run(pins, '--live-host', '*.example.com')).toMatchObject({ code: 64 })
  })
})

describe('verify and show', () => {
  test('what a client would refuse is exit code 1, each with its reason', async () => {
    const [key, other] = [await keygen('k'), await keygen('other')]
    await sign([write('pins.json', payload), '--key', key, '--out', at('pins.jws'), '--days', '7'])
    const verify = (...args: string[]) => manifest(['verify', at('pins.jws'), ...args])
    expect(await verify('--key', `${key}.pub`, '--audience', 'fleet', '--after', '1')).toMatchObject({ code: 0, stdout: expect.stringContaining('Verified') })
    expect(await verify('--key', `${other}.pub`)).toMatchObject({ code: 1, stderr: expect.stringContaining('trusted are') })
    expect(await verify('--key', `${key}.pub`, '--audience', 'other')).toMatchObject({ code: 1, stderr: expect.stringContaining('"other"') })
    expect(await verify('--key', `${key}.pub`, '--after', '2')).toMatchObject({ code: 1, stderr: expect.stringContaining('lower than 2') })
    expect(await verify('--key', key)).toMatchObject({ code: 64, stderr: expect.stringContaining('private key') })
    expect(await verify('--key', `${key}.pub`, '--threshold', '2')).toMatchObject({ code: 64 })
    expect(await verify()).toMatchObject({ code: 64 })
    const jws = JSON.parse(readFileSync(at('pins.jws'), 'utf8'))
    write('pins.jws', { ...jws, payload: Buffer.from(JSON.stringify({ ...payloadOf(at('pins.jws')), version: 2 })).toString('base64url') })
    expect(await verify('--key', `${key}.pub`)).toMatchObject({ code: 1, stderr: expect.stringContaining('is wrong') })
    write('pins.jws', 'nothing')
    expect(await verify('--key', `${key}.pub`)).toMatchObject({ code: 1 })
  })

  test('pins that are not signed are named as such, and a refusal speaks of the file, not of a client', async () => {
    const key = await keygen('k')
    const file = write('pins.json', payload)
    const unsigned = `axios-ssl-pinning: ${file} is not signed; "manifest sign ${file} --key KEY --out FILE" makes a signed set of it\n`
    expect(await manifest(['show', file])).toMatchObject({ code: 1, stderr: unsigned })
    expect(await manifest(['verify', file, '--key', `${key}.pub`])).toMatchObject({ code: 1, stderr: unsigned })
    expect(await manifest(['show', '-'], { stdin: JSON.stringify(payload) })).toMatchObject({ code: 1, stderr: expect.stringContaining('standard input is not signed') })
    const nothing = write('pins.jws', 'nothing')
    expect(await manifest(['show', nothing])).toMatchObject({ code: 1, stderr: `axios-ssl-pinning: ${nothing}: it is not a JWS\n` })
    await sign([file, '--key', key, '--out', at('good.jws'), '--days', '7'])
    const other = await keygen('other')
    for (const args of [['verify', at('good.jws'), '--key', `${other}.pub`], ['verify', at('good.jws'), '--key', `${key}.pub`, '--audience', 'x']]) {
      const { code, stderr } = await manifest(args)
      expect([code, stderr]).toEqual([1, expect.not.stringMatching(/What was in force|was rejected/)])
      expect(stderr).toContain(`${at('good.jws')}: `)
    }
  })

  test('a folder that is not there is named, not a temporary file', async () => {
    const key = await keygen('k')
    expect(await manifest(['sign', write('pins.json', payload), '--key', key, '--days', '7', '--out', at('public/pins.jws')])).toMatchObject({ code: 64, stderr: `axios-ssl-pinning: ${at('public/pins.jws')} cannot be written: the folder ${at('public')} does not exist\n` })
    expect(await manifest(['keygen', at('keys/k')])).toMatchObject({ code: 64, stderr: expect.stringContaining(`the folder ${at('keys')} does not exist`) })
  })

  test('pins that no client could use: verify says so, and nobody adds a signature', async () => {
    const key = await keygen('k')
    const { privateKey } = readPrivateKey(createPrivateKey(readFileSync(key)), 'key')
    const whole = { version: 1, issued: new Date().toISOString(), expires: new Date(Date.now() + 86_400_000).toISOString(), ...payload }
    for (const [wrong, reason] of [
      [{ revoked: { pins: ['junk'] } }, /rejected.*Not a pin: "junk"|Not a pin: "junk"/],
      [{ pins: { 'http://a.b/': [pinA] } }, /not a URL/],
      [{ pins: { 'api.example.com': ['sha1/abc'] } }, /Not a pin/],
      [{ pins: { 'a.example.com': [pinA], 'A.example.com': [pinB] } }, /covers the same hosts/]
    ] as Array<[object, RegExp]>) {
      write('bad.jws', await signManifest({ ...whole, ...wrong }, [privateKey]))
      expect(await manifest(['verify', at('bad.jws'), '--key', `${key}.pub`])).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(reason) })
      expect(await manifest(['sign', '--add', at('bad.jws'), '--key', existsSync(at('l')) ? at('l') : await keygen('l'), '--out', at('out.jws')])).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(reason) })
      expect(existsSync(at('out.jws'))).toBe(false)
    }
  })

  test('show reads without a key, says that nothing was verified, and escapes what it shows', async () => {
    const jws = { payload: Buffer.from(JSON.stringify({ version: 3, issued: '2026-01-01T00:00:00Z', expires: '2026-02-01T00:00:00Z', audience: 'a\u001b[31m\u009b\u202e\u2028', pins: { 'x.example.com': { pins: ['\u202esha256'] } } })).toString('base64url'), signatures: [{ protected: Buffer.from(JSON.stringify({ alg: 'EdDSA\u001b[2J', kid: 'k', typ: 'pin-set+jws' })).toString('base64url'), signature: 'AA' }] }
    const { code, stdout, stderr } = await manifest(['show', write('pins.jws', jws)])
    expect([code, stderr]).toEqual([0, 'The signatures were not verified.\n'])
    expect(stdout).toMatch(/Version 3[^]*expired [^]*x\.example\.com/)
    const unsafe = /[\x00-\x09\x0b-\x1f\x7f-\x9f\p{Cf}\u2028\u2029]/u
    expect(stdout).not.toMatch(unsafe)
    const forPrograms = await manifest(['show', '-', '--json'], { stdin: JSON.stringify(jws) })
    expect(forPrograms.json).toMatchObject({ verified: false, payload: { version: 3, audience: 'a\u001b[31m\u009b\u202e\u2028' } })
    expect(forPrograms.stdout).not.toMatch(unsafe)
    expect(await manifest(['show', write('no.jws', '{}')])).toMatchObject({ code: 1 })
  })
})

describe('serve', () => {
  let server: Server
  let port: number
  const notes: string[] = []
  afterEach(() => void server?.close())

  async function start(): Promise<void> {
    await sign([write('pins.json', payload), '--key', await keygen('k'), '--out', at('pins.jws'), '--days', '7'])
    notes.length = 0
    server = createServer(manifestListener(new ServedManifest(at('pins.jws')), { path: '/pins.jws', maxAge: 60 }, (text) => notes.push(text))).listen(0, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
  }

  function ask(headers: Record<string, string> = {}, { method = 'GET', path = '/pins.jws' } = {}): Promise<{ status: number | undefined; headers: IncomingHttpHeaders; body: Buffer }> {
    return new Promise((resolve, reject) => {
      request({ port, host: '127.0.0.1', method, path, headers, agent: false }, (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) }))
      }).on('error', reject).end()
    })
  }

  test('GET, HEAD, gzip, and the headers that caches need', async () => {
    await start()
    const plain = await ask()
    expect([plain.status, plain.body.toString()]).toEqual([200, readFileSync(at('pins.jws'), 'utf8')])
    expect(plain.headers).toMatchObject({ etag: `"${createHash('sha256').update(plain.body).digest('base64url')}"`, 'cache-control': 'public, max-age=60, no-transform', vary: 'Accept-Encoding', 'content-type': 'application/jose+json', 'content-length': String(plain.body.length), 'last-modified': expect.stringMatching(/GMT$/) })
    const zipped = await ask({ 'accept-encoding': 'br, gzip;q=0.5' })
    expect([zipped.headers['content-encoding'], gunzipSync(zipped.body).toString()]).toEqual(['gzip', plain.body.toString()])
    expect(zipped.headers.etag).not.toBe(plain.headers.etag)
    for (const refused of ['gzip;q=0', 'identity', 'br', '*;q=0']) expect((await ask({ 'accept-encoding': refused })).headers['content-encoding']).toBeUndefined()
    const head = await ask({}, { method: 'HEAD' })
    expect([head.status, head.body.length, head.headers.etag, head.headers['content-length']]).toEqual([200, 0, plain.headers.etag, plain.headers['content-length']])
  })

  test('304 for whoever has it: by tag, weak or in a list, by * or by date; the tag counts before the date', async () => {
    await start()
    const { headers } = await ask()
    const [etag, date] = [headers.etag as string, headers['last-modified'] as string]
    for (const has of [{ 'if-none-match': etag }, { 'if-none-match': `W/${etag}` }, { 'if-none-match': `"other", ${etag}` }, { 'if-none-match': '*' }, { 'if-modified-since': date }]) {
      const answer = await ask(has)
      expect([has, answer.status, answer.body.length, answer.headers.etag, answer.headers['cache-control']]).toEqual([has, 304, 0, etag, 'public, max-age=60, no-transform'])
    }
    for (const has of [{ 'if-none-match': '"other"' }, { 'if-none-match': '"other"', 'if-modified-since': date }, { 'if-modified-since': 'Thu, 01 Jan 1970 00:00:00 GMT' }, { 'if-modified-since': 'no date' }]) expect((await ask(has)).status).toBe(200)
    const zipped = await ask({ 'accept-encoding': 'gzip' })
    expect((await ask({ 'accept-encoding': 'gzip', 'if-none-match': zipped.headers.etag as string })).status).toBe(304)
  })

  test('only this one path, and only reading', async () => {
    await start()
    for (const path of ['/', '/k', '/pins.json', '/pins.jws/', '/../pins.jws', '//pins.jws', '/%70ins.jws']) expect([path, (await ask({}, { path })).status]).toEqual([path, 404])
    expect((await ask({}, { path: '/pins.jws?cache=buster' })).status).toBe(200)
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE']) {
      const answer = await ask({}, { method })
      expect([method, answer.status, answer.headers.allow]).toEqual([method, 405, 'GET, HEAD'])
    }
  })

  test('a new set is served at once, with another tag; what is no signed set never is', async () => {
    await start()
    const before = await ask()
    await sign([at('pins.json'), '--key', at('k'), '--out', at('pins.jws'), '--days', '7'])
    const after = await ask({ 'if-none-match': before.headers.etag as string })
    expect([after.status, after.headers.etag === before.headers.etag]).toEqual([200, false])
    renameSync(at('k'), at('pins.jws'))
    const refused = await ask()
    expect([refused.status, refused.body.length, refused.headers['cache-control'], refused.headers['retry-after']]).toEqual([503, 0, 'no-store', '10'])
    expect(notes.join()).toContain('not served')
    rmSync(at('pins.jws'))
    expect((await ask()).status).toBe(503)
  })

  test('a set of the same size and second is noticed', async () => {
    await start()
    const before = await ask()
    const { mtime, atime } = statSync(at('pins.jws'))
    const jws = readFileSync(at('pins.jws'), 'utf8')
    write('pins.jws', jws.replace(/"signature":"(.)/, (_, first: string) => `"signature":"${first === 'A' ? 'B' : 'A'}`))
    utimesSync(at('pins.jws'), atime, mtime)
    expect((await ask()).headers.etag).not.toBe(before.headers.etag)
  })

  test('the command: listens on the loopback interface, says where, over HTTPS too, and ends when told', async () => {
    await start()
    const certificate = createAuthority().issue()
    for (const tls of [[], ['--tls-cert', write('cert.pem', certificate.chainPem), '--tls-key', write('key.pem', certificate.keyPem)]]) {
      const child = spawn(process.execPath, [join(__dirname, '../../dist/cjs/cli/main.js'), 'manifest', 'serve', at('pins.jws'), '--port', '0', '--json', ...tls], { stdio: ['ignore', 'pipe', 'inherit'] })
      const [line] = (await once(child.stdout, 'data')) as [Buffer]
      const { url } = JSON.parse(line.toString()) as { url: string }
      expect(url).toMatch(new RegExp(`^http${tls.length ? 's' : ''}://127\\.0\\.0\\.1:\\d+/pins\\.jws$`))
      if (tls.length === 0) expect((await fetch(url)).status).toBe(200)
      child.kill('SIGTERM')
      expect(await once(child, 'exit')).toEqual([0, null])
    }
  })

  test('what cannot be served is said at the start', async () => {
    expect(await manifest(['serve', at('none.jws')])).toMatchObject({ code: 64, stderr: expect.stringContaining('ENOENT') })
    const { privateKey } = generateKeyPairSync('ed25519')
    expect(await manifest(['serve', folder])).toMatchObject({ code: 64, stderr: expect.stringContaining('is a directory') })
    if (process.platform !== 'win32') {
      execFileSync('mkfifo', [at('fifo')])
      for (const path of [at('fifo'), '/dev/zero']) expect(await manifest(['serve', path])).toMatchObject({ code: 64, stderr: expect.stringContaining('is no regular file') })
    }
    expect(await manifest(['serve', write('key.pem', privateKey.export({ type: 'pkcs8', format: 'pem' }).toString())])).toMatchObject({ code: 1 })
    expect(await manifest(['serve', write('plain.json', payload)])).toMatchObject({ code: 1, stderr: expect.stringContaining('plain.json is not signed; ') })
    await start()
    expect(await manifest(['serve', at('pins.jws'), '--path', 'pins.jws'])).toMatchObject({ code: 64 })
    expect(await manifest(['serve', at('pins.jws'), '--tls-cert', at('k')])).toMatchObject({ code: 64 })
    expect(await manifest(['serve', at('pins.jws'), '--port', String(port)])).toMatchObject({ code: 64, stderr: expect.stringContaining('EADDRINUSE') })
  })
})
