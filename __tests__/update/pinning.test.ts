import axios from 'axios'
import type { AxiosInstance } from 'axios'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { gzipSync } from 'node:zlib'
import { createPinning, createPinningAgent, findPinningError, httpsSource, memoryStore, staticSource } from '../../lib/index.js'
import type { PinSetPayload, Pinning, PinningOptions, UpdateOptions, UpdateReport } from '../../lib/index.js'
import { expectNothing } from '../support/attack.js'
import { runChild } from '../support/child.js'
import { send, until, wait } from '../support/clients.js'
import { HeldSource, createSigner, pinSet, sign, strayPin } from '../support/pin-sets.js'
import { createAuthority } from '../support/pki.js'
import { startProxy } from '../support/proxies.js'
import type { IssuedCertificate } from '../support/pki.js'
import { startServer, startStalledServer } from '../support/servers.js'
import type { TestServer, TestServerOptions } from '../support/servers.js'

const root = createAuthority()
const signer = createSigner()
const [genuine, renewed] = [root.issue(), root.issue()]

const closing: Array<() => Promise<unknown>> = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function serve(certificate: IssuedCertificate, options: Partial<TestServerOptions> = {}): Promise<TestServer> {
  const server = await startServer({ certificate, ...options })
  closing.push(() => server.close())
  return server
}

interface Client {
  readonly pinning: Pinning
  readonly api: AxiosInstance
  readonly reports: UpdateReport[]
  /** The status of an answer, or the code of an error. */
  get(server: { url: string }, config?: object): Promise<number | string>
}

function client(updates: Partial<UpdateOptions> & Pick<UpdateOptions, 'source'>, options: Partial<PinningOptions> = {}): Client {
  const reports: UpdateReport[] = []
  const pinning = createPinning({
    pins: { localhost: [genuine.pin, strayPin] },
    tls: { ca: root.pem },
    ...options,
    updates: { trustedKeys: [signer.publicKey], audience: 'test', staleRetryMs: Infinity, onUpdate: (report) => reports.push(report), ...updates }
  })
  const api = axios.create({ proxy: false })
  pinning.attach(api)
  closing.push(() => pinning.close())
  return {
    pinning,
    api,
    reports,
    get: async ({ url }, config) => await api.get(url, config).then(({ status }) => status, (error: { code?: string }) => findPinningError(error)?.code ?? error.code ?? String(error))
  }
}

async function text(version: number, pins: PinSetPayload['pins'], changes: Partial<PinSetPayload> = {}): Promise<string> {
  return await sign(pinSet({ version, pins, ...changes }), signer)
}

const pinsOf = (...certificates: IssuedCertificate[]): PinSetPayload['pins'] => ({ localhost: [...certificates.map(({ pin }) => pin), strayPin] })

/** Answers never, until the test says so. */
function held(): HeldSource & { release(answer: string): void } {
  const waiting: Array<(answer: string) => void> = []
  const source = new HeldSource(() => new Promise<string>((resolve) => waiting.push(resolve)))
  return Object.assign(source, { release: (answer: string) => waiting.splice(0).forEach((resolve) => resolve(answer)) })
}

describe('a set in force', () => {
  test('replaces the pins in the options at once, for every instance, and the next one replaces it', async () => {
    const [first, second] = [await serve(genuine), await serve(renewed)]
    const source = held()
    const { pinning, get, reports } = client({ source })
    const other = axios.create({ proxy: false })
    pinning.attach(other)
    expect(await get(first)).toBe(200)
    source.release(await text(1, pinsOf(renewed)))
    await until(() => reports.length === 1)
    expect([await get(first), await get(second), (await other.get(second.url)).status]).toEqual(['ERR_PIN_MISMATCH', 200, 200])
    const refreshed = pinning.refresh()
    source.release(await text(2, pinsOf(genuine)))
    await refreshed
    expect([await get(first), await get(second)]).toEqual([200, 'ERR_PIN_MISMATCH'])
    expect(pinning.status()).toMatchObject({ revision: 3, updates: { state: 'current', version: 2, source: 'held', store: 'memory' } })
    expect(reports.map(String)).toEqual(['Pin set version 1 of held is in force', 'Pin set version 2 of held is in force in place of 1'])
    const status = pinning.status()
    expect(JSON.parse(JSON.stringify(status))).toEqual(status)
  })

  test('is the whole truth: a host that it does not name is unpinned, and pins by hand are not mixed in', async () => {
    const server = await serve(genuine)
    const { pinning, get, reports } = client({ source: staticSource(await text(1, { 'api.example.com': [strayPin] })) })
    await until(() => reports.length === 1)
    expect(await get(server)).toBe('ERR_PIN_HOST_UNPINNED')
    expect(() => pinning.update([genuine.pin])).toThrow(/update: the pins come from signed sets/)
    await expectNothing(server)
  })

  test('a callback that throws changes nothing', async () => {
    const warnings = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined)
    const { pinning } = client({ source: staticSource(await text(1, pinsOf(genuine))), onUpdate: () => { throw new Error('oops') } })
    await until(() => pinning.status().updates?.version === 1)
    await until(() => warnings.mock.calls.some(([message]) => /onUpdate failed.*oops/.test(String(message))))
  })
})

