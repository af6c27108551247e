import * as fs from 'node:fs'
import * as https from 'node:https'
import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createPinning } from '../../lib/index.js'
import type { Pinning, PinningOptions } from '../../lib/index.js'
import { runChild } from '../support/child.js'
import { send, until, wait } from '../support/clients.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import type { IssuedCertificate } from '../support/pki.js'
import { startServer } from '../support/servers.js'
import type { TestServer } from '../support/servers.js'

const root = createAuthority({ name: 'Server Root' })
const clientRoot = createAuthority({ name: 'Client Root' })
const genuine = root.issue()
const [first, second, third] = ['first', 'second', 'third'].map((name) => clientRoot.issue({ name, extendedKeyUsage: ['clientAuth'] })) as [IssuedCertificate, IssuedCertificate, IssuedCertificate]
const pins = { localhost: [genuine.fingerprint, createSelfSigned().fingerprint] }

let home: string
let certFile: string
let keyFile: string
let warnings: string[]
const closing: Array<() => unknown> = []
beforeEach(() => {
  home = fs.mkdtempSync(join(tmpdir(), 'client-certificate-'))
  certFile = join(home, 'tls.crt')
  keyFile = join(home, 'tls.key')
  write(first)
  warnings = []
  jest.spyOn(process, 'emitWarning').mockImplementation((text) => void warnings.push(String(text)))
})
afterEach(async () => {
  for (const each of closing.splice(0).reverse()) await each()
  fs.rmSync(home, { recursive: true, force: true })
})

function write({ pem, keyPem }: IssuedCertificate): void {
  fs.writeFileSync(certFile, pem)
  fs.writeFileSync(keyFile, keyPem)
}

/** As careful programs do it: each file appears at once, whole. */
function rename({ pem, keyPem }: IssuedCertificate): void {
  for (const [path, text] of [[keyFile, keyPem], [certFile, pem]] as const) {
    fs.writeFileSync(`${path}.new`, text)
    fs.renameSync(`${path}.new`, path)
  }
}

/** Demands a client certificate, and answers with the name in it. */
async function start(): Promise<TestServer> {
  const server = await startServer({ certificate: genuine, requestCert: true, ca: clientRoot, handler: (request, response) => response.end(String((request.socket as TLSSocket).getPeerCertificate().subject?.CN)) })
  closing.push(() => server.close())
  return server
}

function pinningFor(options: Partial<PinningOptions> = {}, clientCertificate: object = {}): Pinning {
  const pinning = createPinning({ pins, tls: { ca: root.pem, clientCertificate: { certFile, keyFile, ...clientCertificate } }, ...options })
  closing.push(() => pinning.close())
  return pinning
}

async function whoAmI(pinning: Pinning, server: TestServer): Promise<string> {
  const { status, body, code, reused, resumed } = await send(pinning.agent, server.port)
  return status === 200 ? `${body} ${reused ? 'kept' : resumed ? 'resumed' : 'new'}` : String(code)
}

/** The name that the server sees once the change has been noticed; the time it takes is up to the machine. */
async function changed(pinning: Pinning, from = first): Promise<void> {
  for (let i = 0; i < 100 && pinning.status().clientCertificate?.fingerprint === from.fingerprint; i++) await wait(100)
}

test('is shown to a server that demands one; without it that server refuses', async () => {
  const server = await start()
  expect(await whoAmI(createPinning({ pins, tls: { ca: root.pem } }), server)).not.toMatch(/first|new/)
  const pinning = pinningFor()
  expect(await whoAmI(pinning, server)).toBe('first new')
  expect(await whoAmI(pinning, server)).toBe('first kept')
  expect(pinning.status().clientCertificate).toEqual({ subject: 'CN=first', fingerprint: first.fingerprint, validTo: new Date(first.x509.validTo).toISOString(), loaded: expect.any(String) })
})

test.each<[string, (next: IssuedCertificate) => void]>([
  ['files renamed into place', rename],
  ['files written in place', write],
  ['a key first and its certificate a moment later', (next) => {
    fs.writeFileSync(keyFile, next.keyPem)
    setTimeout(() => fs.writeFileSync(certFile, next.pem), 100)
  }]
])('%s: new connections show the new one, and nothing of the old one is used again', async (_, change) => {
  const server = await start()
  const pinning = pinningFor()
  expect(await whoAmI(pinning, server)).toBe('first new')
  expect(await whoAmI(pinning, server)).toBe('first kept')
  const { revision } = pinning.status()
  change(second)
  await changed(pinning)
  expect(await whoAmI(pinning, server)).toBe('second new')
  expect(await whoAmI(pinning, server)).toBe('second kept')
  // Its own sessions are resumed as ever.
  await send(pinning.agent, server.port, { headers: { connection: 'close' } })
  expect(await whoAmI(pinning, server)).toBe('second resumed')
  expect(pinning.status().revision).toBe(revision + 1)
  await until(() => server.openSockets === 1)
  expect(warnings).toEqual([])
})

