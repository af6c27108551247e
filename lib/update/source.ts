import type { Agent } from 'node:https'
import type { ProxyOptions } from '../transport/proxy-connector.js'
import type { TlsOptions } from '../transport/tls-options.js'

/**
 * Where signed pin sets come from. What a source hands over is not believed: it is verified like anything from the
 * network, so a source needs no secrecy and no integrity of its own.
 *
 * There are `httpsSource`, `fileSource`, `redisSource` and `staticSource`; an object with these members is one as well.
 */
export interface PinSetSource {
  /** For `status()`, reports and errors, for example a URL without its query. Never a secret. */
  readonly name: string
  /**
   * The address that the set is fetched from, where there is one. The bootstrap pins must cover its host, and so must every
   * set: else the next one could not be fetched.
   */
  readonly url?: URL
  /** TLS options for the connection to {@link url}. Default: those of the instance, without its client certificate and `servername`. */
  readonly tls?: TlsOptions
  /** The proxy that `agent` takes, as in the options of the instance. Default: none. */
  readonly proxy?: ProxyOptions['proxy']
  /**
   * The signed set, or that it has not changed. Called by one instance at a time, never twice at once; a rejection means
   * that the source cannot be reached, and is tried again later. A whole number in its error's `retryAfterMs` is the
   * least time to wait.
   */
  fetch(request: PinSetRequest): Promise<PinSetAnswer>
  /**
   * Optional: says when there may be a new set, so that nobody has to wait for the next refresh. `changed` may be called at
   * any time and any number of times; it never throws.
   * @returns ends the subscription
   */
  subscribe?(changed: () => void): () => void
  /** Ends everything the source holds open. Called once, by the instance that was given the source. */
  close?(): void | Promise<void>
}

export interface PinSetRequest {
  /** Aborted when the fetch has taken too long, or the instance is closed. */
  readonly signal: AbortSignal
  /** The `etag` of the last answer whose set was accepted, from this process. */
  readonly etag: string | undefined
  /** No more bytes than these are worth reading: a longer set is refused. */
  readonly maxBytes: number
  /** Connects to pinned peers only, on connections of its own. */
  readonly agent: Agent
}

/** `text` is `undefined` when the set is the one that `etag` stands for. */
export interface PinSetAnswer {
  /** The JWS: compact, or JSON with several signatures. */
  readonly text: string | undefined
  /** Anything that names this answer; handed back with the next request. */
  readonly etag?: string | undefined
}

/** The same set for ever: for tests, and for sets that are delivered with the program. */
export function staticSource(text: string): PinSetSource {
  return {
    name: 'static',
    fetch: ({ etag }) => Promise.resolve(etag === 'static' ? { text: undefined, etag } : { text, etag: 'static' })
  }
}
