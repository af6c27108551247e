import * as https from 'node:https'
import { createPinning } from '../../lib/index.js'
import type { Pinning, PinningOptions, PoolOptions } from '../../lib/index.js'
import { PolicySet } from '../../lib/policy/policy-set.js'
import { Reporter } from '../../lib/report/reporter.js'
import { PinningAgent } from '../../lib/transport/agent.js'
import { holdings, nothing, send, until, wait } from '../support/clients.js'
import type { Outcome } from '../support/clients.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startServer } from '../support/servers.js'
import type { TestServer, TestServerOptions } from '../support/servers.js'

const root = createAuthority({ name: 'Pool Root' })
const genuine = root.issue()
const next = root.issue()
const backup = createSelfSigned()
const tls = { ca: root.pem }
const pinsOf = (certificate: typeof genuine) => ({ localhost: [certificate.fingerprint, backup.fingerprint] })
const hour = 3_600_000

const closing: Array<() => unknown> = []
afterEach(async () => {
  for (const each of closing.splice(0).reverse()) await each()
})

/** Answers at once, but `/hold` when it is let go. */
async function start(options: Partial<TestServerOptions> = {}): Promise<{ server: TestServer, letGo: () => void }> {
  const held: Array<() => void> = []
  const server = await startServer({
    certificate: genuine,
    handler: (request, response) => {
      request.resume()
      if (request.url === '/hold') held.push(() => { response.end('held') })
      else response.end('ok')
    },
    ...options
  })
  closing.push(() => server.close())
  return { server, letGo: () => { held.splice(0).forEach((each) => { each() }) } }
}

function pinningFor(agent: PoolOptions = {}, options: Partial<PinningOptions> = {}): Pinning {
  const pinning = createPinning({ pins: pinsOf(genuine), tls, agent, ...options })
  closing.push(() => pinning.close())
  return pinning
}

const brief = ({ status, code, reused }: Outcome) => [status ?? code, reused]

test.each(['lifo', 'fifo'] as const)('kept-alive sockets are used again, and none of them after an update (%s)', async (scheduling) => {
  const { server } = await start()
  const pinning = pinningFor({ scheduling })
  const { agent } = pinning
  await Promise.all([1, 2, 3].map(() => send(agent, server.port)))
  expect(brief(await send(agent, server.port))).toEqual([200, true])
  expect(server.connections).toBe(3)

  pinning.update(pinsOf(genuine))
  expect(brief(await send(agent, server.port))).toEqual([200, false])
  expect(server.connections).toBe(4)
  await until(() => server.openSockets === 1)
  expect(holdings(agent)).toEqual({ sockets: 0, freeSockets: 1, requests: 0, total: 1 })

  pinning.update(pinsOf(next))
  expect(brief(await send(agent, server.port))).toEqual(['ERR_PIN_MISMATCH', false])
  await until(() => server.openSockets === 0)
  expect(holdings(agent)).toEqual(nothing)
  expect(server.requests).toHaveLength(5)
})

test('a request to another host closes the idle sockets of every host after an update', async () => {
  const { server } = await start()
  const pinning = pinningFor({}, { pins: { localhost: [genuine.fingerprint, backup.fingerprint], '127.0.0.1': [genuine.fingerprint, backup.fingerprint] } })
  await send(pinning.agent, server.port)
  pinning.update({ localhost: [next.fingerprint, backup.fingerprint], '127.0.0.1': [genuine.fingerprint, backup.fingerprint] })
  await send(pinning.agent, server.port, { host: '127.0.0.1' })
  await until(() => server.openSockets === 1)
  expect(holdings(pinning.agent)).toMatchObject({ freeSockets: 1, total: 1 })
})

test('a request under way during an update ends well, and its socket is not kept', async () => {
  const { server, letGo } = await start()
  const pinning = pinningFor()
  const held = send(pinning.agent, server.port, { path: '/hold' })
  await until(() => server.requests.length === 1)
  pinning.update(pinsOf(next))
  letGo()
  expect(brief(await held)).toEqual([200, false])
  await until(() => server.openSockets === 0)
  expect(holdings(pinning.agent)).toEqual(nothing)
})

