import { PolicyInvalidError } from '../errors.js'
import type { PolicyOptions } from '../policy/policy-set.js'
import { addHost, digestOf, noPins, readDigest, sayableHost, unpinnedNote } from './foreign.js'
import type { Abilities, ReadPins, WrittenPins } from './foreign.js'
import { SourceError } from './source-document.js'

/**
 * Reads an HTTP header `Public-Key-Pins` or `Public-Key-Pins-Report-Only` (RFC 7469 §2.1), with or without its name. Its
 * pins count anywhere in the chain.
 *
 * @param host the header does not say whose it is
 * @throws {SourceError | PolicyInvalidError}
 */
export function parseHpkp(text: string, host: string | undefined): ReadPins {
  if (host === undefined) throw new PolicyInvalidError('host', 'an HPKP header does not say whose it is; right would be --host api.example.com')
  const start = { line: 1, column: 1 }
  const lines = text.trim().split(/\r?\n(?![ \t])/).filter((line) => /^public-key-pins/i.test(line) || /pin-sha256/i.test(line))
  if (lines.length !== 1) throw new SourceError(start, lines.length === 0 ? 'there is no Public-Key-Pins header in it' : 'there is more than one Public-Key-Pins header in it')
  const [, reportOnly, value = ''] = /^(?:public-key-pins(-report-only)?\s*:)?\s*([^]*)$/i.exec(lines[0] as string) ?? []
  const notes: string[] = [unpinnedNote(system)]
  const pins = new Set<string>()
  const seen = new Set<string>()
  let includeSubDomains = false
  for (const { name, value: content } of directives(value)) {
    if (name !== 'pin-sha256' && seen.has(name)) throw new SourceError(start, `the directive ${name} is there twice`)
    seen.add(name)
    if (name === 'pin-sha256') pins.add(readDigest(content ?? '', start))
    else if (name === 'includesubdomains') includeSubDomains = true
    else if (name === 'max-age') {
      if (!/^\d+$/.test(content ?? '')) throw new SourceError(start, 'max-age must be a number of seconds')
      if (Number(content) === 0) throw new SourceError(start, 'max-age=0 asks to forget the pins')
      notes.push(`max-age=${content} counts from when a browser gets the header, and there is no such thing here; left out`)
    } else notes.push(name.startsWith('pin-') ? `a ${name} is of no use here; left out` : `${name} is not about pins; left out`)
  }
  if (pins.size === 0) throw new SourceError(start, 'there is no pin-sha256 in it')
  if (!seen.has('max-age') && reportOnly === undefined) throw new SourceError(start, 'max-age is missing, which RFC 7469 demands')
  const policies = noPins()
  addHost(policies, host, { pins: [...pins], ...(includeSubDomains && { includeSubDomains }), ...(reportOnly !== undefined && { mode: 'report-only' as const }) }, start)
  return { policy: { pins: policies }, notes }
}

/** Writes the header of one host. @param now milliseconds since the epoch, for `max-age` */
export function formatHpkp(policy: PolicyOptions, host: string | undefined, now: number): WrittenPins {
  const { host: { name, pins, includeSubDomains, mode, expires }, notes } = sayableHost(policy, host, abilities)
  const seconds = expires === undefined ? defaultMaxAge : Math.floor((expires.getTime() - now) / 1_000)
  if (seconds <= 0) throw new PolicyInvalidError('expires', `the pins of ${name} have expired; a header could only ask to forget them`)
  if (expires === undefined) notes.push(`${name}: max-age must be given there, and is ${defaultMaxAge} (60 days)`)
  if (pins.length < 2) notes.push(`${name}: browsers ignore a header without a backup pin (RFC 7469 §2.5); add one`)
  const directives = [...pins.map((pin) => `pin-sha256="${digestOf(pin)}"`), `max-age=${seconds}`, ...(includeSubDomains ? ['includeSubDomains'] : [])]
  return { text: `Public-Key-Pins${mode === 'report-only' ? '-Report-Only' : ''}: ${directives.join('; ')}\n`, notes }
}

const system = 'HPKP'
const abilities: Abilities = { system, pinsCount: 'chain', ports: false, patterns: 'subdomains', oneHost: true, modes: ['enforce', 'report-only'], expiry: true, refusesUnpinned: false }

// The upper limit that RFC 7469 §4.1 suggests to browsers.
const defaultMaxAge = 5_184_000

function directives(value: string): Array<{ name: string; value: string | undefined }> {
  const found: Array<{ name: string; value: string | undefined }> = []
  let rest = value.replaceAll(/\s+/g, ' ').trim()
  while (rest !== '') {
    const match = /^;?\s*([!#$%&'*+.^`|~\w-]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+)))?\s*(?=;|$)/.exec(rest)
    if (match) {
      found.push({ name: (match[1] as string).toLowerCase(), value: match[2]?.replaceAll(/\\(.)/g, '$1') ?? match[3] })
      rest = rest.slice(match[0].length)
    } else if (/^;\s*(?:;|$)/.test(rest)) rest = rest.slice(1).trimStart()
    else throw new SourceError({ line: 1, column: 1 }, `this is no directive: ${JSON.stringify(rest.slice(0, 40))}`)
  }
  return found
}
