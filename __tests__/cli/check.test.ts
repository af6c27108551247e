import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import * as https from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createPinningAgent } from '../../lib/pinning.js'
import type { HostPolicy } from '../../lib/policy/policy.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import type { IssuedCertificate } from '../support/pki.js'
import { startPlainServer, startServer, startStalledServer } from '../support/servers.js'
import type { TestServer, TestServerOptions } from '../support/servers.js'
import { runCommand } from '../support/terminal.js'

const day = 86_400_000
const inDays = (days: number): Date => new Date(Date.now() + (days + 0.5) * day)
const root = createAuthority({ name: 'Root', notAfter: inDays(3_000) })
const issuing = root.issueAuthority({ name: 'Issuing', notAfter: inDays(2_000) })
const leaf = issuing.issue({ name: 'leaf', notAfter: inDays(60) })
const soon = issuing.issue({ name: 'soon', notAfter: inDays(20) })
// A key that exists, and has no certificate in service.
const backup = createAuthority({ name: 'Backup' })

let folder: string
let ca: string
const servers: Array<{ close(): Promise<void> }> = []
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'check-'))
  ca = file('root.pem', root.pem)
})
afterEach(async () => void (await Promise.all(servers.splice(0).map((server) => server.close()))))
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, content: string): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

function pinsFile(pins: Record<string, readonly string[] | HostPolicy>, more: object = {}): string {
  return file('pins.json', JSON.stringify({ pins, ...more }))
}

async function start(certificate: IssuedCertificate = leaf, options: Partial<TestServerOptions> = {}): Promise<TestServer> {
  const server = await startServer({ certificate, ...options })
  servers.push(server)
  return server
}

async function checkOne(policy: readonly string[] | HostPolicy, { certificate = leaf, args = [], more = {}, retired }: { certificate?: IssuedCertificate; args?: string[]; more?: object; retired?: string[] } = {}): Promise<{ code: number; host: any; server: TestServer }> {
  const server = await start(certificate)
  const name = `localhost:${server.port}`
  const refresh = retired && { hosts: { [name]: { retired: Object.fromEntries(retired.map((pin) => [pin, '2026-01-01'])) } } }
  const { code, json, stderr } = await runCommand(['check', '--json', '--ca', ca, ...args, pinsFile({ [name]: policy }, { ...more, refresh })])
  expect(stderr).toBe('')
  return { code, host: json.hosts[0], server }
}

test('all is well: which pin matched, whose it is, the backup, and what expires when', async () => {
  const { code, host, server } = await checkOne({ publicKeys: [leaf.pin, backup.pin], expires: inDays(90).toISOString() })
  expect(code).toBe(0)
  expect(host).toMatchObject({ target: `localhost:${server.port}`, status: 'ok', mode: 'enforce', match: { pin: leaf.pin, of: 'leaf', subject: 'CN=leaf' }, backups: [backup.pin], problems: [], tlsVersion: 'TLSv1.3', leaf: { subject: 'CN=leaf', fingerprint: leaf.fingerprint, pin: leaf.pin } })
  expect(host.expiries.map(({ what, name, pinned, daysLeft }: any) => [what, name, pinned, daysLeft])).toEqual([
    ['leaf', 'CN=leaf', true, 60],
    ['policy', `localhost:${server.port}`, true, 90],
    ['authority', 'CN=Issuing', false, 2_000],
    ['authority', 'CN=Root', false, 3_000]
  ])
  expect(server.decryptedBytes).toBe(0)
})

test('one that is refused: 1, with the reason and a diagnosis', async () => {
  const { code, host } = await checkOne([backup.pin, createAuthority().pin])
  expect(code).toBe(1)
  expect(host).toMatchObject({ status: 'refused', backups: [], problems: [{ kind: 'refused', code: 'ERR_PIN_MISMATCH' }], diagnosis: { verdict: expect.any(String), advice: expect.any(String) } })
  expect(host.match).toBeUndefined()
})

