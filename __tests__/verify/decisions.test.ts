import { createPinningAgent } from '../../lib/index.js'
import type { HostPolicy, PinReport, PinningOptions } from '../../lib/index.js'
import { send, until } from '../support/clients.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import type { CertificateOptions, IssuedCertificate } from '../support/pki.js'
import { startServer } from '../support/servers.js'
import type { TestServer } from '../support/servers.js'

/*
 * What is done with which peer under which policy, each on a real connection.
 */

const root = createAuthority({ name: 'Root' })
const upper = root.issueAuthority({ name: 'Upper' })
const issuing = upper.issueAuthority({ name: 'Issuing CA' })
const otherRoot = createAuthority({ name: 'Other Root' })
const unknownRoot = createAuthority({ name: 'Unknown Root' })
const trusted = { ca: [root.pem, otherRoot.pem] }
const past: CertificateOptions = { notBefore: new Date('2020-01-01'), notAfter: new Date('2021-01-01') }
const future: CertificateOptions = { notBefore: new Date('2090-01-01'), notAfter: new Date('2091-01-01') }
const backup = createSelfSigned()

const genuine = issuing.issue()
const { key } = genuine

/** All but the impostor have the pinned key, and all but the untrusted one a trusted issuer. */
const peers = {
  genuine: () => genuine,
  impostor: () => otherRoot.issue(),
  untrusted: () => unknownRoot.issue({ key }),
  expired: () => issuing.issue({ key, ...past }),
  future: () => issuing.issue({ key, ...future }),
  'wrong name': () => issuing.issue({ key, names: ['other.test'] }),
  'self-signed': () => createSelfSigned({ key })
}
type PeerName = keyof typeof peers

const pkiErrors: Partial<Record<PeerName, RegExp>> = {
  untrusted: /^UNABLE_TO_(VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT(_LOCALLY)?)$/,
  expired: /^CERT_HAS_EXPIRED$/,
  future: /^CERT_NOT_YET_VALID$/,
  'wrong name': /^ERR_TLS_CERT_ALTNAME_INVALID$/,
  'self-signed': /^DEPTH_ZERO_SELF_SIGNED_CERT$/
}

const servers = new Map<PeerName, TestServer>()
beforeAll(async () => {
  jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
  for (const [name, certificate] of Object.entries(peers)) servers.set(name as PeerName, await startServer({ certificate: certificate() }))
})
afterAll(() => Promise.all([...servers.values()].map((server) => server.close())))

async function connect(server: TestServer, options: PinningOptions): Promise<{ outcome: string, report: PinReport | undefined }> {
  const reports: PinReport[] = []
  const agent = createPinningAgent({ tls: trusted, onValidCertificate: (report) => reports.push(report), onBadCertificate: (report) => reports.push(report), ...options })
  const before = server.decryptedBytes
  const { code, status } = await send(agent, server.port, { body: 'a secret' })
  agent.destroy()
  await until(() => server.openSockets === 0)
  if (code !== undefined) expect(server.decryptedBytes).toBe(before)
  expect(reports.length).toBeLessThanOrEqual(1)
  return { outcome: code ?? String(status), report: reports[0] }
}

/** An error, what the callback is told of the peer that was answered, or that it is told nothing. */
type Expected = RegExp | [result: PinReport['result'], decision: PinReport['decision']] | typeof untold
const untold = 'answered without a report'

async function expectDecision(peer: PeerName, options: PinningOptions, expected: Expected): Promise<void> {
  const { outcome, report } = await connect(servers.get(peer) as TestServer, options)
  if (expected instanceof RegExp) {
    expect(outcome).toMatch(expected)
    if (report) expect(report.decision).toBe('refused')
  } else {
    expect(outcome).toBe('200')
    expect(report ? [report.result, report.decision] : untold).toEqual(expected)
  }
}

