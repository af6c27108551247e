import { Agent } from 'node:http'
import type * as https from 'node:https'
import { BypassError } from '../errors.js'
import type { PinningError } from '../errors.js'
import type { PinningCore } from '../pinning.js'
import { RefusingAgent } from '../transport/refusing-agent.js'
import { isTunnelAgent, readProxy, viaAgent } from '../transport/proxy.js'
import type { ProxyRule } from '../transport/proxy.js'

/** What a request takes for `http:` and for `https:` URLs, redirects included. */
export interface Agents {
  readonly http: Agent
  readonly https: https.Agent
}

/**
 * The agents for a request, by what its config says of proxies and agents; or why there are none. An agent that opens
 * tunnels (https-proxy-agent, socks-proxy-agent) does so for the pinned connection, which is made inside; an `httpAgent`
 * makes the plain connections that need no pins; any other `httpsAgent` would make connections of its own.
 */
export function routeOf(given: { proxy?: unknown; httpAgent?: unknown; httpsAgent?: unknown }, core: PinningCore): Agents | PinningError {
  const { proxy, httpAgent, httpsAgent } = given
  // An allowed adapter may ask axios again with the config of a refused request, or of any other.
  if (httpsAgent instanceof RefusingAgent) return httpsAgent.error
  const earlier = routes.get(httpsAgent as object)
  if (earlier?.core === core && !proxy) return earlier.agents
  const rule = ruleOf(proxy, earlier?.core === core || httpsAgent === core.agent ? undefined : httpsAgent, core)
  if (rule instanceof Error) return rule
  const own = httpAgent instanceof Agent && httpAgent !== core.plainAgent && earlier?.agents.http !== httpAgent ? httpAgent : undefined
  const agents = { http: core.plainAgent.through(rule, own), https: core.agent.through(rule) }
  // Of a constant rule it is the same agent every time, which stands for its own route alone.
  if (!routes.has(agents.https)) routes.set(agents.https, { core, agents })
  return agents
}

const routes = new WeakMap<object, { core: PinningCore; agents: Agents }>()

function ruleOf(proxy: unknown, httpsAgent: unknown, core: PinningCore): ProxyRule | PinningError {
  const tunnels = isTunnelAgent(httpsAgent)
  if (httpsAgent && !tunnels) return new BypassError('httpsAgent', 'it is another agent than the pinned one; right would be to leave it out and use the options agent and tls of pinAxios')
  // As axios has it, only a proxy that is said outright comes before the agent.
  if (tunnels && !proxy) return viaAgent(httpsAgent)
  if (proxy === false) return false
  if (!proxy) return core.proxy
  try {
    return readProxy(proxy, 'proxy')
  } catch (error) {
    return error as PinningError
  }
}
