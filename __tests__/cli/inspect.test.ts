import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import * as https from 'node:https'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createPinningAgent } from '../../lib/pinning.js'
import { hasOpenssl } from '../support/openssl.js'
import { createAuthority, createSelfSigned, impersonate } from '../support/pki.js'
import type { NamedKeyKind } from '../support/pki.js'
import { startPlainServer, startResettingServer, startServer, startStalledServer } from '../support/servers.js'
import type { TestServer } from '../support/servers.js'
import { runCommand } from '../support/terminal.js'

const day = 86_400_000
const root = createAuthority({ name: 'Root' })
const issuing = root.issueAuthority({ name: 'Issuing', key: 'rsa' })

let folder: string
let ca: string
const servers: Array<{ close(): Promise<void> }> = []
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'inspect-'))
  ca = file('root.pem', root.pem)
})
afterEach(async () => void (await Promise.all(servers.splice(0).map((server) => server.close()))))
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, content: string | Buffer): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

async function start(...args: Parameters<typeof startServer>): Promise<TestServer> {
  const server = await startServer(...args)
  servers.push(server)
  return server
}

/** The client's end of a handshake comes first. */
async function handshakesOf(server: TestServer, count: number): Promise<void> {
  while (server.handshakes + server.handshakeErrors.length < count) await new Promise((resolve) => setTimeout(resolve, 5))
}

/** What people see, the certificates' own lines left out. */
async function failure(...args: string[]): Promise<{ code: number; stderr: string }> {
  const { code, stdout, stderr } = await runCommand(['inspect', ...args])
  expect(stdout).toBe('')
  expect(stderr.trimEnd()).not.toMatch(/\n|^\s+at /)
  return { code, stderr: stderr.trimEnd() }
}

