import { BypassError } from '../errors.js'
import type { PinningError } from '../errors.js'
import type { PinningCore } from '../pinning.js'
import { RefusingAgent } from '../transport/refusing-agent.js'
import { askForAdapter, refusing, sealFor } from './allowed-adapter.js'
import { carryCookies, findCookieJar } from './cookie-jar.js'
import { findFetchBypass, sealFetch, sealFetchFor } from './fetch.js'
import { agentsBesideHttp2, findHttp2Bypass, sealHttp2, wantsHttp2 } from './http2.js'
import { keepAgents } from './redirects.js'
import { routeOf } from './route.js'
import type { Agents } from './route.js'

/** The fields of a config that decide which connection its request takes. */
export type Fields = Partial<Record<(typeof sealedFields)[number], unknown>>

/** What the user's config said, and what the seal put there: a retry (`instance(error.config)`) must not take ours for theirs. */
export interface Memory {
  readonly given: Fields
  readonly sealed: Fields
}

/** axios' own types say less than a config may hold. */
export type Config = Record<string, unknown>

/** Fields that decide which connection a request takes. */
export const sealedFields = ['adapter', 'httpAgent', 'httpsAgent', 'proxy', 'transport', 'socketPath', 'httpVersion', 'http2Options', 'beforeRedirect', 'env', 'fetchOptions'] as const

/**
 * What a config gets in the place of its own, right before axios picks the adapter; with what it had. `undefined` where it is
 * let go, since nothing at all is enforced.
 *
 * @param memory of an earlier time that the config was sealed
 */
export function decide(config: Config, core: PinningCore, memory: Memory | undefined): Memory | undefined {
  const given = readGiven(config, memory)
  const adapter = chosenAdapter(given.adapter)
  const allowed = adapter === 'http' || adapter === 'fetch' || adapter === undefined ? undefined : askForAdapter(adapter, copyOf(config), core)
  const http2 = adapter !== 'fetch' && wantsHttp2(given.httpVersion)
  const jar = given.httpsAgent ? findCookieJar(ownOrTemplate(config, 'jar'), given.httpsAgent) : undefined
  const route = adapter === 'fetch' ? { http: core.plainAgent, https: core.agent } : routeOf(jar ? { proxy: given.proxy } : given, core)
  const bypass = allowed instanceof BypassError ? allowed : (findBypass(given, adapter, http2, core) ?? (route instanceof Error ? route : undefined))
  // Past the agent, a redirect could lead anywhere.
  if (bypass && !core.policies.modes.has('enforce')) {
    if (core.policies.modes.has('report-only')) core.reporter.warnOnce(`axios-ssl-pinning: ${bypass.message} (let pass, report-only)`)
    // PKI decides there, whatever the options of HTTP/2 say.
    return http2 && adapter === 'http' ? { given, sealed: { http2Options: { ...(given.http2Options as object | undefined), rejectUnauthorized: true } } } : undefined
  }
  // A refusal is not thrown but given to axios as an agent that fails: so it becomes an AxiosError of the user's own copy
  // of axios, and no interceptor can recover the request from before the seal. An allowed adapter gets them too.
  const url = bypass && resolveUrl(config)
  const onRefusal = (): void => {
    core.reporter.blocked(url?.hostname ?? '', Number(url?.port || 443), bypass as PinningError)
  }
  const agents = bypass ? { http: new RefusingAgent(bypass, 'http:', onRefusal), https: new RefusingAgent(bypass, 'https:', onRefusal) } : http2 ? agentsBesideHttp2(core) : jar && adapter !== 'fetch' ? carryCookies(route as Agents, jar) : (route as Agents)
  const sealed = {
    ...fieldsOf(agents, given.beforeRedirect),
    // axios refuses that itself.
    ...(adapter === undefined && { adapter: [] }),
    // axios asks no agent about these.
    ...(bypass && typeof allowed !== 'function' && !/^https?:$/.test(url?.protocol ?? '') && { adapter: refusing(bypass, onRefusal) }),
    ...(typeof allowed === 'function' && { adapter: sealFor(allowed, sealedFields) }),
    ...(!bypass && http2 && sealHttp2(given.http2Options, core)),
    ...(!bypass && adapter === 'fetch' && sealFetch(given, core)),
    ...(typeof allowed === 'function' && sealFetchFor(given, core))
  }
  return { given, sealed }
}

