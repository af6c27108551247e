import { X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as tls from 'node:tls'
import { TrustAnchors, nameKey } from '../../lib/verify/anchors.js'
import type { CertificateAuthorities } from '../../lib/verify/anchors.js'
import { constraintsOf } from '../../lib/verify/constraints.js'
import { pinOf } from '../../lib/index.js'
import { runChild } from '../support/child.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import type { NameAttribute } from '../support/pki.js'

const a = createAuthority({ name: 'A' })
const b = createAuthority({ name: 'B' })
const issued = a.issueAuthority({ name: 'Issued' })

function fingerprintsOf(ca: CertificateAuthorities): string[] {
  return new TrustAnchors(ca, false).certificates.map(({ fingerprint256 }) => fingerprint256)
}

describe('the ca option', () => {
  test.each<[string, CertificateAuthorities]>([
    ['one PEM text of two certificates', a.pem + b.pem],
    ['bytes', Buffer.from(a.pem + b.pem)],
    ['bytes that are no Buffer', new Uint8Array(Buffer.from(a.pem + b.pem)) as Buffer],
    ['an array of both', [a.pem, Buffer.from(b.pem)]],
    ['text around the certificates', `# A\n${a.pem}\n# B\nsubject=CN = B\n${b.pem}trailing`],
    ['CRLF line ends', (a.pem + b.pem).replaceAll('\n', '\r\n')],
    ['another label', [a.pem.replaceAll('CERTIFICATE', 'X509 CERTIFICATE'), b.pem]]
  ])('may be %s', (_name, ca) => {
    expect(fingerprintsOf(ca)).toEqual([a.fingerprint, b.fingerprint])
  })

  test('may be empty: then nothing is trusted', () => {
    expect(fingerprintsOf([])).toEqual([])
  })

  test.each<[string, unknown, RegExp]>([
    ['a text without a certificate', 'not PEM', /tls\.ca: has no PEM certificate/],
    ['an empty text', '', /tls\.ca: has no PEM certificate/],
    ['DER', a.der, /tls\.ca: has no PEM certificate/],
    ['a key', a.keyPem, /tls\.ca: has no PEM certificate/],
    ['a broken certificate', a.pem.replace(/\n.{10}/, '\nAAAAAAAAAA'), /tls\.ca: has a PEM part that is not a certificate/],
    ['null', null, /tls\.ca: must be PEM text or bytes/],
    ['an array with a number in it', [a.pem, 7], /tls\.ca: must be PEM text or bytes/]
  ])('cannot be %s', (_name, ca, message) => {
    expect(() => new TrustAnchors(ca as CertificateAuthorities, false)).toThrow(message)
  })
})

describe('trust anchors', () => {
  const anchors = new TrustAnchors([a.pem, b.pem, issued.pem], false)

  test("are found by the issuer's name, by their pins, and as such", () => {
    expect(anchors.issuersOf(a.issue().x509).map(({ fingerprint256 }) => fingerprint256)).toEqual([a.fingerprint])
    expect(anchors.issuersOf(createSelfSigned().x509)).toEqual([])
    for (const pin of [b.pin, b.fingerprint]) expect(anchors.findPinned(pin).map(({ fingerprint256 }) => fingerprint256)).toEqual([b.fingerprint])
    expect(anchors.findPinned(createSelfSigned().pin)).toEqual([])
    expect(anchors.has(new X509Certificate(a.der))).toBe(true)
    expect(anchors.has(createAuthority({ subjectNameOf: a, key: a.key }).x509)).toBe(false)
  })

  test('know which of them another CA has issued', () => {
    expect(anchors.intermediates.map(({ fingerprint256 }) => fingerprint256)).toEqual([issued.fingerprint])
  })

  test('of one key are all found by its pin', () => {
    const again = createAuthority({ subjectNameOf: a, key: a.key })
    expect(new TrustAnchors([a.pem, again.pem], false).findPinned(a.pin).map(({ fingerprint256 }) => fingerprint256)).toEqual([a.fingerprint, again.fingerprint])
  })
})

test('names that OpenSSL takes for equal have the same key', () => {
  const spellings: NameAttribute[][] = [
    [['O', 'Käse  AG'], ['CN', 'Root + CA, "1"\\']],
    [['O', 'KäSE AG'], ['CN', ' root + ca, "1"\\ ']],
    [['O', 'Käse AG', 'bmp'], ['CN', 'ROOT +\tCA, "1"\\', 'printable']],
    [['O', 'Käse AG', 'teletex'], ['CN', 'Root +\nCA, "1"\\', 'universal']],
    [['O', ' Käse \r\n AG', 'universal'], ['CN', '\u000bRoot \f + CA, "1"\\', 'bmp']]
  ]
  const authorities = spellings.map((subject) => createAuthority({ subject }))
  for (const one of authorities) {
    for (const other of authorities) {
      const child = one.issue({ issuerNameOf: other, authorityKeyId: null })
      expect([child.x509.issuer, child.x509.checkIssued(one.x509)]).toEqual([child.x509.issuer, true])
      expect(nameKey(child.x509.issuer)).toBe(nameKey(one.x509.subject))
    }
  }
  expect(nameKey(createAuthority({ name: 'Other' }).x509.subject)).not.toBe(nameKey(authorities[0]?.x509.subject))
  expect(nameKey(undefined)).toBe('')
})

describe("without a ca option Node's own are the trust anchors", () => {
  test('all bundled roots among them, found by their pins, with constraints that can be read', () => {
    const anchors = new TrustAnchors(undefined, false)
    for (const pem of tls.rootCertificates) {
      const root = new X509Certificate(pem)
      expect([root.subject, anchors.has(root)]).toEqual([root.subject, true])
      expect(anchors.findPinned(pinOf(root)).length).toBeGreaterThan(0)
      expect(anchors.issuersOf(root).some(({ fingerprint256 }) => fingerprint256 === root.fingerprint256)).toBe(true)
      expect([root.subject, constraintsOf(root)]).toEqual([root.subject, expect.objectContaining({ servesTls: true, nameConstraints: false, unknownCritical: false })])
    }
    expect(anchors.intermediates).toEqual([])
  })

  test('those of NODE_EXTRA_CA_CERTS too, as Node itself trusts them; a ca option puts both aside', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'anchors-'))
    try {
      const file = join(folder, 'extra.pem')
      writeFileSync(file, `# mine\n${a.pem}${b.pem}`)
      const script = `
        const { TrustAnchors } = await load('verify/anchors.js')
        const { X509Certificate } = await import('node:crypto')
        const [a, b, other] = input.map((pem) => new X509Certificate(pem))
        const own = new TrustAnchors(undefined, false)
        const given = new TrustAnchors(other.toString(), false)
        report({ own: [a, b, other].map((each) => own.has(each)), count: own.certificates.length > 100, given: [a, b, other].map((each) => given.has(each)) })
      `
      const run = async (path: string): Promise<unknown> => (await runChild(script, { input: [a.pem, b.pem, issued.pem], env: { NODE_EXTRA_CA_CERTS: path } })).reported as unknown
      expect(await run(file)).toEqual({ own: [true, true, false], count: true, given: [false, false, true] })
      expect(await run(join(folder, 'missing.pem'))).toEqual({ own: [false, false, false], count: true, given: [false, false, true] })
      expect(await run('')).toEqual({ own: [false, false, false], count: true, given: [false, false, true] })
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test('and a server below one of NODE_EXTRA_CA_CERTS is accepted by every form of a pin on it', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'anchors-'))
    try {
      const file = join(folder, 'extra.pem')
      // The intermediate, which the server leaves out, is in the file as well.
      writeFileSync(file, a.pem + issued.pem)
      const leaf = issued.issue()
      const { reported } = await runChild(`
        const https = await import('node:https')
        const { createPinningAgent } = await load('index.js')
        const server = https.createServer({ cert: input.cert, key: input.key }, (_, response) => response.end('ok'))
        await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
        const outcomes = []
        for (const policy of input.policies) {
          const agent = createPinningAgent({ pins: { localhost: policy } })
          outcomes.push(await new Promise((resolve) => https.get({ host: 'localhost', port: server.address().port, agent }, (response) => response.resume().on('end', () => resolve(response.statusCode))).on('error', (error) => resolve(error.code))))
          agent.destroy()
        }
        server.close()
        report(outcomes)
      `, {
        input: { cert: leaf.pem, key: leaf.keyPem, policies: [{ authorities: [a.pem] }, { authorities: [a.pin] }, { pins: [a.pin] }, { authorities: [issued.pem] }, { authorities: [b.pem] }, { pins: [b.pin] }] },
        env: { NODE_EXTRA_CA_CERTS: file }
      })
      expect(reported).toEqual([200, 200, 200, 200, 'ERR_PIN_MISMATCH', 'ERR_PIN_MISMATCH'])
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test('each once, though a file has them too with its lines broken otherwise', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'anchors-'))
    try {
      const file = join(folder, 'extra.pem')
      writeFileSync(file, tls.rootCertificates.slice(0, 5).map((pem) => new X509Certificate(pem).toString()).join('') + a.pem)
      const { reported } = await runChild(`
        const { TrustAnchors } = await load('verify/anchors.js')
        report(new TrustAnchors(undefined, false).certificates.map(({ fingerprint256 }) => fingerprint256))
      `, { env: { NODE_EXTRA_CA_CERTS: file } })
      expect(reported).toContain(a.fingerprint)
      expect(new Set(reported).size).toBe(reported.length)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test("a variable that is set while the program runs, or lies on Object.prototype, changes nothing, nor does a TRUSTED CERTIFICATE in its file, as in Node", async () => {
    const folder = mkdtempSync(join(tmpdir(), 'anchors-'))
    try {
      const [file, other] = [join(folder, 'extra.pem'), join(folder, 'other.pem')]
      writeFileSync(file, a.pem + issued.pem.replaceAll('CERTIFICATE', 'TRUSTED CERTIFICATE'))
      writeFileSync(other, b.pem)
      const script = `
        if (input.polluted) Object.prototype.NODE_EXTRA_CA_CERTS = input.other
        const { TrustAnchors } = await load('verify/anchors.js')
        const { X509Certificate } = await import('node:crypto')
        if (!input.polluted) process.env.NODE_EXTRA_CA_CERTS = input.other
        const anchors = new TrustAnchors(undefined, false)
        report(input.pems.map((pem) => anchors.has(new X509Certificate(pem))))
      `
      const run = async (polluted: boolean, path: string | undefined): Promise<unknown> => (await runChild(script, { input: { pems: [a.pem, b.pem, issued.pem], other, polluted }, env: { NODE_EXTRA_CA_CERTS: path } })).reported as unknown
      expect(await run(false, file)).toEqual([true, false, false])
      expect(await run(false, undefined)).toEqual([false, false, false])
      expect(await run(true, undefined)).toEqual([false, false, false])
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test.each([
    ['--use-openssl-ca', { nodeOptions: ['--use-openssl-ca'] }],
    ['--use_openssl_ca in NODE_OPTIONS', { env: { NODE_OPTIONS: '--use_openssl_ca' } }]
  ])("OpenSSL's with %s: those of SSL_CERT_FILE and SSL_CERT_DIR, and OpenSSL is never given fewer", async (_switch, { env, nodeOptions = [] }: { env?: NodeJS.ProcessEnv, nodeOptions?: string[] }) => {
    const folder = mkdtempSync(join(tmpdir(), 'anchors-'))
    try {
      const file = join(folder, 'ssl.pem')
      writeFileSync(file, a.pem)
      writeFileSync(join(folder, '01234567.0'), b.pem)
      writeFileSync(join(folder, 'readme'), issued.pem)
      const leaf = issued.issue()
      const bundled = pinOf(tls.rootCertificates[0] as string)
      const { reported, stderr } = await runChild(`
        const https = await import('node:https')
        const { createPinningAgent } = await load('index.js')
        const { TrustAnchors } = await load('verify/anchors.js')
        const { X509Certificate } = await import('node:crypto')
        const server = https.createServer({ cert: input.cert, key: input.key }, (_, response) => response.end('ok'))
        await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
        const ask = (agent) => new Promise((resolve) => https.get({ host: 'localhost', port: server.address().port, agent }, (response) => response.resume().on('end', () => resolve(response.statusCode))).on('error', (error) => resolve(error.code)))
        const outcomes = [await ask(new https.Agent())]
        for (const policy of input.policies) {
          const agent = createPinningAgent({ pins: { localhost: policy } })
          outcomes.push(await ask(agent))
          agent.destroy()
        }
        server.close()
        const anchors = new TrustAnchors(undefined, false)
        report({ outcomes, complete: anchors.areComplete, has: input.pems.map((pem) => anchors.has(new X509Certificate(pem))) })
      `, {
        input: {
          cert: leaf.pem + issued.pem, key: leaf.keyPem,
          policies: [{ authorities: [a.pem] }, { authorities: [a.pin] }, { pins: [a.pin] }, { authorities: [issued.pem] }, { authorities: [b.pem] }, { authorities: [bundled] }],
          pems: [a.pem, b.pem, issued.pem, tls.rootCertificates[0]]
        },
        nodeOptions,
        env: { NODE_EXTRA_CA_CERTS: undefined, SSL_CERT_FILE: file, SSL_CERT_DIR: folder, ...env }
      })
      expect([stderr, reported]).toEqual(['', { outcomes: [200, 200, 200, 200, 200, 'ERR_PIN_MISMATCH', 'ERR_PIN_MISMATCH'], complete: false, has: [true, true, false, false] }])
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
