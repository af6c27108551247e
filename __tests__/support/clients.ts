import type { AxiosError } from 'axios'
import * as https from 'node:https'
import type { Socket } from 'node:net'
import type { ClientRequest, IncomingMessage } from 'node:http'
import { TLSSocket } from 'node:tls'

/** How one request ended, in a form that can be compared. */
export interface Outcome {
  readonly status?: number
  readonly body?: string
  readonly code?: string
  readonly message?: string
  /** `req.reusedSocket`: it went over a kept-alive connection. */
  readonly reused: boolean
  /** The TLS session was resumed. */
  readonly resumed: boolean
}

export interface SendOptions extends https.RequestOptions {
  body?: string | Buffer
  /** Called with the request before anything has happened. */
  onRequest?: (request: ClientRequest) => void
}

/** One request through an agent, to its end. Never rejects. Waits until the socket has been handed back to the pool. */
export async function send(agent: https.Agent, port: number, { body, onRequest, ...options }: SendOptions = {}): Promise<Outcome> {
  return await new Promise((resolve) => {
    let socket: Socket | undefined
    const request = https.request({ host: 'localhost', port, agent, method: body === undefined ? 'GET' : 'POST', ...options })
    const finish = (outcome: Partial<Outcome>) => {
      // A request that is refused before anything is opened never had a TLS socket.
      const resumed = socket instanceof TLSSocket && socket.isSessionReused()
      setImmediate(() => { resolve({ ...outcome, reused: request.reusedSocket, resumed }) })
    }
    request.on('socket', (given: Socket) => { socket = given })
    request.on('response', (response: IncomingMessage) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => { text += chunk })
      response.on('end', () => { finish({ status: response.statusCode ?? 0, body: text }) })
      response.on('error', (error) => { finish(describeError(error)) })
    })
    request.on('error', (error) => { finish(describeError(error)) })
    onRequest?.(request)
    request.end(body)
  })
}

/** What a request through axios rejects with; an answer is an error of the test. */
export async function failure(request: Promise<unknown>): Promise<AxiosError> {
  return await request.then(
    () => { throw new Error('the request was answered') },
    (error: AxiosError) => error
  )
}

export function describeError(error: Error & { code?: string }): { code: string, message: string } {
  return { code: error.code ?? error.name, message: error.message }
}

/** Holds up the whole event loop, as a slow synchronous callback does. */
export function block(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
}

export async function wait(milliseconds: number): Promise<void> {
  await new Promise((resolve) => { setTimeout(resolve, milliseconds) })
}

/** Waits for something to become true; throws after two seconds. */
export async function until(condition: () => boolean, what = String(condition)): Promise<void> {
  for (let i = 0; i < 400; i++) {
    if (condition()) return
    await wait(5)
  }
  throw new Error(`never came true: ${what}`)
}

/** What an agent holds, by number. All zero is an agent that has forgotten everything. */
export function holdings(agent: https.Agent): { sockets: number, freeSockets: number, requests: number, total: number } {
  const count = (lists: NodeJS.ReadOnlyDict<unknown[]>) => Object.values(lists).reduce((sum, list) => sum + (list?.length ?? 0), 0)
  return {
    sockets: count(agent.sockets),
    freeSockets: count(agent.freeSockets),
    requests: count(agent.requests),
    total: (agent as unknown as { totalSocketCount: number }).totalSocketCount
  }
}

export const nothing = { sockets: 0, freeSockets: 0, requests: 0, total: 0 }