/** What every request gets that is sent by axios' own http adapter. */
export function fieldsOf(agents: { http: unknown; https: unknown }, beforeRedirect: unknown): Fields {
  return { adapter: 'http', httpAgent: agents.http, httpsAgent: agents.https, proxy: false, transport: undefined, socketPath: undefined, httpVersion: undefined, http2Options: undefined, beforeRedirect: keepAgents(agents, beforeRedirect) }
}

/**
 * From now on these fields keep what the seal has put there. What is assigned to them is not lost: it counts when the
 * config is sent again.
 *
 * @throws {BypassError} where the config does not let it be done
 */
export function lock(config: Config, { given, sealed }: Memory): Memory {
  const wishes = Object.assign(Object.create(null) as object, given) as Record<string, unknown>
  for (const [name, value] of Object.entries(sealed)) {
    if (typeof value === 'object' && value !== null && ['http2Options', 'env', 'fetchOptions'].includes(name)) Object.freeze(value)
    const locked = Reflect.defineProperty(config, name, { get: () => value, set: (wish: unknown) => void (wishes[name] = wish), enumerable: true, configurable: false })
    if (!locked || config[name] !== value) throw new BypassError(name, 'the config does not let it be set; right would be an ordinary object')
  }
  return { given: wishes, sealed }
}

/** A field that still holds what the seal put there counts as untouched: then what the user gave before it holds. */
function readGiven(config: Config, memory: Memory | undefined): Fields {
  const fields = { __proto__: null } as Fields
  for (const field of sealedFields) {
    const value = ownOrTemplate(config, field)
    fields[field] = memory !== undefined && value === memory.sealed[field] ? memory.given[field] : value
  }
  return fields
}

/** Own, or from a class or template the config was made of; never from `Object.prototype`, which axios ignores too. */
export function ownOrTemplate(config: Config, field: string): unknown {
  for (let holder: object | null = config; holder !== null && holder !== Object.prototype; holder = Object.getPrototypeOf(holder) as object | null) {
    if (Object.hasOwn(holder, field)) return (holder as Record<string, unknown>)[field]
  }
  return undefined
}

function findBypass(given: Fields, adapter: unknown, http2: boolean, core: PinningCore): PinningError | undefined {
  if (adapter === 'fetch') return findFetchBypass(given, core)
  if (given.transport) return new BypassError('transport', 'it opens its own connections; right would be to leave it out')
  if (given.socketPath) return new BypassError('socketPath', 'a local socket has no TLS peer of that host; right would be to leave it out')
  if (http2) return findHttp2Bypass(given, core)
  if (given.httpVersion !== undefined && Number(given.httpVersion) !== 1) return new BypassError('httpVersion', 'it is neither 1 nor 2; right would be to leave it out')
  return undefined
}

/**
 * `'http'` or `'fetch'` when that one of axios' own would be chosen, or can be the only one; else the one that axios would
 * choose; `undefined` for a list of none.
 */
export function chosenAdapter(adapter: unknown): unknown {
  for (const each of Array.isArray(adapter) ? (adapter as unknown[]) : [adapter]) {
    if (each === undefined || each === null || each === false) continue
    // axios' own adapters carry their name; putting the name in its place selects the genuine one whoever says so.
    const name = typeof each === 'function' ? (each as { adapterName?: unknown }).adapterName : each instanceof String ? String(each) : each
    const known = typeof name === 'string' && ['http', 'fetch'].find((own) => own === name.toLowerCase())
    if (known) return known
    // In the default list, before http; the browser's adapter, which Node does not have.
    if (name === 'xhr' && Array.isArray(adapter)) continue
    return each
  }
  return Array.isArray(adapter) ? undefined : 'http'
}

/** As axios combines them; `undefined` when that gives no absolute URL, which axios then refuses itself. */
function resolveUrl(config: Config): URL | undefined {
  const url = typeof config['url'] === 'string' ? config['url'] : ''
  const { baseURL } = config as { baseURL?: unknown }
  const base = typeof baseURL === 'string' ? baseURL : ''
  const absolute = /^([a-z][a-z\d+\-.]*:)?\/\//i.test(url)
  const whole = base && (!absolute || config['allowAbsoluteUrls'] === false) ? (url ? `${base.replace(/\/?\/$/, '')}/${url.replace(/^\/+/, '')}` : base) : url
  return URL.canParse(whole) ? new URL(whole) : undefined
}

/** The config, for others to look at. */
function copyOf(config: Config): Config {
  return Object.assign(Object.create(Object.getPrototypeOf(config) as object | null) as Config, config)
}
