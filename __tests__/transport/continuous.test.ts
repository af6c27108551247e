import { createPinning } from '../../lib/index.js'
import type { Pinning, PinningOptions } from '../../lib/index.js'
import { PolicySet } from '../../lib/policy/policy-set.js'
import { Reporter } from '../../lib/report/reporter.js'
import { PinningAgent } from '../../lib/transport/agent.js'
import type { AgentSettings } from '../../lib/transport/agent.js'
import { send, until, wait } from '../support/clients.js'
import type { Outcome } from '../support/clients.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startServer } from '../support/servers.js'
import type { TestServer, TestServerOptions } from '../support/servers.js'

// Before each request, also on a kept-alive socket, what is known of the peer is judged by today's policy and clock.

const root = createAuthority({ name: 'Continuous Root' })
const genuine = root.issue()
const backup = createSelfSigned()
const tls = { ca: root.pem }
const pins = { localhost: [genuine.fingerprint, backup.fingerprint] }
const hour = 3_600_000

const closing: Array<() => unknown> = []
beforeEach(() => void jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined))
afterEach(async () => {
  for (const each of closing.splice(0).reverse()) await each()
})

async function start(options: Partial<TestServerOptions> = {}): Promise<TestServer> {
  const server = await startServer({ certificate: genuine, ...options })
  closing.push(() => server.close())
  return server
}

function pinningFor(options: Partial<PinningOptions> = {}): Pinning {
  const pinning = createPinning({ pins, tls, ...options })
  closing.push(() => pinning.close())
  return pinning
}

function agentFor(policy: object, settings: Partial<AgentSettings> & { ahead: () => number }): PinningAgent {
  const set = new PolicySet({ pins: { localhost: policy } }, 1)
  const agent = new PinningAgent({ policies: () => set, reporter: new Reporter({}), tls, agent: {}, now: () => Date.now() + settings.ahead(), ...settings })
  closing.push(() => { agent.destroy() })
  return agent
}

const brief = ({ status, code, reused, resumed }: Outcome) => [status ?? code, reused ? 'kept' : resumed ? 'resumed' : 'new']

test('a key that comes onto the deny-list gets no further request, not even on a connection that is open', async () => {
  const server = await start()
  const pinning = pinningFor()
  expect(brief(await send(pinning.agent, server.port))).toEqual([200, 'new'])
  expect(brief(await send(pinning.agent, server.port))).toEqual([200, 'kept'])
  for (const rejected of [[genuine.pin], [root.pin]]) {
    pinning.update({ localhost: { certificates: [genuine.fingerprint, backup.fingerprint], rejected } })
    expect(brief(await send(pinning.agent, server.port))).toEqual(['ERR_PIN_MISMATCH', 'new'])
  }
  expect(server.requests).toHaveLength(2)
})

describe('maxConnectionAgeMs', () => {
  test('an older connection takes no new request, and an older session is not resumed', async () => {
    const server = await start()
    let ahead = 0
    const agent = agentFor(pins.localhost, { ahead: () => ahead, maxAgeMs: () => hour })
    expect(brief(await send(agent, server.port))).toEqual([200, 'new'])
    ahead = hour - 60_000
    expect(brief(await send(agent, server.port))).toEqual([200, 'kept'])
    // Resumed: no certificate was shown, so the age is still that of the first connection.
    expect(brief(await send(agent, server.port, { headers: { connection: 'close' } }))).toEqual([200, 'kept'])
    expect(brief(await send(agent, server.port))).toEqual([200, 'resumed'])
    ahead = hour + 60_000
    expect(brief(await send(agent, server.port))).toEqual([200, 'new'])
    await until(() => server.openSockets === 1)
    expect(server.handshakes).toBe(3)
  })

  test('a request under way ends, and one that is queued behind it waits for a new connection', async () => {
    let letGo: () => void = () => undefined
    const server = await start({ handler: (request, response) => { request.resume(); if (request.url === '/hold') letGo = () => response.end('held'); else response.end('ok') } })
    let ahead = 0
    const agent = agentFor(pins.localhost, { ahead: () => ahead, maxAgeMs: () => hour, agent: { maxSockets: 1, maxCachedSessions: 0 } })
    const held = send(agent, server.port, { path: '/hold' })
    await until(() => server.requests.length === 1)
    const queued = send(agent, server.port, { path: '/queued' })
    await wait(5)
    ahead = 2 * hour
    letGo()
    expect([brief(await held), brief(await queued)]).toEqual([[200, 'new'], [200, 'new']])
    expect(server.connections).toBe(2)
  })

  test('as an option, by the real clock', async () => {
    const server = await start()
    const pinning = pinningFor({ maxConnectionAgeMs: 300, pins: { localhost: { pins: [root.pin, backup.pin] } } })
    expect(brief(await send(pinning.agent, server.port))).toEqual([200, 'new'])
    await wait(400)
    expect(brief(await send(pinning.agent, server.port))).toEqual([200, 'new'])
    const unlimited = pinningFor({ maxConnectionAgeMs: 3_600_000 })
    await send(unlimited.agent, server.port)
    expect(brief(await send(unlimited.agent, server.port))).toEqual([200, 'kept'])
  })

  test.each([0, -1, 1.5, NaN, Infinity, '1000', null])('%p is an error', (value) => {
    expect(() => pinningFor({ maxConnectionAgeMs: value as number })).toThrow(expect.objectContaining({ code: 'ERR_PIN_POLICY_INVALID', option: 'maxConnectionAgeMs' }))
  })
})

test('a pinned CA that has expired meanwhile, where only OpenSSL has seen the chain', async () => {
  const authority = createAuthority({ notAfter: new Date(Date.now() + 2 * hour), nameConstraints: { excluded: ['email:other.test'] } })
  const leaf = authority.issue({ notAfter: new Date(Date.now() + 24 * hour), names: ['localhost'] })
  const server = await start({ certificate: leaf })
  let ahead = 0
  const agent = agentFor({ authorities: [authority.pem] }, { ahead: () => ahead, tls: { ca: authority.pem } })
  expect(brief(await send(agent, server.port))).toEqual([200, 'new'])
  expect(brief(await send(agent, server.port))).toEqual([200, 'kept'])
  ahead = 3 * hour
  expect((await send(agent, server.port)).reused).toBe(false)
})
