import axios from 'axios'
import type { AxiosError, AxiosInstance, AxiosResponse } from 'axios'
import type { IncomingMessage, ServerResponse } from 'node:http'
import * as https from 'node:https'
import { pinAxios } from '../../lib/index.js'
import type { PinningOptions } from '../../lib/index.js'
import { createAuthority } from './pki.js'
import { startServer } from './servers.js'
import type { TestServer } from './servers.js'

/** Plays every scenario twice, on an axios instance without pins and on a pinned one, and wants the same of both. */
export interface SideBySide {
  /** Starts with the first test. */
  readonly server: TestServer
  /**
   * One test: what the scenario returns and every request that reached the server (method, URL, all headers, body) are
   * the same on both instances.
   *
   * @param expected what both have in common, so that it is not only the same but right
   */
  alike(name: string, scenario: Scenario, expected?: unknown): void
  /** The same where the clock decides what the server still gets: only the results are compared. */
  alikeInTime(name: string, scenario: Scenario, expected?: unknown): void
  /** An instance for the server, without pins. */
  plain(): AxiosInstance
  pinned(options?: Partial<PinningOptions>): AxiosInstance
}

type Scenario = (api: AxiosInstance, server: TestServer) => Promise<unknown>

export const root = createAuthority({ name: 'Public Root' })
export const certificate = root.issue()

/** @param handler of the one server that both talk to; default its own */
export function sideBySide(handler?: (request: IncomingMessage, response: ServerResponse) => void): SideBySide {
  let server: TestServer
  const endings: Array<() => unknown> = []
  beforeAll(async () => {
    server = await startServer({ certificate, ...(handler && { handler }) })
  })
  afterEach(async () => {
    for (const end of endings.splice(0)) await end()
  })
  afterAll(() => server.close())

  const plain = (): AxiosInstance => {
    const agent = new https.Agent({ keepAlive: true, scheduling: 'lifo', timeout: 5_000, ca: root.pem })
    endings.push(() => agent.destroy())
    return axios.create({ baseURL: server.url, httpsAgent: agent, proxy: false })
  }
  const pinned = (options: Partial<PinningOptions> = {}): AxiosInstance => {
    const api = axios.create({ baseURL: server.url, proxy: false })
    const pinning = pinAxios(api, { allowedSHAFingerprints: [certificate.fingerprint, certificate.pin], tls: { ca: root.pem }, ...options })
    endings.push(() => pinning.close())
    return api
  }
  const play = async (api: AxiosInstance, scenario: Scenario): Promise<{ result: unknown; received: unknown[] }> => {
    const before = server.requests.length
    const result = await scenario(api, server)
    const received = server.requests.slice(before).map(({ method, url, headers, body, bodyLength, complete }) => withoutBoundary({ method, url, headers, body, bodyLength, complete }))
    return { result, received }
  }
  const compare = (name: string, scenario: Scenario, expected: unknown, timed: boolean): void => {
    test(name, async () => {
      const [first, second] = [await play(plain(), scenario), await play(pinned(), scenario)]
      expect(second.result).toEqual(first.result)
      if (!timed) expect(second.received).toEqual(first.received)
      if (typeof expected === 'object' && expected !== null && !Array.isArray(expected)) expect(first.result).toMatchObject(expected)
      else if (expected !== undefined) expect(first.result).toEqual(expected)
    })
  }
  return {
    get server() {
      return server
    },
    plain,
    pinned,
    alike: (name, scenario, expected) => compare(name, scenario, expected, false),
    alikeInTime: (name, scenario, expected) => compare(name, scenario, expected, true)
  }
}

/** What a caller can see of how a request ended. Never rejects. */
export async function outcomeOf(request: Promise<AxiosResponse>): Promise<Record<string, unknown>> {
  return await request.then(
    ({ status, statusText, headers, data }) => ({ status, statusText, headers: undated(headers), data: data as unknown }),
    (error: AxiosError) => ({
      name: error.name,
      isAxiosError: axios.isAxiosError(error),
      isCancel: axios.isCancel(error),
      code: error.code,
      message: error.message,
      status: error.response?.status,
      data: error.response?.data,
      cause: (error.cause as { code?: unknown } | undefined)?.code,
      hasConfig: error.config !== undefined,
      hasRequest: error.request !== undefined
    })
  )
}

function undated(headers: object): Record<string, unknown> {
  const { date: _, ...rest } = { ...headers } as Record<string, unknown>
  return rest
}

/** Boundaries of forms are random. */
function withoutBoundary<T>(request: T): T {
  const text = JSON.stringify(request)
  const [, boundary] = /boundary=([^";\\]+)/.exec(text) ?? []
  return JSON.parse(boundary === undefined ? text : text.replaceAll(boundary, 'BOUNDARY')) as T
}
