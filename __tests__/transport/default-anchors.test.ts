import axios from 'axios'
import * as https from 'node:https'
import * as tls from 'node:tls'
import { createPinning, createPinningAgent } from '../../lib/index.js'
import type { HostPolicy, PinningOptions } from '../../lib/index.js'
import { readTlsOptions } from '../../lib/transport/tls-options.js'
import { Trusts } from '../../lib/transport/trust.js'
import { send } from '../support/clients.js'
import { createAuthority, createSelfSigned } from '../support/pki.js'
import { startServer } from '../support/servers.js'
import type { TestServer } from '../support/servers.js'

/*
 * Node's own trust anchors are replaced while the program runs, after an incident for example. Node's agents go by them from
 * their next connection on; so do pinned ones, of whatever age.
 */

const canReplace = typeof tls.setDefaultCACertificates === 'function'
const a = createAuthority({ name: 'A' })
const b = createAuthority({ name: 'B' })
const backup = createSelfSigned()
const leafA = a.issue()
const leafB = b.issue()
const trust = (...authorities: Array<{ pem: string }>): void => tls.setDefaultCACertificates(authorities.map(({ pem }) => pem))

const policies: Record<string, HostPolicy> = {
  'leaf keys': { publicKeys: [leafA.pin, leafB.pin] },
  'CAs as PEM': { authorities: [a.pem, b.pem] },
  'CAs as PEM, the first alone': { authorities: [a.pem] },
  'CAs by key': { authorities: [a.pin, b.pin] },
  'CAs by key, and a leaf key for backup': { authorities: [a.pin, b.pin], publicKeys: [backup.pin] }
}

;(canReplace ? describe : describe.skip)('after tls.setDefaultCACertificates()', () => {
  const former = canReplace ? tls.getCACertificates('default') : []
  let serverA: TestServer
  let serverB: TestServer

  beforeAll(async () => {
    jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
    serverA = await startServer({ certificate: leafA })
    serverB = await startServer({ certificate: leafB })
  })

  afterAll(async () => {
    tls.setDefaultCACertificates(former)
    await Promise.all([serverA.close(), serverB.close()])
  })

  const outcome = async (agent: https.Agent, server: TestServer): Promise<string> => {
    const { code, status } = await send(agent, server.port)
    return code ?? String(status)
  }

  test.each(Object.entries(policies))('an agent goes by the new ones, with %s pinned', async (_name, policy) => {
    for (const options of [{}, { tls: {} }, { agent: { keepAlive: false } }] as Array<Partial<PinningOptions>>) {
      trust(a)
      const agent = createPinningAgent({ pins: { localhost: policy }, ...options })
      const plain = new https.Agent({ keepAlive: false, maxCachedSessions: 0 })
      expect([await outcome(plain, serverA), await outcome(agent, serverA)]).toEqual(['200', '200'])
      expect(await outcome(agent, serverA)).toBe('200')
      trust(b)
      const before = serverA.decryptedBytes
      expect(await outcome(plain, serverA)).not.toBe('200')
      expect(await outcome(agent, serverA)).not.toBe('200')
      expect(serverA.decryptedBytes).toBe(before)
      expect(await outcome(agent, serverB)).toBe(policy.authorities?.length === 1 ? 'ERR_PIN_MISMATCH' : '200')
      trust(a)
      expect(await outcome(agent, serverA)).toBe('200')
      agent.destroy()
    }
  })

  test('neither a kept connection nor a session of the former ones is used, and the revision rises once', async () => {
    trust(a)
    const pinning = createPinning({ pins: { localhost: policies['leaf keys'] as HostPolicy } })
    const api = axios.create({ httpsAgent: pinning.agent })
    pinning.attach(api)
    await api.get(serverA.url)
    await api.get(serverA.url)
    const { handshakes, resumed } = serverA
    const { revision } = pinning.status()
    trust(a, b)
    await api.get(serverA.url)
    await api.get(serverA.url)
    expect(serverA).toMatchObject({ handshakes: handshakes + 1, resumed })
    expect(pinning.status().revision).toBe(revision + 1)
    trust(b)
    await expect(api.get(serverA.url)).rejects.toThrow()
    await pinning.close()
  })

  test('those with a ca option of their own are not concerned', async () => {
    trust(a)
    const pinning = createPinning({ pins: { localhost: { authorities: [a.pem] } }, tls: { ca: a.pem } })
    expect(await outcome(pinning.agent, serverA)).toBe('200')
    const { handshakes } = serverA
    const { revision } = pinning.status()
    trust(b)
    expect(await outcome(pinning.agent, serverA)).toBe('200')
    expect(serverA.handshakes).toBe(handshakes)
    expect(pinning.status().revision).toBe(revision)
    await pinning.close()
  })

  test('nothing is made anew as long as they stay', () => {
    trust(a)
    const trusts = new Trusts(readTlsOptions(undefined), undefined, () => { throw new Error('nothing has changed') })
    const { general } = trusts
    const context = general.context()
    expect([trusts.general, trusts.general.context()]).toEqual([general, context])
    const start = performance.now()
    for (let i = 0; i < 10_000; i++) trusts.renew()
    // Takes some 10 ns; the bound is for busy machines.
    expect((performance.now() - start) / 10_000).toBeLessThan(0.005)
  })
})