describe('a request in the middle of its handshake during an update', () => {
  const otherRoot = createAuthority({ name: 'Other Pool Root' })
  const both = { ca: [root.pem, otherRoot.pem] }
  // OpenSSL is given other anchors for CAs that are known, before the update or after it.
  const before: Array<NonNullable<PinningOptions['pins']>[string]> = [[genuine.fingerprint, backup.fingerprint], { certificates: [genuine.fingerprint, backup.fingerprint], trust: 'pin-only' }, { authorities: [root.pem] }, { authorities: [root.pin] }]
  const refusing: typeof before = [[next.fingerprint, backup.fingerprint], { authorities: [otherRoot.pem] }, { pins: [otherRoot.pin, backup.pin] }, { certificates: [next.fingerprint, backup.fingerprint], trust: 'pin-only' }]

  test('is refused when the new pins do not accept the peer', async () => {
    const { server } = await start()
    for (const localhost of before) {
      for (const update of refusing) {
        const pinning = pinningFor({}, { pins: { localhost }, tls: both })
        const request = send(pinning.agent, server.port)
        pinning.update({ localhost: update })
        expect(await request).toMatchObject({ code: 'ERR_PIN_MISMATCH' })
      }
    }
    expect(server.decryptedBytes).toBe(0)
  })

  test('is answered when they do', async () => {
    const { server } = await start()
    for (const localhost of before) {
      for (const update of before) {
        const pinning = pinningFor({}, { pins: { localhost }, tls: both })
        const request = send(pinning.agent, server.port)
        pinning.update({ localhost: update })
        expect(await request).toMatchObject({ status: 200 })
        // The session of that connection stands for nothing under other anchors, and is no hindrance either.
        expect(await send(pinning.agent, server.port, { headers: { connection: 'close' } })).toMatchObject({ status: 200 })
        expect(await send(pinning.agent, server.port)).toMatchObject({ status: 200, resumed: true })
      }
    }
  })
})

describe.each([['maxSockets', { maxSockets: 1 }], ['maxTotalSockets', { maxTotalSockets: 1 }]] as Array<[string, PoolOptions]>)('requests queued by %s before an update', (_, pool) => {
  async function queue(update: (pinning: Pinning) => void, options: Partial<PinningOptions> = {}, certificate = genuine): Promise<{ held: Outcome, queued: Outcome[], server: TestServer, pinning: Pinning }> {
    const { server, letGo } = await start({ certificate })
    const pinning = pinningFor(pool, options)
    const held = send(pinning.agent, server.port, { path: '/hold' })
    await until(() => server.requests.length === 1)
    const queued = [1, 2, 3].map((id) => send(pinning.agent, server.port, { path: `/queued/${id}` }))
    await wait(5)
    expect(holdings(pinning.agent).requests).toBe(3)
    update(pinning)
    letGo()
    return { held: await held, queued: await Promise.all(queued), server, pinning }
  }

  test('are refused when the new pins do not accept the peer', async () => {
    const { held, queued, server, pinning } = await queue((each) => { each.update(pinsOf(next)) })
    expect(held.status).toBe(200)
    expect(queued.map(brief)).toEqual(Array(3).fill(['ERR_PIN_MISMATCH', false]))
    expect(server.requests.map(({ url }) => url)).toEqual(['/hold'])
    await until(() => server.openSockets === 0)
    expect(holdings(pinning.agent)).toEqual(nothing)
  })

  test('are answered when they do, on one new connection', async () => {
    const { queued, server, pinning } = await queue((each) => { each.update(pinsOf(genuine)) })
    expect(queued.map(({ status }) => status)).toEqual([200, 200, 200])
    expect(server.connections).toBe(2)
    expect(server.requests.map(({ url }) => url)).toEqual(['/hold', '/queued/1', '/queued/2', '/queued/3'])
    // Not reused by what comes later either, whose pool has another name, and not in its way until it has idled enough.
    const started = Date.now()
    expect((await send(pinning.agent, server.port)).status).toBe(200)
    expect(Date.now() - started).toBeLessThan(1_000)
  })

  test('are refused when the host is no longer pinned', async () => {
    const { queued, server, pinning } = await queue((each) => { each.update({ 'other.test': [next.fingerprint, backup.fingerprint] }) })
    expect(queued.map(brief)).toEqual(Array(3).fill(['ERR_PIN_HOST_UNPINNED', false]))
    expect(server.requests).toHaveLength(1)
    expect(holdings(pinning.agent)).toEqual(nothing)
  })

  test('are refused when the new pins are CAs that OpenSSL alone looks for', async () => {
    const other = createAuthority({ name: 'Other' })
    const { queued, server } = await queue((each) => { each.update({ localhost: { authorities: [other.pem] } }) }, { tls: { ca: [root.pem, other.pem] } })
    expect(queued.map(({ code }) => code)).toEqual(Array(3).fill('ERR_PIN_MISMATCH'))
    expect(server.requests).toHaveLength(1)
  })

  test('are answered when the new pins are CAs, on a chain that only OpenSSL can judge, and not by an old session', async () => {
    const constrained = root.issueAuthority({ nameConstraints: { permitted: ['localhost'] } }).issue({ names: ['localhost'] })
    const pins = { localhost: { certificates: [constrained.fingerprint, backup.fingerprint] } }
    const { queued } = await queue((each) => { each.update({ localhost: { authorities: [root.pem] } }) }, { pins }, constrained)
    expect(queued.map(brief)).toEqual(Array(3).fill([200, false]))
    expect(queued[0]?.resumed).toBe(false)
  })

  test('are answered again after two updates that end where they began', async () => {
    const { queued } = await queue((each) => {
      each.update(pinsOf(next))
      each.update(pinsOf(genuine))
    })
    expect(queued.map(({ status }) => status)).toEqual([200, 200, 200])
  })
})

