import type { X509Certificate } from 'node:crypto'
import { PinInvalidError, PolicyInvalidError } from '../errors.js'
import { describeType, looksLikePath, parsePin } from '../pin/pin.js'
import type { Pin } from '../pin/pin.js'
import { keyPinOf, parseCertificate } from '../pin/spki.js'
import { ownOptions, readBoolean, readChoice, readInstant, readList, readOptions } from './options.js'

/** `enforce` refuses a peer that does not match; `report-only` lets it pass and tells; `off` does not look. */
export type PinningMode = 'enforce' | 'report-only' | 'off'

/** What is asked of one host pattern. Any one match is enough; `rejected` beats every match. */
export interface HostPolicy {
  /** SHA-256 fingerprints of the whole leaf certificate, as openssl prints them. */
  certificates?: readonly string[]
  /** SPKI pins (`sha256/…`) of the leaf's key. */
  publicKeys?: readonly string[]
  /** An issuing CA in the verified chain (never the leaf): its PEM, SPKI pin or fingerprint. A PEM stands for its key. */
  authorities?: readonly string[]
  /** Short form: a fingerprint means the leaf, `sha256/…` the key of any certificate of the verified chain (as in OkHttp). */
  pins?: readonly string[]
  /** SPKI pins or fingerprints that must not occur anywhere in the verified chain. */
  rejected?: readonly string[]
  /** Overrides the overall `mode` for this pattern. */
  mode?: PinningMode
  /** When these pins expire: an ISO instant (a bare date is 00:00 UTC) or a `Date`. Default: never. */
  expires?: string | Date
  /** What then: `'refuse'` (default), `'report-only'`, or `'allow'` (PKI alone decides). */
  onExpiry?: 'refuse' | 'report-only' | 'allow'
  /**
   * `'pki'` (default): Node's own verification must accept the peer as well. `'pin-only'`: for a self-signed leaf; a pin on
   * the leaf replaces the trust anchor, its dates and names must still fit. Takes leaf pins only.
   */
  trust?: 'pki' | 'pin-only'
  /** The pattern also covers every sub-domain. Default `false`. */
  includeSubDomains?: boolean
}

/** A {@link HostPolicy} after reading: nothing in it can be wrong. */
export interface Policy {
  /** The host pattern, or `allowedSHAFingerprints`. */
  readonly pattern: string
  /** Canonical pin to the places it counts in: {@link pinPlace}. */
  readonly pins: ReadonlyMap<string, number>
  readonly rejected: ReadonlySet<string>
  /** CAs whose certificate itself was given. */
  readonly authorities: readonly X509Certificate[]
  readonly mode: PinningMode | undefined
  /** Milliseconds since the epoch; `Infinity` for never. */
  readonly expiresAt: number
  readonly onExpiry: 'refuse' | 'report-only' | 'allow'
  readonly trust: 'pki' | 'pin-only'
  readonly includeSubDomains: boolean
  /** Some pin or rejected key can only be found in the verified chain. */
  readonly usesChain: boolean
}

/** Where in the verified chain a pin counts; a bit set. */
export const pinPlace = { leaf: 1, issuer: 2 } as const

/**
 * @param where the option's path, for error texts
 * @throws {PolicyInvalidError | PinInvalidError | TypeError}
 */
export function parsePolicy(pattern: string, given: readonly string[] | HostPolicy, where: string): Policy {
  const options: HostPolicy = Array.isArray(given) ? ownOptions({ pins: given }) : readOptions(given as HostPolicy, hostOptions, where)
  const pins = new Map<string, number>()
  const authorities: X509Certificate[] = []
  const add = (pin: string, place: number): void => void pins.set(pin, (pins.get(pin) ?? 0) | place)

  for (const { pin } of readPins(options.certificates, `${where}.certificates`, 'certificate')) add(pin, pinPlace.leaf)
  for (const { pin } of readPins(options.publicKeys, `${where}.publicKeys`, 'key')) add(pin, pinPlace.leaf)
  for (const { pin, kind } of readPins(options.pins, Array.isArray(given) ? where : `${where}.pins`)) add(pin, kind === 'certificate' ? pinPlace.leaf : pinPlace.leaf | pinPlace.issuer)
  for (const text of readList(options.authorities, `${where}.authorities`)) {
    const authority = readAuthority(text, `${where}.authorities`)
    if (authority.certificate) authorities.push(authority.certificate)
    add(authority.pin, pinPlace.issuer)
  }

  const rejected = new Set(readPins(options.rejected, `${where}.rejected`).map(({ pin }) => pin))
  const policy: Policy = {
    pattern,
    pins,
    rejected: rejected.size > 0 ? rejected : none,
    authorities,
    mode: readChoice(options.mode, modes, undefined, `${where}.mode`),
    expiresAt: readInstant(options.expires, `${where}.expires`)?.getTime() ?? Infinity,
    onExpiry: readChoice(options.onExpiry, ['refuse', 'report-only', 'allow'], 'refuse', `${where}.onExpiry`),
    trust: readChoice(options.trust, ['pki', 'pin-only'], 'pki', `${where}.trust`),
    includeSubDomains: readBoolean(options.includeSubDomains, false, `${where}.includeSubDomains`),
    usesChain: rejected.size > 0 || [...pins.values()].some((place) => place & pinPlace.issuer)
  }
  checkConsistent(policy, where)
  return policy
}

