import type { X509Certificate } from 'node:crypto'
import { parseHostPattern } from '../../pin/hostname.js'
import { parsePin } from '../../pin/pin.js'
import { keyPinOf } from '../../pin/spki.js'
import type { PinsFile, PinsRotation } from '../../formats/pins-file.js'
import { parsePolicy, pinPlace } from '../../policy/policy.js'
import type { HostPolicy, Policy } from '../../policy/policy.js'
import { PolicySet } from '../../policy/policy-set.js'
import { TrustAnchors } from '../../verify/anchors.js'
import { buildChain } from '../../verify/chain.js'
import { covers, namesOf } from './lineage.js'

/** One entry of a pins file: a host pattern, or `allowedSHAFingerprints`. */
export interface PinsEntry {
  /** As it is written in the file. */
  readonly name: string
  readonly path: readonly string[]
  readonly policy: Policy
  readonly given: readonly string[] | HostPolicy
  readonly rotation: PinsRotation
}

/** The entries of a pins file, in its order. */
export function entriesOf({ policy, refresh }: PinsFile): PinsEntry[] {
  const entry = (name: string, path: readonly string[], given: readonly string[] | HostPolicy): PinsEntry => ({ name, path, given, policy: parsePolicy(name, given, name), rotation: refresh.hosts?.[name] ?? {} })
  const everywhere = policy.allowedSHAFingerprints
  return [
    ...Object.entries(policy.pins ?? {}).map(([name, given]) => entry(name, ['pins', name], given)),
    ...(everywhere ? [entry(anyHost, [anyHost], everywhere)] : [])
  ]
}

/** The entry whose pins count for a host, `undefined` when it is unpinned. */
export function findEntry(file: PinsFile, host: string, port = 443): PinsEntry | undefined {
  const pattern = new PolicySet(file.policy, 1).find(host, port)?.pattern
  return entriesOf(file).find(({ name }) => (name === anyHost ? name : parseHostPattern(name, 'pins').text) === pattern)
}

/** The entries that a certificate must satisfy: all whose hosts bear one of its names. */
export function entriesFor(file: PinsFile, certificate: X509Certificate): PinsEntry[] {
  const policies = new PolicySet(file.policy, 1)
  // A host that no pattern covers falls to the list for every host.
  const uncovered = namesOf(certificate).some((name) => policies.find(name.replace('*', wildcardProbe), 443)?.pattern === anyHost)
  return entriesOf(file).filter(({ name }) => {
    if (name === anyHost) return uncovered
    const { host, wildcard } = parseHostPattern(name, 'pins')
    if (wildcard === 'exact') return covers(certificate, host)
    const below = `.${host}`
    return namesOf(certificate).some((each) => (wildcard === 'one' ? each.endsWith(below) && !each.slice(0, -below.length).includes('.') : each === host || each.endsWith(below)))
  })
}

/** How an entry's pins stand to a certificate. */
export interface Coverage {
  /** Pins that match and that every client knows. */
  readonly published: readonly string[]
  /** Pins that match, but were announced too lately; and when every client will know them. */
  readonly spreading: ReadonlyArray<{ readonly pin: string; readonly safeAt: Date }>
  /** A pin that the policy rejects and that occurs in the chain. */
  readonly rejected: string | undefined
}

/**
 * Which pins of an entry accept a certificate, as the pinned client will judge it: leaf pins on the leaf, authorities on a
 * chain whose signatures hold.
 *
 * @param chain leaf first, as the server will send it
 * @param ca trust anchors (PEM) in place of Node's own
 * @param now milliseconds since the epoch
 */
export function coverageOf({ policy, rotation }: PinsEntry, chain: readonly X509Certificate[], ca: string | undefined, spreadMs: number, now: number): Coverage {
  const [leaf, ...served] = chain as [X509Certificate, ...X509Certificate[]]
  const own = [leaf.fingerprint256, keyPinOf(leaf)]
  const issuers = anchorsFor(policy, ca).flatMap((anchors) => {
    const verified = buildChain(leaf, served, anchors, now)
    return verified ? [...verified.pins, ...verified.fingerprints] : []
  }).filter((pin) => !own.includes(pin))
  const matching = [...policy.pins].filter(([pin, place]) => (place & pinPlace.leaf && own.includes(pin)) || (place & pinPlace.issuer && issuers.includes(pin))).map(([pin]) => pin)
  const spreading = matching.map((pin) => ({ pin, safeAt: safeAt(rotation, pin, spreadMs) })).filter(({ safeAt }) => safeAt.getTime() > now)
  return {
    published: matching.filter((pin) => !spreading.some((each) => each.pin === pin)),
    spreading,
    rejected: [...own, ...issuers].find((pin) => policy.rejected.has(pin))
  }
}

/** A pinned CA whose certificate is in the file needs no other anchor. */
function anchorsFor({ usesChain, trust, authorities }: Policy, ca: string | undefined): TrustAnchors[] {
  if (!usesChain || trust === 'pin-only') return []
  return [...(authorities.length > 0 ? [new TrustAnchors(authorities.map(String), true)] : []), new TrustAnchors(ca, false)]
}

/** When every client knows a pin: a time that has passed, where nothing is noted of it. */
export function safeAt({ announced = {} }: PinsRotation, pin: string, spreadMs: number): Date {
  const since = instantOf(announced, pin)
  return new Date(since === undefined ? 0 : since.getTime() + spreadMs)
}

/** What is noted of a pin, however it is spelled. */
export function instantOf(instants: Readonly<Record<string, string>>, pin: string): Date | undefined {
  const found = Object.entries(instants).find(([text]) => parsePin(text).text === pin)
  return found && new Date(found[1])
}

const anyHost = 'allowedSHAFingerprints'
const wildcardProbe = 'any-host-of-a-wildcard-certificate'
