import type { Agent } from 'node:https'
import { PolicyInvalidError, findPinningError } from '../errors.js'
import { PolicySet } from '../policy/policy-set.js'
import type { ExpiredSet, PolicyFloor, PolicyOptions } from '../policy/policy-set.js'
import type { PinSetFreshness } from '../report/diagnosis.js'
import type { Reporter } from '../report/reporter.js'
import type { UpdateReport } from '../report/update-report.js'
import { PinningAgent } from '../transport/agent.js'
import { readProxy } from '../transport/proxy.js'
import { createProxyConnector } from '../transport/proxy-connector.js'
import type { ProxyOptions } from '../transport/proxy-connector.js'
import type { TlsOptions } from '../transport/tls-options.js'
import { systemClock } from './clock.js'
import type { UpdateClock } from './clock.js'
import { immediate } from './json.js'
import type { PinSet } from './manifest.js'
import { readUpdateOptions } from './options.js'
import type { UpdateOptions, UpdateSettings } from './options.js'
import { policiesOf, portOf } from './set-policies.js'
import type { PinSetAnswer, PinSetRequest } from './source.js'
import { Updater } from './updater.js'
import type { UpdateTarget } from './updater.js'

/** The program whose pins are kept up to date. */
export interface Program {
  readonly options: Pick<PolicyOptions, 'pins' | 'requireBackupPin'> & Pick<ProxyOptions, 'proxyPins' | 'proxyTls'> & { readonly tls?: TlsOptions }
  readonly reporter: Reporter
  /** The policies in force. */
  readonly policies: () => PolicySet
  /** Puts the policies of another set in force, in the mode of the program. */
  readonly replace: (base: PolicySet, expired?: ExpiredSet) => void
  /** Ends the connections in use whose peer the policies in force do not accept; says how many. */
  readonly abortRevoked: () => number
}

/** Signed pin sets at work in one program: which policies they make, and over which connections they are fetched. */
export class LivePins implements UpdateTarget {
  readonly updater: Updater
  readonly #program: Program
  readonly #settings: UpdateSettings
  /** The pins in the options, less what sets have revoked. */
  #bootstrap: PolicySet
  /** Those of the set in force. */
  #current: PolicySet | undefined
  readonly #now: () => number
  #sourcePolicies: { bootstrap?: PolicySet; current?: PolicySet } = {}
  #sourceRevision = 0
  readonly #agents: { bootstrap?: PinningAgent; current?: PinningAgent } = {}

