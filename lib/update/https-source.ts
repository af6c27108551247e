import { validateHeaderName, validateHeaderValue } from 'node:http'
import { PolicyInvalidError } from '../errors.js'
import { describeType, quoteInput } from '../pin/pin.js'
import { readOptions } from '../policy/options.js'
import { fetchText } from '../transport/fetch.js'
import { readProxy } from '../transport/proxy.js'
import type { ProxyOptions } from '../transport/proxy-connector.js'
import { readTlsOptions } from '../transport/tls-options.js'
import type { TlsOptions } from '../transport/tls-options.js'
import type { PinSetSource } from './source.js'

export interface HttpsSourceOptions {
  /** Sent with every request, for example an access token. */
  headers?: Readonly<Record<string, string>>
  /** TLS options for this connection. Default: those of the instance, without its client certificate and `servername`. */
  tls?: TlsOptions
  /**
   * The proxy to the source, with the meaning of the option `proxy` of the instance, whose `proxyPins` and `proxyTls` hold for it too. The source is
   * verified inside the tunnel. Default: none, whatever the instance and the environment say.
   */
  proxy?: ProxyOptions['proxy']
}

export function httpsSource(address: string | URL, options: HttpsSourceOptions = {}): PinSetSource {
  const url = readUrl(address)
  const { headers, tls, proxy } = readOptions(options, ['headers', 'tls', 'proxy'], 'httpsSource')
  demandHeaders(headers)
  if (tls !== undefined) readTlsOptions(tls, 'httpsSource.tls')
  if (proxy !== undefined) readProxy(proxy, 'httpsSource.proxy')
  return {
    name: `${url.origin}${url.pathname}`,
    url,
    ...(tls !== undefined && { tls }),
    ...(proxy !== undefined && { proxy }),
    async fetch({ agent, signal, etag, maxBytes }) {
      const answer = await fetchText(url, { agent, signal, maxBytes, headers: { ...headers, accept: 'application/jose+json, application/jose, application/json;q=0.9, */*;q=0.1', ...(etag !== undefined && { 'if-none-match': etag }) } })
      if (answer.status === 200) return { text: answer.text, etag: answer.headers.etag }
      if (answer.status === 304 && etag !== undefined) return { text: undefined, etag }
      const redirect = answer.status >= 300 && answer.status < 400 && answer.status !== 304 ? '; redirects are not followed' : ''
      throw Object.assign(new Error(`${url.host} answered ${answer.status}${redirect}`), { retryAfterMs: readRetryAfter(answer.status, answer.headers['retry-after']) })
    }
  }
}

function readUrl(address: string | URL): URL {
  const text = String(address)
  if (typeof address !== 'string' && !(address instanceof URL)) throw new PolicyInvalidError('httpsSource', `takes a URL, not ${describeType(address)}`)
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url?.protocol !== 'https:') throw new PolicyInvalidError('httpsSource', `${quoteInput(text)} is no https: URL; right would be "https://pins.example.com/pins.jws"`)
  if (url.username || url.password) throw new PolicyInvalidError('httpsSource', 'a URL is shown in reports, so no credentials belong in it; right would be headers: { authorization: … }')
  return url
}

/** Their values may be secrets, and are not shown. */
function demandHeaders(headers: unknown): void {
  if (headers === undefined) return
  if (typeof headers !== 'object' || headers === null || Array.isArray(headers)) throw new PolicyInvalidError('httpsSource.headers', `must be an object of strings, not ${describeType(headers)}`)
  for (const [name, value] of Object.entries(headers)) {
    if (typeof value !== 'string') throw new PolicyInvalidError('httpsSource.headers', `the value of ${quoteInput(name)} must be a string, not ${describeType(value)}`)
    try {
      validateHeaderName(name)
      validateHeaderValue(name, value)
    } catch {
      throw new PolicyInvalidError('httpsSource.headers', `${quoteInput(name)} has a name or a value with characters that no header can have`)
    }
  }
}

/** RFC 9110 §10.2.3: seconds or a date. */
function readRetryAfter(status: number, header: string | undefined): number | undefined {
  if ((status !== 429 && status !== 503) || header === undefined) return undefined
  if (/^\d{1,9}$/.test(header.trim())) return Number(header) * 1_000
  const date = header.length < 64 ? Date.parse(header) : NaN
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now())
}
