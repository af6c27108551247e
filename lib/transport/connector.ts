import type { LookupFunction } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import type { PolicySet } from '../policy/policy-set.js'
import type { Reporter } from '../report/reporter.js'
import type { PinnedPeer } from '../verify/verify.js'
import type { Sessions } from './sessions.js'
import type { Trusts } from './trust.js'

/** Where to connect, in Node's words; the fields of a request's options that concern the connection. */
export interface Target {
  readonly host: string
  readonly port: number
  /** The pool this connection will belong to; also the key of its session. */
  readonly pool: string
  readonly servername: string | undefined
  /** Whether `servername` is what a `Host` header says, and nobody has asked for it otherwise. */
  readonly namedByHeader?: boolean
  /** The protocols to offer (ALPN), best first. Default none. */
  readonly alpn?: string[] | undefined
  readonly socketPath: string | undefined
  readonly timeout: number | undefined
  readonly highWaterMark?: number | undefined
  readonly signal?: AbortSignal | undefined
  readonly keepAlive: boolean | undefined
  readonly keepAliveInitialDelay: number | undefined
  readonly noDelay: boolean | undefined
  readonly lookup: LookupFunction | undefined
  readonly family: number | undefined
  readonly hints: number | undefined
  readonly localAddress: string | undefined
  readonly localPort: number | undefined
  readonly autoSelectFamily: boolean | undefined
  readonly autoSelectFamilyAttemptTimeout: number | undefined
  /** Through a proxy: the stream that leads to the host. */
  readonly tunnel: Duplex | undefined
}

/** What all connections of one agent share. */
export interface Connector {
  /** The policies in force now; asked again at the verdict. */
  readonly policies: () => PolicySet
  readonly trusts: Trusts
  readonly sessions: Sessions
  /** Whether a session outlives a connection that has failed after its handshake. Default not, as in Node's own agent. */
  readonly keepsSessions?: boolean
  readonly minDHSize: number | undefined
  readonly reporter: Reporter
  /**
   * Called with every socket whose gate was opened, the proof that opened it, and what judges the peer again by the
   * policies of another time (throws where they do not accept it).
   */
  readonly onVerified: (socket: TLSSocket, peer: PinnedPeer, judgeAgain: () => PinnedPeer) => void
  /** How long a certificate that a host has shown may be relied on, in milliseconds; default for ever. */
  readonly maxAgeMs?: (host: string, port: number) => number
  /** Where the policies change while the program runs. */
  readonly newer?: NewerPolicies | undefined
  /** For transports whose verdict cannot wait: the first policies, while they are on their way. */
  readonly awaited?: () => Promise<unknown> | undefined
  /** Why a host that no policy covers is refused without a connection. */
  readonly findUnpinned?: (host: string, port: number, serverName: string | undefined) => Error | undefined
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

/** Policies that may be on their way, where they change while the program runs. The promises end soon and never reject. */
export interface NewerPolicies {
  /** While it is not known yet which policies count. */
  first(): Promise<void> | undefined
  /** Whether {@link beforeRefusal} would look for newer ones. */
  readonly mayRetry: boolean
  /** A look for newer policies before a refusal is final; `undefined` when there was one not long ago. */
  beforeRefusal(): Promise<void> | undefined
}
