import { PinInvalidError, PolicyInvalidError } from '../errors.js'
import { parseHostPattern } from '../pin/hostname.js'
import type { HostPattern } from '../pin/hostname.js'
import { parsePin } from '../pin/pin.js'
import { readInstant } from '../policy/options.js'
import { parsePolicy, pinPlace } from '../policy/policy.js'
import type { HostPolicy, PinningMode, Policy } from '../policy/policy.js'
import type { PolicyOptions } from '../policy/policy-set.js'
import { SourceError } from './source-document.js'
import type { Position } from './source-document.js'

/** Pins read from another system's file. */
export interface ReadPins {
  readonly policy: PolicyOptions
  /** What the file says and a policy cannot, one sentence each. */
  readonly notes: readonly string[]
}

/** Pins written for another system. */
export interface WrittenPins {
  readonly text: string
  /** What the policy says and the other system cannot, one sentence each. */
  readonly notes: readonly string[]
}

/** What a system can say of one host. */
export interface SayablePolicy {
  /** As written in our file. */
  readonly name: string
  readonly pattern: HostPattern
  readonly includeSubDomains: boolean
  /** Canonical key pins. */
  readonly pins: readonly string[]
  readonly mode: PinningMode
  /** Only with `onExpiry: 'allow'`, which is what all others do. */
  readonly expires: Date | undefined
}

/** What a system can say at all. */
export interface Abilities {
  /** In messages: `Android`. */
  readonly system: string
  /** Where its pins count: any certificate of the chain, or the leaf only. */
  readonly pinsCount: 'chain' | 'leaf'
  readonly ports: boolean
  /** Our patterns (OkHttp's grammar), or names with or without all their sub-domains. */
  readonly patterns: 'okhttp' | 'subdomains'
  readonly modes: readonly PinningMode[]
  readonly expiry: boolean
  /** Whether there can be hosts that are not pinned and refused. */
  readonly refusesUnpinned: boolean
}

/** What of a policy can be said there; all that cannot becomes a note. A host of which nothing can be said is left out, which is noted too. */
export function sayable(options: PolicyOptions, abilities: Abilities): { hosts: SayablePolicy[]; notes: string[] } {
  const { system } = abilities
  const notes: string[] = []
  if (options.allowedSHAFingerprints) notes.push(`allowedSHAFingerprints: ${system} has no pins for every host; left out`)
  if (options.requireBackupPin === true) notes.push(`requireBackupPin: ${system} has no such setting; left out`)
  if (!abilities.refusesUnpinned && options.unpinnedHosts !== 'allow') notes.push(`unpinnedHosts: hosts without pins are refused here, and ${system} lets them pass`)
  const hosts = Object.entries(options.pins ?? {}).flatMap(([name, given]) => {
    const say = (text: string): void => void notes.push(`${name}: ${text}`)
    const pattern = parseHostPattern(name, 'pins')
    const policy = parsePolicy(name, given, name)
    const unsayable = whyNot(pattern, policy, abilities)
    const pins = keyPins(policy, abilities, say)
    const mode = policy.mode ?? options.mode ?? 'enforce'
    if (unsayable === undefined && pins.length > 0 && !abilities.modes.includes(mode)) {
      say(`mode '${mode}' cannot be said to ${system}; the host is left out`)
      return []
    }
    if (unsayable !== undefined || pins.length === 0) {
      say(`${unsayable ?? `no pin of it can be said to ${system}`}; the host is left out`)
      return []
    }
    if (policy.rejected.size > 0) say(`rejected pins cannot be said to ${system}; left out`)
    if (policy.trust === 'pin-only') say(`trust 'pin-only' cannot be said to ${system}, which wants a trusted chain as well`)
    const ends = Number.isFinite(policy.expiresAt)
    const expires = ends && abilities.expiry && policy.onExpiry === 'allow' ? new Date(policy.expiresAt) : undefined
    if (ends && expires === undefined) say(abilities.expiry ? `expires with onExpiry '${policy.onExpiry}' cannot be said to ${system}, which lets every peer pass afterwards; left out` : `expires cannot be said to ${system}; left out`)
    return [{ name, pattern, includeSubDomains: policy.includeSubDomains || pattern.wildcard === 'any', pins, mode, expires }]
  })
  noteOverlaps(hosts, abilities, notes)
  return { hosts, notes }
}

/** Of a system that knows one host at a time. @throws {PolicyInvalidError} when it is not clear which */
export function oneHost(hosts: readonly SayablePolicy[], host: string | undefined, system: string): SayablePolicy {
  const found = host === undefined ? hosts : hosts.filter(({ name, pattern }) => name === host || pattern.text === host)
  if (found.length === 1) return found[0] as SayablePolicy
  const names = hosts.slice(0, 5).map(({ name }) => name).join(', ')
  if (hosts.length === 0) throw new PolicyInvalidError('pins', `there is no host that could be said to ${system}`)
  throw new PolicyInvalidError('host', `${system} knows one host at a time; right would be --host with one of: ${names}${hosts.length > 5 ? `, and ${hosts.length - 5} more` : ''}`)
}

