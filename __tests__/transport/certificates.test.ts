import { X509Certificate } from 'node:crypto'
import * as https from 'node:https'
import type { DetailedPeerCertificate, PeerCertificate, TLSSocket } from 'node:tls'
import type { PinningOptions } from '../../lib/index.js'
import { createPinningAgent } from '../../lib/index.js'
import { runChild } from '../support/child.js'
import { plainAgent } from '../support/plain-agent.js'
import { createAuthority, createSelfSigned, der, generalNames, impersonate } from '../support/pki.js'
import type { IssuedCertificate, KeyKind } from '../support/pki.js'
import { startServer } from '../support/servers.js'
import type { TestServer, TestServerOptions } from '../support/servers.js'

const root = createAuthority({ name: 'Certificates Root' })
const backup = createSelfSigned()

const closing: Array<() => unknown> = []
afterEach(async () => {
  for (const each of closing.splice(0).reverse()) await each()
})

async function start(options: TestServerOptions): Promise<TestServer> {
  const server = await startServer(options)
  closing.push(() => server.close())
  return server
}

function pinned(certificate: IssuedCertificate, policy: object = { certificates: [certificate.fingerprint, backup.fingerprint] }): https.Agent {
  const agent = createPinningAgent({ pins: { localhost: policy as NonNullable<PinningOptions['pins']>[string] }, tls: { ca: root.pem }, agent: { keepAlive: false } })
  closing.push(() => { agent.destroy() })
  return agent
}

/** Gets one answer and asks its socket, at that time and when it is closed. */
async function ask<T>(agent: https.Agent, port: number, question: (socket: TLSSocket) => T): Promise<{ open: T, closed: T, resumed: boolean }> {
  return await new Promise((resolve, reject) => {
    const request = https.get({ host: 'localhost', port, agent, headers: { connection: 'close' } }, (response) => {
      const socket = response.socket as TLSSocket
      const open = question(socket)
      const resumed = socket.isSessionReused()
      socket.on('close', () => { resolve({ open, resumed, closed: question(socket) }) })
      response.resume()
    })
    request.on('error', reject)
  })
}

type Flat = Record<string, unknown>

/** The legacy object without its circles, which neither a person nor a diff can read. */
function flatten(certificate: DetailedPeerCertificate | null): Flat[] | null {
  if (certificate === null) return null
  const flat: Flat[] = []
  const seen = new Set<object>()
  for (let each: DetailedPeerCertificate | undefined = certificate; each && !seen.has(each); each = each.issuerCertificate as DetailedPeerCertificate | undefined) {
    seen.add(each)
    const { issuerCertificate, ...rest } = each
    flat.push({ ...rest, issuerIs: issuerCertificate === undefined ? 'absent' : issuerCertificate === each ? 'itself' : 'another', names: Object.keys(each).sort() })
  }
  return flat
}

const everything = (socket: TLSSocket) => ({
  detailed: flatten(socket.getPeerCertificate(true)),
  brief: flatten(socket.getPeerCertificate(false) as DetailedPeerCertificate),
  silent: flatten(socket.getPeerCertificate() as DetailedPeerCertificate),
  prototypes: [socket.getPeerCertificate(true)].map((each) => each && [each, each.subject, each.infoAccess].map((value) => (value ? Object.getPrototypeOf(value) === null : value)))
})
const leafOf = (socket: TLSSocket) => socket.getPeerX509Certificate()?.fingerprint256

