import type * as https from 'node:https'
import { PolicyInvalidError } from './errors.js'
import { loadDelivery, loadDispatcher, loadPinsFile, loadUpdates } from './late.cjs'
import { Integrity } from './integrity/integrity.js'
import type { IntegrityOptions, IntegrityStatus } from './integrity/integrity.js'
import { canonicalHost } from './pin/hostname.js'
import { describeType } from './pin/pin.js'
import { ModeRule, describeMode } from './policy/mode.js'
import type { ModeOptions, ModeSource } from './policy/mode.js'
import { readDuration, readFunction, readOptions } from './policy/options.js'
import { PolicySet } from './policy/policy-set.js'
import type { ExpiredSet, PolicyOptions, PolicySummary } from './policy/policy-set.js'
import type { PinningMode } from './policy/policy.js'
import type { ExpiryReport } from './report/expiry.js'
import { Reporter } from './report/reporter.js'
import type { Counters, ReportOptions } from './report/reporter.js'
import type { DeliveryCounters } from './report/report-queue.js'
import { calls, readThreatResponse, refreshEveryMs, shortAgeMs } from './report/threat-response.js'
import type { ResponsePlan } from './report/threat-response.js'
import { hostOf } from './report/threat.js'
import type { Threat } from './report/threat.js'
import { PinningAgent } from './transport/agent.js'
import type { ClientCertificateStatus } from './transport/client-certificate.js'
import { PlainAgent } from './transport/plain-agent.js'
import { readProxy } from './transport/proxy.js'
import type { ProxyRule } from './transport/proxy.js'
import { createProxyConnector } from './transport/proxy-connector.js'
import type { ProxyOptions } from './transport/proxy-connector.js'
import type { PinningDispatcher, UndiciDispatcher } from './transport/dispatcher.js'
import { PinningHttp2 } from './transport/http2.js'
import type { PoolOptions, TlsOptions } from './transport/tls-options.js'
import { systemClock } from './update/clock.js'
import type { UpdateClock } from './update/clock.js'
import type { LivePins } from './update/live-pins.js'
import type { UpdateOptions } from './update/options.js'
import type { UpdateStatus } from './update/updater.js'

/** Everything that can be said to `pinAxios`, `createPinnedAxios`, `createPinning` and `createPinningAgent`. */
export interface PinningOptions extends Omit<PolicyOptions, 'mode'>, ModeOptions, ReportOptions, ProxyOptions, IntegrityOptions {
  /** A file with the pins, read once and synchronously, instead of `pins` and `allowedSHAFingerprints`: see `loadPins`. */
  pinsFile?: string | URL
  /** Node's TLS options for the connections: `ca`, `cert`, `key`, `minVersion`, … */
  tls?: TlsOptions
  /** Node's agent options for the pool: `keepAlive` (default `true`), `maxSockets`, `timeout`, … */
  agent?: PoolOptions
  /** Signed pin sets that replace these pins while the program runs. */
  updates?: UpdateOptions
  /**
   * How long a certificate that a host has shown may be relied on, in milliseconds: an older connection takes no new
   * request, and no TLS session is resumed whose certificate was shown longer ago. Requests under way end. Default for ever.
   */
  maxConnectionAgeMs?: number
  /**
   * For test doubles and caches that put a function in the place of axios' adapter (axios-mock-adapter, hits of
   * axios-cache-interceptor): called for every such request; `true` lets that function have it. Anything but `true` or
   * `false`, a promise included, and an exception refuse the request, as `false` and leaving it out do (`ERR_PIN_BYPASS`).
   *
   * Dangerous: a connection that the function opens itself is not pinned, nor is one that it asks axios for with another
   * config than it was given. Its config is sealed, so what it hands on to axios' own adapter is pinned as ever.
   */
  dangerAllowAdapter?(adapter: (config: never) => unknown, config: AdapterRequest): boolean
}

/** What `dangerAllowAdapter` is shown: the config of the request, as axios would hand it to the adapter. */
export interface AdapterRequest {
  readonly url?: string | undefined
  readonly baseURL?: string | undefined
  readonly method?: string | undefined
}