test('what expires soon: 2, for the leaf, a CA and the policy, by --warn-days', async () => {
  expect(await checkOne([soon.pin, backup.pin], { certificate: soon })).toMatchObject({ code: 2, host: { status: 'warning', problems: [{ kind: 'expiring', message: expect.stringMatching(/^the leaf certificate expires on \d{4}-\d\d-\d\d, 20 days left$/) }] } })
  expect((await checkOne([soon.pin, backup.pin], { certificate: soon, args: ['--warn-days', '20'] })).code).toBe(0)
  expect(await checkOne({ publicKeys: [leaf.pin, backup.pin], expires: inDays(3).toISOString() })).toMatchObject({ code: 2, host: { problems: [{ message: expect.stringMatching(/^the policy expires on .*, 3 days left$/) }] } })
  const old = root.issueAuthority({ name: 'Old CA', notAfter: inDays(5) })
  expect(await checkOne([leaf.pin, backup.pin], { certificate: old.issue({ key: leaf.key }) })).toMatchObject({ code: 2, host: { problems: [{ message: expect.stringMatching(/^the CA CN=Old CA expires on .*, 5 days left$/) }] } })
  // A CA that the policy holds, and this chain does not go through.
  expect(await checkOne({ publicKeys: [leaf.pin, backup.pin], authorities: [old.pem] })).toMatchObject({ code: 2, host: { problems: [{ message: expect.stringMatching(/^the CA CN=Old CA expires/) }] } })
})

describe('a backup pin is one outside the chain', () => {
  test.each<[string, readonly string[] | HostPolicy, string[], number]>([
    ['none at all', [leaf.pin], [], 2],
    ['the key and the certificate of the same leaf', { publicKeys: [leaf.pin], certificates: [leaf.fingerprint] }, [], 2],
    ['the CA above it', { publicKeys: [leaf.pin], authorities: [root.pem, issuing.pin] }, [], 2],
    ['one that is retired', [leaf.pin, backup.pin], [backup.pin.replace('sha256/', 'sha256//')], 2],
    ['a key of its own', [leaf.pin, backup.pin], [], 0],
    ['another CA', { publicKeys: [leaf.pin], authorities: [backup.pem] }, [], 0]
  ])('%s', async (_, policy, retired, expected) => {
    const { code, host } = await checkOne(policy, { retired })
    expect([code, host.status, host.problems.map(({ kind }: any) => kind)]).toEqual([expected, expected === 0 ? 'ok' : 'warning', expected === 0 ? [] : ['no-backup']])
  })

  test('what is merely sent along is none', async () => {
    const server = await start(leaf, { chain: [issuing, backup] })
    expect((await runCommand(['check', '--ca', ca, pinsFile({ [`localhost:${server.port}`]: [leaf.pin, backup.pin] })])).code).toBe(2)
  })
})

describe('comes to the verdict that the agent comes to', () => {
  const stranger = createAuthority({ name: 'Stranger' })
  const own = createSelfSigned({ name: 'own' })
  const policies: Array<[string, HostPolicy]> = [
    ['the leaf’s key', { publicKeys: [leaf.pin] }],
    ['the leaf itself', { certificates: [leaf.fingerprint] }],
    ['a CA by its certificate', { authorities: [issuing.pem] }],
    ['a CA by its key', { authorities: [root.pin] }],
    ['any of the chain', { pins: [issuing.pin] }],
    ['another key', { publicKeys: [backup.pin] }],
    ['another CA, trusted too', { authorities: [backup.pem] }],
    ['a rejected key', { publicKeys: [leaf.pin], rejected: [issuing.pin] }],
    ['a policy that has expired', { publicKeys: [leaf.pin], expires: '2026-01-01' }],
    ['one that then allows', { publicKeys: [backup.pin], expires: '2026-01-01', onExpiry: 'allow' }],
    ['a leaf without PKI', { publicKeys: [own.pin], trust: 'pin-only' }]
  ]
  const certificates: Array<[string, IssuedCertificate]> = [
    ['the leaf', leaf],
    ['a renewed leaf of the same key', issuing.issue({ name: 'leaf', key: leaf.key })],
    ['another leaf', issuing.issue()],
    ['one of a strange CA with the same key', stranger.issue({ key: leaf.key })],
    ['one of the other CA', backup.issue()],
    ['the right key for another name', issuing.issue({ key: leaf.key, names: ['other.test'] })],
    ['a self-signed one', own],
    ['its key for another name', createSelfSigned({ key: own.key, names: ['other.test'] })],
    ['its key, expired', createSelfSigned({ key: own.key, notBefore: inDays(-9), notAfter: inDays(-2) })]
  ]
  test.each(certificates)('on %s', async (_, certificate) => {
    const trusted = [root.pem, backup.pem]
    const anchors = file('anchors.pem', trusted.join(''))
    const server = await start(certificate)
    const target = `localhost:${server.port}`
    for (const [name, policy] of policies) {
      const { json } = await runCommand(['check', '--json', '--ca', anchors, pinsFile({ [target]: policy })])
      const agent = createPinningAgent({ pins: { [target]: policy }, tls: { ca: trusted } })
      const error = await get(server.port, agent)
      agent.destroy()
      const [host] = json.hosts
      const codes = host.problems.filter(({ kind }: any) => kind === 'refused').map(({ code }: any) => code)
      expect([name, host.status === 'refused', codes]).toEqual([name, error !== undefined, error === undefined ? [] : [error]])
    }
  })
})

