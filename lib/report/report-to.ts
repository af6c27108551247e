import { validateHeaderName, validateHeaderValue } from 'node:http'
import { isIP } from 'node:net'
import { PolicyInvalidError } from '../errors.js'
import { describeType, quoteInput } from '../pin/pin.js'
import { readBoolean, readOptions } from '../policy/options.js'
import { parsePolicy } from '../policy/policy.js'
import { TrustAnchors } from '../verify/anchors.js'
import type { PinViolation, ReportingApp } from './violation.js'

/** A collector of reports. */
export interface ReportEndpoint {
  /** `https:`; `http:` only on this machine (`localhost`, 127.0.0.0/8, `[::1]`). Without user name and password. */
  url: string | URL
  /** Pins for the endpoint itself. Default: those of a host pattern that covers it, else PKI alone. */
  pins?: readonly string[]
  /** Trust anchors for the endpoint, PEM. Default: Node's own. */
  ca?: string | readonly string[]
  /**
   * How to reach the endpoint, with the values and the meaning of the pinning's own `proxy`: a URL, `'environment'`, …; it is
   * verified inside the tunnel. `proxyPins` and `proxyTls` hold for proxies over TLS. Default `false`: none, whatever the environment says.
   */
  proxy?: 'environment' | false | (string & {}) | URL | object
  /** Sent with every report, for example `{ authorization: 'Bearer …' }`. */
  headers?: Readonly<Record<string, string>>
  /** `false` sends one object a request, as collectors of RFC 7469 and TrustKit take them. Default `true`: an array. */
  batch?: boolean
  /** Becomes `app-bundle-id` and `app-version`. */
  app?: ReportingApp
}

/** Takes a batch of reports. What it throws or rejects with is tried again later. */
export type ReportReceiver = (violations: readonly PinViolation[]) => unknown

export type ReportTo = string | URL | ReportEndpoint | ReportReceiver

/** A {@link ReportEndpoint} after reading. */
export interface Endpoint {
  readonly url: URL
  readonly pins: readonly string[] | undefined
  readonly ca: string | readonly string[] | undefined
  /** Not read yet. */
  readonly proxy: unknown
  readonly headers: Readonly<Record<string, string>>
  readonly batch: boolean
  readonly app: ReportingApp
}

/** @throws {PolicyInvalidError | PinInvalidError | TypeError} naming the option; the URL's secrets are not echoed */
export function readReportTo(value: unknown): Endpoint | ReportReceiver | undefined {
  if (value === undefined) return undefined
  if (typeof value === 'function') return value as ReportReceiver
  const given = typeof value === 'string' || value instanceof URL ? { url: value } : value
  if (typeof given !== 'object' || given === null || Array.isArray(given)) throw new PolicyInvalidError('reportTo', `must be a URL, an endpoint { url, … } or a function, not ${describeType(value)}`)
  const options = readOptions(given as ReportEndpoint, ['url', 'pins', 'ca', 'proxy', 'headers', 'batch', 'app'], 'reportTo')
  if (options.pins !== undefined) parsePolicy('reportTo', options.pins, 'reportTo.pins')
  return {
    url: readUrl(options.url),
    pins: options.pins,
    ca: readCa(options.ca),
    proxy: options.proxy ?? false,
    headers: readHeaders(options.headers),
    batch: readBoolean(options.batch, true, 'reportTo.batch'),
    app: readStrings(options.app as Record<string, string> | undefined, 'reportTo.app', ['id', 'version'])
  }
}

function readUrl(value: unknown): URL {
  const text = value instanceof URL ? value.href : value
  if (typeof text !== 'string' || !URL.canParse(text)) throw new PolicyInvalidError('reportTo', `must have an absolute URL, such as "https://reports.example.com/pins"${typeof text === 'string' ? '' : `, not ${describeType(text)}`}`)
  const url = new URL(text)
  if (url.username || url.password) throw new PolicyInvalidError('reportTo', 'the URL has a user name or password in it; right would be headers: { authorization: … }')
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && isLoopback(url.hostname))) throw new PolicyInvalidError('reportTo', `${url.protocol}//${url.host} is not possible; right would be https: (http: only on this machine)`)
  return url
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || (isIP(host) === 4 && host.startsWith('127.'))
}

/** @throws {PolicyInvalidError} when no trust anchor can be read from it */
function readCa(ca: Endpoint['ca']): Endpoint['ca'] {
  if (ca === undefined) return undefined
  try {
    return new TrustAnchors(ca, false).given ? ca : undefined
  } catch (error) {
    if (error instanceof PolicyInvalidError) throw new PolicyInvalidError('reportTo.ca', error.reason, { cause: error })
    throw error
  }
}

/** As HTTP has them. A value may be a secret, and is not shown. */
function readHeaders(given: ReportEndpoint['headers']): Record<string, string> {
  const headers = readStrings(given, 'reportTo.headers')
  for (const [name, value] of Object.entries(headers)) {
    try {
      validateHeaderName(name)
    } catch {
      throw new PolicyInvalidError('reportTo.headers', `${quoteInput(name)} is not the name of a header`)
    }
    try {
      validateHeaderValue(name, value)
    } catch {
      throw new PolicyInvalidError('reportTo.headers', `the value of ${quoteInput(name)} has a character that no header may have, such as a line feed`)
    }
  }
  return headers
}

function readStrings(value: Readonly<Record<string, string>> | undefined, option: string, names?: readonly string[]): Record<string, string> {
  if (value === undefined) return {}
  const strings = names ? readOptions(value, names, option) : value
  if (typeof strings !== 'object' || strings === null || Object.values(strings).some((each) => typeof each !== 'string')) throw new PolicyInvalidError(option, 'must be an object of strings')
  return { ...strings }
}
