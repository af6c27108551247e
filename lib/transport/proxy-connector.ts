import { PolicyInvalidError } from '../errors.js'
import { describeType } from '../pin/pin.js'
import { PolicySet } from '../policy/policy-set.js'
import type { PolicyOptions } from '../policy/policy-set.js'
import type { Reporter } from '../report/reporter.js'
import type { AxiosProxy, TunnelAgent } from './proxy.js'
import { Sessions } from './sessions.js'
import { readPoolOptions, readTlsOptions } from './tls-options.js'
import type { PoolOptions, TlsOptions } from './tls-options.js'
import { Trusts } from './trust.js'
import type { ProxyConnector } from './tunnel.js'

/** How requests get out. Whatever the proxy, the host is verified inside the tunnel before anything is written to it. */
export interface ProxyOptions {
  /**
   * `'environment'` (default): `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, read for each request, as axios does.
   * `false`: none. Else the proxy for every request: a URL, axios' `{ protocol, host, port, auth }`, or an agent that opens
   * tunnels. A request's own `proxy` comes first. The agent itself, used without axios, takes only a proxy said here.
   */
  proxy?: 'environment' | false | (string & {}) | URL | AxiosProxy | TunnelAgent
  /**
   * Pins of proxies that are reached over TLS (`https://proxy…`): an array for all of them, or by host pattern. Default: PKI
   * alone. They are apart from the pins of hosts, and `update()` leaves them as they are.
   */
  proxyPins?: NonNullable<PolicyOptions['allowedSHAFingerprints'] | PolicyOptions['pins']>
  /** TLS options for the connection to such a proxy, as `tls` for hosts. A client certificate in `tls` is never shown to it. */
  proxyTls?: TlsOptions
}

/** @throws {PolicyInvalidError | PinInvalidError | TypeError} naming the option */
export function createProxyConnector(options: ProxyOptions & { agent?: PoolOptions }, reporter: Reporter): ProxyConnector {
  const policies = readProxyPins(options.proxyPins)
  const settings = readTlsOptions(options.proxyTls, 'proxyTls')
  if (settings.clientCertificate) throw new PolicyInvalidError('proxyTls.clientCertificate', 'is read again for hosts only; right would be cert and key')
  const { family, hints, lookup, localAddress, localPort, noDelay, autoSelectFamily, autoSelectFamilyAttemptTimeout } = readPoolOptions(options.agent)
  const given = Object.entries({ family, hints, lookup, localAddress, localPort, noDelay, autoSelectFamily, autoSelectFamilyAttemptTimeout }).filter(([, value]) => value !== undefined)
  return {
    tls: { policies: () => policies, trusts: new Trusts(settings), sessions: new Sessions(100), minDHSize: settings.minDHSize, reporter, onVerified: () => undefined, now: Date.now },
    socket: Object.fromEntries(given),
    timeoutMs: 60_000
  }
}

function readProxyPins(pins: ProxyOptions['proxyPins']): PolicySet {
  if (pins === undefined) return new PolicySet({ unpinnedHosts: 'allow' }, 1, undefined, false)
  if (typeof pins !== 'object' || pins === null) throw new PolicyInvalidError('proxyPins', `must be an array of pins or an object of host patterns, not ${describeType(pins)}`)
  const options = Array.isArray(pins) ? { allowedSHAFingerprints: pins as readonly string[] } : { pins: pins as NonNullable<PolicyOptions['pins']> }
  try {
    return new PolicySet(options, 1)
  } catch (error) {
    if (error instanceof PolicyInvalidError) throw new PolicyInvalidError(`proxyPins: ${error.option}`, error.reason, { cause: error })
    throw error
  }
}
