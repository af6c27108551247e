import axios from 'axios'
import type { AxiosError } from 'axios'
import { X509Certificate } from 'node:crypto'
import * as https from 'node:https'
import { checkServerIdentity } from 'node:tls'
import type { DetailedPeerCertificate, TLSSocket } from 'node:tls'
import { createPinningAgent, pinAxios, pinOf } from '../../lib/index.js'
import type { HostPolicy, TlsOptions } from '../../lib/index.js'
import { describeError, send, until } from './clients.js'
import { createSelfSigned } from './pki.js'
import type { IssuedCertificate } from './pki.js'
import { startServer } from './servers.js'
import type { TestServer, TestServerOptions } from './servers.js'

/**
 * A server that the client's trust store accepts, but whose certificate another CA has issued than the pinned one. What
 * it sends is meant to make the pinned CA look as if it were in the chain.
 */
export interface Attack {
  /** The pinned CA. */
  pinned: IssuedCertificate
  /** The CA that has really issued the attacker's certificates; trusted, not pinned. */
  attacker: IssuedCertificate
  /** What the client trusts. Default: the pinned CA and the attacker's. */
  trusted?: readonly IssuedCertificate[]
  leaf: IssuedCertificate
  /** What the attacker sends after the leaf. */
  served: readonly IssuedCertificate[]
  /** The naive checks that are taken in; none where only the pinned client's own decision is of interest. */
  fools: readonly NaiveCheck[]
  /** What a client without pins answers; default `200`, else the error of Node's own verification. */
  node?: RegExp
  /** The code of a pinned client's refusal; default `ERR_PIN_MISMATCH`. */
  refusal?: RegExp
  server?: Partial<TestServerOptions>
}

/** Ways to look for a CA pin that are found in the wild. */
export type NaiveCheck =
  | 'getPeerCertificate(true)' /** links by name and key id, prefers what was sent */
  | 'issuerCertificate' /** the list that was sent */
  | 'signatures' /** any path to the pinned CA whose names, key ids and signatures hold */

/** Every form in which a CA can be pinned, and the rejected CA, which an attacker would hide in the same ways. */
export function pinForms({ pinned, attacker, leaf }: Pick<Attack, 'pinned' | 'attacker' | 'leaf'>): Record<string, HostPolicy> {
  const backup = createSelfSigned()
  return {
    ...authorityForms(pinned),
    'the CA as an SPKI pin in the short form': { pins: [pinned.pin] },
    'the CA as PEM, and a leaf pin for backup': { authorities: [pinned.pem], publicKeys: [backup.pin] },
    'the CA as SPKI pin, and a leaf pin for backup': { authorities: [pinned.pin], certificates: [backup.fingerprint] },
    "the attacker's own leaf key, with its CA's key rejected": { publicKeys: [leaf.pin], rejected: [attacker.pin] },
    "the attacker's own leaf, with its CA's certificate rejected": { certificates: [leaf.fingerprint], rejected: [attacker.fingerprint] }
  }
}

/** The forms that OpenSSL can decide alone, where it knows the CA's certificate. */
export function authorityForms(pinned: IssuedCertificate): Record<string, HostPolicy> {
  return {
    'the CA as PEM': { authorities: [pinned.pem] },
    'the CA as SPKI pin': { authorities: [pinned.pin] },
    'the CA as fingerprint': { authorities: [pinned.fingerprint] }
  }
}

// For every test file that imports this one: most policies here lack a backup pin, which is warned of each time.
beforeAll(() => {
  jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
})

