import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { hasOpenssl } from '../support/openssl.js'
import { certificateRequest, createAuthority, createSelfSigned, generateKey } from '../support/pki.js'
import type { IssuedCertificate, NamedKeyKind } from '../support/pki.js'
import { runCommand } from '../support/terminal.js'

let folder: string
beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'pin-'))))
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, content: string | Buffer): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

function openssl(...args: string[]): Buffer {
  return execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'ignore'] })
}

/** What `openssl … | openssl dgst -sha256 -binary | base64` makes of a SubjectPublicKeyInfo. */
function opensslPin(...args: string[]): string {
  const pem = execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'ignore'] })
  const spki = execFileSync('openssl', ['pkey', '-pubin', '-outform', 'DER'], { input: pem, stdio: ['pipe', 'pipe', 'ignore'] })
  return `sha256/${execFileSync('openssl', ['dgst', '-sha256', '-binary'], { input: spki }).toString('base64')}`
}

async function pinsOf(files: string[], env: NodeJS.ProcessEnv = {}): Promise<string[]> {
  const { code, json, stderr } = await runCommand(['pin', '--json', '--passphrase-from', 'env:SECRET', ...files], { env: { SECRET: 'geheim', ...env } })
  expect([code, stderr]).toEqual([0, ''])
  return (json as Array<{ pin: string }>).map(({ pin }) => pin)
}

const kinds: NamedKeyKind[] = ['rsa', 'rsa-pss', 'p256', 'p384', 'p521', 'ed25519', 'ed448']

describe(hasOpenssl ? 'byte-equal to openssl' : 'openssl is not installed: apt-get install openssl', () => {
  const each = hasOpenssl ? test.each(kinds) : test.skip.each(kinds)
  each('%s: certificate, private and public key, request and key store, PEM and DER', async (kind) => {
    const key = generateKey(kind)
    const certificate = createSelfSigned({ key, name: kind })
    const request = certificateRequest(key, ['next.test'])
    const pem = file(`${kind}.pem`, certificate.pem)
    const csr = file(`${kind}.csr`, request.pem)
    const privateKey = file(`${kind}.key`, certificate.keyPem)
    const publicKey = file(`${kind}.pub`, key.publicKey.export({ type: 'spki', format: 'pem' }))
    const store = join(folder, `${kind}.p12`)
    openssl('pkcs12', '-export', '-inkey', privateKey, '-in', pem, '-out', store, '-passout', 'pass:geheim')
    const expected = [opensslPin('x509', '-in', pem, '-pubkey', '-noout'), opensslPin('pkey', '-in', privateKey, '-pubout'), opensslPin('req', '-in', csr, '-pubkey', '-noout')]
    expect(new Set(expected).size).toBe(1)
    const pins = await pinsOf([
      pem, csr, privateKey, publicKey, store,
      file(`${kind}.der`, certificate.der),
      file(`${kind}.csr.der`, request.der),
      file(`${kind}.key.der`, key.privateKey.export({ type: 'pkcs8', format: 'der' })),
      file(`${kind}.pub.der`, key.publicKey.export({ type: 'spki', format: 'der' })),
      file(`${kind}.sealed`, key.privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'geheim' })),
      file(`${kind}.sealed.der`, key.privateKey.export({ type: 'pkcs8', format: 'der', cipher: 'aes-256-cbc', passphrase: 'geheim' }))
    ])
    expect(pins).toEqual(Array(11).fill(expected[0]))
  })

  const one = hasOpenssl ? test : test.skip
  one('of a key store with other certificates in it, the one that belongs to its key', async () => {
    const root = createAuthority()
    const leaf = root.issue({ key: 'rsa' })
    const store = join(folder, 'chain.p12')
    openssl('pkcs12', '-export', '-inkey', file('leaf.key', leaf.keyPem), '-in', file('leaf.pem', leaf.pem), '-certfile', file('root.pem', root.pem), '-out', store, '-passout', 'pass:geheim')
    expect(await pinsOf([store])).toEqual([leaf.pin])
  })

  one('key stores that cannot be opened say why', async () => {
    const { keyPem, pem } = createSelfSigned({ key: 'rsa' })
    const [key, certificate] = [file('a.key', keyPem), file('a.pem', pem)]
    const store = (name: string, ...args: string[]): string => {
      openssl('pkcs12', '-export', '-out', join(folder, name), ...args)
      return join(folder, name)
    }
    const geheim = ['-passout', 'pass:geheim']
    const whole = store('whole.p12', '-inkey', key, '-in', certificate, ...geheim)
    expect(await say(whole, undefined)).toBe('it is encrypted, and no passphrase was given; right would be --passphrase-from env:NAME, file:PATH or stdin')
    expect(await say(whole, 'other')).toBe('its passphrase is another one, or it is damaged')
    expect(await say(store('old.p12', '-legacy', '-inkey', key, '-in', certificate, ...geheim), 'geheim')).toMatch(/^it is encrypted with an algorithm that OpenSSL 3 no longer reads/)
    expect(await say(store('nokey.p12', '-nokeys', '-in', certificate, ...geheim), 'geheim')).toMatch(/^it has no private key/)
    expect(await say(store('nocert.p12', '-nocerts', '-inkey', key, ...geheim), 'geheim')).toMatch(/^it has no certificate that belongs to its key/)
    // An empty passphrase is none.
    expect((await runCommand(['pin', store('empty.p12', '-inkey', key, '-in', certificate, '-passout', 'pass:')])).code).toBe(0)
  })
})