describe('revoked pins', () => {
  test('must not occur anywhere in the chain, whatever else matches', async () => {
    const server = await serve(genuine)
    const { get, reports } = client({ source: staticSource(await text(1, pinsOf(genuine), { revoked: { pins: [root.pin] } })) })
    await until(() => reports.length === 1)
    expect(await get(server)).toBe('ERR_PIN_MISMATCH')
    await expectNothing(server)
  })

  test('also where OpenSSL would decide alone, under the pinned CA', async () => {
    const intermediate = root.issueAuthority()
    const server = await serve(intermediate.issue())
    const pins = { localhost: { authorities: [root.pem] } }
    const texts = [await text(1, pins), await text(2, pins, { revoked: { pins: [intermediate.pin] } })]
    const { pinning, get, reports } = client({ source: new HeldSource(() => texts.shift() ?? '') })
    await until(() => reports.length === 1)
    expect(await get(server)).toBe(200)
    await pinning.refresh()
    expect(await get(server)).toBe('ERR_PIN_MISMATCH')
  })

  test('nor above the pinned CA, where OpenSSL would not look', async () => {
    const intermediate = root.issueAuthority()
    const server = await serve(intermediate.issue())
    const { get, reports } = client({ source: staticSource(await text(1, { localhost: { authorities: [intermediate.pem] } }, { revoked: { pins: [root.pin] } })) })
    await until(() => reports.length === 1)
    expect(await get(server)).toBe('ERR_PIN_MISMATCH')
    await expectNothing(server)
  })
})

describe('connections in use', () => {
  const slow = (waiting: ServerResponse[]) => (_request: IncomingMessage, response: ServerResponse): void => void waiting.push(response)

  test.each(['finish', 'abort'] as const)('when their peer is not accepted any more: onRevoked %s', async (onRevoked) => {
    const waiting: ServerResponse[] = []
    const server = await serve(genuine, { handler: slow(waiting) })
    const texts = [await text(1, pinsOf(genuine)), await text(2, pinsOf(renewed))]
    const { pinning, get, reports } = client({ source: new HeldSource(() => texts.shift() ?? ''), onRevoked })
    await until(() => reports.length === 1)
    const asked = [get(server), get(server)]
    await until(() => waiting.length === 2)
    await pinning.refresh()
    await until(() => reports.length === 2)
    expect(reports[1]?.aborted).toBe(onRevoked === 'abort' ? 2 : 0)
    for (const response of waiting) response.end('late')
    expect(await Promise.all(asked)).toEqual(onRevoked === 'abort' ? ['ERR_PIN_MISMATCH', 'ERR_PIN_MISMATCH'] : [200, 200])
    expect(await get(server)).toBe('ERR_PIN_MISMATCH')
    expect(server.requests.length).toBe(2)
  })

  test('go on where the new set accepts their peer, abort or not', async () => {
    const waiting: ServerResponse[] = []
    const server = await serve(genuine, { handler: slow(waiting) })
    const texts = [await text(1, pinsOf(genuine)), await text(2, pinsOf(renewed, genuine))]
    const { pinning, get, reports } = client({ source: new HeldSource(() => texts.shift() ?? ''), onRevoked: 'abort' })
    await until(() => reports.length === 1)
    const asked = get(server)
    await until(() => waiting.length === 1)
    await pinning.refresh()
    waiting[0]?.end('late')
    expect([await asked, reports[1]?.aborted]).toEqual([200, 0])
  })

  test('a pooled connection takes no request under a set that does not accept its peer', async () => {
    const server = await serve(genuine)
    const texts = [await text(1, pinsOf(genuine)), await text(2, pinsOf(renewed))]
    const { pinning, get, reports } = client({ source: new HeldSource(() => texts.shift() ?? '') })
    await until(() => reports.length === 1)
    expect([await get(server), await get(server), server.connections]).toEqual([200, 200, 1])
    await pinning.refresh()
    expect([await get(server), server.requests.length]).toEqual(['ERR_PIN_MISMATCH', 2])
  })
})

