import type { Diagnosis } from '../errors.js'
import { PolicyInvalidError, isPinningError } from '../errors.js'
import { describeError, describeType } from '../pin/pin.js'
import { readBoolean, readFunction } from '../policy/options.js'
import type { PolicySet } from '../policy/policy-set.js'
import { diagnose } from './diagnosis.js'
import type { PinSetFreshness } from './diagnosis.js'
import { ConnectionEvent, EventStream } from './events.js'
import { ExpiryTracker } from './expiry.js'
import type { ExpiryOptions } from './expiry.js'
import { PeerHistory } from './history.js'
import { loadReportQueue, loadTelemetry } from '../late.cjs'
import { readLogger, writeLog } from './logger.js'
import type { PinningLogger } from './logger.js'
import type { Deliver, DeliveryCounters, ReportQueue } from './report-queue.js'
import { readReportTo } from './report-to.js'
import type { Endpoint, ReportReceiver, ReportTo } from './report-to.js'
import { attachDiagnosis } from './report.js'
import type { PinReport, Verdict } from './report.js'
import { ServerClock } from './server-clock.js'
import type { OpenTelemetryOptions } from './telemetry.js'
import type { UpdateReport } from './update-report.js'
import { ThreatMonitor } from './threat-monitor.js'
import type { ThreatOptions } from './threat-response.js'

/** Whom to tell. */
export interface ReportOptions extends ThreatOptions, ExpiryOptions {
  /** Called once per accepted connection to a pinned host. What it throws or rejects with becomes a process warning. */
  onValidCertificate?(report: PinReport): void
  /** Called once per refused (or, report-only, tolerated) connection, PKI's own refusals included. As above. */
  onBadCertificate?(report: PinReport): void
  /** A pino-compatible logger, or `true` for one of our own: refusals at `warn`, acceptances at `debug`. Default: none. */
  logger?: PinningLogger | boolean
  /**
   * Where refusals and report-only mismatches are reported as JSON (RFC 7469 §3): a URL, an endpoint with more to say, or a
   * function that takes a batch. After the decision and never waited for; tried again when it fails.
   */
  reportTo?: ReportTo
  /** The same host, chain, pins and result is reported once in this time, in milliseconds. Default: 24 hours. */
  reportIntervalMs?: number
  /** Metrics and span events through `@opentelemetry/api`, which has to be installed. Default `false`. */
  openTelemetry?: boolean | OpenTelemetryOptions
}

/** How often what was decided. */
export interface Counters {
  accepted: number
  tolerated: number
  refused: number
  /** How many of the accepted and tolerated connections resumed a TLS session. */
  resumed: number
  /** Requests and connections refused before anything was opened: unpinned hosts and ways around the agent. */
  blocked: number
}

/** Tells of decisions and never makes one: it runs after them, and whatever happens here changes no request. */
export class Reporter {
  readonly counters: Counters = { accepted: 0, tolerated: 0, refused: 0, resumed: 0, blocked: 0 }
  /** Where the listeners inside the package subscribe. */
  readonly events = new EventStream()
  /** Said in every log line: that the overall mode does not enforce. */
  notEnforced: string | undefined
  /** What ends soon. */
  readonly expiry: ExpiryTracker
  /** What accepted connections have shown; for comparison only. */
  readonly history = new PeerHistory()
  /** The time by the answers of accepted peers; for comparison only. */
  readonly clock = new ServerClock()
  /** Looks at all connections together; `undefined` when that is switched off. */
  readonly threats: ThreatMonitor | undefined
  /** How old the pins are, where their source knows. */
  pinSet: (() => PinSetFreshness | undefined) | undefined
  /** Those in force, where somebody asks for their dates. */
  policies: (() => PolicySet) | undefined
  readonly #queue: ReportQueue | undefined
  readonly #endTelemetry: (() => void) | undefined
  readonly #warned = new Set<string>()