describe(hasOpenssl ? 'agrees with openssl' : 'openssl is not installed: apt-get install openssl', () => {
  const kinds: Array<[NamedKeyKind, string]> = [['rsa', 'RSA 2048'], ['rsa-pss', 'RSA-PSS 2048'], ['p256', 'EC P-256'], ['p384', 'EC P-384'], ['p521', 'EC P-521'], ['ed25519', 'Ed25519'], ['ed448', 'Ed448']]
  const each = hasOpenssl ? test.each(kinds) : test.skip.each(kinds)
  each('%s', async (kind, key) => {
    // Signed by a key of its own kind, so that the signature is of that kind too.
    const authority = createAuthority({ key: kind })
    const leaf = authority.issue({ key: kind, name: 'api.test' })
    const server = await start({ certificate: leaf })
    const { code, json } = await runCommand(['inspect', '--json', '--ca', file(`${kind}.pem`, authority.pem), `localhost:${server.port}`])
    expect(code).toBe(0)
    const path = file('leaf.pem', leaf.pem)
    const openssl = (...args: string[]): string => execFileSync('openssl', ['x509', '-in', path, '-noout', ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
    const spki = execFileSync('openssl', ['pkey', '-pubin', '-outform', 'DER'], { input: openssl('-pubkey'), stdio: ['pipe', 'pipe', 'ignore'] })
    const [shown] = json.served
    expect(`sha256 Fingerprint=${shown.fingerprint}`).toBe(openssl('-fingerprint', '-sha256'))
    expect(shown.pin).toBe(`sha256/${execFileSync('openssl', ['dgst', '-sha256', '-binary'], { input: spki }).toString('base64')}`)
    expect(`serial=${shown.serialNumber}`).toBe(openssl('-serial'))
    expect(`subject=${shown.subject.replace('=', ' = ')}`).toBe(openssl('-subject').replace(/(?<! )=(?! )(?!CN)/, ' = ').replace(/^subject = /, 'subject='))
    expect([new Date(shown.validFrom), new Date(shown.validTo)]).toEqual(openssl('-dates').split('\n').map((line) => new Date(line.split('=')[1] as string)))
    expect(shown.signature.replace(/ with .*/, '')).toBe(/Signature Algorithm: (\S+)/.exec(openssl('-text'))?.[1])
    expect(shown.key).toBe(key)
    expect(shown.names).toEqual(['DNS:localhost', 'IP Address:127.0.0.1', 'IP Address:0:0:0:0:0:0:0:1'])
    expect(json.policy).toEqual({ pins: { [`localhost:${server.port}`]: { publicKeys: [leaf.pin] } } })
  })
})

test('shows both chains, the connection, and a policy that the agent accepts as it is pasted', async () => {
  const leaf = issuing.issue({ name: 'api.test', notAfter: new Date(Date.now() + 20.5 * day) })
  // A stranger's certificate in what is served is no part of the verified chain.
  const stranger = createAuthority({ name: 'Stranger' })
  const server = await start({ certificate: leaf, chain: [stranger, issuing] })
  const { code, stdout, stderr } = await runCommand(['inspect', `https://localhost:${server.port}/path`, '--ca', ca])
  expect([code, stderr]).toEqual([0, ''])
  const [heading, , trusted, , ...rest] = stdout.split('\n')
  expect(heading).toMatch(new RegExp(`^localhost:${server.port}  TLSv1\\.3  TLS_\\S+  \\S+`))
  expect(trusted).toBe("Trusted: Node's own verification accepts its chain and its name.")
  const text = rest.join('\n')
  expect(text).toMatch(/Served chain \(unchecked\)\n {2}0 {2}CN=api\.test\n[^]*20 days left[^]*\n {2}1 {2}CN=Stranger\n[^]*\n {2}2 {2}CN=Issuing\n/)
  expect(text.slice(text.indexOf('Verified chain'))).toMatch(/^Verified chain\n {2}0 {2}CN=api\.test, served at 0\n {2}1 {2}CN=Issuing, served at 2\n {5}pin {10}sha256\/\S+\n {2}2 {2}CN=Root\n {5}issuer {7}CN=Root\n/)
  expect(text).toContain(leaf.fingerprint)
  expect(text).toMatch(/backup pin belongs here[^]*openssl genpkey/)

  const pasted = JSON.parse(`{${text.slice(text.indexOf('Policy to paste') + 15).replaceAll(/(?<=\s)\/\/.*/g, '')}}`) as { pins: Record<string, never> }
  const agent = createPinningAgent({ ...pasted, tls: { ca: root.pem } })
  expect(await get(server.port, agent)).toBe(200)
  expect(server.decryptedBytes).toBeGreaterThan(0)
  agent.destroy()
})

function get(port: number, agent: https.Agent): Promise<number | undefined> {
  return new Promise((resolve, reject) => https.get({ host: 'localhost', port, agent }, (response) => resolve(response.resume().statusCode)).on('error', reject))
}

describe('a server that PKI refuses is shown, called untrusted, and sent nothing', () => {
  test.each([
    ['self-signed', createSelfSigned(), 'DEPTH_ZERO_SELF_SIGNED_CERT', true],
    ['self-signed for another name', createSelfSigned({ names: ['other.test'] }), 'DEPTH_ZERO_SELF_SIGNED_CERT', false],
    ['self-signed and expired', createSelfSigned({ notBefore: new Date(Date.now() - 9 * day), notAfter: new Date(Date.now() - day) }), /DEPTH_ZERO_SELF_SIGNED_CERT|CERT_HAS_EXPIRED/, false],
    ['of a strange CA', createAuthority().issue(), /SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_/, false],
    ['expired', issuing.issue({ notBefore: new Date(Date.now() - 9 * day), notAfter: new Date(Date.now() - day) }), 'CERT_HAS_EXPIRED', false],
    ['for another name', issuing.issue({ names: ['other.test'] }), 'ERR_TLS_CERT_ALTNAME_INVALID', false]
  ])('%s', async (_, certificate, reason, proposed) => {
    const server = await start({ certificate })
    const { code, json } = await runCommand(['inspect', '--json', '--ca', ca, `localhost:${server.port}`])
    expect([code, json.trusted]).toEqual([1, false])
    expect(json.untrusted.code).toEqual(reason instanceof RegExp ? expect.stringMatching(reason) : reason)
    expect(json.served[0].pin).toBe(certificate.pin)
    // Only where a pin can take the place of a trust anchor is one proposed, and it says so.
    expect(json.policy).toEqual(proposed ? { pins: { [`localhost:${server.port}`]: { publicKeys: [certificate.pin], trust: 'pin-only' } } } : undefined)
    const { stdout } = await runCommand(['inspect', '--ca', ca, `localhost:${server.port}`])
    expect(stdout).toMatch(/\nNOT TRUSTED: .*\nWhoever answered may be anybody\./)
    await handshakesOf(server, 2)
    expect([server.handshakeErrors, server.decryptedBytes]).toEqual([[], 0])
  })

  test('and what to do about a private CA', async () => {
    const server = await start({ certificate: createAuthority().issue() })
    expect((await runCommand(['inspect', `localhost:${server.port}`])).stdout).toMatch(/\nNOT TRUSTED: .*; of a private CA, --ca FILE names the trust anchor \(in the options: tls\.ca\)\.\n/)
    expect((await runCommand(['inspect', '--ca', ca, `localhost:${server.port}`])).stdout).toMatch(/\nNOT TRUSTED: .*; none of the trust anchors in --ca has issued it\.\n/)
    const expired = await start({ certificate: issuing.issue({ notBefore: new Date(Date.now() - 9 * day), notAfter: new Date(Date.now() - day) }) })
    expect((await runCommand(['inspect', '--ca', ca, `localhost:${expired.port}`])).stdout).not.toContain('--ca')
  })

  test('and NODE_TLS_REJECT_UNAUTHORIZED=0 does not make it trusted', async () => {
    const server = await start({ certificate: createSelfSigned() })
    const before = process.env['NODE_TLS_REJECT_UNAUTHORIZED']
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
    try {
      expect((await runCommand(['inspect', '--json', `localhost:${server.port}`])).code).toBe(1)
    } finally {
      if (before === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED']
      else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = before
    }
  })
})

test('--servername is asked for, and looked for in the certificate', async () => {
  const named = issuing.issue({ names: ['inner.test'] })
  const server = await start({ certificate: issuing.issue(), sni: { 'inner.test': named } })
  const { json, code } = await runCommand(['inspect', '--json', '--ca', ca, '--servername', 'Inner.test', `127.0.0.1:${server.port}`])
  expect([code, json.server.serverName, json.served[0].pin]).toEqual([0, 'inner.test', named.pin])
  await handshakesOf(server, 1)
  expect(server.serverNames).toEqual(['inner.test'])
  expect(await failure('--servername', '127.0.0.1', `localhost:${server.port}`)).toEqual({ code: 64, stderr: 'axios-ssl-pinning: --servername must be a host name; TLS has no server name for an IP address' })
})

test('the key exchange and the version are those of the connection', async () => {
  const server = await start({ certificate: issuing.issue(), maxVersion: 'TLSv1.2', ecdhCurve: 'P-384' })
  const { json } = await runCommand(['inspect', '--json', '--ca', ca, `localhost:${server.port}`])
  expect(json.server).toMatchObject({ tlsVersion: 'TLSv1.2', keyExchange: expect.stringMatching(/^(?:secp384r1|P-384)$/) })
})

test('a hybrid key exchange is named where Node tells it', async () => {
  const server = await start({ certificate: issuing.issue() })
  const { json } = await runCommand(['inspect', '--json', '--ca', ca, `localhost:${server.port}`])
  const major = Number(process.versions.node.split('.')[0])
  expect(json.server.keyExchange).toBe(major >= 24 ? 'X25519MLKEM768' : major === 22 ? undefined : 'X25519')
})

test('a junk certificate on a curve without a name does not end the process', async () => {
  // It bears the name and the key id of the trust anchor, so that tls takes it for the leaf's issuer (Node 24 and 26 crash on it).
  const server = await start({ certificate: root.issue(), chain: [impersonate(root, { key: 'secp256k1' })] })
  const { json, code } = await runCommand(['inspect', '--json', '--ca', ca, `localhost:${server.port}`])
  expect([code, json.served.length, json.served[1].subject, json.verified[1].pin]).toEqual([0, 2, 'CN=Root', root.pin])
})

test('names that strangers chose cannot write to the terminal', async () => {
  const server = await start({ certificate: createSelfSigned({ subject: [['O', 'a\u001b[2J\nb\u202e']], names: ['dns:x\u009b,y'] }) })
  const { stdout } = await runCommand(['inspect', `localhost:${server.port}`])
  expect(stdout.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u)
})

describe('a host that cannot be inspected is one line, and exit code 3', () => {
  test('one that speaks plain HTTP', async () => {
    const server = await startPlainServer()
    servers.push(server)
    expect(await failure(`localhost:${server.port}`)).toEqual({ code: 3, stderr: `axios-ssl-pinning: localhost:${server.port} cannot be inspected: its answer is not TLS; is this port for plain HTTP?` })
  })

  test('one that hangs', async () => {
    const server = await startStalledServer()
    servers.push(server)
    expect(await failure(`localhost:${server.port}`, '--timeout', '300ms')).toEqual({ code: 3, stderr: `axios-ssl-pinning: localhost:${server.port} cannot be inspected: a connection, but no TLS handshake within 300 ms` })
  })

  test('one that hangs up', async () => {
    for (const how of ['reset', 'close'] as const) {
      const server = await startResettingServer({ how })
      servers.push(server)
      expect(await failure(`localhost:${server.port}`)).toEqual({ code: 3, stderr: `axios-ssl-pinning: localhost:${server.port} cannot be inspected: it closed the connection during the handshake` })
    }
  })

  test('one where nothing listens, and one that does not exist', async () => {
    const gone = createServer()
    await new Promise<void>((resolve) => gone.listen(0, '127.0.0.1', resolve))
    const { port } = gone.address() as AddressInfo
    await new Promise((resolve) => gone.close(resolve))
    expect(await failure(`localhost:${port}`)).toEqual({ code: 3, stderr: `axios-ssl-pinning: localhost:${port} cannot be inspected: nothing listens on that port` })
    const { code, stderr } = await failure('no-such-host.invalid')
    expect(code).toBe(3)
    expect(stderr).toMatch(/there is no host of that name, and no file either$|cannot be looked up/)
  })

  test('one that speaks old TLS only, and one that wants a client certificate', async () => {
    const old = await start({ certificate: issuing.issue(), minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' })
    expect(await failure(`localhost:${old.port}`)).toEqual({ code: 3, stderr: `axios-ssl-pinning: localhost:${old.port} cannot be inspected: it speaks no TLS version from 1.2 on` })
    const picky = await start({ certificate: issuing.issue(), requestCert: true, maxVersion: 'TLSv1.2' })
    const { code, stderr } = await failure(`localhost:${picky.port}`)
    expect(code).toBe(3)
    expect(stderr).toMatch(/client certificate|closed the connection during the handshake/)
  })
})

test('what is no host, URL or file is wrong usage', async () => {
  expect(await failure('http://localhost')).toEqual({ code: 64, stderr: 'axios-ssl-pinning: "http://localhost": http: has no certificate to look at; right would be https:' })
  expect((await failure('*.example.com')).stderr).toMatch(/this is no host; right would be/)
  expect((await failure('localhost:99999')).stderr).toMatch(/its port is not a number from 1 to 65535/)
  expect((await failure('localhost', '--timeout', '5')).stderr).toMatch(/Right would be a number with its unit/)
  expect(await failure('localhost', '--ca', file('no.pem', 'x'))).toEqual({ code: 64, stderr: `axios-ssl-pinning: --ca ${join(folder, 'no.pem')} has no PEM certificate in it (-----BEGIN CERTIFICATE-----)` })
  expect(await failure(folder)).toEqual({ code: 64, stderr: `axios-ssl-pinning: ${folder} is a directory; right would be a file` })
  expect(await failure(join(folder, 'none.pem'))).toEqual({ code: 64, stderr: `axios-ssl-pinning: ${join(folder, 'none.pem')} cannot be read: there is no such file` })
  expect((await failure(file('key.pem', root.keyPem))).stderr).toMatch(/axios-ssl-pinning pin shows the pin$/)
})

test('a file is shown as a server is', async () => {
  const leaf = issuing.issue({ names: ['*.shop.test'] })
  const chain = file('fullchain.pem', leaf.pem + issuing.pem)
  const { json, code, stdout } = await runCommand(['inspect', '--json', '--ca', ca, chain])
  expect([code, json.trusted, json.server]).toEqual([0, true, undefined])
  expect(json.served.map(({ pin }: { pin: string }) => pin)).toEqual([leaf.pin, issuing.pin])
  expect(json.verified.map(({ pin }: { pin: string }) => pin)).toEqual([leaf.pin, issuing.pin, root.pin])
  expect(json.policy).toEqual({ pins: { '*.shop.test': { publicKeys: [leaf.pin] } } })
  expect(new X509Certificate(leaf.der).fingerprint256).toBe(json.served[0].fingerprint)
  expect(stdout).not.toMatch(/PRIVATE/)
  // Without its root: a file is no peer, so nothing is refused.
  const alone = await runCommand(['inspect', file('leaf.der', leaf.der)])
  expect([alone.code, alone.stdout]).toEqual([0, expect.stringContaining('Not trusted: no chain leads from the first certificate to a trust anchor.')])
  expect((await runCommand(['inspect', '-', '--json'], { stdin: root.pem })).json.policy).toBeUndefined()
})