describe("before-first-request", () => {
  test('requests connect, send nothing until the set is there, and are judged by it', async () => {
    const [good, bad] = [await serve(renewed), await serve(genuine)]
    const source = held()
    const { get } = client({ source, updatePolicy: 'before-first-request' })
    const asked = [get(good), get(bad)]
    await until(() => good.handshakes === 1 && bad.handshakes === 1)
    await wait(50)
    expect([good.decryptedBytes, bad.decryptedBytes]).toEqual([0, 0])
    source.release(await text(1, pinsOf(renewed)))
    expect(await Promise.all(asked)).toEqual([200, 'ERR_PIN_MISMATCH'])
    await expectNothing(bad)
  })

  test('a host that only the set names is looked up no sooner than it is there', async () => {
    const server = await serve(renewed)
    const source = held()
    const { get } = client({ source, updatePolicy: 'before-first-request' }, { pins: { 'api.example.com': [strayPin] } })
    const asked = get(server)
    await until(() => source.requests.length === 1)
    await wait(50)
    expect(server.connections).toBe(0)
    source.release(await text(1, pinsOf(renewed)))
    expect(await asked).toBe(200)
  })

  test('not for ever: after firstRefreshTimeoutMs the pins in the options decide', async () => {
    const [good, bad] = [await serve(genuine), await serve(renewed)]
    const { get, pinning } = client({ source: held(), updatePolicy: 'before-first-request', firstRefreshTimeoutMs: 100 })
    expect(await Promise.all([get(good), get(bad)])).toEqual([200, 'ERR_PIN_MISMATCH'])
    expect(pinning.status().updates).toMatchObject({ state: 'bootstrap', refreshing: true })
    await expectNothing(bad)
  })

  test("a request's own time-out and abort hold meanwhile", async () => {
    const server = await serve(genuine)
    const { get } = client({ source: held(), updatePolicy: 'before-first-request', firstRefreshTimeoutMs: 20_000 })
    const controller = new AbortController()
    const asked = [get(server, { timeout: 100 }), get(server, { signal: controller.signal })]
    setTimeout(() => controller.abort(), 100)
    expect(await Promise.all(asked)).toEqual(['ECONNABORTED', 'ERR_CANCELED'])
    await expectNothing(server)
  })
})

