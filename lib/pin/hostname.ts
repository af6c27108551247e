import { isIPv4, isIPv6 } from 'node:net'
import { PolicyInvalidError } from '../errors.js'
import { holdsPrivateKey, quoteInput } from './pin.js'

/** A parsed host pattern. `host` is canonical and without its wildcard. */
export interface HostPattern {
  /** Canonical text, for messages: `*.example.com:8443`. */
  readonly text: string
  readonly host: string
  /** `exact`; `one`: exactly one label in front (`*.`); `any`: any number of labels, none included (`**.`). */
  readonly wildcard: 'exact' | 'one' | 'any'
  /** `undefined` means any port. */
  readonly port: number | undefined
}

/**
 * The form in which hosts are compared: lower case, punycode, no trailing dot, no IPv6 brackets, IPv4 and IPv6 as
 * WHATWG URL writes them, IPv4 in IPv6 (`::ffff:192.0.2.1`) as IPv4. `undefined` for what is no host.
 */
export function canonicalHost(host: string): string | undefined {
  const name = host.endsWith('.') ? host.slice(0, -1) : host
  if (plainName.test(name)) return name
  if (isIPv4(name)) return name
  const lower = name.toLowerCase()
  if (plainName.test(lower)) return lower
  const bare = name.startsWith('[') && name.endsWith(']') ? name.slice(1, -1) : name
  return isIPv6(bare) ? mappedIPv4(hostOfUrl(`[${bare.replace(/%.*$/s, '')}]`)) : hostOfUrl(name)
}

/** RFC 4291 §2.5.5.2: sockets connect to one as to the other. */
function mappedIPv4(address: string | undefined): string | undefined {
  const [, high, low] = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(address ?? '') ?? []
  if (high === undefined || low === undefined) return address
  return [high, low].map((each) => parseInt(each, 16)).flatMap((each) => [each >> 8, each & 255]).join('.')
}

/**
 * Reads OkHttp's grammar: `api.example.com` exactly, `*.example.com` exactly one label, `**.example.com` any number of
 * labels (none included), each with an optional `:port`.
 *
 * @param option where the pattern stands, for the error's text
 * @throws {PolicyInvalidError} `ERR_PIN_POLICY_INVALID`
 */
export function parseHostPattern(text: string, option: string): HostPattern {
  const fail = (reason: string): PolicyInvalidError => new PolicyInvalidError(`${option}[${quoteInput(text)}]`, reason)
  if (holdsPrivateKey(text)) throw fail('it is a private key: never put it here; right would be a host pattern like "api.example.com"')
  if (text.length > maxPatternLength) throw fail(`a host name has at most ${maxHostLength} characters`)
  if (text.trim() === '') throw fail('the host pattern is empty; right would be "api.example.com", "*.example.com" or "**.example.com"')
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text) || /[/?#@\\]/.test(text)) throw fail(`a host pattern is not a URL; right would be ${suggestHost(text)}`)
  if (/\s/.test(text)) throw fail('a host pattern has no spaces')
  const [name, port] = splitPort(text)
  if (port !== undefined && !(/^\d{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65_535)) throw fail(`the port ${quoteInput(port)} is not a number from 1 to 65535`)
  if (/^\*+$/.test(name)) throw fail('a wildcard stands only for whole labels at the start of a name; for every host right would be the option allowedSHAFingerprints')
  const wildcard = name.startsWith('**.') ? 'any' : name.startsWith('*.') ? 'one' : 'exact'
  const rest = name.slice(wildcard === 'any' ? 3 : wildcard === 'one' ? 2 : 0)
  if (/^[\d.*]+$/.test(rest) && rest.includes('*')) throw fail('an IP address has no labels for a wildcard; right would be each address by itself, or the option allowedSHAFingerprints, which is for every host')
  if (rest.includes('*')) throw fail('a wildcard stands only for whole labels at the start; right would be "*.example.com" (one label) or "**.example.com" (any number)')
  const host = canonicalHost(rest)
  if (host === undefined || (!isIPv6(host) && !hostName.test(host)) || host.length > maxHostLength) throw fail('this is not a host name or IP address; right would be one name, like "api.example.com"')
  if (wildcard !== 'exact' && (isIPv4(host) || isIPv6(host))) throw fail('an IP address has no labels for a wildcard')
  if (wildcard !== 'exact' && !host.includes('.')) throw fail('a wildcard directly under a top-level label covers the hosts of strangers; right would be at least "*.example.com"')
  const prefix = { exact: '', one: '*.', any: '**.' }[wildcard]
  const shown = isIPv6(host) && port !== undefined ? `[${host}]` : host
  return { text: `${prefix}${shown}${port === undefined ? '' : `:${Number(port)}`}`, host, wildcard, port: port === undefined ? undefined : Number(port) }
}

// Already canonical, the case of nearly every look-up: lower-case labels, the last one not a number (else it may be IPv4).
const plainName = /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/

// What a pattern may be: what DNS can ask for. A list of names, or a template that was not filled in, would match nothing.
const hostName = /^(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}$/

/** The longest name that DNS can ask for, in text. */
export const maxHostLength = 253

// Unicode may be longer than what it becomes.
const maxPatternLength = 1_000

function splitPort(text: string): [name: string, port: string | undefined] {
  const bracketed = /^(.*\])(?::(.*))?$/s.exec(text)
  if (bracketed) return [bracketed[1] as string, bracketed[2]]
  // Node takes a colon for a part of the zone.
  if (isIPv6(text) && !/%.*:/s.test(text)) return [text, undefined]
  const colon = text.lastIndexOf(':')
  return colon === -1 ? [text, undefined] : [text.slice(0, colon), text.slice(colon + 1)]
}

function hostOfUrl(host: string): string | undefined {
  const bracketed = host.startsWith('[') && host.endsWith(']')
  if (host === '' || /[\s/?#@:\\[\]\x00-\x1f]/.test(bracketed ? host.slice(1, -1).replaceAll(':', '') : host)) return undefined
  if (!URL.canParse(`https://${host}`)) return undefined
  const { hostname } = new URL(`https://${host}`)
  const bare = hostname.startsWith('[') ? hostname.slice(1, -1) : hostname
  const name = bare.endsWith('.') ? bare.slice(0, -1) : bare
  return name === '' || `.${name}.`.includes('..') || host.endsWith('.') ? undefined : name
}

function suggestHost(text: string): string {
  const [, host = '', rest = ''] = /^(?:[a-z][a-z0-9+.-]*:(?=[/\\]))?(?:\/\/)?(?:[^@/?#\\]*@)?([^@/?#\\]*)([^]*)$/i.exec(text) ?? []
  // With another @ it may be a part of a password that looks like the host.
  const shown = host === '' || rest.includes('@') ? '' : quoteInput(host)
  return shown.startsWith('"') ? shown : '"api.example.com"'
}
