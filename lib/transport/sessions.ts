import type { X509Certificate } from 'node:crypto'
import type { SecureContext } from 'node:tls'
import type { PeerRecord } from '../verify/records.js'

/** A TLS session together with what was verified on the connection that made it. */
export interface PinnedSession {
  /** As the `'session'` event gave it: Node 26 wraps it, and takes only the wrapped form back. */
  readonly session: Buffer
  /** Whether Node has accepted the chain of the connection that made it. */
  readonly authorized: boolean
  readonly record: PeerRecord
  readonly leaf: X509Certificate
  /** The one it was made with: another client certificate has another. */
  readonly context: SecureContext
  /** Milliseconds since the epoch; a certificate that has expired resumes nothing. */
  readonly goodUntil: number
  /** When the certificate that was verified is too old to be relied on; milliseconds since the epoch. */
  readonly evidenceUntil: number
}

/**
 * The sessions of one agent, by the name of its pool. Only connections that were accepted put theirs here: Node shows no
 * certificate on a resumed connection, so what is resumed must be known to come from a verified one.
 */
export class Sessions {
  readonly #byPool = new Map<string, PinnedSession>()

  /** @param limit the `maxCachedSessions` of the agent; 0 keeps none */
  constructor(readonly limit: number) {}

  find(pool: string, now: number): PinnedSession | undefined {
    const known = this.#byPool.get(pool)
    if (known && now > known.goodUntil) this.#byPool.delete(pool)
    return known && now <= known.goodUntil ? known : undefined
  }

  store(pool: string, session: PinnedSession): void {
    this.#byPool.delete(pool)
    this.#byPool.set(pool, session)
    if (this.#byPool.size > this.limit) this.#byPool.delete(this.#byPool.keys().next().value as string)
  }

  delete(pool: string): void {
    this.#byPool.delete(pool)
  }

  clear(): void {
    this.#byPool.clear()
  }
}
