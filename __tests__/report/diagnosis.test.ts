import { readFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import axios from 'axios'
import type { AxiosError } from 'axios'
import { createPinning, findDiagnosis, findPinningError, pinAxios } from '../../lib/index.js'
import type { Diagnosis, HostPolicy, PinReport } from '../../lib/index.js'
import type { Policy } from '../../lib/policy/policy.js'
import { PolicySet } from '../../lib/policy/policy-set.js'
import { diagnose, formatDiagnosis } from '../../lib/report/diagnosis.js'
import type { Refused } from '../../lib/report/diagnosis.js'
import { PeerHistory } from '../../lib/report/history.js'
import { findInterceptor } from '../../lib/report/interceptors.js'
import { TrustAnchors } from '../../lib/verify/anchors.js'
import { PeerRecord } from '../../lib/verify/records.js'
import { send } from '../support/clients.js'
import { createAuthority, createSelfSigned, generateKey } from '../support/pki.js'
import type { Authority, CertificateOptions, IssuedCertificate } from '../support/pki.js'
import { startServer } from '../support/servers.js'

// The clock of most cases is `now`; a day before it the host was last accepted, with a certificate in its last third.
const dayMs = 24 * 3600_000
const now = Date.parse('2027-03-01T12:00:00Z')
const days = (count: number): Date => new Date(now + count * dayMs)

const publicRoot = createAuthority({ subject: [['C', 'US'], ['O', 'Public Trust'], ['CN', 'Public Root']], notBefore: days(-900) })
const publicCa = publicRoot.issueAuthority({ subject: [['C', 'US'], ['O', 'Public Trust'], ['CN', 'Public CA 1']], notBefore: days(-900) })
const siblingCa = publicRoot.issueAuthority({ subject: [['C', 'US'], ['O', 'Public Trust'], ['CN', 'Public CA 2']], notBefore: days(-900) })
const otherRoot = createAuthority({ subject: [['O', 'Other Trust'], ['CN', 'Other Root']], notBefore: days(-900) })
const corporateRoot = createAuthority({ subject: [['O', 'Acme Corp'], ['CN', 'Acme Inspection CA']], notBefore: days(-900) })

const host = 'api.example.com'
const names = [host, 'www.example.com']

const leafOf = (issuer: Authority, options: CertificateOptions = {}): IssuedCertificate => issuer.issue({ name: host, names, notBefore: days(-10), notAfter: days(80), ...options })

const old = leafOf(publicCa, { notBefore: days(-80), notAfter: days(10) })
const young = leafOf(publicCa, { notBefore: days(-5), notAfter: days(85) })
const selfSigned = createSelfSigned({ name: host, names, notBefore: days(-10), notAfter: days(80) })

// The bundled roots cannot sign anything here: these two stand in for public CAs.
jest.mock('../../lib/report/public-roots.js', () => ({ isPublicRoot: ({ subject }: { subject: string }) => /Public Trust|Other Trust/.test(subject) }))

interface Situation {
  /** In the words of the table. */
  readonly title: string
  readonly leaf?: IssuedCertificate
  /** Served after the leaf; default its issuers without the root. */
  readonly served?: readonly IssuedCertificate[]
  readonly code?: string
  /** Accepted a day ago, unless said otherwise. */
  readonly accepted?: readonly IssuedCertificate[]
  readonly acceptedAt?: number
  /** The refused certificate was refused at this time already. */
  readonly refusedAt?: number
  readonly facts?: Partial<Refused>
  readonly policy?: HostPolicy
  /** The `tls.ca` option; default: the two public roots as Node's own. */
  readonly ca?: readonly IssuedCertificate[]
  /** Anchors that somebody has added to the trust store. */
  readonly added?: readonly IssuedCertificate[]
  readonly expected: readonly [verdict: string, confidence: string, evidence: RegExp]
}

const situations: readonly Situation[] = [
  { title: "the issuer bears mitmproxy's name", leaf: leafOf(createAuthority({ subject: [['CN', 'mitmproxy'], ['O', 'mitmproxy']], notBefore: days(-900) })), code: 'SELF_SIGNED_CERT_IN_CHAIN', expected: ['intercepting-proxy', 'high', /calls itself "O=mitmproxy, CN=mitmproxy".*as the CA of mitmproxy does/] },
  { title: 'the issuer is a root that somebody added to the trust store', leaf: leafOf(corporateRoot), added: [corporateRoot], expected: ['intercepting-proxy', 'high', /not among the public roots bundled with Node\.js/] },
  { title: 'a private root is trusted, and earlier certificates ended at a public one', leaf: leafOf(corporateRoot), ca: [publicRoot, corporateRoot], accepted: [old], expected: ['intercepting-proxy', 'high', /Earlier certificates of this host ended at a public root/] },
  { title: 'nobody trusted vouches for the issuer, which is another one than before', leaf: leafOf(corporateRoot), code: 'SELF_SIGNED_CERT_IN_CHAIN', served: [corporateRoot], accepted: [old], expected: ['intercepting-proxy', 'high', /Its issuer is .*Acme Inspection CA.*; the certificate accepted earlier was issued by .*Public CA 1/] },
  { title: 'nobody trusted vouches for the issuer, and the certificate was issued minutes ago', leaf: leafOf(corporateRoot, { notBefore: new Date(now - 120_000) }), code: 'SELF_SIGNED_CERT_IN_CHAIN', served: [corporateRoot], expected: ['intercepting-proxy', 'medium', /issued 2 minutes ago/] },
  { title: 'nobody trusted vouches for the issuer, and nothing earlier is known', leaf: leafOf(corporateRoot), code: 'SELF_SIGNED_CERT_IN_CHAIN', served: [corporateRoot], expected: ['intercepting-proxy', 'low', /may simply use a private CA/] },
  { title: 'another public CA than before, issued minutes ago', leaf: leafOf(otherRoot, { notBefore: new Date(now - 120_000) }), accepted: [old], expected: ['intercepting-proxy', 'medium', /Other Root/] },
  { title: 'same issuer and names, newer, when a renewal was due', leaf: young, accepted: [old], expected: ['key-rotated', 'high', /newer: valid from 2027-02-24 to 2027-05-25/] },
  { title: 'same issuer and names, newer, long before a renewal was due', leaf: leafOf(publicCa, { notBefore: days(-1), notAfter: days(89) }), accepted: [leafOf(publicCa, { notBefore: days(-10), notAfter: days(80) })], expected: ['key-rotated', 'medium', /far from its end/] },
  { title: "another CA of the same issuer's organisation, newer", leaf: leafOf(siblingCa, { notBefore: days(-5) }), accepted: [old], expected: ['key-rotated', 'high', /same issuer \(Public Trust\)/] },
  { title: 'a public CA, the right name, and nothing earlier is known', leaf: young, expected: ['key-rotated', 'low', /No earlier connection of this process/] },
  { title: 'a newer certificate of the accepted key', leaf: leafOf(publicCa, { key: old.key, notBefore: days(-5) }), accepted: [old], expected: ['renewed-same-key', 'high', /The key is the one of a certificate that was accepted earlier/] },
  { title: 'the accepted certificate was seen again after this one', leaf: young, accepted: [old], acceptedAt: now - 60_000, refusedAt: now - 120_000, expected: ['multi-certificate-host', 'medium', /presented in turn/] },
  { title: 'an ECDSA certificate beside the accepted RSA one, of the same week', leaf: leafOf(publicCa, { notBefore: days(-79) }), accepted: [leafOf(publicCa, { notBefore: days(-80), notAfter: days(10), key: generateKey('rsa') })], expected: ['multi-certificate-host', 'medium', /key is of another kind \(ec\) than the accepted one's \(rsa\)/] },
  { title: 'same issuer and names, but older than the accepted one', leaf: old, accepted: [young], expected: ['multi-certificate-host', 'medium', /not newer than the accepted one/] },
  { title: 'a certificate for other names, of a public CA', leaf: leafOf(publicCa, { name: 'shop.example.net', names: ['shop.example.net'] }), code: 'ERR_TLS_CERT_ALTNAME_INVALID', expected: ['wrong-host', 'high', /is for shop\.example\.net, not for api\.example\.com/] },
  { title: 'a certificate for a login page, of no trusted CA', leaf: createSelfSigned({ name: 'captive.wifi.lan', names: ['captive.wifi.lan'], notBefore: days(-10), notAfter: days(80) }), code: 'DEPTH_ZERO_SELF_SIGNED_CERT', expected: ['captive-portal', 'high', /what network login pages and gateways are called/] },
  { title: 'a certificate for other names, of no trusted CA', leaf: createSelfSigned({ name: 'box', names: ['box'], notBefore: days(-10), notAfter: days(80) }), code: 'DEPTH_ZERO_SELF_SIGNED_CERT', expected: ['captive-portal', 'low', /a wrong server is possible as well/] },
  { title: "out of date, and earlier answers' Date headers agree with this clock", leaf: leafOf(publicCa, { notBefore: days(-90), notAfter: days(-2) }), code: 'CERT_HAS_EXPIRED', facts: { serverNow: now - 1_000 }, expected: ['expired', 'high', /expired on 2027-02-27T12:00Z, 2 days ago/] },
  { title: 'out of date, with nothing to check the clock against', leaf: leafOf(publicCa, { notBefore: days(-90), notAfter: days(-2) }), code: 'CERT_HAS_EXPIRED', expected: ['expired', 'medium', /may be wrong instead/] },
  { title: 'an intermediate is out of date', leaf: leafOf(publicRoot.issueAuthority({ name: 'Short CA', notBefore: days(-90), notAfter: days(-1) })), code: 'CERT_HAS_EXPIRED', facts: { serverNow: now }, expected: ['expired', 'high', /The CA certificate of CN=Short CA expired/] },
  { title: 'out of date by this clock, in date by the Date headers of earlier answers', leaf: leafOf(publicCa, { notBefore: days(-90), notAfter: days(-2) }), code: 'CERT_HAS_EXPIRED', facts: { serverNow: now - 3 * dayMs }, expected: ['clock-wrong', 'high', /this machine's clock says 2027-03-01T12:00Z, 3 days ahead/] },
  { title: 'not valid yet, and an accepted certificate would not be either', leaf: leafOf(publicCa, { notBefore: days(300), notAfter: days(400) }), accepted: [leafOf(publicCa, { notBefore: days(290), notAfter: days(380) })], code: 'CERT_NOT_YET_VALID', expected: ['clock-wrong', 'high', /the clock has gone back/] },
  { title: 'not valid yet', leaf: leafOf(publicCa, { notBefore: days(300), notAfter: days(400) }), code: 'CERT_NOT_YET_VALID', expected: ['clock-wrong', 'medium', /300 days from now/] },
  { title: "the policy's own date has passed", leaf: young, code: 'ERR_PIN_EXPIRED', policy: { pins: [young.pin], expires: days(-7) }, expected: ['pins-stale', 'high', /expired on 2027-02-22T12:00Z, 7 days ago/] },
  { title: "the policy's own date has passed by this clock, not by the Date headers", leaf: young, code: 'ERR_PIN_EXPIRED', policy: { pins: [young.pin], expires: days(-7) }, facts: { serverNow: now - 30 * dayMs }, expected: ['clock-wrong', 'high', /30 days ahead/] },
  { title: 'a rotation, and updates of the pins are overdue', leaf: young, accepted: [old], facts: { pinSet: { updatedAt: now - 20 * dayMs, stale: true, failure: 'HTTP 503' } }, expected: ['pins-stale', 'medium', /last brought up to date 20 days ago.*HTTP 503/] },
  { title: 'updates of the pins are overdue, and nothing earlier is known', leaf: young, facts: { pinSet: { updatedAt: now - 20 * dayMs, stale: true } }, expected: ['pins-stale', 'low', /an update is overdue/] },
  { title: 'the key is one that the policy rejects', leaf: young, policy: { pins: [old.pin], rejected: [young.pin] }, expected: ['rejected-key', 'high', /rejects sha256/] },
  { title: 'the pinned key, of a CA that is no trust anchor', leaf: leafOf(corporateRoot, { key: old.key }), served: [corporateRoot], code: 'SELF_SIGNED_CERT_IN_CHAIN', expected: ['no-trust-anchor', 'high', /holds the key of a pinned certificate \(sha256\/.*no trust anchor vouches for it.*Acme Inspection CA/] },
  { title: 'the pinned key, self-signed', leaf: selfSigned, code: 'DEPTH_ZERO_SELF_SIGNED_CERT', policy: { publicKeys: [selfSigned.pin] }, expected: ['no-trust-anchor', 'high', /self-signed, so no trust anchor vouches for it/] },
  { title: 'a certificate that a pinned CA has signed, which is no trust anchor', leaf: leafOf(corporateRoot), served: [corporateRoot], code: 'ERR_PIN_CHAIN_UNVERIFIED', policy: { authorities: [corporateRoot.pin] }, expected: ['no-trust-anchor', 'high', /signed by a pinned CA \("CN=Acme Inspection CA, O=Acme Corp"/] },
  { title: "the leaf's key is pinned, under authorities", leaf: young, policy: { authorities: [young.pin, otherRoot.pin] }, expected: ['misplaced-pin', 'high', /is the key of the server's own certificate, but stands under authorities/] },
  { title: 'the key of the CA is pinned, under publicKeys', leaf: young, policy: { publicKeys: [publicRoot.pin] }, expected: ['misplaced-pin', 'high', /is the key of the CA "CN=Public Root, O=Public Trust, C=US", but stands under publicKeys/] },
  { title: "the fingerprint of the CA is pinned, as the leaf's", leaf: young, policy: { pins: [publicCa.fingerprint] }, expected: ['misplaced-pin', 'high', /is the fingerprint of the CA "CN=Public CA 1, O=Public Trust, C=US", but stands under certificates or pins/] },
  { title: 'the server leaves out its intermediate', leaf: young, served: [], code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', expected: ['chain-incomplete', 'low', /its own certificate alone/] },
  { title: 'the server leaves out the intermediate of earlier certificates', leaf: young, served: [], code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', accepted: [old], expected: ['chain-incomplete', 'medium', /name the same issuer/] },
  { title: "the server sends a certificate of another issuer than before, and nothing else", leaf: leafOf(corporateRoot), served: [], code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', accepted: [old], expected: ['intercepting-proxy', 'high', /Acme Inspection CA/] },
  { title: 'a CA pin, and no verified chain', leaf: young, served: [], code: 'ERR_PIN_CHAIN_UNVERIFIED', expected: ['chain-incomplete', 'medium', /none of the trust anchors/] },
  { title: 'another public CA than before', leaf: leafOf(otherRoot, { notBefore: days(-5) }), accepted: [old], expected: ['unknown', 'low', /Its issuer is .*Other Root.*was issued by .*Public CA 1/] },
  { title: "trust: 'pin-only', same names as before, and nobody vouches for it", leaf: createSelfSigned({ name: host, names, notBefore: days(-5), notAfter: days(80) }), accepted: [createSelfSigned({ name: host, names, notBefore: days(-80), notAfter: days(10) })], policy: { certificates: [createSelfSigned().fingerprint], trust: 'pin-only' }, expected: ['key-rotated', 'low', /anybody can make such a certificate/] },
  { title: 'no pins for the host', code: 'ERR_PIN_HOST_UNPINNED', expected: ['host-unpinned', 'high', /No host pattern/] },
  { title: 'an option would leave the pinned agent', code: 'ERR_PIN_BYPASS', expected: ['bypass', 'high', /proxy would leave/] },
  { title: 'no certificate was read', code: 'ERR_PIN_MISMATCH', expected: ['unknown', 'low', /ended before a certificate was read/] }
]

/** What the transport would know of the leaf: `issuerCertificate` is what was served after it. */
function read(leaf: IssuedCertificate, served: readonly IssuedCertificate[]): IssuedCertificate['x509'] {
  const link = ([first, ...rest]: readonly IssuedCertificate[]): IssuedCertificate['x509'] | undefined => first && Object.defineProperty(new (first.x509.constructor as new (der: Buffer) => IssuedCertificate['x509'])(first.der), 'issuerCertificate', { value: link(rest) })
  return link([leaf, ...served]) as IssuedCertificate['x509']
}

function factsOf({ leaf, served, code = 'ERR_PIN_MISMATCH', accepted = [], acceptedAt = now - dayMs, refusedAt, facts, policy, ca, added = [] }: Situation): Refused {
  const history = new PeerHistory()
  const anchors = new TrustAnchors((ca ?? [publicRoot, otherRoot, ...added]).map(({ pem }) => pem), false)
  Object.assign(anchors, { given: ca !== undefined })
  for (const each of accepted) {
    const record = new PeerRecord(read(each, each.chain.slice(1)), anchors)
    record.chain(record.leaf, anchors, now)
    history.accept(host, 443, record, acceptedAt)
  }
  if (leaf && refusedAt !== undefined) history.refuse(host, 443, leaf.fingerprint, refusedAt)
  const x509 = leaf && read(leaf, served ?? leaf.chain.slice(1))
  const policies = new PolicySet({ pins: { [host]: policy ?? [createSelfSigned().pin, old.pin] } }, 1)
  return { host, port: 443, error: Object.assign(new Error(code === 'ERR_PIN_BYPASS' ? 'proxy would leave the pinned connection' : 'refused'), { code }), policy: policies.find(host, 443) as Policy, leaf: x509, record: x509 && new PeerRecord(x509, anchors), anchors, earlier: history.find(host, 443), pinSet: undefined, now, serverNow: undefined, ...facts }
}

test.each(situations)('$title: $expected.0 ($expected.1)', (situation) => {
  const [verdict, confidence, evidence] = situation.expected
  const diagnosis = diagnose(factsOf(situation))
  expect({ ...diagnosis, evidence: diagnosis.evidence.join(' ') }).toMatchObject({ verdict, confidence, evidence: expect.stringMatching(evidence), advice: expect.stringMatching(/.{20}/) })
})

test('a rotation has the new pins ready to paste, and so have the other changes by the owner', () => {
  const diagnosisOf = (title: RegExp): Diagnosis => diagnose(factsOf(situations.find((each) => title.test(each.title)) as Situation))
  expect(diagnosisOf(/when a renewal was due/).newPins).toEqual([young.pin, young.fingerprint])
  expect(diagnosisOf(/of the accepted key/).newPins?.[0]).toBe(old.pin)
  expect(diagnosisOf(/seen again/).newPins).toEqual([young.pin, young.fingerprint])
  expect(diagnosisOf(/mitmproxy/).newPins).toBeUndefined()
  expect(formatDiagnosis(diagnosisOf(/when a renewal was due/))).toContain(`New pin: ${young.pin}`)
})

test('where nothing earlier is known, it is said that a changed key cannot be told from an attacker, before any new pin', () => {
  const text = formatDiagnosis(diagnose(factsOf({ title: '', leaf: young, expected: ['', '', /./] })))
  expect(text).toMatch(/a changed key cannot be told from an attacker[^]*Do not add the new pins before[^]*New pin: /)
})

test('advice says what to do, and names the option that the reader has', () => {
  const untrusted = { title: '', leaf: leafOf(corporateRoot), code: 'SELF_SIGNED_CERT_IN_CHAIN', served: [corporateRoot], expected: ['', '', /./] } as const
  const pinned = { ...untrusted, policy: { pins: [untrusted.leaf.pin] } }
  expect(diagnose(factsOf(untrusted)).advice).toMatch(/^Find out whose CA that is\. If the server uses a private one, pass that CA as tls\.ca\./)
  expect(diagnose(factsOf(pinned)).advice).toMatch(/^Pass the certificate of its CA as tls\.ca, if that is a private CA/)
  for (const situation of [untrusted, pinned]) {
    const { advice, newPins } = diagnose(factsOf({ ...situation, facts: { caOption: '--ca' } }))
    expect([advice, newPins]).toEqual([expect.stringMatching(/as --ca[.,]/), undefined])
    expect(advice).not.toContain('tls.ca')
  }
  for (const { advice } of situations.map((each) => diagnose(factsOf(each)))) expect(advice).not.toMatch(/^Something|^\w+ reads/)
})

test('a pinned CA that was only sent, and has signed nothing, proves nothing', () => {
  const impostor = { title: '', leaf: leafOf(otherRoot), served: [corporateRoot], code: 'SELF_SIGNED_CERT_IN_CHAIN', ca: [publicRoot], policy: { pins: [corporateRoot.pin] }, expected: ['', '', /./] } as const
  expect(diagnose(factsOf(impostor)).verdict).toBe('intercepting-proxy')
})

test('a CA pin in the wrong place explains no change of a certificate that the other pins accepted', () => {
  const changed = { title: '', leaf: young, accepted: [old], policy: { publicKeys: [old.pin, publicCa.pin] }, expected: ['', '', /./] } as const
  expect(diagnose(factsOf(changed)).verdict).toBe('key-rotated')
  expect(diagnose(factsOf({ ...changed, accepted: [] })).advice).toMatch(/under authorities.*every certificate that it issues/)
})

test('docs/diagnosis.md lists each of these', () => {
  const table = ['| what was seen | verdict | confidence |', '|---|---|---|', ...situations.map(({ title, expected: [verdict, confidence] }) => `| ${title} | \`${verdict}\` | ${confidence} |`)].join('\n')
  const docs = readFileSync(join(__dirname, '../../docs/diagnosis.md'), 'utf8')
  expect(docs.includes(table) ? '' : `docs/diagnosis.md needs this table:\n${table}`).toBe('')
})

// The names of the CAs as these products make them.
test.each([
  ['mitmproxy', 'O=mitmproxy, CN=mitmproxy'],
  ['Burp Suite', 'CN=PortSwigger CA, OU=PortSwigger CA, O=PortSwigger, L=PortSwigger, ST=PortSwigger, C=PortSwigger'],
  ['Charles', 'CN=Charles Proxy CA (1 Jan 2026, host), OU=https://charlesproxy.com/ssl, O=XK72 Ltd, L=Auckland, C=NZ'],
  ['Fiddler', 'CN=DO_NOT_TRUST_FiddlerRoot, O=DO_NOT_TRUST, OU=Created by http://www.fiddler2.com'],
  ['Fiddler', 'CN=Fiddler Root Certificate Authority, O=Progress Telerik Fiddler'],
  ['HTTP Toolkit', 'CN=HTTP Toolkit CA, O=HTTP Toolkit CA, C=XX'],
  ['Proxyman', 'CN=Proxyman CA (1 Jan 2026, host), OU=https://proxyman.io, O=Proxyman Ltd'],
  ['Zscaler', 'CN=Zscaler Intermediate Root CA (zscalertwo.net), OU=Zscaler Inc., O=Zscaler Inc., ST=California, C=US'],
  ['Netskope', 'CN=ca.acme.goskope.com, OU=certadmin, O=Netskope Inc, C=US'],
  ['Palo Alto Networks', 'CN=Palo Alto Networks Inc Root CA, O=Palo Alto Networks Inc'],
  ['Fortinet', 'CN=FGT60E4Q16000000, OU=Certificate Authority, O=Fortinet, C=US'],
  ['Blue Coat', 'CN=SSL-SG1-GLOBAL, OU=Operations, O=Cloud Services, C=US'],
  ['Sophos', 'CN=Sophos SSL CA_C0123456789, O=Sophos'],
  ['Kaspersky', 'CN=Kaspersky Anti-Virus Personal Root Certificate, O=AO Kaspersky Lab'],
  ['ESET', 'CN=ESET SSL Filter CA, O=ESET\\, spol. s r. o., C=SK'],
  ['Avast', 'CN=Avast Web/Mail Shield Root, O=Avast Web/Mail Shield, OU=generated by Avast Antivirus for SSL/TLS scanning'],
  ['Bitdefender', 'CN=Bitdefender Personal CA.Net-Defender, OU=IDS, O=Bitdefender, C=US'],
  ['Cisco Umbrella', 'CN=Cisco Umbrella Root CA, O=Cisco'],
  ['Cloudflare Gateway', 'CN=Gateway CA - Cloudflare Managed G2, O=Cloudflare, Inc., C=US'],
  ['Squid', 'CN=squid, O=Example']
])('%s is known by %s', (product, name) => {
  expect(findInterceptor(name)?.product).toBe(product)
})

test('no public root bundled with Node.js bears the name of one', () => {
  const { rootCertificates } = jest.requireActual<typeof import('node:tls')>('node:tls')
  const { X509Certificate } = jest.requireActual<typeof import('node:crypto')>('node:crypto')
  const found = rootCertificates.map((pem) => new X509Certificate(pem).subject.split('\n').reverse().join(', ')).filter((name) => findInterceptor(name))
  expect(found).toEqual([])
})

test('whatever goes wrong in it becomes a diagnosis, never an exception', () => {
  const facts = factsOf(situations[0] as Situation)
  Object.defineProperty(facts.leaf as object, 'subject', { get: () => { throw new Error('unreadable') } })
  Object.defineProperty(facts.leaf as object, 'issuer', { get: () => { throw new Error('unreadable') } })
  expect(diagnose(facts)).toMatchObject({ verdict: 'unknown', evidence: ['The diagnosis itself failed: unreadable.'] })
})

test('an interceptor whose certificates are the pinned ones is not blamed for a change', () => {
  const proxy = createAuthority({ subject: [['O', 'mitmproxy'], ['CN', 'mitmproxy']], notBefore: days(-900) })
  const situation = { title: '', leaf: leafOf(proxy, { notBefore: days(-5) }), accepted: [leafOf(proxy, { notBefore: days(-80), notAfter: days(10) })], ca: [proxy], expected: ['', '', /./] as const }
  expect(diagnose(factsOf(situation)).verdict).toBe('key-rotated')
})

describe('over real connections', () => {
  const root = createAuthority({ name: 'Test Root' })
  beforeEach(() => void jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined))

  test('a rotation is told in the report and in the error, with the new pins, through axios too', async () => {
    const first = root.issue({ notBefore: new Date(Date.now() - 80 * dayMs), notAfter: new Date(Date.now() + 10 * dayMs) })
    const second = root.issue()
    const server = await startServer({ certificate: first })
    const reports: PinReport[] = []
    const api = axios.create({ baseURL: server.url, proxy: false })
    const pinning = pinAxios(api, { pins: { localhost: [first.pin, createSelfSigned().pin] }, tls: { ca: root.pem }, agent: { keepAlive: false }, onBadCertificate: (report) => void reports.push(report) })
    await api.get('/')
    server.swapCertificate(second)
    const error = (await api.get('/').catch((thrown: unknown) => thrown)) as AxiosError
    await Promise.all([pinning.close(), server.close()])
    expect(reports[0]?.diagnosis).toMatchObject({ verdict: 'key-rotated', confidence: 'high', newPins: [second.pin, second.fingerprint] })
    expect(findPinningError(error)?.diagnosis).toBe(reports[0]?.diagnosis)
    expect(findDiagnosis(error)).toBe(reports[0]?.diagnosis)
    expect(error.message).toContain(`key-rotated (confidence: high)`)
    expect(error.message).toContain(`New pin: ${second.pin}`)
    expect(JSON.parse(JSON.stringify(reports[0]))).toMatchObject({ diagnosis: { verdict: 'key-rotated' } })
    // As an error that goes to another thread.
    expect(structuredClone(findPinningError(error))?.message).toContain(`New pin: ${second.pin}`)
    // Once in the text of each, not twice.
    expect([error.message, String(reports[0])].map((text) => text.split('diagnosis:').length)).toEqual([2, 2])
    expect(server.requests).toHaveLength(1)
  })

  test("PKI's own refusals are diagnosed as well, and keep Node's message", async () => {
    const server = await startServer({ certificate: createAuthority({ name: 'mitmproxy' }).issue() })
    const plain = await send(createPinning({ pins: { localhost: [root.pin] } }).agent, server.port)
    const pinning = createPinning({ pins: { localhost: [root.pin, createSelfSigned().pin] }, tls: { ca: root.pem } })
    const error = await axios.get(server.url, { httpsAgent: pinning.agent, proxy: false }).catch((thrown: unknown) => thrown)
    await Promise.all([pinning.close(), server.close()])
    expect(findPinningError(error)).toBeUndefined()
    expect(findDiagnosis(error)).toMatchObject({ verdict: 'intercepting-proxy', product: 'mitmproxy' })
    expect((error as Error).message).toBe(plain.message)
  })

  test.each([
    ['a private CA that was not given', (leaf: IssuedCertificate) => ({ publicKeys: [leaf.pin, createSelfSigned().pin] }), /Pass the certificate of its CA as tls\.ca/],
    ['a private CA that was pinned, and not given', () => ({ authorities: [root.pin, createSelfSigned().pin] }), /Pass the certificate of its CA as tls\.ca/]
  ])('the pinned key without a trust anchor: %s', async (_title, policyOf, advice) => {
    const leaf = root.issue()
    const server = await startServer({ certificate: leaf, chain: [root] })
    const pinning = createPinning({ pins: { localhost: policyOf(leaf) } })
    const error = await axios.get(server.url, { httpsAgent: pinning.agent, proxy: false }).catch((thrown: unknown) => thrown)
    await Promise.all([pinning.close(), server.close()])
    expect(findDiagnosis(error)).toMatchObject({ verdict: 'no-trust-anchor', confidence: 'high', advice: expect.stringMatching(advice) })
    expect(server.requests).toHaveLength(0)
  })

  test('a self-signed certificate whose key is pinned: trust pin-only is what it wants', async () => {
    const leaf = createSelfSigned()
    const server = await startServer({ certificate: leaf })
    const [strict, right] = [{}, { trust: 'pin-only' as const }].map((trust) => createPinning({ pins: { localhost: { publicKeys: [leaf.pin, createSelfSigned().pin], ...trust } } })) as [ReturnType<typeof createPinning>, ReturnType<typeof createPinning>]
    const error = await axios.get(server.url, { httpsAgent: strict.agent, proxy: false }).catch((thrown: unknown) => thrown)
    expect(findDiagnosis(error)).toMatchObject({ verdict: 'no-trust-anchor', advice: expect.stringContaining(`publicKeys: ['${leaf.pin}'], trust: 'pin-only'`) })
    expect((await send(right.agent, server.port)).status).toBe(200)
    await Promise.all([strict.close(), right.close(), server.close()])
  })

  test.each<[string, (leaf: IssuedCertificate) => object, RegExp, RegExp]>([
    ["the leaf's key under authorities", (leaf) => ({ pins: { localhost: { authorities: [leaf.pin, createSelfSigned().pin] } } }), /^No certificate of the verified chain is pinned in its own place /, /^Put sha256\S+ under publicKeys instead of authorities/],
    ["the leaf's fingerprint under authorities", (leaf) => ({ pins: { localhost: { authorities: [leaf.fingerprint, createSelfSigned().pin] } } }), /in its own place /, /^Put [A-F0-9:]{95} under certificates instead/],
    ['the key of the CA under publicKeys', () => ({ pins: { localhost: { publicKeys: [root.pin, createSelfSigned().pin] } } }), /^The leaf certificate is not pinned /, /^Put sha256\S+ under authorities, or under pins/],
    ['the fingerprint of the CA in allowedSHAFingerprints', () => ({ allowedSHAFingerprints: [root.fingerprint, createSelfSigned().pin] }), /is pinned/, new RegExp(`Put its key's pin ${root.pin.replace(/[+/]/g, '.')} there`)]
  ])('a pin in the wrong place is told, and stays refused: %s', async (_title, policyOf, message, advice) => {
    const leaf = root.issue()
    const server = await startServer({ certificate: leaf })
    const pinning = createPinning({ ...policyOf(leaf), tls: { ca: root.pem } })
    const error = await axios.get(server.url, { httpsAgent: pinning.agent, proxy: false }).catch((thrown: unknown) => thrown)
    await Promise.all([pinning.close(), server.close()])
    expect(findPinningError(error)).toMatchObject({ code: 'ERR_PIN_MISMATCH', message: expect.stringMatching(message) })
    expect(findDiagnosis(error)).toMatchObject({ verdict: 'misplaced-pin', confidence: 'high', advice: expect.stringMatching(advice) })
    expect((error as Error).message).not.toContain('New pin')
    expect(server.requests).toHaveLength(0)
  })

  test('a report-only mismatch is diagnosed in its report; what was only tolerated is no comparison, neither its certificate nor its clock', async () => {
    const handler = (_req: unknown, res: ServerResponse): void => void res.setHeader('date', new Date(Date.now() - 20 * dayMs).toUTCString()).end('ok')
    const server = await startServer({ certificate: root.issue({ notBefore: new Date(Date.now() - 80 * dayMs) }), handler })
    const reports: PinReport[] = []
    const pinning = createPinning({ pins: { localhost: { pins: [root.issue().pin, createSelfSigned().pin], mode: 'report-only' } }, tls: { ca: root.pem }, agent: { keepAlive: false, maxCachedSessions: 0 }, onBadCertificate: (report) => void reports.push(report) })
    expect((await send(pinning.agent, server.port)).status).toBe(200)
    server.swapCertificate(root.issue())
    expect((await send(pinning.agent, server.port)).status).toBe(200)
    server.swapCertificate(root.issue({ notBefore: new Date(Date.now() - 30 * dayMs), notAfter: new Date(Date.now() - dayMs) }))
    expect((await send(pinning.agent, server.port)).code).toBe('CERT_HAS_EXPIRED')
    await Promise.all([pinning.close(), server.close()])
    expect(reports.map(({ decision, diagnosis }) => [decision, diagnosis?.verdict, diagnosis?.confidence])).toEqual([['tolerated', 'key-rotated', 'low'], ['tolerated', 'key-rotated', 'low'], ['refused', 'expired', 'medium']])
    expect(reports[1]?.diagnosis?.evidence.join(' ')).toContain('No earlier connection of this process')
  })

  test.each([
    ['agree with this clock: expired', 0, { verdict: 'expired', confidence: 'high' }],
    ['are of 20 days ago: this clock is wrong', 20 * dayMs, { verdict: 'clock-wrong', confidence: 'high' }]
  ])('a certificate is out of date, and the Date headers of accepted answers %s', async (_title, behindMs, expected) => {
    const leaf = root.issue()
    const handler = (_req: unknown, res: ServerResponse): void => void res.setHeader('date', new Date(Date.now() - behindMs).toUTCString()).end('ok')
    const server = await startServer({ certificate: leaf, handler })
    const pinning = createPinning({ pins: { localhost: [leaf.pin, createSelfSigned().pin] }, tls: { ca: root.pem }, agent: { keepAlive: false, maxCachedSessions: 0 } })
    expect((await send(pinning.agent, server.port)).status).toBe(200)
    server.swapCertificate(root.issue({ key: leaf.key, notBefore: new Date(Date.now() - 30 * dayMs), notAfter: new Date(Date.now() - dayMs) }))
    const error = await axios.get(server.url, { httpsAgent: pinning.agent, proxy: false }).catch((thrown: unknown) => thrown)
    await Promise.all([pinning.close(), server.close()])
    expect((error as AxiosError).code).toBe('CERT_HAS_EXPIRED')
    expect(findDiagnosis(error)).toMatchObject(expected)
  })

  test('nothing is worked out before somebody looks', async () => {
    const stranger = createAuthority()
    const server = await startServer({ certificate: stranger.issue(), chain: [stranger] })
    const pinning = createPinning({ pins: { localhost: [root.pin, createSelfSigned().pin] }, tls: { ca: root.pem } })
    const looked = jest.spyOn(TrustAnchors.prototype, 'issuersOf')
    const errors: Error[] = []
    await send(pinning.agent, server.port, { onRequest: (request) => void request.on('error', (error) => errors.push(error)) })
    await Promise.all([pinning.close(), server.close()])
    // send() itself reads the message of a native error only, which holds no diagnosis.
    expect(looked).not.toHaveBeenCalled()
    expect(findDiagnosis(errors[0])?.verdict).toBe('intercepting-proxy')
    expect(looked).toHaveBeenCalled()
  })
})
