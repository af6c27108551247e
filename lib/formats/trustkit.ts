import type { HostPolicy } from '../policy/policy.js'
import type { PolicyOptions } from '../policy/policy-set.js'
import { addHost, digestOf, expiryOf, formatDay, noPins, pinsAbove, readDigest, sayable, unpinnedNote } from './foreign.js'
import type { Abilities, ReadPins, WrittenPins } from './foreign.js'
import { formatPlist, parsePlist } from './plist.js'
import type { PlistValue } from './plist.js'
import { SourceError } from './source-document.js'

/**
 * Reads TrustKit's configuration: an Info.plist with `TSKConfiguration` in it, or that dictionary alone, as a program would
 * hand it to `TrustKit.initSharedInstance`; keys with or without the constants' `k`. Its pins count anywhere in the chain;
 * after `TSKExpirationDate` TrustKit lets every peer pass.
 * https://github.com/datatheorem/TrustKit
 *
 * @throws {SourceError}
 */
export function parseTrustKit(text: string): ReadPins {
  const top = settingsOf(parsePlist(text), 'the property list')
  const configuration = top.get('TSKConfiguration') ?? top.get('kTSKConfiguration')
  const notes: string[] = [unpinnedNote(system)]
  const settings: Dict = configuration ? settingsOf(configuration, 'TSKConfiguration') : top
  const domains = get(settings, 'TSKPinnedDomains')
  if (domains === undefined) throw new SourceError(configuration?.position ?? { line: 1, column: 1 }, 'there is no TSKPinnedDomains in it')
  for (const key of settings.keys()) if (bare(key) !== 'TSKPinnedDomains' && (configuration !== undefined || /^k?TSK/.test(key))) notes.push(`${bare(key)} is not about pins; left out`)

  const pins = noPins()
  const excluded: Array<[name: string, value: PlistValue]> = []
  for (const [name, value] of dictOf(domains, 'TSKPinnedDomains')) {
    const settings = settingsOf(value, name)
    if (flag(settings, 'TSKExcludeSubdomainFromParentPolicy')) excluded.push([name, value])
    else addHost(pins, name, readDomain(name, settings, value, notes), value.position)
  }
  for (const [name, { position }] of excluded) {
    const parent = pinsAbove(name, pins, position)
    // Its pins are not looked at; a policy without any is none.
    if (parent) addHost(pins, name, { pins: parent, mode: 'off' }, position)
    else notes.push(`${name}: TSKExcludeSubdomainFromParentPolicy without a parent that includes it; left out`)
  }
  return { policy: { pins }, notes }
}

/** Writes it, as an Info.plist with nothing else in it. */
export function formatTrustKit(policy: PolicyOptions): WrittenPins {
  const { hosts, notes } = sayable(policy, abilities)
  const domains: Record<string, unknown> = Object.fromEntries(
    hosts.map((host): [string, object] => {
      const { name, pattern, pins, mode, includeSubDomains } = host
      if (mode === 'off') {
        if (includeSubDomains) notes.push(`${name}: TrustKit cannot exclude its sub-domains; they fall under the host above`)
        return [pattern.host, { TSKExcludeSubdomainFromParentPolicy: true }]
      }
      if (pins.length < 2) notes.push(`${name}: TrustKit refuses to start with a single pin; add a backup`)
      const day = formatDay(host, notes)
      return [pattern.host, { TSKIncludeSubdomains: includeSubDomains, TSKEnforcePinning: mode === 'enforce', TSKPublicKeyHashes: pins.map(digestOf), ...(day !== undefined && { TSKExpirationDate: day }) }]
    })
  )
  return { text: formatPlist({ TSKConfiguration: { TSKSwizzleNetworkDelegates: false, TSKPinnedDomains: domains } }), notes }
}

const system = 'TrustKit'
const abilities: Abilities = { system, pinsCount: 'chain', ports: false, patterns: 'subdomains', oneHost: false, modes: ['enforce', 'report-only', 'off'], expiry: true, refusesUnpinned: false }

type Dict = ReadonlyMap<string, PlistValue>

function readDomain(name: string, settings: Dict, { position }: PlistValue, notes: string[]): HostPolicy {
  const known = ['TSKPublicKeyHashes', 'TSKIncludeSubdomains', 'TSKEnforcePinning', 'TSKExpirationDate', 'TSKExcludeSubdomainFromParentPolicy']
  for (const key of settings.keys()) if (!known.includes(bare(key))) notes.push(`${name}: ${bare(key)} is not about pins; left out`)
  const hashes = get(settings, 'TSKPublicKeyHashes')
  if (hashes === undefined || typeof hashes.value !== 'object' || hashes.value instanceof Map) throw new SourceError(hashes?.position ?? position, `${name} has no array TSKPublicKeyHashes`)
  const pins = (hashes.value as readonly PlistValue[]).map((each) => {
    if (typeof each.value !== 'string') throw new SourceError(each.position, 'a public key hash must be a <string>')
    return readDigest(each.value, each.position)
  })
  if (pins.length === 0) throw new SourceError(hashes.position, `${name} has no pins`)
  const date = get(settings, 'TSKExpirationDate')
  if (date && typeof date.value !== 'string') throw new SourceError(date.position, 'TSKExpirationDate must be a <string>')
  return {
    pins: [...new Set(pins)],
    ...(flag(settings, 'TSKIncludeSubdomains') && { includeSubDomains: true }),
    ...(!flag(settings, 'TSKEnforcePinning', true) && { mode: 'report-only' as const }),
    ...(date && expiryOf(date.value as string, date.position))
  }
}

function get(dict: Dict, name: string): PlistValue | undefined {
  return dict.get(name) ?? dict.get(`k${name}`)
}

function bare(key: string): string {
  return key.replace(/^k(?=TSK)/, '')
}

function flag(dict: Dict, name: string, fallback = false): boolean {
  const found = get(dict, name)
  if (found === undefined) return fallback
  const { value, position } = found
  // As strings and numbers they occur in the wild; NSNumber and NSString read them the same.
  if (value === true || value === 1 || value === 'YES' || value === 'true') return true
  if (value === false || value === 0 || value === 'NO' || value === 'false') return false
  throw new SourceError(position, `${name} must be <true/> or <false/>`)
}

function dictOf({ value, position }: PlistValue, what: string): Dict {
  if (!(value instanceof Map)) throw new SourceError(position, `${what} must be a <dict>`)
  return value as Dict
}

/** Keys of TrustKit's, each once. */
function settingsOf(value: PlistValue, what: string): Dict {
  const dict = dictOf(value, what)
  for (const [key, { position }] of dict) if (key.startsWith('kTSK') && dict.has(bare(key))) throw new SourceError(position, `${bare(key)} is there twice, with and without the k`)
  return dict
}
