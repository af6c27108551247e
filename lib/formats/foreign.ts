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

/** Pins by host pattern, while they are read: any name is one, `__proto__` too. */
export type HostPins = Record<string, readonly string[] | HostPolicy>

export function noPins(): HostPins {
  return Object.create(null) as HostPins
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
  /** Our patterns (OkHttp's grammar), or names with or without all their sub-domains, the most specific of which counts. */
  readonly patterns: 'okhttp' | 'subdomains'
  /** Whether what is written is of one host: see {@link sayableHost}. */
  readonly oneHost: boolean
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
  const leftOut: SayablePattern[] = []
  const separate = Object.entries(options.pins ?? {}).flatMap(([name, given]) => {
    const say = (text: string): void => void notes.push(`${name}: ${text}`)
    const pattern = parseHostPattern(name, 'pins')
    const policy = parsePolicy(name, given, name)
    const unsayable = whyNot(pattern, policy, abilities)
    const pins = keyPins(policy, abilities, say)
    const mode = policy.mode ?? options.mode ?? 'enforce'
    const includeSubDomains = policy.includeSubDomains || pattern.wildcard === 'any'
    const noMode = abilities.modes.includes(mode) ? undefined : `mode '${mode}' cannot be said to ${system}`
    const why = unsayable ?? (pins.length === 0 ? `no pin of it can be said to ${system}` : noMode)
    if (why !== undefined) {
      say(`${why}; the host is left out`)
      leftOut.push({ name, pattern, includeSubDomains })
      return []
    }
    if (policy.rejected.size > 0) say(`rejected pins cannot be said to ${system}; left out`)
    if (policy.trust === 'pin-only') say(`trust 'pin-only' cannot be said to ${system}, which wants a trusted chain as well`)
    const ends = Number.isFinite(policy.expiresAt)
    const expires = ends && abilities.expiry && policy.onExpiry === 'allow' ? new Date(policy.expiresAt) : undefined
    if (ends && expires === undefined) say(abilities.expiry ? `expires with onExpiry '${policy.onExpiry}' cannot be said to ${system}, which lets every peer pass afterwards; left out` : `expires cannot be said to ${system}; left out`)
    return [{ name, pattern, includeSubDomains, pins, mode, expires }]
  })
  if (abilities.oneHost) return { hosts: separate, notes }
  const hosts = withoutNeedlessOff(abilities.patterns === 'subdomains' ? mergeNames(separate, system, notes) : separate, system, notes)
  if (abilities.patterns === 'okhttp') noteOverlaps(hosts, system, notes)
  const wider = widerAmong(hosts)
  for (const narrow of leftOut) {
    const [wide] = wider(narrow.pattern.host, narrow.pattern.wildcard)
    if (wide) notes.push(`${narrow.name}: left out, it falls under ${wide.name} in ${system}`)
  }
  return { hosts, notes }
}

