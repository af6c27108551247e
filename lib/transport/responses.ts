import { subscribe } from 'node:diagnostics_channel'
import type { ClientRequest, IncomingMessage } from 'node:http'

/**
 * Calls back with every answer to a request of one agent. A `'response'` listener on the request would do the same, but
 * then Node would wait for somebody to read answers that nobody listens to.
 */
export function watchResponses(agent: object, onResponse: OnResponse): void {
  watchers.set(agent, onResponse)
  if (subscribed) return
  subscribed = true
  // Published by http before 'response' is emitted, on all Node versions supported.
  subscribe('http.client.response.finish', (message) => {
    const { request, response } = message as { request: ClientRequest & { agent?: object }; response: IncomingMessage }
    if (request.agent) watchers.get(request.agent)?.(response, request)
  })
}

type OnResponse = (response: IncomingMessage, request: ClientRequest) => void

const watchers = new WeakMap<object, OnResponse>()
let subscribed = false
