import type { X509Certificate } from 'node:crypto'
import type { Diagnosis } from '../errors.js'
import type { Policy } from '../policy/policy.js'
import { TrustAnchors, nameKey } from '../verify/anchors.js'
import { buildChain, isInDate, servedAfter } from '../verify/chain.js'
import type { VerifiedChain } from '../verify/chain.js'
import { findMisplaced } from '../verify/misplaced.js'
import { checkName } from '../verify/name.js'
import { escapeUnprintable, oneLine as wholeName, organisationOf, summarise } from '../verify/records.js'
import type { PeerRecord } from '../verify/records.js'
import type { HostHistory } from './history.js'
import { findInterceptor } from './interceptors.js'
import { isPublicRoot } from './public-roots.js'

/** All that a diagnosis is made of. Times are milliseconds since the epoch. */
export interface Refused {
  readonly host: string
  readonly port: number
  readonly error: Error & { code?: unknown }
  readonly policy: Policy | undefined
  readonly leaf: X509Certificate | undefined
  readonly record: PeerRecord | undefined
  readonly anchors: TrustAnchors | undefined
  readonly earlier: HostHistory | undefined
  readonly pinSet: PinSetFreshness | undefined
  readonly now: number
  /** The time by the `Date` headers of earlier answers, where there were any. */
  readonly serverNow: number | undefined
  /** What trust anchors are given with, where that is not the option `tls.ca`. */
  readonly caOption?: string
}

/** What a source of pins that change while the program runs knows of their age. */
export interface PinSetFreshness {
  /** When the pins were last fetched or confirmed, in milliseconds since the epoch. */
  readonly updatedAt: number
  /** Updates are overdue. */
  readonly stale: boolean
  /** Why the last attempt failed. */
  readonly failure?: string | undefined
  /** Of the signed set in force. */
  readonly version?: number | undefined
}

/**
 * Why a peer was refused, as far as what was seen tells. Each rule looks for one cause; the first that finds its own
 * wins, so the order goes from what is certain to what is a guess.
 *
 * Whoever attacks can imitate most of it, a certificate of the right public CA included; so it advises and decides
 * nothing.
 */
export function diagnose(refused: Refused): Diagnosis {
  try {
    const peer = new Peer(refused)
    for (const rule of rules) {
      const diagnosis = rule(peer)
      if (diagnosis) return diagnosis
    }
    return unexplained(peer)
  } catch (error) {
    return { verdict: 'unknown', confidence: 'low', evidence: [`The diagnosis itself failed: ${error instanceof Error ? error.message : 'for no known reason'}.`], advice: adviceFor.unknown }
  }
}

/** In one paragraph, for error texts and logs. */
export function formatDiagnosis({ verdict, confidence, evidence, advice, newPins = [] }: Diagnosis): string {
  return [`${verdict} (confidence: ${confidence})`, ...evidence, `To do: ${advice}`, ...newPins.map((pin) => `New pin: ${pin}`)].join('\n    ')
}

type Rule = (peer: Peer) => Diagnosis | undefined

const rules: readonly Rule[] = [expiredPolicy, unpinned, bypassed, rejectedKey, noTrustAnchor, misplacedPin, knownInterceptor, outOfDate, otherName, missingIntermediate, untrustedIssuer, addedAnchor, sameKey, sameOwner, stalePins, otherIssuer, firstSight]

/** The refused peer, and what can be worked out of it: each once, and only where a rule asks. */
class Peer {
  readonly code: string
  readonly #refused: Refused
  #chain: { value: VerifiedChain | undefined } | undefined

  constructor(refused: Refused) {
    this.#refused = refused
    this.code = typeof refused.error.code === 'string' ? refused.error.code : ''
  }

  get facts(): Refused {
    return this.#refused
  }

  get leaf(): X509Certificate | undefined {
    return this.#refused.leaf
  }

  get served(): X509Certificate[] {
    return this.leaf ? servedAfter(this.leaf) : []
  }

  /** With all trust anchors, whatever the pins were looked for in. */
  get chain(): VerifiedChain | undefined {
    const { leaf, record, anchors, now } = this.#refused
    this.#chain ??= { value: leaf && anchors && (record ? record.chainToTell(leaf, anchors, now) : buildChain(leaf, servedAfter(leaf), anchors, now)) }
    return this.#chain.value
  }