describe('a refusal under an old set', () => {
  async function rotated(updates: Partial<UpdateOptions> = {}, next: string | Error | undefined = undefined): Promise<Client & { source: HeldSource; server: TestServer; impostor: TestServer }> {
    const answers = [await text(1, pinsOf(genuine)), next ?? (await text(2, pinsOf(renewed)))]
    const source = new HeldSource(() => answers.shift() ?? new Error('no more'))
    const made = client({ source, staleRetryMs: 200, ...updates })
    await until(() => made.reports.length === 1)
    return { ...made, source, server: await serve(renewed), impostor: await serve(root.issue()) }
  }

  test('is final only after the source has been asked once more: a rotated key costs no request', async () => {
    const { get, source, server } = await rotated()
    await wait(250)
    expect(await Promise.all([get(server), get(server), get(server)])).toEqual([200, 200, 200])
    expect(source.requests.length).toBe(2)
  })

  test('stays one for an impostor, who can make the source be asked only once in staleRetryMs', async () => {
    const { get, source, impostor } = await rotated({ staleRetryMs: 60_000 })
    for (let attack = 0; attack < 5; attack++) expect(await get(impostor)).toBe('ERR_PIN_MISMATCH')
    expect(source.requests.length).toBe(1)
    await expectNothing(impostor)
  })

  test('an impostor is refused after the one question, and gets nothing', async () => {
    const { get, source, impostor, pinning } = await rotated()
    await wait(250)
    expect(await Promise.all([get(impostor), get(impostor)])).toEqual(['ERR_PIN_MISMATCH', 'ERR_PIN_MISMATCH'])
    expect([source.requests.length, pinning.status().counters.refused]).toEqual([2, 2])
    await expectNothing(impostor)
  })

  test("where the source hangs, the request ends within its own time-out, refused within fetchTimeoutMs without one", async () => {
    const made = await rotated({ fetchTimeoutMs: 1_000 })
    made.source.answer = () => new Promise(() => undefined)
    await wait(250)
    expect(await Promise.all([made.get(made.impostor, { timeout: 100 }), made.get(made.impostor)])).toEqual(['ECONNABORTED', 'ERR_PIN_MISMATCH'])
    await expectNothing(made.impostor)
  })

  test('also where the old set pins a CA by its certificate, which OpenSSL would decide alone', async () => {
    const other = createAuthority()
    const answers = [await text(1, { localhost: { authorities: [root.pem] } }), await text(2, { localhost: { authorities: [other.pem] } })]
    const { get, reports } = client({ source: new HeldSource(() => answers.shift() ?? ''), staleRetryMs: 50 }, { tls: { ca: [root.pem, other.pem] } })
    await until(() => reports.length === 1)
    const server = await serve(other.issue())
    await wait(100)
    expect(await get(server)).toBe(200)
  })

  test('also for a host that only the new set names', async () => {
    const answers = [await text(1, { 'api.example.com': [strayPin] }), await text(2, pinsOf(renewed))]
    const { get, reports } = client({ source: new HeldSource(() => answers.shift() ?? ''), staleRetryMs: 50 })
    await until(() => reports.length === 1)
    const server = await serve(renewed)
    await wait(100)
    expect(await get(server)).toBe(200)
  })

  test('a host that no set names is refused without a connection', async () => {
    const answers = [await text(1, { 'api.example.com': [strayPin] })]
    const { get, reports, pinning } = client({ source: new HeldSource(() => answers.shift() ?? new Error('none')), staleRetryMs: 50 })
    await until(() => reports.length === 1)
    const server = await serve(renewed)
    await wait(100)
    expect([await get(server), await get({ url: server.url.replace('localhost', '127.0.0.1') }), await get(server)]).toEqual(['ERR_PIN_HOST_UNPINNED', 'ERR_PIN_HOST_UNPINNED', 'ERR_PIN_HOST_UNPINNED'])
    expect([server.connections, pinning.status().counters.blocked]).toEqual([0, 3])
  })
})

describe('a set that has expired', () => {
  async function expired(onExpiredSet: UpdateOptions['onExpiredSet'], changes: Partial<PinSetPayload> = {}): Promise<Client> {
    const made = client({ source: staticSource(await text(1, pinsOf(renewed), changes)), ...(onExpiredSet && { onExpiredSet }) })
    await until(() => made.reports.length === 1)
    // As after a machine has slept: no timer has run yet.
    const { now } = Date
    jest.spyOn(Date, 'now').mockImplementation(() => now() + 8 * 86_400_000)
    return made
  }

  afterEach(() => jest.restoreAllMocks())

  test.each([
    [undefined, ['ERR_PIN_EXPIRED', 'ERR_PIN_EXPIRED']],
    ['refuse', ['ERR_PIN_EXPIRED', 'ERR_PIN_EXPIRED']],
    ['bootstrap', [200, 'ERR_PIN_MISMATCH']],
    ['report-only', [200, 200]]
  ] as const)('onExpiredSet %s', async (onExpiredSet, outcome) => {
    const [server, other] = [await serve(genuine), await serve(renewed)]
    const { get, pinning, reports } = await expired(onExpiredSet)
    expect([await get(server), await get(other)]).toEqual(outcome)
    expect(pinning.status().updates).toMatchObject({ state: 'expired', version: 1 })
    expect(reports.some(({ result }) => result === 'expired')).toBe(true)
    expect(pinning.status().counters.tolerated).toBe(onExpiredSet === 'report-only' ? 1 : 0)
  })

  test('what it revoked stays revoked among the pins in the options', async () => {
    const server = await serve(genuine)
    const { get } = await expired('bootstrap', { revoked: { pins: [genuine.pin] } })
    expect(await get(server)).toBe('ERR_PIN_MISMATCH')
    await expectNothing(server)
  })
})

