import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startProxy, startRawProxy } from '../support/proxies.js'
import type { TestProxy } from '../support/proxies.js'
import { startServer } from '../support/servers.js'
import type { TestServer } from '../support/servers.js'
import { runCommand } from '../support/terminal.js'

// inspect and check, through proxies.

const root = createAuthority({ name: 'Root' })
const leaf = root.issue({ name: 'leaf' })
const backup = createAuthority()

let folder: string
let ca: string
let server: TestServer
const servers: Array<{ close(): Promise<void> }> = []
const variables = ['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy', 'NO_PROXY', 'no_proxy']
const before = variables.map((name) => [name, process.env[name]] as const)

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'proxy-'))
  ca = file('root.pem', root.pem)
  server = await startServer({ certificate: leaf })
  for (const name of variables) delete process.env[name]
})
afterEach(async () => {
  for (const name of variables) delete process.env[name]
  await Promise.all(servers.splice(0).map((each) => each.close()))
})
afterAll(async () => {
  for (const [name, value] of before) if (value !== undefined) process.env[name] = value
  await server.close()
  rmSync(folder, { recursive: true })
})

function file(name: string, content: string): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

async function keep(starting: Promise<TestProxy>): Promise<TestProxy> {
  const proxy = await starting
  servers.push(proxy)
  return proxy
}

function inspect(...args: string[]): ReturnType<typeof runCommand> {
  return runCommand(['inspect', '--ca', ca, ...args, `localhost:${server.port}`])
}

test('--proxy goes through a tunnel, and says so', async () => {
  const proxy = await keep(startProxy())
  const { code, stdout } = await inspect('--proxy', proxy.url)
  expect(code).toBe(0)
  expect(stdout.split('\n')[0]).toMatch(new RegExp(`  through ${proxy.url}$`))
  expect(proxy.asked.map(({ line }) => line)).toEqual([`CONNECT localhost:${server.port}`])
  expect((await inspect('--json', '--proxy', proxy.url)).json).toMatchObject({ trusted: true, server: { proxy: proxy.url }, served: [{ pin: leaf.pin }] })
  expect(server.decryptedBytes).toBe(0)
})

test('without it the environment decides, and --no-proxy goes there directly', async () => {
  const proxy = await keep(startProxy())
  process.env['HTTPS_PROXY'] = proxy.url
  expect((await inspect()).code).toBe(0)
  expect(proxy.asked).toHaveLength(1)
  expect((await inspect('--no-proxy')).code).toBe(0)
  process.env['NO_PROXY'] = 'localhost'
  expect((await inspect()).code).toBe(0)
  expect(proxy.asked).toHaveLength(1)
})

test('credentials go to the proxy, and nowhere else', async () => {
  const proxy = await keep(startProxy({ auth: 'user:geheim' }))
  const url = proxy.url.replace('//', '//user:geheim@')
  const seen = await inspect('--json', '--proxy', url)
  expect([seen.code, seen.json.server.proxy]).toEqual([0, proxy.url])
  expect(seen.stdout).not.toMatch(/geheim/)
  const refused = await inspect('--proxy', proxy.url.replace('//', '//user:falsch@'))
  expect([refused.code, refused.stdout, refused.stderr]).toEqual([3, '', `axios-ssl-pinning: localhost:${server.port} cannot be inspected: The proxy ${proxy.url} answered CONNECT with 407 Proxy Authentication Required\n`])
})

test('who answers behind a hostile proxy is shown as untrusted', async () => {
  const impostor = await startServer({ certificate: createSelfSigned() })
  servers.push(impostor)
  const proxy = await keep(startProxy({ divert: impostor.port }))
  const { code, json } = await inspect('--json', '--proxy', proxy.url)
  expect([code, json.trusted, json.untrusted.code]).toEqual([1, false, 'DEPTH_ZERO_SELF_SIGNED_CERT'])
  expect(impostor.decryptedBytes).toBe(0)
})

/** Opens a tunnel, at whose end plain HTTP is spoken. */
function plainBehind(socket: Socket): void {
  socket.write('HTTP/1.1 200 OK\r\n\r\n')
  socket.once('data', () => socket.write('HTTP/1.1 400 Bad Request\r\n\r\n'))
}

test('a proxy that opens no tunnel is one line, and exit code 3', async () => {
  for (const [answer, text] of [
    ['HTTP/1.1 201 Created\r\ncontent-length: 5\r\n\r\nhello', /answered CONNECT with 201 Created$/],
    [plainBehind, /its answer is not TLS; is this port for plain HTTP\?$/],
    ['', /no tunnel through the proxy http:\/\/\S+ within 300 ms$|did not open a tunnel within 300 ms$/]
  ] as const) {
    const proxy = await keep(startRawProxy(answer))
    const { code, stdout, stderr } = await inspect('--timeout', '300ms', '--proxy', proxy.url)
    expect([code, stdout]).toEqual([3, ''])
    expect(stderr.trimEnd()).toMatch(text)
    expect(stderr.trimEnd()).not.toMatch(/\n/)
  }
})

test('what is no proxy is wrong usage', async () => {
  expect(await inspect('--proxy', 'user:geheim')).toMatchObject({ code: 64, stderr: expect.not.stringMatching(/geheim/) })
  expect((await inspect('--proxy', 'proxy.example')).stderr).toBe('axios-ssl-pinning: --proxy is not a URL; right would be http://proxy.example:3128\n')
})

test('check goes through proxies as well', async () => {
  const proxy = await keep(startProxy())
  const pins = file('pins.json', JSON.stringify({ pins: { [`localhost:${server.port}`]: [leaf.pin, backup.pin] } }))
  expect((await runCommand(['check', '--ca', ca, '--proxy', proxy.url, pins])).code).toBe(0)
  expect(proxy.asked).toHaveLength(1)
  const closed = await startProxy()
  await closed.close()
  const { code, json } = await runCommand(['check', '--json', '--ca', ca, '--proxy', closed.url, pins])
  expect([code, json.hosts[0].status, json.hosts[0].problems[0].message]).toEqual([3, 'unreachable', expect.stringMatching(/^The proxy http:\S+ cannot be used: .*ECONNREFUSED/)])
})
