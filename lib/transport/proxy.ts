import { createHmac, randomBytes } from 'node:crypto'
import { BlockList, isIP } from 'node:net'
import { BypassError, PolicyInvalidError } from '../errors.js'
import { loadProxyFromEnv } from '../late.cjs'
import { canonicalHost } from '../pin/hostname.js'
import { describeType } from '../pin/pin.js'
import { readVariable } from '../policy/environment.js'

/** Which proxy requests take: none, the one that the environment names for their URL, or always this one. */
export type ProxyRule = false | 'environment' | Proxy

/** A proxy that opens tunnels. Its credentials are in no text that anybody is shown. */
export interface Proxy {
  /** `http://host:port`, without credentials. */
  readonly shown: string
  /** For pool names: distinct for everything that makes another connection; of credentials it has a keyed hash. */
  readonly key: string
  /** Absent where an agent of the user's opens the tunnel. */
  readonly server: ProxyServer | undefined
  readonly agent: TunnelAgent | undefined
  /** The variable of the environment that names it, where one does. */
  readonly variable?: string
}

/** As axios' configs have it. */
export interface AxiosProxy {
  /** `http` (default) or `https`. */
  readonly protocol?: string
  readonly host: string
  readonly port: number
  readonly auth?: { readonly username: string; readonly password: string }
}

export interface ProxyServer {
  readonly protocol: 'http:' | 'https:'
  readonly host: string
  readonly port: number
  /** `user:password`, for Basic authentication. */
  readonly auth: string | undefined
}

/**
 * An agent of https-proxy-agent, socks-proxy-agent and their kin (agent-base): asked for an insecure endpoint, it opens a
 * plain tunnel, in which the pinned connection is made.
 */
export interface TunnelAgent {
  connect(request: unknown, options: { host: string; port: number; secureEndpoint: false }): Promise<unknown>
}

/** Whether an agent can open a plain tunnel. */
export function isTunnelAgent(agent: unknown): agent is TunnelAgent {
  if (typeof agent !== 'object' || agent === null) return false
  // https-proxy-agent has `proxy` as a URL, socks-proxy-agent as an object; an ordinary agent has neither.
  const { connect, proxy } = agent as { connect?: unknown; proxy?: unknown }
  return typeof connect === 'function' && typeof proxy === 'object' && proxy !== null
}

/**
 * Reads the `proxy` of the options or of an axios config: a URL, axios' own `{ protocol, host, port, auth }`, or an agent
 * that opens tunnels.
 * @throws {PolicyInvalidError} naming the option; never echoes credentials
 */
export function readProxy(given: unknown, option: string): ProxyRule {
  if (given === false || given === 'environment') return given
  if (isTunnelAgent(given)) return viaAgent(given)
  if (typeof given === 'string') return parseProxyUrl(given, option)
  if (given instanceof URL || Object.prototype.toString.call(given) === '[object URL]') return parseProxyUrl(String(given), option)
  if (typeof given === 'object' && given !== null) return readAxiosProxy(given as Record<string, unknown>, option)
  throw new PolicyInvalidError(option, `must be false, 'environment', a URL, or axios' { protocol, host, port, auth }, not ${describeType(given)}`)
}

/**
 * The proxy for one request, read from the environment at this moment, as axios does it: `HTTPS_PROXY` or `HTTP_PROXY`,
 * else `ALL_PROXY`, unless `NO_PROXY` names the host.
 * @throws {BypassError} naming the variable, when it holds what cannot be used
 */
export function findProxy(rule: ProxyRule, protocol: 'http:' | 'https:', host: string, port: number): Proxy | undefined {
  if (rule !== 'environment') return rule || undefined
  const name = variables[protocol].find((each) => readVariable(each))
  if (name === undefined) return undefined
  const url = `${protocol}//${isIP(host) === 6 ? `[${host}]` : host}:${port}/`
  const exempt = readVariable('no_proxy') || readVariable('NO_PROXY')
  if (exempt && (!loadProxyFromEnv().getProxyForUrl(url) || isExempt(exempt, host, port))) return undefined
  const text = readVariable(name) as string
  const found = text.includes('://') ? text : `${protocol}//${text}`
  if (last?.text === found && last.proxy.variable === name) return last.proxy
  try {
    last = { text: found, proxy: { ...parseProxyUrl(found, name), variable: name } }
    return last.proxy
  } catch (error) {
    if (error instanceof PolicyInvalidError) throw new BypassError(name, `${error.reason}, or the host in NO_PROXY, or proxy: false`)
    throw error
  }
}

export function viaAgent(agent: TunnelAgent): Proxy {
  let known = agents.get(agent)
  if (known === undefined) agents.set(agent, (known = { shown: describeType(agent), key: `agent ${++agentCount}`, server: undefined, agent }))
  return known
}

/** The environment rarely changes. */
let last: { text: string; proxy: Proxy } | undefined

const agents = new WeakMap<TunnelAgent, Proxy>()
let agentCount = 0