const mismatch = /^ERR_PIN_MISMATCH$/
const pinned: Expected = ['pinned', 'accepted']
const longAgo = '2020-01-01'
const policies: Record<string, HostPolicy> = {
  'a leaf key': { publicKeys: [genuine.pin] },
  'a leaf key and a CA': { publicKeys: [backup.pin], authorities: [root.pin] },
  'a CA that OpenSSL alone looks for': { authorities: [root.pem] },
  'the short form': { pins: [genuine.pin] }
}

/** Settings; and what becomes of the genuine peer and of the impostor, the others always being PKI's. */
const rows: Array<[setting: string, options: (policy: HostPolicy) => PinningOptions, genuine: Expected, impostor: Expected]> = [
  ['enforce', (policy) => ({ pins: { localhost: policy } }), pinned, mismatch],
  ['enforce, where all others report only', (policy) => ({ pins: { localhost: { ...policy, mode: 'enforce' } }, mode: 'report-only' }), pinned, mismatch],
  ['report-only', (policy) => ({ pins: { localhost: policy }, mode: 'report-only' }), pinned, ['mismatch', 'tolerated']],
  ['report-only, for this host', (policy) => ({ pins: { localhost: { ...policy, mode: 'report-only' } } }), pinned, ['mismatch', 'tolerated']],
  ['off', (policy) => ({ pins: { localhost: policy }, mode: 'off' }), untold, untold],
  ['off, for this host', (policy) => ({ pins: { localhost: { ...policy, mode: 'off' } } }), untold, untold],
  ['expired', (policy) => ({ pins: { localhost: { ...policy, expires: longAgo } } }), /^ERR_PIN_EXPIRED$/, /^ERR_PIN_(EXPIRED|MISMATCH)$/],
  ["expired, onExpiry 'refuse'", (policy) => ({ pins: { localhost: { ...policy, expires: longAgo, onExpiry: 'refuse' } } }), /^ERR_PIN_EXPIRED$/, /^ERR_PIN_(EXPIRED|MISMATCH)$/],
  ["expired, onExpiry 'report-only'", (policy) => ({ pins: { localhost: { ...policy, expires: longAgo, onExpiry: 'report-only' } } }), pinned, ['mismatch', 'tolerated']],
  ["expired, onExpiry 'allow'", (policy) => ({ pins: { localhost: { ...policy, expires: longAgo, onExpiry: 'allow' } } }), ['expired', 'accepted'], ['expired', 'accepted']],
  ["expired, onExpiry 'refuse', report-only", (policy) => ({ pins: { localhost: { ...policy, expires: longAgo, mode: 'report-only' } } }), ['expired', 'tolerated'], ['expired', 'tolerated']],
  ["not expired, onExpiry 'allow'", (policy) => ({ pins: { localhost: { ...policy, expires: '2090-01-01', onExpiry: 'allow' } } }), pinned, mismatch],
  ["not expired, onExpiry 'report-only'", (policy) => ({ pins: { localhost: { ...policy, expires: '2090-01-01', onExpiry: 'report-only' } } }), pinned, mismatch],
  ['unpinned and allowed', (policy) => ({ pins: { 'other.test': policy }, unpinnedHosts: 'allow' }), untold, untold]
]

describe.each(rows)('%s', (_setting, optionsOf, ofGenuine, ofImpostor) => {
  test.each(Object.entries(policies))('with %s pinned: the pins decide on peers that PKI accepts, and never on others', async (_form, policy) => {
    await expectDecision('genuine', optionsOf(policy), ofGenuine)
    await expectDecision('impostor', optionsOf(policy), ofImpostor)
    for (const [peer, error] of Object.entries(pkiErrors)) await expectDecision(peer as PeerName, optionsOf(policy), error)
  })
})

test('an unpinned host is refused before there is a connection', async () => {
  const server = servers.get('genuine') as TestServer
  const before = server.connections
  const { outcome } = await connect(server, { pins: { 'other.test': [genuine.pin] } })
  expect(outcome).toBe('ERR_PIN_HOST_UNPINNED')
  expect(server.connections).toBe(before)
})