  /**
   * @param createDelivery makes what posts reports; without it `reportTo` takes functions only
   * @throws {PolicyInvalidError | PinInvalidError | TypeError} naming the option
   */
  constructor(options: ReportOptions, createDelivery?: (endpoint: Endpoint) => Deliver) {
    const logger = readLogger(options.logger)
    if (logger) writeLog(logger, this.events, () => this.notEnforced)
    this.#callBack(readFunction(options.onValidCertificate, 'onValidCertificate'), 'onValidCertificate')
    this.#callBack(readFunction(options.onBadCertificate, 'onBadCertificate'), 'onBadCertificate')
    const onThreat = readFunction(options.onThreat, 'onThreat')
    this.threats = readBoolean(options.threatMonitor, true, 'threatMonitor') ? this.#watch(onThreat) : undefined
    const onExpiring = readFunction(options.onExpiring, 'onExpiring')
    if (onExpiring) this.events.on('expiring', (report) => process.nextTick(call, onExpiring, report, 'onExpiring'))
    this.expiry = new ExpiryTracker(options, this.events)
    this.#queue = this.#startQueue(readReportTo(options.reportTo), readInterval(options.reportIntervalMs), createDelivery)
    const { openTelemetry = false } = options
    this.#endTelemetry = openTelemetry === false ? undefined : loadTelemetry().startTelemetry(openTelemetry, this.events, { history: this.history, policies: () => this.policies?.(), pinSet: () => this.#pinSet(), deliveries: () => this.deliveries, threats: this.threats })
  }

  /** How the reports of `reportTo` have fared; `undefined` without it. */
  get deliveries(): DeliveryCounters | undefined {
    return this.#queue?.counters
  }

  /** Delivers the reports that wait, for a bounded time. */
  async close(): Promise<void> {
    await this.#queue?.close()
    this.#endTelemetry?.()
  }

  /** One connection's verdict. Nothing is built unless somebody listens. */
  connection(verdict: Verdict): void {
    const { peer } = verdict
    const decision = peer?.decision ?? 'refused'
    this.counters[decision]++
    if (peer && verdict.resumed) this.counters.resumed++
    const why = decision === 'accepted' ? undefined : this.#diagnosisOf(verdict)
    this.#remember(verdict)
    if (why && verdict.error) attachDiagnosis(verdict.error, why, isPinningError(verdict.error))
    const kind = `connection:${decision}` as const
    if (this.events.hears(kind)) this.events.emit(kind, new ConnectionEvent(verdict, why))
    this.expiry.see(verdict)
  }

  /** A request or connection that was refused before anything was opened. */
  blocked(host: string, port: number, error: Error & { code?: string }): void {
    this.counters.blocked++
    const now = Date.now()
    // Its message says what would be right already.
    attachDiagnosis(error, once(() => diagnose({ host, port, error, policy: undefined, leaf: undefined, record: undefined, anchors: undefined, earlier: undefined, pinSet: undefined, now, serverNow: undefined })), false)
    if (this.events.hears('request:blocked')) this.events.emit('request:blocked', { time: new Date(), host, port, error })
  }

  policyUpdated({ revision, size: hosts }: PolicySet): void {
    if (this.events.hears('policy:updated')) this.events.emit('policy:updated', { time: new Date(), revision, hosts })
  }

  /** Something in the process that could weaken pinning. */
  integrityFound(name: string, detail: string): void {
    if (this.events.hears('integrity:found')) this.events.emit('integrity:found', { time: new Date(), name, detail })
  }

  /** @param callback the user's */
  updated(report: UpdateReport, callback: ((report: UpdateReport) => unknown) | undefined): void {
    if (this.events.hears('update')) this.events.emit('update', report)
    if (callback) process.nextTick(call, callback, report, 'onUpdate')
  }

  /** What is allowed but unwise: said once, as far as the last thousand texts tell. */
  warnOnce(message: string): void {
    if (this.#warned.has(message)) return
    this.#warned.add(message)
    if (this.#warned.size > maxWarned) this.#warned.delete(this.#warned.values().next().value as string)
    process.emitWarning(message, { type: 'PinningWarning' })
    if (this.events.hears('warning')) this.events.emit('warning', { time: new Date(), message })
  }

  /** What is compared is what was known at this moment; it is compared when somebody asks. */
  #diagnosisOf({ host, port, serverName, policy, peer, error, leaf, record, anchors, time }: Verdict): () => Diagnosis {
    const facts = { host: serverName ?? host, port, error: error ?? peer?.error ?? new Error('refused'), policy, leaf, record, anchors: anchors ?? record?.anchors, earlier: this.history.find(host, port), pinSet: this.#pinSet(), now: time.getTime(), serverNow: this.clock.now(time.getTime()) }
    return once(() => diagnose(facts))
  }

  #pinSet(): PinSetFreshness | undefined {
    try {
      return this.pinSet?.()
    } catch {
      return undefined
    }
  }

  #remember({ host, port, peer, leaf, time }: Verdict): void {
    if (peer?.result === 'pinned') this.history.accept(host, port, peer.record, time.getTime())
    else if (leaf && peer?.decision !== 'accepted') this.history.refuse(host, port, leaf.fingerprint256, time.getTime())
  }