/** The code of the refusal; `undefined` for an answer. */
function get(port: number, agent: https.Agent): Promise<string | undefined> {
  return new Promise((resolve) => https.get({ host: 'localhost', port, agent }, (response) => void response.resume().on('end', () => resolve(undefined))).on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message)))
}

test('a host that only reports is judged as if it enforced', async () => {
  expect(await checkOne({ publicKeys: [backup.pin, createAuthority().pin], mode: 'report-only' })).toMatchObject({ code: 1, host: { status: 'refused', mode: 'report-only' } })
  expect(await checkOne([backup.pin, createAuthority().pin], { more: { mode: 'off' } })).toMatchObject({ code: 1, host: { status: 'refused', mode: 'off' } })
  expect(await checkOne({ publicKeys: [backup.pin], expires: '2026-01-01', onExpiry: 'report-only' })).toMatchObject({ code: 1, host: { status: 'refused' } })
})

test('the pinned key without a trust anchor: what to do names --ca', async () => {
  const strange = createAuthority({ name: 'Private Root' })
  const certificate = strange.issue()
  const server = await start(certificate, { chain: [strange] })
  const { stdout, code } = await runCommand(['check', '--ca', ca, pinsFile({ [`localhost:${server.port}`]: [certificate.pin, backup.pin] })])
  expect(code).toBe(1)
  expect(stdout).toContain('no-trust-anchor (confidence: high). To do: Pass the certificate of its CA as --ca,')
  expect(stdout).not.toMatch(/tls\.ca|Something between/)
})

test('one that cannot be reached is 3, and refused beats unreachable beats expiring', async () => {
  const [good, bad, late] = [await start(), await start(issuing.issue()), await start(soon)]
  const [plain, stalled] = [await startPlainServer(), await startStalledServer()]
  servers.push(plain, stalled)
  const pins = Object.fromEntries([good, bad, late, plain, stalled].map(({ port }) => [`localhost:${port}`, [leaf.pin, soon.pin, backup.pin]]))
  const all = ['check', '--json', '--timeout', '500ms', '--ca', ca]
  const { json, code } = await runCommand([...all, pinsFile(pins)])
  expect(code).toBe(1)
  expect(json.hosts.map(({ status }: any) => status)).toEqual(['refused', 'unreachable', 'unreachable', 'warning', 'ok'])
  const messages = json.hosts.filter(({ status }: any) => status === 'unreachable').map(({ problems }: any) => problems[0].message)
  expect(messages.sort()).toEqual(['a connection, but no TLS handshake within 500 ms', 'its answer is not TLS; is this port for plain HTTP?'])
  delete pins[`localhost:${bad.port}`]
  expect((await runCommand([...all, pinsFile(pins)])).code).toBe(3)
  delete pins[`localhost:${plain.port}`]
  delete pins[`localhost:${stalled.port}`]
  expect((await runCommand([...all, pinsFile(pins)])).code).toBe(2)
})