  /** @throws {PolicyInvalidError | TypeError} naming the option */
  constructor(given: UpdateOptions, program: Program, clock: UpdateClock = systemClock) {
    this.#program = program
    this.#now = clock.now
    this.#settings = readUpdateOptions(given)
    this.#bootstrap = new PolicySet({ mode: 'enforce', unpinnedHosts: 'refuse' }, 1, program.policies())
    const { url } = this.#settings.source
    if (url) demandPinned(this.#bootstrap, url)
    this.updater = new Updater(this.#settings, this, clock)
  }

  async fetch(request: Omit<PinSetRequest, 'agent'>): Promise<PinSetAnswer> {
    const { source } = this.#settings
    const ask = (agent: () => Agent): Promise<PinSetAnswer> => source.fetch(Object.defineProperty({ ...request }, 'agent', { get: agent, enumerable: true }) as PinSetRequest)
    try {
      return await ask(() => this.#agent('bootstrap'))
    } catch (error) {
      const { url } = source
      // The source may have another certificate by now than when the program was written; the set in force knows.
      if (!url || this.#current?.find(url.hostname, portOf(url)) === undefined || findPinningError(error) === undefined) throw error
      return await ask(() => this.#agent('current'))
    }
  }

  async prepare(set: PinSet): Promise<() => number> {
    const next = await policiesOf(set, { options: this.#program.options, floor: this.#bootstrap, url: this.#settings.source.url, keptVersion: this.updater.inForce, pause: immediate })
    return () => {
      this.#current = next
      this.#sourcePolicies = {}
      this.#bootstrap = this.#bootstrap.under({ revoked: next.revoked }, this.#bootstrap.revision + 1)
      this.#program.replace(next)
      return this.#settings.onRevoked === 'abort' ? this.#program.abortRevoked() : 0
    }
  }

  expire(set: PinSet): void {
    const { onExpiredSet } = this.#settings
    if (onExpiredSet === 'bootstrap') this.#program.replace(this.#bootstrap)
    else if (this.#current) this.#program.replace(this.#current, { name: `version ${set.version} of the pin set`, date: set.expires, then: onExpiredSet })
    this.#current = undefined
    this.#sourcePolicies = {}
  }

  revision(): number {
    return this.#program.policies().revision
  }

  tell(report: UpdateReport): void {
    this.#program.reporter.updated(report, this.#settings.onUpdate)
  }

  /** For the diagnosis of a refusal. */
  freshness(): PinSetFreshness {
    const { state, ageMs, failures, lastError, version } = this.updater.status()
    const stale = state === 'expired' || failures > 0
    return { updatedAt: this.#now() - ageMs, stale, version, ...(lastError && { failure: lastError.message }) }
  }

  async close(): Promise<void> {
    await this.updater.close()
    this.#agents.bootstrap?.destroy()
    this.#agents.current?.destroy()
  }

  #agent(kind: 'bootstrap' | 'current'): PinningAgent {
    const { options, reporter } = this.#program
    const { tls = withoutIdentity(options.tls), proxy } = this.#settings.source
    const through = proxy !== undefined && { proxy: readProxy(proxy, 'updates.source.proxy'), proxyConnector: createProxyConnector({ ...(options.proxyPins && { proxyPins: options.proxyPins }), ...(options.proxyTls && { proxyTls: options.proxyTls }) }, reporter) }
    return (this.#agents[kind] ??= new PinningAgent({ policies: () => this.#forSource(kind), reporter, tls, agent: { keepAlive: false }, ...through }))
  }

  /** For the connection to the source, on which an access token may go: enforced, whatever the options say of the mode or of expired pins. */
  #forSource(kind: 'bootstrap' | 'current'): PolicySet {
    const policies = (kind === 'current' && this.#current) || this.#bootstrap
    return (this.#sourcePolicies[kind] ??= new PolicySet({ mode: 'enforce', unpinnedHosts: 'refuse' }, ++this.#sourceRevision, policies, false, { revoked: policies.revoked, floor: enforcing(this.#bootstrap) }))
  }
}

/** Whatever does not match, or has expired, is refused. */
function enforcing(bootstrap: PolicySet): PolicyFloor {
  return {
    find: (host, port, serverName) => ({ mode: 'enforce', onExpiry: 'refuse', trust: bootstrap.find(host, port, serverName)?.trust ?? 'pin-only' }),
    policies: () => [{ mode: 'enforce' }]
  }
}

/** The pins in the options must reach the source. */
function demandPinned(bootstrap: PolicySet, url: URL): void {
  const where = 'updates.source'
  const policy = bootstrap.find(url.hostname, portOf(url))
  if (policy === undefined) throw new PolicyInvalidError(where, `there are no pins for ${url.host}; right would be pins: { ${JSON.stringify(url.hostname)}: ["sha256/…", backup] } among those in the options`)
  if (bootstrap.modeOf(policy) !== 'enforce') throw new PolicyInvalidError(where, `the pins for ${url.host} are not enforced (mode '${policy.mode}'); right would be 'enforce' for the host that pins come from`)
  if (Number.isFinite(policy.expiresAt) && policy.onExpiry !== 'refuse') throw new PolicyInvalidError(where, `the pins for ${url.host} are not enforced once they have expired (onExpiry '${policy.onExpiry}'); right would be 'refuse' for the host that pins come from`)
}

/** A client certificate is for the program's own peers. */
function withoutIdentity(tls: TlsOptions | undefined): TlsOptions | undefined {
  if (tls === undefined) return undefined
  const { cert: _cert, key: _key, pfx: _pfx, passphrase: _passphrase, servername: _name, privateKeyEngine: _engine, privateKeyIdentifier: _id, clientCertEngine: _client, ...rest } = tls
  return rest
}