  #startQueue(reportTo: Endpoint | ReportReceiver | undefined, intervalMs: number, createDelivery: ((endpoint: Endpoint) => Deliver) | undefined): ReportQueue | undefined {
    if (reportTo === undefined) return undefined
    if (typeof reportTo !== 'function' && createDelivery === undefined) throw new PolicyInvalidError('reportTo', 'must be a function here')
    const pinSetVersion = (): number | undefined => this.#pinSet()?.version
    const { ReportQueue } = loadReportQueue()
    const queue =
      typeof reportTo === 'function'
        ? new ReportQueue({ intervalMs, pinSetVersion, deliver: boundedCall(reportTo) })
        : new ReportQueue({ intervalMs, pinSetVersion, deliver: (createDelivery as (endpoint: Endpoint) => Deliver)(reportTo), app: reportTo.app, batchSize: reportTo.batch ? 50 : 1 })
    for (const decision of ['tolerated', 'refused'] as const) this.events.on(`connection:${decision}`, (event) => queue.add(event))
    return queue
  }

  /** What is told of the connections to one host at a time is told to the monitor too. */
  #watch(onThreat: ReportOptions['onThreat']): ThreatMonitor {
    const monitor = new ThreatMonitor((threat) => {
      if (this.events.hears('threat')) this.events.emit('threat', threat)
      if (onThreat) process.nextTick(call, onThreat, threat, 'onThreat')
    })
    const tell = ({ verdict }: ConnectionEvent): void => monitor.connection(verdict)
    for (const decision of ['accepted', 'tolerated', 'refused'] as const) this.events.on(`connection:${decision}`, tell)
    return monitor
  }

  #callBack(callback: ((report: PinReport) => unknown) | undefined, name: 'onValidCertificate' | 'onBadCertificate'): void {
    if (callback === undefined) return
    const tell = (event: ConnectionEvent): void => {
      if (event.decision === 'accepted' && (event.result === 'unpinned' || event.result === 'unchecked')) return
      const { report } = event
      // After the decision has been carried out, and before the request it belongs to settles.
      process.nextTick(call, callback, report, name)
    }
    for (const decision of name === 'onValidCertificate' ? (['accepted'] as const) : (['tolerated', 'refused'] as const)) this.events.on(`connection:${decision}`, tell)
  }
}

const maxWarned = 1_000

function call<Report>(callback: (report: Report) => unknown, report: Report, name: string): void {
  const complain = (error: unknown): void => process.emitWarning(`axios-ssl-pinning: ${name} failed, which changes nothing for the request: ${describeError(error)}`, { type: 'PinningWarning' })
  try {
    const answer: unknown = callback(report)
    if (isThenable(answer)) answer.then(undefined, complain)
  } catch (error) {
    complain(error)
  }
}

/** A receiver that never answers has failed. */
function boundedCall(receive: ReportReceiver): Deliver {
  return async (violations) => {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => (timer = setTimeout(() => reject(new Error('reportTo has not ended')), receiverTimeoutMs).unref()))
    try {
      await Promise.race([receive(violations), late])
    } finally {
      clearTimeout(timer)
    }
  }
}

const receiverTimeoutMs = 30_000

function readInterval(value: unknown): number {
  if (value === undefined) return 24 * 60 * 60_000
  if (typeof value !== 'number' || !(value >= 0)) throw new PolicyInvalidError('reportIntervalMs', `must be a number of milliseconds from 0, not ${typeof value === 'number' ? value : describeType(value)}; right would be 86_400_000`)
  return value
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined
  return () => (made ??= { value: make() }).value
}
