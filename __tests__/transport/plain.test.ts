import axios from 'axios'
import * as http from 'node:http'
import { pinAxios } from '../../lib/index.js'
import type { PinningOptions } from '../../lib/index.js'
import { PinningCore } from '../../lib/pinning.js'
import { holdings, nothing, until, wait } from '../support/clients.js'
import { createSelfSigned } from '../support/pki.js'
import { startPlainServer } from '../support/servers.js'
import type { PlainServer } from '../support/servers.js'

const pins = [createSelfSigned().fingerprint, createSelfSigned().fingerprint]
const elsewhere = { 'elsewhere.test': pins }

const closing: Array<() => unknown> = []
afterEach(async () => {
  for (const each of closing.splice(0).reverse()) await each()
})

async function start(): Promise<{ server: PlainServer, letGo: () => void }> {
  const held: Array<() => void> = []
  const server = await startPlainServer({ handler: (request, response) => { request.url === '/hold' ? held.push(() => { response.end('held') }) : response.end('ok') } })
  closing.push(() => server.close())
  return { server, letGo: () => { held.splice(0).forEach((each) => { each() }) } }
}

function coreFor(options: PinningOptions): PinningCore {
  const core = new PinningCore(options)
  closing.push(() => core.close())
  return core
}

async function ask(core: PinningCore, port: number, path = '/', options: http.RequestOptions = {}): Promise<number | string | undefined> {
  return await new Promise((resolve) => {
    const request = http.get({ host: 'localhost', port, path, agent: core.plainAgent, ...options }, (response) => {
      response.on('end', () => { setImmediate(() => { resolve(response.statusCode) }) }).resume()
    })
    request.on('error', (error: Error & { code?: string }) => { resolve(error.code) })
  })
}

test('plain http reaches a host that needs no pins, and no other', async () => {
  const { server } = await start()
  const port = server.port
  const cases: Array<[PinningOptions, number | string]> = [
    [{ pins: elsewhere }, 'ERR_PIN_BYPASS'],
    [{ pins: elsewhere, unpinnedHosts: 'allow' }, 200],
    [{ pins: { localhost: pins }, unpinnedHosts: 'allow' }, 'ERR_PIN_BYPASS'],
    [{ allowedSHAFingerprints: pins, unpinnedHosts: 'allow' }, 'ERR_PIN_BYPASS'],
    [{ pins: { [`localhost:${port}`]: pins }, unpinnedHosts: 'allow' }, 'ERR_PIN_BYPASS'],
    [{ pins: { 'localhost:443': pins }, unpinnedHosts: 'allow' }, 'ERR_PIN_BYPASS'],
    [{ pins: { 'localhost:443': pins, [`localhost:${port}`]: { pins, mode: 'report-only' } }, unpinnedHosts: 'allow' }, 'ERR_PIN_BYPASS'],
    [{ pins: { 'localhost:443': { pins, mode: 'report-only' }, [`localhost:${port}`]: pins }, unpinnedHosts: 'allow' }, 'ERR_PIN_BYPASS'],
    [{ pins: { localhost: { pins, mode: 'report-only' } } }, 200],
    [{ pins: { localhost: { pins, mode: 'enforce' } }, mode: 'report-only' }, 'ERR_PIN_BYPASS'],
    [{ pins: { localhost: pins }, mode: 'off' }, 200]
  ]
  let answered = 0
  for (const [options, outcome] of cases) {
    const core = coreFor(options)
    expect([options, await ask(core, port)]).toEqual([options, outcome])
    if (outcome === 200) answered++
    else expect(holdings(core.plainAgent as never)).toEqual(nothing)
  }
  expect(server.requests).toHaveLength(answered)
})

test('a kept-alive plain socket is not used once its host is pinned', async () => {
  const { server } = await start()
  const core = coreFor({ pins: elsewhere, unpinnedHosts: 'allow' })
  expect(await ask(core, server.port)).toBe(200)
  expect(await ask(core, server.port)).toBe(200)
  expect(server.connections).toBe(1)
  core.update({ localhost: pins })
  expect(await ask(core, server.port)).toBe('ERR_PIN_BYPASS')
  expect(server.requests).toHaveLength(2)
  core.update(elsewhere)
  expect(await ask(core, server.port)).toBe(200)
})

test('nor by requests that were queued before', async () => {
  const { server, letGo } = await start()
  for (const agent of [{ maxSockets: 1 }, { maxTotalSockets: 1 }, { maxSockets: 1, keepAlive: false }]) {
    const core = coreFor({ pins: elsewhere, unpinnedHosts: 'allow', agent })
    const before = server.requests.length
    const held = ask(core, server.port, '/hold')
    await until(() => server.requests.length === before + 1)
    const queued = [1, 2, 3].map(() => ask(core, server.port, '/queued'))
    await wait(5)
    core.update({ localhost: pins })
    letGo()
    expect(await held).toBe(200)
    expect(await Promise.all(queued)).toEqual(Array(3).fill('ERR_PIN_BYPASS'))
    expect(server.requests).toHaveLength(before + 1)
    await until(() => holdings(core.plainAgent as never).total === 0)
  }
})

test('nor by one that comes by the socket of another, which was aborted while it connected', async () => {
  const { server } = await start()
  const core = coreFor({ pins: elsewhere, unpinnedHosts: 'allow', agent: { maxSockets: 1 } })
  const aborted = http.get({ host: 'localhost', port: server.port, agent: core.plainAgent })
  aborted.on('error', () => undefined)
  const queued = ask(core, server.port)
  core.update({ localhost: pins })
  aborted.destroy()
  expect(await queued).toBe('ERR_PIN_BYPASS')
  expect(server.requests).toHaveLength(0)
})

test('through axios as well', async () => {
  const { server } = await start()
  const api = axios.create({ baseURL: server.url })
  const pinning = pinAxios(api, { pins: elsewhere, unpinnedHosts: 'allow' })
  closing.push(() => pinning.close())
  expect((await api.get<unknown>('/')).status).toBe(200)
  pinning.update({ localhost: pins })
  await expect(api.post('/', 'secret')).rejects.toMatchObject({ code: 'ERR_PIN_BYPASS' })
  expect(server.requests).toHaveLength(1)
})