const access = (oid: string, uri: string) => der.sequence(der.oid(oid), der.tlv(0x86, Buffer.from(uri)))
const infoAccess = {
  oid: '1.3.6.1.5.5.7.1.1',
  value: der.sequence(access('1.3.6.1.5.5.7.48.1', 'http://ocsp.test/'), access('1.3.6.1.5.5.7.48.2', 'http://ca.test/a'), access('1.3.6.1.5.5.7.48.2', 'http://ca.test/"b", OCSP - URI:http://evil.test'))
}
const keys: KeyKind[] = ['rsa', 'p256', 'p384', 'p521', 'ed25519']
const serverCases: Array<[string, () => Omit<TestServerOptions, 'maxVersion'>]> = [
  ...keys.map((key): [string, () => TestServerOptions] => [`a leaf with a key of kind ${String(key)}`, () => ({ certificate: root.issue({ key }) })]),
  ['an intermediate', () => ({ certificate: root.issueAuthority().issue() })],
  ['two intermediates', () => ({ certificate: root.issueAuthority().issueAuthority({ key: 'rsa' }).issue({ key: 'rsa' }) })],
  ['the root, which is served as well', () => {
    const certificate = root.issueAuthority().issue()
    return { certificate, chain: [...certificate.chain.slice(1), root] }
  }],
  ['intermediates in the wrong order', () => {
    const certificate = root.issueAuthority().issueAuthority().issue()
    return { certificate, chain: certificate.chain.slice(1).reverse() }
  }],
  ['a certificate that belongs to nothing', () => {
    const certificate = root.issueAuthority().issue()
    return { certificate, chain: [createAuthority(), ...certificate.chain.slice(1), createSelfSigned()] }
  }],
  ['the same intermediate twice', () => {
    const certificate = root.issueAuthority().issue()
    return { certificate, chain: [...certificate.chain.slice(1), ...certificate.chain.slice(1)] }
  }],
  ['three intermediates, the last one first', () => {
    const certificate = root.issueAuthority().issueAuthority().issueAuthority().issue()
    const [one, two, three] = certificate.chain.slice(1) as [IssuedCertificate, IssuedCertificate, IssuedCertificate]
    return { certificate, chain: [three, one, two] }
  }],
  ['the root twice', () => ({ certificate: root.issue(), chain: [root, root] })],
  ['an anchor that another one has issued', () => {
    const crossed = createAuthority().crossSign(root)
    return { certificate: root.issue(), chain: [crossed] }
  }],
  ['a certificate with the name of the root', () => {
    const certificate = root.issue()
    return { certificate, chain: [impersonate(root)] }
  }],
  ['two relative names, several alternative names and a purpose', () => ({ certificate: root.issue({ subject: [['C', 'DE'], ['O', 'A, B + C'], ['OU', 'x'], ['OU', 'y'], ['CN', 'localhost']], names: ['localhost', '*.example.test', '127.0.0.1', '::1', 'uri:https://x.test/a,b', 'email:a@x.test'], extendedKeyUsage: ['serverAuth', 'clientAuth', '1.2.3.4'] }) })],
  ['alternative names with a comma and a quote in them', () => ({ certificate: root.issue({ rawSan: generalNames(['dns', 'localhost'], ['uri', 'https://x.test/"a", DNS:evil.test'], ['directory', 'somebody']) }) })],
  ['no subject', () => ({ certificate: root.issue({ subject: [] }) })],
  ['access information', () => ({ certificate: root.issue({ extensions: [infoAccess] }) })],
  ['a negative serial number', () => ({ certificate: root.issue({ serial: Buffer.from([0x80, 1]) }) })]
]

