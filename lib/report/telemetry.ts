import type * as Api from '@opentelemetry/api'
import { PolicyInvalidError } from '../errors.js'
import { describeType } from '../pin/pin.js'
import { readOptions } from '../policy/options.js'
import type { PolicySet } from '../policy/policy-set.js'
import type { PinSetFreshness } from './diagnosis.js'
import type { BlockedEvent, ConnectionEvent, EventStream } from './events.js'
import type { PeerHistory } from './history.js'
import type { DeliveryCounters } from './report-queue.js'
import { hostOf } from './threat.js'
import type { Threat } from './threat.js'
import type { ThreatMonitor } from './threat-monitor.js'

export interface OpenTelemetryOptions {
  /** How many hosts are told apart in metrics; all others are `other`. Default 100. */
  maxHosts?: number
  /** Put on every metric and span event, for example to tell one pinning from another. */
  attributes?: Readonly<Record<string, string>>
  /** Default: the global one, also where that is registered later. */
  meterProvider?: object
}

/** What is observed when metrics are collected. */
export interface Observed {
  readonly history: PeerHistory
  readonly policies: () => PolicySet | undefined
  readonly pinSet: () => PinSetFreshness | undefined
  readonly deliveries: () => DeliveryCounters | undefined
  readonly threats: ThreatMonitor | undefined
}

/** @throws {PolicyInvalidError} naming the option */
function readOpenTelemetry(value: unknown): OpenTelemetryOptions {
  if (value === true) return {}
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new PolicyInvalidError('openTelemetry', `must be true or an object, not ${describeType(value)}`)
  const options = readOptions<OpenTelemetryOptions>(value, ['maxHosts', 'attributes', 'meterProvider'], 'openTelemetry')
  const { maxHosts, attributes, meterProvider } = options as Record<string, unknown>
  if (maxHosts !== undefined && !(Number.isInteger(maxHosts) && (maxHosts as number) >= 0)) throw new PolicyInvalidError('openTelemetry.maxHosts', 'must be a whole number from 0')
  if (attributes !== undefined && !(typeof attributes === 'object' && attributes !== null && Object.values(attributes).every((each) => typeof each === 'string'))) throw new PolicyInvalidError('openTelemetry.attributes', 'must be an object of strings')
  if (meterProvider !== undefined && !isMeterProvider(meterProvider)) throw new PolicyInvalidError('openTelemetry.meterProvider', 'has no getMeter()')
  return options
}

function isMeterProvider(value: unknown): boolean {
  return typeof value === 'object' && value !== null && typeof (value as { getMeter?: unknown }).getMeter === 'function'
}

/**
 * Metrics, and events on the span that is active where a connection was asked for. `@opentelemetry/api` is loaded now; what
 * happens before it is there is counted afterwards, but is on no span.
 *
 * @param given the option `openTelemetry`
 * @returns a function that ends it
 * @throws {PolicyInvalidError} naming the option
 */
export function startTelemetry(given: unknown, events: EventStream, observed: Observed): () => void {
  const options = readOpenTelemetry(given)
  let telemetry: Telemetry | undefined
  let ended = false
  const unavailable = (error: unknown): undefined => void process.emitWarning(`axios-ssl-pinning: @opentelemetry/api could not be loaded, so there are no metrics (npm install @opentelemetry/api, or leave openTelemetry out): ${String(error).split('\n')[0]}`, { type: 'PinningWarning' })
  // With `catch` right behind it a bundler may go on without the package.
  const loading = import('@opentelemetry/api')
    .catch(unavailable)
    .then((api) => (telemetry = ended || !api ? undefined : new Telemetry(api, options, observed)))
    .catch(unavailable)
  const when = (record: (telemetry: Telemetry) => void): void => {
    if (telemetry) record(telemetry)
    else void loading.then((loaded) => loaded && record(loaded)).catch(() => undefined)
  }
  const connection = (event: ConnectionEvent): void => when((each) => each.connection(event))
  const ends = [
    events.on('connection:accepted', connection),
    events.on('connection:tolerated', connection),
    events.on('connection:refused', connection),
    events.on('request:blocked', (event) => when((each) => each.blocked(event))),
    events.on('threat', (event) => when((each) => each.threat(event))),
    events.on('policy:updated', () => when((each) => each.policyUpdated()))
  ]
  return () => {
    ended = true
    for (const end of ends) end()
    telemetry?.end()
  }
}

class Telemetry {
  readonly #api: typeof Api
  readonly #options: OpenTelemetryOptions
  readonly #observed: Observed
  readonly #hosts: HostLabels
  #provider: unknown
  #instruments: Instruments | undefined

