import axios from 'axios'
import type { AxiosInstance } from 'axios'
import * as https from 'node:https'
import { pinAxios } from '../../../lib/index.js'
import { holdings, until } from '../../support/clients.js'
import { certificate, root } from '../../support/side-by-side.js'
import { startServer } from '../../support/servers.js'
import type { TestServer } from '../../support/servers.js'

// A thousand requests at once over kept-alive connections, on a pinned instance as on one without pins.

const sizes = { requests: 1_000, sockets: 40 }

interface Played {
  api: AxiosInstance
  agent: https.Agent
  server: TestServer
}

async function play(kind: 'plain' | 'pinned', run: (played: Played) => Promise<unknown>): Promise<unknown> {
  const server = await startServer({ certificate, keepAliveTimeout: 60_000 })
  const pool = { keepAlive: true, maxSockets: sizes.sockets }
  const api = axios.create({ baseURL: server.url, proxy: false })
  const pinning = kind === 'pinned' ? pinAxios(api, { allowedSHAFingerprints: [certificate.fingerprint, certificate.pin], tls: { ca: root.pem }, agent: pool }) : undefined
  const agent = pinning?.agent ?? new https.Agent({ ca: root.pem, ...pool })
  if (!pinning) api.defaults.httpsAgent = agent
  try {
    return await run({ api, agent, server })
  } finally {
    agent.destroy()
    await pinning?.close()
    await server.close()
  }
}

async function alike(run: (played: Played) => Promise<unknown>, expected: unknown): Promise<void> {
  const [plain, pinned] = [await play('plain', run), await play('pinned', run)]
  expect(pinned).toEqual(plain)
  expect(plain).toEqual(expected)
}

const many = async (api: AxiosInstance, length: number): Promise<string[]> => (await Promise.all(Array.from({ length }, (_, i) => api.post<{ length: number; url: string }>(`/${i}`, 'x'.repeat(i))))).map(({ data }) => `${data.url} ${data.length}`)
const answers = Array.from({ length: sizes.requests }, (_, i) => `/${i} ${i}`)
const later = 100

test('each gets its own answer, over as many connections as the pool allows, and later ones open none', async () => {
  await alike(async ({ api, agent, server }) => {
    const [first, second] = [await many(api, sizes.requests), await many(api, later)]
    await until(() => holdings(agent).sockets === 0, 'every socket is free again')
    return { right: [String(first) === String(answers), String(second) === String(answers.slice(0, later))], connections: server.connections, handshakes: server.handshakes, requests: server.requests.length, left: holdings(agent) }
  }, { right: [true, true], connections: sizes.sockets, handshakes: sizes.sockets, requests: sizes.requests + later, left: { sockets: 0, freeSockets: sizes.sockets, requests: 0, total: sizes.sockets } })
}, 120_000)

test('half of them aborted: the others are answered, and nothing is left waiting', async () => {
  await alike(async ({ api, agent }) => {
    const aborts = Array.from({ length: sizes.requests }, () => new AbortController())
    const requests = aborts.map(({ signal }, i) => api.get(`/${i}`, { signal }).then(({ status }) => status, ({ code }: { code: string }) => code))
    // Half of those that still wait in the queue, and half of those that are under way.
    for (const [i, abort] of aborts.entries()) if (i % 2 === 1) abort.abort()
    const outcomes = await Promise.all(requests)
    await until(() => holdings(agent).sockets === 0, 'every socket is free again')
    return { even: [...new Set(outcomes.filter((_, i) => i % 2 === 0))], odd: [...new Set(outcomes.filter((_, i) => i % 2 === 1))], waiting: holdings(agent).requests }
  }, { even: [200], odd: ['ERR_CANCELED'], waiting: 0 })
}, 120_000)
