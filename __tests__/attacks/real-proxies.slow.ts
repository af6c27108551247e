import axios from 'axios'
import type { AxiosError, AxiosInstance } from 'axios'
import { readFileSync } from 'node:fs'
import { findPinningError, pinAxios } from '../../lib/index.js'
import type { Pinning, PinningOptions, ProxyError } from '../../lib/index.js'
import { until } from '../support/clients.js'
import { createAuthority } from '../support/pki.js'
import { missing, startMitmproxy, startSquid, startTinyproxy } from '../support/programs.js'
import { startServer } from '../support/servers.js'
import type { TestServer } from '../support/servers.js'

// tinyproxy, squid and mitmproxy as Debian packages them.

const root = createAuthority({ name: 'Public Root' })
const leaf = root.issue()
const fingerprints = [leaf.fingerprint, leaf.pin]
const closing: Array<() => unknown> = []
let genuine: TestServer

beforeAll(async () => void (genuine = await startServer({ certificate: leaf })))
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})
afterAll(() => genuine.close())

function pinned(options: PinningOptions = {}): { api: AxiosInstance; pinning: Pinning } {
  const api = axios.create({ timeout: 60_000 })
  const pinning = pinAxios(api, { allowedSHAFingerprints: fingerprints, tls: { ca: root.pem }, ...options })
  closing.push(() => pinning.close())
  return { api, pinning }
}

async function started<T extends { close(): unknown }>(starting: Promise<T>): Promise<T> {
  const program = await starting
  closing.push(() => program.close())
  return program
}

const failure = (request: Promise<unknown>): Promise<AxiosError> => request.then((answer) => { throw new Error(`answered ${(answer as { status: number }).status}`) }, (error: AxiosError) => error)

/** The test under its name where the program is there, else a skipped one that says how to get it. */
function withProgram(command: string, name: string, run: () => Promise<void>, debianPackage = command): void {
  const absent = missing(command, debianPackage)
  if (absent) test.skip(`${name} (${absent})`, run)
  else test(name, run)
}