  constructor(api: typeof Api, options: OpenTelemetryOptions, observed: Observed) {
    this.#api = api
    this.#options = options
    this.#observed = observed
    this.#hosts = new HostLabels(options.maxHosts ?? 100)
    this.#current()
  }

  connection({ verdict, decision, result, diagnose }: ConnectionEvent): void {
    const { connections, duration, diagnoses } = this.#current()
    const host = this.#hosts.of(verdict.host)
    const { attributes } = this.#options
    connections.add(1, { ...attributes, 'server.address': host, decision, result, resumed: verdict.resumed })
    if (verdict.verificationMs !== undefined) duration.record(verdict.verificationMs / 1_000, { ...attributes, decision, resumed: verdict.resumed })
    const diagnosis = diagnose?.()
    if (diagnosis) diagnoses.add(1, { ...attributes, 'server.address': host, decision, verdict: diagnosis.verdict, confidence: diagnosis.confidence })
    this.#onSpan(`axios-ssl-pinning.connection.${decision}`, () => {
      const { code } = (verdict.error ?? verdict.peer?.error ?? {}) as { code?: unknown }
      return {
        'server.address': verdict.host,
        'server.port': verdict.port,
        result,
        resumed: verdict.resumed,
        'policy.revision': verdict.policies.revision,
        ...(verdict.policy && { 'policy.pattern': verdict.policy.pattern }),
        ...(verdict.verificationMs !== undefined && { 'verification.ms': verdict.verificationMs }),
        ...(typeof code === 'string' && { 'error.type': code }),
        ...(diagnosis && { 'diagnosis.verdict': diagnosis.verdict, 'diagnosis.confidence': diagnosis.confidence })
      }
    })
  }

  blocked({ host, port, error }: BlockedEvent): void {
    const type = error.code ?? 'unknown'
    this.#current().blocked.add(1, { ...this.#options.attributes, 'error.type': type })
    this.#onSpan('axios-ssl-pinning.request.blocked', () => ({ 'server.address': host, 'server.port': port, 'error.type': type }))
  }

  threat({ kind, severity, hosts }: Threat): void {
    this.#current().threats.add(1, { ...this.#options.attributes, kind, severity })
    this.#onSpan('axios-ssl-pinning.threat', () => ({ kind, severity, hosts: hosts.slice(0, 10) }))
  }

  policyUpdated(): void {
    this.#current()
  }

  end(): void {
    this.#instruments?.end()
    this.#instruments = undefined
  }

  /** The instruments of the provider that is registered now: unlike tracers, meters made before it would stay silent. */
  #current(): Instruments {
    const provider = (this.#options.meterProvider as Api.MeterProvider | undefined) ?? this.#api.metrics.getMeterProvider()
    if (this.#instruments && provider === this.#provider) return this.#instruments
    this.#instruments?.end()
    this.#provider = provider
    return (this.#instruments = createInstruments(provider.getMeter('axios-ssl-pinning'), (results) => this.#observe(results)))
  }

  #observe({ certificate, pins, revision, version, age, reports, excess, score, observe }: Observation): void {
    const { attributes } = this.#options
    const now = Date.now()
    // Several ports, and all hosts beyond the bound, share a name; what matters is what ends first.
    const soonest = new Map<string, number>()
    for (const { host, record } of this.#observed.history.latest()) soonest.set(this.#hosts.of(host), Math.min(soonest.get(this.#hosts.of(host)) ?? Infinity, record.validTo))
    for (const [host, validTo] of soonest) observe(certificate, (validTo - now) / dayMs, { ...attributes, 'server.address': host })

    const policies = this.#observed.policies()
    if (policies) {
      observe(revision, policies.revision, { ...attributes })
      for (const { pattern, expiresAt } of soonestPolicies(policies)) observe(pins, (expiresAt - now) / dayMs, { ...attributes, 'policy.pattern': pattern })
    }
    this.#observeTrends({ excess, score, observe })
    const pinSet = this.#observed.pinSet()
    if (pinSet) observe(age, (now - pinSet.updatedAt) / 1_000, { ...attributes })
    if (pinSet?.version !== undefined) observe(version, pinSet.version, { ...attributes })
    for (const [state, count] of Object.entries(this.#observed.deliveries() ?? {})) observe(reports, count as number, { ...attributes, state })
  }

  /** The worst of those that share a name. */
  #observeTrends({ excess, score, observe }: Pick<Observation, 'excess' | 'score' | 'observe'>): void {
    const worst = new Map<string, { excess: number; score: number }>()
    for (const trend of this.#observed.threats?.trends() ?? []) {
      const name = this.#hosts.of(hostOf(trend.host))
      const known = worst.get(name)
      worst.set(name, { excess: Math.max(trend.excess, known?.excess ?? 0), score: Math.max(trend.score, known?.score ?? -Infinity) })
    }
    for (const [host, trend] of worst) {
      observe(excess, trend.excess, { ...this.#options.attributes, 'server.address': host })
      observe(score, trend.score, { ...this.#options.attributes, 'server.address': host })
    }
  }

  #onSpan(name: string, attributes: () => Api.Attributes): void {
    const span = this.#api.trace.getActiveSpan()
    if (span?.isRecording()) span.addEvent(name, { ...this.#options.attributes, ...attributes() })
  }
}

const dayMs = 24 * 60 * 60_000
const maxPatterns = 100

function soonestPolicies(policies: PolicySet): Array<{ pattern: string; expiresAt: number }> {
  return [...policies.policies()]
    .filter(({ expiresAt }) => Number.isFinite(expiresAt))
    .sort((a, b) => a.expiresAt - b.expiresAt)
    .slice(0, maxPatterns)
}

interface Observation {
  readonly certificate: Api.Observable
  readonly pins: Api.Observable
  readonly revision: Api.Observable
  readonly version: Api.Observable
  readonly age: Api.Observable
  readonly reports: Api.Observable
  readonly excess: Api.Observable
  readonly score: Api.Observable
  observe(instrument: Api.Observable, value: number, attributes: Api.Attributes): void
}

type Instruments = ReturnType<typeof createInstruments>

function createInstruments(meter: Api.Meter, observe: (observation: Observation) => void) {
  const certificate = meter.createObservableGauge('axios_ssl_pinning.certificate.days_to_expiry', { unit: 'd', description: 'Until the certificate accepted last expires, by host' })
  const pins = meter.createObservableGauge('axios_ssl_pinning.pins.days_to_expiry', { unit: 'd', description: 'Until the pins of a policy expire, by host pattern' })
  const revision = meter.createObservableGauge('axios_ssl_pinning.policy.revision', { description: 'Rises with every update of the pins' })
  const version = meter.createObservableGauge('axios_ssl_pinning.pin_set.version', { description: 'Of the signed pin set in force' })
  const age = meter.createObservableGauge('axios_ssl_pinning.pin_set.age', { unit: 's', description: 'Since the source last said that the pin set is the newest' })
  const reports = meter.createObservableGauge('axios_ssl_pinning.reports', { unit: '{report}', description: 'Reports to the collector by state: sent, pending, repeated, lost' })
  const excess = meter.createObservableGauge('axios_ssl_pinning.threat.excess', { description: 'How far failures exceed the history of a host (CUSUM); an episode begins at 9' })
  const score = meter.createObservableGauge('axios_ssl_pinning.threat.score', { description: 'Of the present episode of a host: natural logarithm of how much likelier an attack is than a change by the owner' })
  const callback = (result: Api.BatchObservableResult): void => observe({ certificate, pins, revision, version, age, reports, excess, score, observe: (instrument, value, attributes) => result.observe(instrument, value, attributes) })
  const observables = [certificate, pins, revision, version, age, reports, excess, score]
  meter.addBatchObservableCallback(callback, observables)
  return {
    connections: meter.createCounter('axios_ssl_pinning.connections', { unit: '{connection}', description: 'Verdicts on connections, by host, decision and result' }),
    diagnoses: meter.createCounter('axios_ssl_pinning.diagnoses', { unit: '{diagnosis}', description: 'Why connections were refused or tolerated, by host and verdict' }),
    blocked: meter.createCounter('axios_ssl_pinning.requests.blocked', { unit: '{request}', description: 'Requests refused before anything was opened, by code' }),
    threats: meter.createCounter('axios_ssl_pinning.threats', { unit: '{threat}', description: 'Threats, by kind and severity' }),
    duration: meter.createHistogram('axios_ssl_pinning.verification.duration', { unit: 's', description: 'Time taken to verify a peer, without the handshake', advice: { explicitBucketBoundaries: [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1] } }),
    end: () => meter.removeBatchObservableCallback(callback, observables)
  }
}

/** The first hosts keep their name; all later ones share one, so that strangers' URLs make no metrics without end. */
class HostLabels {
  readonly #known = new Set<string>()

  constructor(readonly limit: number) {}

  of(host: string): string {
    if (this.#known.has(host)) return host
    if (this.#known.size >= this.limit) return 'other'
    this.#known.add(host)
    return host
  }
}
