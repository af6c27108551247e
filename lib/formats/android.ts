import type { HostPolicy } from '../policy/policy.js'
import { addHost, digestOf, expiryOf, formatDay, noPins, pinsAbove, readDigest, sayable, unpinnedNote } from './foreign.js'
import type { Abilities, HostPins, ReadPins, WrittenPins } from './foreign.js'
import type { PolicyOptions } from '../policy/policy-set.js'
import { SourceError } from './source-document.js'
import { escapeXml, parseXml } from './xml.js'
import type { XmlElement } from './xml.js'

/**
 * Reads Android's `network_security_config.xml`. Its pins count anywhere in the chain; a `pin-set` is inherited by nested
 * `domain-config`s without one, and by nothing else; after its `expiration` Android lets every peer pass.
 * https://developer.android.com/privacy-and-security/security-config
 *
 * @throws {SourceError}
 */
export function parseAndroid(text: string): ReadPins {
  const root = parseXml(text)
  if (root.name !== 'network-security-config') throw new SourceError(root.position, `the top element is <${root.name}>; right would be <network-security-config>`)
  const pins = noPins()
  const unpinned: XmlElement[] = []
  const notes: string[] = [unpinnedNote(system)]
  noteAttributes(root, [], notes)
  for (const child of root.children) {
    if (child.name === 'domain-config') readDomainConfig(child, undefined, { pins, unpinned, notes })
    else noteElement(child, notes)
  }
  for (const domain of unpinned) {
    const [name, { position }] = [nameOf(domain), domain]
    const parent = pinsAbove(name, pins, position)
    // Its own entry, without pins, is the more specific one. Here a policy without pins is none, and in this mode none is looked at.
    if (parent) addHost(pins, name, { pins: parent, mode: 'off', ...subDomainsOf(domain) }, position)
    else notes.push(`${name}: it has no pins; left out`)
  }
  return { policy: { pins }, notes }
}

/** Writes it. */
export function formatAndroid(policy: PolicyOptions): WrittenPins {
  const { hosts, notes } = sayable(policy, abilities)
  const configs = hosts.map((host) => {
    const off = host.mode === 'off'
    const day = off ? undefined : formatDay(host, notes)
    return [
      '    <domain-config>',
      `        <domain includeSubdomains="${host.includeSubDomains}">${escapeXml(host.pattern.host)}</domain>`,
      `        <pin-set${day === undefined ? '' : ` expiration="${day}"`}>`,
      ...(off ? [] : host.pins).map((pin) => `            <pin digest="SHA-256">${digestOf(pin)}</pin>`),
      '        </pin-set>',
      '    </domain-config>'
    ]
  })
  return { text: ['<?xml version="1.0" encoding="utf-8"?>', '<network-security-config>', ...configs.flat(), '</network-security-config>', ''].join('\n'), notes }
}

const system = 'Android'
const abilities: Abilities = { system, pinsCount: 'chain', ports: false, patterns: 'subdomains', oneHost: false, modes: ['enforce', 'off'], expiry: true, refusesUnpinned: false }

/** What has been read so far. */
interface Reading {
  readonly pins: HostPins
  /** Domains without pins. */
  readonly unpinned: XmlElement[]
  readonly notes: string[]
}

function readDomainConfig(config: XmlElement, inherited: HostPolicy | undefined, reading: Reading): void {
  const { pins, unpinned, notes } = reading
  noteAttributes(config, [], notes)
  const sets = config.children.filter(({ name }) => name === 'pin-set')
  if (sets[1]) throw new SourceError(sets[1].position, 'a domain-config has one pin-set')
  const policy = sets[0] ? readPinSet(sets[0], notes) : inherited
  const domains = config.children.filter(({ name }) => name === 'domain')
  if (domains.length === 0) throw new SourceError(config.position, 'a domain-config without a domain')
  for (const domain of domains) {
    noteAttributes(domain, ['includeSubdomains'], notes)
    const subDomains = subDomainsOf(domain)
    if (policy === undefined) unpinned.push(domain)
    else addHost(pins, nameOf(domain), { ...policy, ...subDomains }, domain.position)
  }
  for (const child of config.children) {
    if (child.name === 'domain-config') readDomainConfig(child, policy, reading)
    else if (!['domain', 'pin-set'].includes(child.name)) noteElement(child, notes)
  }
}

function nameOf({ text }: XmlElement): string {
  return text.trim()
}

function subDomainsOf(domain: XmlElement): Pick<HostPolicy, 'includeSubDomains'> {
  return readBoolean(domain, 'includeSubdomains') ? { includeSubDomains: true } : {}
}

/** An empty `pin-set` switches pinning off for its domains. */
function readPinSet(set: XmlElement, notes: string[]): HostPolicy | undefined {
  noteAttributes(set, ['expiration'], notes)
  const pins = set.children.map((pin) => {
    if (pin.name !== 'pin') throw new SourceError(pin.position, `<${pin.name}> in a pin-set; right would be <pin>`)
    noteAttributes(pin, ['digest'], notes)
    if (pin.attributes['digest'] !== 'SHA-256') throw new SourceError(pin.position, 'the digest of a pin must be "SHA-256"')
    return readDigest(pin.text, pin.position)
  })
  const { expiration } = set.attributes
  return pins.length === 0 ? undefined : { pins: [...new Set(pins)], ...(expiration !== undefined && expiryOf(expiration, set.position)) }
}

function readBoolean({ attributes, position }: XmlElement, name: string): boolean {
  const value = attributes[name] ?? 'false'
  if (value !== 'true' && value !== 'false') throw new SourceError(position, `${name} must be "true" or "false"`)
  return value === 'true'
}

function noteAttributes({ name, attributes, position }: XmlElement, known: readonly string[], notes: string[]): void {
  for (const each of Object.keys(attributes)) {
    if (!known.includes(each) && !/^xmlns(?::|$)/.test(each)) notes.push(`line ${position.line}: ${each} of <${name}> is not about pins; left out`)
  }
}

function noteElement({ name, position }: XmlElement, notes: string[]): void {
  notes.push(`line ${position.line}: <${name}> is not about pins; left out`)
}