test('wildcard patterns need hosts, and say so', async () => {
  const server = await start(issuing.issue({ names: ['localhost', '127.0.0.1'] }))
  const pins = { '*.example.com': [leaf.pin, backup.pin], '127.0.0.1': [leaf.pin, backup.pin] }
  const path = pinsFile({ '*.example.com': pins['*.example.com'] })
  expect(await runCommand(['check', path])).toMatchObject({ code: 64, stdout: '', stderr: `axios-ssl-pinning: ${path} names no host to check (*.example.com); right would be to give hosts that fall under it: check ${path} api.example.com\n` })
  // A further host is judged by the pattern it falls under; of a pattern that nothing falls under, this is said.
  const both = pinsFile(pins)
  const { json, stderr } = await runCommand(['check', '--json', '--only', '--ca', ca, both, `https://127.0.0.1:${server.port}/`])
  expect(json.hosts.map(({ target, pattern, status }: any) => [target, pattern, status])).toEqual([[`127.0.0.1:${server.port}`, '127.0.0.1', 'refused']])
  expect(json.unchecked).toEqual(['*.example.com'])
  expect(stderr).toBe('not checked, since no host given falls under it: *.example.com\n')
  expect((await runCommand(['check', '--only', both])).stderr).toBe('axios-ssl-pinning: --only needs the hosts to check\n')
})

test('a host without pins is refused, unless such hosts are allowed', async () => {
  const server = await start()
  const args = ['check', '--json', '--ca', ca, '--only']
  const strict = await runCommand([...args, pinsFile({ 'api.example.com': [leaf.pin, backup.pin] }), `localhost:${server.port}`])
  expect([strict.code, strict.json.hosts[0].problems[0].code]).toEqual([1, 'ERR_PIN_HOST_UNPINNED'])
  const lax = await runCommand([...args, pinsFile({ 'api.example.com': [leaf.pin, backup.pin] }, { unpinnedHosts: 'allow' }), `localhost:${server.port}`])
  expect([lax.code, lax.json.hosts[0].status, lax.json.hosts[0].pattern]).toEqual([0, 'ok', undefined])
})

test('people get a table, the worst first, and colour only on a terminal', async () => {
  const [good, bad] = [await start(), await start(issuing.issue())]
  const args = ['check', '--ca', ca, pinsFile({ [`localhost:${good.port}`]: [leaf.pin, backup.pin], [`localhost:${bad.port}`]: [leaf.pin, backup.pin] })]
  const { stdout, stderr } = await runCommand(args)
  expect(stderr).toBe('')
  expect(stdout).not.toMatch(/\u001b/)
  expect(stdout).toMatch(new RegExp(`^STATUS +HOST +BACKUPS +EXPIRES FIRST +MATCHED\nrefused +localhost:${bad.port} +- .*\nok +localhost:${good.port} +1 +leaf \\S+, 60 days left +${leaf.pin.replaceAll(/[+/]/g, '\\$&')} \\(leaf\\)\n`))
  expect(stdout.trimEnd().split('\n').at(-1)).toBe('2 hosts: 1 refused, 1 well')
  const seen = await runCommand(args, { tty: true })
  expect(seen.stdout).toMatch(/\u001b\[3/)
  expect(seen.stderr).toMatch(/checking \[.*\] \d\/2/)
  expect((await runCommand(args, { tty: true, env: { NO_COLOR: '1' } })).stdout).toBe(stdout)
})

test('a file that cannot be used is one line, and exit code 64', async () => {
  const say = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await runCommand(['check', ...args])
    expect([code, stdout, stderr.trimEnd().includes('\n')]).toEqual([64, '', false])
    return stderr.trim().replace(`axios-ssl-pinning: `, '')
  }
  expect(await say(folder)).toBe(`${folder} is a directory; right would be a file`)
  expect(await say(file('empty.json', ''))).toBe(`${join(folder, 'empty.json')} is empty`)
  expect(await say(file('broken.json', '{ "pins": { "api.example.com": ["nonsense", "sha256/AAAA"] } }'))).toMatch(/broken\.json:1:\d+: pins\["api\.example\.com"\]\[0\]: .* \(and 1 more\)$/)
  expect(await say(file('utf16.json', '\u0000{') + '')).toMatch(/utf16\.json/)
  expect(await say(pinsFile({ localhost: [leaf.pin] }), '--concurrency', '0')).toMatch(/whole number from 1 to 999/)
  expect(await say(pinsFile({ localhost: [leaf.pin] }), '--warn-days', 'x')).toMatch(/whole number of days/)
  expect(await say('-', '--watch', '1h')).toBe('standard input cannot be read again; right would be a file')
  const { json } = await runCommand(['check', '--json', file('broken.yaml', 'pins:\n  api.example.com: [nonsense]\n  x y: []\n')])
  expect(json.error.problems.map(({ line }: any) => line)).toEqual([2, 3, 3])
})