for (const [program, start] of [['tinyproxy', startTinyproxy], ['squid', startSquid]] as const) {
  withProgram(program, `${program} tunnels, keeps connections and resumes sessions; a host that is down is its error`, async () => {
    const proxy = await started(start())
    const { api, pinning } = pinned({ proxy: proxy.url })
    const { handshakes, resumed } = genuine
    for (let i = 0; i < 5; i++) expect((await api.post(genuine.url, 'body')).data).toMatchObject({ ok: true, length: 4 })
    expect(genuine.handshakes - handshakes).toBe(1)
    for (const sockets of Object.values(pinning.agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy()
    expect((await api.get(genuine.url)).status).toBe(200)
    expect([genuine.handshakes - handshakes, genuine.resumed - resumed]).toEqual([2, 1])
    const error = await failure(api.get('https://localhost:1/'))
    expect(error.code).toBe('ERR_PIN_PROXY')
    expect((findPinningError(error) as ProxyError).status).toBeGreaterThanOrEqual(500)
  })

  withProgram(program, `${program} with basic authentication: 407 without, and the host never sees the password`, async () => {
    const proxy = await started(start('user:secret'))
    const error = await failure(pinned({ proxy: proxy.url }).api.get(genuine.url))
    expect([error.code, (findPinningError(error) as ProxyError).status]).toEqual(['ERR_PIN_PROXY', 407])
    expect((await failure(pinned({ proxy: proxy.url.replace('//', '//user:wrong@') }).api.get(genuine.url))).code).toBe('ERR_PIN_PROXY')
    const count = genuine.requests.length
    expect((await pinned({ proxy: proxy.url.replace('//', '//user:secret@') }).api.get(genuine.url)).status).toBe(200)
    const { hostname: host, port } = new URL(proxy.url)
    expect((await pinned().api.get(genuine.url, { proxy: { host, port: Number(port), auth: { username: 'user', password: 'secret' } } })).status).toBe(200)
    expect(JSON.stringify(genuine.requests.slice(count))).not.toMatch(/secret|proxy-auth/i)
  })
}

const modes: Array<[string, (proxy: { url: string; port: number }) => PinningOptions & { url: string }, () => Promise<string>]> = [
  ['as a regular proxy', ({ url }) => ({ proxy: url, url: genuine.url }), () => Promise.resolve('regular')],
  ['that DNS leads to', ({ port }) => ({ proxy: false, url: `https://localhost:${port}` }), () => Promise.resolve(`reverse:https://localhost:${genuine.port}/`)],
  ['behind another proxy', ({ url }) => ({ proxy: url, url: genuine.url }), async () => `upstream:${(await started(startTinyproxy())).url}`]
]

for (const [name, options, mode] of modes) {
  withProgram('mitmdump', `mitmproxy ${name}, its CA trusted: a client without pins is read, a pinned one says nothing`, async () => {
    // Without pins, so that the check below is seen to be able to fail.
    const reading = await started(startMitmproxy(await mode()))
    const ca = [root.pem, readFileSync(reading.caFile, 'utf8')]
    const { url, ...rest } = options(reading)
    const free = pinned({ ...rest, mode: 'report-only', tls: { ca } }).api
    expect((await free.post(`${url}/read`, 'secret', { headers: { authorization: 'Bearer secret' } })).status).toBe(200)
    expect(await reading.flowBytes()).toBeGreaterThan(0)

    const attacking = await started(startMitmproxy(await mode()))
    const { url: target, ...via } = options(attacking)
    const { api } = pinned({ ...via, tls: { ca: [root.pem, readFileSync(attacking.caFile, 'utf8')] } })
    for (let i = 0; i < 3; i++) {
      const error = await failure(api.post(`${target}/secret`, 'secret', { headers: { authorization: 'Bearer secret' } }))
      expect([error.code, error.message]).toEqual(['ERR_PIN_MISMATCH', expect.stringContaining('mitmproxy')])
    }
    expect(await attacking.flowBytes()).toBe(0)
  }, 'mitmproxy')
}

withProgram('squid', 'a thousand requests through squid, the host’s certificate swapped half-way: all settle, and none of the later ones is answered', async () => {
  const proxy = await started(startSquid())
  const impostorLeaf = root.issue()
  const first = await startServer({ certificate: leaf })
  const impostors: TestServer[] = []
  closing.push(() => Promise.all(impostors.map((each) => each.close())))
  const { api, pinning } = pinned({ proxy: proxy.url, agent: { maxSockets: 100 } })
  const outcomes: Array<{ late: boolean; outcome: unknown }> = []
  const ask = async (): Promise<void> => {
    const late = impostors.length > 0
    outcomes.push({ late, outcome: await api.post(first.url, 'secret').then(({ status }) => status, (error: AxiosError) => error.code) })
  }
  const early = Promise.all(Array.from({ length: 500 }, ask))
  await until(() => outcomes.length >= 250)
  await first.close()
  const impostor = await startServer({ certificate: impostorLeaf, port: first.port })
  impostors.push(impostor)
  await Promise.all([early, ...Array.from({ length: 500 }, ask)])
  expect(outcomes).toHaveLength(1_000)
  expect(new Set(outcomes.filter(({ late }) => late).map(({ outcome }) => outcome))).toEqual(new Set(['ERR_PIN_MISMATCH']))
  const answered = outcomes.filter(({ outcome }) => outcome === 200).length
  expect([answered, first.requests.length >= answered, impostor.decryptedBytes, impostor.requests.length]).toEqual([expect.any(Number), true, 0, 0])
  expect(answered).toBeGreaterThanOrEqual(250)
  const held = (lists: object): number => Object.values(lists).flat().length
  await until(() => held(pinning.agent.sockets) + held(pinning.agent.freeSockets) + held(pinning.agent.requests) === 0)
  await until(() => impostor.openSockets === 0)
})