/** {@link sayable} of one host, for a system that knows one at a time. @throws {PolicyInvalidError} when it is not clear which */
export function sayableHost(options: PolicyOptions, host: string | undefined, abilities: Abilities): { host: SayablePolicy; notes: string[] } {
  const { system } = abilities
  if (host !== undefined) {
    const named = Object.entries(options.pins ?? {}).filter(([name]) => name === host || parseHostPattern(name, 'pins').text === host)
    const { hosts: [found], notes } = sayable({ ...options, pins: Object.fromEntries(named) }, abilities)
    if (found) return { host: found, notes }
  }
  const { hosts, notes } = sayable(options, abilities)
  if (host === undefined && hosts.length === 1) return { host: hosts[0] as SayablePolicy, notes }
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
export function addHost(pins: HostPins, name: string, policy: HostPolicy, position: Position): void {
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

/** There one entry stands for a name and, or not, its sub-domains; here `sub.example.com` and `**.sub.example.com` are two. */
function mergeNames(hosts: readonly SayablePolicy[], system: string, notes: string[]): SayablePolicy[] {
  const byHost = new Map<string, SayablePolicy>()
  for (const host of hosts) {
    const other = byHost.get(host.pattern.host)
    const [exact, wide] = host.includeSubDomains ? [other, host] : [host, other]
    byHost.set(host.pattern.host, exact && wide ? merge(exact, wide, system, notes) : host)
  }
  return [...byHost.values()]
}

function merge(exact: SayablePolicy, wide: SayablePolicy, system: string, notes: string[]): SayablePolicy {
  if (exact.mode !== wide.mode || exact.expires?.getTime() !== wide.expires?.getTime()) {
    notes.push(`${wide.name}: ${system} has one entry for ${exact.name} and its sub-domains, and their modes or expiry dates differ; left out`)
    return exact
  }
  const pins = [...new Set([...exact.pins, ...wide.pins])]
  if (pins.length > exact.pins.length) notes.push(`${exact.name}: ${system} accepts the pins of ${wide.name} for it as well`)
  if (pins.length > wide.pins.length) notes.push(`${wide.name}: ${system} accepts the pins of ${exact.name} for it as well`)
  return { ...wide, pins }
}

/** There a host is not pinned by not being named; only below one that includes its sub-domains is there something to switch off. */
function withoutNeedlessOff(hosts: readonly SayablePolicy[], system: string, notes: string[]): SayablePolicy[] {
  const wider = widerAmong(hosts.filter(({ mode }) => mode !== 'off'))
  return hosts.filter(({ name, pattern, mode, pins, expires }) => {
    if (mode !== 'off') return true
    const [parent] = wider(pattern.host, 'any')
    if (parent === undefined) notes.push(`${name}: mode 'off' cannot be said to ${system} but below a pinned host that includes its sub-domains; the host is left out`)
    else if (expires !== undefined || pins.length !== parent.pins.length || pins.some((pin) => !parent.pins.includes(pin))) notes.push(`${name}: ${system} has no pins for a host that is not pinned; its pins${expires ? ' and their expiry date' : ''} are left out`)
    return parent !== undefined
  })
}

/** Here the most specific pattern's pins count alone; in OkHttp those of every pattern that fits. */
function noteOverlaps(hosts: readonly SayablePolicy[], system: string, notes: string[]): void {
  const wider = widerAmong(hosts)
  for (const narrow of hosts) {
    const more = wider(narrow.pattern.host, narrow.pattern.wildcard).filter((wide) => wide !== narrow && wide.pins.some((pin) => !narrow.pins.includes(pin)))
    if (more.length > 0) notes.push(`${narrow.name}: ${system} accepts the pins of ${more.map(({ name }) => name).join(', ')} for it as well`)
    if (narrow.pattern.wildcard !== 'any') continue
    // Of the two that fit this one name, the pattern for one label is the more specific here.
    const [one] = wider(narrow.pattern.host, 'exact').filter(({ pattern }) => pattern.wildcard === 'one')
    if (one && narrow.pins.some((pin) => !one.pins.includes(pin))) notes.push(`${one.name}: ${system} accepts the pins of ${narrow.name} for ${narrow.pattern.host} as well`)
  }
}

/** What a pattern covers. */
export interface SayablePattern {
  readonly name: string
  readonly pattern: HostPattern
  readonly includeSubDomains: boolean
}

/**
 * Finds, the nearest first, the patterns that cover every host of another; itself not being one. By name: each of very many
 * takes no longer than each of few.
 */
export function widerAmong<T extends SayablePattern>(all: readonly T[]): (host: string, wildcard: HostPattern['wildcard']) => T[] {
  const one = new Map<string, T>()
  const any = new Map<string, T>()
  for (const each of all) {
    const { host, wildcard } = each.pattern
    if (wildcard === 'one') one.set(host, each)
    else if (each.includeSubDomains || wildcard === 'any') any.set(host, each)
  }
  return (host, wildcard) => {
    const found = [wildcard === 'exact' ? one.get(above(host)) : undefined, wildcard === 'any' ? undefined : any.get(host)]
    for (let name = above(host); name !== ''; name = above(name)) found.push(any.get(name))
    return found.filter((each) => each !== undefined)
  }
}

/** The name without its first label. */
function above(host: string): string {
  const dot = host.indexOf('.')
  return dot === -1 ? '' : host.slice(dot + 1)
}

/** The pins of the nearest host above that includes its sub-domains. */
export function pinsAbove(name: string, pins: Readonly<HostPins>, position: Position): readonly string[] | undefined {
  const { host } = atPlace(position, () => parseHostPattern(name, 'host'))
  for (let each = above(host); each !== ''; each = above(each)) {
    const parent = pins[each] as HostPolicy | undefined
    if (parent?.includeSubDomains && parent.mode !== 'off') return parent.pins
  }
  return undefined
}