test('what an earlier program has stored counts before the first request', async () => {
  const store = memoryStore()
  const [good, bad] = [await serve(renewed), await serve(genuine)]
  const earlier = client({ source: staticSource(await text(3, pinsOf(renewed))), store })
  await until(() => earlier.reports.length === 1)
  await earlier.pinning.close()
  const slowStore = { ...store, load: async () => await wait(100).then(() => store.load()) }
  const { get, pinning } = client({ source: held(), store: slowStore })
  // Asked before the store has answered: the pins in the options would accept the second.
  expect(await Promise.all([get(good), get(bad)])).toEqual([200, 'ERR_PIN_MISMATCH'])
  expect(pinning.status().updates).toMatchObject({ state: 'current', version: 3 })
  await expectNothing(bad)
})

describe('httpsSource', () => {
  /** A static host: one set, with ETag and gzip. */
  function host(given: { text: string; status?: number; headers?: Record<string, string> }): NonNullable<TestServerOptions['handler']> {
    return (request, response) => {
      const etag = `"${given.text.length}"`
      for (const [name, value] of Object.entries(given.headers ?? {})) response.setHeader(name, value)
      if (given.status) return void response.writeHead(given.status).end()
      if (request.headers['if-none-match'] === etag) return void response.writeHead(304).end()
      response.writeHead(200, { etag, 'content-encoding': 'gzip' }).end(gzipSync(given.text))
    }
  }

  test('fetches over a connection of its own, pinned by the pins in the options, with ETag and gzip', async () => {
    const content = { text: await text(1, pinsOf(renewed, genuine)) }
    const server = await serve(genuine, { handler: host(content), requestCert: true, rejectUnauthorized: false })
    const { pinning, get, reports } = client({ source: httpsSource(`${server.url}/pins.jws?token=secret`, { headers: { authorization: 'Bearer x' } }) })
    await until(() => reports.length === 1)
    await pinning.refresh()
    expect(server.requests.map(({ headers }) => [headers['if-none-match'], headers.authorization])).toEqual([[undefined, 'Bearer x'], [`"${content.text.length}"`, 'Bearer x']])
    expect(pinning.status().updates?.source).toBe(`${server.url}/pins.jws`)
    content.text = await text(2, pinsOf(genuine), { refreshMs: 50_000 })
    await pinning.refresh()
    expect([pinning.status().updates?.version, await get(server)]).toEqual([2, 200])
  })

  test('an impostor of the source gets no request', async () => {
    const impostor = await serve(root.issue(), { handler: host({ text: await text(1, pinsOf(genuine)) }) })
    const { pinning, reports } = client({ source: httpsSource(impostor.url) })
    await until(() => reports.length === 1)
    expect(reports[0]).toMatchObject({ result: 'unavailable', error: { code: 'ERR_PIN_MISMATCH' } })
    expect(pinning.status().updates?.state).toBe('bootstrap')
    await expectNothing(impostor)
  })

  test('once its certificate is none of the options any more, the set in force vouches for it', async () => {
    const content = { text: await text(1, pinsOf(renewed)) }
    const server = await serve(genuine, { handler: host(content) })
    const { pinning, reports } = client({ source: httpsSource(server.url) })
    await until(() => reports.length === 1)
    server.swapCertificate(renewed)
    content.text = await text(2, pinsOf(renewed), { refreshMs: 5_000 })
    await pinning.refresh()
    expect(pinning.status().updates?.version).toBe(2)
    server.swapCertificate(root.issue())
    await pinning.refresh()
    expect(pinning.status().updates?.lastError?.code).toBe('ERR_PIN_MISMATCH')
  })

  test.each<[string, (port: number) => Partial<PinningOptions>]>([
    ['the pattern of the set is not enforced', (port) => ({ pins: { [`localhost:${port}`]: [genuine.pin, strayPin], localhost: { pins: [strayPin], mode: 'report-only' } } })],
    ['nor is anything else', (port) => ({ mode: 'report-only', pins: { [`localhost:${port}`]: { pins: [genuine.pin, strayPin], mode: 'enforce' }, localhost: { pins: [strayPin], mode: 'off' } } })]
  ])('an impostor gets nothing, no access token either, where only the set vouches for the source and %s', async (_name, options) => {
    const content = { text: await text(1, pinsOf(renewed, genuine)) }
    const server = await serve(genuine, { handler: host(content) })
    const { pinning, reports } = client({ source: httpsSource(server.url, { headers: { authorization: 'Bearer x' } }) }, options(server.port))
    await until(() => reports.length === 1)
    expect(pinning.status().updates?.version).toBe(1)
    server.swapCertificate(renewed)
    content.text = await text(2, pinsOf(renewed))
    await pinning.refresh()
    // The set in force vouches for this one.
    expect([pinning.status().updates?.version, server.requests.length]).toEqual([2, 2])
    server.swapCertificate(root.issue())
    await pinning.refresh()
    expect([pinning.status().updates?.lastError?.code, server.requests.length]).toEqual(['ERR_PIN_MISMATCH', 2])
  })

  test('a set whose pins for the source have expired is refused', async () => {
    const server = await serve(genuine, { handler: host({ text: await text(1, { localhost: { pins: [genuine.pin], expires: '2020-01-01T00:00:00Z' } }) }) })
    const { reports } = client({ source: httpsSource(server.url) }, { pins: { localhost: { pins: [genuine.pin, strayPin], onExpiry: 'allow' } } })
    await until(() => reports.length === 1)
    expect(reports[0]).toMatchObject({ result: 'rejected', error: { reason: 'source-not-covered' } })
  })

  describe('through a proxy', () => {
    test('is verified inside the tunnel, and the proxy sees the host and its own credentials only', async () => {
      const proxy = await startProxy({ auth: 'user:hunter2' })
      closing.push(() => proxy.close())
      const server = await serve(genuine, { handler: host({ text: await text(1, pinsOf(genuine)) }) })
      const { pinning, reports } = client({ source: httpsSource(server.url, { proxy: `http://user:hunter2@127.0.0.1:${proxy.port}`, headers: { authorization: 'Bearer x' } }) })
      await until(() => reports.length === 1)
      await pinning.refresh()
      expect([pinning.status().updates?.version, server.requests.length, proxy.asked.map(({ line }) => line)]).toEqual([1, 2, [`CONNECT localhost:${server.port}`, `CONNECT localhost:${server.port}`]])
      expect(JSON.stringify([pinning.status(), reports])).not.toContain('hunter2')
      expect(JSON.stringify(proxy.asked)).not.toContain('Bearer x')
    })

    test('that leads to an impostor, nothing is sent', async () => {
      const impostor = await serve(root.issue())
      const proxy = await startProxy({ divert: impostor.port })
      closing.push(() => proxy.close())
      const server = await serve(genuine)
      const { reports } = client({ source: httpsSource(server.url, { proxy: { host: '127.0.0.1', port: proxy.port } }) })
      await until(() => reports.length === 1)
      expect(reports[0]?.error?.code).toBe('ERR_PIN_MISMATCH')
      await expectNothing(impostor)
    })

    test('that refuses, or is not there, the failure is told without its credentials', async () => {
      const proxy = await startProxy({ auth: 'user:right' })
      closing.push(() => proxy.close())
      const server = await serve(genuine)
      const { reports } = client({ source: httpsSource(server.url, { proxy: `http://user:hunter2@127.0.0.1:${proxy.port}` }) })
      const other = client({ source: httpsSource(server.url, { proxy: 'http://user:hunter2@127.0.0.1:1' }) })
      await until(() => reports.length === 1 && other.reports.length === 1)
      expect([reports[0], other.reports[0]].map((report) => [report?.result, report?.error?.code])).toEqual([['unavailable', 'ERR_PIN_PROXY'], ['unavailable', 'ERR_PIN_PROXY']])
      expect(JSON.stringify([reports, other.reports, other.pinning.status()])).not.toContain('hunter2')
    })

    test('over TLS: verified and pinned as the options say of proxies, before it gets the credentials', async () => {
      const certificate = root.issue()
      const proxy = await startProxy({ certificate, auth: 'user:hunter2' })
      closing.push(() => proxy.close())
      const server = await serve(genuine, { handler: host({ text: await text(1, pinsOf(genuine)) }) })
      const source = (): ReturnType<typeof httpsSource> => httpsSource(server.url, { proxy: `https://user:hunter2@localhost:${proxy.port}` })
      const good = client({ source: source() }, { proxyTls: { ca: root.pem }, proxyPins: [certificate.pin] })
      const bad = client({ source: source() }, { proxyTls: { ca: root.pem }, proxyPins: [strayPin] })
      await until(() => good.reports.length === 1 && bad.reports.length === 1)
      expect([good.pinning.status().updates?.version, bad.reports[0]?.result, proxy.asked.length]).toEqual([1, 'unavailable', 1])
    })

    test('no other than that: not that of the instance, nor that of the environment', async () => {
      const server = await serve(genuine, { handler: host({ text: await text(1, pinsOf(genuine)) }) })
      const proxy = await startProxy()
      closing.push(() => proxy.close())
      const { pinning, reports } = client({ source: httpsSource(server.url) }, { proxy: proxy.url })
      await until(() => reports.length === 1)
      expect([pinning.status().updates?.version, proxy.asked]).toEqual([1, []])
    })
  })

  test('a set that would cut it off from the source is refused', async () => {
    const server = await serve(genuine, { handler: host({ text: await text(1, { 'api.example.com': [strayPin] }) }) })
    const { reports } = client({ source: httpsSource(server.url) })
    await until(() => reports.length === 1)
    expect(reports[0]).toMatchObject({ result: 'rejected', error: { reason: 'source-not-covered' } })
  })

  test.each<[string, Partial<Parameters<typeof host>[0]>, RegExp]>([
    ['redirects are not followed', { status: 302, headers: { location: 'https://evil.example/' } }, /answered 302; redirects are not followed/],
    ['an error is one', { status: 404 }, /answered 404$/],
    ['a 304 that was not asked for is one', { status: 304 }, /answered 304$/],
    ['an encoding that was not asked for is one', { headers: { 'content-encoding': 'br' } }, /encoded as "br"/]
  ])('%s', async (_name, given, message) => {
    const brotli: typeof host extends (...args: never) => infer Handler ? Handler : never = (_request, response) => void response.writeHead(200, { 'content-encoding': 'br' }).end('x')
    const server = await serve(genuine, { handler: given.headers?.['content-encoding'] ? brotli : host({ text: '', ...given }) })
    const { reports } = client({ source: httpsSource(server.url) })
    await until(() => reports.length === 1)
    expect([reports[0]?.result, reports[0]?.error?.message]).toEqual(['unavailable', expect.stringMatching(message)])
  })

  test.each([['seconds', () => '120'], ['a date', () => new Date(Date.now() + 120_000).toUTCString()]])('Retry-After in %s is kept to', async (_name, header) => {
    const server = await serve(genuine, { handler: host({ text: '', status: 503, headers: { 'retry-after': header() } }) })
    const { pinning, reports } = client({ source: httpsSource(server.url) })
    await until(() => reports.length === 1)
    const next = Date.parse(pinning.status().updates?.nextRefresh ?? '') - Date.now()
    expect(next).toBeGreaterThan(60_000)
  })

  test('a bomb of gzip is read no further than the largest set, and refused', async () => {
    const bomb = gzipSync(Buffer.alloc(200_000_000), { level: 9 })
    let sent = 0
    const server = await serve(genuine, { handler: (_request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb)
      sent++
    } })
    const before = process.memoryUsage().rss
    const { reports } = client({ source: httpsSource(server.url) })
    await until(() => reports.length === 1)
    expect([sent, reports[0]?.result, reports[0]?.error?.reason]).toEqual([1, 'rejected', 'too-large'])
    expect(process.memoryUsage().rss - before).toBeLessThan(150_000_000)
  })

  test('an answer that breaks off is no set', async () => {
    const content = gzipSync(await text(1, pinsOf(genuine)))
    const server = await serve(genuine, { handler: (request, response) => {
      response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': content.length })
      response.write(content.subarray(0, content.length - 10), () => request.socket.destroy())
    } })
    const { reports } = client({ source: httpsSource(server.url) })
    await until(() => reports.length === 1)
    expect(reports[0]?.result).toBe('unavailable')
  })

  test('a source that accepts and says nothing is given up', async () => {
    const server = await startStalledServer()
    closing.push(() => server.close())
    const { reports } = client({ source: httpsSource(server.url), fetchTimeoutMs: 100 })
    await until(() => reports.length === 1)
    expect(reports[0]?.error?.message).toBe('there was no answer within 100 ms')
    await until(() => server.openSockets === 0)
  })

  test.each([
    ['http:', () => httpsSource('http://pins.example.com/'), /no https: URL/],
    ['no URL', () => httpsSource('pins.example.com'), /no https: URL/],
    ['credentials in the URL', () => httpsSource('https://user:hunter2@pins.example.com/'), /^(?!.*hunter2).*no credentials belong in it/],
    ['an unknown option', () => httpsSource('https://pins.example.com/', { header: {} } as never), /did you mean "headers"/],
    ['headers that are none', () => httpsSource('https://pins.example.com/', { headers: 5 as never }), /httpsSource.headers: must be an object of strings, not a number/],
    ['a header that is no text', () => httpsSource('https://pins.example.com/', { headers: { authorization: ['hunter2'] } as never }), /^(?!.*hunter2).*the value of "authorization" must be a string/],
    ['a header that cannot be sent', () => httpsSource('https://pins.example.com/', { headers: { authorization: 'hunter2\r\nx: y' } }), /^(?!.*hunter2).*"authorization" has a name or a value/],
    ['TLS options that are none', () => httpsSource('https://pins.example.com/', { tls: 5 as never }), /httpsSource.tls must be an object, not a number/],
    ['TLS options that would weaken it', () => httpsSource('https://pins.example.com/', { tls: { rejectUnauthorized: false as never } }), /httpsSource.tls.rejectUnauthorized: cannot be switched off/],
    ['a proxy that is none', () => httpsSource('https://pins.example.com/', { proxy: 'socks5://user:hunter2@proxy.example' }), /^(?!.*hunter2).*httpsSource.proxy: socks5: is not a protocol/],
    ['no bootstrap pins for its host', () => client({ source: httpsSource('https://pins.example.com/') }), /no pins for pins.example.com; right would be pins: \{ "pins.example.com"/],
    ['bootstrap pins that are not enforced once they have expired', () => client({ source: httpsSource('https://localhost/') }, { pins: { localhost: { pins: [strayPin], expires: '2030-01-01', onExpiry: 'allow' } } }), /not enforced once they have expired \(onExpiry 'allow'\)/],
    ['bootstrap pins that are not enforced', () => client({ source: httpsSource('https://localhost/') }, { pins: { localhost: { pins: [strayPin], mode: 'off' } } }), /not enforced/]
  ])('%s is refused when the options are read', (_name, make, message) => {
    expect(make).toThrow(message)
  })
})

