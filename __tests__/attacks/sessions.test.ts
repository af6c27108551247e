import axios from 'axios'
import * as https from 'node:https'
import type { TLSSocket } from 'node:tls'
import { createPinning } from '../../lib/index.js'
import type { HostPolicy, PinningOptions } from '../../lib/index.js'
import { expectNothing } from '../support/attack.js'
import { send, until, wait } from '../support/clients.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startServer } from '../support/servers.js'
import type { TestServer, TestServerOptions } from '../support/servers.js'

/*
 * On a resumed TLS session Node shows no certificate and calls no check. So a session may only be resumed together with
 * what was verified when it was made, and that is judged anew.
 *
 *  Pinned Root     Attacker Root (trusted as well)
 *    └─ leaf         └─ the attacker's leaf
 */

const pinned = createAuthority({ name: 'Pinned Root' })
const attacker = createAuthority({ name: 'Attacker Root' })
const genuineLeaf = pinned.issue()
const attackerLeaf = attacker.issue()
const backup = createSelfSigned()
const tls = { ca: [pinned.pem, attacker.pem] }

const forms: Array<[form: string, policyOf: (root: typeof pinned) => HostPolicy]> = [
  ['the CA as PEM', (root) => ({ authorities: [root.pem] })],
  ['the CA as SPKI pin', (root) => ({ authorities: [root.pin] })],
  ['the CA with a leaf pin for backup', (root) => ({ authorities: [root.pin], publicKeys: [backup.pin] })],
  ['the short form', (root) => ({ pins: [root.pin] })]
]
const versions = ['TLSv1.2', 'TLSv1.3'] as const
const cells = versions.flatMap((version) => forms.map(([form, policyOf]) => [version, form, policyOf] as const))

const closing: Array<() => Promise<unknown>> = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function start(options: TestServerOptions): Promise<TestServer> {
  const server = await startServer(options)
  closing.push(() => server.close())
  return server
}

function pin(policy: HostPolicy, options: Partial<PinningOptions> = {}): ReturnType<typeof createPinning> {
  const pinning = createPinning({ pins: { localhost: policy }, tls, agent: { keepAlive: false }, ...options })
  closing.push(() => pinning.close())
  return pinning
}

/*
 *  1st connection: refused, and the attacker sends a session ticket
 *  2nd connection: offers it?  ─ then Node would show no certificate, and nothing would be left to refuse
 */
test.each(cells)('%s: a refused server gets no session into the store, however often it is asked: %s', async (version, _form, policyOf) => {
  const server = await start({ certificate: attackerLeaf, maxVersion: version })
  const { agent } = pin(policyOf(pinned))
  for (let i = 0; i < 5; i++) expect((await send(agent, server.port)).code).toBe('ERR_PIN_MISMATCH')
  expect(server.resumed).toBe(0)
  await expectNothing(server)
})

test('a client that checks on full handshakes only, and keeps what sessions it sees, is taken in', async () => {
  const server = await start({ certificate: attackerLeaf, maxVersion: 'TLSv1.2' })
  let session: Buffer | undefined
  const attempt = async (): Promise<string> => await new Promise((resolve) => {
    const request = https.get({ host: 'localhost', port: server.port, ca: tls.ca, agent: false, ...(session && { session }) })
    request.on('socket', (socket) => {
      socket.on('session', (given: Buffer) => { session = given })
      socket.on('secureConnect', () => {
        if (!(socket as TLSSocket).isSessionReused()) socket.destroy(new Error('not pinned'))
      })
    })
    request.on('response', (response) => response.resume().on('end', () => { resolve('answered') }))
    request.on('error', ({ message }) => { resolve(message) })
  })
  expect(await attempt()).toBe('not pinned')
  await until(() => session !== undefined)
  expect(await attempt()).toBe('answered')
})

/*
 *  1st connection: genuine, session kept     then Attacker Root is pinned instead     2nd connection: same server
 */
test.each(cells)('%s: a session does not outlive the pins that it was made under: %s', async (version, _form, policyOf) => {
  const server = await start({ certificate: genuineLeaf, maxVersion: version })
  const pinning = pin(policyOf(pinned))
  for (let i = 0; i < 3; i++) expect(await send(pinning.agent, server.port)).toMatchObject({ status: 200, resumed: i > 0 })
  pinning.update({ localhost: policyOf(attacker) })
  for (let i = 0; i < 3; i++) expect((await send(pinning.agent, server.port)).code).toBe('ERR_PIN_MISMATCH')
  expect(server.requests.length).toBe(3)
})

/*
 *  maxSockets: 1
 *  1st request ───────── answered, its session kept ─┐
 *  2nd request, queued ── pins change ───────────────┴─ gets a new connection, under the name of the old pool
 */
test.each(cells)('%s: a request that was queued while the pins changed meets the new pins on its own connection: %s', async (version, _form, policyOf) => {
  const server = await start({
    certificate: genuineLeaf,
    maxVersion: version,
    handler: (request, response) => {
      request.resume()
      setTimeout(() => response.setHeader('connection', 'close').end('late'), 60)
    }
  })
  const pinning = pin(policyOf(pinned), { agent: { maxSockets: 1 } })
  const first = send(pinning.agent, server.port)
  const second = send(pinning.agent, server.port, { body: 'a secret' })
  await until(() => server.requests.length === 1)
  await wait(10)
  pinning.update({ localhost: policyOf(attacker) })
  expect(await first).toMatchObject({ status: 200 })
  expect((await second).code).toBe('ERR_PIN_MISMATCH')
  expect(server.requests.length).toBe(1)
})

/*
 *  report-only:  1st connection to the attacker, tolerated, session kept     then the same pins are enforced
 */
test.each(cells)('%s: a session that was only tolerated is not resumed when the pins are enforced: %s', async (version, _form, policyOf) => {
  const server = await start({ certificate: attackerLeaf, maxVersion: version })
  const pinning = pin({ ...policyOf(pinned), mode: 'report-only' })
  for (let i = 0; i < 2; i++) expect(await send(pinning.agent, server.port)).toMatchObject({ status: 200 })
  pinning.update({ localhost: policyOf(pinned) })
  for (let i = 0; i < 2; i++) expect((await send(pinning.agent, server.port)).code).toBe('ERR_PIN_MISMATCH')
  expect(server.requests.length).toBe(2)
})

/*
 *  one port:  genuine server, session kept     then the attacker takes the port over, and resumes with stolen ticket keys?
 *  Without the keys it makes a full handshake, and that is refused.
 */
test.each(cells)('%s: an attacker that takes the port over is refused, although a session is offered to it: %s', async (version, _form, policyOf) => {
  const server = await start({ certificate: genuineLeaf, maxVersion: version })
  const pinning = pin(policyOf(pinned))
  const api = axios.create({ baseURL: server.url })
  pinning.attach(api)
  expect((await api.get<unknown>('/')).status).toBe(200)
  server.swapCertificate(attackerLeaf)
  await expect(api.post('/', 'a secret')).rejects.toMatchObject({ code: 'ERR_PIN_MISMATCH' })
  expect(server.requests.length).toBe(1)
  server.swapCertificate(genuineLeaf)
  expect((await api.get<unknown>('/')).status).toBe(200)
})
