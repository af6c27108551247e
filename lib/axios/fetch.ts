import axios, { AxiosError } from 'axios'
import type { InternalAxiosRequestConfig } from 'axios'
import { BypassError, findPinningError } from '../errors.js'
import type { PinningCore } from '../pinning.js'
import { isPinningDispatcher } from '../transport/pinning-dispatchers.js'

/** The fields of a config that axios' fetch adapter reads. */
export interface FetchFields {
  readonly env?: unknown
  readonly fetchOptions?: unknown
  readonly proxy?: unknown
}

/** What would lead the fetch adapter past the pinned dispatcher, or keeps it from being used. */
export function findFetchBypass({ env, fetchOptions, proxy }: FetchFields, core: PinningCore): BypassError | undefined {
  if (!hasFetch()) return new BypassError('adapter', "this axios has no adapter 'fetch'; right would be axios 1.7 or later, or 'http'")
  const own = (env as { fetch?: unknown } | undefined)?.fetch
  if (own && own !== pinnedFetch) return new BypassError('env.fetch', 'it opens its own connections; right would be to leave it out')
  const dispatcher = (fetchOptions as { dispatcher?: unknown } | undefined)?.dispatcher
  if (dispatcher && !isPinningDispatcher(dispatcher)) return new BypassError('fetchOptions.dispatcher', 'it opens its own connections; right would be to leave it out')
  if (proxy || (proxy !== false && typeof core.proxy === 'object')) return new BypassError('proxy', "the adapter 'fetch' goes through none; right would be adapter: 'http', or proxy: false")
  try {
    nodeFetch()
    void core.dispatcher
  } catch (error) {
    return error instanceof BypassError ? error : new BypassError('adapter', `'fetch' cannot be pinned: ${(error as Error).message}`)
  }
  return undefined
}

/** The fields of a config that make axios' fetch adapter use the pinned dispatcher. */
export function sealFetch({ env, fetchOptions }: FetchFields, core: PinningCore): object {
  return {
    adapter: asksEnv() ? 'fetch' : olderAdapter,
    env: { ...(env as object | undefined), fetch: pinnedFetch },
    // Also read by the adapters that ask no `env` (axios 1.7 to 1.11), for the Request they make.
    fetchOptions: { ...(fetchOptions as object | undefined), dispatcher: core.dispatcher }
  }
}

/** The same for an adapter that may hand the request on to axios' fetch adapter: then undici is loaded. */
export function sealFetchFor({ env, fetchOptions }: FetchFields, core: PinningCore): object {
  const dispatcher = (): unknown => {
    try {
      return core.dispatcher
    } catch (cause) {
      const error = new BypassError('adapter', `'fetch' cannot be pinned: ${(cause as Error).message}`, { cause })
      return { dispatch: () => { throw error } }
    }
  }
  return { env: { ...(env as object | undefined), fetch: pinnedFetch }, fetchOptions: Object.defineProperty({ ...(fetchOptions as object | undefined) }, 'dispatcher', { get: dispatcher, enumerable: true }) }
}

/**
 * Given to axios in place of the global `fetch`. The same for every pinning, since axios keeps for ever what it makes of
 * each; which one is meant, the dispatcher tells.
 */
async function pinnedFetch(input: RequestInfo, init?: RequestInit): Promise<Response> {
  if (!isPinningDispatcher(init?.dispatcher)) throw new BypassError('fetchOptions.dispatcher', 'it is not the pinned one')
  try {
    return await nodeFetch()(input, init)
  } catch (error) {
    // fetch says "fetch failed", and axios "Network Error".
    throw findPinningError(error) ?? error
  }
}

/** axios 1.7 to 1.11 have but the global `fetch`. */
async function olderAdapter(config: InternalAxiosRequestConfig): Promise<unknown> {
  try {
    return await axios.getAdapter('fetch')(config)
  } catch (error) {
    const refusal = findPinningError(error)
    throw refusal ? AxiosError.from(refusal, refusal.code, config, (error as AxiosError).request) : error
  }
}

// The guard finds it again in a config that is sent a second time.
Object.defineProperty(olderAdapter, 'adapterName', { value: 'fetch' })

type RequestInfo = Parameters<typeof globalThis.fetch>[0]

/** Node's own `fetch`: one that was put in its place might leave the dispatcher out. */
function nodeFetch(): typeof globalThis.fetch {
  const { fetch } = globalThis
  // The same text in Node 20 to 26.
  if (fetch !== known && !Function.prototype.toString.call(fetch).includes("require('internal/deps/undici/undici')")) {
    throw new BypassError('globalThis.fetch', "something has replaced it, which might not use the pinned dispatcher; right would be Node's own, or adapter: 'http'")
  }
  return (known = fetch)
}

let known: typeof globalThis.fetch | undefined

/** Whether this axios (1.7 and later) has the adapter. */
function hasFetch(): boolean {
  try {
    return typeof axios.getAdapter('fetch') === 'function'
  } catch {
    return false
  }
}

/** Whether this axios (1.12 and later) takes its `fetch` from the config. */
function asksEnv(): boolean {
  let asked = false
  const env = {
    get fetch() {
      asked = true
      return undefined
    }
  }
  const { getAdapter } = axios as { getAdapter(name: string, config: object): unknown }
  getAdapter('fetch', { env })
  return asked
}
