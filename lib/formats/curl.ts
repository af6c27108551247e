import { isIPv6 } from 'node:net'
import { PolicyInvalidError } from '../errors.js'
import { parsePin } from '../pin/pin.js'
import type { HostPolicy } from '../policy/policy.js'
import type { PolicyOptions } from '../policy/policy-set.js'
import { addHost, atPlace, digestOf, oneHost, sayable, unpinnedNote } from './foreign.js'
import type { Abilities, ReadPins, WrittenPins } from './foreign.js'
import { SourceError } from './source-document.js'

/**
 * Reads the value of curl's `--pinnedpubkey`: alone, in a command line, or in a config file. Its pins are of the leaf's key.
 * https://curl.se/docs/manpage.html#--pinnedpubkey
 *
 * @param host whose pins they are; by default the one of the URL in the text
 * @throws {SourceError | PolicyInvalidError}
 */
export function parseCurl(text: string, host: string | undefined): ReadPins {
  const start = { line: 1, column: 1 }
  const values = [...text.matchAll(/(?:^|\s)(?:--)?pinnedpubkey(?:\s*[=:]\s*|\s+)(?:"([^"]*)"|'([^']*)'|(\S+))/g)].map((match) => match[1] ?? match[2] ?? match[3] ?? '')
  const value = values.length > 0 ? (values.at(-1) as string) : text.trim().replaceAll(/^["']|["']$/g, '')
  if (values.length > 1) throw new SourceError(start, 'there is more than one --pinnedpubkey in it')
  if (!value.includes('sha256//')) throw new SourceError(start, values.length > 0 ? '--pinnedpubkey names a file there; right would be sha256//…, which "axios-ssl-pinning pin <file>" gives' : 'there is no --pinnedpubkey in it')
  const pins = value.split(';').filter((each) => each.trim() !== '').map((each) => atPlace(start, () => parsePin(each).text))
  const name = host ?? hostOfUrl(text)
  if (name === undefined) throw new PolicyInvalidError('host', 'there is no https: URL in it to say whose pins they are; right would be --host api.example.com')
  const policies: Record<string, readonly string[] | HostPolicy> = {}
  addHost(policies, name, { publicKeys: [...new Set(pins)] }, start)
  return { policy: { pins: policies }, notes: [unpinnedNote(system)] }
}

/** Writes a command line for one host. */
export function formatCurl(policy: PolicyOptions, host: string | undefined): WrittenPins {
  const { hosts, notes } = sayable(policy, abilities)
  const { name, pattern, pins, includeSubDomains } = oneHost(hosts, host, system)
  const left = notes.filter((note) => hosts.every((each) => each.name === name || !note.startsWith(`${each.name}: `)))
  if (includeSubDomains || pattern.wildcard !== 'exact') left.push(`${name}: curl pins one request at a time, whatever its host`)
  const authority = `${isIPv6(pattern.host) ? `[${pattern.host}]` : pattern.host}${pattern.port === undefined ? '' : `:${pattern.port}`}`
  return { text: `curl --pinnedpubkey '${pins.map((pin) => `sha256//${digestOf(pin)}`).join(';')}' https://${authority}/\n`, notes: left }
}

const system = 'curl'
const abilities: Abilities = { system, pinsCount: 'leaf', ports: true, patterns: 'okhttp', modes: ['enforce'], expiry: false, refusesUnpinned: false }

function hostOfUrl(text: string): string | undefined {
  const [url] = /https:\/\/[^\s"'<>]+/i.exec(text) ?? []
  if (url === undefined || !URL.canParse(url)) return undefined
  return new URL(url).host
}