/** {@link parsePin} of base64 alone. @throws {SourceError} at its place */
export function readDigest(base64: string, position: Position): string {
  return atPlace(position, () => parsePin(`sha256/${base64.trim()}`).text)
}

/** Runs a reader of ours on a value of the file's. @throws {SourceError} at its place */
export function atPlace<T>(position: Position, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof PinInvalidError) throw new SourceError(position, error.message)
    if (error instanceof PolicyInvalidError) throw new SourceError(position, error.reason)
    throw error
  }
}

/** A host name as a pattern of ours. @throws {SourceError} at its place, also for one that is there already */
export function addHost(pins: Record<string, readonly string[] | HostPolicy>, name: string, policy: HostPolicy, position: Position): void {
  const { text } = atPlace(position, () => parseHostPattern(name, 'host'))
  if (Object.hasOwn(pins, text)) throw new SourceError(position, `${text} is there twice`)
  pins[text] = simplest(policy)
}

/** An expiry date of theirs, after which they let every peer pass. */
export function expiryOf(date: string, position: Position): Pick<HostPolicy, 'expires' | 'onExpiry'> {
  const expires = date.trim()
  atPlace(position, () => readInstant(expires, 'expires'))
  return { expires, onExpiry: 'allow' }
}

/** `2027-01-31`; noted when that is not the very instant. */
export function formatDay({ name, expires }: SayablePolicy, notes: string[]): string | undefined {
  if (expires === undefined) return undefined
  const day = expires.toISOString().slice(0, 10)
  if (expires.getTime() !== Date.parse(day)) notes.push(`${name}: expires is a date without a time there; ${expires.toISOString()} became ${day}`)
  return day
}

/** `sha256/…` without its prefix. */
export function digestOf(pin: string): string {
  return pin.slice('sha256/'.length)
}

export const unpinnedNote = (system: string): string => `hosts without pins pass in ${system}, and are refused here unless unpinnedHosts is 'allow'`

/** A policy that only has pins is a list. */
function simplest(policy: HostPolicy): readonly string[] | HostPolicy {
  const names = Object.keys(policy)
  return names.length === 1 && policy.pins ? policy.pins : policy
}

function whyNot({ wildcard, port }: HostPattern, { includeSubDomains }: Policy, { system, ports, patterns }: Abilities): string | undefined {
  if (port !== undefined && !ports) return `${system} knows no ports`
  if (patterns === 'subdomains' && wildcard === 'one') return `${system} has no pattern for exactly one label`
  return patterns === 'okhttp' && includeSubDomains && wildcard === 'exact' && port !== undefined ? `${system} cannot say includeSubDomains of one port` : undefined
}

/** The pins that are of keys; where they count differently there, that is noted. */
function keyPins({ pins }: Policy, { system, pinsCount }: Abilities, say: (text: string) => void): string[] {
  const found: string[] = []
  for (const [pin, place] of pins) {
    if (!pin.startsWith('sha256/')) say(`${pin} is the fingerprint of a certificate, and ${system} pins keys only; left out`)
    else if (pinsCount === 'leaf' && place === pinPlace.issuer) say(`${pin} is the pin of an authority, and ${system} looks at the leaf only; left out`)
    else {
      if (pinsCount === 'leaf' && place !== pinPlace.leaf) say(`${pin} counts anywhere in the chain here, and for the leaf only in ${system}`)
      if (pinsCount === 'chain' && place !== (pinPlace.leaf | pinPlace.issuer)) say(`${pin} counts for ${place === pinPlace.leaf ? 'the leaf' : 'an authority'} only here, and anywhere in the chain in ${system}`)
      found.push(pin)
    }
  }
  return found
}

/** Here the most specific pattern's pins count alone; in OkHttp those of every pattern that fits. */
function noteOverlaps(hosts: readonly SayablePolicy[], { system, patterns }: Abilities, notes: string[]): void {
  if (patterns !== 'okhttp') return
  for (const narrow of hosts) {
    const wide = hosts.find((each) => each !== narrow && overlaps(each.pattern, narrow.pattern))
    if (wide && wide.pins.some((pin) => !narrow.pins.includes(pin))) notes.push(`${narrow.name}: ${system} accepts the pins of ${wide.name} for it as well`)
  }
}

/** Whether every host of a narrower pattern is one of a wider. */
export function overlaps(wide: HostPattern, narrow: HostPattern): boolean {
  if (wide.wildcard === 'exact') return false
  const below = narrow.host.endsWith(`.${wide.host}`)
  if (wide.wildcard === 'any') return below || narrow.host === wide.host
  return narrow.wildcard === 'exact' && below && !narrow.host.slice(0, -wide.host.length - 1).includes('.')
}