/** The reason of the one line on stderr. */
async function say(path: string, passphrase: string | undefined): Promise<string> {
  const { code, stdout, stderr } = await runCommand(['pin', path, ...(passphrase === undefined ? [] : ['--passphrase-from', 'env:SECRET'])], { env: { SECRET: passphrase } })
  expect([code, stdout]).toEqual([64, ''])
  expect(stderr.startsWith(`axios-ssl-pinning: ${path}`)).toBe(true)
  expect(stderr.trimEnd().includes('\n')).toBe(false)
  return stderr.slice(`axios-ssl-pinning: ${path}`.length).replace(/^: /, '').trim()
}

test('encrypted keys want their passphrase: from the environment, a file or standard input', async () => {
  const { key, pin } = createSelfSigned()
  const sealed = (format: 'pem' | 'der'): string => file(`sealed.${format}`, key.privateKey.export({ type: 'pkcs8', format: format as 'pem', cipher: 'aes-256-cbc', passphrase: 'geheim' }))
  const old = file('sec1.pem', key.privateKey.export({ type: 'sec1', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'geheim' }))
  for (const path of [sealed('pem'), sealed('der'), old]) {
    expect(await say(path, undefined)).toMatch(/^it is encrypted, and no passphrase was given; right would be --passphrase-from/)
    expect(await say(path, 'other')).toBe('its passphrase is another one, or it is damaged')
    for (const [source, stdin] of [[`file:${file('secret', 'geheim\r\n')}`, ''], ['stdin', 'geheim\n'], ['stdin', 'geheim']] as const) {
      expect(await runCommand(['pin', path, '--passphrase-from', source], { stdin })).toMatchObject({ code: 0, stdout: `${pin}\n`, stderr: '' })
    }
  }
})

test('a passphrase is never taken from the arguments, nor echoed', async () => {
  const { stderr, code } = await runCommand(['pin', file('any.pem', 'x'), '--passphrase-from', 'geheim'])
  expect(code).toBe(64)
  expect(stderr).toMatch(/takes env:NAME, file:PATH or stdin/)
  expect(stderr).not.toMatch(/geheim/)
  expect((await runCommand(['pin', 'x', '--passphrase-from', 'env:geheim'])).stderr).toBe('axios-ssl-pinning: --passphrase-from: there is no environment variable of that name; right would be to set and export it first\n')
  expect((await runCommand(['pin', 'x', '--passphrase-from', 'env:PIN_SECRET'])).stderr).toContain('there is no environment variable PIN_SECRET;')
  expect((await runCommand(['pin', '-', '--passphrase-from', 'stdin'])).stderr).toBe('axios-ssl-pinning: standard input cannot be both the file and the passphrase\n')
})

test('what cannot be read is one line, and exit code 64', async () => {
  expect(await say(folder, undefined)).toBe('is a directory; right would be a file')
  expect(await say(file('empty', ''), undefined)).toBe('is empty')
  expect(await say(file('large', Buffer.alloc(50_000_000)), undefined)).toBe('is too large (50.0 MB); at most 10 MB are read')
  expect(await say('/dev/zero', undefined)).toBe('is too large (more than 10 MB); at most 10 MB are read')
  expect(await say(join(folder, 'none'), undefined)).toBe('cannot be read: there is no such file')
  expect(await say(file('junk', Buffer.from('not a key')), undefined)).toBe('it is neither a certificate, a key nor a certificate request in DER')
  expect(await say(file('broken.pem', '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'), undefined)).toMatch(/^it is not a certificate/)
  // A key store cut short, and one that says nothing.
  expect(await say(file('short.p12', Buffer.from('3082ffff020103', 'hex')), 'geheim')).toMatch(/^it cannot be read/)
  expect(await runCommand(['pin', '-'])).toMatchObject({ code: 64, stderr: 'axios-ssl-pinning: standard input is empty\n' })
})

test('of a chain the first certificate counts, which is said', async () => {
  const root = createAuthority()
  const leaf = root.issue()
  const path = file('chain.pem', leaf.pem + root.pem)
  expect(await runCommand(['pin', path])).toMatchObject({ stdout: `${leaf.pin}\n`, stderr: `${path} holds 2 certificates; this is the pin of the first: CN=${leaf.x509.subject.slice(3)}\n` })
  expect((await runCommand(['pin', '--json', path])).json).toEqual([{ file: path, pin: leaf.pin, fingerprint: leaf.fingerprint, subject: leaf.x509.subject, certificates: 2 }])
})

test('several files are told apart', async () => {
  const certificates: IssuedCertificate[] = [createSelfSigned(), createSelfSigned()]
  const paths = certificates.map(({ pem }, i) => file(`${i}.pem`, pem))
  expect((await runCommand(['pin', ...paths])).stdout).toBe(certificates.map(({ pin }, i) => `${pin}  ${paths[i]}\n`).join(''))
})

test('a pipe whose writer comes late is read to its end', async () => {
  const { pem, pin } = createSelfSigned()
  const pipe = join(folder, 'pipe')
  execFileSync('mkfifo', [pipe])
  const ran = runCommand(['pin', pipe])
  const writer = spawn('sh', ['-c', 'sleep 0.2; (head -c 100; sleep 0.2; cat) < "$1" > "$2"', 'sh', file('late.pem', pem), pipe])
  expect(await ran).toMatchObject({ code: 0, stdout: `${pin}\n` })
  writer.kill()
})