test('an unpinned host is tolerated in report-only, but not where PKI refuses it', async () => {
  const options: PinningOptions = { pins: { 'other.test': [genuine.pin] }, mode: 'report-only' }
  await expectDecision('genuine', options, ['unpinned', 'tolerated'])
  for (const [peer, error] of Object.entries(pkiErrors)) await expectDecision(peer as PeerName, options, error)
})

test('with mode off an unpinned host is left to PKI as well', async () => {
  const options: PinningOptions = { pins: { 'other.test': [genuine.pin] }, mode: 'off' }
  await expectDecision('genuine', options, untold)
  for (const [peer, error] of Object.entries(pkiErrors)) await expectDecision(peer as PeerName, options, error)
})

describe("trust: 'pin-only'", () => {
  const appliance = createSelfSigned({ key })
  const byKey: HostPolicy = { publicKeys: [genuine.pin], trust: 'pin-only' }

  async function serve(certificate: IssuedCertificate, policy: HostPolicy, options: PinningOptions = {}): Promise<string> {
    const server = await startServer({ certificate })
    const { outcome } = await connect(server, { pins: { localhost: policy }, ...options })
    await server.close()
    return outcome
  }

  test.each<[string, HostPolicy]>([
    ['its certificate', { certificates: [appliance.fingerprint], trust: 'pin-only' }],
    ['its key', byKey],
    ['the short form of its key', { pins: [genuine.pin], trust: 'pin-only' }],
    ['the short form of its certificate', { pins: [appliance.fingerprint], trust: 'pin-only' }]
  ])('a self-signed leaf is accepted on a pin of %s', async (_name, policy) => {
    expect(await serve(appliance, policy)).toBe('200')
    expect(await serve(createSelfSigned(), policy)).toBe('ERR_PIN_MISMATCH')
  })

  test('every peer with the pinned key is accepted whose dates and name fit, whoever has issued it', async () => {
    for (const peer of ['genuine', 'untrusted', 'self-signed'] as const) await expectDecision(peer, { pins: { localhost: byKey } }, pinned)
    await expectDecision('impostor', { pins: { localhost: byKey } }, mismatch)
    for (const peer of ['expired', 'future', 'wrong name'] as const) await expectDecision(peer, { pins: { localhost: byKey } }, pkiErrors[peer] as RegExp)
  })

  test.each<[string, CertificateOptions, RegExp]>([
    ['has expired', past, /^CERT_HAS_EXPIRED$/],
    ['is not yet valid', future, /^CERT_NOT_YET_VALID$/],
    ['bears another name', { names: ['other.test'] }, /^ERR_TLS_CERT_ALTNAME_INVALID$/],
    ['bears an address only', { names: ['127.0.0.1'], name: 'x' }, /^ERR_TLS_CERT_ALTNAME_INVALID$/]
  ])('a self-signed leaf is refused though its key is pinned when it %s', async (_name, options, error) => {
    expect(await serve(createSelfSigned({ key, ...options }), byKey)).toMatch(error)
  })

  test('report-only lets no peer pass that neither a pin nor PKI accepts', async () => {
    const options: PinningOptions = { pins: { localhost: byKey }, mode: 'report-only' }
    expect(await serve(createSelfSigned(), byKey, options)).toBe('DEPTH_ZERO_SELF_SIGNED_CERT')
    expect(await serve(unknownRoot.issue(), byKey, options)).toMatch(pkiErrors.untrusted as RegExp)
    expect(await serve(createSelfSigned({ key, ...past }), byKey, options)).not.toBe('200')
    await expectDecision('impostor', options, ['mismatch', 'tolerated'])
    await expectDecision('self-signed', options, pinned)
  })

  test.each(['refuse', 'report-only', 'allow'] as const)("expired pins, onExpiry '%s': without pins a self-signed leaf has nobody to vouch for it", async (onExpiry) => {
    const policy: HostPolicy = { ...byKey, expires: longAgo, onExpiry }
    const expected = { refuse: 'ERR_PIN_EXPIRED', 'report-only': '200', allow: 'DEPTH_ZERO_SELF_SIGNED_CERT' }[onExpiry]
    expect(await serve(appliance, policy)).toBe(expected)
    expect(await serve(createSelfSigned(), policy)).toBe(onExpiry === 'report-only' ? 'DEPTH_ZERO_SELF_SIGNED_CERT' : expected)
  })

  test('mode off leaves it to PKI', async () => {
    await expectDecision('self-signed', { pins: { localhost: byKey }, mode: 'off' }, pkiErrors['self-signed'] as RegExp)
    await expectDecision('genuine', { pins: { localhost: byKey }, mode: 'off' }, untold)
  })

  test('a rejected certificate is refused though its key is pinned', async () => {
    expect(await serve(appliance, { ...byKey, rejected: [appliance.fingerprint] })).toBe('ERR_PIN_MISMATCH')
    expect(await serve(appliance, { certificates: [appliance.fingerprint], rejected: [appliance.pin], trust: 'pin-only' })).toBe('ERR_PIN_MISMATCH')
    expect(await serve(appliance, { ...byKey, rejected: [backup.pin] })).toBe('200')
  })
})