/** The strictest first. */
export const modes = ['enforce', 'report-only', 'off'] as const

const hostOptions = ['certificates', 'publicKeys', 'authorities', 'pins', 'rejected', 'mode', 'expires', 'onExpiry', 'trust', 'includeSubDomains']

const none: ReadonlySet<string> = new Set()

function checkConsistent(policy: Policy, where: string): void {
  if (policy.pins.size === 0) throw new PolicyInvalidError(where, 'it has no pins; right would be at least one of certificates, publicKeys, authorities or pins (and a backup)')
  const dead = [...policy.pins.keys()].find((pin) => policy.rejected.has(pin))
  if (dead !== undefined) throw new PolicyInvalidError(`${where}.rejected`, `${dead} is both pinned and rejected; remove it from one of them`)
  if (policy.trust !== 'pin-only') return
  if (policy.authorities.length > 0 || ![...policy.pins.values()].every((place) => place & pinPlace.leaf)) {
    throw new PolicyInvalidError(`${where}.trust`, "'pin-only' has no chain to find an authority in; right would be certificates or publicKeys of the leaf, or tls.ca for a private CA")
  }
}

function readPins(list: unknown, option: string, only?: 'certificate' | 'key'): Array<{ pin: string; kind: 'certificate' | 'key' }> {
  return readList(list, option).map((text) => {
    const { kind, text: pin } = readPin(text, option)
    if (only !== undefined && kind !== only) throw new PolicyInvalidError(option, wrongKind(pin, only))
    return { pin, kind }
  })
}

/** {@link parsePin}, its errors saying where the text stands: it may be one of thousands, and is not always shown. */
function readPin(text: unknown, option: string, alsoRight?: string): Pin {
  try {
    return parsePin(text)
  } catch (error) {
    if (error instanceof PinInvalidError) throw new PinInvalidError(error.input, `${error.reason}${alsoRight === undefined ? '' : `, or ${alsoRight}`} (in ${option})`)
    throw error instanceof TypeError ? new TypeError(`${option}: ${error.message}`) : error
  }
}

function wrongKind(pin: string, only: 'certificate' | 'key'): string {
  return only === 'certificate'
    ? `${pin} is the pin of a key; right would be a certificate's AB:CD:… here, or this pin under publicKeys`
    : `${pin} is the fingerprint of a certificate; right would be a key's sha256/… here, or this pin under certificates`
}

function readAuthority(text: unknown, option: string): { pin: string; certificate?: X509Certificate } {
  if (typeof text !== 'string') throw new TypeError(`${option} takes PEM certificates and pins, not ${describeType(text)}`)
  if (!text.includes('-----BEGIN') || text.includes('PRIVATE KEY')) return { pin: readPin(text, option, looksLikePath(text) ? "the PEM of a CA: readFileSync(path, 'utf8')" : "the PEM of a CA (-----BEGIN CERTIFICATE-----)").text }
  if (text.split('-----BEGIN').length > 2) throw new PolicyInvalidError(option, 'a PEM text holds more than one part; right would be one entry for each CA')
  const certificate = parseCertificate(text)
  if (!certificate.ca) throw new PolicyInvalidError(option, `the certificate of ${(certificate.subject ?? '').replaceAll('\n', ', ') || '(no subject)'} is not a CA; right would be its issuer, or its pin under certificates or publicKeys`)
  return { pin: keyPinOf(certificate), certificate }
}