describe.each(['TLSv1.2', 'TLSv1.3'] as const)('%s', (version) => {
  test.each(serverCases)('a pinned socket shows what a plain one shows: %s', async (_, options) => {
    const given = options()
    const server = await start({ ...given, minVersion: version, maxVersion: version })
    const agent = pinned(given.certificate)
    for (const question of [everything, leafOf]) {
      const plain = plainAgent(root.pem, { keepAlive: false })
      const [expected, actual] = [await ask<unknown>(plain, server.port, question), await ask<unknown>(agent, server.port, question)]
      // The question is put to a full handshake.
      agent.destroy()
      expect([expected.resumed, actual.resumed]).toEqual([false, false])
      expect(actual).toEqual(expected)
    }
  })

  test('access information is read, quotes and all', async () => {
    const certificate = root.issue({ extensions: [infoAccess] })
    const server = await start({ certificate, minVersion: version, maxVersion: version })
    const { open } = await ask(pinned(certificate), server.port, (socket) => (socket.getPeerCertificate() as PeerCertificate | null)?.infoAccess)
    expect({ ...open }).toEqual({ 'OCSP - URI': ['http://ocsp.test/'], 'CA Issuers - URI': ['http://ca.test/a', 'http://ca.test/"b", OCSP - URI:http://evil.test'] })
  })

  test('a socket that resumed shows as little as a plain one', async () => {
    const certificate = root.issueAuthority().issue()
    const server = await start({ certificate, minVersion: version, maxVersion: version })
    const plain = plainAgent(root.pem, { keepAlive: false })
    const agent = pinned(certificate)
    const both = (socket: TLSSocket) => ({ ...everything(socket), leaf: leafOf(socket), authorized: socket.authorized, error: socket.authorizationError })
    for (let i = 0; i < 3; i++) {
      const [expected, actual] = [await ask(plain, server.port, both), await ask(agent, server.port, both)]
      expect([expected.resumed, actual.resumed]).toEqual([i > 0, i > 0])
      expect(actual.open.leaf).toBe(i > 0 ? undefined : certificate.fingerprint)
      if (i > 0) expect(actual).toEqual(expected)
    }
  })

  test('the X509 object is asked for as often as one likes, and answers in full', async () => {
    const certificate = root.issueAuthority().issue()
    const server = await start({ certificate, minVersion: version, maxVersion: version })
    const { open } = await ask(pinned(certificate), server.port, (socket) => [1, 2, 3].map(() => {
      const leaf = socket.getPeerX509Certificate()
      return [leaf instanceof X509Certificate, leaf?.fingerprint256, leaf?.issuerCertificate?.fingerprint256, socket.getPeerCertificate(true)?.issuerCertificate?.fingerprint256]
    }))
    expect(open).toEqual(Array(3).fill([true, certificate.fingerprint, certificate.chain[1]?.fingerprint, certificate.chain[1]?.fingerprint]))
  })

  test('a self-signed peer whose pin stands for trust is not called authorized, and shows its certificate', async () => {
    const self = createSelfSigned()
    const server = await start({ certificate: self, minVersion: version, maxVersion: version })
    const question = (socket: TLSSocket) => ({ ...everything(socket), leaf: leafOf(socket), authorized: socket.authorized, error: socket.authorizationError as unknown })
    const agent = pinned(self, { certificates: [self.fingerprint, backup.fingerprint], trust: 'pin-only' })
    const plain = new https.Agent({ rejectUnauthorized: false })
    const [expected, actual] = [await ask(plain, server.port, question), await ask(agent, server.port, question)]
    expect(actual).toEqual({ ...expected, open: { ...expected.open, leaf: self.fingerprint } })
    expect(actual.open).toMatchObject({ authorized: false, error: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
  })
})

describe('a certificate on a curve without a NIST name', () => {
  const script = (agent: string) => `
    const https = require('node:https')
    const tls = require('node:tls')
    const { createPinningAgent } = await load('index.js')
    const agent = ${agent}
    const seen = []
    const done = (value) => { report({ value, seen }); process.exit() }
    const request = https.get({ host: 'localhost', port: input.port, agent, headers: { connection: 'close' } }, (response) => {
      for (let each = response.socket.getPeerCertificate(true), i = 0; each?.fingerprint256 && i < 4; each = each.issuerCertificate, i++) seen.push(each.fingerprint256)
      response.on('end', () => done(response.statusCode)).resume()
    })
    request.on('error', (error) => done(error.code ?? error.message))`
  const pinnedScript = script('createPinningAgent({ pins: { localhost: input.policy }, tls: { ca: input.ca } })')
  const [major = 0] = process.versions.node.split('.').map(Number)

  const junks: Array<[string, (leaf: IssuedCertificate) => { certificate: IssuedCertificate, chain: IssuedCertificate[] }]> = (['secp256k1', 'brainpoolP256r1'] as const).flatMap((key) => [
    [`${key}, served for no reason`, (leaf: IssuedCertificate) => ({ certificate: leaf, chain: [createSelfSigned({ key })] })] as [string, (leaf: IssuedCertificate) => { certificate: IssuedCertificate, chain: IssuedCertificate[] }],
    [`${key}, with the name of the root`, (leaf: IssuedCertificate) => ({ certificate: leaf, chain: [impersonate(root, { key })] })] as [string, (leaf: IssuedCertificate) => { certificate: IssuedCertificate, chain: IssuedCertificate[] }]
  ])

  test.each(junks)('ends no process of ours, whoever is pinned: %s', async (_, serve) => {
    const leaf = root.issue()
    const server = await start(serve(leaf))
    const policies: Array<[object, unknown]> = [
      [{ certificates: [leaf.fingerprint, backup.fingerprint] }, 200],
      [{ pins: [root.pin, backup.pin] }, 200],
      [{ authorities: [root.pem] }, 200],
      [{ certificates: [leaf.fingerprint, backup.fingerprint], trust: 'pin-only' }, 200],
      [{ certificates: [backup.fingerprint, createSelfSigned().fingerprint] }, 'ERR_PIN_MISMATCH'],
      [{ pins: [backup.pin, createSelfSigned().pin] }, 'ERR_PIN_MISMATCH']
    ]
    const ends = await Promise.all(policies.map(([policy]) => runChild(pinnedScript, { input: { port: server.port, ca: root.pem, policy } })))
    expect(ends.map(({ code, signal, stderr, reported }) => [code, signal, stderr, reported?.value])).toEqual(policies.map(([, value]) => [0, null, '', value]))
    expect(ends[0]?.reported.seen[0]).toBe(leaf.fingerprint)
  })

  test('nor does one for another name, which an error has to show', async () => {
    const leaf = root.issue({ names: ['other.test'] })
    const server = await start({ certificate: leaf, chain: [impersonate(root, { key: 'secp256k1' })] })
    const ended = await runChild(pinnedScript, { input: { port: server.port, ca: root.pem, policy: { certificates: [leaf.fingerprint, backup.fingerprint] } } })
    expect(ended).toMatchObject({ code: 0, signal: null, stderr: '', reported: { value: 'ERR_TLS_CERT_ALTNAME_INVALID' } })
  })

  test('nor do the keys of the leaf and its issuer', async () => {
    const issuer = root.issueAuthority({ key: 'brainpoolP256r1' })
    const leaf = issuer.issue()
    const server = await start({ certificate: leaf })
    const ended = await runChild(pinnedScript, { input: { port: server.port, ca: root.pem, policy: { pins: [issuer.pin, backup.pin] } } })
    expect(ended).toMatchObject({ code: 0, signal: null, stderr: '' })
    expect([200, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'ERR_PIN_MISMATCH', 'ERR_PIN_CHAIN_UNVERIFIED']).toContain(ended.reported.value)
  })

  // What the tests above are about: gone from Node one day, they are about nothing.
  test('kills a plain https client on Node 24 and 26, and is shown by it on 20 and 22', async () => {
    const leaf = root.issue()
    const server = await start({ certificate: leaf, chain: [impersonate(root, { key: 'secp256k1' })] })
    const ended = await runChild(script('new https.Agent({ ca: input.ca })'), { input: { port: server.port, ca: root.pem } })
    if (major >= 24) expect(ended).toMatchObject({ signal: 'SIGSEGV' })
    else expect(ended).toMatchObject({ code: 0, signal: null, reported: { value: 200 } })
  })

  if (major < 24) {
    test('is described by its names, dates and bytes as Node 20 and 22 describe it', async () => {
      const leaf = root.issue()
      const junk = impersonate(root, { key: 'secp256k1' })
      const server = await start({ certificate: leaf, chain: [junk] })
      const [expected, actual] = [await ask(plainAgent(root.pem), server.port, everything), await ask(pinned(leaf), server.port, everything)]
      const common = (answer: typeof expected) => answer.open.detailed?.map(({ subject, issuer, subjectaltname, ca, valid_from, valid_to, fingerprint, fingerprint256, fingerprint512, serialNumber, raw, issuerIs }) => ({ subject, issuer, subjectaltname, ca, valid_from, valid_to, fingerprint, fingerprint256, fingerprint512, serialNumber, raw, issuerIs }))
      expect(common(actual)).toEqual(common(expected))
    })
  }
})