describe('what is rejected beats every match:', () => {
  const matching: Record<string, HostPolicy> = {
    'the leaf': { certificates: [genuine.fingerprint] },
    "the leaf's key": { publicKeys: [genuine.pin] },
    'the root': { authorities: [root.fingerprint] },
    'the issuing CA': { authorities: [issuing.fingerprint] },
    'everything': { certificates: [genuine.fingerprint], pins: [genuine.fingerprint], authorities: [issuing.fingerprint, upper.fingerprint, root.fingerprint] }
  }
  const rejectable: Record<string, string[]> = {
    'the leaf': [genuine.fingerprint, genuine.pin],
    'the issuing CA': [issuing.fingerprint, issuing.pin],
    'the upper CA': [upper.fingerprint, upper.pin],
    'the root': [root.fingerprint, root.pin]
  }

  test.each(Object.entries(rejectable))('%s', async (_name, [fingerprint = '', pin = '']) => {
    for (const [form, policy] of Object.entries(matching)) {
      const isPinned = Object.values(policy).flat().includes(fingerprint)
      await expectDecision('genuine', { pins: { localhost: policy } }, pinned)
      await expectDecision('genuine', { pins: { localhost: { ...policy, rejected: [backup.pin] } } }, pinned)
      if (!(form === "the leaf's key" && pin === genuine.pin)) await expectDecision('genuine', { pins: { localhost: { ...policy, rejected: [backup.pin, pin] } } }, mismatch)
      if (!isPinned) await expectDecision('genuine', { pins: { localhost: { ...policy, rejected: [fingerprint] } } }, mismatch)
    }
  })

  test('report-only tells, and lets pass', async () => {
    await expectDecision('genuine', { pins: { localhost: { publicKeys: [genuine.pin], rejected: [upper.pin] } }, mode: 'report-only' }, ['mismatch', 'tolerated'])
  })

  test('where no chain can be verified that could show what is rejected, the peer is refused', async () => {
    const constrained = createAuthority({ name: 'Constrained Root', nameConstraints: { excluded: ['email:nobody.test'] } })
    const server = await startServer({ certificate: constrained.issue({ key }) })
    const tls = { ca: constrained.pem }
    expect((await connect(server, { pins: { localhost: { publicKeys: [genuine.pin] } }, tls })).outcome).toBe('200')
    expect((await connect(server, { pins: { localhost: { publicKeys: [genuine.pin], rejected: [backup.pin] } }, tls })).outcome).toBe('ERR_PIN_CHAIN_UNVERIFIED')
    await server.close()
  })
})