test('a symbolic link that is swapped, as Kubernetes swaps the folder of a secret', async () => {
  const folderOf = (name: string, { pem, keyPem }: IssuedCertificate): void => {
    fs.mkdirSync(join(home, name))
    fs.writeFileSync(join(home, name, 'tls.crt'), pem)
    fs.writeFileSync(join(home, name, 'tls.key'), keyPem)
  }
  for (const path of [certFile, keyFile]) fs.rmSync(path)
  folderOf('..1', first)
  fs.symlinkSync('..1', join(home, '..data'))
  fs.symlinkSync(join('..data', 'tls.crt'), certFile)
  fs.symlinkSync(join('..data', 'tls.key'), keyFile)
  const server = await start()
  const pinning = pinningFor()
  expect(await whoAmI(pinning, server)).toBe('first new')
  folderOf('..2', second)
  fs.symlinkSync('..2', join(home, '..data_tmp'))
  fs.renameSync(join(home, '..data_tmp'), join(home, '..data'))
  fs.rmSync(join(home, '..1'), { recursive: true })
  await changed(pinning)
  expect(await whoAmI(pinning, server)).toBe('second new')
})

test('a link to a file in a folder that is not watched, written there: noticed by looking', async () => {
  const away = fs.mkdtempSync(join(tmpdir(), 'client-certificate-away-'))
  closing.push(() => fs.rmSync(away, { recursive: true }))
  for (const [path, text] of [[certFile, first.pem], [keyFile, first.keyPem]] as const) {
    const target = join(away, path.endsWith('crt') ? 'crt' : 'key')
    fs.writeFileSync(target, text)
    fs.rmSync(path)
    fs.symlinkSync(target, path)
  }
  const server = await start()
  const pinning = pinningFor()
  expect(await whoAmI(pinning, server)).toBe('first new')
  fs.writeFileSync(join(away, 'crt'), second.pem)
  fs.writeFileSync(join(away, 'key'), second.keyPem)
  await changed(pinning)
  expect(await whoAmI(pinning, server)).toBe('second new')
})

test.each<[string, (next: IssuedCertificate) => void, RegExp]>([
  ['a key that belongs to another certificate', () => fs.writeFileSync(keyFile, third.keyPem), /tls\.clientCertificate: the private key does not belong to the certificate/],
  ['half a certificate', (next) => fs.writeFileSync(certFile, next.pem.slice(0, next.pem.length / 2)), /certFile: holds no PEM certificate/],
  ['an empty key', () => fs.writeFileSync(keyFile, ''), /keyFile: holds no PEM private key/],
  ['a key that is gone', () => fs.rmSync(keyFile), /keyFile: cannot be read/]
])('%s leaves the former one in use and is warned about; what comes right then is taken', async (_, damage, problem) => {
  const server = await start()
  const pinning = pinningFor()
  expect(await whoAmI(pinning, server)).toBe('first new')
  damage(second)
  for (let i = 0; i < 100 && warnings.length === 0; i++) await wait(100)
  expect(warnings).toEqual([expect.stringMatching(problem)])
  expect(warnings[0]).toContain('the former certificate stays in use')
  expect(warnings[0]).not.toContain('PRIVATE')
  expect(pinning.status().clientCertificate).toMatchObject({ fingerprint: first.fingerprint, problem: expect.stringMatching(problem) })
  expect(await whoAmI(pinning, server)).toMatch(/^first /)
  write(second)
  await changed(pinning)
  expect(await whoAmI(pinning, server)).toBe('second new')
  expect(pinning.status().clientCertificate).not.toHaveProperty('problem')
})

test('an encrypted key needs its passphrase, which no error repeats', async () => {
  const own = clientRoot.issue({ name: 'encrypted', extendedKeyUsage: ['clientAuth'] })
  fs.writeFileSync(certFile, own.pem)
  const encrypted = own.key.privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'open sesame' })
  fs.writeFileSync(keyFile, encrypted)
  const server = await start()
  expect(await whoAmI(pinningFor({}, { passphrase: 'open sesame' }), server)).toBe('encrypted new')
  for (const passphrase of [undefined, 'wrong secret']) {
    const error = refusalOf(passphrase === undefined ? {} : { passphrase })
    expect(error).toMatchObject({ code: 'ERR_PIN_POLICY_INVALID', option: 'tls.clientCertificate.keyFile' })
    expect(`${error.message}${error.stack}`).not.toMatch(/secret|sesame/)
  }
})

