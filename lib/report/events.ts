import { channel } from 'node:diagnostics_channel'
import type { Channel } from 'node:diagnostics_channel'
import type { Diagnosis } from '../errors.js'
import { describeError } from '../pin/pin.js'
import { resultOf } from '../verify/verify.js'
import type { PinResult } from '../verify/verify.js'
import type { ExpiryReport } from './expiry.js'
import { PinReport } from './report.js'
import type { Verdict } from './report.js'
import type { UpdateReport } from './update-report.js'
import type { Threat } from './threat.js'

/**
 * All that is told, by kind; `axios-ssl-pinning:<kind>` is the name of its `diagnostics_channel`. Whoever adds a kind adds
 * it here and to {@link kinds}.
 */
export interface PinningEvents {
  /** A verdict on one connection. On its channel the message is the {@link PinReport}. */
  'connection:accepted': ConnectionEvent
  'connection:tolerated': ConnectionEvent
  'connection:refused': ConnectionEvent
  /** A request or connection was refused before anything was opened. */
  'request:blocked': BlockedEvent
  /** Other policies are in force. */
  'policy:updated': PolicyEvent
  /** What became of a look at the source of signed pin sets; nothing is told of one that found nothing new. */
  update: UpdateReport
  /** Something is allowed but unwise. Each text is told once. */
  warning: WarningEvent
  /** Something in the process could weaken pinning. Each name is told once. */
  'integrity:found': IntegrityEvent
  /** Something that pinned connections rest on ends soon. */
  expiring: ExpiryReport
  /** Something looks like an attack. */
  threat: Threat
}

export type EventKind = keyof PinningEvents

export interface BlockedEvent {
  readonly time: Date
  readonly host: string
  readonly port: number
  readonly error: Error & { code?: string }
}

export interface PolicyEvent {
  readonly time: Date
  /** Rises with every update. */
  readonly revision: number
  /** How many host patterns there are. */
  readonly hosts: number
}

export interface WarningEvent {
  readonly time: Date
  readonly message: string
}

export interface IntegrityEvent {
  readonly time: Date
  /** What `integrityAllow` takes. */
  readonly name: string
  readonly detail: string
}

/** A verdict, and the report of it, which is made when first asked for: most listeners need a few fields only. */
export class ConnectionEvent {
  readonly decision: 'accepted' | 'tolerated' | 'refused'
  readonly result: PinResult
  #report: PinReport | undefined

  /** @param diagnose of what was not accepted; asked when the report's diagnosis is first read */
  constructor(readonly verdict: Verdict, readonly diagnose?: () => Diagnosis) {
    this.decision = verdict.peer?.decision ?? 'refused'
    this.result = verdict.peer?.result ?? resultOf(verdict.error)
  }

  get report(): PinReport {
    return (this.#report ??= new PinReport(this.verdict, this.diagnose))
  }
}

type Listener<K extends EventKind> = (event: PinningEvents[K]) => void

/** Hands events to those who listen, at once and in order. What a listener throws becomes a process warning. */
export class EventStream {
  readonly #listeners = new Map<EventKind, ReadonlyArray<Listener<never>>>()

  /** @returns a function that ends it */
  on<K extends EventKind>(kind: K, listener: Listener<K>): () => void {
    // Never the same list again: one that is being walked stays as it is.
    this.#listeners.set(kind, [...(this.#listeners.get(kind) ?? []), listener])
    return () => {
      const rest = (this.#listeners.get(kind) ?? []).filter((each) => each !== listener)
      if (rest.length > 0) this.#listeners.set(kind, rest)
      else this.#listeners.delete(kind)
    }
  }

  /** Asked before an event is built. */
  hears(kind: EventKind): boolean {
    return this.#listeners.has(kind) || channels[kind].hasSubscribers
  }

  emit<K extends EventKind>(kind: K, event: PinningEvents[K]): void {
    for (const listener of (this.#listeners.get(kind) ?? []) as ReadonlyArray<Listener<K>>) {
      try {
        listener(event)
      } catch (error) {
        process.emitWarning(`axios-ssl-pinning: a listener to ${kind} failed, which changes nothing for the request: ${describeError(error)}`, { type: 'PinningWarning' })
      }
    }
    // Node itself turns what a subscriber throws into an uncaught exception on a later tick.
    if (channels[kind].hasSubscribers) channels[kind].publish(event instanceof ConnectionEvent ? event.report : event)
  }
}

const kinds = ['connection:accepted', 'connection:tolerated', 'connection:refused', 'request:blocked', 'policy:updated', 'update', 'warning', 'integrity:found', 'expiring', 'threat'] as const satisfies readonly EventKind[]

// Shared by every copy of the package, by name; kept, since Node holds channels weakly.
const channels = Object.fromEntries(kinds.map((kind) => [kind, channel(`axios-ssl-pinning:${kind}`)])) as Record<EventKind, Channel>