test('an options object of which the pool name was once asked brings no old name along', async () => {
  const { server } = await start()
  const pinning = pinningFor()
  const options: https.RequestOptions = { host: 'localhost', port: server.port }
  const name = (pinning.agent as unknown as { getName(given: object): string }).getName(options)
  expect((pinning.agent as unknown as { getName(given: object): string }).getName(Object.freeze({ ...options }))).toBe(name)
  expect(Reflect.ownKeys(options)).toEqual(['host', 'port'])
  expect(brief(await send(pinning.agent, server.port, options))).toEqual([200, false])
  expect(brief(await send(pinning.agent, server.port, options))).toEqual([200, true])
  pinning.update(pinsOf(next))
  expect(brief(await send(pinning.agent, server.port, options))).toEqual(['ERR_PIN_MISMATCH', false])
})

describe('a socket is not used any more', () => {
  const soon = new Date(Date.now() + 2 * hour)
  const shortLeaf = root.issue({ notAfter: soon })
  const shortIssuer = root.issueAuthority({ notAfter: soon })
  const underShort = shortIssuer.issue({ notAfter: new Date(Date.now() + 24 * hour) })
  const cases: Array<[string, TestServerOptions['certificate'], NonNullable<PinningOptions['pins']>[string], string | number]> = [
    ['when its policy has expired', genuine, { certificates: [genuine.fingerprint, backup.fingerprint], expires: soon }, 'ERR_PIN_EXPIRED'],
    // OpenSSL goes by the real clock, and still accepts it.
    ['when its certificate has expired', shortLeaf, { certificates: [shortLeaf.fingerprint, backup.fingerprint] }, 200],
    ['when an issuer in its chain has expired', underShort, { pins: [root.pin, backup.pin] }, 'ERR_PIN_CHAIN_UNVERIFIED']
  ]

  test.each(cases)('%s, neither by a new request nor by a queued one', async (_, certificate, policy, outcome) => {
    const { server, letGo } = await start({ certificate })
    let ahead = 0
    const set = new PolicySet({ pins: { localhost: policy } }, 1)
    const agent = new PinningAgent({ policies: () => set, reporter: new Reporter({}), tls, agent: { maxSockets: 1, maxCachedSessions: 0 }, now: () => Date.now() + ahead })
    closing.push(() => { agent.destroy() })
    expect(brief(await send(agent, server.port))).toEqual([200, false])
    expect(brief(await send(agent, server.port))).toEqual([200, true])
    ahead = 2 * hour - 60_000
    expect(brief(await send(agent, server.port))).toEqual([200, true])
    ahead = 3 * hour
    expect(brief(await send(agent, server.port))).toEqual([outcome, false])
    expect(server.connections).toBe(2)

    ahead = 0
    agent.destroy()
    const held = send(agent, server.port, { path: '/hold' })
    await until(() => server.requests.at(-1)?.url === '/hold')
    const count = server.requests.length
    const queued = [1, 2].map(() => send(agent, server.port, { path: '/queued' }))
    await wait(5)
    ahead = 3 * hour
    letGo()
    expect((await held).status).toBe(200)
    expect((await Promise.all(queued)).map(({ status, code }) => status ?? code)).toEqual([outcome, outcome])
    if (outcome !== 200) expect(server.requests).toHaveLength(count)
    await until(() => outcome === 200 || server.openSockets === 0)
  })
})

test('the short life of one host does not close the sockets of others', async () => {
  const { server } = await start()
  let ahead = 0
  const set = new PolicySet({ pins: { localhost: { certificates: [genuine.fingerprint, backup.fingerprint], expires: new Date(Date.now() + hour) }, '127.0.0.1': [genuine.fingerprint, backup.fingerprint] } }, 1)
  const agent = new PinningAgent({ policies: () => set, reporter: new Reporter({}), tls, agent: {}, now: () => Date.now() + ahead })
  closing.push(() => { agent.destroy() })
  await send(agent, server.port)
  await send(agent, server.port, { host: '127.0.0.1' })
  ahead = 2 * hour
  expect(brief(await send(agent, server.port, { host: '127.0.0.1' }))).toEqual([200, true])
  expect(brief(await send(agent, server.port))).toEqual(['ERR_PIN_EXPIRED', false])
  await until(() => server.openSockets === 1)
  expect(holdings(agent)).toMatchObject({ freeSockets: 1, total: 1 })
})
