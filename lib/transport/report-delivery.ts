import * as http from 'node:http'
import * as https from 'node:https'
import { PolicyInvalidError } from '../errors.js'
import { PolicySet } from '../policy/policy-set.js'
import { DeliveryRefused } from '../report/report-queue.js'
import type { Deliver } from '../report/report-queue.js'
import type { Endpoint } from '../report/report-to.js'
import { Reporter } from '../report/reporter.js'
import { PinningAgent } from './agent.js'
import { readProxy } from './proxy.js'
import { createProxyConnector } from './proxy-connector.js'
import type { ProxyOptions } from './proxy-connector.js'
import type { PoolOptions, TlsOptions } from './tls-options.js'

/**
 * Posts reports to a collector, on connections of its own: never through the agent whose refusals are reported, and what
 * happens on them is reported nowhere, so a report cannot cause another one. Node's PKI verification is always on. On top
 * of it the endpoint's own pins are demanded, or those of a host pattern that covers it (RFC 7469 §2.1.4 wants the same); a list that
 * is meant for all hosts is not, since the collector is not one of those the program talks to.
 *
 * @param policies those in force; asked anew for each delivery
 * @param options whose `tls.ca` holds for a collector that a host pattern covers, and whose `proxyPins` and `proxyTls` for the
 *   proxy on the way; client certificates are not presented to a collector
 * @throws {PolicyInvalidError | PinInvalidError} for a `ca`, a proxy or pins that cannot be used
 */
export function createDelivery(endpoint: Endpoint, policies: () => PolicySet, options: Omit<ProxyOptions, 'proxy'> & { readonly tls?: Pick<TlsOptions, 'ca'>; readonly agent?: PoolOptions } = {}): Deliver {
  const { url, batch } = endpoint
  const { tls = {} } = options
  const proxy = readProxy(endpoint.proxy, 'reportTo.proxy')
  if (typeof proxy === 'object' && url.protocol === 'http:') throw new PolicyInvalidError('reportTo.proxy', 'http: is possible on this machine only, where no proxy leads; right would be to leave it out')
  const pinnedAgent = (of: () => PolicySet, context: object): PinningAgent => {
    const reporter = new Reporter({})
    return new PinningAgent({ policies: of, reporter, tls: context, agent: { keepAlive: false, maxCachedSessions: 0 }, proxy, proxyConnector: createProxyConnector(options, reporter) })
  }
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  const port = Number(url.port || 443)
  const ca = endpoint.ca === undefined ? {} : { ca: endpoint.ca }
  const own = endpoint.pins && pinnedAgent(policiesOf(endpoint.pins), ca)
  let pattern: https.Agent | undefined
  let plain: https.Agent | undefined

  const agent = (): http.Agent | undefined => {
    if (url.protocol === 'http:' || own) return own
    const covering = policies().find(host, port)?.pattern
    if (covering !== undefined && covering !== 'allowedSHAFingerprints') return (pattern ??= pinnedAgent(policies, tls.ca === undefined ? ca : { ca: tls.ca, ...ca }))
    return (plain ??= proxy === false ? new https.Agent({ keepAlive: false, maxCachedSessions: 0, rejectUnauthorized: true, ...(ca as https.AgentOptions) }) : pinnedAgent(() => unpinned, ca))
  }
  return async (violations) => {
    for (const body of batch ? [violations] : violations) await post(endpoint, host, agent(), JSON.stringify(body))
  }
}

const timeoutMs = 10_000

/** PKI alone decides. */
const unpinned = new PolicySet({ unpinnedHosts: 'allow' }, 1, undefined, false)

function post({ url, headers }: Endpoint, host: string, agent: http.Agent | undefined, body: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'http:' ? http : https).request({
      method: 'POST',
      host,
      port: url.port || undefined,
      path: `${url.pathname}${url.search}`,
      headers: { ...headers, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
      // Without keep-alive: reports are rare.
      agent: agent ?? false
    })
    const timer = setTimeout(() => request.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs).unref()
    request.on('close', () => {
      clearTimeout(timer)
      reject(new Error('the connection ended without an answer'))
    })
    request.on('error', reject)
    request.on('response', (response) => {
      const status = response.statusCode ?? 0
      // What the collector says is of no interest, and it may say it for ever.
      response.destroy()
      if (status >= 200 && status < 300) resolve()
      else reject(status >= 500 || status === 408 || status === 429 ? new Error(`HTTP ${status}`) : new DeliveryRefused(`HTTP ${status}`))
    })
    request.end(body)
  })
}

function policiesOf(pins: readonly string[]): () => PolicySet {
  const policies = new PolicySet({ allowedSHAFingerprints: pins }, 1)
  return () => policies
}