test('--html writes the report, and says when it cannot', async () => {
  const server = await start(issuing.issue({ name: '<img src=x onerror=alert(1)>"\'&\u202e', notAfter: inDays(12) }))
  const path = join(folder, 'report.html')
  const pins = pinsFile({ [`localhost:${server.port}`]: [leaf.pin, backup.pin], '**.example.com': [leaf.pin, backup.pin] })
  expect((await runCommand(['check', '--ca', ca, '--html', path, pins])).code).toBe(1)
  const html = readFileSync(path, 'utf8')
  expect(html).toMatch(/^<!doctype html>[^]*<meta name="viewport"[^]*Content-Security-Policy[^]*12 days left[^]*CA[^]*CN=Issuing[^]*CN=Root[^]*Not checked[^]*\*\*\.example\.com/)
  expect(html).not.toMatch(/<(?:img|script|link|iframe|object)|\bhttps?:|url\(|\u202e|<[^>]*\son\w+=/i)
  expect(html).toContain(String.raw`CN=\&#60;img src=x onerror=alert(1)\&#62;`)
  expect(await runCommand(['check', '--ca', ca, '--html', join(folder, 'no', 'such', 'folder.html'), pins])).toMatchObject({ code: 64, stderr: expect.stringMatching(/--html .* cannot be written: /) })
})

test('--watch follows the servers and the file, and prints what changes', async () => {
  const server = await start()
  const target = `localhost:${server.port}`
  const path = pinsFile({ [target]: [leaf.pin, backup.pin] })
  const child = spawn(process.execPath, [join(__dirname, '../../dist/cjs/cli/main.js'), 'check', '--json', '--ca', ca, '--watch', '50ms', path], { stdio: ['ignore', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk))
  const until = async (condition: () => boolean): Promise<void> => {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 10))
  }
  await until(() => stdout.endsWith('\n}\n'))
  const first = stdout
  expect(JSON.parse(first)).toMatchObject({ exitCode: 0, hosts: [{ target, status: 'ok' }] })
  const changes = (): any[] => stdout.slice(first.length).split('\n').filter(Boolean).map((line) => JSON.parse(line))

  server.swapCertificate(soon)
  await until(() => changes().some(({ after }) => after === 'refused'))
  // A file that cannot be read for a moment ends nothing.
  writeFileSync(path, '{')
  await until(() => /pins\.json:1:/.test(stderr))
  pinsFile({ [target]: [soon.pin, backup.pin] })
  await until(() => changes().some(({ after }) => after === 'warning'))
  const ended = new Promise((resolve) => child.on('close', resolve))
  child.kill('SIGTERM')
  expect(await ended).toBe(2)
  expect(changes().map(({ kind, before, after }) => [kind, before, after])).toEqual([
    ['status', 'ok', 'refused'],
    ['certificate', leaf.fingerprint, soon.fingerprint],
    ['status', 'refused', 'warning']
  ])
})

test('--watch ends when it is told to, even in the middle of a round', async () => {
  const [server, stalled] = [await start(), await startStalledServer()]
  servers.push(stalled)
  const path = pinsFile({ [`localhost:${server.port}`]: [leaf.pin, backup.pin] })
  const child = spawn(process.execPath, [join(__dirname, '../../dist/cjs/cli/main.js'), 'check', '--ca', ca, '--timeout', '1h', '--watch', '20ms', path], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise((resolve) => child.on('close', resolve))
  await new Promise((resolve) => child.stdout.once('data', resolve))
  pinsFile({ [`localhost:${stalled.port}`]: [leaf.pin, backup.pin] })
  while (stalled.connections === 0) await new Promise((resolve) => setTimeout(resolve, 10))
  child.kill('SIGINT')
  expect(await ended).toBe(0)
})