// In the order in which proxy-from-env reads them.
const variables = {
  'http:': ['http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'],
  'https:': ['https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY']
} as const

function parseProxyUrl(text: string, option: string): Proxy {
  if (!URL.canParse(text)) throw new PolicyInvalidError(option, 'is not a URL; right would be http://proxy.example:3128')
  const { protocol, hostname, port, username, password } = new URL(text)
  const auth = username || password ? `${decode(username, option)}:${decode(password, option)}` : undefined
  return viaServer(protocol, hostname, port, auth, option)
}

/** Own properties only, so that nothing on `Object.prototype` becomes a proxy or a password. */
function readAxiosProxy(given: Record<string, unknown>, option: string): Proxy {
  const own = (name: string): unknown => (Object.hasOwn(given, name) ? given[name] : undefined)
  const protocol = own('protocol') ?? 'http:'
  if (typeof protocol !== 'string') throw new PolicyInvalidError(option, `its protocol must be 'http' or 'https', not ${describeType(protocol)}`)
  const host = own('hostname') || own('host')
  if (typeof host !== 'string') throw new PolicyInvalidError(option, `its host must be a string, not ${describeType(host)}; right would be { host: 'proxy.example', port: 3128 }`)
  const port = own('port') ?? ''
  if (typeof port !== 'number' && typeof port !== 'string') throw new PolicyInvalidError(option, `its port must be a number, not ${describeType(port)}`)
  return viaServer(protocol.replace(/:?$/, ':'), host, String(port), readAuth(own('auth'), option), option)
}

function readAuth(auth: unknown, option: string): string | undefined {
  if (auth === undefined || auth === null || auth === '' || typeof auth === 'string') return auth || undefined
  const field = (name: string): unknown => (typeof auth === 'object' && Object.hasOwn(auth, name) ? (auth as Record<string, unknown>)[name] : undefined)
  const [username, password] = [field('username') ?? '', field('password') ?? '']
  if (typeof username !== 'string' || typeof password !== 'string' || !(username || password)) throw new PolicyInvalidError(option, 'its auth must be { username, password }')
  return `${username}:${password}`
}

function viaServer(protocol: string, hostname: string, portText: string, auth: string | undefined, option: string): Proxy {
  if (protocol !== 'http:' && protocol !== 'https:') {
    throw new PolicyInvalidError(option, `${protocol} is not a protocol of tunnels that is spoken here; right would be http: or https:, or an agent such as socks-proxy-agent's as httpsAgent`)
  }
  const host = canonicalHost(hostname)
  const port = portText === '' ? (protocol === 'https:' ? 443 : 80) : Number(portText)
  if (host === undefined || !Number.isInteger(port) || port < 1 || port > 65_535) throw new PolicyInvalidError(option, 'has no usable host and port; right would be http://proxy.example:3128')
  if (auth !== undefined && /[\r\n\0]/.test(auth)) throw new PolicyInvalidError(option, 'its credentials hold a control character')
  const shown = `${protocol}//${isIP(host) === 6 ? `[${host}]` : host}:${port}`
  const key = auth === undefined ? shown : `${shown}#${createHmac('sha256', salt).update(auth).digest('base64url').slice(0, 16)}`
  return { shown, key, server: { protocol, host, port, auth }, agent: undefined }
}

const salt = randomBytes(16)

function decode(text: string, option: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new PolicyInvalidError(option, 'its credentials are not percent-encoded')
  }
}

/** What axios reads out of `NO_PROXY` beyond proxy-from-env: `*` in a list, address ranges, and all names of this machine as one. */
function isExempt(list: string, host: string, port: number): boolean {
  const name = canonicalHost(host) ?? host
  return list
    .toLowerCase()
    .split(/[\s,]+/)
    .some((entry) => {
      if (entry === '*') return true
      const [, base, prefix] = /^\[?([\d.a-f:]+)\]?\/(\d{1,3})$/.exec(entry) ?? []
      if (base !== undefined) return isInRange(name, base, Number(prefix))
      const [, entryName, entryPort] = /^(\[.*\]|[^:]*|[^:]*:.*:[^:]*?)(?::(\d+))?$/.exec(entry) ?? []
      if (!entryName || (entryPort !== undefined && Number(entryPort) !== port)) return false
      if (/^\*?\./.test(entryName)) return name.endsWith(entryName.replace(/^\*/, ''))
      const known = canonicalHost(entryName) ?? entryName
      return known === name || (isLoopback(known) && isLoopback(name))
    })
}

function isInRange(name: string, base: string, prefix: number): boolean {
  const family = isIP(base)
  if (family === 0 || isIP(name) !== family || prefix > (family === 4 ? 32 : 128)) return false
  const type = family === 4 ? 'ipv4' : 'ipv6'
  const range = new BlockList()
  range.addSubnet(base, prefix, type)
  return range.check(name, type)
}

function isLoopback(name: string): boolean {
  return name === 'localhost' || name === '0.0.0.0' || name === '::' || name === '::1' || (isIP(name) === 4 && name.startsWith('127.'))
}