/** How a {@link PinningCore} is doing. JSON-safe. */
export interface PinningStatus {
  readonly mode: PinningMode
  /** Who has decided the mode: nobody, the option, its function, or `AXIOS_SSL_PINNING_MODE`. */
  readonly modeSource: ModeSource
  readonly unpinnedHosts: 'refuse' | 'allow'
  /** `http://host:port`, without credentials; `environment`: read for each request. */
  readonly proxy: string | false
  /** Rises with every change of what connections have to meet: pins, mode, client certificate, trust anchors. */
  readonly revision: number
  /** How many host patterns there are. */
  readonly hosts: number
  /** The client certificate of `tls.clientCertificate`, where it is given. */
  readonly clientCertificate?: ClientCertificateStatus
  /** The policies that expire, soonest first, at most 100. */
  readonly expiries: ReadonlyArray<{ readonly pattern: string; readonly expires: string }>
  /** What in the process could weaken pinning. */
  readonly integrity: IntegrityStatus
  /** The last threats, the latest first, at most ten. */
  readonly threats: readonly Threat[]
  /** Hosts that `threatResponse` refuses for a while. */
  readonly lockdowns: ReadonlyArray<{ readonly host: string; readonly until: string }>
  /** What ends within `expiryWarningDays`, soonest first, at most 100: policies, and leaf and CA certificates that accepted connections rest on. */
  readonly expiring: readonly ExpiryReport[]
  /** What is allowed but unwise. */
  readonly warnings: readonly string[]
  readonly counters: Readonly<Counters>
  /** How the reports of `reportTo` have fared; absent without it. */
  readonly reports?: Readonly<DeliveryCounters>
  /** Only where there are {@link PinningOptions.updates}. */
  readonly updates?: UpdateStatus
}

/** One policy and the agents that enforce it. Wires the parts together and decides nothing itself. */
export class PinningCore {
  /** For `https:`; every connection it makes is pinned. */
  readonly agent: PinningAgent
  /** For `http:`; lets only hosts pass that need no pins. */
  readonly plainAgent: PlainAgent
  /** Which proxy a request takes that says nothing of one. */
  readonly proxy: ProxyRule
  /** For `http2.connect`. */
  readonly http2: PinningHttp2
  readonly reporter: Reporter
  readonly dangerAllowAdapter: PinningOptions['dangerAllowAdapter']
  readonly #options: PinningOptions
  readonly #mode: ModeRule
  readonly #integrity: Integrity
  readonly #live: LivePins | undefined
  readonly #response: ResponsePlan | undefined
  readonly #threats: Threat[] = []
  /** Until when connections of a host are kept short; milliseconds since the epoch. */
  readonly #shortAges = new Map<string, number>()
  #refreshedAt = -Infinity
  #policies: PolicySet
  #dispatcher: PinningDispatcher | undefined