test('createPinningAgent keeps its pins up to date as well, until it is destroyed', async () => {
  const server = await serve(renewed)
  const source = new HeldSource(() => content)
  const content = await text(1, pinsOf(renewed))
  const agent = createPinningAgent({ pins: { localhost: [genuine.pin, strayPin] }, tls: { ca: root.pem }, updates: { source, trustedKeys: [signer.publicKey], audience: 'test', updatePolicy: 'before-first-request' } })
  expect((await send(agent, server.port)).status).toBe(200)
  agent.destroy()
  await until(() => source.closed === 1)
})

describe('the process', () => {
  const hanging = `
    const { createPinning, createPinningDispatcher, httpsSource } = await load('index.js')
    const silence = () => new Promise(() => undefined)
    const options = (updates) => ({ pins: { localhost: [input.pin] }, integrity: 'off', updates: { source: { name: 'silent', fetch: silence, close: silence }, fetchTimeoutMs: 300, trustedKeys: [input.key], audience: 'test', ...updates } })
  `
  const input = { pin: strayPin, key: signer.publicKey.export({ type: 'spki', format: 'pem' }) }

  test.each([
    ['refresh()', 'const pinning = createPinning(options()); await pinning.refresh(); report(pinning.status().updates.lastError.message)', 'there was no answer within 300 ms'],
    ['close()', 'const pinning = createPinning(options()); await pinning.close(); report("closed")', 'closed'],
    ['a request that waits for the first set', "const dispatcher = createPinningDispatcher(options({ updatePolicy: 'before-first-request', firstRefreshTimeoutMs: 300 })); await require('undici').request('https://localhost:1', { dispatcher }).catch((error) => report(error.code))", 'ECONNREFUSED']
  ])('stays alive for %s, though the source never answers', async (_name, script, expected) => {
    const { code, reported } = await runChild(`${hanging}\n${script}`, { input })
    expect([code, reported]).toEqual([0, expected])
  })

  test('ends while a source hangs that nobody waits for', async () => {
    const server = await startStalledServer()
    closing.push(() => server.close())
    const { code, signal, reported } = await runChild(`${hanging}
      createPinning(options({ fetchTimeoutMs: 60_000, source: httpsSource(input.url) }))
      setTimeout(() => report('waited'), 100)
    `, { input: { ...input, url: server.url }, timeoutMs: 10_000 })
    expect([code, signal, reported]).toEqual([0, null, 'waited'])
  })
})