  /** PKI itself accepts the peer, name included. */
  get isTrusted(): boolean {
    return this.code.startsWith('ERR_PIN_')
  }

  get caOption(): string {
    return this.#refused.caOption ?? 'tls.ca'
  }

  get fitsHost(): boolean {
    return this.leaf !== undefined && checkName(this.#refused.host, this.leaf) === undefined
  }

  get lastAccepted(): { record: PeerRecord; lastSeen: number } | undefined {
    return this.#refused.earlier?.accepted[0]
  }

  /** Those who vouch for the leaf, by their own word. */
  get issuers(): string[] {
    return this.leaf ? [this.leaf.issuer, ...this.served.flatMap(({ subject, issuer }) => [subject, issuer])].map(oneLine) : []
  }

  get newPins(): string[] {
    const { pin, fingerprint } = summarise(this.leaf as X509Certificate)
    return pin === undefined ? [fingerprint] : [pin, fingerprint]
  }

  /** How long ago the leaf's validity began. */
  get ageMs(): number {
    return this.leaf ? this.#refused.now - Date.parse(this.leaf.validFrom) : Infinity
  }
}

function expiredPolicy({ code, facts: { policy, now, serverNow } }: Peer): Diagnosis | undefined {
  if (code !== 'ERR_PIN_EXPIRED' || policy === undefined) return undefined
  const expires = new Date(policy.expiresAt)
  if (serverNow !== undefined && serverNow < policy.expiresAt && isFar(now, serverNow)) return clockWrong(now, serverNow, [`The pins for ${policy.pattern} expire on ${instant(expires)}, which is still to come by the servers' time.`])
  return { verdict: 'pins-stale', confidence: 'high', evidence: [`The pins for ${policy.pattern} expired on ${instant(expires)}, ${span(now - policy.expiresAt)} ago.`], advice: adviceFor['pins-stale'] }
}

function unpinned({ code, facts: { host } }: Peer): Diagnosis | undefined {
  if (code !== 'ERR_PIN_HOST_UNPINNED') return undefined
  return { verdict: 'host-unpinned', confidence: 'high', evidence: [`No host pattern of the policy covers ${host}.`], advice: adviceFor['host-unpinned'] }
}

function bypassed({ code, facts: { error } }: Peer): Diagnosis | undefined {
  if (code !== 'ERR_PIN_BYPASS') return undefined
  return { verdict: 'bypass', confidence: 'high', evidence: [error.message], advice: adviceFor.bypass }
}

function rejectedKey(peer: Peer): Diagnosis | undefined {
  const { policy } = peer.facts
  if (!policy || policy.rejected.size === 0 || !peer.leaf) return undefined
  const certificates = peer.chain?.certificates ?? [peer.leaf]
  const found = certificates.map(summarise).find(({ pin, fingerprint }) => policy.rejected.has(fingerprint) || (pin !== undefined && policy.rejected.has(pin)))
  if (!found) return undefined
  return { verdict: 'rejected-key', confidence: 'high', evidence: [`The policy for ${policy.pattern} rejects ${policy.rejected.has(found.fingerprint) ? found.fingerprint : found.pin}, the certificate of ${clip(found.subject, 200) || '(no subject)'}.`], advice: adviceFor['rejected-key'] }
}

/** The handshake has proved that the peer has the pinned key, which speaks against an interceptor whatever its issuer is called. */
function noTrustAnchor(peer: Peer): Diagnosis | undefined {
  const { leaf, code, served, caOption, lastAccepted, facts: { policy, host } } = peer
  if (!policy || !leaf || !unanchored.has(code) || peer.chain) return undefined
  const pinned = findPinned(peer, policy)
  if (!pinned) return undefined
  const { pin, authority } = pinned
  const selfSigned = isSelfIssued(leaf)
  const last = served.at(-1) ?? leaf
  const cut = !isSelfIssued(last)
  // A certificate was forgotten: its own rule says so.
  if (cut && lastAccepted && nameKey(lastAccepted.record.leaf.issuer) === nameKey(leaf.issuer)) return undefined
  if (code === 'ERR_PIN_CHAIN_UNVERIFIED' && cut) return undefined
  const evidence = [authority ? `The certificate is signed by a pinned CA ("${oneLine(authority.subject)}", ${pin}).` : `The server has shown that it holds the key of a pinned certificate (${pin}).`]
  evidence.push(selfSigned ? 'The certificate is self-signed, so no trust anchor vouches for it.' : `But no trust anchor vouches for it: ${cut ? `none has issued "${oneLine(last.subject)}" (issuer "${oneLine(last.issuer)}"), the last certificate that the server sent` : `it ends at "${oneLine(last.subject)}", which is none`}. Pins add to that trust and do not replace it.`)
  if (!peer.fitsHost) evidence.push(`Besides, the certificate is for ${listNames(namesOf(leaf)) || 'no name at all'}, not for ${host}.`)
  const privateCa = `Pass the certificate of its CA as ${caOption}, if that is a private CA: the key is the pinned one, but no trust anchor vouches for it.`
  const advice = selfSigned
    ? `Set trust: 'pin-only' for this host, which takes pins of the leaf only (pins: { '${quotable(host)}': { publicKeys: ['${summarise(leaf).pin ?? 'sha256/…'}'], trust: 'pin-only' } }), or pass the certificate itself as ${caOption}.`
    : cut ? `${privateCa} If it is a public one, the server must send its intermediate certificates.` : privateCa
  return { verdict: 'no-trust-anchor', confidence: 'high', evidence, advice }
}

/** A pin of the policy for the leaf, wherever in it; else for a served CA that has really signed the leaf. */
function findPinned({ leaf, served, facts: { now } }: Peer, { pins }: Policy): { pin: string; authority?: X509Certificate } | undefined {
  const pinOf = (certificate: X509Certificate): string | undefined => {
    const { pin, fingerprint } = summarise(certificate)
    return pin !== undefined && pins.has(pin) ? pin : pins.has(fingerprint) ? fingerprint : undefined
  }
  const own = leaf && pinOf(leaf)
  if (!leaf || own !== undefined) return own === undefined ? undefined : { pin: own }
  for (const authority of served) {
    const pin = pinOf(authority)
    if (pin !== undefined && buildChain(leaf, served, new TrustAnchors(authority.toString(), true), now)) return { pin, authority }
  }
  return undefined
}

/** The pin of a CA where the leaf's should stand, or the other way round. */
function misplacedPin(peer: Peer): Diagnosis | undefined {
  const { leaf, chain, served, code, lastAccepted, facts: { policy } } = peer
  if (!policy || !leaf || code !== 'ERR_PIN_MISMATCH' || policy.trust === 'pin-only') return undefined
  const found = findMisplaced(policy, chain?.certificates ?? [leaf, ...served])
  // Where the pins have accepted a certificate before, a CA's that stands in the wrong place explains no change.
  if (!found || (found.depth > 0 && lastAccepted)) return undefined
  const { pin, kind, depth, certificate } = found
  const what = kind === 'key' ? 'key' : 'fingerprint'
  const whole = policy.pattern === 'allowedSHAFingerprints'
  const own = summarise(certificate).pin
  if (depth === 0) {
    const right = kind === 'key' ? 'publicKeys' : 'certificates'
    const evidence = [`${pin} is the ${what} of the server's own certificate, but stands under authorities, which names CAs only and never the server's certificate itself.`]
    return { verdict: 'misplaced-pin', confidence: 'high', evidence, advice: `Put ${pin} under ${right} instead of authorities.` }
  }
  const stands = kind === 'key' ? 'publicKeys' : whole ? 'allowedSHAFingerprints' : 'certificates or pins'
  const evidence = [`${pin} is the ${what} of the CA "${oneLine(certificate.subject)}", but stands under ${stands}, where a ${what} names the server's own certificate only.`]
  if (!chain) evidence.push('That CA was only sent by the server; no verified chain shows that it has issued the certificate.')
  const key = own === undefined ? '' : `its key's pin ${own}`
  const advice = kind === 'key' ? `Put ${pin} under authorities, or under pins, which take the key of any certificate of the chain.` : whole ? `Put ${key || 'the pin of its key'} there, or ${pin} under authorities of a host (pins: { host: { authorities: […] } }).` : `Put ${pin} under authorities${key && `, or ${key} under pins`}.`
  return { verdict: 'misplaced-pin', confidence: chain ? 'high' : 'low', evidence, advice: `${advice} A CA that is pinned vouches for every certificate that it issues for this host.` }
}

function knownInterceptor(peer: Peer): Diagnosis | undefined {
  const { lastAccepted } = peer
  for (const name of peer.issuers) {
    const found = findInterceptor(name)
    // Where its certificates are the ones that are pinned, its name explains nothing.
    if (!found || (lastAccepted && findInterceptor(oneLine(lastAccepted.record.leaf.issuer))?.product === found.product)) continue
    const evidence = [`The certificate's issuer calls itself "${name}", as the CA of ${found.product} does (${found.kind}).`, ...describeAnchor(peer), ...describeIssuerChange(peer), readsTraffic]
    return { verdict: 'intercepting-proxy', product: found.product, confidence: 'high', evidence, advice: adviceForInterceptor(found.product, found.kind) }
  }
  return undefined
}

function outOfDate(peer: Peer): Diagnosis | undefined {
  const { leaf, served, facts: { now, serverNow, earlier } } = peer
  if (!leaf || !['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID'].includes(peer.code)) return undefined
  const bad = [leaf, ...served].find((certificate) => !isInDate(certificate, now))
  const which = bad === undefined || bad === leaf ? "The server's certificate" : `The CA certificate of ${oneLine(bad.subject)}`
  const from = new Date((bad ?? leaf).validFrom)
  const to = new Date((bad ?? leaf).validTo)
  const early = now < from.getTime()
  const when = early ? `${which} is valid from ${instant(from)}, ${span(from.getTime() - now)} from now by this machine's clock.` : `${which} expired on ${instant(to)}, ${span(now - to.getTime())} ago by this machine's clock.`

  if (serverNow !== undefined && isFar(now, serverNow) && isInDate(bad ?? leaf, serverNow)) return clockWrong(now, serverNow, [when])
  const later = earlier?.accepted.find(({ record, lastSeen }) => lastSeen > now + toleranceMs || Date.parse(record.leaf.validFrom) > now + toleranceMs)
  if (early && later) return { verdict: 'clock-wrong', confidence: 'high', evidence: [when, 'A certificate of this host was accepted earlier that would not be valid yet either: the clock has gone back.'], advice: adviceFor['clock-wrong'] }
  if (early) return { verdict: 'clock-wrong', confidence: 'medium', evidence: [when, 'CAs do not issue certificates for the future.'], advice: adviceFor['clock-wrong'] }

  const confirmed = serverNow !== undefined && !isFar(now, serverNow) ? ["Earlier answers' Date headers agree with this machine's clock."] : []
  const accepted = earlier?.accepted.some(({ record }) => record.fingerprint === leaf.fingerprint256) ? ['The same certificate was accepted while it was in date.'] : []
  const evidence = [when, ...confirmed, ...accepted, ...(confirmed.length > 0 ? [] : ["No earlier answer's Date header confirms this machine's clock, which may be wrong instead."])]
  return { verdict: 'expired', confidence: confirmed.length > 0 || accepted.length > 0 ? 'high' : 'medium', evidence, advice: adviceFor.expired }
}

function otherName(peer: Peer): Diagnosis | undefined {
  const { leaf, facts: { host } } = peer
  if (!leaf || peer.isTrusted || peer.fitsHost) return undefined
  const names = namesOf(leaf)
  const evidence = [`The certificate is for ${listNames(names) || oneLine(leaf.subject) || 'no name at all'}, not for ${host}.`, ...describeAnchor(peer)]
  const portal = [...names, oneLine(leaf.subject), oneLine(leaf.issuer)].find((name) => portalNames.test(name))
  if (portal !== undefined) return { verdict: 'captive-portal', confidence: peer.chain ? 'medium' : 'high', evidence: [...evidence, `"${clip(portal, 100)}" is what network login pages and gateways are called.`], advice: adviceFor['captive-portal'] }
  if (peer.chain === undefined) return { verdict: 'captive-portal', confidence: 'low', evidence: [...evidence, 'Network login pages and gateways answer for every host with such a certificate; a wrong server is possible as well.'], advice: adviceFor['captive-portal'] }
  return { verdict: 'wrong-host', confidence: 'high', evidence, advice: adviceFor['wrong-host'] }
}

function missingIntermediate(peer: Peer): Diagnosis | undefined {
  const { leaf, code, served, lastAccepted, facts: { earlier } } = peer
  const last = served.at(-1) ?? leaf
  if (!leaf || !last || peer.chain || !unanchored.has(code) || isSelfIssued(last)) return undefined
  const known = earlier?.accepted.some(({ record }) => nameKey(record.leaf.issuer) === nameKey(leaf.issuer)) ?? false
  // Another issuer than before, or one that has signed just now, is no forgotten certificate.
  if (!known && (lastAccepted || describeFreshness(peer).length > 0 || (served.length > 0 && !peer.isTrusted))) return undefined
  const sent = served.length === 0 ? 'its own certificate alone' : `${served.length + 1} certificates`
  const evidence = [`The server sent ${sent}, and none of the trust anchors has issued the last one, "${oneLine(last.subject)}" (issuer "${oneLine(last.issuer)}").`]
  evidence.push(known ? 'Earlier certificates of this host that were accepted name the same issuer.' : 'No earlier connection shows what this host usually presents; a certificate made by an interceptor can look the same.')
  return { verdict: 'chain-incomplete', confidence: known || peer.isTrusted ? 'medium' : 'low', evidence, advice: `The server should send its intermediate certificates; or pass the trust anchor as ${peer.caOption}.` }
}

function untrustedIssuer(peer: Peer): Diagnosis | undefined {
  const { leaf } = peer
  if (!leaf || peer.isTrusted || peer.chain || !unanchored.has(peer.code)) return undefined
  const changed = describeIssuerChange(peer)
  const fresh = describeFreshness(peer)
  const evidence = [`The certificate bears the right name, but nobody among the trust anchors vouches for its issuer "${oneLine(leaf.issuer)}".`, ...changed, ...fresh]
  if (changed.length === 0) evidence.push('No earlier connection shows what this host usually presents; it may simply use a private CA. Or something between this machine and the server reads and can change the traffic: the two cannot be told apart here.')
  else evidence.push(readsTraffic)
  return { verdict: 'intercepting-proxy', confidence: changed.length > 0 ? 'high' : fresh.length > 0 ? 'medium' : 'low', evidence, advice: changed.length > 0 ? adviceForInterceptor() : `Find out whose CA that is. If the server uses a private one, pass that CA as ${peer.caOption}. Otherwise: ${adviceForInterceptor()}` }
}

function addedAnchor(peer: Peer): Diagnosis | undefined {
  const anchor = peer.chain?.certificates.at(-1)
  const { anchors, earlier } = peer.facts
  if (!anchor || !anchors || isPublicRoot(anchor)) return undefined
  const before = earlier?.accepted.map(({ record }) => record.knownChain?.certificates.at(-1)) ?? []
  if (before.some((each) => each?.fingerprint256 === anchor.fingerprint256)) return undefined
  const publicBefore = before.some((each) => each && isPublicRoot(each))
  // A private CA that the user has named is nothing to wonder at.
  if (anchors.given && !publicBefore) return undefined
  const evidence = [...describeAnchor(peer), ...describeIssuerChange(peer), ...describeFreshness(peer)]
  if (publicBefore) evidence.push('Earlier certificates of this host ended at a public root.')
  evidence.push(readsTraffic)
  return { verdict: 'intercepting-proxy', confidence: 'high', evidence, advice: adviceForInterceptor() }
}

function sameKey(peer: Peer): Diagnosis | undefined {
  const { leaf, facts: { earlier } } = peer
  const pin = leaf && summarise(leaf).pin
  const match = pin === undefined ? undefined : earlier?.accepted.find(({ record }) => record.pin === pin)
  if (!leaf || pin === undefined || !match) return undefined
  const evidence = [`The key is the one of a certificate that was accepted earlier (${pin}); the certificate itself is another one, valid from ${day(leaf.validFrom)} to ${day(leaf.validTo)}.`, 'The pins name the old certificate, not its key.']
  return { verdict: 'renewed-same-key', confidence: 'high', evidence, advice: `Pin the key instead of the certificate, which then survives renewals: publicKeys: ['${pin}'].`, newPins: [pin, leaf.fingerprint256] }
}

/** Another certificate of the same issuer for the same names: a new one, or one more. */
function sameOwner(peer: Peer): Diagnosis | undefined {
  const { leaf, lastAccepted, chain, facts: { earlier, pinSet, now } } = peer
  if (!leaf || !peer.isTrusted || !lastAccepted) return undefined
  const before = lastAccepted.record.leaf
  const kin = kinship(before, leaf)
  const mine = earlier?.refused.find(({ fingerprint }) => fingerprint === leaf.fingerprint256)
  // Seen before the last acceptance: the old certificate is still in service.
  const concurrent = mine !== undefined && mine.firstSeen < lastAccepted.lastSeen
  if (!kin.names || !(kin.issuer || concurrent)) return undefined

  const newer = Date.parse(leaf.validFrom) - Date.parse(before.validFrom)
  const evidence = [`It is for the same ${kin.sameNames ? 'names' : 'host'} as the certificate accepted ${ago(now - lastAccepted.lastSeen)}, and ${kin.issuer ? `from the same issuer (${kin.issuer})` : `from another issuer ("${oneLine(leaf.issuer)}")`}.`]
  if (!chain) evidence.push(noVoucher)
  const otherKind = before.publicKey.asymmetricKeyType !== leaf.publicKey.asymmetricKeyType
  if (concurrent || newer <= 0 || (otherKind && newer < pairMs)) {
    if (concurrent) evidence.push('Both certificates were presented in turn, so both are in service.')
    if (newer <= 0) evidence.push(`It is not newer than the accepted one (valid from ${day(leaf.validFrom)}; the accepted one from ${day(before.validFrom)}).`)
    if (otherKind) evidence.push(`Its key is of another kind (${leaf.publicKey.asymmetricKeyType}) than the accepted one's (${before.publicKey.asymmetricKeyType}), as with servers that hold one certificate of each.`)
    return { verdict: 'multi-certificate-host', confidence: chain && kin.issuer && kin.sameNames ? 'medium' : 'low', evidence, advice: adviceFor['multi-certificate-host'], newPins: peer.newPins }
  }

  evidence.push(`It is newer: valid from ${day(leaf.validFrom)} to ${day(leaf.validTo)}; the accepted one is valid from ${day(before.validFrom)} to ${day(before.validTo)}.`)
  const lifetime = Date.parse(before.validTo) - Date.parse(before.validFrom)
  const due = now > Date.parse(before.validFrom) + (lifetime * 2) / 3
  evidence.push(due ? 'The accepted one has passed two thirds of its life, so a renewal was due.' : 'The accepted one is far from its end, so a renewal was not due.')
  if (pinSet?.stale) return { verdict: 'pins-stale', confidence: chain ? 'medium' : 'low', evidence: [...evidence, describePinSet(pinSet, now)], advice: adviceFor['pins-stale'], newPins: peer.newPins }
  return { verdict: 'key-rotated', confidence: !chain ? 'low' : due && kin.sameNames ? 'high' : 'medium', evidence, advice: adviceFor['key-rotated'], newPins: peer.newPins }
}

function stalePins(peer: Peer): Diagnosis | undefined {
  const { pinSet, now } = peer.facts
  if (!peer.isTrusted || !pinSet?.stale || peer.lastAccepted) return undefined
  return { verdict: 'pins-stale', confidence: 'low', evidence: [describePinSet(pinSet, now), ...describeAnchor(peer)], advice: adviceFor['pins-stale'] }
}

function otherIssuer(peer: Peer): Diagnosis | undefined {
  const { lastAccepted } = peer
  if (!lastAccepted || !peer.isTrusted) return undefined
  const fresh = describeFreshness(peer)
  if (fresh.length === 0) return undefined
  return { verdict: 'intercepting-proxy', confidence: 'medium', evidence: [...describeIssuerChange(peer), ...fresh, ...describeAnchor(peer)], advice: adviceForInterceptor() }
}

/** Nothing to compare with: a key that was changed while the program did not run looks like this, and so does an attack. */
function firstSight(peer: Peer): Diagnosis | undefined {
  const { leaf } = peer
  if (!leaf || peer.code !== 'ERR_PIN_MISMATCH' || peer.lastAccepted) return undefined
  const fresh = describeFreshness(peer)
  const evidence = [...(peer.chain ? describeAnchor(peer) : [noVoucher]), `It bears the right name and is valid from ${day(leaf.validFrom)} to ${day(leaf.validTo)}.`, ...fresh, 'No earlier connection of this process shows what this host usually presents, so a changed key cannot be told from an attacker who has got a certificate of a CA that is trusted here.']
  if (fresh.length > 0 && !(peer.chain && isPublicRoot(peer.chain.certificates.at(-1) as X509Certificate))) return { verdict: 'intercepting-proxy', confidence: 'low', evidence, advice: adviceForInterceptor() }
  return { verdict: 'key-rotated', confidence: 'low', evidence, advice: `Do not add the new pins before the server's owner has confirmed them on another way than this connection; until then treat this as an attack. If the new key is theirs, add its pins and keep a backup pin.`, newPins: peer.newPins }
}

function unexplained(peer: Peer): Diagnosis {
  const { leaf } = peer
  if (!leaf) return { verdict: 'unknown', confidence: 'low', evidence: ['The connection ended before a certificate was read.'], advice: adviceFor.unknown }
  return { verdict: 'unknown', confidence: 'low', evidence: [...describeAnchor(peer), ...describeIssuerChange(peer), `It is valid from ${day(leaf.validFrom)} to ${day(leaf.validTo)}.`], advice: adviceFor.unknown }
}

const adviceFor = {
  'key-rotated': "Ask the server's owner, on another way than this connection, whether the new key is theirs; a certificate that an attacker got from the same CA looks the same. If it is theirs, add the new pins and keep a backup pin.",
  'multi-certificate-host': "Ask the server's owner which certificates are in service, and pin all their keys, or the CA that issues them.",
  'wrong-host': 'Check the host name, DNS, hosts file, load balancer and server name (tls.servername): another server has answered.',
  'captive-portal': "Open a browser on this network and log in, or leave the network. Nothing was sent to the portal.",
  expired: "The server's owner must renew the certificate. Pinning cannot and should not go around this.",
  'clock-wrong': "Set this machine's clock (NTP), then try again.",
  'pins-stale': 'Fetch or ship new pins: see whether the update source can be reached, and the date of the release that is running.',
  'rejected-key': "Somebody uses a key that the policy names as rejected, which is usually one that was stolen. If the server is yours, replace its key; otherwise treat this as an attack.",
  'host-unpinned': "Add pins for this host. Where PKI alone may decide for every host without pins, set unpinnedHosts: 'allow'.",
  bypass: 'Do what the message says is right; the request was not sent.',
  unknown: 'Treat it as an attack until it is explained: compare the certificate with the one seen from another network, and ask the owner of the server.'
} as const

function adviceForInterceptor(product?: string, kind?: string): string {
  const remedy = kind === 'antivirus' ? `Switch off the HTTPS scanning of ${product}, or except this program or host from it.` : kind === 'debugging proxy' ? `If nobody here has started ${product}, treat this as an attack. Otherwise stop it, or run the program without the proxy.` : 'Ask the people who run the network to except this host from TLS inspection, or use another network.'
  return `${remedy} Do not pin this certificate.`
}

const readsTraffic = 'Whoever holds the key of such a certificate stands between this machine and the server, and reads and can change the traffic.'

const noVoucher = 'No trust anchor was found to vouch for it: anybody can make such a certificate.'

/** Node's codes, and ours, for a chain that ends at no trust anchor. */
const unanchored = new Set(['UNABLE_TO_GET_ISSUER_CERT', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'SELF_SIGNED_CERT_IN_CHAIN', 'DEPTH_ZERO_SELF_SIGNED_CERT', 'ERR_PIN_CHAIN_UNVERIFIED'])

const portalNames = /captive|\bportal\b|hotspot|\bwi-?fi\b|\bwlan\b|\bguest\b|gateway|\brouter\b|fritz\.box|\blogin\.|\bwelcome\b|meraki|aruba|unifi|mikrotik|\.local(?:domain)?$|\.lan$/i

const minuteMs = 60_000
const dayMs = 24 * 60 * minuteMs
const toleranceMs = 5 * minuteMs
/** Public CAs date certificates back, by an hour as a rule; what is younger was made on the spot. */
const freshMs = 30 * minuteMs
/** Certificates that belong together are ordered together. */
const pairMs = 7 * dayMs

function clockWrong(now: number, serverNow: number, evidence: string[]): Diagnosis {
  const where = `By the Date headers of earlier answers it is ${instant(new Date(serverNow))}; this machine's clock says ${instant(new Date(now))}, ${span(Math.abs(now - serverNow))} ${now > serverNow ? 'ahead' : 'behind'}.`
  return { verdict: 'clock-wrong', confidence: 'high', evidence: [...evidence, where], advice: adviceFor['clock-wrong'] }
}

function isFar(now: number, serverNow: number): boolean {
  return Math.abs(now - serverNow) > toleranceMs
}

function describeAnchor({ chain, caOption, facts: { anchors } }: Peer): string[] {
  const anchor = chain?.certificates.at(-1)
  if (!anchor) return []
  if (isPublicRoot(anchor)) return [`A public CA vouches for it ("${oneLine(anchor.subject)}", bundled with Node.js).`]
  return [anchors?.given ? `A CA of the ${caOption} option vouches for it ("${oneLine(anchor.subject)}").` : `It ends at "${oneLine(anchor.subject)}", which is not among the public roots bundled with Node.js but was added to the trust store of this machine or process (NODE_EXTRA_CA_CERTS, --use-system-ca, --use-openssl-ca).`]
}

function describeIssuerChange({ leaf, lastAccepted }: Peer): string[] {
  if (!leaf || !lastAccepted || kinship(lastAccepted.record.leaf, leaf).issuer) return []
  return [`Its issuer is "${oneLine(leaf.issuer)}"; the certificate accepted earlier was issued by "${oneLine(lastAccepted.record.leaf.issuer)}".`]
}

function describeFreshness({ ageMs }: Peer): string[] {
  return ageMs >= 0 && ageMs < freshMs ? [`It was issued ${span(ageMs)} ago, as by programs that make certificates on the spot.`] : []
}

function describePinSet({ updatedAt, failure }: PinSetFreshness, now: number): string {
  return `The pins were last brought up to date ${span(now - updatedAt)} ago, and an update is overdue${failure === undefined ? '' : ` (${failure})`}.`
}

/** What two certificates have in common. */
function kinship(a: X509Certificate, b: X509Certificate): { issuer: string | undefined; names: boolean; sameNames: boolean } {
  const organisation = organisationOf(a.issuer)
  const same = nameKey(a.issuer) === nameKey(b.issuer)
  const issuer = same ? oneLine(b.issuer) : organisation !== undefined && organisation === organisationOf(b.issuer) ? organisation : undefined
  const names = new Set(namesOf(a))
  const shared = namesOf(b).filter((name) => names.has(name)).length
  return { issuer, names: shared > 0, sameNames: shared > 0 && shared === names.size && shared === namesOf(b).length }
}

/** A certificate may hold names of any length. */
function oneLine(name: string | undefined): string {
  return clip(wholeName(name), 200)
}

function clip(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length)}…` : text
}

function namesOf({ subjectAltName }: X509Certificate): string[] {
  return escapeUnprintable(subjectAltName ?? '').split(', ').filter(Boolean).map((name) => name.replace(/^(?:DNS|IP Address):/, '').toLowerCase())
}

function listNames(names: readonly string[]): string {
  const shown = names.slice(0, 5).map((name) => clip(name, 100)).join(', ')
  return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown
}

/** For a suggestion to paste. */
function quotable(host: string): string {
  return clip(escapeUnprintable(host).replace(/['\\]/g, ''), 253)
}

function isSelfIssued({ subject, issuer }: X509Certificate): boolean {
  return nameKey(subject) === nameKey(issuer)
}

function instant(date: Date): string {
  return Number.isNaN(date.getTime()) ? '?' : `${date.toISOString().slice(0, 16)}Z`
}

function day(text: string): string {
  return instant(new Date(text)).slice(0, 10)
}

function ago(ms: number): string {
  return ms < minuteMs ? 'a moment ago' : `${span(ms)} ago`
}

function span(ms: number): string {
  const units: ReadonlyArray<readonly [number, string]> = [[dayMs, 'day'], [60 * minuteMs, 'hour'], [minuteMs, 'minute']]
  for (const [size, unit] of units) {
    const count = Math.floor(ms / size)
    if (count >= 1) return `${count} ${unit}${count === 1 ? '' : 's'}`
  }
  return 'less than a minute'
}
