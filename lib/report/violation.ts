import type { Diagnosis } from '../errors.js'
import type { PinResult } from '../verify/verify.js'
import type { PinReport } from './report.js'

/**
 * A report for a collector: the fields of RFC 7469 §3, those that TrustKit adds, and under one name of our own what neither
 * has. JSON. It speaks of the connection only: no URL, header, cookie, body or key is known here.
 */
export interface PinViolation {
  /** RFC 3339, UTC, in seconds. */
  readonly 'date-time': string
  readonly hostname: string
  readonly port: number
  /** When the pins expire; `null` for never. */
  readonly 'effective-expiration-date': string | null
  readonly 'include-subdomains': boolean
  /** The host that the pins were given for: the pattern without its wildcard. */
  readonly 'noted-hostname': string
  /** PEM, leaf first. */
  readonly 'served-certificate-chain': readonly string[]
  /** PEM, leaf to trust anchor; empty where none was found or needed. */
  readonly 'validated-certificate-chain': readonly string[]
  /** `pin-sha256="…"`, of keys. Fingerprints of certificates are under `axios-ssl-pinning`. */
  readonly 'known-pins': readonly string[]
  /** TrustKit's: whether the peer was refused. */
  readonly 'enforce-pinning': boolean
  /** TrustKit's: 1 no pin matched, 2 the chain is not trusted. */
  readonly 'validation-result': 1 | 2
  /** TrustKit's, where the endpoint says so. */
  readonly 'app-bundle-id'?: string
  readonly 'app-version'?: string
  readonly 'app-platform': 'NODE'
  readonly 'app-platform-version': string
  readonly 'axios-ssl-pinning': {
    readonly decision: 'tolerated' | 'refused'
    readonly result: PinResult
    readonly code: string | undefined
    readonly mode: string
    /** The host pattern whose policy decided; `null` for an unpinned host. */
    readonly policy: string | null
    readonly 'policy-revision': number
    /** The version of the signed pin set in force, where there is one. */
    readonly 'pin-set-version'?: number
    readonly 'known-fingerprints': readonly string[]
    readonly diagnosis: Diagnosis | undefined
    readonly 'tls-version': string | undefined
    readonly cipher: string | undefined
    /** How often the same was seen since it was last reported. */
    readonly repeats: number
  }
}

/** What names the sender, in TrustKit's words. */
export interface ReportingApp {
  readonly id?: string
  readonly version?: string
}

/** @param pinSetVersion of the signed set in force then */
export function violationOf(report: PinReport, repeats: number, pinSetVersion: number | undefined, app: ReportingApp = {}): PinViolation {
  const { host, port, knownPins, mode } = report
  return {
    'date-time': seconds(report.time),
    hostname: host,
    port,
    'effective-expiration-date': report.policyExpires ? seconds(report.policyExpires) : null,
    'include-subdomains': report.includeSubDomains,
    'noted-hostname': report.policy === undefined || report.policy === 'allowedSHAFingerprints' ? host : report.policy.replace(/^\*{1,2}\./, '').replace(/:\d+$/, ''),
    'served-certificate-chain': report.servedPem,
    'validated-certificate-chain': report.chainPem,
    'known-pins': knownPins.filter((pin) => pin.startsWith(keyPrefix)).map((pin) => `pin-sha256="${pin.slice(keyPrefix.length)}"`),
    'enforce-pinning': report.decision === 'refused',
    'validation-result': report.result === 'untrusted' || report.result === 'chain-unverified' ? 2 : 1,
    ...(app.id !== undefined && { 'app-bundle-id': app.id }),
    ...(app.version !== undefined && { 'app-version': app.version }),
    'app-platform': 'NODE',
    'app-platform-version': process.versions.node,
    'axios-ssl-pinning': {
      decision: report.decision === 'tolerated' ? 'tolerated' : 'refused',
      result: report.result,
      code: report.error?.code,
      mode,
      policy: report.policy ?? null,
      'policy-revision': report.policyRevision,
      ...(pinSetVersion !== undefined && { 'pin-set-version': pinSetVersion }),
      'known-fingerprints': knownPins.filter((pin) => !pin.startsWith(keyPrefix)),
      diagnosis: report.diagnosis,
      'tls-version': report.tlsVersion,
      cipher: report.cipher,
      repeats
    }
  }
}

const keyPrefix = 'sha256/'

function seconds(date: Date): string {
  return `${date.toISOString().slice(0, 19)}Z`
}
