import { isIPv6 } from 'node:net'
import { canonicalHost } from '../pin/hostname.js'
import { quoteInput } from '../pin/pin.js'
import { CommandError, exitCode } from './exit.js'

/** A host, in canonical form, and a port. */
export interface HostAndPort {
  readonly host: string
  readonly port: number
}

/**
 * Reads `host`, `host:port`, `[::1]:port` or an `https:` URL. The port is 443 by default.
 * @throws {CommandError} exit code 64, saying what would be right
 */
export function parseTarget(text: string): HostAndPort {
  const fail = (reason: string): CommandError => new CommandError(`${quoteInput(text)}: ${reason}`, exitCode.usage)
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return fromUrl(text, fail)
  const [, name, port] = isIPv6(text) ? [text, text] : (/^(\[.*\]|[^:]*)(?::(.*))?$/s.exec(text) ?? [])
  const host = name === undefined ? undefined : canonicalHost(name)
  if (host === undefined || host.includes('*')) throw fail('this is no host; right would be api.example.com, api.example.com:8443 or https://api.example.com')
  if (port !== undefined && !(/^\d{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65_535)) throw fail('its port is not a number from 1 to 65535')
  return { host, port: port === undefined ? 443 : Number(port) }
}

/** How a host and port are written, the port left out where it is 443: also the narrowest host pattern for them. */
export function showTarget({ host, port }: HostAndPort): string {
  if (port === 443) return host
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`
}

function fromUrl(text: string, fail: (reason: string) => CommandError): HostAndPort {
  if (!URL.canParse(text)) throw fail('this is not a URL')
  const { protocol, hostname, port } = new URL(text)
  if (protocol !== 'https:' && protocol !== 'wss:') throw fail(`${protocol} has no certificate to look at; right would be https:`)
  const host = canonicalHost(hostname)
  if (host === undefined) throw fail('its host is none')
  return { host, port: Number(port || 443) }
}