/** The tests of one attack: it must work against naive checks, and against no form of the pin. */
export function testAttack(title: string, attack: Attack): void {
  const { pinned, attacker, leaf, served, fools, node, refusal = /^ERR_PIN_MISMATCH$/, server: serverOptions } = attack
  const ca = (attack.trusted ?? [pinned, attacker]).map(({ pem }) => pem)

  describe(title, () => {
    let naiveServer: TestServer
    let server: TestServer

    beforeAll(async () => {
      const options = { certificate: leaf, chain: served, ...serverOptions }
      naiveServer = await startServer(options)
      server = await startServer(options)
    })

    afterAll(() => Promise.all([naiveServer.close(), server.close()]))

    test(node ? 'Node itself refuses it' : 'a client without pins is taken in', async () => {
      const outcome = await send(plainAgent(ca), naiveServer.port)
      expect(outcome.code ?? String(outcome.status)).toMatch(node ?? /^200$/)
    })

    if (fools.length > 0) {
      test.each(fools)('a client that trusts %s is taken in', async (check) => {
        const before = naiveServer.requests.length
        const outcome = await sendNaively(check, naiveServer.port, ca, pinned)
        expect(outcome).toBe('answered')
        expect(naiveServer.requests.length).toBe(before + 1)
        expect(naiveServer.requests.at(-1)?.body).toBe(secret)
      })
    }

    test.each(Object.entries(pinForms(attack)))('it is refused and gets nothing: %s', async (_form, policy) => {
      const agent = createPinningAgent({ pins: { localhost: policy }, tls: { ca } })
      const { code } = await send(agent, server.port, { body: secret })
      agent.destroy()
      expect(code).toMatch(refusal)
      await expectNothing(server)
    })

    test('axios rejects with the same code', async () => {
      const api = axios.create({ baseURL: server.url })
      const pinning = pinAxios(api, { pins: { localhost: { pins: [pinned.pin] } }, tls: { ca } })
      const error = await api.post('/', secret).then(() => undefined, (reason: AxiosError) => reason)
      await pinning.close()
      expect(error?.code).toMatch(refusal)
      await expectNothing(server)
    })
  })
}

/** That a server has received nothing at all on any connection, now that they are closed. */
export async function expectNothing(server: TestServer): Promise<void> {
  await until(() => server.openSockets === 0, 'the connections are closed')
  expect(server.decryptedBytes).toBe(0)
  expect(server.requests).toEqual([])
}

/** One request of a client with one policy for the local host: `'200'`, or the code of its error. */
export async function ask(server: Pick<TestServer, 'port'>, policy: HostPolicy, ca: readonly IssuedCertificate[], tls: TlsOptions = {}): Promise<string> {
  const agent = createPinningAgent({ pins: { localhost: policy }, tls: { ca: ca.map(({ pem }) => pem), ...tls } })
  const { code, status } = await send(agent, server.port, { body: secret })
  agent.destroy()
  return code ?? String(status)
}

export const secret = 'a secret'

export function plainAgent(ca: string[]): https.Agent {
  return new https.Agent({ ca, keepAlive: false })
}

/** `'answered'`, or the code of the error. */
async function sendNaively(check: NaiveCheck, port: number, ca: string[], pinned: IssuedCertificate): Promise<string> {
  const holdsPin = (certificates: X509Certificate[]): boolean => certificates.some((certificate) => pinOf(certificate) === pinned.pin)
  const anchors = ca.map((pem) => new X509Certificate(pem))
  return await new Promise((resolve) => {
    const request = https.request({
      host: 'localhost',
      port,
      ca,
      agent: false,
      method: 'POST',
      checkServerIdentity: (host, certificate) => {
        if (check === 'getPeerCertificate(true)' && !holdsPin(walkLegacy(certificate as DetailedPeerCertificate))) return new Error('not pinned')
        return checkServerIdentity(host, certificate)
      }
    })
    request.on('socket', (socket) => socket.on('secureConnect', () => {
      if (check === 'getPeerCertificate(true)') return
      const served = walkServed((socket as TLSSocket).getPeerX509Certificate())
      const found = check === 'issuerCertificate' ? holdsPin(served) : reaches(served[0] as X509Certificate, [...served, ...anchors], holdsPin)
      if (!found) socket.destroy(new Error('not pinned'))
    }))
    request.on('response', (response) => {
      response.resume().on('end', () => { resolve('answered') })
    })
    request.on('error', (error) => { resolve(describeError(error).code) })
    request.end(secret)
  })
}

function walkLegacy(certificate: DetailedPeerCertificate): X509Certificate[] {
  const chain: X509Certificate[] = []
  for (let tip: DetailedPeerCertificate | undefined = certificate; tip && chain.length < 20; tip = tip.issuerCertificate === tip ? undefined : tip.issuerCertificate) chain.push(new X509Certificate(tip.raw))
  return chain
}

function walkServed(leaf: X509Certificate | undefined): X509Certificate[] {
  const chain: X509Certificate[] = []
  for (let tip = leaf; tip && chain.length < 20; tip = tip.issuerCertificate) chain.push(tip)
  return chain
}

/** Whether any signed path leads from a certificate to one that has the pin. */
function reaches(tip: X509Certificate, known: X509Certificate[], holdsPin: (certificates: X509Certificate[]) => boolean): boolean {
  if (holdsPin([tip])) return true
  const issuers = known.filter((issuer) => issuer !== tip && tip.checkIssued(issuer) && tip.verify(issuer.publicKey))
  return issuers.some((issuer) => reaches(issuer, known.filter((other) => other !== issuer), holdsPin))
}