function refusalOf(clientCertificate: object): Error {
  try {
    pinningFor({}, clientCertificate)
  } catch (error) {
    return error as Error
  }
  throw new Error('not refused')
}

test('what cannot be used is an error at the start', () => {
  fs.writeFileSync(join(home, 'other.key'), second.keyPem)
  fs.writeFileSync(join(home, 'large'), Buffer.alloc(1_000_001))
  const cases: Array<[object, string]> = [
    [{ keyFile: join(home, 'other.key') }, 'tls.clientCertificate'],
    [{ certFile: join(home, 'none') }, 'tls.clientCertificate.certFile'],
    [{ certFile: home }, 'tls.clientCertificate.certFile'],
    [{ certFile: join(home, 'large') }, 'tls.clientCertificate.certFile'],
    [{ certFile: keyFile }, 'tls.clientCertificate.certFile'],
    [{ keyFile: certFile }, 'tls.clientCertificate.keyFile'],
    [{ certFile: 1 }, 'tls.clientCertificate.certFile'],
    [{ keyFile: '' }, 'tls.clientCertificate.keyFile'],
    [{ passphrase: 1 }, 'tls.clientCertificate.passphrase'],
    [{ cert: 'x' }, 'tls.clientCertificate.cert']
  ]
  for (const [given, option] of cases) expect(refusalOf(given)).toMatchObject({ code: 'ERR_PIN_POLICY_INVALID', option })
  for (const name of ['cert', 'key', 'pfx', 'passphrase']) {
    expect(() => pinningFor({ tls: { clientCertificate: { certFile, keyFile }, [name]: first.pem } })).toThrow(expect.objectContaining({ option: 'tls.clientCertificate', message: expect.stringContaining(`tls.${name}`) }))
  }
})

test('holds for CA pins too, where OpenSSL is given other anchors', async () => {
  const server = await start()
  const pinning = pinningFor({ pins: { localhost: { authorities: [root.pem] } } })
  expect(await whoAmI(pinning, server)).toBe('first new')
  rename(second)
  await changed(pinning)
  expect(await whoAmI(pinning, server)).toBe('second new')
})

test('goes to the host only: a proxy over TLS that asks for one is shown none, before a change and after it', async () => {
  const server = await start()
  const proxyLeaf = root.issue()
  const shown: unknown[] = []
  // Takes whatever it is shown.
  const proxy = https.createServer({ cert: proxyLeaf.pem, key: proxyLeaf.keyPem, requestCert: true, rejectUnauthorized: false, ca: clientRoot.pem })
  proxy.on('secureConnection', (socket: TLSSocket) => shown.push(socket.getPeerCertificate().subject?.CN))
  proxy.on('connect', (_request, socket) => {
    const upstream = connect(server.port, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      socket.pipe(upstream).pipe(socket)
    })
    for (const each of [socket, upstream]) each.on('error', () => undefined)
  })
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  closing.push(() => proxy.close())
  const pinning = pinningFor({ proxy: `https://localhost:${(proxy.address() as AddressInfo).port}`, proxyTls: { ca: root.pem } })
  expect(await whoAmI(pinning, server)).toBe('first new')
  rename(second)
  await changed(pinning)
  expect(await whoAmI(pinning, server)).toBe('second new')
  expect(shown).toEqual([undefined, undefined])
})

test('close() ends the watch; a later request begins it again', async () => {
  const server = await start()
  const pinning = pinningFor()
  expect(await whoAmI(pinning, server)).toBe('first new')
  await pinning.close()
  rename(second)
  await wait(1_300)
  expect(pinning.status().clientCertificate?.fingerprint).toBe(first.fingerprint)
  expect(await whoAmI(pinning, server)).toBe('second new')
})

test('the watch does not keep a process alive', async () => {
  const server = await start()
  const script = `
    const { createPinningAgent } = await load('index.js')
    const https = await import('node:https')
    const agent = createPinningAgent(input.options)
    https.get({ host: 'localhost', port: input.port, agent }, (response) => { response.resume().on('end', () => report({ status: response.statusCode })) })`
  const ended = await runChild(script, { input: { port: server.port, options: { pins, tls: { ca: root.pem, clientCertificate: { certFile, keyFile } }, agent: { keepAlive: false } } } })
  expect(ended).toMatchObject({ code: 0, reported: { status: 200 } })
})