  /**
   * @param clock for tests
   * @throws {PolicyInvalidError | PinInvalidError | TypeError} naming the option
   */
  constructor(given: PinningOptions, clock = systemClock) {
    this.#options = readPinningOptions(given)
    this.reporter = new Reporter(this.#options, (endpoint) => loadDelivery().createDelivery(endpoint, () => this.policies, this.#options))
    this.dangerAllowAdapter = readFunction(this.#options.dangerAllowAdapter, 'dangerAllowAdapter')
    this.#mode = new ModeRule(this.#options, process.env, (text) => this.reporter.warnOnce(`axios-ssl-pinning: ${text}`))
    this.#policies = new PolicySet({ ...this.#options, mode: this.#mode.now.mode }, 1)
    this.reporter.policies = () => this.policies
    this.#integrity = new Integrity(this.#options, ({ name, detail }) => this.reporter.integrityFound(name, detail))
    this.#response = readThreatResponse(this.#options.threatResponse, { monitor: this.reporter.threats !== undefined, updates: this.#options.updates !== undefined })
    this.#live = this.#options.updates === undefined ? undefined : this.#keepUpToDate(this.#options.updates, clock)
    this.reporter.events.on('threat', (threat) => this.#respond(threat))
    const maxAgeMs = readDuration(this.#options.maxConnectionAgeMs, 'maxConnectionAgeMs')
    this.proxy = this.#options.proxy === undefined ? 'environment' : readProxy(this.#options.proxy, 'proxy')
    const settings = {
      policies: () => this.policies,
      reporter: this.reporter,
      tls: this.#options.tls,
      agent: this.#options.agent,
      newer: this.#live?.updater,
      now: clock.now,
      maxAgeMs: (host: string) => Math.min(maxAgeMs ?? Infinity, this.#shortAgeOf(host)),
      // Another revision: no connection and no session of the former certificate, or trust anchors, is used again.
      onClientCertificate: () => void (this.#policies = this.#policies.under({}, this.#policies.revision + 1)),
      onTrustAnchors: () => void (this.#policies = this.#policies.under({}, this.#policies.revision + 1)),
      // Node's own agents read no environment; axios does, and is given agents that do.
      proxy: this.#options.proxy === undefined ? false : this.proxy,
      proxyConnector: createProxyConnector(this.#options, this.reporter)
    }
    this.agent = new PinningAgent(settings)
    this.plainAgent = new PlainAgent(settings)
    this.http2 = new PinningHttp2(this.agent)
    this.#warn()
    this.#live?.updater.start()
  }

  /** Under the circumstances of this moment: asked several times per request. Those of a set that has expired are none. */
  get policies(): PolicySet {
    this.#live?.updater.checkExpiry()
    // Asked before it is made, too.
    ;(this.agent as PinningAgent | undefined)?.renewTrust()
    const { mode } = this.#mode.now
    const { refusal } = this.#integrity
    const now = this.#policies
    if (mode !== now.mode) this.#swap(now.under({ mode, refusal }, now.revision + 1))
    else if (refusal !== now.refusal) this.#policies = now.under({ refusal }, now.revision + 1)
    return this.#policies
  }

  /** Tells the integrity checks of an axios instance; `isPinned` is `undefined` when that is gone. @returns a function that ends it */
  watchInstance(isPinned: () => boolean | undefined): () => void {
    return this.#integrity.watch(isPinned)
  }

  /**
   * For undici and `fetch`; made, and undici loaded, when first asked for.
   * @throws {PolicyInvalidError} when undici is not installed
   */
  get dispatcher(): UndiciDispatcher {
    return (this.#dispatcher ??= loadDispatcher().openDispatcher(this.agent))
  }

  /**
   * Swaps the whole policy at once; the next request already meets the new one, and no socket or session of the old one
   * is used again. Requests under way finish. Nothing changes when it throws.
   *
   * @param pins an array means `allowedSHAFingerprints`, an object means `pins`
   * @throws {PolicyInvalidError | PinInvalidError | TypeError} naming the option
   */
  update(pins: NonNullable<PolicyOptions['allowedSHAFingerprints'] | PolicyOptions['pins']>): void {
    if (this.#live) throw new PolicyInvalidError('update', 'the pins come from signed sets (updates); right would be to publish one')
    if (typeof pins !== 'object' || pins === null) throw new TypeError(`update() takes an array of pins or an object of host patterns, not ${describeType(pins)}`)
    const { allowedSHAFingerprints: _, pins: __, ...rest } = this.#options
    const kept = { ...rest, mode: this.#mode.now.mode }
    const next: PolicyOptions = Array.isArray(pins) ? { ...kept, allowedSHAFingerprints: pins as readonly string[] } : { ...kept, pins: pins as NonNullable<PolicyOptions['pins']> }
    const { refusal, lockdowns } = this.#policies
    this.#swap(new PolicySet(next, this.#policies.revision + 1).under({ refusal, lockdowns }, this.#policies.revision + 1))
  }

  /** What would be asked of a host, or of a URL's host and port; `undefined` when it is unpinned. */
  policyFor(target: string | URL): PolicySummary | undefined {
    const { host, port } = hostAndPort(target)
    const { policies } = this
    const policy = policies.find(host, port)
    return policy && policies.summarise(policy)
  }

  status(): PinningStatus {
    const { policies } = this
    const { mode, unpinnedHosts, revision, size } = policies
    const expiries = [...policies.policies()]
      .filter(({ expiresAt }) => Number.isFinite(expiresAt))
      .sort((a, b) => a.expiresAt - b.expiresAt)
      .slice(0, 100)
      .map(({ pattern, expiresAt }) => ({ pattern, expires: new Date(expiresAt).toISOString() }))
    const { clientCertificate } = this.agent
    const { counters, deliveries: reports } = this.reporter
    return {
      mode,
      modeSource: this.#mode.now.source,
      unpinnedHosts,
      proxy: typeof this.proxy === 'object' ? this.proxy.shown : this.proxy,
      revision,
      hosts: size,
      ...(clientCertificate && { clientCertificate }),
      expiries,
      integrity: this.#integrity.status,
      threats: [...this.#threats],
      lockdowns: this.#lockdowns(),
      expiring: this.reporter.expiry.expiring(policies, Date.now()),
      warnings: this.#warnings(),
      counters: { ...counters },
      ...(reports && { reports }),
      ...(this.#live && { updates: this.#live.updater.status() })
    }
  }

  /** Looks for a new pin set now; ends when it has been judged. Never rejects: see `onUpdate` and `status()`. */
  async refresh(): Promise<void> {
    await this.#live?.updater.refresh()
  }

  /** Closes the idle and the busy sockets of all transports, ends the updates, and delivers the reports that wait, within two seconds. */
  async close(): Promise<void> {
    this.agent.destroy()
    this.plainAgent.destroy()
    this.#integrity.close()
    this.http2.close()
    await Promise.all([this.#dispatcher?.closeSockets(), this.#live?.close(), this.reporter.close()])
  }

  #keepUpToDate(updates: UpdateOptions, clock: UpdateClock): LivePins {
    const live = new (loadUpdates().LivePins)(
      updates,
      {
        options: this.#options,
        reporter: this.reporter,
        policies: () => this.policies,
        replace: (base, expired) => this.#replace(base, expired),
        abortRevoked: () => this.agent.abortRevoked()
      },
      clock
    )
    this.reporter.pinSet = () => live.freshness()
    return live
  }

  /** The pins of another set; all else stays. */
  #replace(base: PolicySet, expired: ExpiredSet | undefined): void {
    const { unpinnedHosts, revision, refusal, lockdowns } = this.#policies
    this.#swap(new PolicySet({ mode: this.#mode.now.mode, unpinnedHosts }, revision + 1, base, false, { refusal, lockdowns, revoked: base.revoked, expired, floor: base.floor }))
  }

  /** What is decided about a threat is decided by the options; here it is done. */
  #respond(threat: Threat): void {
    this.#threats.unshift(threat)
    this.#threats.length = Math.min(this.#threats.length, 10)
    const plan = this.#response
    if (plan === undefined || !calls(plan, threat)) return
    const now = Date.now()
    const hosts = threat.hosts.map(hostOf).map((host) => canonicalHost(host) ?? host)
    const lockdowns = new Map([...this.#policies.lockdowns].filter(([, { until }]) => until > now))
    for (const host of hosts) {
      if (plan.lockdownMs !== undefined) lockdowns.set(host, { until: now + plan.lockdownMs, reason: `it looked like ${threat.kind === 'interception' ? 'an interception' : `a case of ${threat.kind}`} at ${threat.time.toISOString()}` })
      if (plan.maxConnectionAgeMs !== undefined) this.#keepShort(host, now)
    }
    // Another revision: connections and sessions from before are not used again.
    this.#policies = this.#policies.under({ lockdowns }, this.#policies.revision + 1)
    if (!plan.refreshPolicy || now - this.#refreshedAt < refreshEveryMs) return
    this.#refreshedAt = now
    // What fails in it is told by the updates themselves.
    this.#live?.updater.look().catch(() => undefined)
  }

  /** Of a bounded number of hosts, those under threat last. */
  #keepShort(host: string, now: number): void {
    for (const [each, until] of this.#shortAges) if (until <= now) this.#shortAges.delete(each)
    // Moved to the end: the oldest entry is the first one.
    this.#shortAges.delete(host)
    this.#shortAges.set(host, now + shortAgeMs)
    if (this.#shortAges.size > shortAgesKept) this.#shortAges.delete(this.#shortAges.keys().next().value as string)
  }

  #shortAgeOf(host: string): number {
    const until = this.#shortAges.size === 0 ? undefined : this.#shortAges.get(canonicalHost(host) ?? host)
    if (until === undefined) return Infinity
    if (Date.now() < until) return this.#response?.maxConnectionAgeMs ?? Infinity
    this.#shortAges.delete(canonicalHost(host) ?? host)
    return Infinity
  }

  #lockdowns(): Array<{ host: string; until: string }> {
    const now = Date.now()
    return [...this.#policies.lockdowns].flatMap(([host, { until }]) => (until > now ? [{ host, until: new Date(until).toISOString() }] : []))
  }

  #swap(next: PolicySet): void {
    this.#policies = next
    this.reporter.policyUpdated(next)
    this.#warn()
  }

  #warn(): void {
    this.reporter.notEnforced = this.#notEnforced().join('; ') || undefined
    for (const warning of this.#warnings()) this.reporter.warnOnce(`axios-ssl-pinning: ${warning}`)
  }

  #warnings(): string[] {
    const adapter = this.dangerAllowAdapter && 'dangerAllowAdapter is set: what an allowed adapter opens itself is not pinned'
    return [...this.#notEnforced(), ...this.#policies.warnings, ...(adapter ? [adapter] : [])]
  }

  /** Why pins do not hold that would otherwise. */
  #notEnforced(): string[] {
    const { expired } = this.#policies
    const set = expired?.then === 'report-only' ? `${expired.name} expired on ${expired.date.toISOString()} (updates.onExpiredSet is 'report-only'): peers that do not match the pins are not refused` : undefined
    return [describeMode(this.#mode.now), set].filter((text) => text !== undefined)
  }
}

/**
 * An `https.Agent` that connects to pinned peers only, for `https.request`, got, node-fetch and SDKs that take an agent.
 * Its `destroy()` closes its sockets.
 *
 * @throws {PolicyInvalidError | PinInvalidError | TypeError} naming the option
 */
export function createPinningAgent(options: PinningOptions): https.Agent {
  const core = new PinningCore(options)
  const { agent } = core
  // There is nothing else to end the updates by.
  if (options.updates) agent.destroy = () => {
    delete (agent as Partial<PinningAgent>).destroy
    void core.close()
  }
  return agent
}

/**
 * An undici dispatcher that connects to pinned peers only, for `fetch(url, { dispatcher })`, `undici.request`, undici's
 * WebSocket and `setGlobalDispatcher`. Every hop of a redirect is judged by the policy of its own host. HTTP/1.1 is
 * offered. Of the option `agent`, what undici has no word for (`maxFreeSockets`, `scheduling`, `timeout`, …) does not apply.
 * Needs the package undici, version 7 or 8.
 *
 * @throws {PolicyInvalidError | PinInvalidError | TypeError} naming the option, `proxy` among them; also when undici is not installed
 */
export function createPinningDispatcher(options: PinningOptions): UndiciDispatcher {
  const core = new PinningCore(options)
  const dispatcher = dispatcherOf(core)
  // There is nothing else to end the updates by.
  if (options.updates) for (const name of ['close', 'destroy'] as const) {
    const end = dispatcher[name]
    Object.defineProperty(dispatcher, name, { value: (...args: unknown[]) => (Reflect.apply(end, dispatcher, args) as Promise<void>).finally(() => core.close()) })
  }
  return dispatcher
}

/** The dispatcher of a pinning, for whoever has no config in which to say `proxy: false`. */
export function dispatcherOf(core: PinningCore): UndiciDispatcher {
  if (typeof core.proxy === 'object') throw new PolicyInvalidError('proxy', 'undici and fetch are not taken through a proxy; right would be to leave it out')
  return core.dispatcher
}

/** As many as the hosts that the threat monitor remembers. */
const shortAgesKept = 1_000

const optionNames = [
  'allowedSHAFingerprints',
  'pins',
  'pinsFile',
  'mode',
  'dangerAllowModeFromEnvironment',
  'unpinnedHosts',
  'requireBackupPin',
  'integrity',
  'integrityAllow',
  'onValidCertificate',
  'onBadCertificate',
  'onExpiring',
  'expiryWarningDays',
  'logger',
  'onThreat',
  'threatMonitor',
  'threatResponse',
  'reportTo',
  'reportIntervalMs',
  'openTelemetry',
  'tls',
  'agent',
  'maxConnectionAgeMs',
  'updates',
  'dangerAllowAdapter',
  'proxy',
  'proxyPins',
  'proxyTls'
]

/** With what is in a pins file. @throws {PolicyInvalidError | TypeError} naming the option */
function readPinningOptions(given: PinningOptions): PinningOptions {
  const options = readOptions(given, optionNames, 'options')
  const { pinsFile } = options
  return pinsFile === undefined ? options : loadPinsFile().withPinsFile({ ...options, pinsFile })
}

function hostAndPort(target: string | URL): { host: string; port: number } {
  const text = String(target)
  const url = URL.parse?.(text) ?? (URL.canParse(text) ? new URL(text) : undefined)
  if (url?.hostname) return { host: url.hostname, port: Number(url.port || (url.protocol === 'http:' ? 80 : 443)) }
  const [, name, port] = /^(.*?|\[.*\])(?::(\d+))?$/s.exec(text) as unknown as [string, string, string | undefined]
  return { host: name, port: Number(port ?? 443) }
}
