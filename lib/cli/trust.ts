import { isIP } from 'node:net'
import { PolicyInvalidError } from '../errors.js'
import { canonicalHost } from '../pin/hostname.js'
import { Reporter } from '../report/reporter.js'
import type { ProxyRoute } from '../transport/inspect.js'
import { createProxyConnector } from '../transport/proxy-connector.js'
import { readProxy } from '../transport/proxy.js'
import { readTlsOptions } from '../transport/tls-options.js'
import { Trusts } from '../transport/trust.js'
import { CommandError, exitCode } from './exit.js'
import { showText } from './format.js'
import { readInput } from './input.js'
import type { Terminal } from './output.js'

export const caHelp = "trust anchors (PEM) in place of Node's own"

/**
 * What OpenSSL verifies peers with: Node's own trust anchors, or those of a file.
 * @throws {CommandError} exit code 64
 */
export async function readTrust(caFile: string | undefined, terminal: Terminal): Promise<Trusts> {
  if (caFile === undefined) return new Trusts(readTlsOptions(undefined))
  const ca = await readInput(caFile, terminal)
  try {
    const trusts = new Trusts(readTlsOptions({ ca }))
    // OpenSSL reads them now, rather than in the first of many connections.
    trusts.general.context()
    return trusts
  } catch (error) {
    if (!(error instanceof PolicyInvalidError)) throw error
    throw new CommandError(`--ca ${showText(caFile)} ${error.reason}`, exitCode.usage, error.code, { cause: error })
  }
}

/** What to do about a peer whose chain leads to no trust anchor; empty where that is not the trouble. */
export function caHint(error: unknown, given: boolean): string {
  if (!unanchored.has((error as { code?: string }).code ?? '')) return ''
  return given ? '; none of the trust anchors in --ca has issued it' : '; of a private CA, --ca FILE names the trust anchor (in the options: tls.ca)'
}

const unanchored = new Set(['UNABLE_TO_GET_ISSUER_CERT', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'SELF_SIGNED_CERT_IN_CHAIN', 'DEPTH_ZERO_SELF_SIGNED_CERT'])

/** @throws {CommandError} exit code 64 for what cannot be asked for by SNI */
export function readServerName(name: string | undefined): string | undefined {
  if (name === undefined) return undefined
  const host = canonicalHost(name)
  if (host === undefined || isIP(host)) throw new CommandError('--servername must be a host name; TLS has no server name for an IP address', exitCode.usage)
  return host
}

export const proxyHelp = 'the proxy to go through; default: HTTPS_PROXY, ALL_PROXY and NO_PROXY, as axios reads them'

/**
 * How to reach hosts: the environment's proxy, the one given, or none (`--no-proxy`).
 * @throws {CommandError} exit code 64; credentials are not echoed
 */
export function readProxyRoute(proxy: string | boolean | undefined): ProxyRoute {
  try {
    const rule = proxy === false ? false : readProxy(typeof proxy === 'string' ? proxy : 'environment', '--proxy')
    return { rule, connector: createProxyConnector({}, new Reporter({})) }
  } catch (error) {
    if (!(error instanceof PolicyInvalidError)) throw error
    throw new CommandError(`--proxy ${error.reason}`, exitCode.usage, error.code, { cause: error })
  }
}
