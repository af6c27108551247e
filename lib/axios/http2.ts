import { BypassError } from '../errors.js'
import type { PinningCore } from '../pinning.js'
import { RefusingAgent } from '../transport/refusing-agent.js'
import { isPinnedConnection } from '../transport/http2.js'
import { findTlsOption } from '../transport/tls-options.js'

/** Whether a request would be sent over HTTP/2, as axios reads the option. */
export function wantsHttp2(httpVersion: unknown): boolean {
  return httpVersion !== undefined && Number(httpVersion) === 2
}

/** What would lead past the pinned connection. */
export function findHttp2Bypass({ http2Options, proxy }: { http2Options?: unknown; proxy?: unknown }, core: PinningCore): BypassError | undefined {
  if (proxy || (proxy !== false && typeof core.proxy === 'object')) return new BypassError('proxy', 'HTTP/2 goes through none; right would be to leave httpVersion out, or proxy: false')
  const options = { ...(http2Options as Record<string, unknown> | undefined) }
  // How long axios keeps an idle session; of TLS' own option only the name is the same.
  const tlsOption = findTlsOption({ ...options, sessionTimeout: undefined })
  if (tlsOption !== undefined) return new BypassError(`http2Options.${tlsOption}`, 'TLS options are set when the instance is pinned; right would be the option tls of pinAxios')
  if (options['createConnection'] && !isPinnedConnection(options['createConnection'])) return new BypassError('http2Options.createConnection', 'it opens its own connections; right would be to leave it out')
  const elsewhere = ['host', 'port', 'path', 'socketPath'].find((name) => options[name] !== undefined)
  if (elsewhere !== undefined) return new BypassError(`http2Options.${elsewhere}`, 'it would connect elsewhere than the URL says; right would be the URL, or lookup')
  return undefined
}

/** The agents of an HTTP/2 request, which axios 1.13 and later does not use: an older one is refused by them. */
export function agentsBesideHttp2(core: PinningCore): { http: RefusingAgent; https: RefusingAgent } {
  const known = beside.get(core)
  if (known) return known
  const error = new BypassError('httpVersion', 'this axios has no HTTP/2; right would be axios 1.13 or later, or to leave it out')
  const onRefusal = (): void => core.reporter.blocked('', 443, error)
  const agents = { http: new RefusingAgent(error, 'http:', onRefusal), https: new RefusingAgent(error, 'https:', onRefusal) }
  beside.set(core, agents)
  return agents
}

const beside = new WeakMap<PinningCore, ReturnType<typeof agentsBesideHttp2>>()

/** The fields of a config that make axios open its HTTP/2 sessions over pinned connections. */
export function sealHttp2(http2Options: unknown, core: PinningCore): object {
  return { httpVersion: 2, http2Options: { ...(http2Options as object | undefined), createConnection: core.http2.createConnection } }
}
